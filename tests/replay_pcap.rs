//! From packets on the wire to a replay: Debian's tcpdump records mosquitto's clients at `thingif serve`, the recording becomes a
//! capture, and the capture is replayed against another server.
#![cfg(feature = "cli")]

mod program;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use program::{APP, APP_KEY, PATIENCE, Running, Server, foreign_program, run, thingif};
use serde_json::{Value, json};

const BY_THING: &str = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";

/// tcpdump on loopback, once it listens. Without the right to do so the test is skipped aloud, except where that is not allowed.
fn tcpdump(file: &Path, port: u16) -> Option<Running> {
    let program = foreign_program("tcpdump")?;
    let mut command = Command::new(program);
    command.args(["-i", "lo", "-n", "-U", "--immediate-mode", "-w"]).arg(file).arg(format!("tcp port {port}"));
    let mut running = Running::start(&mut command);
    if running.wait_for_error_line_or_end("listening on") {
        return Some(running);
    }
    let required = std::env::var_os("THINGIF_FOREIGN_PROGRAMS").is_some_and(|value| value == "required");
    assert!(!required, "tcpdump may not capture on loopback: it needs root, or CAP_NET_RAW");
    eprintln!("SKIPPED: tcpdump may not capture on loopback: it needs root, or CAP_NET_RAW");
    None
}

struct Mosquitto {
    rr: PathBuf,
    publish: PathBuf,
    subscribe: PathBuf,
}

impl Mosquitto {
    fn new() -> Option<Self> {
        Some(Self {
            rr: foreign_program("mosquitto_rr")?,
            publish: foreign_program("mosquitto_pub")?,
            subscribe: foreign_program("mosquitto_sub")?,
        })
    }
}

fn login(program: &Path, port: u16, login: [&str; 3], version: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version]);
    command.args(["-i", login[0], "-u", login[1], "-P", login[2]]);
    command
}

/// What the clients do: onboarding, a subscription, states at both QoS, a wrong path, and a login that is refused.
fn session(mosquitto: &Mosquitto, port: u16) {
    let anonymous = ["anonymous", &format!("type=oauth2&client_id={APP}"), &format!("client_secret={APP_KEY}")];
    let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
    let body = json!({"vendorThingID": "pcap-1", "thingPassword": "a secret of the thing"});
    let frame = format!("POST\r\nContent-type: {BY_THING}\r\n\r\n{body}");
    let mut onboard = login(&mosquitto.rr, port, anonymous, "mqttv31");
    let answer = run(onboard.args(["-t", &topic, "-e", &topic, "-W", "30", "-m", &frame])).expect(0).text();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a blank line");
    let onboarded: Value = serde_json::from_str(body).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let endpoint = &onboarded["mqttEndpoint"];
    let (client, user, password) =
        (text(&endpoint["mqttTopic"]), text(&endpoint["username"]), text(&endpoint["password"]));
    let assigned = [client.as_str(), user.as_str(), password.as_str()];
    let (thing, token) = (text(&onboarded["thingID"]), text(&onboarded["accessToken"]));
    let states = format!("p/{client}/thing-if/apps/{APP}/targets/thing:{thing}/states");
    let call = |version: &str, topic: &str, frame: String| {
        let mut command = login(&mosquitto.rr, port, assigned, version);
        run(command.args(["-t", topic, "-e", topic, "-W", "30", "-m", &frame])).expect(0).text()
    };
    let head = |verb: &str, id: &str| format!("{verb}\nAuthorization: Bearer {token}\nX-Kii-RequestID: {id}\n");
    let put = format!("{}Content-Type: application/json\n\n{{\"power\":true,\"n\":1.25}}", head("PUT", "first put"));
    assert!(call("mqttv311", &states, put).starts_with("201\r\n"));
    assert!(call("mqttv31", &states, format!("{}\n", head("GET", "get"))).contains("1.25"));
    let nowhere = format!("p/{client}/thing-if/apps/{APP}/nowhere");
    assert!(call("mqttv311", &nowhere, format!("{}\n", head("GET", "lost"))).starts_with("404\r\n"));
    let mut quiet = login(&mosquitto.publish, port, assigned, "mqttv311");
    let again = format!("{}Content-Type: application/json\n\n{{\"power\":false}}", head("PUT", "q1"));
    run(quiet.args(["-t", &states, "-q", "1", "-m", &again])).expect(0);
    let mut listener = login(&mosquitto.subscribe, port, assigned, "mqttv311");
    // It leaves after a while, because nobody has pushed anything.
    assert_eq!(run(listener.args(["-t", &client, "-W", "1"])).code(), 27);
    let mut refused = login(&mosquitto.publish, port, [anonymous[0], anonymous[1], "client_secret=wrong"], "mqttv311");
    assert_eq!(run(refused.args(["-t", &topic, "-m", "x"])).code(), 4);
}

