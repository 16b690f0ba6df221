//! Uploads that wait: what arrives at the service, in which order and how often, whatever happens in between.
#![cfg(feature = "client")]

mod device;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use thingif::client::outbox::{Accepted, Builder, Keep, Outbox, OutboxError, OutboxEvent, OutboxEvents, WhenFull};
use thingif::client::{self, NotSent, RequestError};
use thingif::mqtt::LinkErrorKind;
use thingif::transport::memory;
use tokio::task::JoinHandle;
use tower_service::Service;

use device::brokers::{assigned, request};
use device::{answer_to, body_of, config, credential};

type Reply = Result<Response<Bytes>, RequestError>;

/// Answers from a list, then with 204; keeps the bodies that it was asked to store.
#[derive(Clone, Default)]
struct Scripted {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new(replies.into_iter().collect())), asked: Arc::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Service<Request<Bytes>> for Scripted {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = std::future::Ready<Reply>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let body = String::from_utf8(request.body().to_vec()).expect("text");
        self.asked.lock().expect("not poisoned").push(body);
        let next = self.replies.lock().expect("not poisoned").pop_front();
        std::future::ready(next.unwrap_or_else(|| answer(204)))
    }
}

fn answer(status: u16) -> Reply {
    Ok(Response::builder().status(status).body(Bytes::new()).expect("valid"))
}

fn upload(method: &str, path: &str, body: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Bytes::copy_from_slice(body.as_bytes())).expect("valid")
}

fn state(body: &str) -> Request<Bytes> {
    upload("PUT", &device::path("targets/thing:th.1/states"), body)
}

fn started(builder: Builder, service: &Scripted) -> (Outbox, OutboxEvents, JoinHandle<()>) {
    let (outbox, sender, events) = builder.open().expect("opens");
    (outbox, events, tokio::spawn(sender.run(service.clone())))
}

