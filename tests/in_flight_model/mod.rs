//! The table's rules as one would write them with a single list and no thought of speed, compared with the table over
//! random histories.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use proptest::prelude::*;
use proptest::sample::Index;
use thingif::mqtt::LinkErrorKind;
use thingif::proto::{
    Answer, CallId, InFlight, Instant, Limits, NotSent, Outcome, PeerIds, RequestError, SessionError,
};
use thingif::topic::Topic;

const LIMITS: Limits = Limits { in_flight: 6, quarantine: 3, late_answer_window: Duration::from_millis(WINDOW) };
const WINDOW: u64 = 20;

#[derive(Debug, Clone)]
enum Step {
    Submit { topic: usize, ttl: u64, callers_id: Option<u8> },
    AnswerWithId { call: Index, elsewhere: bool },
    AnswerWithout { topic: usize },
    AnswerForeign { topic: usize },
    Cancel { call: Index },
    NotSent { call: Index },
    Pass { millis: u64 },
    Lose { answers_may_follow: bool },
    Open,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        8 => (0..3_usize, 1..30_u64, proptest::option::of(any::<u8>()))
            .prop_map(|(topic, ttl, callers_id)| Step::Submit { topic, ttl, callers_id }),
        4 => (index(), prop::bool::weighted(0.1)).prop_map(|(call, elsewhere)| Step::AnswerWithId { call, elsewhere }),
        5 => (0..3_usize).prop_map(|topic| Step::AnswerWithout { topic }),
        1 => (0..3_usize).prop_map(|topic| Step::AnswerForeign { topic }),
        3 => index().prop_map(|call| Step::Cancel { call }),
        1 => index().prop_map(|call| Step::NotSent { call }),
        4 => (0..12_u64).prop_map(|millis| Step::Pass { millis }),
        1 => any::<bool>().prop_map(|answers_may_follow| Step::Lose { answers_may_follow }),
        1 => Just(Step::Open),
        1 => Just(Step::Close),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Queued,
    Sent,
    Late,
}

#[derive(Debug)]
struct Entry {
    call: CallId,
    topic: usize,
    until: u64,
    stage: Stage,
    callers_id: Option<u8>,
}

/// What a step led to, in the order of the calls.
#[derive(Debug, PartialEq)]
enum Effect {
    Sent(CallId),
    Failed(CallId, RequestError),
}

#[derive(Debug)]
struct Model {
    now: u64,
    entries: Vec<Entry>,
    open: bool,
    peer: PeerIds,
    forgotten_until: Option<u64>,
    overflows: u64,
    effects: Vec<Effect>,
}

fn lost() -> SessionError {
    SessionError::Link(LinkErrorKind::Closed.into())
}

impl Model {
    fn count(&self, topic: usize, stage: Stage) -> usize {
        self.entries.iter().filter(|e| e.topic == topic && e.stage == stage).count()
    }

    fn waiting(&self) -> usize {
        self.entries.iter().filter(|e| e.stage != Stage::Late).count()
    }

    fn quarantined(&self) -> usize {
        self.entries.len() - self.waiting()
    }

    fn stage(&self, call: CallId) -> Option<Stage> {
        self.entries.iter().find(|e| e.call == call).map(|e| e.stage)
    }

    fn remove(&mut self, call: CallId) -> Entry {
        let at = self.entries.iter().position(|e| e.call == call).expect("there");
        self.entries.remove(at)
    }

    fn fail(&mut self, call: CallId, error: RequestError) {
        self.effects.push(Effect::Failed(call, error));
    }

    fn make_late(&mut self, call: CallId) {
        if self.quarantined() == LIMITS.quarantine {
            let oldest = self.entries.iter().filter(|e| e.stage == Stage::Late).min_by_key(|e| (e.until, e.call));
            let (oldest, until) = oldest.map(|e| (e.call, e.until)).expect("full");
            self.remove(oldest);
            self.forgotten_until = self.forgotten_until.max(Some(until));
            self.overflows += 1;
        }
        let until = self.now + WINDOW;
        let entry = self.entries.iter_mut().find(|e| e.call == call).expect("there");
        (entry.stage, entry.until) = (Stage::Late, until);
    }

    /// Sends whatever may go.
    fn settle(&mut self) {
        for at in 0..self.entries.len() {
            let topic = self.entries[at].topic;
            let alone = self.peer == PeerIds::Omitted;
            let free = self.count(topic, Stage::Sent) + self.count(topic, Stage::Late) == 0;
            let may_go = self.open && (!alone || (free && self.forgotten_until.is_none()));
            if self.entries[at].stage == Stage::Queued && may_go {
                self.entries[at].stage = Stage::Sent;
                self.effects.push(Effect::Sent(self.entries[at].call));
            }
        }
    }

