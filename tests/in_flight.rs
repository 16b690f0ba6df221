//! The correlation table against a naive model, and the promises that matter, told as stories: whatever the peer does
//! with ids, no answer reaches a call that it is not the answer to.

mod device;
mod in_flight_model;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use thingif::config::Config;
use thingif::frame::{self, FrameErrorKind};
use thingif::ids::ClientId;
use thingif::mqtt::{LinkErrorKind, Publish};
use thingif::proto::{
    Action, CallId, Counters, Event, EventKind, InFlight, Instant, Limits, LinkId, NotSent, Notice, RequestError,
    Session, SessionError,
};
use thingif::topic::{Topic, TopicFilter};

use device::{answer, answer_to, body_of, call, config, credential, path};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_origin(Duration::from_secs(seconds))
}

/// A ready session, what it sent, and what became of its calls.
struct Device {
    session: Session,
    now: Instant,
    sent: Vec<Publish>,
    ended: BTreeMap<CallId, Result<Response<Bytes>, RequestError>>,
    notices: Vec<Notice>,
}

impl Device {
    fn connecting(config: &Config) -> Self {
        let limits = Limits {
            in_flight: config.max_in_flight(),
            quarantine: config.quarantine(),
            late_answer_window: config.late_answer_window(),
        };
        let endpoint = "mqtt://assigned.invalid".parse().expect("a broker URL");
        let in_flight = InFlight::new(limits, 7);
        let session = Session::new(Instant::ORIGIN, LinkId(1), config, endpoint, &credential(1), in_flight);
        let mut device =
            Self { session, now: Instant::ORIGIN, sent: Vec::new(), ended: BTreeMap::new(), notices: Vec::new() };
        device.drain();
        device
    }

    fn ready(config: &Config) -> Self {
        let mut device = Self::connecting(config);
        device.happens(EventKind::Connected);
        let filter = TopicFilter::for_pushes(&ClientId::new(device::CLIENT_ID).expect("valid"));
        device.happens(EventKind::Subscribed { filter, granted: true });
        assert!(device.session.is_ready());
        device
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Publish { publish, .. } => self.sent.push(publish),
                Action::Resolve { call, result } => {
                    let again = self.ended.insert(call, result);
                    assert!(again.is_none(), "{call:?} ended twice");
                }
                Action::Notice(notice) => self.notices.push(notice),
                _ => {}
            }
        }
    }

    fn happens(&mut self, kind: EventKind) {
        self.session.handle_event(self.now, Event { link: LinkId(1), kind });
        self.drain();
    }

    fn hears(&mut self, publish: Publish) {
        self.happens(EventKind::Received(publish));
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    fn try_call(&mut self, request: Request<Bytes>) -> Result<CallId, RequestError> {
        let taken = self.session.submit(self.now, request, self.now + 10 * SECOND);
        self.drain();
        taken
    }

    fn call(&mut self, name: &str, nonce: &str) -> CallId {
        self.try_call(call(name, nonce)).expect("taken")
    }

    fn cancel(&mut self, call: CallId) {
        self.session.cancel(self.now, call);
        self.drain();
    }

    /// The request that was sent with `nonce`.
    fn request(&self, nonce: &str) -> Publish {
        self.sent.iter().find(|request| body_of(request) == nonce).expect("it was sent").clone()
    }

    fn was_sent(&self, nonce: &str) -> bool {
        self.sent.iter().any(|request| body_of(request) == nonce)
    }

    fn answered(&self, call: CallId) -> Option<&[u8]> {
        match self.ended.get(&call) {
            Some(Ok(response)) => Some(response.body()),
            _ => None,
        }
    }

    fn error(&self, call: CallId) -> Option<RequestError> {
        self.ended.get(&call).and_then(|result| result.as_ref().err()).cloned()
    }

    fn counters(&self) -> Counters {
        self.session.counters()
    }
}

