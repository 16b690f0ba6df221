//! The program `thingif`; [`thingif::cli`] is all of it.

fn main() -> std::process::ExitCode {
    thingif::cli::main()
}
