//! `thingif doctor` against a service that fails in each of many scripted ways: it must name the right step, every time.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/connect_proxy.rs"]
mod connect_proxy;
#[path = "doctor_parts/scripted.rs"]
mod scripted;

mod program;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use certificates::Authority;
use connect_proxy::{ConnectProxy, Manners};
use program::{APP, APP_KEY, Finished, Server, Thing, run};
use scripted::{Answer, Below, ENDPOINT_PASSWORD, Script, Scripted, TOKEN};
use serde_json::Value;

/// What a row must come to.
#[derive(Clone, Copy)]
enum Expect {
    /// This probe fails, with this exit status.
    Failed(i32),
    /// It is a warning, and all goes on.
    Warning,
    Ok,
}

/// One way to fail.
struct Row {
    name: &'static str,
    scheme: &'static str,
    default: Script,
    assigned: Script,
    flags: Vec<String>,
    /// `default tls`.
    probe: &'static str,
    expect: Expect,
    /// What must be in what is said and in the remedy.
    said: &'static str,
    remedy: &'static str,
}

fn row(name: &'static str, probe: &'static str, expect: Expect, said: &'static str, remedy: &'static str) -> Row {
    let (default, assigned) = (Script::default(), Script::default());
    Row { name, scheme: "mqtt", default, assigned, flags: Vec::new(), probe, expect, said, remedy }
}

impl Row {
    fn over(self, scheme: &'static str, below: Below) -> Self {
        Self { scheme, ..self.default(|script| script.below = below) }
    }

    fn default(mut self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.default);
        self
    }

    fn assigned(mut self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.assigned);
        self
    }

    fn flags<S: ToString>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(flags.into_iter().map(|flag| flag.to_string()));
        self
    }

    /// For what is silent: long enough for the steps before on a machine that is busy.
    fn briefly(self) -> Self {
        self.flags(["--max-time", "4"])
    }
}

/// Certificates for the rows, and one for the wrong host.
struct Certificates {
    authority: Authority,
    clients: Authority,
}

impl Certificates {
    fn tls(&self, identity: &certificates::Identity) -> Below {
        Below::Tls(identity.server(None))
    }

    fn ca(&self) -> [PathBuf; 1] {
        [self.authority.file.clone()]
    }
}

fn path(file: &[PathBuf; 1]) -> [String; 2] {
    ["--ca".to_owned(), file[0].display().to_string()]
}

