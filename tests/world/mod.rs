//! A device's lifecycle, both brokers and the network between them, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use thingif::config::Config;
use thingif::frame;
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{
    Action, CallId, ConnectError, Event, EventKind, IfDown, Instant, Lifecycle, LinkId, Notice, RequestError,
};
use thingif::thing_if::{Credential, ErrorBody, ErrorCode};
use thingif::topic::{Topic, TopicFilter};

use crate::device::{CLIENT_ID, answer, answer_to, call, onboarding_body};

/// One way through the network.
const LATENCY: Duration = Duration::from_millis(20);
/// More inputs than any simulation here needs: beyond it something goes round in circles.
const MAX_INPUTS: usize = 1_000_000;

/// What the network does to messages, each way.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) lose: f64,
    pub(crate) duplicate: f64,
    pub(crate) max_delay: Duration,
    /// How long a link to the assigned broker lives on average.
    pub(crate) cut_every: Option<Duration>,
}

impl Faults {
    pub(crate) fn none() -> Self {
        Self { lose: 0.0, duplicate: 0.0, max_delay: Duration::ZERO, cut_every: None }
    }
}

/// What the brokers do.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) faults: Faults,
    /// Probability that an answer comes without id.
    pub(crate) strip_ids: f64,
    /// An ordinary broker: answers only to subscribers, whichever link they have by then, and echoes.
    pub(crate) ordinary: bool,
    /// Which generation of credentials is refused at the assigned broker.
    pub(crate) refuse_generation: Option<(u32, RefusedReason)>,
    pub(crate) reject_onboarding: Option<u16>,
    /// Nothing is answered, neither onboarding nor call.
    pub(crate) silent: bool,
    /// No call is answered.
    pub(crate) mute: bool,
    pub(crate) connect_silently: bool,
    pub(crate) withhold_suback: bool,
    pub(crate) refuse_subscription: bool,
    pub(crate) unreachable: bool,
    pub(crate) kick_after: Option<Duration>,
    pub(crate) assigned_host: String,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            faults: Faults::none(),
            strip_ids: 0.0,
            ordinary: false,
            refuse_generation: None,
            reject_onboarding: None,
            silent: false,
            mute: false,
            connect_silently: false,
            withhold_suback: false,
            refuse_subscription: false,
            unreachable: false,
            kick_after: None,
            assigned_host: "assigned.invalid".to_owned(),
        }
    }
}

#[derive(Debug)]
enum Happening {
    ToDevice(Event),
    ToServer(LinkId, Publish),
    /// From an ordinary broker, to whoever is subscribed by then.
    ToSubscriber(Publish),
    Cut(LinkId),
    Cancel(CallId),
}

#[derive(Debug)]
struct OpenLink {
    id: LinkId,
    filters: Vec<TopicFilter>,
}

#[derive(Debug)]
struct Call {
    nonce: String,
    cancelled: bool,
    result: Option<Result<Response<Bytes>, RequestError>>,
}

pub(crate) struct World {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) script: Script,
    pub(crate) onboardings: u32,
    pub(crate) connects: u32,
    pub(crate) stored: Vec<Credential>,
    pub(crate) pushes: Vec<String>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) closed: Option<Option<ConnectError>>,
    /// Every action as text.
    pub(crate) order: Vec<String>,
    now: Instant,
    rng: fastrand::Rng,
    agenda: BTreeMap<(Instant, u64), Happening>,
    entries: u64,
    inputs: usize,
    link: Option<OpenLink>,
    calls: BTreeMap<CallId, Call>,
    nonces: u32,
    last_onboarding_answer: Option<Event>,
}

