//! Against programs that nobody here wrote: mosquitto's clients and Python's paho on our edge, mosquitto's broker under our
//! client. `make interop` installs them; without them a test says that it was skipped, except where that is not allowed.
#![cfg(feature = "cli")]

mod program;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use program::{APP, APP_KEY, Finished, Owner, Running, Server, Thing, foreign_program, python_with_paho, run};
use serde_json::{Value, json};

const BY_THING: &str = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// The answer to a documented onboarding, as strict clients read it. (`wire` §2.3)
fn assert_onboarded(answer: &Value) -> Value {
    let payload = answer["payload"].as_str().expect("text");
    let (head, body) = payload.split_once("\r\n\r\n").expect("a blank line");
    assert!(head.starts_with("200\r\n"), "{head}");
    assert!(body.starts_with("{\n"), "{body}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert!(body["mqttEndpoint"]["portTCP"].is_u64() && body["accessToken"].is_string(), "{body}");
    assert_eq!(answer["topic"], format!("p/anonymous/thing-if/apps/{APP}/onboardings"));
    assert_eq!((&answer["qos"], &answer["retain"]), (&json!(0), &json!(false)));
    body
}

fn onboard_with_python(python: &Path, server: &Server, rest: &[&str]) -> Finished {
    let mut command = Command::new(python);
    command.arg(script("onboard.py")).args(["127.0.0.1", &server.port("mqtt").to_string(), APP, APP_KEY]);
    run(command.args(rest)).expect(0)
}

#[test]
fn pythons_paho_onboards_without_subscribing() {
    let Some(python) = python_with_paho() else { return };
    let server = Server::start();
    for version in ["v31", "v311"] {
        for line_end in ["crlf", "lf"] {
            for qos in ["0", "1"] {
                let vendor = format!("{version}-{line_end}-{qos}");
                let done = onboard_with_python(&python, &server, &[&vendor, "pw", version, line_end, qos]);
                let answers = done.json_lines();
                let [answer] = &answers[..] else { panic!("{vendor}: {answers:?}") };
                assert_eq!(answer["acknowledged"], true, "{vendor}");
                assert_onboarded(answer);
            }
        }
    }
}

#[test]
fn forty_anonymous_clients_each_get_their_own_answer() {
    let Some(python) = python_with_paho() else { return };
    let server = Server::start();
    let done = onboard_with_python(&python, &server, &["crowd", "pw", "v311", "crlf", "0", "40"]);
    let answers = done.json_lines();
    assert_eq!(answers.len(), 40);
    let things: std::collections::HashMap<String, String> = answers
        .iter()
        .map(|answer| {
            let thing = assert_onboarded(answer)["thingID"].as_str().expect("an id").to_owned();
            (thing, answer["vendorThingID"].as_str().expect("text").to_owned())
        })
        .collect();
    assert_eq!(things.len(), 40, "forty things");
    // Each client heard of the thing that it named: asked again, one by one, the service says the same.
    for (thing, vendor) in things.iter().take(5) {
        let again = onboard_with_python(&python, &server, &[vendor, "pw", "v311", "crlf", "0"]);
        assert_eq!(assert_onboarded(&again.json_lines()[0])["thingID"], thing.as_str());
    }
}

/// `mosquitto_pub` and its kin with the credentials of the default broker.
fn anonymous(program: &Path, server: &Server, version: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &server.port("mqtt").to_string(), "-V", version, "-i", "anonymous"]);
    command.args(["-u", &format!("type=oauth2&client_id={APP}"), "-P", &format!("client_secret={APP_KEY}")]);
    command
}