#[test]
fn sixty_four_calls_on_one_topic_answered_in_reverse_order_each_get_their_own() {
    let mut device = Device::ready(&config());
    let calls: Vec<(CallId, String)> = (0..64)
        .map(|n| {
            let nonce = format!("nonce {n}");
            (device.call("states", &nonce), nonce)
        })
        .collect();
    assert_eq!(device.sent.len(), 64, "none waits for another");
    for request in device.sent.clone().iter().rev() {
        device.hears(answer_to(request, true));
    }
    for (call, nonce) in calls {
        assert_eq!(device.answered(call), Some(nonce.as_bytes()));
    }
    assert_eq!(device.counters(), Counters::default());
    assert!(device.session.is_idle());
}

#[test]
fn with_ids_stripped_none_of_sixty_four_gets_a_wrong_answer_and_the_next_ones_get_theirs() {
    let mut device = Device::ready(&config());
    let calls: Vec<CallId> = (0..64).map(|n| device.call("states", &format!("nonce {n}"))).collect();
    let elsewhere = device.call("other", "elsewhere");
    for request in device.sent.clone().iter().rev() {
        device.hears(answer_to(request, false));
    }
    assert_eq!(device.answered(elsewhere), Some(&b"elsewhere"[..]), "the only one on its topic");
    assert_eq!(device.counters().ambiguous_answers, 64);
    assert!(device.notices.contains(&Notice::PeerOmitsRequestIds { link: LinkId(1) }));
    device.passes(10 * SECOND);
    for call in &calls {
        assert_eq!(device.error(*call), Some(RequestError::TimedOut));
    }

    // What was in quarantine is gone after its window; from now on one call at a time.
    device.passes(config().late_answer_window());
    let next: Vec<CallId> = (0..3).map(|n| device.call("states", &format!("next {n}"))).collect();
    for (n, call) in next.into_iter().enumerate() {
        assert!(!device.was_sent(&format!("next {}", n + 1)), "one at a time");
        let request = device.request(&format!("next {n}"));
        device.hears(answer_to(&request, false));
        assert_eq!(device.answered(call), Some(format!("next {n}").as_bytes()));
    }
    assert!(device.session.is_idle());
}

#[test]
fn a_late_answer_with_id_reaches_nobody_and_the_next_call_gets_its_own() {
    for cancelled in [false, true] {
        let mut device = Device::ready(&config());
        let first = device.call("states", "first");
        if cancelled {
            device.cancel(first);
        } else {
            device.passes(10 * SECOND);
            assert_eq!(device.error(first), Some(RequestError::TimedOut));
        }
        let second = device.call("states", "second");
        device.hears(answer_to(&device.request("first"), true));
        assert_eq!(device.answered(first), None);
        assert_eq!(device.answered(second), None);
        assert_eq!(device.counters().late_answers, 1);
        device.hears(answer_to(&device.request("second"), true));
        assert_eq!(device.answered(second), Some(&b"second"[..]));
        assert_eq!(device.ended.contains_key(&first), !cancelled, "a cancelled call hears nothing more");
        assert!(device.session.is_idle());
    }
}

#[test]
fn a_late_answer_without_id_reaches_nobody_and_the_next_call_gets_its_own() {
    for cancelled in [false, true] {
        let mut device = Device::ready(&config());
        // The peer shows that it omits ids.
        let zeroth = device.call("states", "zeroth");
        device.hears(answer_to(&device.request("zeroth"), false));
        assert_eq!(device.answered(zeroth), Some(&b"zeroth"[..]));

        let first = device.call("states", "first");
        if cancelled {
            device.cancel(first);
        } else {
            device.passes(10 * SECOND);
        }
        let second = device.call("states", "second");
        assert!(!device.was_sent("second"), "it waits while the topic has a call in quarantine");
        let elsewhere = device.call("other", "elsewhere");
        assert!(device.was_sent("elsewhere"), "another topic is not concerned");
        device.hears(answer_to(&device.request("elsewhere"), false));
        assert_eq!(device.answered(elsewhere), Some(&b"elsewhere"[..]));

        device.hears(answer_to(&device.request("first"), false));
        assert_eq!(device.answered(first), None);
        assert_eq!(device.answered(second), None);
        assert_eq!(device.counters().late_answers, 1);
        assert!(device.was_sent("second"), "now it may go");
        device.hears(answer_to(&device.request("second"), false));
        assert_eq!(device.answered(second), Some(&b"second"[..]));
        assert!(device.session.is_idle());
    }
}

