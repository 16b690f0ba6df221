//! The table of REST requests once more, with curl, through a proxy: `curl` → `proxy` → edge → cloud answers what `curl` → cloud
//! does. Reads are the same byte for byte in one world; writes are made in two worlds, and are the same but for ids.
#![cfg(feature = "cli")]

#[allow(dead_code)]
#[path = "rest_table/case.rs"]
mod case;
mod cloud_support;
mod program;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[allow(dead_code, unused_imports)]
#[path = "rest_table/rows/mod.rs"]
mod rows;
#[allow(dead_code)]
#[path = "rest_table/world.rs"]
mod world;

use std::net::SocketAddr;
use std::process::Stdio;

use case::{Case, Place, Request, check};
use cloud_support::{APP, Answer, KEY, onboard};
use http::HeaderMap;
use rows::{DIFFERING, Group, TABLE};
use thingif::bridge::proxy::{Gate, Proxy};
use thingif::client;
use thingif::config::{Config, Identity};
use thingif::thing_if::Credential;
use thingif::transport::paho::{Options, Paho};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use world::World;

const VENDOR: &str = "proxy-of-the-table";

/// A world with a proxy in it.
struct Through {
    world: World,
    /// The token of the proxy's own thing.
    token: String,
    proxy: SocketAddr,
    client: client::Client,
    served: JoinHandle<()>,
}

impl Through {
    async fn start(place: Place) -> Self {
        let world = World::start(place).await;
        let made = onboard(&world.served.http, APP, KEY, VENDOR).await;
        let token = made.text("accessToken");
        let mut credential = made.json();
        credential["appID"] = APP.into();
        credential["mqttEndpoint"]["host"] = "127.0.0.1".into();
        credential["mqttEndpoint"]["portTCP"] = world.mqtt.port().into();
        let credential = Credential::from_json(credential.to_string()).expect("complete");
        let identity = Identity::vendor_thing(VENDOR.parse().expect("valid"), "not needed".into());
        let broker = "mqtt://default.invalid".parse().expect("valid");
        let config = Config::new(broker, APP.parse().expect("valid"), KEY.into(), identity).expect("valid");
        let paho = Paho::new(Options::default()).expect("a transport");
        let (client, pushes, mut connection) =
            client::connect(config.with_resume(credential), paho).await.expect("connected");
        let notices = connection.notices();
        tokio::spawn(connection.run());
        let front = Proxy::new(client.clone()).expect("random numbers");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = listener.local_addr().expect("bound");
        let served = tokio::spawn(async move {
            tokio::join!(front.serve(listener, Gate::new(), std::future::pending()), front.follow(pushes, notices));
        });
        Self { world, token, proxy, client, served }
    }

    async fn stop(self) {
        self.served.abort();
        self.client.close().await;
        self.world.stop().await;
    }
}

/// What curl is answered.
async fn curl(address: SocketAddr, request: &Request) -> Answer {
    let mut command = Command::new("curl");
    // As it is: no settings, nothing read into the target, nothing decoded.
    command.args(["-q", "-sS", "-i", "-g", "--path-as-is", "--noproxy", "*", "--max-time", "60"]);
    if request.method == "HEAD" {
        command.arg("--head");
    } else {
        command.args(["-X", request.method]);
    }
    if !request.body.is_empty() {
        command.args(["--data-binary", "@-"]);
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            command.args(["-H", "Content-Type:"]);
        }
    }
    for (name, value) in &request.headers {
        command.arg("-H").arg(if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") });
    }
    command.arg(format!("http://{address}{}", request.path));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl");
    let mut stdin = child.stdin.take().expect("piped");
    // One that is answered before it has sent all of it closes the pipe.
    drop(stdin.write_all(request.body.as_bytes()).await);
    drop(stdin);
    let output = child.wait_with_output().await.expect("waited for");
    assert!(
        output.status.success(),
        "{} {}: {}",
        request.method,
        request.path,
        String::from_utf8_lossy(&output.stderr)
    );
    cloud_support::parse(&output.stdout)
}

/// The header fields of an answer without those of the road that it took, and the time.
fn of_the_service(answer: &Answer, method: &str) -> HeaderMap {
    let mut headers = answer.headers.clone();
    // Web pages are the business of whom they call; of a proxy they may not, so the edge's service says nothing of them.
    let of_pages = ["vary", "access-control-allow-origin", "access-control-expose-headers"];
    for name in ["date", "accept-ranges", "age"].iter().chain(&of_pages) {
        headers.remove(*name);
    }
    if method == "HEAD" {
        // A frame has no length of a body that it does not have.
        headers.remove("content-length");
    }
    headers
}

/// Without ids, tokens and entity tags: what two worlds cannot have in common.
fn masked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let len = rest[start..].find(|c| !is_part(c)).unwrap_or(rest.len() - start);
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(len);
        out.push_str(before);
        // Ids and tokens are random, so one may be of letters alone; the longest error code has 41 characters.
        let is_id = len >= 42
            || (len >= 20 && !word.contains('_'))
            || (len >= 12 && word.contains(|c: char| c.is_ascii_digit()));
        out.push_str(if is_id { "#" } else { word });
        rest = after;
    }
    out + rest
}

/// Whether two answers are of one world, and the same byte for byte, or of two, and the same but for ids.
#[derive(Clone, Copy, PartialEq)]
enum Worlds {
    One,
    Two,
}

