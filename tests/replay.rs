//! One test per file of `proto-samples/sessions`: the script is played against the device's machine alone, in virtual
//! time, and the first difference is shown with both sides. The format is in `proto-samples/README.md`.

mod samples;
mod script;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<_> = samples::files_in("proto-samples/sessions")
        .into_iter()
        .map(|file| {
            let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            Trial::test(name, move || script::play_file(&file).map_err(Failed::from))
        })
        .collect();
    trials.extend(script::proof::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