fn below_mqtt(certificates: &Certificates) -> Vec<Row> {
    use Expect::{Failed, Warning};
    let good = certificates.authority.issue("127.0.0.1");
    let ca = path(&certificates.ca());
    let tls = |row: Row, below| row.over("mqtts", below).flags(ca.clone());
    let pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    vec![
        row("port closed", "default tcp", Failed(7), "refused", "nobody listens on that port")
            .over("mqtt", Below::Nobody),
        tls(
            row("certificate expired", "default tls", Failed(60), "expired on Fri, 01 Jan 2021", "renew"),
            certificates.tls(&certificates.authority.issue_between("127.0.0.1", 2020, 2021)),
        ),
        tls(
            row("certificate of the future", "default tls", Failed(60), "not valid before", "clock is behind"),
            certificates.tls(&certificates.authority.issue_between("127.0.0.1", 2190, 2200)),
        ),
        tls(
            row("certificate ends soon", "default tls", Warning, "ends on", "renew").assigned(|script| {
                script.below = certificates.tls(&good);
            }),
            certificates.tls(&certificates.authority.issue_for_days("127.0.0.1", 7)),
        ),
        tls(
            row("unknown authority", "default tls", Failed(60), "not trusted", "--ca FILE"),
            certificates.tls(&certificates.clients.issue("127.0.0.1")),
        ),
        tls(
            row("wrong name", "default tls", Failed(60), "it has other.test", "name that is in the certificate"),
            certificates.tls(&certificates.authority.issue("other.test")),
        ),
        tls(row("another key", "default tls", Failed(60), "none of the pins", "pin"), certificates.tls(&good))
            .flags(["--pin", pin]),
        tls(
            row(
                "client certificate wanted",
                "default tls",
                Failed(35),
                "client certificate, and there is none",
                "--cert",
            ),
            Below::Tls(good.server(Some(&certificates.clients))),
        ),
        tls(row("TLS to a plain port", "default tls", Failed(35), "instead of speaking TLS", "8883"), Below::Closing),
        tls(
            row("TLS to a web server", "default tls", Failed(35), "does not speak TLS", "8883"),
            Below::Says("HTTP/1.1 400 No\r\n\r\n"),
        ),
        tls(row("TLS not answered", "default tls", Failed(28), "not answered within 4 s", "plain MQTT"), Below::Silent)
            .briefly(),
        row("no TLS to a TLS port", "default connack", Failed(7), "speaks TLS", "mqtts://")
            .over("mqtt", certificates.tls(&good)),
        row("WebSocket to a TLS port", "default websocket", Failed(7), "", "wss://")
            .over("ws", certificates.tls(&good)),
        tls(
            row("certificate not checked", "default tls", Warning, "not trusted", "--ca FILE").assigned(|script| {
                script.below = certificates.tls(&good);
            }),
            certificates.tls(&certificates.clients.issue("127.0.0.1")),
        )
        .flags(["--danger-accept-any-certificate"]),
        row("MQTT to a web server", "default connack", Failed(7), "web server", "ws://")
            .over("mqtt", Below::Says("HTTP/1.1 400 No\r\n\r\n")),
        row("MQTT to something else", "default connack", Failed(7), "does not speak MQTT", "scheme and port")
            .over("mqtt", Below::Says("220 mail.test ESMTP\r\n")),
        row("WebSocket at another path", "default websocket", Failed(7), "404 Not Found", "path is wrong")
            .over("ws", Below::WebSocket(404)),
        row("WebSocket behind a login", "default websocket", Failed(7), "403", "login")
            .over("ws", Below::WebSocket(403)),
        row("another WebSocket", "default websocket", Failed(7), "sub-protocol mqtt", "another service")
            .over("ws", Below::OtherWebSocket),
        row("WebSocket to a plain port", "default websocket", Failed(7), "", "12470").over("ws", Below::Closing),
        row("WebSocket not answered", "default websocket", Failed(28), "not answered", "12470")
            .over("ws", Below::Silent)
            .briefly(),
    ]
}

