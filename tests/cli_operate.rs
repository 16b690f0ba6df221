//! `thingif serve` under an operator: settings in a file, a service manager that is told, certificates that change, an end that
//! answers what is under way.
#![cfg(feature = "cli")]

mod program;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use program::{APP, APP_KEY, BASIC, PATIENCE, Running, Server, Thing, http, run, thingif};
use serde_json::{Value, json};

const PORTS: &str = "http = \"127.0.0.1:0\"\nmqtt = 0\nhttps = \"off\"\nmqtts = \"off\"\nws = \"off\"\nwss = \"off\"\n";

#[test]
fn settings_come_from_a_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("thingif.toml");
    std::fs::write(&file, format!("[serve]\napp = [\"{APP}:{APP_KEY}\"]\n{PORTS}admin = 0\n")).expect("written");
    let serve = |more: &[&str]| {
        let mut command = thingif();
        command.args(["serve", "--config"]).arg(&file).args(more);
        command
    };
    let mut running = Running::start(&mut serve(&[]));
    let mut names: Vec<_> = running.json_line().as_object().expect("an object").keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["admin", "http", "mqtt", "ready"]);
    drop(running);
    let mut running = Running::start(&mut serve(&["--admin", "off"]));
    assert!(running.json_line().get("admin").is_none(), "the command line goes before the file");
    drop(running);

    std::fs::write(&file, "[serve]\nhtp = 1\n").expect("written");
    let unknown = run(&mut serve(&[])).expect(2);
    assert!(unknown.stderr.contains("thingif.toml line 2: there is no setting \"htp\""), "{}", unknown.stderr);
    std::fs::write(&file, format!("[serve]\n{PORTS}app = \"hunter2\n")).expect("written");
    let broken = run(&mut serve(&[])).expect(2);
    assert!(broken.stderr.contains("line 8") && !broken.stderr.contains("hunter2"), "{}", broken.stderr);
    std::fs::write(&file, format!("[serve]\n{PORTS}app = \"a/b:hunter2\"\n")).expect("written");
    let wrong = run(&mut serve(&[])).expect(2);
    assert!(wrong.stderr.contains("--app") && !wrong.stderr.contains("hunter2"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("thingif.toml"), "{}", wrong.stderr);
    std::fs::remove_file(&file).expect("removed");
    run(&mut serve(&[])).expect(2);
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let receive = || {
        let mut message = [0; 512];
        let len = socket.recv(&mut message).expect("told");
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    let quiet = ["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off", "--http", "0", "--mqtt", "0"];
    let mut command = thingif();
    command.args(["serve", "--app", &format!("{APP}:{APP_KEY}")]).args(quiet).env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(&mut command);
    assert!(receive().lines().any(|line| line == "READY=1"));
    let ready = running.json_line();
    TcpStream::connect(ready["http"].as_str().expect("an address")).expect("it was true");
    running.signal("-TERM");
    assert!(receive().lines().any(|line| line == "STOPPING=1"));
    assert!(running.wait().success());
}

/// A certificate for localhost that is its own authority, and its key.
fn write_certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().expect("generated");
    let parameters = rcgen::CertificateParams::new([String::from("localhost")]).expect("valid");
    let made = parameters.self_signed(&key).expect("signed");
    let paths = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&paths.0, made.pem()).expect("written");
    std::fs::write(&paths.1, key.serialize_pem()).expect("written");
    paths
}