#[test]
fn with_an_id_less_peer_a_call_behind_a_silent_one_waits_for_the_window_and_its_deadline_counts() {
    let config = config().with_late_answer_window(30 * SECOND).expect("in range");
    let mut device = Device::ready(&config);
    device.call("states", "zeroth");
    device.hears(answer_to(&device.request("zeroth"), false));
    let silent = device.call("states", "silent");
    device.passes(10 * SECOND);
    assert_eq!(device.error(silent), Some(RequestError::TimedOut));

    let hasty = device.call("states", "hasty");
    device.passes(10 * SECOND);
    assert_eq!(device.error(hasty), Some(NotSent::DeadlineExceeded.into()), "it was never sent, and says so");
    assert!(!device.was_sent("hasty"));

    device.passes(15 * SECOND);
    let patient = device.call("states", "patient");
    assert!(!device.was_sent("patient"));
    device.passes(5 * SECOND);
    assert!(device.was_sent("patient"), "the window has ended");
    device.hears(answer_to(&device.request("patient"), false));
    assert_eq!(device.answered(patient), Some(&b"patient"[..]));
}

#[test]
fn an_answer_without_id_is_believed_only_where_exactly_one_waits() {
    let mut device = Device::ready(&config());
    let first = device.call("states", "first");
    let second = device.call("states", "second");
    device.hears(answer_to(&device.request("first"), false));
    assert_eq!(device.ended.len(), 0);
    assert_eq!(device.counters().ambiguous_answers, 1);
    assert!(device.notices.iter().any(|notice| matches!(notice, Notice::AmbiguousAnswer { .. })));
    // An answer with an id still finds its call, and now exactly one waits.
    device.hears(answer_to(&device.request("first"), true));
    assert_eq!(device.answered(first), Some(&b"first"[..]));
    assert!(device.notices.contains(&Notice::PeerEchoesRequestIds { link: LinkId(1) }));
    device.hears(answer_to(&device.request("second"), false));
    assert_eq!(device.answered(second), Some(&b"second"[..]));
}

#[test]
fn a_second_answer_a_foreign_id_and_an_unasked_answer_reach_nobody() {
    let mut device = Device::ready(&config());
    let first = device.call("states", "first");
    let request = device.request("first");
    device.hears(answer_to(&request, true));
    device.hears(answer_to(&request, true));
    assert_eq!(device.counters().unknown_ids, 1);
    device.hears(answer_to(&request, false));
    assert_eq!(device.counters().unasked_answers, 1);
    assert_eq!(device.ended.len(), 1);

    let waiting = device.call("states", "waiting");
    let foreign = Response::builder().header("X-Kii-RequestID", "asdf1234").body(Bytes::new()).expect("valid");
    device.hears(answer(&request, &foreign));
    let misplaced = Publish::new(device.request_on("other"), answer_to(&device.request("waiting"), true).payload);
    device.hears(misplaced);
    assert_eq!(device.counters().unknown_ids, 3);
    assert!(!device.ended.contains_key(&waiting));
    assert_eq!(device.answered(first), Some(&b"first"[..]));
}

impl Device {
    fn request_on(&self, name: &str) -> Topic {
        Topic::for_call(&ClientId::new(device::CLIENT_ID).expect("valid"), &path(name)).expect("fits")
    }
}

