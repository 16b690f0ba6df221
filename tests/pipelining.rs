//! Packets behind CONNECT, before CONNACK has come: what the machines say and take until then, and what becomes of it when the broker
//! refuses, hangs up or says nothing. In virtual time, event by event.

mod device;

use std::time::Duration;

use thingif::config::Config;
use thingif::ids::ClientId;
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{
    Action, CallId, Event, EventKind, IfDown, InFlight, Instant, Lifecycle, Limits, LinkId, NotSent, Notice,
    Onboarding, RequestError, Session,
};
use thingif::topic::TopicFilter;

use device::{answer_to, call, config, credential, onboarding_body};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Instant = Instant::ORIGIN;
const LINK: LinkId = LinkId(1);
const LIMITS: Limits = Limits { in_flight: 8, quarantine: 8, late_answer_window: SECOND };

fn pushes() -> TopicFilter {
    TopicFilter::for_pushes(&ClientId::new(device::CLIENT_ID).expect("valid"))
}

fn lost(kind: LinkErrorKind) -> EventKind {
    EventKind::Lost(kind.into())
}

fn refused() -> LinkErrorKind {
    LinkErrorKind::Refused(RefusedReason::ServerUnavailable)
}

/// A device's life that connects with a stored credential.
struct Device {
    life: Lifecycle,
    now: Instant,
    link: LinkId,
    /// Whether the last connect may write behind CONNECT.
    pipeline: bool,
    subscribed: Vec<TopicFilter>,
    published: Vec<(LinkId, Option<CallId>, Publish)>,
    resolved: Vec<(CallId, Result<String, RequestError>)>,
    left: Vec<String>,
    notices: Vec<Notice>,
    stores: usize,
}

impl Device {
    fn new(config: Config) -> Self {
        let mut device = Self {
            life: Lifecycle::new(NOW, config, 1),
            now: NOW,
            link: LinkId(0),
            pipeline: false,
            subscribed: Vec::new(),
            published: Vec::new(),
            resolved: Vec::new(),
            left: Vec::new(),
            notices: Vec::new(),
            stores: 0,
        };
        device.drain();
        device
    }

    fn stored() -> Self {
        Self::new(config().with_resume(credential(0)).with_connect_attempts(1000).expect("in range"))
    }

    fn drain(&mut self) {
        while let Some(action) = self.life.poll_action() {
            match action {
                Action::Connect { link, pipeline, .. } => {
                    (self.link, self.pipeline) = (link, pipeline);
                    self.subscribed.clear();
                }
                Action::Subscribe { filter, .. } => self.subscribed.push(filter),
                Action::Publish { link, call, publish } => self.published.push((link, call, publish)),
                Action::Resolve { call, result } => {
                    let body = result.map(|answer| String::from_utf8(answer.body().to_vec()).expect("text"));
                    self.resolved.push((call, body));
                }
                Action::Store { link, .. } => {
                    self.stores += 1;
                    self.life.handle_event(self.now, Event { link, kind: EventKind::Stored(Ok(())) });
                }
                Action::Abort { link } => self.left.push(format!("abort {link}")),
                Action::Disconnect { link } => self.left.push(format!("disconnect {link}")),
                Action::Notice(notice) => self.notices.push(notice),
                _ => {}
            }
        }
    }

    fn happen(&mut self, kind: EventKind) {
        let link = self.link;
        self.life.handle_event(self.now, Event { link, kind });
        self.drain();
    }

    fn submit(&mut self, nonce: &str, limit: Duration, if_down: IfDown) -> Result<CallId, RequestError> {
        let taken = self.life.submit(self.now, call("states", nonce), self.now + limit, if_down);
        self.drain();
        taken
    }

    /// Time passes until another link is asked for.
    fn until_next_connect(&mut self) {
        let before = self.link;
        while self.link == before {
            self.now = self.now.max(self.life.next_deadline().expect("it tries again"));
            self.life.handle_timeout(self.now);
            self.drain();
        }
    }

    fn answer(&mut self, written: usize) {
        let answer = answer_to(&self.published[written].2, true);
        self.happen(EventKind::Received(answer));
    }