async fn told(events: &mut OutboxEvents, count: usize) -> Vec<OutboxEvent> {
    let mut told = Vec::new();
    while told.len() < count {
        told.push(events.next().await.expect("more"));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn uploads_arrive_in_their_order_and_each_until_it_is_taken() {
    let replies = [answer(503), Err(RequestError::TimedOut), Err(NotSent::NotConnected.into()), answer(401)];
    let service = Scripted::new(replies);
    let builder = Outbox::builder().with_keep(Keep::All);
    let (outbox, mut events, _run) = started(builder, &service);
    for body in ["1", "2", "3"] {
        assert_eq!(outbox.push(state(body)).await, Ok(Accepted::Added));
    }
    let told = told(&mut events, 7).await;
    assert_eq!(told[4..], [OutboxEvent::Sent(1), OutboxEvent::Sent(2), OutboxEvent::Sent(3)], "{told:?}");
    assert!(told[..4].iter().all(|event| matches!(event, OutboxEvent::Postponed(1, _))));
    assert_eq!(service.asked(), ["1", "1", "1", "1", "1", "2", "3"]);
    assert_eq!(outbox.waiting().await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_goes_and_the_others_follow() {
    let impossible = Err(NotSent::TooLarge { len: 2, max: 1 }.into());
    let service = Scripted::new([answer(404), impossible]);
    let (outbox, mut events, _run) = started(Outbox::builder().with_keep(Keep::All), &service);
    for body in ["1", "2", "3"] {
        outbox.push(state(body)).await.expect("accepted");
    }
    let told = told(&mut events, 3).await;
    assert!(matches!(told[0], OutboxEvent::Refused(1, status) if status == 404), "{told:?}");
    assert!(matches!(told[1], OutboxEvent::Impossible(2, _)), "{told:?}");
    assert_eq!(told[2], OutboxEvent::Sent(3));
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_state_is_sent_after_an_outage() {
    let (outbox, sender, mut events) = Outbox::builder().open().expect("opens");
    let service = Scripted::default();
    for n in 0..10 {
        let expected = if n == 0 { Accepted::Added } else { Accepted::Replaced };
        assert_eq!(outbox.push(state(&n.to_string())).await, Ok(expected));
    }
    outbox.push(upload("PATCH", "/other", "patch 1")).await.expect("accepted");
    outbox.push(upload("PATCH", "/other", "patch 2")).await.expect("accepted");
    tokio::spawn(sender.run(service.clone()));
    told(&mut events, 3).await;
    assert_eq!(service.asked(), ["9", "patch 1", "patch 2"]);
}

#[tokio::test(start_paused = true)]
async fn every_bound_answers() {
    let small = || Outbox::builder().with_keep(Keep::All).with_max_bytes(200);
    let (outbox, _sender, _events) = small().open().expect("opens");
    let long = "x".repeat(300);
    assert!(matches!(outbox.push(state(&long)).await, Err(OutboxError::TooLarge { max: 200, .. })));
    let mut accepted = 0;
    while outbox.push(state("{\"n\":1}")).await.is_ok() {
        accepted += 1;
    }
    assert!(accepted >= 2);
    assert_eq!(outbox.push(state("1")).await, Err(OutboxError::Full));
    let mut secret = state("1");
    secret.headers_mut().insert("authorization", "Bearer x".parse().expect("a value"));
    assert!(matches!(outbox.push(secret).await, Err(OutboxError::Header(_))));

    let (outbox, _sender, mut events) = small().with_when_full(WhenFull::DropOldest).open().expect("opens");
    for _ in 0..accepted + 2 {
        outbox.push(state("{\"n\":1}")).await.expect("accepted");
    }
    assert_eq!(told(&mut events, 2).await, [OutboxEvent::Dropped(1), OutboxEvent::Dropped(2)]);
    assert_eq!(outbox.waiting().await.0, accepted);
}

/// By the system's clock, which tokio's pause does not stop: an age of zero makes everything old that waits a moment.
#[tokio::test]
async fn what_is_too_old_is_not_sent() {
    let (outbox, sender, mut events) = Outbox::builder().with_max_age(Duration::ZERO).open().expect("opens");
    outbox.push(state("old")).await.expect("accepted");
    std::thread::sleep(Duration::from_millis(5));
    let service = Scripted::default();
    tokio::spawn(sender.run(service.clone()));
    assert_eq!(told(&mut events, 1).await, [OutboxEvent::TooOld(1)]);
    assert!(service.asked().is_empty());
}

fn on_disk(path: &Path) -> Builder {
    Outbox::builder().with_keep(Keep::All).on_disk(path)
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart_and_what_was_sent_is_not() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("deep/outbox");
    let (outbox, sender, events) = on_disk(&path).open().expect("opens");
    for body in ["1", "2", "\u{0}ü"] {
        outbox.push(state(body)).await.expect("accepted");
    }
    assert!(on_disk(&path).open().is_err(), "it has one owner");
    drop((outbox, sender, events));

    let service = Scripted::new([answer(204), answer(204), Err(RequestError::Closed)]);
    let (outbox, mut events, run) = started(on_disk(&path), &service);
    assert_eq!(told(&mut events, 2).await, [OutboxEvent::Sent(1), OutboxEvent::Sent(2)]);
    run.await.expect("it ends with the client");
    assert_eq!(outbox.waiting().await.0, 1);
    outbox.push(state("4")).await.expect("accepted");
    drop((outbox, events));

    let service = Scripted::default();
    let (_outbox, mut events, _run) = started(on_disk(&path), &service);
    told(&mut events, 2).await;
    assert_eq!(service.asked(), ["\u{0}ü", "4"]);
}

#[tokio::test]
async fn a_file_stays_as_small_as_its_bounds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("outbox");
    let builder = on_disk(&path).with_keep(Keep::Newest).with_max_bytes(40_000);
    let (outbox, _sender, _events) = builder.open().expect("opens");
    let body = "x".repeat(10_000);
    for _ in 0..50 {
        outbox.push(state(&body)).await.expect("accepted");
    }
    let len = std::fs::metadata(&path).expect("there").len();
    assert!(len < 120_000, "{len} bytes");
}

#[tokio::test(start_paused = true)]
async fn over_a_client_uploads_wait_for_the_connection() {
    let (network, mut broker) = memory::network();
    let connecting = client::connect(config().with_resume(credential(0)), network);
    let (connected, mut link) = tokio::join!(connecting, assigned(&mut broker));
    let (client, _pushes, connection) = connected.expect("connected");
    tokio::spawn(connection.run());
    let (outbox, sender, mut events) = Outbox::builder().with_keep(Keep::All).open().expect("opens");
    let run = tokio::spawn(sender.run(client.clone()));
    outbox.push(state("first")).await.expect("accepted");
    assert_eq!(body_of(&request(&mut link).await), "first");
    // The answer is lost with the link: it is sent again, because it may not have been processed.
    link.cut(LinkErrorKind::Closed);
    outbox.push(state("second")).await.expect("accepted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut link = assigned(&mut broker).await;
    for expected in ["first", "second"] {
        let upload = request(&mut link).await;
        assert_eq!(body_of(&upload), expected);
        link.publish(answer_to(&upload, true)).expect("the device listens");
    }
    let mut sent = Vec::new();
    while sent.len() < 2 {
        if let OutboxEvent::Sent(number) = events.next().await.expect("more") {
            sent.push(number);
        }
    }
    assert_eq!(sent, [1, 2]);
    client.close().await;
    outbox.push(state("third")).await.expect("it is kept");
    run.await.expect("it ends with the client");
}

/// Answers one path with a status for ever, and all others with 204.
#[derive(Clone)]
struct Refusing(&'static str, u16, Arc<Mutex<Vec<String>>>);

impl Service<Request<Bytes>> for Refusing {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = std::future::Ready<Reply>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let body = String::from_utf8(request.body().to_vec()).expect("text");
        self.2.lock().expect("not poisoned").push(body);
        std::future::ready(answer(if request.uri().path() == self.0 { self.1 } else { 204 }))
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_taken_is_replaced_or_grows_too_old_and_the_others_follow() {
    for status in [401, 403, 500] {
        let service = Refusing("/poison", status, Arc::default());
        // Ages are by the device's clock, which is not paused: what is pushed first is old at once.
        let (outbox, sender, mut events) =
            Outbox::builder().with_max_age(Duration::from_millis(50)).open().expect("opens");
        let _run = tokio::spawn(sender.run(service.clone()));
        outbox.push(upload("PUT", "/poison", "old")).await.expect("accepted");
        assert!(matches!(events.next().await, Some(OutboxEvent::Postponed(1, _))));
        let newer = outbox.push(upload("PUT", "/poison", "new")).await;
        assert_eq!(newer, Ok(Accepted::Replaced), "one that was tried in vain says nothing that the newer does not");
        while !matches!(events.next().await, Some(OutboxEvent::Postponed(2, _))) {}
        std::thread::sleep(Duration::from_millis(60));
        outbox.push(upload("PUT", "/good", "good")).await.expect("accepted");
        let mut told = Vec::new();
        while told.last() != Some(&OutboxEvent::Sent(3)) {
            told.push(events.next().await.expect("more"));
        }
        assert!(told.contains(&OutboxEvent::TooOld(2)), "{told:?}");
        assert_eq!(service.2.lock().expect("not poisoned").last().map(String::as_str), Some("good"));
    }
}

#[tokio::test]
async fn what_could_not_be_read_again_is_refused_and_the_file_stays_readable() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("outbox");
    let open = || Outbox::builder().on_disk(&path).open();
    let (outbox, sender, _events) = open().expect("opens");
    let no_path = Request::put("states").body(Bytes::from("x")).expect("an authority");
    assert_eq!(outbox.push(no_path).await, Err(OutboxError::Path("states".to_owned())));
    let mut foreign = upload("PUT", "/fine", "x");
    foreign.headers_mut().insert("content-type", http::HeaderValue::from_bytes(b"text/\xe9").expect("opaque"));
    assert_eq!(outbox.push(foreign).await, Err(OutboxError::ContentType));
    outbox.push(upload("PUT", "/fine", "x")).await.expect("accepted");
    drop((outbox, sender));
    assert_eq!(open().expect("opens again").0.waiting().await.0, 1);
}

#[tokio::test]
async fn a_full_one_is_not_written_anew_each_time() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("outbox");
    let builder = Outbox::builder().with_keep(Keep::All).with_max_bytes(80_000).with_when_full(WhenFull::DropOldest);
    let (outbox, _sender, _events) = builder.on_disk(&path).open().expect("opens");
    let (mut files, mut pushes) = (std::collections::BTreeSet::new(), 0);
    while pushes < 3_000 {
        outbox.push(state(&format!("{{\"power\":true,\"n\":{pushes}}}"))).await.expect("accepted");
        pushes += 1;
        files.insert(std::fs::metadata(&path).expect("there").ino());
    }
    let waiting = outbox.waiting().await.0;
    // Each time about as many lines as are of use have become useless before.
    assert!(files.len() <= 2 + pushes / waiting, "{} files for {pushes} pushes, {waiting} wait", files.len());
    drop((outbox, _sender));
    let again = Outbox::builder().with_keep(Keep::All).on_disk(&path).open().expect("opens again").0;
    assert_eq!(again.waiting().await.0, waiting);
}

#[tokio::test]
async fn one_without_a_bound_is_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let builder = Outbox::builder().with_max_bytes(usize::MAX).with_max_age(Duration::MAX);
    let (outbox, _sender, _events) = builder.on_disk(dir.path().join("outbox")).open().expect("opens");
    outbox.push(upload("PUT", "/x", "x")).await.expect("accepted");
}
