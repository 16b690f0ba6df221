//! The admin page, in a browser: Debian's Chromium through its WebDriver.
#![cfg(feature = "cli")]

mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use program::{APP, PATIENCE, Running, Server, Thing, foreign_program, run, thingif};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

/// A browser that a test drives.
struct Browser {
    driver: Child,
    address: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None`, said loudly, where it is not installed and need not be.
    fn start() -> Option<Self> {
        let (driver, chromium) = (foreign_program("chromedriver")?, foreign_program("chromium")?);
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut driver = Command::new(driver)
            .args(["--port=0"])
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split("started successfully on port ").nth(1)?.trim_end_matches('.').to_owned()))
            .expect("says its port");
        // Kept empty, or the driver would wait for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser =
            Self { driver, address: format!("127.0.0.1:{port}"), session: String::new(), _profile: profile };
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1000,960".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().join("profile").display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"binary": chromium, "args": arguments},
        }}});
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        Some(browser)
    }

    /// One command of WebDriver; its value.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same, or what the browser said against it.
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE * 2)).expect("set");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .expect("written");
        let mut answer = Vec::new();
        // The driver may keep the connection: its length says where the answer ends.
        let mut chunk = [0; 65_536];
        loop {
            let read = stream.read(&mut chunk).expect("read");
            answer.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&answer);
            let whole = text.split_once("\r\n\r\n").and_then(|(head, body)| {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
                });
                Some(body.len() >= length?)
            });
            if read == 0 || whole == Some(true) {
                break;
            }
        }
        let text = String::from_utf8(answer).expect("text");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        let value = answer["value"].take();
        if value.get("error").is_some() { Err(value["message"].to_string()) } else { Ok(value) }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{path}", self.session), body)
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", &format!("/session/{}/{path}", self.session), &Value::Null)
    }

    fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    /// The id of the first element that `css` selects.
    #[track_caller]
    fn find(&self, css: &str) -> String {
        let found = self.post("element", &json!({"using": "css selector", "value": css}));
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        id.unwrap_or_else(|| panic!("no {css}: {found}")).to_owned()
    }

    fn click(&self, css: &str) {
        self.post(&format!("element/{}/click", self.find(css)), &json!({}));
    }

    fn write(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({"text": text}));
    }

    fn text(&self, css: &str) -> String {
        let text = self.get(&format!("element/{}/text", self.find(css)));
        text.as_str().expect("a text").to_owned()
    }

    /// What `css` shows; nothing while the page changes.
    fn text_now(&self, css: &str) -> Option<String> {
        let (session, wanted) = (format!("/session/{}", self.session), json!({"using": "css selector", "value": css}));
        let found = self.try_ask("POST", &format!("{session}/element"), &wanted).ok()?;
        let element = found.as_object()?.values().next()?.as_str()?.to_owned();
        let text = self.try_ask("GET", &format!("{session}/element/{element}/text"), &Value::Null).ok()?;
        text.as_str().map(str::to_owned)
    }

    /// Waits until `css` shows `part`, loading the page again each time if `reload`.
    #[track_caller]
    fn wait_for(&self, css: &str, part: &str, reload: bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text_now(css);
            if let Some(text) = text.as_ref().filter(|text| text.contains(part)) {
                return text.clone();
            }
            assert!(Instant::now() < until, "no {part:?} in {css}: {text:?}");
            std::thread::sleep(Duration::from_millis(100));
            if reload {
                self.post("refresh", &json!({}));
            }
        }
    }

    fn screenshot(&self) -> Vec<u8> {
        let picture = self.get("screenshot");
        base64::engine::general_purpose::STANDARD.decode(picture.as_str().expect("a text")).expect("Base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn an_operator_sees_a_thing_and_sends_it_a_command() {
    let Some(browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let password = dir.path().join("pw");
    std::fs::write(&password, format!("{PASSWORD}\n")).expect("written");
    let data = dir.path().join("data");
    let server = Server::start_with(&["--data", data.to_str().expect("text"), "--admin", "127.0.0.1:0"]);
    let page = format!("http://{}", server.address("admin"));
    let thing = Thing::new();
    let id = thing.onboard_at(&server, "mqtt");

    // No password, nobody comes in; then the one that is set counts at once.
    browser.open(&page);
    assert!(browser.text("body").contains("No password is set"), "{}", browser.text("body"));
    run(thingif().args(["admin", "password", "--data"]).arg(&data).arg("--password-file").arg(&password)).expect(0);
    browser.write("input[name=password]", "not the password");
    browser.click("main button");
    browser.wait_for(".error", "The password is wrong", false);
    browser.open(&format!("{page}/apps/{APP}"));
    browser.wait_for("h1", "Log in", false); // still a stranger
    browser.write("input[name=password]", PASSWORD);
    browser.click("main button");
    browser.wait_for("h1", "Applications", false);

    browser.click(&format!("a[href='/apps/{APP}']"));
    let row = browser.wait_for("tbody", "offline", true);
    assert!(row.contains(&id) && row.contains("thermostat-17"), "{row}");
    let _listening = Running::start(thing.command("listen").args(["--exec", "cat >/dev/null"]));
    browser.wait_for("tbody", "online", true);

    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", r#"{"power":false,"degrees":21.5}"#]))
        .expect(0);
    browser.click(&format!("a[href='/apps/{APP}/things/{id}']"));
    browser.wait_for("#states", "\"degrees\" : 21.5", false);
    browser.write("textarea", "not JSON");
    browser.click("main form button");
    browser.wait_for(".error", "The actions are not JSON.", false);
    browser.open(&format!("{page}/apps/{APP}/things/{id}"));
    browser.write("textarea", r#"[{"turnPower":{"power":true}}]"#);
    browser.click("main form button");
    let table = browser.wait_for("tbody", "DONE", true);
    assert!(table.contains(r#"[{"turnPower":{"succeeded":true}}]"#), "{table}");
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG"));
    if let Some(path) = std::env::var_os("THINGIF_SCREENSHOT") {
        std::fs::write(path, &picture).expect("written");
    }

    // What passes is shown as it passes, and no secret with it.
    browser.open(&format!("{page}/tail"));
    let until = Instant::now() + PATIENCE;
    let element = browser.find("#tail");
    while browser.get(&format!("element/{element}/attribute/data-open")).is_null() {
        assert!(Instant::now() < until, "the stream never opened");
    }
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", r#"{"degrees":22.5}"#])).expect(0);
    let other = Thing::new();
    let broker = format!("mqtt://{}", server.address("mqtt"));
    run(other.onboard(&broker).arg("--json")).expect(0);
    let shown = browser.wait_for("#tail", "mqttTopic", false);
    assert!(shown.contains(r#"{"degrees":22.5}"#) && shown.contains("onboardings"), "{shown}");
    let credential: Value = serde_json::from_slice(&std::fs::read(other.credentials()).expect("there")).expect("JSON");
    let secrets = [
        credential["credential"]["accessToken"].as_str().expect("a token"),
        credential["credential"]["mqttEndpoint"]["password"].as_str().expect("a password"),
        "thing-password",
    ];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    browser.click("header button");
    browser.wait_for("h1", "Log in", false);
    browser.open(&page);
    browser.wait_for("h1", "Log in", false);
}
