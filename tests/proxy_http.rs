//! `bridge::proxy` over real sockets, before a device whose broker is played: every byte that a local program may rely on.
#![cfg(feature = "bridge")]

mod device;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use thingif::bridge::proxy::{Gate, Proxy};
use thingif::client::{self, Client};
use thingif::config::Config;
use thingif::frame::{self, REQUEST_ID};
use thingif::mqtt::{LinkErrorKind, Publish};
use thingif::topic::Topic;
use thingif::transport::memory::{self, Broker, BrokerLink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use device::brokers::assigned;
use device::{APP, CLIENT_ID, answer, answer_to, config, credential};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Served {
    address: SocketAddr,
    client: Client,
    link: BrokerLink,
    broker: Broker,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn served(config: Config, gate: Gate) -> Served {
    let (network, mut broker) = memory::network();
    let config = config.with_resume(credential(0));
    let (connected, link) = tokio::join!(client::connect(config, network), assigned(&mut broker));
    let (client, pushes, mut connection) = connected.expect("connected");
    let notices = connection.notices();
    tokio::spawn(connection.run());
    let proxy = Proxy::new(client.clone()).expect("random numbers");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let front = proxy.clone();
    tokio::spawn(async move { front.follow(pushes, notices).await });
    let ended = tokio::spawn(async move { proxy.serve(listener, gate, async { drop(stopped.await) }).await });
    Served { address, client, link, broker, stop, ended }
}

/// The next call that the broker hears.
async fn request(link: &mut BrokerLink) -> Publish {
    timeout(PATIENCE, device::brokers::request(link)).await.expect("the call comes")
}

async fn open(address: SocketAddr, text: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    stream.write_all(text).await.expect("written");
    stream
}

/// Everything until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("in time").expect("read");
    String::from_utf8(bytes).expect("text")
}

/// One request on a connection of its own, and the whole answer.
async fn exchange(address: SocketAddr, text: impl AsRef<[u8]>) -> String {
    rest(open(address, text.as_ref()).await).await
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").expect("read");
        assert_ne!(count, 0, "it ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
    text
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
}

fn states() -> String {
    format!("/thing-if/apps/{APP}/targets/thing:th.1/states")
}

/// Status line number and header field of an answer.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or(answer);
    head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// Checks an answer of the proxy's own.
#[track_caller]
fn assert_refused(answer: &str, expected: u16, code: &str, fate: &str) {
    assert_eq!((status(answer), field(answer, "x-thingif-fate")), (expected, Some(fate)), "{answer}");
    assert_eq!(field(answer, "content-type"), Some("application/json"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(body["errorCode"], code, "{answer}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
}

#[tokio::test]
async fn a_request_goes_on_whole_but_for_what_concerns_the_connection() {
    let mut served = served(config(), Gate::new()).await;
    let path = format!("/thing-if/apps/{APP}/a+b%2Fc/%2B%23?q=x+y%26z&w=http://x/?");
    let text = format!(
        "PATCH http://localhost:1{path} HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
         TE: trailers\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\
         X-Kii-RequestID: mine\r\nX-Own: a\r\nX-Own: b\r\n\r\n"
    );
    let mut stream = open(served.address, text.as_bytes()).await;
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"3\r\n{\"a\r\n4;ext=1\r\n\":1}\r\n0\r\nTrailer: x\r\n\r\n").await.expect("written");
    let asked = request(&mut served.link).await;
    let topic = format!("p/{CLIENT_ID}/thing-if/apps/{APP}/a%2Bb%2Fc/%2B%23?q=x%20y%26z&w=http://x/?");
    assert_eq!(asked.topic.as_str(), topic);
    let decoded = frame::decode_request(&asked.topic, asked.payload.clone()).expect("a frame");
    assert_eq!((decoded.method().as_str(), &decoded.body()[..]), ("PATCH", &b"{\"a\":1}"[..]));
    let mut names: Vec<_> = decoded.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "content-type", "x-kii-requestid", "x-own"]);
    assert_eq!(decoded.headers()["x-own"], "a, b");
    assert_eq!(decoded.headers()["authorization"], "Bearer token-0");
    let response = Response::builder()
        .status(201)
        .header(REQUEST_ID, &decoded.headers()[REQUEST_ID])
        .header("connection", "keep-alive")
        .header("location", "/x")
        .header("etag", "\"7\"")
        .body(Bytes::from_static(b"{\n}"));
    served.link.publish(answer(&asked, &response.expect("valid"))).expect("the device listens");
    let answered = rest(stream).await;
    assert!(answered.starts_with("HTTP/1.1 201 Created\r\n") && answered.ends_with("\r\n\r\n{\n}"), "{answered}");
    for (name, value) in [
        ("x-kii-requestid", Some("mine")),
        ("location", Some("/x")),
        ("etag", Some("\"7\"")),
        ("content-length", Some("3")),
        ("connection", Some("close")),
        ("x-thingif-fate", None),
    ] {
        assert_eq!(field(&answered, name), value, "{name} in {answered}");
    }
}

#[tokio::test]
async fn a_requests_own_authorization_stays() {
    let mut served = served(config(), Gate::new()).await;
    let asking = tokio::spawn(exchange(served.address, get(&states(), "Authorization: Basic eDp5\r\n")));
    let asked = request(&mut served.link).await;
    let decoded = frame::decode_request(&asked.topic, asked.payload.clone()).expect("a frame");
    assert_eq!(decoded.headers()["authorization"], "Basic eDp5");
    served.link.publish(answer_to(&asked, true)).expect("the device listens");
    let answered = asking.await.expect("no panic");
    assert_eq!((status(&answered), field(&answered, "x-kii-requestid")), (200, None), "an id is the caller's or none");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let mut served = served(config(), Gate::new()).await;
    let path = states();
    let text = |method: &str, close: &str| format!("{method} {path} HTTP/1.1\r\nHost: [::1]:1\r\n{close}\r\n");
    // All on one connection: a byte too many would be read as the next answer.
    let mut stream = open(served.address, text("DELETE", "").as_bytes()).await;
    for (status, next) in [(204, text("GET", "")), (304, text("HEAD", "")), (200, text("GET", "Connection: close\r\n"))]
    {
        let asked = request(&mut served.link).await;
        let id = frame::request_id(&asked.payload).expect("an id");
        let response = Response::builder().status(status).header(REQUEST_ID, id).header("etag", status);
        let response = response.body(Bytes::from_static(if status == 200 { b"" } else { b"not to be sent" }));
        served.link.publish(answer(&asked, &response.expect("valid"))).expect("the device listens");
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(field(&head, "etag"), Some(status.to_string().as_str()));
        assert_ne!(field(&head, "content-length"), Some("0"), "of a HEAD it would be a lie: {head}");
        stream.write_all(next.as_bytes()).await.expect("written");
    }
    let asked = request(&mut served.link).await;
    let id = frame::request_id(&asked.payload).expect("an id");
    // No exchange ends with a 1xx.
    let response = Response::builder().status(102).header(REQUEST_ID, id).body(Bytes::new()).expect("valid");
    served.link.publish(answer(&asked, &response)).expect("the device listens");
    assert_refused(&rest(stream).await, 502, "BAD_GATEWAY", "disconnected");
}

#[tokio::test]
async fn what_leads_nowhere_or_is_too_much_is_refused_and_not_sent() {
    let mut served = served(config(), Gate::new()).await;
    let (address, path) = (served.address, states());
    for nowhere in ["/", "/thing-if/", "/api/apps/a/things", "/pushes", "/push/", "/thing-if/apps"] {
        assert_refused(&exchange(address, get(nowhere, "")).await, 404, "PATH_NOT_FOUND", "invalid");
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_refused(&exchange(address, star).await, 404, "PATH_NOT_FOUND", "invalid");
    let post =
        exchange(address, "POST /push HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let post = post.await;
    assert_refused(&post, 405, "METHOD_NOT_ALLOWED", "invalid");
    assert_eq!(field(&post, "allow"), Some("GET, HEAD"));

    let put = |more: String| format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}");
    let expecting = put("Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n".to_owned());
    let refused = exchange(address, expecting).await;
    assert_refused(&refused, 413, "PAYLOAD_TOO_LARGE", "invalid");
    let chunk = format!("Transfer-Encoding: chunked\r\n\r\n11170\r\n{}\r\n0\r\n\r\n", "x".repeat(70_000));
    assert_refused(&exchange(address, put(chunk)).await, 413, "PAYLOAD_TOO_LARGE", "invalid");
    // It fits a frame by itself, but not beside a head.
    let just = format!("Content-Length: 65536\r\n\r\n{}", "x".repeat(65_536));
    assert_refused(&exchange(address, put(just)).await, 413, "PAYLOAD_TOO_LARGE", "invalid");

    let many: String = (0..70).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_refused(&exchange(address, get(&path, &many)).await, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "invalid");
    let long = format!("X-Long: {}\r\n", "x".repeat(8_200));
    assert_refused(&exchange(address, get(&path, &long)).await, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "invalid");
    let odd = get(&path, "X-Thingif-Max-Time: soon\r\n");
    assert_refused(&exchange(address, odd).await, 400, "INVALID_INPUT_DATA", "invalid");
    let odd = format!("X1! {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_refused(&exchange(address, odd).await, 400, "INVALID_INPUT_DATA", "invalid");
    let foreign = get(&path, "").replace("localhost", "evil.example");
    assert_refused(&exchange(address, foreign).await, 403, "OPERATION_NOT_SUPPORTED", "invalid");
    let page = get(&path, "Origin: https://evil.example\r\n");
    assert_refused(&exchange(address, page).await, 403, "OPERATION_NOT_SUPPORTED", "invalid");

    // Nothing of all that was sent: this is the first that the broker hears.
    let last = tokio::spawn(exchange(address, get(&format!("{path}?last"), "")));
    let asked = request(&mut served.link).await;
    assert!(asked.topic.as_str().ends_with("?last"));
    served.link.publish(answer_to(&asked, true)).expect("the device listens");
    assert_eq!(status(&last.await.expect("no panic")), 200);
}

#[tokio::test]
async fn a_token_opens_the_proxy() {
    let served = served(config(), Gate::new().with_token("t0k3n".to_owned().into())).await;
    assert_refused(&exchange(served.address, get("/push", "")).await, 401, "UNAUTHORIZED", "invalid");
    let head = get("/push", "X-Thingif-Token: t0k3n\r\n").replace("GET", "HEAD");
    let answered = exchange(served.address, head).await;
    assert_eq!((status(&answered), field(&answered, "content-type")), (200, Some("text/event-stream")));
}

#[tokio::test]
async fn each_way_of_having_no_answer_has_its_status() {
    let Served { address, mut link, broker, stop: _stop, .. } =
        served(config().with_max_in_flight(1).expect("valid"), Gate::new()).await;
    let path = states();
    // Written and not answered in time.
    let late = tokio::spawn(exchange(address, get(&path, "X-Thingif-Max-Time: 100\r\n")));
    request(&mut link).await;
    assert_refused(&late.await.expect("no panic"), 504, "GATEWAY_TIMEOUT", "timed-out");
    // One is under way, and one may be.
    let pending = tokio::spawn(exchange(address, get(&format!("{path}?first"), "X-Thingif-Max-Time: 600000\r\n")));
    request(&mut link).await;
    let many = exchange(address, get(&format!("{path}?second"), "")).await;
    assert_refused(&many, 429, "TOO_MANY_REQUESTS", "not-sent");
    assert_eq!(field(&many, "retry-after"), Some("1"));
    // The connection ends under it.
    link.cut(LinkErrorKind::Closed);
    let lost = pending.await.expect("no panic");
    assert_refused(&lost, 502, "BAD_GATEWAY", "disconnected");
    assert!(lost.contains("may have been processed"), "{lost}");
    // There is none for now: nobody accepts at the broker.
    let down = exchange(address, get(&path, "")).await;
    assert_refused(&down, 503, "TEMPORARY_UNAVAILABLE_ERROR", "not-sent");
    let wait: u64 = field(&down, "retry-after").and_then(|text| text.parse().ok()).expect("when to come again");
    assert!((1..=60).contains(&wait), "{down}");
    drop(broker);
}

#[tokio::test]
async fn whoever_hangs_up_cancels_reading_and_not_writing() {
    let mut served = served(config().with_max_in_flight(1).expect("valid"), Gate::new()).await;
    let (address, path) = (served.address, states());
    let probe = move || exchange(address, get(&format!("{}?probe", states()), ""));

    let put = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nX-Thingif-Max-Time: 600000\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let stream = open(address, put.as_bytes()).await;
    let written = request(&mut served.link).await;
    drop(stream);
    for _ in 0..10 {
        assert_eq!(status(&probe().await), 429, "the write is given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.link.publish(answer_to(&written, true)).expect("the device listens");

    let until_free = || async move {
        loop {
            let answered = probe().await;
            if status(&answered) != 429 {
                return answered;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let free = tokio::spawn(until_free());
    let probed = request(&mut served.link).await;
    served.link.publish(answer_to(&probed, true)).expect("the device listens");
    assert_eq!(status(&free.await.expect("no panic")), 200);

    let stream = open(address, get(&path, "X-Thingif-Max-Time: 600000\r\n").as_bytes()).await;
    let read = request(&mut served.link).await;
    drop(stream);
    // The place of the read is free although nobody has answered it.
    let free = tokio::spawn(until_free());
    let probed = timeout(PATIENCE, request(&mut served.link)).await.expect("the read is given up");
    served.link.publish(answer_to(&read, true)).expect("the device listens");
    served.link.publish(answer_to(&probed, true)).expect("the device listens");
    assert_eq!(status(&free.await.expect("no panic")), 200);
    assert_eq!(served.client.counters().late_answers, 1, "that of the read alone");
}

#[tokio::test]
async fn pushes_are_server_sent_events() {
    let mut served = served(config(), Gate::new()).await;
    let mut one = open(served.address, get("/push", "").as_bytes()).await;
    let opening = read_until(&mut one, ": thingif\n").await;
    assert_eq!(status(&opening), 200);
    assert_eq!(field(&opening, "content-type"), Some("text/event-stream"));
    assert_eq!(field(&opening, "cache-control"), Some("no-store"));
    let mut two = open(served.address, get("/push", "").as_bytes()).await;
    read_until(&mut two, ": thingif\n").await;
    let push = |text: &'static str| Publish::new(Topic::new(CLIENT_ID).expect("valid"), text);
    served.link.publish(push("{\n  \"commandID\" : \"c1\"\n}")).expect("the device listens");
    for stream in [&mut one, &mut two] {
        let event = read_until(stream, "data: }\n\n").await;
        assert!(event.contains("data: {\ndata:   \"commandID\" : \"c1\"\ndata: }\n\n"), "{event}");
    }
    drop(two);
    served.link.publish(push("{\"commandID\":\"c2\"}")).expect("the device listens");
    let event = read_until(&mut one, "\"c2\"}\n\n").await;
    let id = event.split("id: ").nth(1).and_then(|rest| rest.lines().next()).expect("an id").to_owned();
    drop(one);
    served.link.publish(push("{\"commandID\":\"c3\"}")).expect("the device listens");
    let again = get("/push", &format!("Last-Event-ID: {id}\r\n"));
    let mut again = open(served.address, again.as_bytes()).await;
    let missed = read_until(&mut again, "\"c3\"}\n\n").await;
    assert!(!missed.contains("c2") && !missed.contains("lagged"), "{missed}");
    // A lost connection is told, and what was meanwhile cannot be.
    served.link.cut(LinkErrorKind::Closed);
    read_until(&mut again, "event: disconnected\n").await;
    let link = assigned(&mut served.broker).await;
    read_until(&mut again, "event: connected\n").await;
    drop(served.stop);
    assert!(rest(again).await.ends_with("0\r\n\r\n"), "the stream ends in order");
    timeout(PATIENCE, served.ended).await.expect("in time").expect("no panic");
    drop(link);
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_finished() {
    let mut served = served(config(), Gate::new()).await;
    let asking = tokio::spawn(exchange(served.address, get(&states(), "")));
    let asked = request(&mut served.link).await;
    let mut idle = open(served.address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    read_until(&mut idle, "\n}").await;
    served.stop.send(()).expect("running");
    assert_eq!(rest(idle).await, "", "a connection without a request is closed");
    served.link.publish(answer_to(&asked, true)).expect("the device listens");
    assert_eq!(status(&asking.await.expect("no panic")), 200);
    timeout(PATIENCE, served.ended).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    assert!(!served.client.is_closed(), "the client is its owner's to close");
}