fn at_the_default_broker() -> Vec<Row> {
    use Expect::Failed;
    let connack = |name, code, said, remedy| {
        row(name, "default connack", Failed(67), said, remedy).default(|script| script.connack = Some(code))
    };
    let onboarding = |name, answer: Answer, exit, said, remedy| {
        row(name, "default onboarding", Failed(exit), said, remedy).default(|script| script.answer = answer)
    };
    let error = Answer::Error;
    vec![
        connack("CONNACK 1", 1, "CONNACK 1", "MQTT 3.1.1"),
        connack("CONNACK 2", 2, "CONNACK 2: client identifier rejected", "no Thing-IF default broker"),
        connack("CONNACK 3", 3, "CONNACK 3: server unavailable", "back off"),
        connack("CONNACK 4", 4, "CONNACK 4: bad user name or password", "app id or its key"),
        connack("CONNACK 5", 5, "CONNACK 5: not authorised", "does not know the app"),
        row("CONNACK never", "default connack", Failed(28), "not answered", "hangs")
            .default(|script| script.connack = None)
            .briefly(),
        row("closed at CONNECT", "default connack", Failed(7), "closed instead of an answer", "scheme and port")
            .over("mqtt", Below::Closing),
        onboarding("onboarding 400", error(400, "INVALID_INPUT_DATA"), 1, "400", "--thing-type"),
        onboarding("onboarding 401", error(401, "WRONG_PASSWORD"), 67, "WRONG_PASSWORD", "thing's password"),
        onboarding("onboarding 403", error(403, "OPERATION_NOT_SUPPORTED"), 67, "403", "disabled"),
        onboarding("onboarding 404", error(404, "APP_NOT_FOUND"), 1, "APP_NOT_FOUND", "app id"),
        onboarding(
            "onboarding 409",
            error(409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY"),
            1,
            "409",
            "something else already",
        ),
        onboarding("onboarding 429", error(429, "TOO_MANY_REQUESTS"), 1, "429", "back off"),
        onboarding("onboarding 503", error(503, "MQTT_ENDPOINT_NOT_READY"), 1, "503", "try again in a minute"),
        onboarding("onboarding 500", error(500, "UNDEFINED_ERROR"), 1, "500", "operator"),
        onboarding("onboarding never", Answer::Never, 28, "no answer within 4 s", "--response-filter").briefly(),
        onboarding("onboarding echoed", Answer::Echo, 28, "our own request came back", "ordinary broker").briefly(),
        onboarding("onboarding elsewhere", Answer::OnOtherTopic, 28, "on other topics", "very topic").briefly(),
        onboarding("onboarding cut off", Answer::Closes, 7, "closed the connection", "client id"),
        onboarding(
            "onboarding without token",
            Answer::Body("{\"thingID\":\"th.1\"}"),
            1,
            "accessToken",
            "breaks the Thing-IF protocol",
        ),
        onboarding("onboarding no JSON", Answer::Body("<html>"), 1, "200", "breaks the Thing-IF protocol"),
        onboarding("onboarding no frame", Answer::Raw("OK, thanks"), 1, "cannot be read", "thingif decode"),
    ]
}

fn at_the_assigned_broker() -> Vec<Row> {
    use Expect::{Failed, Ok, Warning};
    let round_trip = |name, answer: Answer, exit, said, remedy| {
        row(name, "assigned round-trip", Failed(exit), said, remedy).assigned(|script| script.answer = answer)
    };
    let error = Answer::Error;
    let disruptive = |row: Row| row.flags(["--disruptive", "--watch", "0", "--max-time", "4"]);
    vec![
        row("not offered", "assigned name", Failed(7), "without a port for mqtt", "--assigned")
            .assigned(|script| script.offers_port = false),
        row("second broker down", "assigned tcp", Failed(7), "refused", "broker is running")
            .assigned(|script| script.below = Below::Nobody),
        row("second broker elsewhere", "assigned tcp", Failed(7), "refused", "--advertise")
            .assigned(|script| script.below = Below::Nobody),
        row("second broker's name", "assigned name", Failed(6), "broker.invalid is not resolved", "--advertise")
            .assigned(|script| script.host = "broker.invalid"),
        row("second broker silent", "assigned connack", Failed(28), "not answered", "hangs")
            .assigned(|script| script.below = Below::Silent)
            .briefly(),
        row("second broker refuses", "assigned connack", Failed(67), "CONNACK 4", "thingif onboard")
            .assigned(|script| script.connack = Some(4)),
        row("second broker refuses, too", "assigned connack", Failed(67), "CONNACK 5", "thingif onboard")
            .assigned(|script| script.connack = Some(5)),
        row("SUBSCRIBE never answered", "assigned subscribe", Failed(28), "not answered", "operator")
            .assigned(|script| script.suback = None)
            .briefly(),
        row("SUBSCRIBE refused", "assigned subscribe", Failed(1), "was refused", "access rules")
            .assigned(|script| script.suback = Some(0x80)),
        round_trip("round trip never", Answer::Never, 28, "no answer within 4 s", "service behind it is down")
            .briefly(),
        row("SUBSCRIBE answered in part", "assigned subscribe", Failed(1), "1 of 2", "operator")
            .flags(["--response-filter"]),
        round_trip("a push, no answer", Answer::Push, 28, "no answer within 4 s", "service behind it is down")
            .briefly(),
        round_trip("rude words", Answer::Rude, 1, "RUDE", "operator"),
        row("pings never answered", "assigned keep-alive", Failed(28), "PINGREQ was not answered within 4 s", "hangs")
            .assigned(|script| script.pings = false)
            .briefly(),
        round_trip("another's id", Answer::WithOtherId, 28, "another request's X-Kii-RequestID", "must echo").briefly(),
        round_trip("round trip cut off", Answer::Closes, 7, "closed the connection", "same client id"),
        round_trip("token refused", error(401, "UNAUTHORIZED"), 67, "UNAUTHORIZED", "thingif onboard"),
        round_trip("token of another", error(403, "WRONG_TOKEN"), 67, "WRONG_TOKEN", "thingif onboard"),
        round_trip("thing deleted", error(404, "TARGET_NOT_FOUND"), 1, "404", "was deleted"),
        round_trip("service fails", error(500, "UNDEFINED_ERROR"), 1, "500", "operator"),
        row("no state yet", "assigned round-trip", Ok, "no state yet", "")
            .assigned(|script| script.answer = Answer::Error(404, "STATE_NOT_FOUND")),
        row("no id", "assigned round-trip", Warning, "without our X-Kii-RequestID", "must echo")
            .assigned(|script| script.answer = Answer::WithoutId),
        row("kicked", "assigned duplicate-client-id", Warning, "the connection was ended", "--disruptive")
            .assigned(|script| script.kicks = 2)
            .flags(["--watch", "4"]),
        row("kicked twice", "assigned duplicate-client-id", Failed(1), "another device connects", "copied credential")
            .assigned(|script| script.kicks = 2)
            .flags(["--watch", "4", "--disruptive"]),
        row("kicked once", "assigned duplicate-client-id", Warning, "ended once", "--watch 60")
            .assigned(|script| script.kicks = 1)
            .flags(["--watch", "4", "--disruptive"]),
        row(
            "kicked and refused",
            "assigned duplicate-client-id",
            Failed(67),
            "connecting again failed: CONNACK 5",
            "thingif onboard",
        )
        .assigned(|script| (script.kicks, script.refuses_from) = (1, 1))
        .flags(["--watch", "4", "--disruptive"]),
        disruptive(
            row("takes over", "assigned duplicate-client-id", Ok, "took over", "")
                .assigned(|script| script.takes_over = true),
        ),
        disruptive(
            row("takes over in silence", "assigned keep-alive", Failed(28), "PINGREQ was not answered", "hangs")
                .assigned(|script| (script.takes_over, script.pings) = (true, false)),
        ),
        disruptive(row(
            "keeps both",
            "assigned duplicate-client-id",
            Warning,
            "the first one stays",
            "end the older one",
        )),
        row("a push", "assigned push", Ok, "2 came", "").assigned(|script| script.pushes = 2).flags(["--watch", "2"]),
        row("clock hours off", "- clock", Failed(1), "this machine is 2 h behind the service", "NTP")
            .assigned(|script| script.ahead = 2 * 3600 + 60),
        row("clock a minute off", "- clock", Warning, "ahead of the service", "NTP")
            .assigned(|script| script.ahead = -100),
    ]
}

/// What fails before there is a broker.
fn on_the_way(proxies: &Proxies) -> Vec<Row> {
    use Expect::Failed;
    let through = |row: Row, proxy: &ConnectProxy| row.flags(["--proxy", &proxy.url()]);
    vec![
        row("name unknown", "default name", Failed(6), "broker.invalid is not resolved", "name server")
            .flags(["--broker", "mqtt://broker.invalid"]),
        row("proxy's name unknown", "default name", Failed(6), "proxy.invalid", "name server")
            .flags(["--proxy", "http://proxy.invalid:3128"]),
        through(row("proxy wants a login", "default proxy", Failed(7), "407", "--proxy and its login"), &proxies.login),
        through(
            row("proxy cannot reach it", "default proxy", Failed(7), "502", "broker's name and port"),
            &proxies.bad_gateway,
        ),
        through(row("proxy silent", "default proxy", Failed(28), "did not answer CONNECT", "--proxy"), &proxies.silent)
            .briefly(),
        through(row("proxy works", "assigned round-trip", Expect::Ok, "200", ""), &proxies.open),
    ]
}

struct Proxies {
    login: ConnectProxy,
    bad_gateway: ConnectProxy,
    silent: ConnectProxy,
    open: ConnectProxy,
}

fn examine(row: &Row, broker: &str, thing: &Thing) -> Finished {
    let mut command = thing.command("doctor");
    if !row.flags.iter().any(|flag| flag == "--broker") {
        command.args(["--broker", broker]);
    }
    let given = |flag: &str| row.flags.iter().any(|given| given == flag);
    if !given("--watch") {
        command.args(["--watch", "0"]);
    }
    if !given("--max-time") {
        command.args(["--max-time", "30"]);
    }
    command.args(["--app", APP, "--thing", "thermostat-17", "--json"]).args(&row.flags);
    command.arg("--app-key-file").arg(thing.path("app-key")).arg("--password-file").arg(thing.path("password"));
    run(&mut command)
}

/// `default tls`, of a line.
fn place(line: &Value) -> String {
    format!("{} {}", line["broker"].as_str().unwrap_or("-"), line["probe"].as_str().expect("a name"))
}

fn check(row: &Row, finished: &Finished) {
    let all = format!("{}: {}\n{}", row.name, finished.text(), finished.stderr);
    for secret in [APP_KEY, "thing-password", TOKEN, ENDPOINT_PASSWORD] {
        assert!(!all.contains(secret), "{secret} is shown: {all}");
    }
    let lines = finished.json_lines();
    for line in &lines {
        let said = line["said"].as_str().expect("text");
        assert!(!said.contains(char::is_control) && said.chars().count() <= 700, "unfit for a terminal: {said:?}");
    }
    let mut places: Vec<_> = lines.iter().map(place).collect();
    let found = lines.iter().find(|line| place(line) == row.probe).unwrap_or_else(|| panic!("no {}: {all}", row.probe));
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    assert!(text("said").contains(row.said), "what is said: {all}");
    assert!(text("remedy").contains(row.remedy), "the remedy: {all}");
    let failed: Vec<_> = lines.iter().filter(|line| line["verdict"] == "failed").map(place).collect();
    match row.expect {
        Expect::Failed(exit) => {
            assert_eq!(failed, [row.probe], "exactly the step that fails: {all}");
            assert_eq!((found["exit"].as_i64(), finished.code()), (Some(exit.into()), exit), "{all}");
            assert!(finished.stderr.contains(&text("said")) && finished.stderr.contains(&text("remedy")), "{all}");
            let at = lines.iter().position(|line| place(line) == row.probe).expect("found above");
            // All that needs it is skipped and says so; what does not, does not need it.
            for line in &lines[at + 1..] {
                let is_clock = line["probe"] == "clock";
                let does_without = row.probe.ends_with("duplicate-client-id");
                assert!(is_clock || does_without || line["verdict"] == "skipped", "{all}");
                assert!(
                    is_clock
                        || does_without
                        || line["said"].as_str().is_some_and(|said| said.starts_with("because of ")),
                    "{all}"
                );
            }
        }
        Expect::Warning => {
            assert_eq!((found["verdict"].as_str(), finished.code()), (Some("warning"), 0), "{all}");
            assert!(failed.is_empty(), "{all}");
        }
        Expect::Ok => {
            assert_eq!((found["verdict"].as_str(), finished.code()), (Some("ok"), 0), "{all}");
            assert!(failed.is_empty(), "{all}");
        }
    }
    // Each step once, whatever happens: five at each broker and the proxy's, what is only there, and the clock.
    let proxied = usize::from(row.flags.iter().any(|flag| flag == "--proxy"));
    assert_eq!(places.len(), 2 * (5 + proxied) + 1 + 5 + 1, "{all}");
    places.sort();
    places.dedup();
    assert_eq!(places.len(), lines.len(), "{all}");
}

#[test]
fn the_step_that_fails_is_named() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let certificates = Certificates { authority: Authority::new(), clients: Authority::new() };
    let proxies = runtime.block_on(async {
        Proxies {
            login: ConnectProxy::start(Manners::Login("Basic eA==")).await,
            bad_gateway: ConnectProxy::start(Manners::Says("HTTP/1.1 502 Bad Gateway\r\n\r\n")).await,
            silent: ConnectProxy::start(Manners::Silent).await,
            open: ConnectProxy::start(Manners::Open).await,
        }
    });
    let rows = [below_mqtt(&certificates), at_the_default_broker(), at_the_assigned_broker(), on_the_way(&proxies)];
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let thing = Thing::new();
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let service = runtime.block_on(Scripted::start(row.default.clone(), row.assigned.clone()));
                    let finished = examine(row, &format!("{}://{}", row.scheme, service.default), &thing);
                    // One row that is wrong hides no other.
                    if catch_unwind(AssertUnwindSafe(|| check(row, &finished))).is_err() {
                        failed.lock().expect("nobody panics with it").push(row.name);
                    }
                    let disturbed = row.flags.iter().any(|flag| flag == "--disruptive");
                    if !disturbed && service.logins_as_the_thing() > 1 {
                        failed.lock().expect("nobody panics with it").push("more than one login without --disruptive");
                    }
                    assert!(!thing.credentials().exists(), "{}: nothing is stored unasked", row.name);
                }
            });
        }
    });
    assert_eq!(failed.into_inner().expect("nobody panics with it"), Vec::<&str>::new());
}

