//! How the program reaches a broker: through a proxy, with a client certificate, with pins.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/connect_proxy.rs"]
mod connect_proxy;
mod program;

use std::process::Command;

use certificates::Authority;
use connect_proxy::{ConnectProxy, Manners};
use program::{Running, Server, Thing, run};

/// A proxy beside the test, which waits for programs.
struct Beside {
    proxy: ConnectProxy,
    _runtime: tokio::runtime::Runtime,
}

fn proxy(manners: Manners) -> Beside {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let proxy = runtime.block_on(ConnectProxy::start(manners));
    Beside { proxy, _runtime: runtime }
}

fn onboard(thing: &Thing, server: &Server, scheme: &str) -> Command {
    let mut command = thing.onboard(&format!("{scheme}://localhost:{}", server.port(scheme)));
    if matches!(scheme, "mqtts" | "wss") {
        command.args(["--ca", server.ready["ca"].as_str().expect("a local authority")]);
    }
    command
}

fn get(thing: &Thing) -> Command {
    let mut command = thing.command("call");
    command.args(["GET", "targets/thing:{thing}/commands"]);
    command
}

#[test]
fn everything_goes_through_the_proxy_and_it_is_remembered_without_its_password() {
    let server = Server::start();
    // ann:open sesame/@
    let beside = proxy(Manners::Login("Basic YW5uOm9wZW4gc2VzYW1lL0A="));
    let url = format!("http://ann@{}", beside.proxy.address);
    for scheme in ["mqtt", "mqtts", "ws", "wss"] {
        let thing = Thing::new();
        std::fs::write(thing.path("proxy-password"), "open sesame/@\n").expect("written");
        let before = beside.proxy.heads().len();
        let mut command = onboard(&thing, &server, scheme);
        command.args(["--proxy", &url, "--proxy-password-file"]).arg(thing.path("proxy-password"));
        run(&mut command).expect(0);
        run(&mut get(&thing)).expect(0);
        let mut listening = Running::start(&mut thing.command("listen"));
        listening.wait_for_error_line("connected as");
        listening.signal("-TERM");
        assert!(listening.wait().success(), "{}", listening.errors());
        let heads = beside.proxy.heads().split_off(before);
        assert_eq!(heads.len(), 3, "{scheme}: onboarding, the call, listening: {heads:?}");
        let port = server.port(scheme);
        assert!(
            heads[0].starts_with(&format!("CONNECT localhost:{port} ")),
            "the proxy resolves the name: {}",
            heads[0]
        );
        let kept = std::fs::read_to_string(thing.credentials()).expect("there");
        assert!(kept.contains("proxy") && !kept.contains("sesame") && !kept.contains("YW5u"), "{kept}");
        // Off again, for this call alone.
        run(get(&thing).args(["--proxy", "off"])).expect(0);
        assert_eq!(beside.proxy.heads().len(), before + 3);
    }
}

