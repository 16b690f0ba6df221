//! The device client over a network in memory, in tokio's paused time: what a program sees.
#![cfg(feature = "client")]

mod device;

use std::task::{Context, Poll};
use std::time::Duration;

use thingif::client::{self, Client, ConnectError, Connection, Notice, OnboardingError, Push, Pushes};
use thingif::client::{NotSent, RequestError, SessionError};
use thingif::config::Config;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason};
use thingif::thing_if::{ErrorBody, ErrorCode};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice, Network};
use thingif::transport::{BoxFuture, ConnectOptions, Link, LinkEvent, Transport};
use tokio::time::Instant;
use tower_service::Service;

use device::brokers::{assigned, onboard, request};
use device::{CLIENT_ID, answer, answer_to, body_of, call, config, credential};

const SECOND: Duration = Duration::from_secs(1);

/// Answers every call with its own body until the device leaves.
async fn answer_all(mut link: BrokerLink) {
    while let Some(message) = link.next().await {
        if let FromDevice::Publish(request) = message {
            link.publish(answer_to(&request, true)).expect("the device listens");
        }
    }
}

/// A connected client with a stored credential, its connection not yet driven.
async fn connected(config: Config) -> (Client, Pushes, Connection, Broker, BrokerLink) {
    let (network, mut broker) = memory::network();
    connected_over(network, &mut broker, config).await.into_parts(broker)
}

struct Connected(Client, Pushes, Connection, BrokerLink);

impl Connected {
    fn into_parts(self, broker: Broker) -> (Client, Pushes, Connection, Broker, BrokerLink) {
        (self.0, self.1, self.2, broker, self.3)
    }
}

async fn connected_over(network: Network, broker: &mut Broker, config: Config) -> Connected {
    let config = config.with_resume(credential(0));
    let (connected, link) = tokio::join!(client::connect(config, network), assigned(broker));
    let (client, pushes, connection) = connected.expect("connected");
    Connected(client, pushes, connection, link)
}