    fn answer_with_id(&mut self, call: CallId, topic: usize) -> Answer {
        self.peer = PeerIds::Echoed;
        let there = self.entries.iter().any(|e| e.call == call && e.topic == topic && e.stage != Stage::Queued);
        if there { self.resolve(call) } else { Answer::UnknownId }
    }

    fn answer_without_id(&mut self, topic: usize) -> Answer {
        let (sent, late) = (self.count(topic, Stage::Sent), self.count(topic, Stage::Late));
        if sent + late == 0 {
            return Answer::Unasked;
        }
        if self.peer == PeerIds::Unknown {
            self.peer = PeerIds::Omitted;
        }
        let on_topic = |stage| move |e: &&Entry| e.topic == topic && e.stage == stage;
        let whose = match (self.forgotten_until, sent, late) {
            (None, 1, 0) => self.entries.iter().find(on_topic(Stage::Sent)),
            (None, 0, _) => self.entries.iter().filter(on_topic(Stage::Late)).min_by_key(|e| (e.until, e.call)),
            _ => None,
        };
        match whose.map(|e| e.call) {
            Some(call) => self.resolve(call),
            None => Answer::Ambiguous,
        }
    }

    fn resolve(&mut self, call: CallId) -> Answer {
        let entry = self.remove(call);
        match entry.stage {
            Stage::Late => Answer::Late,
            _ => Answer::For { call, callers_id: entry.callers_id.map(callers_id) },
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        self.entries.retain(|e| e.stage != Stage::Late || e.until > now);
        self.forgotten_until = self.forgotten_until.filter(|until| *until > now);
        let mut due: Vec<(u64, CallId)> = self
            .entries
            .iter()
            .filter(|e| e.stage != Stage::Late && e.until <= now)
            .map(|e| (e.until, e.call))
            .collect();
        due.sort();
        for (_, call) in due {
            match self.stage(call) {
                Some(Stage::Queued) => {
                    self.remove(call);
                    self.fail(call, NotSent::DeadlineExceeded.into());
                }
                _ => {
                    self.fail(call, RequestError::TimedOut);
                    self.make_late(call);
                }
            }
        }
    }

    fn lose(&mut self, answers_may_follow: bool) {
        (self.open, self.peer) = (false, PeerIds::Unknown);
        let calls: Vec<CallId> = self.entries.iter().filter(|e| e.stage != Stage::Late).map(|e| e.call).collect();
        for call in calls {
            if self.stage(call) == Some(Stage::Queued) {
                self.remove(call);
                self.fail(call, NotSent::NotConnected.into());
            } else {
                self.fail(call, RequestError::Disconnected(lost()));
                if answers_may_follow {
                    self.make_late(call);
                }
            }
        }
        if !answers_may_follow {
            self.entries.clear();
            self.forgotten_until = None;
        }
    }

    fn close(&mut self) {
        self.open = false;
        for entry in std::mem::take(&mut self.entries) {
            match entry.stage {
                Stage::Queued => self.fail(entry.call, NotSent::Closed.into()),
                Stage::Sent => self.fail(entry.call, RequestError::Closed),
                Stage::Late => {}
            }
        }
        self.forgotten_until = None;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().map(|e| e.until).chain(self.forgotten_until).min().map(at)
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn callers_id(number: u8) -> HeaderValue {
    HeaderValue::from(u16::from(number))
}

fn topic(number: usize) -> Topic {
    Topic::new(["p/me/a", "p/me/b", "p/me/c"][number]).expect("valid")
}

/// The table and the model side by side.
struct Pair {
    table: InFlight,
    model: Model,
    /// Every call so far with its topic and the id that it was given.
    calls: Vec<(CallId, usize, HeaderValue)>,
    overflows: u64,
}

impl Pair {
    fn new() -> Self {
        let model = Model {
            now: 0,
            entries: Vec::new(),
            open: false,
            peer: PeerIds::Unknown,
            forgotten_until: None,
            overflows: 0,
            effects: Vec::new(),
        };
        Self { table: InFlight::new(LIMITS, 1), model, calls: Vec::new(), overflows: 0 }
    }

    fn pick(&self, index: &Index) -> Option<(CallId, usize, HeaderValue)> {
        (!self.calls.is_empty()).then(|| index.get(&self.calls).clone())
    }

    fn submit(&mut self, on: usize, ttl: u64, id: Option<u8>) {
        let until = self.model.now + ttl;
        let mut given = None;
        let taken = self.table.submit(topic(on), at(until), id.map(callers_id), |id| {
            given = Some(id);
            Ok(Bytes::from_static(b"frame"))
        });
        if self.model.waiting() == LIMITS.in_flight {
            assert_eq!(taken, Err(NotSent::Overloaded));
            return;
        }
        let (call, given) = (taken.expect("room"), given.expect("an id"));
        assert!(self.calls.iter().all(|(_, _, id)| *id != given), "an id twice");
        self.calls.push((call, on, given));
        self.model.entries.push(Entry { call, topic: on, until, stage: Stage::Queued, callers_id: id });
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Submit { topic, ttl, callers_id } => self.submit(*topic, *ttl, *callers_id),
            Step::AnswerWithId { call, elsewhere } => {
                let Some((call, on, id)) = self.pick(call) else { return };
                let on = if *elsewhere { (on + 1) % 3 } else { on };
                let answer = self.table.answer(&topic(on), Some(id.as_bytes()));
                assert_eq!(answer, self.model.answer_with_id(call, on));
            }
            Step::AnswerWithout { topic: on } => {
                assert_eq!(self.table.answer(&topic(*on), None), self.model.answer_without_id(*on));
            }
            Step::AnswerForeign { topic: on } => {
                assert_eq!(self.table.answer(&topic(*on), Some(b"registerState")), Answer::UnknownId);
            }
            Step::Cancel { call } => {
                let Some((call, ..)) = self.pick(call) else { return };
                self.table.cancel(at(self.model.now), call);
                match self.model.stage(call) {
                    Some(Stage::Queued) => drop(self.model.remove(call)),
                    Some(Stage::Sent) => self.model.make_late(call),
                    Some(Stage::Late) | None => {}
                }
            }
            Step::NotSent { call } => {
                let Some((call, ..)) = self.pick(call) else { return };
                let error = LinkErrorKind::Overloaded;
                self.table.not_sent(call, error.into());
                match self.model.stage(call) {
                    Some(Stage::Sent) => {
                        self.model.remove(call);
                        self.model.fail(call, NotSent::Link(error.into()).into());
                    }
                    Some(Stage::Late) => drop(self.model.remove(call)),
                    Some(Stage::Queued) | None => {}
                }
            }
            Step::Pass { millis } => {
                self.model.pass(*millis);
                self.table.handle_timeout(at(self.model.now));
            }
            Step::Lose { answers_may_follow } => {
                self.table.lose(at(self.model.now), &lost(), *answers_may_follow);
                self.model.lose(*answers_may_follow);
            }
            Step::Open => {
                self.table.open();
                self.model.open = true;
            }
            Step::Close => {
                self.table.close();
                self.model.close();
            }
        }
        self.model.settle();
    }

    fn compare(&mut self) {
        let mut effects: Vec<Effect> = std::iter::from_fn(|| self.table.poll_outcome())
            .map(|outcome| match outcome {
                Outcome::Send { call, .. } => Effect::Sent(call),
                Outcome::Failed { call, error } => Effect::Failed(call, error),
                Outcome::Park { call, .. } => panic!("{call:?} does not wait for another link"),
            })
            .collect();
        // Within one topic calls leave in their order, whatever the order between topics.
        for on in 0..3 {
            let sent: Vec<CallId> = effects.iter().filter_map(|e| self.sent_on(e, on)).collect();
            assert!(sent.is_sorted(), "{sent:?}");
        }
        let key = |effect: &Effect| match effect {
            Effect::Sent(call) => (*call, 0),
            Effect::Failed(call, _) => (*call, 1),
        };
        effects.sort_by_key(key);
        self.model.effects.sort_by_key(key);
        assert_eq!(effects, std::mem::take(&mut self.model.effects));
        assert_eq!(self.table.peer(), self.model.peer);
        assert_eq!(self.table.len(), self.model.waiting());
        assert_eq!(self.table.quarantined(), self.model.quarantined());
        assert_eq!(self.table.next_deadline(), self.model.next_deadline());
        self.overflows += self.table.take_overflows();
        assert_eq!(self.overflows, self.model.overflows);
    }

    fn sent_on(&self, effect: &Effect, on: usize) -> Option<CallId> {
        let Effect::Sent(call) = effect else { return None };
        self.calls.iter().any(|(known, topic, _)| known == call && *topic == on).then_some(*call)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_the_rules_say(opened in prop::bool::weighted(0.9), steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        if opened {
            pair.step(&Step::Open);
        }
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        pair.step(&Step::Close);
        pair.compare();
        prop_assert!(pair.table.is_idle());
    }
}