impl World {
    pub(crate) fn new(config: Config, script: Script, seed: u64) -> Self {
        let mut world = Self {
            lifecycle: Lifecycle::new(Instant::ORIGIN, config, seed),
            script,
            onboardings: 0,
            connects: 0,
            stored: Vec::new(),
            pushes: Vec::new(),
            notices: Vec::new(),
            closed: None,
            order: Vec::new(),
            now: Instant::ORIGIN,
            rng: fastrand::Rng::with_seed(seed),
            agenda: BTreeMap::new(),
            entries: 0,
            inputs: 0,
            link: None,
            calls: BTreeMap::new(),
            nonces: 0,
            last_onboarding_answer: None,
        };
        world.drain();
        world
    }

    /// Lets time pass, from one thing that is due to the next.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let happening = self.agenda.first_key_value().map(|((due, _), _)| *due);
            let deadline = self.lifecycle.next_deadline();
            let Some(due) = happening.into_iter().chain(deadline).min().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.inputs += 1;
            assert!(self.inputs < MAX_INPUTS, "it never goes idle");
            if happening == Some(due)
                && let Some((_, happening)) = self.agenda.pop_first()
            {
                self.happen(happening);
            } else {
                self.lifecycle.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    /// Makes `count` calls on three paths at random times, some of which are cancelled, and lets them end.
    pub(crate) fn workload(&mut self, count: usize) {
        self.run_for(Duration::from_secs(5));
        for _ in 0..count {
            let path = ["states", "commands", "triggers"][self.rng.usize(..3)];
            let ttl = Duration::from_millis(self.rng.u64(300..6000));
            if let Ok(call) = self.try_call(path, ttl)
                && self.rng.u8(..10) == 0
            {
                let later = Duration::from_millis(self.rng.u64(..2000));
                self.at(later, Happening::Cancel(call));
            }
            let pause = if self.rng.bool() { 0 } else { self.rng.u64(..1500) };
            self.run_for(Duration::from_millis(pause));
        }
    }

    /// Waits until nothing is left, and closes.
    pub(crate) fn finish(&mut self) {
        self.run_for(Duration::from_secs(120));
        assert!(self.lifecycle.is_idle(), "{:?}", self.lifecycle);
        self.close();
    }

    /// Closes, and checks that everything has come to its end.
    pub(crate) fn close(&mut self) {
        self.lifecycle.close(self.now);
        self.drain();
        assert!(matches!(self.closed, Some(None)), "{:?}", self.closed);
        assert!(self.lifecycle.is_closed() && self.lifecycle.is_idle());
        let actions = self.order.len();
        // What is still on its way finds nobody.
        self.run_for(Duration::from_secs(120));
        assert_eq!(self.order.len(), actions, "{:?}", &self.order[actions..]);
        for (id, call) in &self.calls {
            assert_eq!(call.result.is_some(), !call.cancelled, "{id:?} {call:?}");
        }
    }

    pub(crate) fn call(&mut self, name: &str, ttl: Duration) -> CallId {
        self.try_call(name, ttl).expect("taken")
    }

    pub(crate) fn try_call(&mut self, name: &str, ttl: Duration) -> Result<CallId, RequestError> {
        self.nonces += 1;
        let nonce = format!("nonce {}", self.nonces);
        let taken = self.lifecycle.submit(self.now, call(name, &nonce), self.now + ttl, IfDown::Fail);
        if let Ok(id) = taken {
            self.calls.insert(id, Call { nonce, cancelled: false, result: None });
        }
        self.drain();
        taken
    }

    pub(crate) fn error(&self, call: CallId) -> Option<&RequestError> {
        self.calls[&call].result.as_ref()?.as_ref().err()
    }

    /// How many calls were answered, each with its own answer.
    pub(crate) fn answered(&self) -> usize {
        self.calls.values().filter(|call| matches!(call.result, Some(Ok(_)))).count()
    }

    /// The transitions so far, each a word.
    pub(crate) fn story(&self) -> Vec<&'static str> {
        let word = |notice: &Notice| match notice {
            Notice::Onboarding { .. } => "onboarding",
            Notice::Onboarded { .. } => "onboarded",
            Notice::Connecting { .. } => "connecting",
            Notice::Connected { .. } => "connected",
            Notice::Ready { .. } => "ready",
            Notice::Waiting { .. } => "waiting",
            _ => "other",
        };
        self.notices.iter().map(word).collect()
    }

