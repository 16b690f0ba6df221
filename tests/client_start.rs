//! A device that does not wait for its connection: calls made before there is one, and every end that they can have. Over a network
//! in memory, in tokio's paused time.
#![cfg(feature = "client")]

mod device;

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use thingif::client::commands::{ActionTable, CommandEvent, Commands, Done};
use thingif::client::gateway::Gateway;
use thingif::client::vault::{MemoryVault, Vault, VaultKey};
use thingif::client::{self, Client, ConnectError, Connection, NotSent, Notice, OnboardingError, Pushes};
use thingif::client::{RequestError, SessionError};
use thingif::config::Config;
use thingif::frame;
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::thing_if::Credential;
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::memory::{self, Attempt, Broker, BrokerLink, FromDevice};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use device::brokers::{assigned, onboard, request};
use device::{APP, CLIENT_ID, answer, answer_to, body_of, call, config, credential};

const SECOND: Duration = Duration::from_secs(1);

fn stored() -> Config {
    config().with_resume(credential(0)).with_connect_attempts(1).expect("in range")
}

fn patient(config: Config) -> Config {
    config.with_connect_attempts(1000).expect("in range")
}

fn start(config: Config) -> (Client, Pushes, Connection, Broker) {
    let (network, broker) = memory::network();
    let (client, pushes, connection) = client::start(config, network).expect("started");
    (client, pushes, connection, broker)
}

/// By its user, credentials are told apart.
fn user(credential: Option<Credential>) -> Option<String> {
    credential.map(|credential| credential.endpoint.username)
}

type Reply = Result<Response<Bytes>, RequestError>;

/// A call on its way, in a task of its own.
async fn send(client: &Client, nonce: &str) -> JoinHandle<Reply> {
    let (client, request) = (client.clone(), call("states", nonce));
    let sending = tokio::spawn(async move { client.send(request).await });
    // Until it is in the client's queue.
    tokio::task::yield_now().await;
    sending
}

async fn end(sending: JoinHandle<Reply>) -> Result<Bytes, RequestError> {
    sending.await.expect("no panic").map(Response::into_body)
}

/// Takes the SUBSCRIBE that comes first.
async fn subscribe(link: &mut BrokerLink) -> TopicFilter {
    match link.next().await {
        Some(FromDevice::Subscribe(filter)) => filter,
        other => panic!("expected a SUBSCRIBE, got {other:?}"),
    }
}

async fn accept(broker: &mut Broker) -> Attempt {
    broker.accept().await.expect("somebody connects")
}