    fn is_ready(&mut self) -> bool {
        for filter in std::mem::take(&mut self.subscribed) {
            self.happen(EventKind::Subscribed { filter, granted: true });
        }
        self.life.is_ready()
    }
}

#[test]
fn subscribe_and_calls_follow_connect_and_connack_asks_for_nothing_again() {
    let mut device = Device::stored();
    assert!(device.pipeline, "it is the default");
    assert_eq!(device.submit("early", SECOND, IfDown::Fail), Err(NotSent::NotConnected.into()), "before CONNECT");
    device.happen(EventKind::Opened);
    assert_eq!(device.subscribed, [pushes()]);
    let id = device.submit("first", 10 * SECOND, IfDown::Fail).expect("taken");
    assert_eq!(device.published.len(), 1, "written at once");
    assert!(!device.life.is_ready());
    assert!(!device.notices.iter().any(|notice| matches!(notice, Notice::Connected { .. })), "not accepted yet");
    device.happen(EventKind::Connected);
    assert!(device.notices.iter().any(|notice| matches!(notice, Notice::Connected { .. })));
    assert_eq!((device.subscribed.len(), device.published.len()), (1, 1), "nothing is written twice");
    device.answer(0);
    assert_eq!(device.resolved, [(id, Ok("first".to_owned()))], "an answer needs no subscription");
    assert!(device.is_ready());
}

#[test]
fn a_transport_that_hands_out_links_after_connack_is_as_good() {
    let mut device = Device::stored();
    device.happen(EventKind::Connected);
    assert!(device.is_ready());
    assert_eq!(device.life.counters().unexpected_events, 0);
}

#[test]
fn what_was_written_behind_a_refused_connect_was_never_looked_at() {
    for reason in [RefusedReason::ServerUnavailable, RefusedReason::NotAuthorised] {
        let mut device = Device::stored();
        device.happen(EventKind::Opened);
        let fails = device.submit("fails", 100 * SECOND, IfDown::Fail).expect("taken");
        let waits = device.submit("waits", 1000 * SECOND, IfDown::Wait).expect("taken");
        assert_eq!(device.published.len(), 2);
        device.happen(lost(LinkErrorKind::Refused(reason)));
        assert_eq!(device.resolved, [(fails, Err(NotSent::NotConnected.into()))]);
        assert!(!device.resolved[0].1.as_ref().expect_err("failed").may_have_been_processed());
        // The one that waits goes again, by the next link, and is answered there.
        device.until_next_connect();
        assert!(device.pipeline, "a refusal says nothing against pipelining");
        device.happen(EventKind::Opened);
        if device.published[2].1.is_none() {
            // It asks for another credential first.
            let (_, _, onboarding) = &device.published[2];
            let answer = Publish::new(onboarding.topic.clone(), format!("200\r\n\r\n{}", onboarding_body(1)));
            device.happen(EventKind::Connected);
            device.happen(EventKind::Received(answer));
            assert_eq!(device.stores, 1);
            device.happen(EventKind::Opened);
        }
        let (link, again, _) = device.published.last().expect("written");
        assert_eq!((*link, *again), (device.link, Some(waits)));
        device.happen(EventKind::Connected);
        device.answer(device.published.len() - 1);
        assert_eq!(device.resolved[1..], [(waits, Ok("waits".to_owned()))]);
        assert!(device.is_ready());
    }
}

#[test]
fn a_broker_that_hangs_up_or_is_silent_may_have_done_it_and_is_not_asked_so_again() {
    for kind in [LinkErrorKind::Closed, LinkErrorKind::Protocol, LinkErrorKind::ConnectTimedOut] {
        let mut device = Device::stored();
        device.happen(EventKind::Opened);
        let fails = device.submit("fails", 1000 * SECOND, IfDown::Fail).expect("taken");
        let waits = device.submit("waits", 1000 * SECOND, IfDown::Wait).expect("taken");
        device.happen(lost(kind));
        let ended: Vec<CallId> = device.resolved.iter().map(|(call, _)| *call).collect();
        assert_eq!(ended, [fails, waits], "no call is made twice");
        for (_, result) in &device.resolved {
            let error = result.as_ref().expect_err("nobody answered");
            assert!(matches!(error, RequestError::Disconnected(_)) && error.may_have_been_processed(), "{error:?}");
        }
        for _ in 0..3 {
            device.until_next_connect();
            assert!(!device.pipeline, "after {kind:?}");
            device.happen(lost(LinkErrorKind::Tcp));
        }
    }
}