fn verdicts(lines: &[Value], verdict: &str) -> Vec<String> {
    lines.iter().filter(|line| line["verdict"] == verdict).map(place).collect()
}

#[test]
fn all_is_well_with_the_real_service_on_each_transport() {
    let server = Server::start();
    let ca = server.ready["ca"].as_str().expect("a local authority");
    for scheme in ["mqtt", "mqtts", "ws", "wss"] {
        let thing = Thing::new();
        let broker = format!("{scheme}://{}", server.address(scheme));
        let named = |command: &mut std::process::Command| {
            command.args(["--broker", &broker, "--app", APP, "--thing", "thermostat-17", "--json", "--watch", "0.2"]);
            command.arg("--app-key-file").arg(thing.path("app-key"));
            command.arg("--password-file").arg(thing.path("password")).args(["--ca", ca]);
        };
        let mut command = thing.command("doctor");
        named(&mut command);
        let lines = run(&mut command).expect(0).json_lines();
        let is_tls = matches!(scheme, "mqtts" | "wss");
        let is_websocket = matches!(scheme, "ws" | "wss");
        let mut expected = Vec::new();
        for (broker, own) in [
            ("default", &["onboarding"][..]),
            ("assigned", &["subscribe", "round-trip", "duplicate-client-id", "keep-alive"]),
        ] {
            expected.extend(["name", "tcp"].map(|step| format!("{broker} {step}")));
            expected.extend(is_tls.then(|| format!("{broker} tls")));
            expected.extend(is_websocket.then(|| format!("{broker} websocket")));
            expected.push(format!("{broker} connack"));
            expected.extend(own.iter().map(|step| format!("{broker} {step}")));
        }
        expected.push("- clock".to_owned());
        assert_eq!(verdicts(&lines, "ok"), expected, "{lines:#?}");
        assert!(lines.iter().all(|line| matches!(line["verdict"].as_str(), Some("ok" | "skipped"))), "{lines:#?}");
        assert!(!thing.credentials().exists(), "nothing is stored unasked");

        // Stored when asked to, and used the next time, without the flags.
        let mut command = thing.command("doctor");
        named(&mut command);
        let stored = run(command.args(["--store", "--disruptive", "-vv"]).env("THINGIF_LOG", "trace")).expect(0);
        let text = std::fs::read_to_string(thing.credentials()).expect("stored");
        let credential: Value = serde_json::from_str::<Value>(&text).expect("JSON")["credential"].clone();
        for secret in [
            &credential["accessToken"],
            &credential["mqttEndpoint"]["password"],
            &APP_KEY.into(),
            &"thing-password".into(),
        ] {
            let secret = secret.as_str().expect("text");
            assert!(!stored.text().contains(secret) && !stored.stderr.contains(secret), "a secret is shown: {scheme}");
        }
        let again = run(thing.command("doctor").args(["--json", "--watch", "0"])).expect(0).json_lines();
        assert!(verdicts(&again, "ok").contains(&"assigned round-trip".to_owned()), "{again:#?}");
        assert!(!verdicts(&again, "ok").contains(&"default onboarding".to_owned()), "it has a credential: {again:#?}");
    }
}