#[tokio::test(start_paused = true)]
async fn a_fresh_device_calls_as_soon_as_it_is_onboarded_and_is_answered_before_it_is_ready() {
    let (client, _pushes, mut connection, mut broker) = start(config());
    assert_eq!(user(client.credential()), None);
    let mut notices = connection.notices();
    tokio::spawn(connection.run());
    let ((), own) = tokio::join!(onboard(&mut broker, 1), client.onboarded());
    let own = own.expect("onboarded");
    assert_eq!(own.thing_id.as_str(), "th.1");
    assert_eq!(user(client.credential()), user(Some(own)));

    let first = send(&client, "first").await;
    let attempt = accept(&mut broker).await;
    assert!(!first.is_finished(), "it waits");
    let mut link = attempt.accept();
    let filter = subscribe(&mut link).await;
    let early = request(&mut link).await;
    let head = String::from_utf8_lossy(&early.payload).into_owned();
    assert!(head.contains("Authorization: Bearer token-1"), "{head}");
    link.publish(answer_to(&early, true)).expect("the device listens");
    assert_eq!(end(first).await.expect("answered"), "first", "SUBACK has not come");

    link.suback(filter, true).expect("the device listens");
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Notice::Ready { .. })) {
        seen.push(notices.next().await.expect("it goes on"));
    }
    assert!(matches!(seen[0], Notice::Onboarding { .. }), "from the beginning: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn early_calls_follow_subscribe_in_the_order_they_were_made() {
    let (client, _pushes, connection, mut broker) = start(stored());
    assert_eq!(user(client.credential()).as_deref(), Some("user-0"));
    assert_eq!(user(client.onboarded().await.ok()).as_deref(), Some("user-0"));
    let mut calls = Vec::new();
    // Before anybody drives the connection, and after.
    for n in 0..100 {
        calls.push(send(&client, &n.to_string()).await);
    }
    tokio::spawn(connection.run());
    let attempt = accept(&mut broker).await;
    for n in 100..200 {
        calls.push(send(&client, &n.to_string()).await);
    }
    let mut link = attempt.accept();
    subscribe(&mut link).await;
    for n in 0..200 {
        let early = request(&mut link).await;
        assert_eq!(body_of(&early), n.to_string());
        link.publish(answer_to(&early, true)).expect("the device listens");
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(end(call).await.expect("answered"), n.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn so_they_do_where_answers_must_be_subscribed_to_whatever_their_paths() {
    let (client, _pushes, connection, mut broker) = start(stored().with_response_filter(true));
    let names = ["states", "commands", "states", "triggers", "commands"];
    let calls = names.map(|name| {
        let (client, request) = (client.clone(), call(name, name));
        tokio::spawn(async move { client.send(request).await })
    });
    tokio::task::yield_now().await;
    tokio::spawn(connection.run());
    let mut link = accept(&mut broker).await.accept();
    for filter in [subscribe(&mut link).await, subscribe(&mut link).await] {
        link.suback(filter, true).expect("the device listens");
    }
    for name in names {
        let early = request(&mut link).await;
        assert_eq!(body_of(&early), name);
        link.publish(answer_to(&early, true)).expect("the device listens");
    }
    for (name, call) in names.into_iter().zip(calls) {
        assert_eq!(end(call).await.expect("answered"), name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_credential_of_another_application_is_none() {
    let other = Credential::from_json(credential(0).to_json_exposed().replace(APP, "other")).expect("complete");
    let (client, _pushes, connection, mut broker) = start(config().with_resume(other));
    assert_eq!(user(client.credential()), None);
    tokio::spawn(connection.run());
    let ((), own) = tokio::join!(onboard(&mut broker, 3), client.onboarded());
    assert_eq!(own.expect("onboarded").endpoint.username, "user-3");
}

#[tokio::test(start_paused = true)]
async fn what_ends_the_connection_ends_early_calls_as_not_sent() {
    // No link.
    let (client, _pushes, connection, broker) = start(config());
    drop(broker);
    let (early, ended) = (send(&client, "early").await, tokio::spawn(connection.run()));
    let error = client.onboarded().await.expect_err("nobody listens");
    assert_eq!(error.link_error().map(|error| error.kind()), Some(LinkErrorKind::Tcp));
    assert_eq!(ended.await.expect("no panic"), Err(error.clone()));
    assert_eq!(end(early).await, Err(NotSent::Closed.into()));
    assert_eq!(client.onboarded().await.expect_err("ended"), error, "and it is said again");
    assert_eq!(client.send(call("states", "late")).await.expect_err("ended"), NotSent::Closed.into());

    // A refused login.
    let (client, _pushes, connection, mut broker) = start(config());
    let (early, ended) = (send(&client, "early").await, tokio::spawn(connection.run()));
    accept(&mut broker).await.refuse(RefusedReason::NotAuthorised);
    let error = ended.await.expect("no panic").expect_err("refused");
    let refused = LinkErrorKind::Refused(RefusedReason::NotAuthorised);
    assert_eq!(error.link_error().map(|error| error.kind()), Some(refused));
    assert_eq!(end(early).await, Err(NotSent::Closed.into()));

    // A refused onboarding.
    let (client, _pushes, connection, mut broker) = start(config());
    let (early, ended) = (send(&client, "early").await, tokio::spawn(connection.run()));
    let mut link = accept(&mut broker).await.accept();
    let onboarding = request(&mut link).await;
    let forbidden = Response::builder().status(StatusCode::FORBIDDEN).body(Bytes::new()).expect("valid");
    link.publish(answer(&onboarding, &forbidden)).expect("the device listens");
    let error = client.onboarded().await.expect_err("refused");
    assert!(matches!(
        &error,
        ConnectError::Onboarding(OnboardingError::Rejected { status: StatusCode::FORBIDDEN, .. })
    ));
    assert_eq!(ended.await.expect("no panic"), Err(error));
    assert_eq!(end(early).await, Err(NotSent::Closed.into()));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_attempt_that_succeeds() {
    let (client, _pushes, connection, mut broker) = start(patient(stored()));
    let early = send(&client, "early").await;
    tokio::spawn(connection.run());
    accept(&mut broker).await.fail(LinkErrorKind::Tcp);
    // It was written by then, or could have been: a broker that refuses CONNECT looks at nothing behind it.
    accept(&mut broker).await.refuse(RefusedReason::ServerUnavailable);
    let mut link = assigned(&mut broker).await;
    let seen = request(&mut link).await;
    link.publish(answer_to(&seen, true)).expect("the device listens");
    assert_eq!(end(early).await.expect("answered"), "early");
}

#[tokio::test(start_paused = true)]
async fn its_time_to_connect_begins_when_it_is_driven() {
    for config in [stored(), config()] {
        let is_fresh = config.resume().is_none();
        // The one attempt that it has must not be over before it begins.
        let (client, _pushes, connection, mut broker) = start(config);
        let missed = send(&client, "missed").await;
        tokio::time::sleep(3600 * SECOND).await;
        assert_eq!(end(missed).await, Err(NotSent::DeadlineExceeded.into()));
        let early = send(&client, "early").await;
        let running = tokio::spawn(connection.run());
        if is_fresh {
            onboard(&mut broker, 1).await;
        }
        let mut link = assigned(&mut broker).await;
        let seen = request(&mut link).await;
        assert_eq!(body_of(&seen), "early");
        link.publish(answer_to(&seen, true)).expect("the device listens");
        assert_eq!(end(early).await.expect("answered"), "early");
        client.close().await;
        assert_eq!(running.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn its_deadline_runs_while_it_waits() {
    let (client, _pushes, connection, mut broker) = start(stored());
    tokio::spawn(connection.run());
    let attempt = accept(&mut broker).await;
    let began = Instant::now();
    let error = client.send_within(call("states", "late"), 2 * SECOND).await.expect_err("not connected in time");
    assert_eq!(error, NotSent::DeadlineExceeded.into());
    assert!((2 * SECOND..2 * SECOND + Duration::from_millis(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
    let next = send(&client, "next").await;
    let mut link = attempt.accept();
    subscribe(&mut link).await;
    assert_eq!(body_of(&request(&mut link).await), "next", "the other one is never sent");
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_while_it_waits_is_never_sent() {
    let (client, _pushes, connection, mut broker) = start(stored());
    let unseen = send(&client, "before the driver has it").await;
    unseen.abort();
    tokio::spawn(connection.run());
    let attempt = accept(&mut broker).await;
    let parked = send(&client, "when it waits").await;
    parked.abort();
    let next = send(&client, "next").await;
    let mut link = attempt.accept();
    subscribe(&mut link).await;
    assert_eq!(body_of(&request(&mut link).await), "next");
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may_be_in_flight() {
    for is_driven in [false, true] {
        let (client, _pushes, connection, mut broker) = start(stored().with_max_in_flight(2).expect("in range"));
        let mut undriven = Some(connection);
        let mut attempt = None;
        if is_driven {
            tokio::spawn(undriven.take().expect("there").run());
            attempt = Some(accept(&mut broker).await);
        }
        let waiting = [send(&client, "0").await, send(&client, "1").await];
        let began = Instant::now();
        let error = client.send(call("states", "too many")).await.expect_err("no room");
        assert_eq!((error, began.elapsed()), (NotSent::Overloaded.into(), Duration::ZERO), "driven: {is_driven}");
        if let Some(connection) = undriven {
            tokio::spawn(connection.run());
            attempt = Some(accept(&mut broker).await);
        }
        let mut link = attempt.expect("an attempt").accept();
        subscribe(&mut link).await;
        for _ in 0..2 {
            let seen = request(&mut link).await;
            link.publish(answer_to(&seen, true)).expect("the device listens");
        }
        for (n, waiting) in waiting.into_iter().enumerate() {
            assert_eq!(end(waiting).await.expect("answered"), n.to_string());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_before_it_connects_has_sent_nothing() {
    let (client, _pushes, connection, _broker) = start(config());
    let early = send(&client, "early").await;
    drop(connection);
    assert_eq!(end(early).await, Err(NotSent::Closed.into()));
    assert_eq!(client.onboarded().await.expect_err("dropped"), ConnectError::Closed);
    assert!(client.is_closed());

    // While it connects, and the call is the driver's.
    let (client, _pushes, connection, mut broker) = start(stored());
    let running = tokio::spawn(connection.run());
    let _attempt = accept(&mut broker).await;
    let early = send(&client, "early").await;
    tokio::time::sleep(SECOND).await;
    running.abort();
    assert_eq!(end(early).await, Err(NotSent::Closed.into()), "certainly not sent");

    // One that was written may have been processed.
    let (client, _pushes, connection, mut broker) = start(stored());
    let running = tokio::spawn(connection.run());
    let early = send(&client, "early").await;
    let mut link = accept(&mut broker).await.accept();
    subscribe(&mut link).await;
    request(&mut link).await;
    running.abort();
    assert_eq!(end(early).await, Err(RequestError::Closed));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_closed_before_it_connects() {
    for is_driven in [false, true] {
        let (client, mut pushes, connection, mut broker) = start(config());
        let early = send(&client, "early").await;
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.onboarded().await }
        });
        let running = if is_driven {
            let running = tokio::spawn(connection.run());
            let attempt = accept(&mut broker).await;
            client.close().await;
            drop(attempt);
            running
        } else {
            let closing = tokio::spawn({
                let client = client.clone();
                async move { client.close().await }
            });
            tokio::task::yield_now().await;
            let running = tokio::spawn(connection.run());
            closing.await.expect("no panic");
            running
        };
        assert_eq!(running.await.expect("no panic"), Ok(()), "driven: {is_driven}");
        assert_eq!(end(early).await, Err(NotSent::Closed.into()));
        assert_eq!(waiting.await.expect("no panic").expect_err("closed"), ConnectError::Closed);
        assert_eq!(pushes.next().await, None);
    }
    // Nobody is interested any more.
    let (client, pushes, connection, _broker) = start(config());
    drop((client, pushes));
    assert_eq!(connection.run().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_takes_the_early_call_with_it_which_may_have_happened() {
    let (client, _pushes, connection, mut broker) = start(stored());
    let early = send(&client, "early").await;
    let running = tokio::spawn(connection.run());
    let mut link = accept(&mut broker).await.accept();
    let filter = subscribe(&mut link).await;
    assert_eq!(body_of(&request(&mut link).await), "early");
    link.suback(filter.clone(), false).expect("the device listens");
    let refused = SessionError::SubscriptionRefused(filter);
    let error = end(early).await.expect_err("the connection is given up");
    assert_eq!(error, RequestError::Disconnected(refused.clone()));
    assert!(error.may_have_been_processed());
    assert_eq!(link.next().await, Some(FromDevice::Disconnect));
    assert_eq!(running.await.expect("no panic"), Err(ConnectError::Session(refused)));
}

#[tokio::test(start_paused = true)]
async fn a_link_lost_before_it_was_ready_takes_what_was_sent_and_leaves_what_was_not() {
    let (client, _pushes, connection, mut broker) = start(patient(stored()));
    tokio::spawn(connection.run());
    let sent = send(&client, "sent").await;
    let mut link = accept(&mut broker).await.accept();
    subscribe(&mut link).await;
    request(&mut link).await;
    link.cut(LinkErrorKind::Closed);
    let lost = SessionError::Link(LinkErrorKind::Closed.into());
    assert_eq!(end(sent).await, Err(RequestError::Disconnected(lost)));

    // It has still not been ready, so this one waits.
    let next = send(&client, "next").await;
    let mut link = assigned(&mut broker).await;
    let seen = request(&mut link).await;
    link.publish(answer_to(&seen, true)).expect("the device listens");
    assert_eq!(end(next).await.expect("answered"), "next");
}

#[tokio::test(start_paused = true)]
async fn once_it_was_ready_a_call_without_a_connection_fails_at_once() {
    let (client, _pushes, mut connection, mut broker) = start(patient(stored()));
    let mut notices = connection.notices();
    tokio::spawn(connection.run());
    let link = assigned(&mut broker).await;
    while !matches!(notices.next().await.expect("it goes on"), Notice::Ready { .. }) {}
    link.cut(LinkErrorKind::Closed);
    while !matches!(notices.next().await.expect("it goes on"), Notice::Lost { .. }) {}
    assert_eq!(client.send(call("states", "x")).await.expect_err("not now"), NotSent::NotConnected.into());
    let waiting = client.waiting_for_link();
    let (answered, ()) = tokio::join!(waiting.send(call("states", "waits")), async {
        let mut link = assigned(&mut broker).await;
        let seen = request(&mut link).await;
        link.publish(answer_to(&seen, true)).expect("the device listens");
        tokio::time::sleep(SECOND).await;
    });
    assert_eq!(answered.expect("answered").body(), "waits");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_says_so_when_its_turn_comes() {
    let (client, _pushes, connection, mut broker) = start(stored());
    let mut request = call("states", "x");
    *request.uri_mut() = http::Uri::from_static("*");
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(request).await }
    });
    tokio::spawn(connection.run());
    let _link = assigned(&mut broker).await;
    assert!(matches!(end(sending).await, Err(RequestError::NotSent(NotSent::InvalidPath(_)))));
}

#[tokio::test(start_paused = true)]
async fn with_a_vault_it_begins_with_what_that_has_and_stores_what_it_gets() {
    let vault = MemoryVault::new();
    let key = VaultKey::of(&config());
    let (network, mut broker) = memory::network();
    let (client, _pushes, connection) = client::start_with(config(), network, vault.clone()).await.expect("started");
    assert_eq!(user(client.credential()), None);
    let running = tokio::spawn(connection.run());
    let ((), own) = tokio::join!(onboard(&mut broker, 4), client.onboarded());
    own.expect("onboarded");
    let kept = vault.load(&key).await.expect("there");
    assert_eq!(user(kept).as_deref(), Some("user-4"), "before the default broker was left");
    client.close().await;
    running.await.expect("no panic").expect("closed in order");

    let (network, _broker) = memory::network();
    let (client, _pushes, _connection) = client::start_with(config(), network, vault).await.expect("started");
    assert_eq!(user(client.credential()).as_deref(), Some("user-4"));
}

#[tokio::test(start_paused = true)]
async fn commands_wait_until_the_device_has_a_name() {
    let (client, pushes, mut connection, mut broker) = start(config());
    let actuator = ActionTable::new().on("turn", async |_: serde_json::Value, _| Ok::<_, String>(Done::default()));
    let (commands, mut events) = Commands::builder(client.clone(), actuator).build();
    let working = tokio::spawn(commands.run(pushes, connection.notices()));
    tokio::time::sleep(SECOND).await;
    tokio::spawn(connection.run());
    onboard(&mut broker, 1).await;
    let mut link = assigned(&mut broker).await;
    let push = r#"{"commandID":"c-1","schema":"S","schemaVersion":1,"actions":[{"turn":{}}]}"#;
    link.publish(Publish::new(Topic::new(CLIENT_ID).expect("valid"), push)).expect("the device listens");
    let mut reported = false;
    while !reported {
        let seen = request(&mut link).await;
        let decoded = frame::decode_request(&seen.topic, seen.payload.clone()).expect("a request frame");
        reported = decoded.uri().path().ends_with("/targets/thing:th.1/commands/c-1/action-results");
        let body = if reported { "" } else { r#"{"commands":[]}"# };
        let mut response = Response::new(Bytes::from(body));
        response
            .headers_mut()
            .extend(decoded.headers().get(frame::REQUEST_ID).map(|id| (frame::REQUEST_ID, id.clone())));
        link.publish(answer(&seen, &response)).expect("the device listens");
    }
    while !matches!(events.next().await, Some(CommandEvent::Reported(_))) {}
    client.close().await;
    working.await.expect("no panic");

    // And end where it never gets one.
    let (client, pushes, mut connection, _broker) = start(config());
    let (commands, _events) = Commands::builder(client.clone(), ActionTable::new()).build();
    let working = tokio::spawn(commands.run(pushes, connection.notices()));
    drop(connection);
    working.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_is_opened_when_it_has_a_name() {
    let (client, _pushes, connection, mut broker) = start(config());
    let opening = tokio::spawn(Gateway::builder(client.clone(), |_| ActionTable::new()).open());
    tokio::time::sleep(SECOND).await;
    assert!(!opening.is_finished());
    tokio::spawn(connection.run());
    onboard(&mut broker, 1).await;
    let (gateway, ..) = opening.await.expect("no panic").expect("opened");
    assert!(gateway.nodes().is_empty());

    let (client, _pushes, connection, _broker) = start(config());
    drop(connection);
    let error = Gateway::builder(client, |_| ActionTable::new()).open().await.expect_err("it never has one");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("not onboarded"), "{cause}");
}
