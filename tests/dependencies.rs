//! What each transport stands on, by cargo's own account: where there is said to be no C, no cmake or no OpenSSL, there is none.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that a program with these features has or is built by.
fn crates(features: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--locked", "--package", "thingif"]);
    cargo.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let said = cargo.args(["--no-default-features", "--features", features]).output().expect("cargo is there");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    said.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// What compiles C, finds libraries, or stands for one.
fn of_c(crates: &BTreeSet<String>) -> Vec<&str> {
    let builders = ["cc", "cmake", "pkg-config", "bindgen", "vcpkg", "ring"];
    // Numbers and types of the kernel, without a library.
    let bare = ["linux-raw-sys", "windows-sys"];
    let is = |name: &str| builders.contains(&name) || (name.ends_with("-sys") && !bare.contains(&name));
    crates.iter().map(String::as_str).filter(|name| is(name)).collect()
}

#[test]
fn native_has_no_c() {
    let crates = crates("native");
    assert!(crates.contains("tokio"), "{crates:?}");
    assert_eq!(of_c(&crates), [""; 0]);
}

#[test]
fn native_tls_has_ring_alone() {
    assert_eq!(of_c(&crates("native-tls")), ["cc", "ring"]);
}

#[test]
fn paho_tcp_has_no_openssl() {
    assert_eq!(of_c(&crates("paho-tcp")), ["cc", "cmake", "paho-mqtt-sys"]);
    assert!(crates("paho").contains("openssl-sys"), "which the one with TLS has");
}