#[test]
fn own_requests_heard_back_are_no_answers() {
    let mut device = Device::ready(&config());
    let first = device.call("states", "first");
    device.hears(device.request("first"));
    assert_eq!(device.counters().own_echoes, 1);
    assert_eq!(device.ended.len(), 0);
    device.hears(answer_to(&device.request("first"), true));
    assert_eq!(device.answered(first), Some(&b"first"[..]));
}

#[test]
fn the_callers_own_id_is_swapped_on_the_wire_and_comes_back() {
    let mut device = Device::ready(&config());
    let mut request = call("states", "first");
    request.headers_mut().insert(frame::REQUEST_ID, "v1 onboardings".parse().expect("a value"));
    let first = device.try_call(request).expect("taken");
    let second = device.call("states", "second");
    let wire = |nonce: &str| frame::request_id(&device.request(nonce).payload).expect("an id").as_bytes().to_vec();
    assert_ne!(wire("first"), wire("second"));
    assert!(wire("first").len() <= 64 && wire("first").iter().all(u8::is_ascii_graphic));

    device.hears(answer_to(&device.request("second"), true));
    device.hears(answer_to(&device.request("first"), true));
    let answer = |call| device.ended[&call].as_ref().expect("answered");
    assert_eq!(answer(first).headers()[frame::REQUEST_ID], "v1 onboardings");
    assert!(!answer(second).headers().contains_key(frame::REQUEST_ID), "the caller had none");
}

#[test]
fn an_unreadable_answer_with_the_calls_id_ends_it_and_one_without_does_not() {
    let mut device = Device::ready(&config());
    let first = device.call("states", "first");
    let request = device.request("first");
    let id = frame::request_id(&request.payload).expect("an id");
    let broken = |head: String| Publish::new(request.topic.clone(), head);
    device.hears(broken("two hundred\r\n\r\n".to_owned()));
    assert!(device.ended.is_empty());
    device.hears(broken(format!("99\r\nX-Kii-RequestID:{}\r\n\r\n", id.to_str().expect("text"))));
    match &device.ended[&first] {
        Err(RequestError::InvalidAnswer(error)) => assert_eq!(error.kind(), FrameErrorKind::Status),
        other => panic!("{other:?}"),
    }
    assert_eq!(device.counters().unreadable_answers, 2);
}

#[test]
fn a_call_that_cannot_be_sent_says_so_and_leaves_nothing() {
    let config = config().with_max_in_flight(2).and_then(|c| c.with_max_frame(1024)).expect("in range");
    let mut device = Device::connecting(&config);
    assert_eq!(device.try_call(call("states", "x")), Err(NotSent::NotConnected.into()));
    device.happens(EventKind::Connected);
    let large = device.try_call(call("states", &"x".repeat(2000))).expect_err("too large");
    assert!(matches!(large, RequestError::NotSent(NotSent::TooLarge { max: 1024, .. })), "{large:?}");
    let first = device.call("states", "first");
    device.call("states", "second");
    assert_eq!(device.try_call(call("states", "third")), Err(NotSent::Overloaded.into()));

    // The link does not take the first: it certainly was not sent, and its place is free.
    device.happens(EventKind::NotSent { call: Some(first), error: LinkErrorKind::Overloaded.into() });
    assert_eq!(device.error(first), Some(NotSent::Link(LinkErrorKind::Overloaded.into()).into()));
    device.call("states", "fourth");
}

#[test]
fn a_lost_link_ends_every_call_at_once_and_tells_sent_from_unsent() {
    let mut device = Device::ready(&config());
    device.call("states", "zeroth");
    device.hears(answer_to(&device.request("zeroth"), false));
    let sent = device.call("states", "sent");
    let queued = device.call("states", "queued");
    device.happens(EventKind::Lost(LinkErrorKind::Closed.into()));
    let cause = SessionError::Link(LinkErrorKind::Closed.into());
    assert_eq!(device.error(sent), Some(RequestError::Disconnected(cause)));
    assert_eq!(device.error(queued), Some(NotSent::NotConnected.into()));
    assert!(device.session.is_idle());
    assert_eq!(device.try_call(call("states", "x")), Err(NotSent::NotConnected.into()));
}

