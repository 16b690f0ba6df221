//! The two ends of this crate meet over real sockets: links on the edge, over TCP, TLS, WS and WSS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use thingif::edge::{Config, Edge, Listeners, PushOutcome, Pusher, Registry};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkErrorKind, Publish, RefusedReason, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Tls, Transport, next_event};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PATIENCE;
use crate::certificates::Authority;
use crate::scripted_edge::{self, ANONYMOUS, Function, Scripted, echo};

/// An edge on all four transports, and a transport that trusts it.
struct Meeting {
    endpoints: Vec<Endpoint>,
    registry: Registry,
    transport: Arc<dyn Transport>,
    _authority: Authority,
}

async fn meet() -> Meeting {
    meet_with(echo()).await
}

async fn meet_with(service: Function) -> Meeting {
    let authority = Authority::new();
    let tls = Some(authority.issue("localhost").server(None));
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let bound = [bind().await, bind().await, bind().await, bind().await];
    let endpoints = Scheme::ALL
        .into_iter()
        .zip(&bound)
        .map(|(scheme, listener)| {
            let port = listener.local_addr().expect("bound").port();
            Endpoint::new(scheme, "localhost", port).expect("valid")
        })
        .collect();
    let [mqtt, mqtts, ws, wss] = bound.map(Some);
    let registry = Registry::new();
    let edge = Edge::new(service, Scripted, registry.clone(), Config::default());
    tokio::spawn(edge.run(Listeners { mqtt, mqtts, ws, wss, tls }, std::future::pending::<()>()));
    let transport = super::transport(Tls { ca_file: Some(authority.file.clone()), ..Tls::default() }, None);
    Meeting { endpoints, registry, transport, _authority: authority }
}

fn login((client_id, username, password): (&str, &str, &str)) -> Credentials {
    Credentials {
        client_id: ClientId::new(client_id).expect("valid"),
        username: username.into(),
        password: password.into(),
    }
}

async fn event(link: &mut Box<dyn Link>) -> LinkEvent {
    timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event")
}

/// Calls and hears the service's answer on the topic of the call, without any subscription.
async fn call(link: &mut Box<dyn Link>, path: &str, body: &str) -> Bytes {
    let topic = Topic::new(path).expect("valid");
    let frame = format!("POST\r\nX-Kii-RequestID: {body}\r\nContent-Type: text/plain\r\n\r\n{body}");
    link.publish(Publish::new(topic.clone(), frame)).expect("room");
    let LinkEvent::Received(answer) = event(link).await else { panic!("expected the answer") };
    assert_eq!(answer.topic, topic);
    answer.payload
}

#[tokio::test]
async fn calls_are_answered_and_pushes_arrive_on_every_transport() {
    let meeting = meet().await;
    for endpoint in &meeting.endpoints {
        let id = format!("device-{}", endpoint.scheme);
        let credentials = login((&id, "user", "pw"));
        let mut link = meeting
            .transport
            .connect(endpoint, &credentials, &ConnectOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        for n in 0..20 {
            let answer = call(&mut link, &format!("p/{id}/thing-if/apps/app1/x"), &format!("call {n}")).await;
            let text = String::from_utf8(answer.to_vec()).expect("text");
            assert!(text.starts_with("200\r\n"), "{text}");
            assert!(text.contains(&format!("\r\nX-Kii-RequestID:call {n}\r\n")), "{text}");
            assert!(text.ends_with(&format!("POST /thing-if/apps/app1/x {id} call {n}")), "{text}");
        }
        let filter = TopicFilter::for_pushes(&credentials.client_id);
        link.subscribe(filter.clone()).expect("room");
        assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true });
        let pushed = meeting.registry.push(&credentials.client_id, Bytes::from_static(b"{}")).await;
        let push = Publish::new(Topic::for_pushes(&credentials.client_id), "{}");
        assert_eq!(pushed, PushOutcome::Queued);
        assert_eq!(event(&mut link).await, LinkEvent::Received(push));
        link.subscribe(TopicFilter::new("somebody-else").expect("valid")).expect("room");
        assert!(matches!(event(&mut link).await, LinkEvent::Subscribed { granted: false, .. }));
        timeout(PATIENCE, link.close()).await.expect("closes");
    }
}