#[test]
fn a_new_certificate_is_served_after_sighup() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (certificate, key) = write_certificate(dir.path());
    let files = ["--tls-cert", certificate.to_str().expect("text"), "--tls-key", key.to_str().expect("text")];
    let mut server = Server::start_with(&files);
    let old = dir.path().join("old.pem");
    std::fs::copy(&certificate, &old).expect("copied");
    let password = dir.path().join("pw");
    std::fs::write(&password, "secret\n").expect("written");
    let service = format!("https://localhost:{}", server.port("https"));
    // Status 60 is a certificate that is not trusted; anything else got past that.
    let trusts = |ca: &Path| {
        let app = format!("{APP}:{APP_KEY}");
        let mut login = thingif();
        login.args(["user", "login", "--service", &service, "--app", &app, "--user", "nobody", "--ca"]).arg(ca);
        run(login.arg("--password-file").arg(&password)).code() == 67
    };
    assert!(trusts(&old));
    write_certificate(dir.path());
    server.running.signal("-HUP");
    server.running.wait_for_error_line("reloaded");
    assert!(trusts(&certificate) && !trusts(&old));
}

/// Waits until nobody listens at `address`: the end has begun.
fn wait_until_closed(address: &str) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < until, "still listening");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_whose_body_is_on_its_way_is_answered() {
    let mut server = Server::start();
    let address = server.address("http").to_owned();
    let body = json!({"vendorThingID": "lamp-1", "thingPassword": "secret"}).to_string();
    let head = format!(
        "POST /thing-if/apps/{APP}/onboardings HTTP/1.1\r\nHost: {address}\r\nAuthorization: {BASIC}\r\n\
         Content-Type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = TcpStream::connect(&address).expect("connected");
    slow.set_read_timeout(Some(PATIENCE)).expect("set");
    slow.write_all(head.as_bytes()).expect("written");
    let (first, rest) = body.as_bytes().split_at(10);
    slow.write_all(first).expect("written");
    // One that is answered shows that the service has come as far as to read.
    http(&address, "GET", "/", BASIC, "application/json", &Value::Null);
    server.running.signal("-TERM");
    wait_until_closed(&address);
    slow.write_all(rest).expect("written");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("read, and closed by the service");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("accessToken"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(server.running.wait().success());
}

#[test]
fn a_thing_that_waits_for_its_answer_gets_it() {
    let mut server = Server::start_with(&["--admin", "127.0.0.1:0"]);
    let address = server.address("http").to_owned();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    // Wrong passwords make the next login wait: about two seconds after these.
    let by_thing = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
    for _ in 0..7 {
        let wrong = json!({"vendorThingID": "thermostat-17", "thingPassword": "not its password"});
        let (status, _) = http(&address, "POST", &format!("/thing-if/apps/{APP}/onboardings"), BASIC, by_thing, &wrong);
        assert_eq!(status, 401);
    }
    let requests = |server: &Server| {
        let mut stream = TcpStream::connect(server.address("admin")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        let line = text.lines().find(|line| line.starts_with("thingif_edge_events_total{event=\"requests\"} "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("a number")
    };
    assert_eq!(requests(&server), 1);
    let broker = format!("mqtt://{}", server.address("mqtt"));
    let mut onboarding = Running::start(thing.onboard(&broker).arg("--json"));
    let until = Instant::now() + PATIENCE;
    while requests(&server) < 2 {
        assert!(Instant::now() < until, "it never asked");
    }
    server.running.signal("-TERM");
    wait_until_closed(&address);
    assert!(onboarding.json_line()["thingID"].is_string(), "answered while the service ended");
    assert!(onboarding.wait().success());
    assert!(server.running.wait().success());
}

/// The unit names flags and files that exist, and systemd takes it.
#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = include_str!("../contrib/thingif.service");
    for line in ["Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "StateDirectoryMode=0700"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("starts something");
    assert_eq!(start, "/usr/local/bin/thingif serve --config /etc/thingif/thingif.toml");
    // Not in every image; where it is, it knows each directive.
    let Ok(version) = std::process::Command::new("systemd-analyze").arg("--version").output() else { return };
    assert!(version.status.success());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("thingif.service");
    let here = env!("CARGO_BIN_EXE_thingif");
    std::fs::write(&path, unit.replace("/usr/local/bin/thingif", here)).expect("written");
    let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("runs");
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_us: Vec<_> = said.lines().filter(|line| line.contains("thingif.service")).collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
}
