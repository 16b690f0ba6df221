//! The correlation table: which answer belongs to which call. It owns the deadlines.

mod leaving;
mod line;
mod outcome;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::{fmt, mem};

use bytes::Bytes;
use http::{HeaderValue, Request};

use line::{Call, Line, Stage};
pub use outcome::{Answer, Limits, Outcome, PeerIds};

use super::id::RequestIds;
use super::{CallId, Instant, NotSent, RequestError, SessionError};
use crate::mqtt::{LinkError, LinkErrorKind};
use crate::topic::Topic;

/// The table of calls that wait for an answer.
///
/// # Rules
///
/// - A call is known by its topic and its `X-Kii-RequestID`, which is unique for the life of the process.
/// - An answer with an id resolves the call that has this id on this topic, or nobody.
/// - An answer without an id resolves a call only if exactly one waits on its topic. Otherwise it is ambiguous and
///   resolves nobody; it is never guessed.
/// - A call leaves in exactly five ways: answer, deadline, cancellation, lost link, close.
/// - A call that was sent and then timed out or was cancelled stays in quarantine until its late answer arrives, its
///   window ends, or the link does. While a topic has one, an answer without id there resolves nobody.
/// - A quarantine that is full forgets its oldest call. Until that one's window has ended, answers without id resolve
///   nobody on any topic, and nothing is sent to a peer that omits ids.
/// - To a peer that omits ids, calls on one topic are sent one at a time, and none while the topic has a call in
///   quarantine. The others wait their turn; their deadlines count.
///
/// A peer that answers one call twice without an id cannot be told from one that answers two calls. QoS 0 over a
/// connection does not duplicate, and with ids a second answer is recognised.
///
/// # Contract
///
/// After each input drain [`poll_outcome`](InFlight::poll_outcome).
pub struct InFlight {
    limits: Limits,
    ids: RequestIds,
    calls: BTreeMap<CallId, Call>,
    topics: HashMap<Topic, Line>,
    /// Of calls that wait, queued or sent.
    deadlines: BTreeSet<(Instant, CallId)>,
    /// Of calls in quarantine.
    windows: BTreeSet<(Instant, CallId)>,
    /// When the window of the last call that was forgotten early ends.
    forgotten_until: Option<Instant>,
    overflows: u64,
    peer: PeerIds,
    open: bool,
    outcomes: VecDeque<Outcome>,
}

