//! One attempt at the default broker: who am I, and where do I go?

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};

use super::id::RequestIds;
use super::session::dislikes_pipelining;
use super::{Action, Counters, Event, EventKind, Instant, LinkId, Notice, OnboardingError};
use crate::config::Config;
use crate::frame::{self, REQUEST_ID};
use crate::ids::{AppId, ClientId};
use crate::mqtt::{Credentials, Endpoint, LinkErrorKind, Publish, Scheme};
use crate::secret::{Secret, redact};
use crate::thing_if::{Credential, ErrorBody, OnboardingAnswer, OnboardingRequest};
use crate::topic::{Topic, TopicFilter};

/// One attempt at the default broker, with one deadline: connect as `anonymous`, publish the onboarding request, take
/// the answer, have it stored, leave. (`wire` §0, §1.1, §4)
///
/// Nothing is subscribed to and no `X-Kii-RequestID` is sent, as the documentation has it. With `response_filter` the
/// broker is an ordinary one, where other devices' answers would be heard as well; then the request has an id, and
/// only an answer with that id is believed.
#[derive(Debug)]
pub struct Onboarding {
    link: LinkId,
    app_id: AppId,
    scheme: Scheme,
    topic: Topic,
    request: OnboardingRequest,
    /// What the request and the CONNECT before it carry.
    secrets: [Secret<String>; 2],
    /// The id that the answer must have; only with `response_filter`.
    expected_id: Option<HeaderValue>,
    deadline: Instant,
    store_timeout: Duration,
    state: State,
    opened_in_vain: bool,
    counters: Counters,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    Connecting {
        connect_deadline: Instant,
    },
    /// CONNECT is written, and what may follow it; CONNACK has not come.
    Opening {
        connect_deadline: Instant,
    },
    Subscribing,
    AwaitingReply,
    /// Left only when the credential is stored, and it may take until `deadline`. `lost`: there is nothing to leave.
    Storing {
        credential: Box<Credential>,
        deadline: Instant,
        lost: bool,
    },
    Done(Result<Credential, OnboardingError>),
}

impl Onboarding {
    /// Begins to connect to the default broker. Connecting may take the connect timeout, all of it together that and
    /// the call deadline.
    pub fn new(now: Instant, link: LinkId, config: &Config, seed: u64) -> Self {
        let path = format!("/thing-if/apps/{}/onboardings", config.app_id());
        let mut ids = RequestIds::new(seed);
        let mut onboarding = Self {
            link,
            app_id: config.app_id().clone(),
            scheme: config.assigned_scheme(),
            topic: Topic::for_call(&ClientId::anonymous(), &path).expect("an app id can stand in a topic"),
            request: config.identity().onboarding_request(),
            secrets: [config.identity().password().clone(), config.app_key().clone()],
            expected_id: config.response_filter().then(|| {
                let call = ids.next();
                ids.write(call)
            }),
            deadline: now + config.connect_timeout() + config.call_deadline(),
            store_timeout: config.connect_timeout(),
            state: State::Connecting { connect_deadline: now + config.connect_timeout() },
            opened_in_vain: false,
            counters: Counters::default(),
            actions: VecDeque::new(),
        };
        onboarding.connect(config.broker().clone(), Credentials::anonymous(config.app_id(), config.app_key()));
        onboarding
    }

    fn connect(&mut self, endpoint: Endpoint, credentials: Credentials) {
        let link = self.link;
        self.actions.push_back(Action::Notice(Notice::Onboarding { link, broker: endpoint.clone() }));
        self.actions.push_back(Action::Connect { link, endpoint, credentials, pipeline: false });
    }

    /// Writes the request behind CONNECT, before CONNACK has come, where the transport can: one round trip less. (`wire` §1.3)
    #[must_use]
    pub fn pipelining(mut self, may: bool) -> Self {
        for action in &mut self.actions {
            if let Action::Connect { pipeline, .. } = action {
                *pipeline = may;
            }
        }
        self
    }

    /// The broker never answered CONNECT although it was there; perhaps because something followed it.
    pub(super) fn opened_in_vain(&self) -> bool {
        self.opened_in_vain
    }