#[tokio::test(start_paused = true)]
async fn a_device_onboards_moves_and_calls() {
    let (network, mut broker) = memory::network();
    let brokers = tokio::spawn(async move {
        onboard(&mut broker, 1).await;
        let link = assigned(&mut broker).await;
        answer_all(link).await;
    });
    let (mut client, pushes, connection) = client::connect(config(), network).await.expect("connected");
    let connection = tokio::spawn(connection.run());
    assert_eq!(client.credential().expect("onboarded").thing_id.as_str(), "th.1");
    assert_eq!(client.credential().expect("onboarded").access_token.expose().as_str(), "token-1");

    let response = client.send(call("states", "by send")).await.expect("answered");
    assert_eq!(response.body(), "by send");
    std::future::poll_fn(|cx| client.poll_ready(cx)).await.expect("ready");
    let response = client.call(call("states", "by service")).await.expect("answered");
    assert_eq!(response.body(), "by service");

    drop((client, pushes));
    connection.await.expect("no panic").expect("closed in order");
    brokers.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn sixty_four_calls_at_once_answered_in_reverse_order_each_get_their_own() {
    let (client, _pushes, connection, _broker, mut link) = connected(config()).await;
    tokio::spawn(connection.run());
    let calls: Vec<_> = (0..64)
        .map(|n| {
            let (client, nonce) = (client.clone(), format!("nonce {n}"));
            tokio::spawn(async move { (client.send(call("states", &nonce)).await, nonce) })
        })
        .collect();
    let mut requests = Vec::new();
    while requests.len() < 64 {
        requests.push(request(&mut link).await);
    }
    for request in requests.iter().rev() {
        link.publish(answer_to(request, true)).expect("the device listens");
    }
    for call in calls {
        let (answer, nonce) = call.await.expect("no panic");
        assert_eq!(answer.expect("answered").body(), nonce.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_with_one_path_leave_in_the_order_they_were_made() {
    let (mut client, _pushes, connection, _broker, mut link) = connected(config()).await;
    tokio::spawn(connection.run());
    let calls: Vec<_> = (0..100).map(|n| client.call(call("states", &n.to_string()))).collect();
    for n in 0..100 {
        assert_eq!(body_of(&request(&mut link).await), n.to_string());
    }
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it() {
    let (client, _pushes, connection, _broker, mut link) = connected(config()).await;
    tokio::spawn(connection.run());

    // In flight: its late answer reaches nobody, and the next call gets its own.
    let cancelled = call("states", "cancelled");
    tokio::select! {
        answer = client.send(cancelled) => panic!("nobody answered: {answer:?}"),
        late = request(&mut link) => {
            assert_eq!(body_of(&late), "cancelled");
            tokio::task::yield_now().await;
            link.publish(answer_to(&late, true)).expect("the device listens");
        }
    }
    let (answer, ()) = tokio::join!(client.send(call("states", "next")), async {
        let next = request(&mut link).await;
        link.publish(answer_to(&next, true)).expect("the device listens");
    });
    assert_eq!(answer.expect("answered").body(), "next");
    assert_eq!(client.counters().late_answers, 1);

    // Not taken by the driver yet: it is never sent.
    let mut service = client.clone();
    drop(service.call(call("states", "never sent")));
    let after = tokio::spawn(async move { client.send(call("states", "after")).await });
    let seen = request(&mut link).await;
    assert_eq!(body_of(&seen), "after");
    link.publish(answer_to(&seen, true)).expect("the device listens");
    assert_eq!(after.await.expect("no panic").expect("answered").body(), "after");
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_deadline() {
    let (client, _pushes, connection, _broker, _link) = connected(config()).await;
    tokio::spawn(connection.run());
    let began = Instant::now();
    let (short, default) = tokio::join!(
        async {
            let answer = client.send_within(call("states", "short"), Duration::from_millis(250)).await;
            (answer, began.elapsed())
        },
        async {
            let answer = client.send(call("states", "default")).await;
            (answer, began.elapsed())
        },
    );
    // Virtual time: exact but for the clock's own millisecond.
    let near =
        |elapsed: Duration, expected: Duration| (expected..expected + Duration::from_millis(2)).contains(&elapsed);
    assert_eq!(short.0.expect_err("nobody answers"), RequestError::TimedOut);
    assert!(near(short.1, Duration::from_millis(250)), "{:?}", short.1);
    assert_eq!(default.0.expect_err("nobody answers"), RequestError::TimedOut);
    assert!(near(default.1, 10 * SECOND), "{:?}", default.1);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_up_before_its_turn_is_not_sent() {
    let (mut client, _pushes, connection, _broker, mut link) = connected(config()).await;
    let late = client.call(call("states", "late"));
    tokio::time::advance(10 * SECOND).await;
    tokio::spawn(connection.run());
    assert_eq!(late.await.expect_err("its time is up"), NotSent::DeadlineExceeded.into());
    let (answer, seen) = tokio::join!(client.send(call("states", "next")), async {
        let next = request(&mut link).await;
        link.publish(answer_to(&next, true)).expect("the device listens");
        body_of(&next)
    });
    assert_eq!((answer.expect("answered").status(), seen.as_str()), (http::StatusCode::OK, "next"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_drives_makes_no_call_wait_for_ever() {
    let (client, _pushes, connection, _broker, _link) = connected(config()).await;
    let error = client.send(call("states", "x")).await.expect_err("nobody drives");
    assert_eq!(error, NotSent::DeadlineExceeded.into());
    assert!(!error.may_have_been_processed());
    client.close().await; // returns as well
    drop(connection);
    assert!(client.is_closed());
    assert_eq!(client.send(call("states", "x")).await.expect_err("gone"), NotSent::Closed.into());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_ends_every_call() {
    let (client, _pushes, connection, _broker, mut link) = connected(config()).await;
    let connection = tokio::spawn(connection.run());
    let in_flight = tokio::spawn({
        let client = client.clone();
        async move { client.send(call("states", "x")).await }
    });
    request(&mut link).await;
    connection.abort();
    assert_eq!(in_flight.await.expect("no panic").expect_err("gone"), RequestError::Closed);
    assert_eq!(link.next().await, None, "no DISCONNECT");
}

#[tokio::test(start_paused = true)]
async fn a_call_too_many_is_refused_at_once() {
    let (client, _pushes, connection, _broker, mut link) =
        connected(config().with_max_in_flight(2).expect("in range")).await;
    tokio::spawn(connection.run());
    let waiting: Vec<_> = (0..2)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.send(call("states", &n.to_string())).await })
        })
        .collect();
    let first = request(&mut link).await;
    request(&mut link).await;
    let began = Instant::now();
    let error = client.send(call("states", "third")).await.expect_err("no room");
    assert_eq!((error, began.elapsed()), (NotSent::Overloaded.into(), Duration::ZERO));
    link.publish(answer_to(&first, true)).expect("the device listens");
    waiting.into_iter().next().expect("two").await.expect("no panic").expect("answered");
    let (answer, ()) = tokio::join!(client.send(call("states", "fourth")), async {
        let fourth = request(&mut link).await;
        link.publish(answer_to(&fourth, true)).expect("the device listens");
    });
    assert_eq!(answer.expect("there is room again").body(), "fourth");
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_does_not_take_was_not_sent() {
    let (network, mut broker) = memory::network_with_capacity(2);
    let Connected(mut client, _pushes, connection, mut link) = connected_over(network, &mut broker, config()).await;
    tokio::spawn(connection.run());
    let calls: Vec<_> = (0..3).map(|n| client.call(call("states", &n.to_string()))).collect();
    tokio::time::sleep(SECOND).await;
    for _ in 0..2 {
        let request = request(&mut link).await;
        link.publish(answer_to(&request, true)).expect("the device listens");
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.map(|response| response.into_body()));
    }
    let refused = NotSent::Link(LinkErrorKind::Overloaded.into());
    assert_eq!(answers, [Ok("0".into()), Ok("1".into()), Err(refused.into())]);
}

#[tokio::test(start_paused = true)]
async fn pushes_arrive_in_order_and_what_is_dropped_is_told() {
    let (client, mut pushes, connection, _broker, mut link) =
        connected(config().with_push_queue(3).expect("in range")).await;
    let connection = tokio::spawn(connection.run());
    let topic = Topic::new(CLIENT_ID).expect("valid");
    let mut push = |n: u32| link.publish(Publish::new(topic.clone(), n.to_string())).expect("the device listens");
    push(0);
    assert_eq!(pushes.next().await, Some(Push::Message("0".into())));
    (1..=5).for_each(&mut push);
    tokio::time::sleep(SECOND).await;
    assert_eq!(pushes.next().await, Some(Push::Lagged(2)));
    for n in 3..=5 {
        assert_eq!(pushes.next().await, Some(Push::Message(n.to_string().into())));
    }
    push(6);
    tokio::time::sleep(SECOND).await;
    client.close().await;
    assert_eq!(pushes.next().await, Some(Push::Message("6".into())), "what has arrived is still read");
    assert_eq!(pushes.next().await, None);
    connection.await.expect("no panic").expect("closed in order");
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_the_device_comes_back_by_itself() {
    let (client, _pushes, mut connection, mut broker, mut link) = connected(config()).await;
    let mut notices = connection.notices();
    tokio::spawn(connection.run());
    let lost = tokio::spawn({
        let client = client.clone();
        async move { client.send(call("states", "lost")).await }
    });
    request(&mut link).await;
    link.cut(LinkErrorKind::KeepAlive);
    let error = lost.await.expect("no panic").expect_err("cut");
    assert_eq!(error, RequestError::Disconnected(SessionError::Link(LinkErrorKind::KeepAlive.into())));
    assert_eq!(client.send(call("states", "x")).await.expect_err("not yet"), NotSent::NotConnected.into());

    let link = assigned(&mut broker).await;
    tokio::spawn(answer_all(link));
    loop {
        match notices.next().await.expect("it goes on") {
            Notice::Lost { .. } => {}
            Notice::Waiting { cause, onboarding, .. } => {
                let expected = SessionError::Link(LinkErrorKind::KeepAlive.into());
                assert_eq!(*cause, ConnectError::Session(expected));
                assert!(!onboarding);
                break;
            }
            Notice::Connecting { .. } | Notice::Connected { .. } | Notice::Ready { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    while !matches!(notices.next().await.expect("it goes on"), Notice::Ready { .. }) {}
    assert_eq!(client.send(call("states", "again")).await.expect("answered").body(), "again");
}

#[tokio::test(start_paused = true)]
async fn connack_5_leads_to_a_new_credential() {
    let (network, mut broker) = memory::network();
    let brokers = async {
        broker.accept().await.expect("somebody connects").refuse(RefusedReason::NotAuthorised);
        onboard(&mut broker, 7).await;
        assigned(&mut broker).await
    };
    let config = config().with_resume(credential(0));
    let (connected, _link) = tokio::join!(client::connect(config, network), brokers);
    let (client, _pushes, mut connection) = connected.expect("connected");
    assert_eq!(client.credential().expect("onboarded").endpoint.username, "user-7");
    let mut notices = connection.notices();
    let mut onboarded = false;
    while !onboarded {
        onboarded = matches!(notices.next().await.expect("there"), Notice::Onboarded { .. });
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_handle_is_gone_the_connection_closes() {
    let (client, pushes, connection, _broker, mut link) = connected(config()).await;
    let connection = tokio::spawn(connection.run());
    let clone = client.clone();
    drop((client, pushes));
    let (answer, ()) = tokio::join!(clone.send(call("states", "still here")), async {
        let request = request(&mut link).await;
        link.publish(answer_to(&request, true)).expect("the device listens");
    });
    assert_eq!(answer.expect("answered").body(), "still here");
    drop(clone);
    assert_eq!(link.next().await, Some(FromDevice::Disconnect));
    assert_eq!(link.next().await, None);
    connection.await.expect("no panic").expect("closed in order");
}

#[tokio::test(start_paused = true)]
async fn a_call_on_its_way_keeps_the_connection_open() {
    let (mut client, pushes, connection, _broker, mut link) = connected(config()).await;
    let connection = tokio::spawn(connection.run());
    let on_its_way = client.call(call("states", "last"));
    drop((client, pushes));
    let (answer, ()) = tokio::join!(on_its_way, async {
        let request = request(&mut link).await;
        link.publish(answer_to(&request, true)).expect("the device listens");
    });
    assert_eq!(answer.expect("answered").body(), "last");
    connection.await.expect("no panic").expect("closed in order");
}

#[tokio::test(start_paused = true)]
async fn close_ends_calls_and_says_goodbye() {
    let (client, _pushes, connection, _broker, mut link) = connected(config()).await;
    let connection = tokio::spawn(connection.run());
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.send(call("states", "x")).await }
    });
    request(&mut link).await;
    client.close().await;
    assert_eq!(waiting.await.expect("no panic").expect_err("closed"), RequestError::Closed);
    assert_eq!(link.next().await, Some(FromDevice::Disconnect));
    connection.await.expect("no panic").expect("closed in order");
    assert!(client.is_closed());
    client.close().await; // once more does no harm
}

/// A transport whose links never get their DISCONNECT written.
struct Clogged(Network);

struct CloggedLink(Box<dyn Link>);

impl Transport for Clogged {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            let link = self.0.connect(endpoint, credentials, options).await?;
            Ok(Box::new(CloggedLink(link)) as Box<dyn Link>)
        })
    }
}

impl Link for CloggedLink {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        self.0.publish(publish)
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.0.subscribe(filter)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        self.0.poll_event(cx)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _link = self.0;
            std::future::pending().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_cannot_be_written_holds_nobody_up_for_ever() {
    let (network, mut broker) = memory::network();
    let config = config().with_resume(credential(0));
    let (connected, mut link) = tokio::join!(client::connect(config, Clogged(network)), assigned(&mut broker));
    let (client, _pushes, connection) = connected.expect("connected");
    let connection = tokio::spawn(connection.run());
    let began = Instant::now();
    client.close().await;
    assert_eq!(began.elapsed(), 10 * SECOND, "the connect timeout");
    assert!(client.is_closed());
    connection.await.expect("no panic").expect("closed in order");
    assert_eq!(link.next().await, None, "the link is dropped");
}

#[tokio::test(start_paused = true)]
async fn connecting_fails_with_its_cause() {
    let (network, broker) = memory::network();
    drop(broker);
    let error = client::connect(config(), network.clone()).await.expect_err("nobody listens");
    assert_eq!(error.link_error().map(|e| e.kind()), Some(LinkErrorKind::Tcp));
    assert!(matches!(error, ConnectError::Onboarding(_)));
    let error = client::connect(config().with_resume(credential(0)), network).await.expect_err("nobody listens");
    assert!(matches!(error, ConnectError::Onboarding(_)), "it asked where to go: {error:?}");

    let (network, mut broker) = memory::network();
    let (error, ()) = tokio::join!(client::connect(config(), network), async {
        broker.accept().await.expect("somebody").refuse(RefusedReason::BadUserNameOrPassword);
    });
    let refused = LinkErrorKind::Refused(RefusedReason::BadUserNameOrPassword);
    assert_eq!(error.expect_err("refused").link_error().map(|e| e.kind()), Some(refused));
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_that_the_transport_does_not_take_ends_the_attempt_at_once() {
    let (network, mut broker) = memory::network_with_capacity(0);
    let began = Instant::now();
    let config = config().with_resume(credential(0));
    let (connected, _link) =
        tokio::join!(client::connect(config, network), async { broker.accept().await.expect("somebody").accept() });
    let expected = SessionError::Link(LinkErrorKind::Overloaded.into());
    assert_eq!(connected.expect_err("no subscription"), ConnectError::Session(expected));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_as_large_as_a_request() {
    let max_frame = 2 * 1024 * 1024;
    let (network, mut broker) = memory::network();
    let config = config().with_max_frame(max_frame).expect("in range");
    tokio::select! {
        _ = client::connect(config, network) => panic!("nobody answered"),
        attempt = broker.accept() => assert_eq!(attempt.expect("somebody").options().max_payload, max_frame),
    }
}

#[tokio::test(start_paused = true)]
async fn onboarding_alone_returns_the_credential_and_leaves() {
    let (network, mut broker) = memory::network();
    // A credential to resume with is no reason not to onboard.
    let config = config().with_resume(credential(0));
    let (credential, ()) = tokio::join!(client::onboard(&config, &network), onboard(&mut broker, 3));
    assert_eq!(credential.expect("onboarded").endpoint.username, "user-3");

    let (error, ()) = tokio::join!(client::onboard(&config, &network), async {
        let mut link = broker.accept().await.expect("somebody").accept();
        let request = request(&mut link).await;
        let refused = ErrorBody::new(ErrorCode::WrongPassword, "wrong").to_response();
        link.publish(answer(&request, &refused)).expect("the device listens");
        assert_eq!(link.next().await, Some(FromDevice::Disconnect));
    });
    match error.expect_err("refused") {
        ConnectError::Onboarding(OnboardingError::Rejected { status, .. }) => assert_eq!(status, 401),
        other => panic!("{other:?}"),
    }

    let (error, _link) =
        tokio::join!(client::onboard(&config, &network), async { broker.accept().await.expect("somebody").accept() });
    assert_eq!(error.expect_err("nobody answers"), ConnectError::Onboarding(OnboardingError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn giving_connect_up_leaves_nothing_behind() {
    let (network, mut broker) = memory::network();
    let mut link = {
        let connecting = client::connect(config(), network);
        tokio::select! {
            _ = connecting => panic!("nobody answered"),
            link = async {
                let mut link = broker.accept().await.expect("somebody").accept();
                request(&mut link).await;
                link
            } => link,
        }
    };
    assert_eq!(link.next().await, None);
    assert!(broker.accept().await.is_none(), "the transport is gone too");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_no_longer_wanted_ends_with_the_reason() {
    let (client, _pushes, connection, mut broker, link) = connected(config()).await;
    let connection = tokio::spawn(connection.run());
    link.cut(LinkErrorKind::Closed);
    let refused = ErrorBody::new(ErrorCode::Unauthorized, "deleted").to_response();
    let mut onboardings = 0;
    while onboardings < 3 {
        let attempt = broker.accept().await.expect("it goes on");
        if !attempt.credentials().client_id.is_anonymous() {
            // The old credential is tried while no new one is asked for.
            attempt.refuse(RefusedReason::NotAuthorised);
            continue;
        }
        let mut link = attempt.accept();
        let onboarding = request(&mut link).await;
        link.publish(answer(&onboarding, &refused)).expect("the device listens");
        onboardings += 1;
    }
    match connection.await.expect("no panic") {
        Err(ConnectError::Onboarding(OnboardingError::Rejected { status, .. })) => assert_eq!(status, 401),
        other => panic!("{other:?}"),
    }
    assert!(client.is_closed());
    assert_eq!(client.send(call("states", "x")).await.expect_err("ended"), NotSent::Closed.into());
}