#[test]
fn whoever_holds_the_connection_is_left_alone_and_called_through() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let mut listen = program::Running::start(&mut thing.command("listen"));
    listen.wait_for_error_line("connected as");
    let lines = run(thing.command("doctor").args(["--json", "--disruptive"])).expect(0).json_lines();
    let holder = format!("process {}", listen.id());
    let of = |name: &str| {
        let found = lines.iter().find(|line| place(line) == name).unwrap_or_else(|| panic!("no {name}: {lines:#?}"));
        (found["verdict"].as_str().expect("text").to_owned(), found["said"].as_str().expect("text").to_owned())
    };
    for name in [
        "assigned connack",
        "assigned subscribe",
        "assigned duplicate-client-id",
        "assigned push",
        "assigned keep-alive",
    ] {
        let (verdict, said) = of(name);
        assert_eq!(verdict, "skipped", "{name}");
        assert!(said.contains(&holder), "{name}: {said}");
    }
    let (verdict, said) = of("assigned round-trip");
    assert_eq!(verdict, "ok");
    assert!(said.contains(&format!("through {holder}")), "{said}");
    for flags in [&["--store"][..], &["--onboard"]] {
        let mut command = thing.command("doctor");
        command.args(["--broker", &format!("mqtt://localhost:{}", server.port("mqtt")), "--app", APP]);
        command.args(["--thing", "thermostat-17"]).arg("--app-key-file").arg(thing.path("app-key"));
        let refused = run(command.arg("--password-file").arg(thing.path("password")).args(flags)).expect(1);
        assert!(refused.stderr.contains("holds the connection"), "{flags:?}: {}", refused.stderr);
    }
    // It was not kicked: it still answers.
    run(thing.command("call").args(["GET", "targets/thing:{thing}/commands", "--fail"])).expect(0);
    assert!(!listen.errors().contains("trying again"), "it was disturbed");
}