#[test]
fn mosquitto_pub_onboards() {
    let Some(mosquitto_pub) = foreign_program("mosquitto_pub") else { return };
    let server = Server::start();
    let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
    for version in ["mqttv31", "mqttv311"] {
        for (name, end) in [("crlf", "\r\n"), ("lf", "\n")] {
            for qos in ["0", "1"] {
                let vendor = format!("{version}-{name}-{qos}");
                let body = json!({"vendorThingID": vendor, "thingPassword": "first"});
                let mut frame = tempfile::NamedTempFile::new().expect("a temporary file");
                write!(frame, "POST{end}Content-type: {BY_THING}{end}{end}{body}").expect("written");
                let mut command = anonymous(&mosquitto_pub, &server, version);
                // At QoS 1 it ends well only after the PUBACK.
                run(command.args(["-t", &topic, "-q", qos, "-f"]).arg(frame.path())).expect(0);
                // It leaves without reading the answer; what was taken is executed all the same.
                wait_for_thing(&server, &vendor, "first");
            }
        }
    }
    let mut wrong = Command::new(&mosquitto_pub);
    wrong.args(["-h", "127.0.0.1", "-p", &server.port("mqtt").to_string(), "-V", "mqttv311", "-i", "anonymous"]);
    wrong.args(["-u", &format!("type=oauth2&client_id={APP}"), "-P", "client_secret=wrong", "-t", &topic, "-m", "x"]);
    let refused = run(&mut wrong);
    assert_eq!(refused.code(), 4, "CONNACK 4: {}", refused.stderr);
}

