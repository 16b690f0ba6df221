//! `thingif proxy` before `thingif serve`, called with curl.
#![cfg(feature = "cli")]

mod program;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use program::{APP, Finished, Owner, PATIENCE, Running, Server, Thing, foreign_program, kill, run};
use serde_json::json;

/// `thingif proxy` that is ready, and what it says of itself.
fn proxying(thing: &Thing, flags: &[&str]) -> (Running, serde_json::Value) {
    let mut running = Running::start(thing.command("proxy").args(["--listen", "127.0.0.1:0"]).args(flags));
    let ready = running.json_line();
    assert_eq!(ready["ready"], true, "{ready}");
    (running, ready)
}

fn states(ready: &serde_json::Value) -> String {
    let [http, app, thing] = ["http", "appID", "thingID"].map(|name| ready[name].as_str().expect("text"));
    format!("http://{http}/thing-if/apps/{app}/targets/thing:{thing}/states")
}

/// curl without the settings of whoever runs the tests.
fn curl(arguments: &[&str]) -> Finished {
    let time = PATIENCE.as_secs().to_string();
    run(Command::new("curl").args(["-q", "-sS", "--noproxy", "*", "--max-time", &time]).args(arguments)).expect(0)
}

#[test]
fn curl_calls_as_the_thing() {
    if foreign_program("curl").is_none() {
        return;
    }
    let server = Server::start();
    let thing = Thing::new();
    let id = thing.onboard_at(&server, "mqtt");
    let (proxy, ready) = proxying(&thing, &[]);
    assert_eq!((ready["appID"].as_str(), ready["thingID"].as_str()), (Some(APP), Some(id.as_str())));
    let states = states(&ready);
    let json = ["-H", "Content-Type: application/json"];
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let put = curl(&[&json[..], &status, &["-X", "PUT", "-d", r#"{"power":true}"#, &states]].concat());
    assert_eq!(put.text(), "201");
    let chunked = ["-X", "PUT", "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-d", r#"{"n":2}"#];
    assert_eq!(curl(&[&json[..], &status, &chunked, &[&states]].concat()).text(), "204");
    let got = curl(&["-i", &states]).text();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n{\n  \"n\" : 2\n}"), "{got}");
    let head = curl(&["-I", &states]).text();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // As to a forward proxy: the target in absolute form.
    let base = format!("http://{}", ready["http"].as_str().expect("an address"));
    let absolute = states.replacen("127.0.0.1", "localhost", 1);
    assert_eq!(
        run(Command::new("curl").args(["-q", "-sS", "--proxy", &base, &absolute])).expect(0).json(),
        json!({"n": 2})
    );
    let wrong = curl(&["-H", "Authorization: Bearer nonsense", &states]).json();
    assert_eq!(wrong["errorCode"], "WRONG_TOKEN", "the caller's own counts");
    let nowhere = curl(&["-i", &format!("{base}/api/apps/{APP}/things")]).text();
    assert!(nowhere.starts_with("HTTP/1.1 404 ") && nowhere.contains("x-thingif-fate: invalid\r\n"), "{nowhere}");

    // `call` goes through it, and so does another program that opens the socket itself.
    let call = ["GET", "targets/thing:{thing}/states", "--fail"];
    assert_eq!(run(thing.command("call").args(call)).expect(0).json(), json!({"n": 2}));
    let mut socket = thing.credentials().into_os_string();
    socket.push(".d/socket");
    let through = Command::new("curl").args(["-q", "-sS", "--unix-socket"]).arg(&socket).arg(&states).output();
    assert_eq!(String::from_utf8(through.expect("curl ran").stdout).expect("text"), "{\n  \"n\" : 2\n}");

    // While the server is away it says so, and when to come again.
    drop(server);
    let down = loop {
        let down = curl(&["-i", "-H", "X-Thingif-Max-Time: 2000", &states]).text();
        if !down.starts_with("HTTP/1.1 502 ") && !down.starts_with("HTTP/1.1 504 ") {
            break down;
        }
    };
    assert!(down.starts_with("HTTP/1.1 503 ") && down.to_lowercase().contains("\r\nretry-after: "), "{down}");
    drop(proxy);
}

#[test]
fn curl_hears_pushes_also_through_another_process() {
    if foreign_program("curl").is_none() {
        return;
    }
    let server = Server::start();
    let thing = Thing::new();
    let id = thing.onboard_at(&server, "mqtt");
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let mut listen = Running::start(&mut thing.command("listen"));
    listen.wait_for_error_line("connected as");
    let (mut proxy, ready) = proxying(&thing, &[]);
    proxy.wait_for_error_line("going through it");
    let url = format!("http://{}/push", ready["http"].as_str().expect("an address"));
    let subscribe = |wait_for: &str| {
        let mut curl = Running::start(Command::new("curl").args(["-q", "-sS", "-N", "--noproxy", "*", &url]));
        while !curl.line().starts_with(wait_for) {}
        curl
    };
    let mut curl = subscribe(": thingif");
    let command = owner.command(&id, json!([{"turnPower": {"power": true}}]));
    let mut data = String::new();
    loop {
        let line = curl.line();
        match line.strip_prefix("data: ") {
            Some(part) => data.push_str(part),
            None if !data.is_empty() => break,
            None => {}
        }
    }
    let push: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(push["commandID"], command.as_str());
    assert_eq!(listen.json_line()["commandID"], command.as_str(), "its own reader has it, too");

    // Whoever held the connection ends; the proxy takes it over.
    kill(listen.id(), "-TERM");
    proxy.wait_for_error_line("taking the connection over");
    proxy.wait_for_error_line("connected as");
    assert_eq!(curl.wait().code(), Some(0), "its stream ends in order");
    let mut curl = subscribe(": thingif");
    let command = owner.command(&id, json!([{"turnPower": {"power": false}}]));
    while !curl.line().contains(&command) {}
    kill(proxy.id(), "-TERM");
    assert!(proxy.wait().success());
    assert!(curl.wait().success(), "the end of the proxy ends the stream in order");
    drop(server);
}

#[test]
fn a_body_too_large_is_refused_as_such_also_through_another_process() {
    if foreign_program("curl").is_none() {
        return;
    }
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let mut listen = Running::start(&mut thing.command("listen"));
    listen.wait_for_error_line("connected as");
    let (mut proxy, ready) = proxying(&thing, &[]);
    proxy.wait_for_error_line("going through it");
    let file = thing.path("large");
    std::fs::write(&file, vec![b' '; 4 * 1024 * 1024]).expect("written");
    let data = format!("@{}", file.display());
    let states = states(&ready);
    for framing in ["Transfer-Encoding: chunked", "X-Sized: 1"] {
        let arguments = ["-X", "PUT", "-H", "Expect:", "-H", framing, "--data-binary", &data, &states];
        for _ in 0..5 {
            assert_eq!(curl(&arguments).json()["errorCode"], "PAYLOAD_TOO_LARGE", "{framing}");
        }
    }
}

#[test]
fn the_network_and_web_pages_are_kept_out() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let open = run(thing.command("proxy").args(["--listen", "0.0.0.0:0"])).expect(2);
    assert!(open.stderr.contains("--token-file"), "{}", open.stderr);
    std::fs::write(thing.path("token"), "t0k3n\n").expect("written");
    let token = thing.path("token").display().to_string();
    let mut command = thing.command("proxy");
    command.args(["--listen", "0.0.0.0:0", "--token-file", &token, "--allow-host", "gateway.lan"]);
    let mut proxy = Running::start(&mut command);
    let port = proxy.json_line()["http"].as_str().and_then(|http| http.rsplit(':').next()).expect("a port").to_owned();
    let said = proxy.wait_for_error_line("open to the network");
    assert!(!said.contains("t0k3n"));
    let status = |host: &str, more: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("listening");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let text = format!("HEAD /push HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(text.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    let token = "X-Thingif-Token: t0k3n\r\n";
    assert_eq!(status("gateway.lan", token), "200");
    assert_eq!(status("gateway.lan", ""), "401");
    assert_eq!(status("evil.example", token), "403");
    assert_eq!(status("localhost", &format!("{token}Origin: http://evil.example\r\n")), "403");
    let held = run(&mut thing.command("listen")).expect(1);
    assert!(held.stderr.contains(&format!("process {} holds the connection", proxy.id())), "{}", held.stderr);
}