#[tokio::test]
async fn anonymous_links_side_by_side_hear_only_their_own_answers() {
    let meeting = meet().await;
    let mut links = JoinSet::new();
    for n in 0..40 {
        let (transport, endpoint) = (meeting.transport.clone(), meeting.endpoints[n % 4].clone());
        links.spawn(async move {
            let mut options = ConnectOptions::default();
            options.timeout = PATIENCE;
            let mut link = transport.connect(&endpoint, &login(ANONYMOUS), &options).await.expect("admitted");
            for round in 0..5 {
                let own = format!("{n}.{round}");
                let answer = call(&mut link, "p/anonymous/thing-if/apps/app1/onboardings", &own).await;
                assert!(answer.ends_with(format!("anonymous {own}").as_bytes()), "{answer:?}");
            }
        });
    }
    while let Some(ended) = timeout(PATIENCE, links.join_next()).await.expect("no hang") {
        ended.expect("each got its own");
    }
}

#[tokio::test]
async fn a_take_over_and_a_refusal_are_told_apart() {
    let meeting = meet().await;
    let (endpoint, options) = (&meeting.endpoints[0], ConnectOptions::default());
    let credentials = login(("twice", "user", "pw"));
    let mut older = meeting.transport.connect(endpoint, &credentials, &options).await.expect("admitted");
    let mut newer = meeting.transport.connect(endpoint, &credentials, &options).await.expect("admitted");
    let LinkEvent::Lost(error) = event(&mut older).await else { panic!("expected the loss") };
    assert_eq!(error.kind(), LinkErrorKind::Closed, "{error}");
    call(&mut newer, "p/twice/thing-if/apps/app1/x", "still here").await;
    for (username, reason) in
        [("stranger", RefusedReason::NotAuthorised), ("user", RefusedReason::BadUserNameOrPassword)]
    {
        let wrong = login(("other", username, "wrong"));
        let error = meeting.transport.connect(endpoint, &wrong, &options).await.map(drop).expect_err("refused");
        assert_eq!(error.kind(), LinkErrorKind::Refused(reason));
    }
}

/// What was written behind CONNECT is answered after CONNACK, and for who is refused nothing of it is carried out. [MQTT-3.1.4-5]
/// A transport that hands out links after CONNACK has nothing to write before.
#[tokio::test]
async fn packets_behind_connect_are_kept_until_it_is_judged() {
    let carried_out = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&carried_out);
    let meeting = meet_with(scripted_edge::service(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(http::Response::new(Bytes::from_static(b"done"))) }
    }))
    .await;
    let mut options = ConnectOptions::default();
    (options.timeout, options.pipeline) = (PATIENCE, true);
    let frame = |id: &str| Publish::new(topic(id), "PUT\r\nContent-Type: text/plain\r\n\r\nx");
    for endpoint in &meeting.endpoints {
        let credentials = login(("device", "user", "pw"));
        let mut link = meeting.transport.connect(endpoint, &credentials, &options).await.expect("admitted");
        let was_accepted = link.is_accepted();
        let filter = TopicFilter::for_pushes(&credentials.client_id);
        link.subscribe(filter.clone()).expect("room");
        for _ in 0..3 {
            link.publish(frame("device")).expect("room");
        }
        if !was_accepted {
            assert_eq!(event(&mut link).await, LinkEvent::Accepted, "{endpoint}: before anything else");
        }
        assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true }, "{endpoint}");
        for _ in 0..3 {
            assert!(matches!(event(&mut link).await, LinkEvent::Received(_)), "{endpoint}: none is lost");
        }
        assert_eq!(carried_out.swap(0, Ordering::SeqCst), 3, "{endpoint}");
        timeout(PATIENCE, link.close()).await.expect("closes");

        for (username, reason) in
            [("stranger", RefusedReason::NotAuthorised), ("user", RefusedReason::BadUserNameOrPassword)]
        {
            let wrong = login(("other", username, "wrong"));
            let error = match meeting.transport.connect(endpoint, &wrong, &options).await {
                Err(error) => error,
                Ok(mut link) => {
                    assert!(!link.is_accepted());
                    for _ in 0..3 {
                        link.publish(frame("other")).expect("room");
                    }
                    let LinkEvent::Lost(error) = event(&mut link).await else { panic!("{endpoint}: admitted") };
                    error
                }
            };
            assert_eq!(error.kind(), LinkErrorKind::Refused(reason), "{endpoint}: {error}");
        }
        assert_eq!(carried_out.load(Ordering::SeqCst), 0, "{endpoint}: nothing is done for who is refused");
    }
}

fn topic(id: &str) -> Topic {
    Topic::new(&format!("p/{id}/thing-if/apps/app1/x")).expect("valid")
}
