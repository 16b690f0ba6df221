//! The admin page without a browser: who is let in, what other sites can do, what the answers say to browsers.
#![cfg(feature = "cli")]

mod program;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use program::{APP, PATIENCE, Server, Thing, thingif};

const PASSWORD: &str = "correct horse battery";

fn serve(dir: &std::path::Path) -> Server {
    let file = dir.join("pw");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("written");
    Server::start_with(&["--admin", "127.0.0.1:0", "--admin-password-file", file.to_str().expect("text")])
}

/// Status, head and body of one request.
fn send(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let address = server.address("admin");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), head.to_owned(), body.to_owned())
}

#[test]
fn strangers_see_the_login_alone_and_every_answer_is_guarded() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = serve(dir.path());
    for path in ["/", &format!("/apps/{APP}"), &format!("/apps/{APP}/things/th.1"), "/tail", "/tail/events"] {
        for headers in ["", "Cookie: thingif_admin=guessed\r\n", "Cookie: thingif_admin=\r\n"] {
            let (status, head, body) = send(&server, "GET", path, headers, "");
            assert_eq!(status, 303, "{path}");
            assert!(head.contains("location: /login") && body.is_empty(), "{path}: {head}");
        }
    }
    for path in [format!("/apps/{APP}/things/th.1/commands"), "/logout".to_owned()] {
        assert_eq!(send(&server, "POST", &path, "", "actions=[]").0, 303, "{path}");
    }
    for path in ["/login", "/", "/style.css", "/tail.js"] {
        let (_, head, _) = send(&server, "GET", path, "", "");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(head.lines().any(|line| line == header), "{path}: no {header} in {head}");
        }
    }
    for wrong in ["", "password=", "password=wrong"] {
        let (status, head, _) = send(&server, "POST", "/login", "", wrong);
        assert!(matches!(status, 403 | 422) && !head.contains("set-cookie"), "{wrong}: {head}");
    }
}

#[test]
fn other_sites_can_send_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = serve(dir.path());
    let thing = Thing::new().onboard_at(&server, "mqtt");
    let (status, head, _) = send(&server, "POST", "/login", "Origin: https://evil.example\r\n", "password=x");
    assert_eq!(status, 403, "{head}");

    let cookie = format!("Cookie: {}\r\n", log_in(&server));
    let path = format!("/apps/{APP}/things/{thing}");
    let (status, _, page) = send(&server, "GET", &path, &cookie, "");
    assert_eq!(status, 200, "{page}");
    let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let form = |token: &str| {
        format!("token={token}&schema=default&version=1&actions=%5B%7B%22turnPower%22%3A%7B%22power%22%3Atrue%7D%7D%5D")
    };
    let commands = format!("{path}/commands");
    for (headers, token, expected) in [
        (cookie.clone(), "", 403),
        (cookie.clone(), "guessed", 403),
        (format!("{cookie}Origin: https://evil.example\r\n"), token, 403),
        (String::new(), token, 303),
    ] {
        let (status, _, body) = send(&server, "POST", &commands, &headers, &form(token));
        assert_eq!(status, expected, "{body}");
    }
    let (_, _, page) = send(&server, "GET", &path, &cookie, "");
    assert!(!page.contains("SEND_FAILED"), "nothing was sent: {page}");
    let own = format!("{cookie}Origin: http://{}\r\n", server.address("admin"));
    assert_eq!(send(&server, "POST", &commands, &own, &form(token)).0, 303);
    let (_, _, page) = send(&server, "GET", &path, &cookie, "");
    assert!(page.contains("SEND_FAILED"), "the thing is not connected, but it was tried: {page}");

    // What things and people write is text, whatever is in it.
    let (_, _, page) = send(&server, "GET", "/apps/%3Cscript%3E", &cookie, "");
    assert!(!page.contains("<script>"), "{page}");
    assert_eq!(send(&server, "POST", "/logout", &cookie, "token=guessed").0, 403);
    assert_eq!(send(&server, "POST", "/logout", &cookie, &format!("token={token}")).0, 303);
    assert_eq!(send(&server, "GET", &path, &cookie, "").0, 303, "logged out");
}

#[test]
fn who_has_logged_out_sees_nothing_more_of_what_passes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = serve(dir.path());
    let (cookie, other) = (log_in(&server), log_in(&server));
    let watch = |cookie: &str| {
        let mut stream = TcpStream::connect(server.address("admin")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(stream, "GET /tail/events HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n").expect("written");
        let mut first = [0; 15];
        stream.read_exact(&mut first).expect("read");
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        stream
    };
    let (mut watched, mut of_other) = (watch(&cookie), watch(&other));
    let header = format!("Cookie: {cookie}\r\n");
    let (_, _, page) = send(&server, "GET", "/", &header, "");
    let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    assert_eq!(send(&server, "POST", "/logout", &header, &format!("token={token}")).0, 303);
    let mut rest = String::new();
    // The last chunk; the connection itself may stay.
    while !rest.ends_with("0\r\n\r\n") {
        let mut some = [0; 1_000];
        let count = watched.read(&mut some).expect("read");
        rest.push_str(std::str::from_utf8(&some[..count]).expect("text"));
        assert!(count > 0, "{rest}");
    }
    // Whoever else looks goes on doing so.
    Thing::new().onboard_at(&server, "mqtt");
    let mut seen = String::new();
    while !seen.contains("onboardings") {
        let mut some = [0; 1_000];
        let count = of_other.read(&mut some).expect("read");
        seen.push_str(std::str::from_utf8(&some[..count]).expect("text"));
        assert!(count > 0, "{seen}");
    }
}

/// Logs in; the cookie.
fn log_in(server: &Server) -> String {
    let (status, head, _) = send(server, "POST", "/login", "", &format!("password={}", PASSWORD.replace(' ', "+")));
    assert_eq!(status, 303, "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    cookie.split(';').next().expect("one").to_owned()
}

#[test]
fn a_password_is_set_by_the_program_and_is_no_short_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let set = |password: &str| {
        let mut command = thingif();
        command.args(["admin", "password", "--data"]).arg(dir.path()).env("THINGIF_ADMIN_PASSWORD", password);
        program::run(&mut command)
    };
    let short = set("hunter2").expect(2);
    assert!(short.stderr.contains("at least 8 characters") && !short.stderr.contains("hunter2"), "{}", short.stderr);
    set(PASSWORD).expect(0);
    let kept = std::fs::read_to_string(dir.path().join("admin.password")).expect("there");
    assert!(kept.starts_with("$argon2id$") && !kept.contains(PASSWORD), "{kept}");
}
