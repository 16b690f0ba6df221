//! `thingif serve --data`, killed and restarted on the same ports and data; and an owner who posts commands over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, PATIENCE, device};

pub(crate) struct Server {
    child: Child,
    data: tempfile::TempDir,
    http_port: u16,
    pub(crate) mqtt_port: u16,
    /// Where the devices connect: it is what the server advertises.
    pub(crate) line_port: u16,
}

/// Each connection takes two descriptors of the line.
pub(crate) fn check_descriptors(devices: u64) -> Result<(), Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next());
    let (allowed, needed) = (soft.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX), 3 * devices + 200);
    if allowed < needed {
        return Err(format!("{allowed} descriptors are allowed and {needed} needed: raise `ulimit -n`").into());
    }
    Ok(())
}

impl Server {
    pub(crate) fn start() -> Result<Self, Failure> {
        let free = || Ok::<_, Failure>(TcpListener::bind("127.0.0.1:0")?);
        let held = [free()?, free()?, free()?];
        let [http_port, mqtt_port, line_port] =
            [&held[0], &held[1], &held[2]].map(|held| held.local_addr().map_or(0, |at| at.port()));
        drop(held);
        let data = tempfile::tempdir()?;
        let child = spawn(&data, http_port, mqtt_port, line_port)?;
        Ok(Self { child, data, http_port, mqtt_port, line_port })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns when the new one is ready.
    pub(crate) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        self.child.kill()?; // SIGKILL
        self.child.wait()?;
        self.child = spawn(&self.data, self.http_port, self.mqtt_port, self.line_port)?;
        Ok(())
    }

    /// One HTTP call; `None` when the server was not there, or not to the end.
    fn http(&self, method: &str, path: &str, auth: &str, media_type: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {auth}\r\n\
             Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn spawn(data: &tempfile::TempDir, http: u16, mqtt: u16, line: u16) -> Result<Child, Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingif"));
    command.args(["serve", "--app", &format!("{}:{}", device::APP, device::APP_KEY)]).arg("--data").arg(data.path());
    command.args(["--http", &format!("127.0.0.1:{http}"), "--mqtt", &format!("127.0.0.1:{mqtt}")]);
    command.args(["--advertise", &format!("127.0.0.1,tcp={line}")]);
    for off in ["--https", "--mqtts", "--ws", "--wss"] {
        command.args([off, "off"]);
    }
    let mut child = command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut ready = String::new();
    let began = Instant::now();
    let read = BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut ready)?;
    if read == 0 || !ready.contains("\"ready\":true") || began.elapsed() > PATIENCE {
        return Err(format!("the server is not ready: {ready:?}").into());
    }
    Ok(child)
}

/// The owner of the first device.
pub(crate) struct Owner {
    token: String,
    user: String,
    thing: String,
}

impl Owner {
    pub(crate) fn of_the_first(server: &Server) -> Result<Self, Failure> {
        let app = device::APP;
        let ask = |path: &str, auth: &str, media: &str, body: Value| -> Result<Value, Failure> {
            let (status, answer) = server.http("POST", path, auth, media, &body).ok_or("the server is gone")?;
            if status < 300 { Ok(answer) } else { Err(format!("{path}: {status} {answer}").into()) }
        };
        let (json_type, basic) = ("application/json", device::BASIC);
        ask(
            &format!("/api/apps/{app}/users"),
            basic,
            json_type,
            json!({"loginName": "ann", "password": "anns password"}),
        )?;
        let login = json!({"username": "ann", "password": "anns password"});
        let login = ask(&format!("/api/apps/{app}/oauth2/token"), basic, json_type, login)?;
        let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned).ok_or("an answer without it");
        let (token, user) = (format!("Bearer {}", text(&login, "access_token")?), text(&login, "id")?);
        let by_owner = "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json";
        let body = json!({"vendorThingID": device::name(0), "thingPassword": device::PASSWORD, "owner": format!("user:{user}")});
        let owned = ask(&format!("/thing-if/apps/{app}/onboardings"), &token, by_owner, body)?;
        Ok(Self { thing: text(&owned, "thingID")?, token, user })
    }

    /// Posts a command; its id, if the server said that it has it.
    pub(crate) fn command(&self, server: &Server) -> Option<String> {
        let path = format!("/thing-if/apps/{}/targets/thing:{}/commands", device::APP, self.thing);
        let body = json!({"actions": [{"turnPower": {"power": true}}], "issuer": format!("user:{}", self.user), "schema": "Lamp", "schemaVersion": 1});
        let (status, answer) = server.http("POST", &path, &self.token, "application/json", &body)?;
        (status == 201).then(|| answer["commandID"].as_str().map(str::to_owned)).flatten()
    }

    pub(crate) fn has(&self, server: &Server, id: &str) -> bool {
        let path = format!("/thing-if/apps/{}/targets/thing:{}/commands/{id}", device::APP, self.thing);
        let answer = server.http("GET", &path, &self.token, "application/json", &Value::Null);
        answer.is_some_and(|(status, command)| status == 200 && command["commandID"] == id)
    }
}