    /// Cuts the link that stands.
    pub(crate) fn cut(&mut self) {
        let link = self.link.as_ref().expect("a link").id;
        self.at(Duration::ZERO, Happening::Cut(link));
    }

    pub(crate) fn push(&mut self, payload: &'static str) {
        self.message_on(CLIENT_ID, payload);
    }

    pub(crate) fn message_on(&mut self, topic: &str, payload: &'static str) {
        let link = self.link.as_ref().expect("a link").id;
        let publish = Publish::new(Topic::new(topic).expect("valid"), payload);
        self.at(LATENCY, Happening::ToDevice(Event { link, kind: EventKind::Received(publish) }));
    }

    pub(crate) fn onboarding_answer_again(&mut self) {
        let event = self.last_onboarding_answer.clone().expect("it onboarded");
        self.lifecycle.handle_event(self.now, event);
        self.drain();
    }

    pub(crate) fn lost_again(&mut self, kind: LinkErrorKind) {
        let event = Event { link: LinkId(1), kind: EventKind::Lost(kind.into()) };
        self.lifecycle.handle_event(self.now, event);
        self.drain();
    }

    fn at(&mut self, later: Duration, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((self.now + later, self.entries), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToDevice(event) => {
                if event.kind == EventKind::Connected {
                    self.link = Some(OpenLink { id: event.link, filters: Vec::new() });
                }
                self.lifecycle.handle_event(self.now, event);
            }
            Happening::ToServer(link, publish) => self.serve(link, publish),
            Happening::ToSubscriber(publish) => {
                if let Some(link) =
                    self.link.as_ref().filter(|link| link.filters.iter().any(|f| f.matches(&publish.topic)))
                {
                    let event = Event { link: link.id, kind: EventKind::Received(publish) };
                    self.lifecycle.handle_event(self.now, event);
                }
            }
            Happening::Cut(link) => {
                if self.link.take_if(|open| open.id == link).is_some() {
                    let kind = EventKind::Lost(LinkErrorKind::Closed.into());
                    self.lifecycle.handle_event(self.now, Event { link, kind });
                }
            }
            Happening::Cancel(call) => {
                let known = self.calls.get_mut(&call).expect("it was made");
                if known.result.is_none() {
                    known.cancelled = true;
                    self.lifecycle.cancel(self.now, call);
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.lifecycle.poll_action() {
            assert!(self.closed.is_none(), "after the end: {action:?}");
            self.order.push(format!("{action:?}"));
            match action {
                Action::Connect { link, endpoint, credentials, .. } => self.connect(link, &endpoint, &credentials),
                Action::Subscribe { link, filter } => self.subscribe(link, filter),
                Action::Publish { link, publish, .. } => self.travel(|| Happening::ToServer(link, publish.clone())),
                Action::Disconnect { link } | Action::Abort { link } => {
                    self.link.take_if(|open| open.id == link);
                }
                Action::Resolve { call, result } => {
                    let known = self.calls.get_mut(&call).expect("a call that was taken");
                    assert!(!known.cancelled, "a cancelled call hears nothing more");
                    assert!(known.result.is_none(), "a call ends once");
                    if let Ok(response) = &result {
                        assert_eq!(&response.body()[..], known.nonce.as_bytes(), "another call's answer");
                        assert!(!response.headers().contains_key(frame::REQUEST_ID), "the caller had none");
                    }
                    known.result = Some(result);
                }
                Action::Push(payload) => self.pushes.push(String::from_utf8(payload.to_vec()).expect("UTF-8")),
                Action::Store { link, credential } => {
                    self.stored.push(credential);
                    let kind = EventKind::Stored(Ok(()));
                    self.at(Duration::ZERO, Happening::ToDevice(Event { link, kind }));
                }
                Action::Notice(notice) => self.notices.push(notice),
                Action::Closed(failure) => self.closed = Some(failure),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Puts a message on its way, as well as the network allows.
    fn travel(&mut self, message: impl Fn() -> Happening) {
        let Faults { lose, duplicate, max_delay, .. } = self.script.faults;
        let copies = match self.rng.f64() {
            fate if fate < lose => 0,
            fate if fate < lose + duplicate => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = LATENCY + max_delay.mul_f64(self.rng.f64());
            self.at(delay, message());
        }
    }

    fn connect(&mut self, link: LinkId, endpoint: &Endpoint, credentials: &Credentials) {
        self.connects += 1;
        if self.script.connect_silently {
            return;
        }
        let anonymous = credentials.client_id.is_anonymous();
        let host = if anonymous { "default.invalid" } else { &self.script.assigned_host };
        let refused = self
            .script
            .refuse_generation
            .filter(|(generation, _)| credentials.username == format!("user-{generation}"));
        let kind = if self.script.unreachable || endpoint.host != host {
            EventKind::Lost(LinkErrorKind::Tcp.into())
        } else if let Some((_, reason)) = refused {
            EventKind::Lost(LinkError::from(LinkErrorKind::Refused(reason)))
        } else {
            EventKind::Connected
        };
        if kind == EventKind::Connected && !anonymous {
            let kick = self.script.kick_after;
            let cut = self.script.faults.cut_every.map(|every| every.mul_f64(2.0 * self.rng.f64()));
            if let Some(end) = kick.or(cut) {
                self.at(3 * LATENCY + end, Happening::Cut(link));
            }
        }
        self.at(2 * LATENCY, Happening::ToDevice(Event { link, kind }));
    }

    fn subscribe(&mut self, link: LinkId, filter: TopicFilter) {
        if self.script.withhold_suback {
            return;
        }
        let granted = !self.script.refuse_subscription;
        if granted && let Some(open) = &mut self.link {
            open.filters.push(filter.clone());
        }
        let kind = EventKind::Subscribed { filter, granted };
        self.travel(|| Happening::ToDevice(Event { link, kind: kind.clone() }));
    }

    fn serve(&mut self, link: LinkId, request: Publish) {
        if self.script.silent {
            return;
        }
        if request.topic.path_of_call(&ClientId::anonymous()).is_some() {
            let answer = self.onboard(&request);
            let event = Event { link, kind: EventKind::Received(answer) };
            self.last_onboarding_answer = Some(event.clone());
            self.at(LATENCY, Happening::ToDevice(event));
            return;
        }
        if self.script.ordinary {
            self.at(LATENCY, Happening::ToSubscriber(request.clone()));
        }
        if self.script.mute {
            return;
        }
        let with_id = self.rng.f64() >= self.script.strip_ids;
        let answer = answer_to(&request, with_id);
        let ordinary = self.script.ordinary;
        self.travel(|| match ordinary {
            true => Happening::ToSubscriber(answer.clone()),
            false => Happening::ToDevice(Event { link, kind: EventKind::Received(answer.clone()) }),
        });
    }

    fn onboard(&mut self, request: &Publish) -> Publish {
        self.onboardings += 1;
        let decoded = frame::decode_request(&request.topic, request.payload.clone()).expect("a request frame");
        let mut response = match self.script.reject_onboarding {
            Some(401) => ErrorBody::new(ErrorCode::WrongPassword, "wrong").to_response(),
            Some(status) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                response
            }
            None => {
                let body = onboarding_body(self.onboardings).replace("assigned.invalid", &self.script.assigned_host);
                Response::new(Bytes::from(body))
            }
        };
        if let Some(id) = decoded.headers().get(frame::REQUEST_ID) {
            response.headers_mut().insert(frame::REQUEST_ID, id.clone());
        }
        answer(request, &response)
    }
}
