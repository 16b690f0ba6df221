//! The program `thingif`.
fn main() {}