#[test]
fn what_is_no_fault_of_pipelining_is_not_held_against_it() {
    // Before CONNECT was written, or after CONNACK, whatever happened.
    for (steps, kind) in [
        (&[][..], LinkErrorKind::Closed),
        (&[], LinkErrorKind::ConnectTimedOut),
        (&[EventKind::Opened], LinkErrorKind::Tls),
        (&[EventKind::Opened, EventKind::Connected], LinkErrorKind::Closed),
        (&[EventKind::Opened, EventKind::Connected], LinkErrorKind::Protocol),
    ] {
        let mut device = Device::stored();
        for step in steps {
            device.happen(step.clone());
        }
        device.happen(lost(kind));
        device.until_next_connect();
        assert!(device.pipeline, "{steps:?}, then {kind:?}");
    }
}

#[test]
fn a_connack_that_never_comes_is_not_waited_for_beyond_the_connect_timeout() {
    let mut device = Device::stored();
    device.now = NOW + SECOND;
    device.happen(EventKind::Opened);
    let id = device.submit("x", 1000 * SECOND, IfDown::Fail).expect("taken");
    let due = device.life.next_deadline().expect("a deadline");
    assert_eq!(due, NOW + config().connect_timeout(), "CONNECT does not begin it anew");
    device.until_next_connect();
    assert_eq!(device.left, ["abort link 1"].map(|text| text.replace("link 1", &LINK.to_string())));
    let (resolved, result) = &device.resolved[0];
    assert_eq!(*resolved, id);
    assert!(result.as_ref().expect_err("nobody answered").may_have_been_processed());
    assert!(!device.pipeline);
}

#[test]
fn a_calls_own_deadline_counts_from_when_it_was_submitted() {
    let mut device = Device::stored();
    device.happen(EventKind::Opened);
    let id = device.submit("x", SECOND, IfDown::Fail).expect("taken");
    device.now = NOW + SECOND;
    device.life.handle_timeout(device.now);
    device.drain();
    assert_eq!(device.resolved, [(id, Err(RequestError::TimedOut))]);
    assert_eq!(device.published.len(), 1, "it was written, so it may have happened");
    device.happen(EventKind::Connected);
    assert!(device.is_ready());
    // What comes of it now is late, and known to be.
    device.answer(0);
    assert_eq!(device.life.counters().late_answers, 1);
}

#[test]
fn closing_before_connack_ends_everything() {
    let mut device = Device::stored();
    device.happen(EventKind::Opened);
    let id = device.submit("x", SECOND, IfDown::Fail).expect("taken");
    device.life.close(device.now);
    device.drain();
    assert_eq!(device.left.len(), 1, "{:?}", device.left);
    assert!(device.left[0].starts_with("abort"), "{:?}", device.left);
    assert_eq!(device.resolved.len(), 1);
    assert_eq!(device.resolved[0].0, id);
    assert!(device.life.is_closed() && device.life.is_idle());
    device.happen(EventKind::Connected);
    assert_eq!(device.left.len(), 1, "nothing follows");
}

#[test]
fn it_can_be_switched_off() {
    let mut device = Device::new(config().with_resume(credential(0)).with_pipelined_connect(false));
    assert!(!device.pipeline);
    device.happen(EventKind::Connected);
    assert!(device.is_ready());
}