    /// Takes what happened on a link.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if event.link != self.link {
            self.counters.stale_events += 1;
            return;
        }
        let filter = self.filter();
        match (&mut self.state, event.kind) {
            (&mut State::Connecting { connect_deadline }, EventKind::Opened) => {
                self.ask(filter);
                self.state = State::Opening { connect_deadline };
            }
            (State::Connecting { .. }, EventKind::Connected) => self.state = self.ask(filter),
            (State::Opening { .. }, EventKind::Connected) => {
                self.state = if filter.is_some() { State::Subscribing } else { State::AwaitingReply };
            }
            (State::Subscribing, EventKind::Subscribed { filter: asked, granted })
                if filter.as_ref() == Some(&asked) =>
            {
                if granted {
                    self.state = self.ask(None);
                } else {
                    self.leave(Err(OnboardingError::SubscriptionRefused(asked)));
                }
            }
            (State::AwaitingReply, EventKind::Received(publish)) => self.receive(now, publish),
            (State::Opening { .. } | State::AwaitingReply, EventKind::NotSent { call: None, error }) => {
                self.leave(Err(OnboardingError::Link(error)));
            }
            (State::Opening { .. }, EventKind::Lost(error)) => {
                self.opened_in_vain = dislikes_pipelining(&error);
                self.state = State::Done(Err(OnboardingError::Link(error)));
            }
            (State::Connecting { .. } | State::Subscribing | State::AwaitingReply, EventKind::Lost(error)) => {
                self.state = State::Done(Err(OnboardingError::Link(error)));
            }
            (State::Storing { .. }, EventKind::Stored(result)) => self.stored(result),
            (State::Storing { lost, .. }, EventKind::Lost(_)) => *lost = true,
            (_, _) => self.counters.unexpected_events += 1,
        }
    }

    /// Ends what has run out at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Connecting { connect_deadline } | State::Opening { connect_deadline } if connect_deadline <= now => {
                self.opened_in_vain = matches!(self.state, State::Opening { .. });
                self.actions.push_back(Action::Abort { link: self.link });
                self.state = State::Done(Err(OnboardingError::Link(LinkErrorKind::ConnectTimedOut.into())));
            }
            State::Subscribing | State::AwaitingReply if self.deadline <= now => {
                self.leave(Err(OnboardingError::TimedOut));
            }
            State::Storing { deadline, .. } if deadline <= now => {
                self.stored(Err("it was not stored within the connect timeout".to_owned()));
            }
            _ => {}
        }
    }

    /// Gives the attempt up.
    pub fn close(&mut self, _now: Instant) {
        match self.state {
            State::Connecting { .. } | State::Opening { .. } => {
                self.actions.push_back(Action::Abort { link: self.link });
                self.state = State::Done(Err(OnboardingError::Closed));
            }
            State::Subscribing | State::AwaitingReply | State::Storing { lost: false, .. } => {
                self.leave(Err(OnboardingError::Closed));
            }
            State::Storing { .. } => self.state = State::Done(Err(OnboardingError::Closed)),
            State::Done(_) => {}
        }
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Onboarding::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { connect_deadline } | State::Opening { connect_deadline } => Some(connect_deadline),
            State::Subscribing | State::AwaitingReply => Some(self.deadline),
            State::Storing { deadline, .. } => Some(deadline),
            State::Done(_) => None,
        }
    }

    /// How the attempt ended; `None` while it has not.
    pub fn outcome(&self) -> Option<&Result<Credential, OnboardingError>> {
        match &self.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// How the attempt ended; `None` if it has not.
    pub fn into_outcome(self) -> Option<Result<Credential, OnboardingError>> {
        match self.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What was ignored so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What an ordinary broker must be asked for: this one topic, not everybody's.
    fn filter(&self) -> Option<TopicFilter> {
        self.expected_id.as_ref()?;
        Some(TopicFilter::new(self.topic.as_str()).expect("a topic is a filter"))
    }

    /// Subscribes, or sends the request if there is nothing to subscribe to. Gives what is waited for then.
    fn ask(&mut self, filter: Option<TopicFilter>) -> State {
        if let Some(filter) = filter {
            self.actions.push_back(Action::Subscribe { link: self.link, filter });
            return State::Subscribing;
        }
        self.publish();
        State::AwaitingReply
    }

    fn publish(&mut self) {
        let body = Secret::new(self.request.to_json_exposed().to_string());
        let mut request = Request::new(body.expose().as_bytes());
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.request.media_type()));
        if let Some(id) = &self.expected_id {
            request.headers_mut().insert(REQUEST_ID, id.clone());
        }
        let mut frame = BytesMut::new();
        frame::encode_request(&request, &mut frame);
        let publish = Publish::new(self.topic.clone(), frame.freeze());
        self.actions.push_back(Action::Publish { link: self.link, call: None, publish });
    }

    fn receive(&mut self, now: Instant, Publish { topic, payload, .. }: Publish) {
        if topic != self.topic {
            self.counters.foreign_messages += 1;
        } else if frame::is_request(&payload) {
            self.counters.own_echoes += 1;
        } else if self.expected_id.is_some() && frame::request_id(&payload) != self.expected_id {
            self.counters.unknown_ids += 1;
        } else {
            let outcome = frame::decode_response(payload).map_err(OnboardingError::InvalidFrame);
            match outcome.and_then(|answer| self.read(&answer)) {
                Ok(credential) => {
                    self.actions.push_back(Action::Store { link: self.link, credential: credential.clone() });
                    let deadline = now + self.store_timeout;
                    self.state = State::Storing { credential: Box::new(credential), deadline, lost: false };
                }
                Err(error) => self.leave(Err(error)),
            }
        }
    }

    /// The credential is stored, or cannot be: it is used in either case.
    fn stored(&mut self, result: Result<(), String>) {
        let State::Storing { credential, lost, .. } = &self.state else { return };
        let (credential, lost) = (Credential::clone(credential), *lost);
        if let Err(reason) = result {
            self.actions.push_back(Action::Notice(Notice::StoreFailed { reason }));
        }
        if lost {
            self.state = State::Done(Ok(credential));
        } else {
            self.leave(Ok(credential));
        }
    }

    fn read(&self, answer: &Response<Bytes>) -> Result<Credential, OnboardingError> {
        let status = answer.status();
        if !status.is_success() {
            // The service may repeat what it refuses, and its words go into errors and logs.
            let said = ErrorBody::from_json(&redact(answer.body())).ok();
            let body = said.map(|said| Box::new(self.secrets.iter().fold(said, ErrorBody::masking)));
            return Err(OnboardingError::Rejected { status, body, retry_after: frame::retry_after(answer.headers()) });
        }
        let answer = OnboardingAnswer::from_json(answer.body()).map_err(OnboardingError::InvalidBody)?;
        if answer.endpoint.endpoint(self.scheme).is_none() {
            return Err(OnboardingError::SchemeNotOffered(self.scheme));
        }
        Ok(answer.into_credential(self.app_id.clone()))
    }

    /// Ends a connection that stands.
    fn leave(&mut self, outcome: Result<Credential, OnboardingError>) {
        self.actions.push_back(Action::Disconnect { link: self.link });
        self.state = State::Done(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Identity;
    use crate::frame::{decode_request, encode_response};
    use crate::ids::VendorThingId;

    const BODY: &str = r#"{"accessToken":"t0k3n","thingID":"th.1","mqttEndpoint":{"username":"u","password":"hunter2",
        "mqttTopic":"me","host":"h","portTCP":1883}}"#;

    fn config() -> Config {
        let identity = Identity::vendor_thing(VendorThingId::new("v1").expect("valid"), "thing-pw".into());
        Config::new("mqtt://h".parse().expect("valid"), AppId::new("a1").expect("valid"), "key".into(), identity)
            .expect("valid")
    }

    fn feed(machine: &mut Onboarding, kind: EventKind) -> Vec<Action> {
        machine.handle_event(Instant::ORIGIN, Event { link: LinkId(1), kind });
        std::iter::from_fn(|| machine.poll_action()).collect()
    }

    /// An attempt that has connected, and its request.
    fn asked(config: &Config) -> (Onboarding, Publish) {
        let mut machine = Onboarding::new(Instant::ORIGIN, LinkId(1), config, 1);
        while machine.poll_action().is_some() {}
        let mut actions = feed(&mut machine, EventKind::Connected);
        if let Some(Action::Subscribe { filter, .. }) = actions.last() {
            let filter = filter.clone();
            assert_eq!(filter.as_str(), "p/anonymous/thing-if/apps/a1/onboardings");
            actions = feed(&mut machine, EventKind::Subscribed { filter, granted: true });
        }
        match actions.pop() {
            Some(Action::Publish { publish, .. }) => (machine, publish),
            other => panic!("{other:?}"),
        }
    }

    fn answer(topic: &Topic, status: u16, id: Option<HeaderValue>, body: &'static str) -> EventKind {
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        response.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
        let mut payload = BytesMut::new();
        encode_response(&response, &mut payload);
        EventKind::Received(Publish::new(topic.clone(), payload.freeze()))
    }

    #[test]
    fn the_request_is_the_documented_frame() {
        let (_, request) = asked(&config());
        assert_eq!(request.topic.as_str(), "p/anonymous/thing-if/apps/a1/onboardings");
        let expected = concat!(
            "POST\r\nContent-Type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json\r\n\r\n",
            r#"{"vendorThingID":"v1","thingPassword":"thing-pw"}"#
        );
        assert_eq!(request.payload, expected);
    }

    #[test]
    fn the_answer_is_stored_and_then_the_broker_left() {
        let (mut machine, request) = asked(&config());
        let actions = feed(&mut machine, answer(&request.topic, 200, None, BODY));
        assert!(matches!(&actions[..], [Action::Store { link: LinkId(1), .. }]), "{actions:?}");
        assert!(machine.outcome().is_none(), "not before it is stored");
        let actions = feed(&mut machine, EventKind::Stored(Ok(())));
        assert!(matches!(&actions[..], [Action::Disconnect { link: LinkId(1) }]), "{actions:?}");
        assert_eq!(machine.into_outcome().expect("done").expect("onboarded").thing_id.as_str(), "th.1");
    }

    #[test]
    fn a_credential_that_cannot_be_stored_is_used_and_reported() {
        let failed = |actions: &[Action]| match actions {
            [Action::Notice(Notice::StoreFailed { reason }), Action::Disconnect { .. }] => reason.clone(),
            other => panic!("{other:?}"),
        };
        let (mut machine, request) = asked(&config());
        feed(&mut machine, answer(&request.topic, 200, None, BODY));
        let actions = feed(&mut machine, EventKind::Stored(Err("disk full".to_owned())));
        assert_eq!(failed(&actions), "disk full");
        assert!(matches!(machine.outcome(), Some(Ok(_))));

        let (mut machine, request) = asked(&config());
        feed(&mut machine, answer(&request.topic, 200, None, BODY));
        let deadline = machine.next_deadline().expect("nobody waits for ever");
        assert_eq!(deadline, Instant::ORIGIN + config().connect_timeout());
        machine.handle_timeout(deadline);
        let actions: Vec<Action> = std::iter::from_fn(|| machine.poll_action()).collect();
        assert!(failed(&actions).contains("within"));
        assert!(matches!(machine.outcome(), Some(Ok(_))));
    }

    #[test]
    fn a_link_that_is_lost_while_the_credential_is_stored_is_not_left() {
        let (mut machine, request) = asked(&config());
        feed(&mut machine, answer(&request.topic, 200, None, BODY));
        assert!(feed(&mut machine, EventKind::Lost(LinkErrorKind::Closed.into())).is_empty());
        assert!(feed(&mut machine, EventKind::Stored(Ok(()))).is_empty());
        assert!(matches!(machine.outcome(), Some(Ok(_))));
    }

    #[test]
    fn only_the_answer_on_its_topic_counts() {
        let (mut machine, request) = asked(&config());
        let elsewhere = Topic::new("p/anonymous/thing-if/apps/other/onboardings").expect("valid");
        feed(&mut machine, answer(&elsewhere, 200, None, BODY));
        feed(&mut machine, EventKind::Received(request));
        assert!(machine.outcome().is_none());
        assert_eq!((machine.counters().foreign_messages, machine.counters().own_echoes), (1, 1));
    }

    #[test]
    fn at_an_ordinary_broker_only_the_answer_with_the_own_id_is_believed() {
        let (mut machine, request) = asked(&config().with_response_filter(true));
        let sent = decode_request(&request.topic, request.payload.clone()).expect("a request");
        for foreign in [None, Some(HeaderValue::from_static("another device's"))] {
            feed(&mut machine, answer(&request.topic, 200, foreign, BODY));
            assert!(machine.outcome().is_none());
        }
        feed(&mut machine, answer(&request.topic, 200, sent.headers().get(REQUEST_ID).cloned(), BODY));
        feed(&mut machine, EventKind::Stored(Ok(())));
        assert!(matches!(machine.outcome(), Some(Ok(_))));
        assert_eq!(machine.counters().unknown_ids, 2);
    }

    #[test]
    fn answers_that_are_none_say_what_is_wrong() {
        let outcome = |config: &Config, status, body| {
            let (mut machine, request) = asked(config);
            let actions = feed(&mut machine, answer(&request.topic, status, None, body));
            assert!(matches!(&actions[..], [Action::Disconnect { .. }]), "{actions:?}");
            machine.into_outcome().expect("done").expect_err("refused")
        };
        assert!(matches!(outcome(&config(), 200, "{}"), OnboardingError::InvalidBody(_)));
        let error = outcome(&config(), 409, "no JSON");
        assert!(matches!(error, OnboardingError::Rejected { body: None, .. }), "{error:?}");
        let wss = config().with_assigned_scheme(Scheme::Wss);
        assert_eq!(outcome(&wss, 200, BODY), OnboardingError::SchemeNotOffered(Scheme::Wss));

        let (mut machine, request) = asked(&config());
        feed(&mut machine, EventKind::Received(Publish::new(request.topic, "{\"commandID\":1}")));
        assert!(matches!(machine.outcome(), Some(Err(OnboardingError::InvalidFrame(_)))));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (mut machine, request) = asked(&config());
        let actions = feed(&mut machine, answer(&request.topic, 200, None, BODY));
        let shown = format!("{machine:?} {actions:?} {request:?}");
        for secret in ["thing-pw", "t0k3n", "hunter2"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