/// How two answers differ.
fn difference(method: &str, direct: &Answer, through: &Answer, worlds: Worlds) -> Option<String> {
    let mask = |text: &str| if worlds == Worlds::One { text.to_owned() } else { masked(text) };
    let whole = |answer: &Answer| {
        let mut headers: Vec<_> = of_the_service(answer, method)
            .iter()
            .map(|(name, value)| format!("{name}: {}", mask(&String::from_utf8_lossy(value.as_bytes()))))
            .filter(|line| worlds == Worlds::One || !line.starts_with("content-length"))
            .collect();
        headers.sort_unstable();
        let body = mask(&String::from_utf8_lossy(&answer.body));
        format!("{}\n{}\n\n{body}", answer.status, headers.join("\n"))
    };
    let (direct, through) = (whole(direct), whole(through));
    (direct != through).then(|| format!("--- direct\n{direct}\n--- through the proxy\n{through}"))
}

#[derive(Default)]
struct Report {
    reads: usize,
    writes: usize,
    failures: Vec<String>,
}

/// With the proxy's own Authorization where the row has none, as the proxy adds it.
fn with_token(mut request: Request, token: &str) -> Request {
    if !request.headers.iter().any(|(name, _)| name == "Authorization") {
        request.headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
    }
    request
}

async fn run(group: &'static Group, report: &mut Report) {
    let (mut one, mut two) = (Through::start(group.place).await, Through::start(group.place).await);
    for through in [&mut one, &mut two] {
        for case in group.setup {
            let request = Request::of(case, &through.world.names);
            let answer = through.world.over_http(&request).await;
            check(case, &request, &answer, &mut through.world.names).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        through.world.turn(group.place).await;
    }
    for case in group.cases.iter().copied().flatten() {
        if let Err(failure) = compare(case, &mut one, &mut two, report).await {
            report.failures.push(format!("{}: {} [{}] {}\n{failure}", group.name, case.0, case.1, case.3));
        }
    }
    one.stop().await;
    two.stop().await;
}

async fn compare(case: &Case, one: &mut Through, two: &mut Through, report: &mut Report) -> Result<(), String> {
    let direct_request = Request::of(case, &one.world.names);
    let request = Request::of(case, &two.world.names);
    if !request.is_thing_if() {
        // The proxy has no such path; what is asked next builds on it.
        let refused = curl(two.proxy, &request).await;
        if request.method != "HEAD" && (refused.status, refused.code().as_str()) != (404, "PATH_NOT_FOUND") {
            return Err(format!("{refused:?}"));
        }
        for (through, request) in [(one, direct_request), (two, request)] {
            let answer = through.world.over_http(&request).await;
            check(case, &request, &answer, &mut through.world.names)?;
        }
        return Ok(());
    }
    let has_authorization = case.1 != "-";
    let direct_request = with_token(direct_request, &one.token);
    let direct = curl(one.world.served.address, &direct_request).await;
    let through = curl(two.proxy, &request).await;
    if has_authorization {
        check(case, &direct_request, &direct, &mut one.world.names).map_err(|wrong| format!("direct: {wrong}"))?;
        check(case, &request, &through, &mut two.world.names).map_err(|wrong| format!("through: {wrong}"))?;
    }
    if matches!(request.method, "GET" | "HEAD") {
        let again = Request::of(case, &two.world.names);
        let same_world = curl(two.world.served.address, &with_token(again, &two.token)).await;
        if let Some(difference) = difference(request.method, &same_world, &through, Worlds::One) {
            return Err(format!("in one world\n{difference}"));
        }
        report.reads += 1;
    } else {
        // Lists are in the order of ids, which are random: reads of two worlds may differ, and are compared in one.
        if let Some(difference) = difference(request.method, &direct, &through, Worlds::Two) {
            return Err(format!("in two worlds\n{difference}"));
        }
        report.writes += 1;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_proxy_every_thing_if_case_is_answered_as_by_the_cloud() {
    if program::foreign_program("curl").is_none() {
        return;
    }
    let mut report = Report::default();
    let groups = TABLE.iter().filter(|group| {
        let mut cases = group.cases.iter().copied().flatten();
        cases.any(|case| !case.0.contains(" /api/"))
    });
    for group in groups {
        run(group, &mut report).await;
    }
    let Report { reads, writes, failures } = report;
    println!("{reads} reads, {writes} writes");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(reads >= 90 && writes >= 180, "{reads} reads, {writes} writes");
}

/// A connection belongs to one application, and the edge has bounds of its own: so it is through the proxy, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mqtt_answers_otherwise_it_answers_otherwise_through_the_proxy() {
    if program::foreign_program("curl").is_none() {
        return;
    }
    let usual = DIFFERING.iter().filter(|row| row.place == Place::Usual && row.case.1 != "-");
    for row in usual {
        let mut through = Through::start(Place::Usual).await;
        let lamp = Request::of(&rows::LAMP, &through.world.names);
        let answer = through.world.over_http(&lamp).await;
        check(&rows::LAMP, &lamp, &answer, &mut through.world.names).expect("a lamp");
        let request = Request::of(&row.case, &through.world.names);
        let answer = curl(through.proxy, &request).await;
        let (status, says) = row.over_mqtt;
        assert_eq!(answer.status, status, "{}: {answer:?}", row.case.0);
        if status >= 400 {
            assert_eq!(answer.code(), says, "{}: {answer:?}", row.case.0);
        }
        through.stop().await;
    }
}

#[test]
fn masks_hide_ids_and_nothing_else() {
    assert_eq!(
        masked(
            r#"{"thingID" : "th.180aa9e9b625-8614", "at" : 1000000, "message" : "Thing not found", "firmwareVersion":"v1"}"#
        ),
        r##"{"thingID" : "th.#", "at" : 1000000, "message" : "Thing not found", "firmwareVersion":"v1"}"##
    );
}