#[test]
fn with_a_credential_the_default_broker_is_no_failure() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    // The same credential, but onboarded at a broker that is gone.
    let text = std::fs::read_to_string(thing.credentials()).expect("stored");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
    let mut stored: Value = serde_json::from_str(&text).expect("JSON");
    stored["broker"] = format!("mqtt://{gone}").into();
    std::fs::write(thing.credentials(), stored.to_string()).expect("written");
    let lines = run(thing.command("doctor").args(["--json", "--watch", "0"])).expect(0).json_lines();
    assert_eq!(verdicts(&lines, "warning"), ["default tcp"], "{lines:#?}");
    assert!(verdicts(&lines, "ok").contains(&"assigned round-trip".to_owned()), "{lines:#?}");

    // People are shown the same, with the remedy once.
    let shown = run(thing.command("doctor").args(["--watch", "0"])).expect(0);
    let text = shown.text();
    assert!(text.contains("\n  warning  tcp ") && text.contains("-> The machine is there"), "{text}");
    assert!(text.contains("\nassigned broker  mqtt://"), "{text}");
    assert_eq!(shown.stderr, "", "no progress where there is no terminal");

    drop(server);
    let lines = run(thing.command("doctor").args(["--json", "--watch", "0"])).expect(7).json_lines();
    assert_eq!(verdicts(&lines, "failed"), ["assigned tcp"], "{lines:#?}");
}

