//! `thingif serve`: its ready line, its failures, its end.
#![cfg(feature = "cli")]

mod program;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use program::{APP, APP_KEY, Server, run, thingif};

#[test]
fn the_ready_line_names_every_listener() {
    let server = Server::start();
    for listener in ["http", "https", "mqtt", "mqtts", "ws", "wss"] {
        TcpStream::connect(server.address(listener)).unwrap_or_else(|error| panic!("{listener}: {error}"));
    }
    let ca = std::fs::read_to_string(server.ready["ca"].as_str().expect("a local authority")).expect("readable");
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
}

#[test]
fn listeners_that_are_off_are_not_named() {
    let server = Server::start_with(&["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"]);
    let mut names: Vec<_> = server.ready.as_object().expect("an object").keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["http", "mqtt", "ready"], "and no authority is made for nothing");
}

#[test]
fn it_ends_in_order_when_asked_to() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start();
        let address = server.address("mqtt").to_owned();
        server.running.signal(signal);
        assert_eq!(server.running.wait().code(), Some(0), "{signal}");
        TcpStream::connect(address).expect_err("nobody listens any more");
    }
}

#[test]
fn a_busy_port_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let app = format!("{APP}:{APP_KEY}");
    let off = ["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"];
    let refused = run(thingif().args(["serve", "--app", &app, "--http", "0", "--mqtt", &address]).args(off)).expect(1);
    assert!(refused.stdout.is_empty(), "it never was ready");
    assert!(refused.stderr.contains(&format!("{address} (--mqtt)")), "{}", refused.stderr);
}

#[test]
fn usage_is_two() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let no_key = dir.path().join("apps");
    std::fs::write(&no_key, "app\n").expect("written");
    let no_key = no_key.to_str().expect("text");
    let all_off = [
        "--app", "a:k", "--mqtt", "off", "--mqtts", "off", "--ws", "off", "--wss", "off", "--http", "0", "--https", "0",
    ];
    for args in [
        &[][..],
        &["--app", "a"],
        &["--app", "a:"],
        &["--app", "a/b:k"],
        &["--app", "a:k", "--app", "a:k"],
        &["--app", "a:k", "--http", "nowhere"],
        &["--app", "a:k", "--tls-cert", "/nonexistent"],
        &[
            "--app",
            "a:k",
            "--tls-cert",
            "/nonexistent",
            "--tls-key",
            "/nonexistent",
            "--http",
            "0",
            "--https",
            "0",
            "--mqtt",
            "0",
            "--mqtts",
            "0",
            "--ws",
            "0",
            "--wss",
            "0",
        ],
        &["--app", "a:k", "--advertise", "a b"],
        &["--apps-file", no_key],
        &all_off,
    ] {
        let refused = run(thingif().arg("serve").args(args)).expect(2);
        assert!(refused.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn keys_come_from_the_environment_or_a_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let apps = dir.path().join("apps");
    std::fs::write(&apps, format!("# ours\n{APP}:{APP_KEY}\n")).expect("written");
    let quiet = ["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off", "--http", "0", "--mqtt", "0"];
    let from_file = ["--apps-file", apps.to_str().expect("text")];
    let from_environment = ["--app", APP];
    for source in [&from_file, &from_environment] {
        let mut command = thingif();
        command.arg("serve").args(source).args(quiet).env("THINGIF_APP_KEY", APP_KEY);
        let mut running = program::Running::start(&mut command);
        assert_eq!(running.json_line()["ready"], true);
    }
}

#[test]
fn a_data_directory_is_kept_private_and_locked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let data = data.to_str().expect("text");
    let first = Server::start_with(&["--data", data]);
    let ca = first.ready["ca"].as_str().expect("a local authority").to_owned();
    assert!(ca.starts_with(data), "{ca}");
    let mode = |path: String| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(format!("{data}/tls/ca.key")), 0o600);
    assert_eq!(mode(data.to_owned()), 0o700);

    let ports = ["--http", "0", "--mqtt", "0", "--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"];
    let second = run(thingif().args(["serve", "--app", "a:k", "--data", data]).args(ports)).expect(1);
    assert!(second.stderr.contains("--data"), "{}", second.stderr);

    let before = std::fs::read(&ca).expect("readable");
    drop(first);
    let third = Server::start_with(&["--data", data]);
    let after = std::fs::read(third.ready["ca"].as_str().expect("a local authority")).expect("readable");
    assert_eq!(before, after, "the same authority after a restart");
}

#[test]
fn an_empty_directory_of_everybodys_becomes_a_data_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().expect("a temporary directory");
    let data = parent.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let _server = Server::start_with(&["--data", data.to_str().expect("text")]);
    let mode = |name: &str| std::fs::metadata(data.join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("tls"), mode("thingif.db")), (0o700, 0o700, 0o600));
}

#[test]
fn http_is_answered() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address("http")).expect("connected");
    let request =
        format!("GET /thing-if/apps/{APP}/targets/thing:th.1/states HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn sighup_takes_the_certificate_from_its_files_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let donor = dir.path().join("donor");
    let paths = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    // A certificate and its key, of a kind that needs no further program: the authority of a first server.
    let write = || {
        drop(std::fs::remove_dir_all(&donor));
        let server = Server::start_with(&["--data", donor.to_str().expect("text")]);
        std::fs::copy(donor.join("tls/ca.pem"), &paths.0).expect("copied");
        std::fs::copy(donor.join("tls/ca.key"), &paths.1).expect("copied");
        drop(server);
    };
    write();
    let files = ["--tls-cert", paths.0.to_str().expect("text"), "--tls-key", paths.1.to_str().expect("text")];
    let mut server = Server::start_with(&files);
    assert!(server.ready.get("ca").is_none(), "the certificate is not one of its own");
    write();
    server.running.signal("-HUP");
    server.running.wait_for_error_line("reloaded");
    std::fs::write(&paths.1, "garbage").expect("written");
    server.running.signal("-HUP");
    server.running.wait_for_error_line("--tls-key");
    server.running.wait_for_error_line("The certificate in use stays");
    TcpStream::connect(server.address("mqtts")).expect("still there");
}