fn import(pcap: &Path, capture: &Path, port: u16) -> program::Finished {
    let mut command = thingif();
    command.arg("record").arg(capture).arg("--from-pcap").arg(pcap).args(["--port", &port.to_string()]);
    run(command.args(["--source", "third-party client"]))
}

fn replay(capture: &Path, server: &Server, flags: &[&str]) -> program::Finished {
    let mut command = thingif();
    command.arg("replay").arg(capture).args(["--app", &format!("{APP}:{APP_KEY}"), "--speed", "max"]);
    run(command.args(["--broker", &format!("mqtt://127.0.0.1:{}", server.port("mqtt"))]).args(flags))
}

#[test]
fn what_tcpdump_has_recorded_is_replayed() {
    let Some(mosquitto) = Mosquitto::new() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (pcap, capture) = (dir.path().join("lo.pcap"), dir.path().join("session.jsonl"));
    let server = Server::start();
    let port = server.port("mqtt");
    let Some(tcpdump) = tcpdump(&pcap, port) else { return };
    session(&mosquitto, port);
    // Packets reach the file a moment after they have passed.
    let until = Instant::now() + PATIENCE;
    let text = loop {
        let done = import(&pcap, &capture, port);
        let text = std::fs::read_to_string(&capture).unwrap_or_default();
        if done.code() == 0 && text.contains("refused-4") {
            break text;
        }
        assert!(Instant::now() < until, "{}\n{text}", done.stderr);
        std::thread::sleep(Duration::from_millis(50));
    };
    tcpdump.signal("-INT");
    assert!(!text.contains("a secret of the thing") && !text.contains(APP_KEY), "{text}");
    let kinds = |kind: &str| text.lines().filter(|line| line.contains(&format!("\"kind\":\"{kind}\""))).count();
    // mosquitto_rr leaves without a DISCONNECT.
    let ends = (kinds("close"), kinds("dropped"), kinds("refused"));
    assert_eq!((kinds("connect"), ends), (7, (2, 4, 1)), "{text}");
    assert_eq!((kinds("publish"), kinds("received")), (5, 4), "{text}");
    drop(server);

    let fresh = Server::start();
    let same = replay(&capture, &fresh, &["--json"]).expect(0).json();
    assert_eq!((&same["same"], &same["compared"]), (&json!(true), &json!(4)));
    // Once more it is another story: the state is not the first one.
    let again = replay(&capture, &fresh, &[]).expect(1).text();
    assert!(again.contains("≠") && again.contains("201") && again.contains("204"), "{again}");

    // One byte of what is expected.
    let changed = dir.path().join("changed.jsonl");
    assert!(text.contains("1.25"), "{text}");
    let (before, after) = text.rsplit_once("1.25").expect("in the answer to GET");
    std::fs::write(&changed, format!("{before}1.26{after}")).expect("written");
    let other = Server::start();
    let differs = replay(&changed, &other, &[]).expect(1);
    let shown = differs.text();
    assert!(shown.contains("first difference: line ") && shown.contains("1.26") && shown.contains("1.25"), "{shown}");
    assert!(differs.stderr.contains("not as it was recorded"), "{}", differs.stderr);
}