#[test]
fn what_cannot_be_examined_says_what_is_missing() {
    let thing = Thing::new();
    let refused = run(&mut thing.command("doctor")).expect(2);
    assert!(
        refused.stderr.contains("there is no credential") && refused.stderr.contains("--broker"),
        "{}",
        refused.stderr
    );
    let refused = run(thing.command("doctor").args(["--broker", "mqtt://h", "--app", APP])).expect(2);
    assert!(refused.stderr.contains("--thing is missing"), "{}", refused.stderr);
    let help = run(program::thingif().args(["doctor", "--help"])).expect(0).text();
    assert!(help.contains("Examples:") && help.contains("--disruptive"), "{help}");
}

/// The flags that onboard a thing at `broker`.
fn onboarding_at(command: &mut std::process::Command, broker: &str, thing: &Thing) {
    command.args(["--broker", broker, "--app", APP, "--thing", "thermostat-17", "--watch", "0"]);
    command.arg("--app-key-file").arg(thing.path("app-key")).arg("--password-file").arg(thing.path("password"));
}

#[test]
fn a_new_credential_is_kept_although_nobody_reads_on() {
    let server = Server::start();
    let thing = Thing::new();
    let mut command = thing.command("doctor");
    onboarding_at(&mut command, &format!("mqtt://{}", server.address("mqtt")), &thing);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = command.arg("--store").stdout(writer).stderr(std::process::Stdio::null()).status().expect("run");
    assert_eq!(status.code(), Some(23), "standard output is gone");
    assert!(thing.credentials().exists(), "the service may have dropped an older token for this one");
}

#[test]
fn a_damaged_credential_is_not_replaced() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let text = std::fs::read_to_string(thing.credentials()).expect("stored");
    let damaged = &text[..text.len() / 2];
    std::fs::write(thing.credentials(), damaged).expect("written");
    let mut command = thing.command("doctor");
    onboarding_at(&mut command, &format!("mqtt://{}", server.address("mqtt")), &thing);
    run(&mut command).expect(0);
    run(command.arg("--store")).expect(2);
    assert_eq!(std::fs::read_to_string(thing.credentials()).expect("still there"), damaged);
}