#[test]
fn closing_ends_every_call_and_disconnects() {
    let mut device = Device::ready(&config());
    let sent = device.call("states", "sent");
    let cancelled = device.call("states", "cancelled");
    device.cancel(cancelled);
    device.session.close(at(1));
    let mut disconnected = false;
    while let Some(action) = device.session.poll_action() {
        match action {
            Action::Disconnect { link } => disconnected = link == LinkId(1),
            Action::Resolve { call, result } => drop(device.ended.insert(call, result)),
            _ => {}
        }
    }
    assert!(disconnected);
    assert_eq!(device.error(sent), Some(RequestError::Closed));
    assert!(!device.ended.contains_key(&cancelled));
    assert!(device.session.is_idle());
}

#[test]
fn a_quarantine_that_overflows_stays_safe_and_is_reported() {
    let config = config().with_quarantine(2).expect("in range");
    let mut device = Device::ready(&config);
    for n in 0..3 {
        let call = device.call(&format!("path{n}"), &format!("nonce {n}"));
        device.cancel(call);
    }
    assert_eq!(device.counters().quarantine_overflows, 1);
    assert!(device.notices.contains(&Notice::QuarantineOverflow));

    // The call on path0 is forgotten. An answer without id there must not reach the next one.
    let next = device.call("path0", "next");
    device.hears(answer_to(&device.request("nonce 0"), false));
    assert!(!device.ended.contains_key(&next));
    // With an id it would not have, forgotten or not; and the next call gets its own.
    device.hears(answer_to(&device.request("nonce 0"), true));
    device.hears(answer_to(&device.request("next"), true));
    assert_eq!(device.answered(next), Some(&b"next"[..]));

    // After the forgotten call's window answers without id count again.
    device.passes(config.late_answer_window());
    let last = device.call("path0", "last");
    device.hears(answer_to(&device.request("last"), false));
    assert_eq!(device.answered(last), Some(&b"last"[..]));
    assert!(device.session.is_idle());
}

#[test]
fn what_waits_behind_a_forgotten_call_goes_when_its_window_has_ended() {
    let config = config().with_quarantine(1).expect("in range");
    let mut device = Device::ready(&config);
    let first = device.call("path0", "first");
    device.hears(answer_to(&device.request("first"), false));
    assert_eq!(device.answered(first), Some(&b"first"[..]));
    let forgotten = device.call("path0", "forgotten");
    device.cancel(forgotten);
    device.passes(SECOND);
    let remembered = device.call("path1", "remembered");
    device.cancel(remembered);
    assert_eq!(device.counters().quarantine_overflows, 1);

    device.passes(config.late_answer_window() - 2 * SECOND);
    let waiting = device.call("path0", "waiting");
    assert!(!device.was_sent("waiting"));
    device.passes(SECOND);
    device.hears(answer_to(&device.request("waiting"), false));
    assert_eq!(device.answered(waiting), Some(&b"waiting"[..]));
}

#[test]
fn what_waits_is_not_shown() {
    let mut device = Device::ready(&config());
    device.call("states", "zeroth");
    device.hears(answer_to(&device.request("zeroth"), false));
    device.call("states", "sent");
    device.call("states", "queued");
    let shown = format!("{:?}", device.session);
    assert!(!shown.contains("token-1") && !shown.contains("Bearer"), "{shown}");
}

#[test]
fn statuses_of_400_and_above_are_answers() {
    let mut device = Device::ready(&config());
    let first = device.call("states", "first");
    let request = device.request("first");
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    let id = frame::request_id(&request.payload).expect("an id");
    response.headers_mut().insert(frame::REQUEST_ID, id);
    device.hears(answer(&request, &response));
    assert_eq!(device.ended[&first].as_ref().expect("an answer").status(), StatusCode::NOT_FOUND);
}