/// Waits until a thing with this password can log in.
fn wait_for_thing(server: &Server, vendor: &str, password: &str) {
    let path = format!("/api/apps/{APP}/oauth2/token");
    let login = json!({"username": format!("VENDOR_THING_ID:{vendor}"), "password": password});
    let until = Instant::now() + program::PATIENCE;
    loop {
        let (status, answer) =
            program::http(server.address("http"), "POST", &path, program::BASIC, "application/json", &login);
        if status == 200 {
            return;
        }
        assert!(Instant::now() < until, "{vendor} was never onboarded: {status} {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn mosquitto_rr_hears_the_answer_on_its_own_topic() {
    let Some(mosquitto_rr) = foreign_program("mosquitto_rr") else { return };
    let server = Server::start();
    let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
    for version in ["mqttv31", "mqttv311"] {
        let body = json!({"vendorThingID": format!("rr-{version}"), "thingPassword": "pw"});
        let frame = format!("POST\r\nContent-type: {BY_THING}\r\n\r\n{body}");
        let mut command = anonymous(&mosquitto_rr, &server, version);
        let heard = run(command.args(["-t", &topic, "-e", &topic, "-W", "30", "-m", &frame])).expect(0);
        let answer = json!({"payload": heard.text(), "topic": topic, "qos": 0, "retain": false});
        let text = heard.text();
        assert!(text.starts_with("200\r\n"), "{text}");
        assert_onboarded(&answer);
    }
}

/// A thing that is onboarded, and its stored credential.
fn onboarded(server: &Server) -> (Thing, Value) {
    let thing = Thing::new();
    thing.onboard_at(server, "mqtt");
    let stored: Value = serde_json::from_slice(&std::fs::read(thing.credentials()).expect("stored")).expect("JSON");
    (thing, stored["credential"].clone())
}

/// A mosquitto client as an onboarded thing.
fn assigned(program: &Path, credential: &Value, version: &str) -> Command {
    let endpoint = &credential["mqttEndpoint"];
    let text = |name: &str| endpoint[name].as_str().expect("text").to_owned();
    let mut command = Command::new(program);
    command.args(["-h", &text("host"), "-p", &endpoint["portTCP"].to_string(), "-V", version]);
    command.args(["-i", &text("mqttTopic"), "-u", &text("username"), "-P", &text("password")]);
    command
}

#[test]
fn mosquitto_sub_receives_pushes() {
    let Some(mosquitto_sub) = foreign_program("mosquitto_sub") else { return };
    let server = Server::start();
    let (_thing, credential) = onboarded(&server);
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let id = credential["thingID"].as_str().expect("an id");
    let topic = credential["mqttEndpoint"]["mqttTopic"].as_str().expect("text");
    for version in ["mqttv31", "mqttv311"] {
        let command = assigned(&mosquitto_sub, &credential, version);
        // Its output is no terminal, so it would keep to itself what -d makes it say.
        let mut unbuffered = Command::new("stdbuf");
        unbuffered.arg("-oL").arg(command.get_program()).args(command.get_args());
        let mut subscriber = Running::start(unbuffered.args(["-t", topic, "-d", "-C", "1"]));
        while !subscriber.line().contains("Subscribed") {}
        let command_id = owner.command(id, json!([{"turnPower": {"power": true}}]));
        let push = loop {
            let line = subscriber.line();
            if line.starts_with('{') {
                break line;
            }
        };
        let push: Value = serde_json::from_str(&push).expect("a push is JSON");
        assert_eq!(push["commandID"], command_id.as_str(), "{version}");
        assert_eq!(push["actions"], json!([{"turnPower": {"power": true}}]));
    }
}

#[test]
fn mosquitto_rr_calls_the_api_as_a_thing() {
    let Some(mosquitto_rr) = foreign_program("mosquitto_rr") else { return };
    let server = Server::start();
    let (_thing, credential) = onboarded(&server);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (id, topic) = (text(&credential["thingID"]), text(&credential["mqttEndpoint"]["mqttTopic"]));
    let states = format!("p/{topic}/thing-if/apps/{APP}/targets/thing:{id}/states");
    let token = text(&credential["accessToken"]);
    for (n, version) in ["mqttv31", "mqttv311"].into_iter().enumerate() {
        for (verb, body, status) in
            [("PUT", format!(r#"{{"n":{n}}}"#), ["201", "204"][n]), ("GET", String::new(), "200")]
        {
            let frame = format!(
                "{verb}\nAuthorization: Bearer {token}\nX-Kii-RequestID: {verb} {n}\nContent-Type: application/json\n\n{body}"
            );
            let mut command = assigned(&mosquitto_rr, &credential, version);
            let heard = run(command.args(["-t", &states, "-e", &states, "-W", "30", "-m", &frame])).expect(0).text();
            assert!(heard.starts_with(&format!("{status}\r\n")), "{version} {verb}: {heard}");
            assert!(heard.contains(&format!("X-Kii-RequestID:{verb} {n}\r\n")), "{heard}");
        }
    }
}

/// Debian's broker on a port of its own.
struct Mosquitto {
    running: Running,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        let program = foreign_program("mosquitto")?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("mosquitto.conf");
        // It cannot be told to pick a port; one that was free a moment ago usually still is.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            let text = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type all\n"
            );
            std::fs::write(&config, text).expect("written");
            let mut running = Running::start(Command::new(&program).arg("-c").arg(&config));
            if running.wait_for_error_line_or_end(" running") {
                return Some(Self { running, port, _dir: dir });
            }
        }
        panic!("mosquitto did not start");
    }
}

#[test]
fn the_client_works_through_an_ordinary_broker_on_paho() {
    the_client_works_through_an_ordinary_broker("paho");
}

#[test]
fn the_client_works_through_an_ordinary_broker_on_native() {
    the_client_works_through_an_ordinary_broker("native");
}

/// Packets may follow CONNECT before CONNACK has come (MQTT 3.1.1 §3.1.4): the broker that most things meet takes them, in order.
#[test]
fn mosquitto_takes_packets_behind_connect() {
    use thingif::mqtt::{Credentials, Publish};
    use thingif::topic::{Topic, TopicFilter};
    use thingif::transport::native::{Native, Options};
    use thingif::transport::{ConnectOptions, LinkEvent, Transport, next_event};

    let Some(mosquitto) = Mosquitto::start() else { return };
    let story = async {
        let native = Native::new(Options::default()).expect("usable options");
        let endpoint = format!("mqtt://127.0.0.1:{}", mosquitto.port).parse().expect("a broker");
        let client_id = thingif::ids::ClientId::new("hasty").expect("valid");
        let credentials = Credentials { client_id, username: "u".into(), password: "p".into() };
        let mut options = ConnectOptions::default();
        (options.timeout, options.pipeline) = (program::PATIENCE, true);
        let mut link = native.connect(&endpoint, &credentials, &options).await.expect("handed out");
        let filter = TopicFilter::new("a/b").expect("valid");
        link.subscribe(filter.clone()).expect("room");
        let calls: Vec<_> = (0..20).map(|n| Publish::new(Topic::new("a/b").expect("valid"), n.to_string())).collect();
        for call in &calls {
            link.publish(call.clone()).expect("room");
        }
        assert!(!link.is_accepted(), "all of it is behind CONNECT");
        assert_eq!(next_event(link.as_mut()).await, LinkEvent::Accepted);
        assert_eq!(next_event(link.as_mut()).await, LinkEvent::Subscribed { filter, granted: true });
        for call in calls {
            assert_eq!(next_event(link.as_mut()).await, LinkEvent::Received(call), "each, in order");
        }
        link.close().await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(program::PATIENCE, story).await }).expect("in time");
}

fn the_client_works_through_an_ordinary_broker(transport: &str) {
    let (Some(mut mosquitto), Some(python)) = (Mosquitto::start(), python_with_paho()) else { return };
    let mut responder = Command::new(python);
    responder.arg(script("responder.py")).args(["127.0.0.1", &mosquitto.port.to_string()]);
    let mut responder = Running::start(&mut responder);
    assert_eq!(responder.line(), "ready");

    let thing = Thing::new();
    let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let with = |mut command: Command| {
        command.args(["--transport", transport]);
        command
    };
    let (onboard, command) = (|| with(thing.onboard(&broker)), |verb| with(thing.command(verb)));
    // An ordinary broker answers nobody who has not subscribed.
    let deaf = run(onboard().args(["--max-time", "2"])).expect(28);
    assert!(deaf.stderr.contains("--response-filter"), "{}", deaf.stderr);
    run(onboard().arg("--response-filter")).expect(0);

    // The answer has what was asked, so it cannot be the request heard back.
    let put = ["PUT", "targets/thing:{thing}/states", "-d", r#"{"n":1}"#];
    let answer = run(command("call").args(put)).expect(0).json();
    let path = format!("thing-if/apps/{APP}/targets/thing:th.0123456789ab-cdef/states");
    assert_eq!(
        answer,
        json!({"verb": "PUT", "path": path, "body": r#"{"n":1}"#, "authorization": "Bearer token-of-the-responder"})
    );

    // Sixteen at once on one topic through one connection; each gets its own.
    let mut listen = Running::start(&mut command("listen"));
    listen.wait_for_error_line("connected as");
    let calls: Vec<_> = (0..16)
        .map(|n| {
            let mut call = command("call");
            let body = format!(r#"{{"n":{n}}}"#);
            call.args(["PUT", "targets/thing:{thing}/states", "-d", &body]);
            std::thread::spawn(move || assert_eq!(run(&mut call).expect(0).json()["body"], body))
        })
        .collect();
    for call in calls {
        call.join().expect("its own answer");
    }
    // And pushes arrive, which are not confused with anything.
    run(command("call").args(["DELETE", "targets/thing:{thing}/states", "-d", r#"{"pushed":true}"#])).expect(0);
    assert_eq!(listen.json_line(), json!({"pushed": true}));
    assert!(listen.lines_so_far().is_empty(), "no answer and no echo was taken for a push");
    assert_eq!(listen.errors(), "");

    let log = mosquitto.running.errors();
    let client = "device00000000000000001";
    let echo = format!("Sending PUBLISH to {client}");
    assert!(log.matches(&echo).count() > 16, "the broker did send its own requests back: {log}");
}

#[test]
fn where_nothing_may_be_skipped_everything_is_there() {
    // Each of these panics where its absence is not allowed. strace is for the durability of the cloud.
    for program in ["mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "stdbuf", "strace", "curl", "bash"] {
        foreign_program(program);
    }
    python_with_paho();
}