impl InFlight {
    /// An empty table, closed; `seed` decides how its request ids begin.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            ids: RequestIds::new(seed),
            calls: BTreeMap::new(),
            topics: HashMap::new(),
            deadlines: BTreeSet::new(),
            windows: BTreeSet::new(),
            forgotten_until: None,
            overflows: 0,
            peer: PeerIds::Unknown,
            open: false,
            outcomes: VecDeque::new(),
        }
    }

    /// A link is there: what is queued may be sent.
    pub fn open(&mut self) {
        self.open = true;
        self.release_all();
    }

    /// Takes a call. `frame` writes it, given the id that it is to carry; the call is sent at once or queued.
    /// `callers_id` is kept for [`Answer::For`].
    ///
    /// # Errors
    /// [`NotSent::Overloaded`] when the table is full, and whatever `frame` refuses.
    pub fn submit(
        &mut self,
        topic: Topic,
        deadline: Instant,
        callers_id: Option<HeaderValue>,
        frame: impl FnOnce(HeaderValue) -> Result<Bytes, NotSent>,
    ) -> Result<CallId, NotSent> {
        if self.is_full() {
            return Err(NotSent::Overloaded);
        }
        let call = self.ids.next();
        self.enter(call, topic, deadline, callers_id, None, frame)?;
        Ok(call)
    }

    /// A number for a call that will come later, by [`enter`](InFlight::enter).
    pub(super) fn reserve(&mut self) -> CallId {
        self.ids.next()
    }

    /// As many calls wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limits.in_flight
    }

    /// Takes a call with a number of its own, whether the table is full or not. One with `again` that proves not to have
    /// been written when the link is lost comes back as [`Outcome::Park`] instead of failing.
    pub(super) fn enter(
        &mut self,
        call: CallId,
        topic: Topic,
        deadline: Instant,
        callers_id: Option<HeaderValue>,
        again: Option<Box<Request<Bytes>>>,
        frame: impl FnOnce(HeaderValue) -> Result<Bytes, NotSent>,
    ) -> Result<(), NotSent> {
        let frame = frame(self.ids.write(call))?;
        self.deadlines.insert((deadline, call));
        let line = self.topics.entry(topic.clone()).or_default();
        // Nothing waits on a topic whose calls need not wait for each other.
        if self.open && self.peer != PeerIds::Omitted && line.queued.is_empty() {
            line.sent.insert(call);
            let stage = Stage::Sent { callers_id, again };
            self.calls.insert(call, Call { topic: topic.clone(), until: deadline, stage });
            self.outcomes.push_back(Outcome::Send { call, topic, frame });
            return Ok(());
        }
        line.queued.insert(call);
        let stage = Stage::Queued { frame, callers_id, again };
        self.calls.insert(call, Call { topic: topic.clone(), until: deadline, stage });
        self.release(&topic);
        Ok(())
    }

    /// Finds out whose answer arrived on `topic`, with the `X-Kii-RequestID` that it carries.
    pub fn answer(&mut self, topic: &Topic, id: Option<&[u8]>) -> Answer {
        match id {
            Some(id) => self.answer_with_id(topic, id),
            None => self.answer_without_id(topic),
        }
    }

    fn answer_with_id(&mut self, topic: &Topic, id: &[u8]) -> Answer {
        let Some(call) = self.ids.read(id) else { return Answer::UnknownId };
        let omitted = mem::replace(&mut self.peer, PeerIds::Echoed) == PeerIds::Omitted;
        let found = self.calls.get(&call);
        let owed = found.is_some_and(|found| found.topic == *topic && !matches!(found.stage, Stage::Queued { .. }));
        let left = if owed { self.make_way(call) } else { None };
        if omitted {
            self.release_all();
        }
        left.map_or(Answer::UnknownId, |stage| answer_for(call, stage))
    }

    fn answer_without_id(&mut self, topic: &Topic) -> Answer {
        let Some(line) = self.topics.get(topic) else { return Answer::Unasked };
        let (sent, late) = (line.sent.len(), line.late.len());
        if sent + late == 0 {
            return Answer::Unasked;
        }
        if self.peer == PeerIds::Unknown {
            self.peer = PeerIds::Omitted;
        }
        if self.forgotten_until.is_some() {
            return Answer::Ambiguous;
        }
        let whose = match (sent, late) {
            (1, 0) => line.sent.first().copied(),
            // Nobody else can be meant, so the answer is late, and one of those that owe one no longer does. The
            // one whose window ends first goes: should a further answer come, the others are still there.
            (0, _) => line.late.iter().copied().min_by_key(|call| self.calls[call].until),
            _ => None,
        };
        let Some(call) = whose else { return Answer::Ambiguous };
        self.make_way(call).map_or(Answer::Ambiguous, |stage| answer_for(call, stage))
    }

    /// The caller no longer waits. Does nothing for a call that has left.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
        match self.calls.get(&call).map(|found| &found.stage) {
            Some(Stage::Sent { .. }) => self.quarantine(now, call),
            Some(Stage::Queued { .. }) => {
                self.make_way(call);
            }
            Some(Stage::Late) | None => {}
        }
    }

    /// The link did not take the call's frame: no answer will come.
    pub fn not_sent(&mut self, call: CallId, error: LinkError) {
        match self.calls.get(&call).map(|found| &found.stage) {
            // The link is about to be lost: the next one may take it.
            Some(Stage::Sent { .. }) if error.kind() == LinkErrorKind::Closed => {
                self.fail_or_park(call, NotSent::Link(error));
            }
            Some(Stage::Sent { .. }) => self.fail(call, NotSent::Link(error).into()),
            Some(Stage::Late) => {
                self.make_way(call);
            }
            Some(Stage::Queued { .. }) | None => {}
        }
    }

    /// Ends what has run out at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut topics = Vec::new();
        while let Some(&(_, call)) = self.windows.first().filter(|(until, _)| *until <= now) {
            topics.extend(self.leave(call).map(|left| left.topic));
        }
        let was_forgotten = self.forgotten_until.take_if(|until| *until <= now).is_some();
        while let Some(&(_, call)) = self.deadlines.first().filter(|(until, _)| *until <= now) {
            if matches!(self.calls[&call].stage, Stage::Queued { .. }) {
                let error = NotSent::DeadlineExceeded.into();
                self.outcomes.push_back(Outcome::Failed { call, error });
                self.leave(call);
            } else {
                self.outcomes.push_back(Outcome::Failed { call, error: RequestError::TimedOut });
                self.quarantine(now, call);
            }
        }
        // Only now: what has run out is not to be sent first.
        topics.iter().for_each(|topic| self.release(topic));
        if was_forgotten {
            self.release_all();
        }
    }

    /// The link is gone and with it everybody's answer. What was written behind a CONNECT that the broker refused was never
    /// looked at [MQTT-3.1.4-5], and may go again. With `answers_may_follow` (an ordinary broker may deliver them
    /// to the next link) the calls that were sent go into quarantine instead of being forgotten.
    pub fn lose(&mut self, now: Instant, error: &SessionError, answers_may_follow: bool) {
        self.open = false;
        self.peer = PeerIds::Unknown;
        let waiting: Vec<CallId> = self.calls.keys().copied().collect();
        for call in waiting {
            // A quarantine that overflows may have forgotten it meanwhile.
            match self.calls.get(&call).map(|found| &found.stage) {
                Some(Stage::Queued { .. }) => self.fail_or_park(call, NotSent::NotConnected),
                Some(Stage::Sent { .. }) if error.refused_connect() => self.fail_or_park(call, NotSent::NotConnected),
                Some(Stage::Sent { .. }) if answers_may_follow => {
                    let error = RequestError::Disconnected(error.clone());
                    self.outcomes.push_back(Outcome::Failed { call, error });
                    self.quarantine(now, call);
                }
                Some(Stage::Sent { .. }) => self.fail(call, RequestError::Disconnected(error.clone())),
                Some(Stage::Late) | None => {}
            }
        }
        if !answers_may_follow {
            self.forget_late();
        }
    }

    /// Ends every call.
    pub fn close(&mut self) {
        self.open = false;
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            match self.calls[&call].stage {
                Stage::Queued { .. } => self.fail(call, NotSent::Closed.into()),
                Stage::Sent { .. } => self.fail(call, RequestError::Closed),
                Stage::Late => {}
            }
        }
        self.forget_late();
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// When [`handle_timeout`](InFlight::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(until, _)| *until);
        let window = self.windows.first().map(|(until, _)| *until);
        [deadline, window, self.forgotten_until].into_iter().flatten().min()
    }

    /// How many calls wait for an answer or for their turn.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// How many timed-out and cancelled calls are remembered.
    pub fn quarantined(&self) -> usize {
        self.windows.len()
    }

    /// Whether nothing at all is left: no call, no memory of one, nothing to be done.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.topics.is_empty()
            && self.deadlines.is_empty()
            && self.windows.is_empty()
            && self.outcomes.is_empty()
    }

    /// Whether the peer of this link echoes ids.
    pub fn peer(&self) -> PeerIds {
        self.peer
    }

    /// How many calls were forgotten before their window ended, since this was asked last.
    pub fn take_overflows(&mut self) -> u64 {
        mem::take(&mut self.overflows)
    }

    fn release_all(&mut self) {
        // One for each that is queued, so that all leave in the order of the calls, whatever their topics.
        let queued = self.calls.values().filter(|call| matches!(call.stage, Stage::Queued { .. }));
        let topics: Vec<Topic> = queued.map(|call| call.topic.clone()).collect();
        for topic in topics {
            self.release_first(&topic);
        }
    }

    /// Sends as many of a topic's queued calls as may go now.
    fn release(&mut self, topic: &Topic) {
        while self.release_first(topic) {}
    }

    /// Sends the first of a topic's queued calls, if there is one and it may go now.
    fn release_first(&mut self, topic: &Topic) -> bool {
        let Some(line) = self.topics.get_mut(topic) else { return false };
        let alone = self.peer == PeerIds::Omitted;
        let blocked = !self.open || (alone && self.forgotten_until.is_some());
        if blocked || (alone && !(line.sent.is_empty() && line.late.is_empty())) {
            return false;
        }
        let Some(call) = line.queued.pop_first() else { return false };
        let Some(found) = self.calls.get_mut(&call) else { return true };
        let taken = mem::replace(&mut found.stage, Stage::Late);
        if let Stage::Queued { frame, callers_id, again } = taken {
            found.stage = Stage::Sent { callers_id, again };
            line.sent.insert(call);
            self.outcomes.push_back(Outcome::Send { call, topic: topic.clone(), frame });
        }
        true
    }
}

/// Shows counts. Queued frames carry tokens and are not shown.
impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("waiting", &self.len())
            .field("quarantined", &self.quarantined())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

fn answer_for(call: CallId, stage: Stage) -> Answer {
    match stage {
        Stage::Sent { callers_id, .. } => Answer::For { call, callers_id },
        Stage::Queued { .. } | Stage::Late => Answer::Late,
    }
}
