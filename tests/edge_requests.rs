//! The edge: frames in, requests to a service, answers out.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use raw_mqtt::{Answer, Client, id};
use scripted_edge::{BoxError, anonymous, assigned, describe, echo, service, start, start_with};
use thingif::edge::{Config, Peer, Role};
use thingif::mqtt::packet::{Connect, Packet, Protocol, PublishPacket};
use thingif::mqtt::{Qos, Scheme};
use tokio::sync::{Notify, Semaphore};

const ONBOARDINGS: &str = "p/anonymous/thing-if/apps/app1/onboardings";
const STATES: &str = "p/device/thing-if/apps/app1/targets/THING:th.1/states";

#[tokio::test]
async fn a_documented_onboarding_frame_is_answered_byte_for_byte_in_the_strict_dialect() {
    let edge = start(service(|_| async {
        let mut response = Response::new(Bytes::from_static(b"{\n  \"accessToken\" : \"T\"\n}"));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("date", HeaderValue::from_static("Tue, 10 Mar 2015 06:55:32 GMT"));
        Ok(response)
    }))
    .await;
    for line_end in ["\n", "\r\n"] {
        for protocol in [Protocol::V31, Protocol::V311] {
            let mut client = Client::login(edge.address, Connect { protocol, ..anonymous() }).await;
            let content_type = "Content-type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
            let head = ["POST", content_type, "", ""].join(line_end);
            client.request(ONBOARDINGS, head + r#"{"vendorThingID":"v1","thingPassword":"pw"}"#).await;
            let (topic, frame) = client.publication().await;
            assert_eq!(topic, ONBOARDINGS);
            assert_eq!(
                frame,
                "200\r\nAccept-Ranges:bytes\r\nAge:0\r\nCache-Control:max-age=0, no-cache, no-store\r\n\
                 Content-Type:application/json\r\nDate:Tue, 10 Mar 2015 06:55:32 GMT\r\nConnection:keep-alive\r\n\r\n\
                 {\n  \"accessToken\" : \"T\"\n}"
            );
        }
    }
}

#[tokio::test]
async fn the_service_sees_an_http_request_and_who_asks() {
    let edge = start(service(|request: Request<Bytes>| async move {
        let peer = request.extensions().get::<Peer>().expect("a peer");
        assert_eq!((peer.role, peer.app_id.as_str(), peer.scheme), (Role::Assigned, "app1", Scheme::Mqtt));
        assert_eq!(peer.client_id.as_str(), "device");
        assert_eq!(request.headers()["authorization"], "Bearer T");
        Ok(Response::new(Bytes::from(describe(&request))))
    }))
    .await;
    let mut client = edge.assigned("device").await;
    client.request(&format!("{STATES}?x=1"), "put\nAuthorization: Bearer T\n\n{\"power\":true}").await;
    let answer = client.answer().await;
    assert_eq!(answer.topic, format!("{STATES}?x=1"));
    assert_eq!(answer.body, "PUT /thing-if/apps/app1/targets/THING:th.1/states?x=1 device {\"power\":true}");
}

#[tokio::test]
async fn request_ids_come_back_byte_for_byte_and_only_if_sent_on_both_brokers() {
    let edge = start(echo()).await;
    let mut api = edge.assigned("device").await;
    let mut default = edge.anonymous().await;
    for (sent, expected) in [
        ("X-Kii-RequestID: registerState\n", Some("registerState")),
        ("x-kii-requestid:vid 1 onboardings\r\n", Some("vid 1 onboardings")),
        ("X-Kii-RequestID: caf\u{e9}\r\n", Some("caf\u{e9}")),
        ("X-Kii-RequestID: 1\nX-Kii-RequestID: 2\n", Some("2")),
        ("", None),
    ] {
        api.request(STATES, format!("GET\n{sent}\n")).await;
        assert_eq!(api.answer().await.request_id.as_deref(), expected);
        default.request(ONBOARDINGS, format!("POST\n{sent}\n")).await;
        assert_eq!(default.answer().await.request_id.as_deref(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_anonymous_clients_each_get_their_own_answer_and_nobody_elses() {
    const CLIENTS: usize = 40;
    // Nobody is answered before everybody has asked.
    let everybody = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let edge = start(service(move |request: Request<Bytes>| {
        let everybody = Arc::clone(&everybody);
        async move {
            everybody.wait().await;
            Ok(Response::new(request.into_body()))
        }
    }))
    .await;
    let address = edge.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = Client::login(address, anonymous()).await;
                client.request(ONBOARDINGS, format!("POST\n\nthing {number}")).await;
                assert_eq!(client.answer().await.body, format!("thing {number}"));
                client // stays connected until all have theirs
            })
        })
        .collect();
    let mut connected = Vec::new();
    for client in clients {
        connected.push(client.await.expect("its own answer"));
    }
    for client in &mut connected {
        client.ping().await; // and nothing else came
    }
}

#[tokio::test]
async fn a_second_session_of_the_same_app_hears_nothing_of_the_firsts_answers() {
    let edge = start(echo()).await;
    let mut asking = edge.assigned("device").await;
    let mut listening = edge.assigned("device2").await;
    assert_eq!(listening.subscribe(&["p/device/#", "device", "#"]).await, [0x80, 0x80, 0x80]);
    asking.request(STATES, "GET\n\n").await;
    asking.answer().await;
    listening.ping().await;
}

#[tokio::test]
async fn qos_1_is_acknowledged_when_taken_and_qos_2_is_executed_once() {
    let gate = Arc::new(Semaphore::new(0));
    let service_gate = Arc::clone(&gate);
    let edge = start(service(move |request| {
        let gate = Arc::clone(&service_gate);
        async move {
            gate.acquire().await?.forget();
            Ok(Response::new(request.into_body()))
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    client.publish(STATES, "PUT\n\none", Qos::AtLeastOnce, Some(7), false).await;
    assert_eq!(client.receive().await, Some(Packet::PubAck(id(7))), "before it is executed");
    client.publish(STATES, "PUT\n\ntwo", Qos::ExactlyOnce, Some(8), false).await;
    assert_eq!(client.receive().await, Some(Packet::PubRec(id(8))));
    client.publish(STATES, "PUT\n\ntwo", Qos::ExactlyOnce, Some(8), true).await;
    assert_eq!(client.receive().await, Some(Packet::PubRec(id(8))));
    client.send(Packet::PubRel(id(8))).await;
    assert_eq!(client.receive().await, Some(Packet::PubComp(id(8))));
    client.send(Packet::PubRel(id(8))).await;
    assert_eq!(client.receive().await, Some(Packet::PubComp(id(8))), "a lost PUBCOMP is sent again");
    client.publish(STATES, "PUT\n\nthree", Qos::ExactlyOnce, Some(8), false).await;
    assert_eq!(client.receive().await, Some(Packet::PubRec(id(8))), "a released identifier is a new one");
    gate.add_permits(10);
    for body in ["one", "two", "three"] {
        assert_eq!(client.answer().await.body, body);
    }
    client.ping().await;
    assert_eq!((edge.registry.metrics().requests, edge.registry.metrics().duplicates), (3, 1));
}

#[tokio::test]
async fn unreleased_qos_2_identifiers_are_bounded() {
    let mut config = Config::default();
    config.max_unreleased = 3;
    let edge = start_with(echo(), config).await;
    let mut client = edge.assigned("device").await;
    for number in 1..=4 {
        client.publish("elsewhere", "", Qos::ExactlyOnce, Some(number), false).await;
    }
    for number in 1..=3 {
        assert_eq!(client.receive().await, Some(Packet::PubRec(id(number))));
    }
    client.expect_end().await;
    assert_eq!(edge.registry.metrics().protocol_errors, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pipelined_puts_on_one_path_leave_the_last_value() {
    let state = Arc::new(Mutex::new((0, 0)));
    let service_state = Arc::clone(&state);
    let edge = start(service(move |request: Request<Bytes>| {
        let state = Arc::clone(&service_state);
        async move {
            // Lets whoever overtakes do so.
            tokio::task::yield_now().await;
            let value: u32 = std::str::from_utf8(request.body())?.parse()?;
            let mut state = state.lock().expect("no panic");
            assert_eq!(value, state.1 + 1, "overtaken");
            *state = (state.0 + 1, value);
            Ok(Response::new(request.into_body()))
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    let mut all = Vec::new();
    for number in 1..=1000 {
        // The path is the same in any letter case and with any query.
        let target = if number % 2 == 0 { "thing" } else { "THING" };
        let topic = format!("p/device/thing-if/apps/app1/targets/{target}:th.1/states?n={number}");
        let publish = PublishPacket {
            dup: false,
            retain: false,
            qos: Qos::AtMostOnce,
            id: None,
            topic: raw_mqtt::topic(&topic),
            payload: Bytes::from(format!("PUT\r\n\r\n{number}")),
        };
        all.extend_from_slice(&client.encode(&Packet::Publish(publish)));
    }
    client.send_bytes(&all).await;
    for number in 1..=1000 {
        assert_eq!(client.answer().await.body, number.to_string());
    }
    assert_eq!(*state.lock().expect("no panic"), (1000, 1000));
}

#[tokio::test]
async fn a_slow_path_delays_no_other() {
    let gate = Arc::new(Notify::new());
    let service_gate = Arc::clone(&gate);
    let edge = start(service(move |request: Request<Bytes>| {
        let gate = Arc::clone(&service_gate);
        async move {
            if request.uri().path().ends_with("/slow") {
                gate.notified().await;
            }
            Ok(Response::new(request.into_body()))
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    client.request("p/device/thing-if/apps/app1/slow", "PUT\n\nfirst").await;
    client.request("p/device/thing-if/apps/app1/slow", "PUT\n\nsecond").await;
    client.request("p/device/thing-if/apps/app1/fast", "PUT\n\nthird").await;
    assert_eq!(client.answer().await.body, "third");
    client.ping().await;
    gate.notify_one();
    assert_eq!(client.answer().await.body, "first");
    gate.notify_one();
    assert_eq!(client.answer().await.body, "second");
}

#[tokio::test]
async fn a_slow_request_holds_up_no_answer_before_it_on_its_own_path() {
    let edge = start(service(|request: Request<Bytes>| async move {
        if request.body() == "never" {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(request.into_body()))
    }))
    .await;
    let mut client = edge.assigned("device").await;
    let mut all = Vec::new();
    for body in ["1", "2", "3", "never", "5"] {
        let payload = Bytes::from(format!("PUT\n\n{body}"));
        let topic = raw_mqtt::topic(STATES);
        let publish = PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload };
        all.extend_from_slice(&client.encode(&Packet::Publish(publish)));
    }
    client.send_bytes(&all).await;
    for body in ["1", "2", "3"] {
        assert_eq!(client.answer().await.body, body);
    }
    client.ping().await;
}

#[tokio::test]
async fn what_a_connection_may_not_call_is_answered_and_the_connection_kept() {
    let edge = start(echo()).await;
    let mut default = edge.anonymous().await;
    let mut api = edge.assigned("device").await;
    let expect = async |client: &mut Client<_>, topic: &str, frame: &str, status: &str, code: &str| {
        client.request(topic, frame).await;
        let Answer { topic: on, status: got, request_id, .. } = &client.answer().await;
        assert_eq!((on.as_str(), got.as_str(), request_id.as_deref()), (topic, status, Some("r 1")));
        client.request(topic, frame).await;
        assert_eq!(client.answer().await.error_code(), code);
    };
    let get = "GET\nX-Kii-RequestID: r 1\n\n";
    let forbidden = "OPERATION_NOT_SUPPORTED";
    let states = "p/anonymous/thing-if/apps/app1/targets/thing:th.1/states";
    expect(&mut default, states, get, "403", forbidden).await;
    expect(&mut default, "p/anonymous/thing-if/apps/app2/onboardings", get, "403", forbidden).await;
    expect(&mut default, "p/anonymous/api/apps/app1/things", get, "404", "PATH_NOT_FOUND").await;
    expect(&mut api, "p/device/thing-if/apps/app2/targets/thing:th.1/states", get, "403", forbidden).await;
    expect(&mut api, "p/device/api/apps/app1/things", get, "404", "PATH_NOT_FOUND").await;
    let malformed = "{}\nX-Kii-RequestID: r 1\n\n";
    expect(&mut api, STATES, malformed, "400", "INVALID_INPUT_DATA").await;
    expect(&mut default, ONBOARDINGS, malformed, "400", "INVALID_INPUT_DATA").await;
    expect(&mut api, STATES, "GET\nno colon\nX-Kii-RequestID: r 1\n\n", "400", "INVALID_INPUT_DATA").await;
    for empty in ["", "\n\n", "\0"] {
        api.request(STATES, empty).await;
        assert_eq!(api.answer().await.status, "400", "{empty:?}");
    }
    api.ping().await;
    default.ping().await;
    let metrics = edge.registry.metrics();
    assert_eq!((metrics.misdirected_requests, metrics.malformed_frames, metrics.requests), (10, 9, 0));
}

#[tokio::test]
async fn foreign_topics_are_ignored_and_acknowledged() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    for foreign in ["p/other/thing-if/apps/app1/onboardings", "device", "other", "$SYS/x", "p/device", "p/devices/x"] {
        client.request(foreign, "GET\n\n").await;
    }
    client.publish("other", "GET\n\n", Qos::AtLeastOnce, Some(1), false).await;
    assert_eq!(client.receive().await, Some(Packet::PubAck(id(1))));
    client.ping().await;
    assert_eq!((edge.registry.metrics().foreign_publishes, edge.registry.metrics().requests), (7, 0));
}

#[tokio::test]
async fn panics_and_errors_of_the_service_are_500s_of_that_request_alone() {
    let edge = start(service(|request: Request<Bytes>| async move {
        match request.uri().path().rsplit('/').next() {
            Some("panic") => panic!("a scripted panic"),
            Some("error") => Err(BoxError::from("a scripted error with a T0k3n")),
            _ => Ok(Response::new(Bytes::from_static(b"fine"))),
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    for failing in ["panic", "error", "panic"] {
        client.request(&format!("p/device/thing-if/apps/app1/{failing}"), "GET\nX-Kii-RequestID:7\n\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), ("500", Some("7")));
        assert_eq!(answer.error_code(), "UNDEFINED_ERROR");
        assert!(!answer.body.contains("T0k3n"));
    }
    client.request(STATES, "GET\n\n").await;
    assert_eq!(client.answer().await.body, "fine");
    assert_eq!(edge.registry.metrics().service_failures, 3);
}

#[tokio::test]
async fn a_device_that_disconnects_cancels_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let executed = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::new(Notify::new());
    let edge = start(service({
        let (gate, executed, all) = (Arc::clone(&gate), Arc::clone(&executed), Arc::clone(&all));
        move |request: Request<Bytes>| {
            let (gate, executed, all) = (Arc::clone(&gate), Arc::clone(&executed), Arc::clone(&all));
            async move {
                gate.acquire().await?.forget();
                let mut executed = executed.lock().expect("no panic");
                executed.push(String::from_utf8_lossy(request.body()).into_owned());
                if executed.len() == 3 {
                    all.notify_one();
                }
                Ok(Response::new(Bytes::new()))
            }
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    for body in ["1", "2", "3"] {
        client.publish(STATES, format!("PUT\n\n{body}"), Qos::AtLeastOnce, Some(1), false).await;
        assert_eq!(client.receive().await, Some(Packet::PubAck(id(1))));
    }
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
    gate.add_permits(3);
    tokio::time::timeout(raw_mqtt::PATIENCE, all.notified()).await.expect("executed");
    assert_eq!(*executed.lock().expect("no panic"), ["1", "2", "3"]);
    let stopped = {
        let registry = edge.registry.clone();
        edge.shut_down().await.expect("no panic").expect("no error");
        registry.metrics().undeliverable_answers
    };
    assert_eq!(stopped, 3);
}

#[tokio::test]
async fn answers_that_a_taken_over_connection_does_not_take_are_counted() {
    const REQUESTS: u64 = 100;
    let edge = start(echo()).await;
    let mut old = edge.assigned("device").await;
    let mut all = Vec::new();
    for number in 0..REQUESTS {
        let topic = raw_mqtt::topic(&format!("p/device/thing-if/apps/app1/x{number}"));
        let payload = Bytes::from_static(b"GET\n\n");
        let publish = PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload };
        all.extend_from_slice(&old.encode(&Packet::Publish(publish)));
    }
    old.send_bytes(&all).await;
    let mut new = edge.assigned("device").await;
    let mut answered = 0;
    while old.receive().await.is_some() {
        answered += 1;
    }
    new.ping().await;
    let registry = edge.registry.clone();
    edge.shut_down().await.expect("no panic").expect("no error");
    let metrics = registry.metrics();
    assert_eq!((metrics.requests, answered + metrics.undeliverable_answers), (REQUESTS, REQUESTS));
}

#[tokio::test]
async fn a_connection_works_without_room_for_more_than_one_answer() {
    let mut config = Config::default();
    config.write_high_water = 0;
    let edge = start_with(echo(), config).await;
    let mut client = edge.assigned("device").await;
    for body in ["1", "2"] {
        client.request(STATES, format!("PUT\n\n{body}")).await;
        assert!(client.answer().await.body.ends_with(body));
    }
    client.ping().await;
}

#[tokio::test]
async fn too_large_a_frame_is_413_with_its_id_and_the_connection_goes_on() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    let head = "PUT\r\nX-Kii-RequestID: big 1\r\n\r\n";
    let frame_of = |len: usize| format!("{head}{}", "x".repeat(len - head.len()));
    client.request(STATES, frame_of(64 * 1024)).await;
    assert_eq!(client.answer().await.status, "200", "64 KiB are allowed");
    for len in [64 * 1024 + 1, 1024 * 1024] {
        client.publish(STATES, frame_of(len), Qos::AtLeastOnce, Some(9), false).await;
        assert_eq!(client.receive().await, Some(Packet::PubAck(id(9))));
        let answer = client.answer().await;
        assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), ("413", Some("big 1")));
        assert_eq!(answer.error_code(), "PAYLOAD_TOO_LARGE");
        client.request(STATES, "GET\n\n").await;
        assert_eq!(client.answer().await.status, "200", "the rest was skipped");
    }
    assert_eq!(edge.registry.metrics().oversize_frames, 2);
}

#[tokio::test]
async fn more_than_a_mebibyte_is_answered_and_ends_the_connection() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    let head = "PUT\r\nX-Kii-RequestID:9\r\n\r\n";
    let frame = format!("{head}{}", "x".repeat(1024 * 1024 + 1 - head.len()));
    client.request(STATES, frame).await;
    let answer = client.answer().await;
    assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), ("413", Some("9")));
    client.expect_end().await;
    assert_eq!(edge.registry.metrics().protocol_errors, 1);
}

#[tokio::test]
async fn beyond_256_in_flight_is_503_while_pings_are_answered() {
    let gate = Arc::new(Semaphore::new(0));
    let service_gate = Arc::clone(&gate);
    let edge = start(service(move |request: Request<Bytes>| {
        let gate = Arc::clone(&service_gate);
        async move {
            gate.acquire().await?.forget();
            Ok(Response::new(request.into_body()))
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    for number in 0..300 {
        let topic = format!("p/device/thing-if/apps/app1/x{number}");
        client.request(&topic, format!("PUT\nX-Kii-RequestID:{number}\n\n{number}")).await;
    }
    for number in 256..300 {
        let answer = client.answer().await;
        assert_eq!(answer.status, "503");
        assert_eq!(answer.request_id, Some(number.to_string()));
        assert!(answer.head.contains("\r\nRetry-After:1"), "{}", answer.head);
    }
    client.ping().await;
    gate.add_permits(256);
    let mut bodies = HashMap::new();
    for _ in 0..256 {
        let answer = client.answer().await;
        assert_eq!(answer.request_id.as_ref(), Some(&answer.body));
        assert!(bodies.insert(answer.body, ()).is_none());
    }
    assert_eq!(bodies.len(), 256);
    // What was answered is no longer in flight.
    gate.add_permits(1);
    client.request(STATES, "PUT\n\nafterwards").await;
    assert_eq!(client.answer().await.body, "afterwards");
    assert_eq!(edge.registry.metrics().overloaded_requests, 44);
}

#[tokio::test]
async fn all_connections_together_are_bounded_too() {
    let mut config = Config::default();
    config.max_in_flight_total = 2;
    let gate = Arc::new(Semaphore::new(0));
    let service_gate = Arc::clone(&gate);
    let edge = start_with(
        service(move |_| {
            let gate = Arc::clone(&service_gate);
            async move {
                gate.acquire().await?.forget();
                Ok(Response::new(Bytes::new()))
            }
        }),
        config,
    )
    .await;
    // Two whose devices have gone still count.
    let mut gone = edge.assigned("device").await;
    gone.request(STATES, "GET\n\n").await;
    gone.request(STATES, "GET\n\n").await;
    gone.ping().await;
    drop(gone);
    let mut client = edge.assigned("device").await;
    client.request(STATES, "GET\n\n").await;
    assert_eq!(client.answer().await.status, "503");
    gate.add_permits(3);
    let mut status = String::new();
    while status != "200" {
        client.request(STATES, "GET\n\n").await;
        status = client.answer().await.status;
    }
}

#[tokio::test]
async fn statuses_and_headers_of_the_service_pass_through() {
    let edge = start(service(|_| async {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert("location", HeaderValue::from_static("/x"));
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
        response.headers_mut().insert("x-kii-requestid", HeaderValue::from_static("not asked for"));
        Ok(response)
    }))
    .await;
    let mut client = Client::login(edge.address, assigned("device")).await;
    client.request(STATES, "PUT\n\n{}").await;
    let answer = client.answer().await;
    assert_eq!((answer.status.as_str(), answer.request_id.as_deref(), answer.body.as_str()), ("204", None, ""));
    assert!(answer.head.contains("\r\nConnection:keep-alive\r\nLocation:/x"), "{}", answer.head);
}