#[test]
fn an_onboarding_is_asked_for_behind_connect_once() {
    let mut device = Device::new(config());
    assert!(device.pipeline);
    device.happen(EventKind::Opened);
    assert_eq!(device.published.len(), 1);
    device.happen(EventKind::Connected);
    assert_eq!(device.published.len(), 1, "not again");
    let answer = Publish::new(device.published[0].2.topic.clone(), format!("200\r\n\r\n{}", onboarding_body(0)));
    device.happen(EventKind::Received(answer));
    assert_eq!((device.stores, device.link), (1, LinkId(2)), "on to the assigned broker");
    assert!(device.pipeline);
}

#[test]
fn an_onboarding_that_ends_before_connack_says_why() {
    for (kind, again) in [(refused(), true), (LinkErrorKind::Closed, false), (LinkErrorKind::ConnectTimedOut, false)] {
        let mut device = Device::new(config().with_connect_attempts(10).expect("in range"));
        device.happen(EventKind::Opened);
        device.happen(lost(kind));
        device.until_next_connect();
        assert_eq!(device.pipeline, again, "{kind:?}");
    }
    // Nobody answers at all: the connect timeout ends it.
    let config = config();
    let mut machine = Onboarding::new(NOW, LINK, &config, 1).pipelining(true);
    while machine.poll_action().is_some() {}
    machine.handle_event(NOW + SECOND, Event { link: LINK, kind: EventKind::Opened });
    let due = machine.next_deadline().expect("a deadline");
    assert_eq!(due, NOW + config.connect_timeout());
    machine.handle_timeout(due);
    let actions: Vec<Action> = std::iter::from_fn(|| machine.poll_action()).collect();
    assert!(matches!(&actions[..], [Action::Publish { .. }, Action::Abort { .. }]), "{actions:?}");
    assert!(matches!(machine.outcome(), Some(Err(_))));
}

/// At an ordinary broker nothing can be heard before SUBACK: SUBSCRIBE follows CONNECT, the calls follow SUBACK.
#[test]
fn with_a_response_filter_only_subscribe_follows_connect() {
    let config = config().with_response_filter(true);
    let machine = |opened: bool| {
        let endpoint = credential(0).endpoint.endpoint(thingif::mqtt::Scheme::Mqtt).expect("TCP is offered");
        let in_flight = InFlight::new(LIMITS, 1);
        let mut session = Session::new(NOW, LINK, &config, endpoint, &credential(0), in_flight).pipelining(true);
        let kind = if opened { EventKind::Opened } else { EventKind::Connected };
        session.handle_event(NOW, Event { link: LINK, kind });
        session
    };
    let actions = |session: &mut Session| -> Vec<Action> { std::iter::from_fn(|| session.poll_action()).collect() };
    let mut session = machine(true);
    let call = session.submit(NOW, call("states", "x"), NOW + 10 * SECOND).expect("queued");
    let filters: Vec<TopicFilter> = actions(&mut session)
        .into_iter()
        .filter_map(|action| match action {
            Action::Subscribe { filter, .. } => Some(filter),
            Action::Publish { .. } => panic!("nobody would hear the answer"),
            _ => None,
        })
        .collect();
    assert_eq!(filters.len(), 2);
    session.handle_event(NOW, Event { link: LINK, kind: EventKind::Connected });
    assert!(!actions(&mut session).iter().any(|action| matches!(action, Action::Subscribe { .. })), "asked once");
    for filter in filters {
        session.handle_event(NOW, Event { link: LINK, kind: EventKind::Subscribed { filter, granted: true } });
    }
    assert!(session.is_ready());
    let written = actions(&mut session);
    assert!(written.iter().any(|action| matches!(action, Action::Publish { call: Some(id), .. } if *id == call)));
    // Refused, the queued call was not sent.
    let mut session = machine(true);
    let id = session.submit(NOW, device::call("states", "x"), NOW + 10 * SECOND).expect("queued");
    session.handle_event(NOW, Event { link: LINK, kind: lost(refused()) });
    let resolved = actions(&mut session).into_iter().find_map(|action| match action {
        Action::Resolve { call, result } => Some((call, result.map(drop))),
        _ => None,
    });
    assert_eq!(resolved, Some((id, Err(NotSent::NotConnected.into()))));
    assert!(!session.ended().expect("ended").was_connected);
}