/// A proxy that nobody here wrote.
#[test]
fn tinyproxy_lets_through_who_has_its_login() {
    let Some(tinyproxy) = program::foreign_program("tinyproxy") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let settings = directory.path().join("tinyproxy.conf");
    let text = format!("Port {}\nListen 127.0.0.1\nTimeout 600\nMaxClients 20\nBasicAuth ann s3same\n", free.port());
    std::fs::write(&settings, text).expect("written");
    let mut running = Running::start(Command::new(tinyproxy).arg("-d").arg("-c").arg(&settings));
    let began = std::time::Instant::now();
    while std::net::TcpStream::connect(free).is_err() {
        assert!(began.elapsed() < program::PATIENCE, "it does not listen: {}", running.errors());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let server = Server::start();
    let url = |password: &str| format!("http://ann:{password}@{free}");
    for scheme in ["mqtt", "mqtts", "ws", "wss"] {
        let thing = Thing::new();
        run(onboard(&thing, &server, scheme).args(["--proxy", &url("s3same")])).expect(0);
        run(get(&thing).args(["--proxy", &url("s3same")])).expect(0);
    }
    let refused = run(onboard(&Thing::new(), &server, "mqtt").args(["--proxy", &url("wr0ng")])).expect(7);
    assert!(refused.stderr.contains("no way through the proxy"), "{}", refused.stderr);
    // Nobody listens where the broker should be.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let nobody = run(Thing::new().onboard(&format!("mqtt://{gone}")).args(["--proxy", &url("s3same")])).expect(7);
    assert!(nobody.stderr.contains(&gone.to_string()) && nobody.stderr.contains("status 5"), "{}", nobody.stderr);
}

#[test]
fn what_is_wrong_with_a_proxy_is_said_without_its_password() {
    let server = Server::start();
    let thing = Thing::new();
    let beside = proxy(Manners::Login("Basic YW5uOm9wZW4gc2VzYW1lL0A="));
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for (url, code, part) in [
        (beside.proxy.url(), 7, "wants a user name"),
        (format!("http://ann:s3same@{}", beside.proxy.address), 7, "refuses this user name or password"),
        (format!("http://ann:s3same@{free}"), 7, "is not there"),
        (format!("http://ann@{}", beside.proxy.address), 2, "THINGIF_PROXY_PASSWORD"),
        (format!("https://ann:s3same@{free}"), 2, "must begin with http://"),
        (format!("http://ann:s3same%zz@{free}"), 2, "percent-encoded"),
    ] {
        let refused = run(onboard(&thing, &server, "mqtt").args(["--proxy", &url])).expect(code);
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
        assert!(!refused.stderr.contains("s3same"), "{}", refused.stderr);
    }
    let mut from_environment = onboard(&thing, &server, "mqtt");
    from_environment.args(["--proxy", &format!("http://ann@{}", beside.proxy.address)]);
    run(from_environment.env("THINGIF_PROXY_PASSWORD", "open sesame/@")).expect(0);
    // The environment's own proxies are nobody's choice.
    let thing = Thing::new();
    run(onboard(&thing, &server, "mqtt")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1"))
    .expect(0);
}

#[test]
fn pins_are_refused_before_anything_is_sent() {
    let thing = Thing::new();
    let pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let broker = format!("mqtts://localhost:{}", listener.local_addr().expect("bound").port());
    let refused = run(thing.onboard(&broker).args(["--pin", &format!("{pin};{pin}")])).expect(2);
    assert!(refused.stderr.contains("cannot check them") && refused.stderr.contains("CA file"), "{}", refused.stderr);
    let mistyped = run(thing.onboard(&broker).args(["--pin", &pin.replace("47D", "4!D")])).expect(2);
    assert!(mistyped.stderr.contains("byte 9"), "{}", mistyped.stderr);
    let nobody = listener.accept().expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_demands_client_certificates_gets_them_over_tls_and_websocket() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (own, stranger) = (authority.issue("device"), other.issue("device"));
    let server = Server::start_with(&["--tls-client-ca", authority.file.to_str().expect("text")]);
    for scheme in ["mqtts", "wss"] {
        let thing = Thing::new();
        let none = run(&mut onboard(&thing, &server, scheme)).expect(35);
        assert!(none.stderr.contains("wants a client certificate, and there is none"), "{}", none.stderr);
        let with = |identity: &certificates::Identity| {
            let mut command = onboard(&thing, &server, scheme);
            command.arg("--cert").arg(&identity.cert_file).arg("--key").arg(&identity.key_file);
            command
        };
        let foreign = run(&mut with(&stranger)).expect(35);
        assert!(foreign.stderr.contains("does not accept this one"), "{}", foreign.stderr);
        run(&mut with(&own)).expect(0);
        // It is remembered where the certificate is.
        run(&mut get(&thing)).expect(0);
    }
    // Who comes without TLS is not asked, and neither are apps.
    run(&mut onboard(&Thing::new(), &server, "mqtt")).expect(0);
    let thing = Thing::new();
    let half = run(onboard(&thing, &server, "mqtts").arg("--cert").arg(&own.cert_file)).expect(2);
    assert!(half.stderr.contains("--key"), "{}", half.stderr);
    let mismatched =
        run(onboard(&thing, &server, "mqtts").arg("--cert").arg(&own.cert_file).arg("--key").arg(&stranger.key_file));
    assert_eq!(mismatched.code(), 2, "{}", mismatched.stderr);
}

#[test]
fn an_authority_for_clients_that_cannot_be_used_is_a_usage_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, "no certificate\n").expect("written");
    let serve = |args: &[&str]| {
        let mut command = program::thingif();
        command.args(["serve", "--app", "a:k", "--http", "0", "--mqtt", "0", "--ws", "off", "--wss", "off"]).args(args);
        run(command.arg("--tls-client-ca").arg(&file)).expect(2).stderr
    };
    let empty = serve(&["--https", "off", "--mqtts", "0"]);
    assert!(empty.contains("--tls-client-ca") && empty.contains("no certificate"), "{empty}");
    let pointless = serve(&["--https", "off", "--mqtts", "off"]);
    assert!(pointless.contains("no listener has TLS"), "{pointless}");
}
