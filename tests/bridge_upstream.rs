//! The bridge before an HTTP/1.1 service, over real sockets.
#![cfg(feature = "bridge")]

#[path = "support/bridge.rs"]
mod bridge;
#[path = "support/origin.rs"]
mod origin;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::sync::Arc;
use std::time::Duration;

use bridge::{anonymous, options, start};
use origin::{Origin, Reply, answer, ok, say};
use raw_mqtt::{Answer, Client};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const STATES: &str = "p/device/thing-if/apps/app1/targets/thing:th.1/states";

async fn call(client: &mut Client<TcpStream>, topic: &str, frame: &str) -> Answer {
    client.request(topic, frame).await;
    client.answer().await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn a_frame_is_a_request_of_the_upstream_and_nothing_of_it_smuggles() {
    let origin = Origin::start(|_| answer("200 OK", "ETag: \"7\"\r\nConnection: x-hop\r\nX-Hop: 1\r\n", "{}")).await;
    let bridge = start(options(&origin.url())).await;
    let mut device = bridge.device().await;
    let frame = "PUT\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nX-Kii-RequestID: 7\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nContent-Length: 3\r\n\
        Transfer-Encoding: chunked\r\nHost: evil\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: X-Thingif-Client-ID, X-Gone\r\n\
        X-Gone: 1\r\nX_Forwarded_Proto: https\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n\
        {\"a\":1}\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    let answered = call(&mut device, &format!("{STATES}?x=1"), frame).await;
    assert_eq!((answered.status.as_str(), answered.request_id.as_deref()), ("200", Some("7")));
    assert_eq!(header(&answered, "etag"), Some("\"7\""));
    assert_eq!(header(&answered, "x-hop"), None);

    let requests = origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let (head, body) = requests[0].split_once("\r\n\r\n").expect("a head");
    assert!(body.starts_with("{\"a\":1}\r\n\r\nGET /smuggled"), "all of it is the body: {body}");
    let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "PUT /thing-if/apps/app1/targets/thing:th.1/states?x=1 HTTP/1.1");
    lines.sort();
    assert_eq!(
        lines,
        [
            String::from("authorization: Bearer t"),
            format!("content-length: {}", body.len()),
            String::from("content-type: application/json"),
            format!("host: {}", origin.address),
            String::from("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            String::from("x-forwarded-for: 127.0.0.1"),
            String::from("x-forwarded-host: 127.0.0.1"),
            String::from("x-forwarded-proto: http"),
            String::from("x-kii-requestid: 7"),
            String::from("x-thingif-app-id: app1"),
            String::from("x-thingif-client-id: device"),
        ]
    );
}

/// What an upstream does, the verb, and what the device is told: status, `errorCode`, `Retry-After`.
type Row = (&'static str, Reply, &'static str, &'static str, &'static str, Option<&'static str>);

#[tokio::test]
async fn each_way_to_fail_has_its_answer() {
    let long = "x".repeat(61_441);
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let headers: String = (0..200).map(|i| format!("X-{i}: 1\r\n")).collect();
    let page = "<html>down</html>";
    let json = "{\"errorCode\":\"MQTT_ENDPOINT_NOT_READY\",\"message\":\"m\",\"appID\":\"a\"}";
    let retry = "Retry-After: 17\r\nContent-Type: text/html\r\n";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    let (bad, late, away) = ("BAD_GATEWAY", "GATEWAY_TIMEOUT", "TEMPORARY_UNAVAILABLE_ERROR");
    let rows: Vec<Row> = vec![
        ("closes without a word", Reply::SayAndClose(Vec::new()), "POST", "502", bad, None),
        ("closes again and again", Reply::SayAndClose(Vec::new()), "GET", "502", bad, None),
        ("speaks no HTTP", Reply::SayAndClose(b"220 smtp\r\n\r\n".to_vec()), "POST", "502", bad, None),
        ("cuts the body", Reply::SayAndClose(cut), "PUT", "502", bad, None),
        ("has too many headers", answer("200 OK", &headers, ""), "PUT", "502", bad, None),
        ("says too much", answer("200 OK", "", &long), "PUT", "502", bad, None),
        ("says too much in chunks", say(&chunked), "PUT", "502", bad, None),
        (
            "contradicts itself",
            say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            "PUT",
            "502",
            bad,
            None,
        ),
        (
            "changes the protocol",
            say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "GET",
            "502",
            bad,
            None,
        ),
        ("hangs", Reply::Hang, "PUT", "504", late, None),
        ("hangs in the body", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "PUT", "504", late, None),
        ("has a page for 502", answer("502 Bad Gateway", retry, page), "GET", "502", bad, Some("17")),
        ("has a page for 503", answer("503 Service Unavailable", retry, page), "GET", "503", away, Some("17")),
        ("has a page for 504", answer("504 Gateway Timeout", "", page), "GET", "504", late, None),
        (
            "is not ready",
            answer("503 Service Unavailable", retry, json),
            "GET",
            "503",
            "MQTT_ENDPOINT_NOT_READY",
            Some("17"),
        ),
        (
            "throttles",
            answer("429 Too Many Requests", retry, json),
            "GET",
            "429",
            "MQTT_ENDPOINT_NOT_READY",
            Some("17"),
        ),
    ];
    for (what, reply, verb, status, code, retry_after) in rows {
        let origin = Origin::start(move |_| reply.clone()).await;
        let mut options = options(&origin.url());
        // What answers at all does so long before.
        options.timeout = Duration::from_secs(if status == "504" && what.contains("hangs") { 1 } else { 60 });
        let bridge = start(options).await;
        let answered = call(&mut bridge.device().await, STATES, &format!("{verb}\r\n\r\n{{}}")).await;
        assert_eq!((answered.status.as_str(), answered.error_code().as_str()), (status, code), "{what}");
        assert_eq!(header(&answered, "retry-after"), retry_after, "{what}");
        assert_eq!(
            header(&answered, "content-type"),
            Some(if answered.body.contains("appID") { "text/html" } else { "application/json" }),
            "{what}"
        );
        let sent = if what == "closes again and again" { 2 } else { 1 };
        assert_eq!(origin.requests().len(), sent, "{what}: only what is safe is sent again");
    }
}

#[tokio::test]
async fn an_answer_whose_head_no_device_would_read_is_502() {
    let fields = |count: usize| (0..count).map(|i| format!("X-{i}: 1\r\n")).collect::<String>();
    let long = |len: usize| format!("X-Long: {}\r\n", "x".repeat(len));
    for (what, headers, status) in [
        ("much", long(7_000), "200"),
        ("more than a device reads", long(8_000), "502"),
        ("more than a frame holds", long(8_192), "502"),
        ("much more", long(60_000), "502"),
        ("more than is read of anybody", long(70_000), "502"),
        ("many fields", fields(50), "200"),
        ("more fields than a device reads", fields(60), "502"),
        ("more fields than a frame holds", fields(90), "502"),
    ] {
        let origin = Origin::start(move |_| answer("200 OK", &headers, "{}")).await;
        let bridge = start(options(&origin.url())).await;
        let frame = "PUT\r\nX-Kii-RequestID: 7\r\n\r\n{}";
        let answered = call(&mut bridge.device().await, STATES, frame).await;
        assert_eq!((answered.status.as_str(), answered.request_id.as_deref()), (status, Some("7")), "{what}");
        assert!(answered.head.len() <= 8 * 1024, "{what}");
        if status == "502" {
            assert_eq!(answered.error_code(), "BAD_GATEWAY", "{what}");
            let counters = bridge.upstream.counters();
            assert_eq!(counters.too_long + counters.broken, 1, "{what}");
        }
        assert_eq!(origin.requests().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_503_until_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let bridge = start(options(&format!("http://{address}"))).await;
    let mut device = bridge.device().await;
    for _ in 0..2 {
        let refused = call(&mut device, STATES, "PUT\r\n\r\n{}").await;
        assert_eq!((refused.status.as_str(), refused.error_code().as_str()), ("503", "TEMPORARY_UNAVAILABLE_ERROR"));
        assert_eq!(header(&refused, "retry-after"), Some("5"));
        let origin = Origin::start_at(address, |_| ok("{}")).await;
        assert_eq!(call(&mut device, STATES, "PUT\r\n\r\n{}").await.status, "200");
        drop(origin);
        // Its connections are gone with it, which the pool may learn a moment later: 502 would be honest then.
        loop {
            match call(&mut device, STATES, "PUT\r\n\r\n{}").await.status.as_str() {
                "503" => break,
                "502" => {}
                other => panic!("answered {other} by nobody"),
            }
        }
    }
    assert!(bridge.upstream.counters().unreachable >= 4);
}

#[tokio::test]
async fn a_name_that_nobody_has_and_a_port_that_speaks_no_tls_are_503() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("https://{}", silent.local_addr().expect("bound"));
    let plain = Origin::start(|_| ok("{}")).await;
    for url in [silent.as_str(), &plain.url().replace("http:", "https:"), "http://nobody.invalid"] {
        let mut options = options(url);
        options.connect_timeout = Duration::from_millis(500);
        options.timeout = Duration::from_secs(60);
        let bridge = start(options).await;
        assert_eq!(call(&mut bridge.device().await, STATES, "PUT\r\n\r\n{}").await.status, "503", "{url}");
    }
}

#[tokio::test]
async fn what_is_not_allowed_never_reaches_the_upstream() {
    let origin = Origin::start(|_| ok("{}")).await;
    let mut options = options(&format!("{}/base", origin.url()));
    options.swaps = vec!["/v1=/internal".parse().expect("a swap")];
    options.allowed = vec!["GET,PUT /v1/*/states".parse().expect("a rule")];
    options.max_request = 10;
    let bridge = start(options).await;
    let mut device = bridge.device().await;
    for (topic, frame, status) in [
        ("p/device/v1/a/states", "DELETE\r\n\r\n", "405"),
        ("p/device/v1/a/states", "CONNECT\r\n\r\n", "405"),
        ("p/device/v1/a%2Fb/states", "GET\r\n\r\n", "404"),
        ("p/device/v1/../v2/states", "GET\r\n\r\n", "404"),
        ("p/device/v1/a/states/x", "GET\r\n\r\n", "404"),
        ("p/device/thing-if/apps/app1/x", "GET\r\n\r\n", "404"),
        ("p/device/thing-if/apps/app2/x", "GET\r\n\r\n", "403"),
        ("p/device/v1/a/states", "PUT\r\n\r\n12345678901", "413"),
    ] {
        let refused = call(&mut device, topic, frame).await;
        assert_eq!(refused.status, status, "{topic}");
        if status == "405" {
            assert_eq!(header(&refused, "allow"), Some("GET, PUT"));
        }
    }
    assert_eq!((origin.connections(), bridge.upstream.counters().refused), (0, 6));
    assert_eq!(call(&mut device, "p/device/v1/a/states?q", "PUT\r\n\r\n1234567890").await.status, "200");
    let requests = origin.requests();
    assert!(requests[0].starts_with("PUT /base/internal/a/states?q HTTP/1.1\r\n"), "{requests:?}");
}

#[tokio::test]
async fn connections_are_used_again_and_bodies_may_be_large_or_in_chunks() {
    let origin = Origin::start(|request| {
        let (_, body) = request.split_once("\r\n\r\n").expect("a head");
        say(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
    })
    .await;
    let bridge = start(options(&origin.url())).await;
    let mut device = bridge.device().await;
    for size in [1, 100, 61_440].repeat(5) {
        let body = "x".repeat(size);
        let answered = call(&mut device, STATES, &format!("PUT\r\n\r\n{body}")).await;
        assert_eq!(answered.status, "200");
        assert!(answered.body == body && header(&answered, "transfer-encoding").is_none(), "{size}");
    }
    assert_eq!((origin.requests().len(), origin.connections()), (15, 1));
}

#[tokio::test]
async fn a_get_whose_connection_is_gone_is_sent_again_and_a_put_never() {
    let closed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    // Takes the first request of each kind and closes without an answer.
    let origin = Origin::start(move |request| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if first || request.starts_with("PUT") { Reply::SayAndClose(Vec::new()) } else { ok("{}") }
    })
    .await;
    let bridge = start(options(&origin.url())).await;
    let mut device = bridge.device().await;
    assert_eq!(call(&mut device, STATES, "GET\r\n\r\n").await.status, "200");
    assert_eq!(call(&mut device, STATES, "PUT\r\n\r\n{}").await.status, "502");
    let counters = bridge.upstream.counters();
    assert_eq!((counters.repeated, counters.broken, counters.answered), (1, 1, 1));
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn calls_of_one_path_go_one_after_the_other_and_others_beside_them() {
    let go_on = Arc::new(Notify::new());
    let until = Arc::clone(&go_on);
    let origin = Origin::start(move |request| {
        if request.ends_with("first") { Reply::Wait(Arc::clone(&until), Box::new(ok("1"))) } else { ok("2") }
    })
    .await;
    let bridge = start(options(&origin.url())).await;
    let mut device = bridge.device().await;
    device.request(STATES, "PUT\r\nX-Kii-RequestID: 1\r\n\r\nfirst").await;
    device.request(STATES, "PUT\r\nX-Kii-RequestID: 2\r\n\r\nsecond").await;
    device.request("p/device/thing-if/apps/app1/other", "PUT\r\nX-Kii-RequestID: 3\r\n\r\nthird").await;
    assert_eq!(device.answer().await.request_id.as_deref(), Some("3"), "another path does not wait");
    assert!(origin.requests().iter().all(|request| !request.ends_with("second")), "the second waits for the first");
    go_on.notify_one();
    for id in ["1", "2"] {
        assert_eq!(device.answer().await.request_id.as_deref(), Some(id));
    }
    let order: Vec<_> = origin.requests().iter().map(|r| r.rsplit_once("\r\n").expect("lines").1.to_owned()).collect();
    let position = |what: &str| order.iter().position(|body| body == what).expect("sent");
    assert!(position("first") < position("second"), "{order:?}");
}

#[tokio::test]
async fn a_location_of_the_upstreams_is_one_of_the_devices() {
    let origin = Origin::start(|request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
        match request {
            here if here.contains("/here") => {
                answer("201 Created", &format!("Location: http://{host}/in/new?x\r\n"), "")
            }
            _ => answer("302 Found", "Location: https://elsewhere.example/in/new\r\n", ""),
        }
    })
    .await;
    let mut options = options(&origin.url());
    options.swaps = vec!["/out=/in".parse().expect("a swap")];
    let bridge = start(options).await;
    let mut device = bridge.device().await;
    let created = call(&mut device, "p/device/out/here", "POST\r\n\r\n{}").await;
    assert_eq!((created.status.as_str(), header(&created, "location")), ("201", Some("/out/new?x")));
    let found = call(&mut device, "p/device/out/there", "GET\r\n\r\n").await;
    assert_eq!(header(&found, "location"), Some("https://elsewhere.example/in/new"));
}

const ONBOARDED: &str = "{\"accessToken\":\"t0k3n\",\"thingID\":\"th.1\",\"mqttEndpoint\":{\"installationID\":\"i\",\
    \"username\":\"learnt\",\"password\":\"learnt too\",\"mqttTopic\":\"AbCdEfGhIjKlMnOpQrStUvW\",\"host\":\"their.broker\",\
    \"portTCP\":1883,\"portSSL\":8883,\"ttl\":2147483647}}";

#[tokio::test]
async fn a_device_is_onboarded_to_the_bridge_and_only_it_can_come_back() {
    let origin = Origin::start(|request| {
        if request.contains("/onboardings") {
            answer("200 OK", "Content-Type: application/json\r\n", ONBOARDED)
        } else {
            answer("204 No Content", "", "")
        }
    })
    .await;
    let bridge = start(options(&origin.url())).await;
    let learnt = || raw_mqtt::connect("AbCdEfGhIjKlMnOpQrStUvW", "learnt", "learnt too");
    assert_eq!(Client::dial(bridge.address).await.connect(learnt()).await, 4, "not yet");

    let mut device = Client::login(bridge.address, anonymous()).await;
    let frame = "POST\r\nContent-Type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json\r\n\
        Accept-Encoding: gzip\r\n\r\n{\"vendorThingID\":\"v\",\"thingPassword\":\"p\"}";
    let answered = call(&mut device, "p/anonymous/thing-if/apps/app1/onboardings", frame).await;
    assert_eq!(answered.status, "200");
    let body: serde_json::Value = serde_json::from_str(&answered.body).expect("JSON");
    assert_eq!(body["accessToken"], "t0k3n");
    let endpoint = &body["mqttEndpoint"];
    assert_eq!((&endpoint["host"], &endpoint["portTCP"]), (&"127.0.0.1".into(), &bridge.address.port().into()));
    assert!(endpoint.get("portSSL").is_none(), "the bridge has none");
    assert_eq!(endpoint["password"], "learnt too");
    assert!(answered.body.starts_with("{\n"), "the dialect that devices read");
    let sent = &origin.requests()[0];
    // app1:key1
    assert!(sent.contains("\r\nauthorization: Basic YXBwMTprZXkx\r\n"), "{sent}");
    assert!(sent.contains("\r\naccept-encoding: identity\r\n") && !sent.contains("gzip"), "{sent}");

    let mut device = Client::login(bridge.address, learnt()).await;
    let states = "p/AbCdEfGhIjKlMnOpQrStUvW/thing-if/apps/app1/targets/thing:th.1/states";
    assert_eq!(call(&mut device, states, "PUT\r\nAuthorization: Bearer t0k3n\r\n\r\n{}").await.status, "204");
    assert!(!origin.requests()[1].contains("Basic"), "calls have the device's own token or none");
    for (user, password) in [("learnt", "wrong"), ("other", "learnt too")] {
        let mut stranger = Client::dial(bridge.address).await;
        assert_eq!(stranger.connect(raw_mqtt::connect("AbCdEfGhIjKlMnOpQrStUvW", user, password)).await, 4);
    }
    let mut stranger = Client::dial(bridge.address).await;
    let other_app = raw_mqtt::connect("anonymous", "type=oauth2&client_id=app2", "client_secret=key1");
    assert_eq!(stranger.connect(other_app).await, 5);
}
