//! How calls leave the table.

use std::collections::hash_map::Entry;

use super::{Call, InFlight, Outcome, Stage};
use crate::proto::{CallId, Instant, NotSent, RequestError};
use crate::topic::Topic;

/// A call that has left.
pub(super) struct Left {
    pub(super) topic: Topic,
    pub(super) stage: Stage,
    /// Whether calls on its topic wait for their turn.
    pub(super) others_wait: bool,
}

impl InFlight {
    /// Takes a call out of everything.
    pub(super) fn leave(&mut self, call: CallId) -> Option<Left> {
        let Call { topic, until, stage } = self.calls.remove(&call)?;
        self.deadlines.remove(&(until, call));
        self.windows.remove(&(until, call));
        let mut others_wait = false;
        if let Entry::Occupied(mut line) = self.topics.entry(topic.clone()) {
            line.get_mut().remove(call);
            others_wait = !line.get().queued.is_empty();
            if line.get().is_empty() {
                line.remove();
            }
        }
        Some(Left { topic, stage, others_wait })
    }

    /// Takes a call out of everything, and lets the next one on its topic go.
    pub(super) fn make_way(&mut self, call: CallId) -> Option<Stage> {
        let Left { topic, stage, others_wait } = self.leave(call)?;
        if others_wait {
            self.release(&topic);
        }
        Some(stage)
    }

    /// Ends a call that was certainly not written: it waits for the next link if it is one that does.
    pub(super) fn fail_or_park(&mut self, call: CallId, reason: NotSent) {
        let Some(deadline) = self.calls.get(&call).map(|found| found.until) else { return };
        let outcome = match self.make_way(call) {
            Some(Stage::Queued { again: Some(request), .. } | Stage::Sent { again: Some(request), .. }) => {
                Outcome::Park { call, deadline, request }
            }
            _ => Outcome::Failed { call, error: reason.into() },
        };
        self.outcomes.push_back(outcome);
    }

    pub(super) fn fail(&mut self, call: CallId, error: RequestError) {
        self.outcomes.push_back(Outcome::Failed { call, error });
        self.make_way(call);
    }

    /// Moves a call that was sent into quarantine, for which there is room then.
    pub(super) fn quarantine(&mut self, now: Instant, call: CallId) {
        if self.windows.len() >= self.limits.quarantine
            && let Some((until, oldest)) = self.windows.first().copied()
        {
            self.forgotten_until = self.forgotten_until.max(Some(until));
            self.overflows += 1;
            self.leave(oldest);
        }
        let Some(found) = self.calls.get_mut(&call) else { return };
        self.deadlines.remove(&(found.until, call));
        found.until = now + self.limits.late_answer_window;
        found.stage = Stage::Late;
        self.windows.insert((found.until, call));
        if let Some(line) = self.topics.get_mut(&found.topic) {
            line.sent.remove(&call);
            line.late.insert(call);
        }
    }

    pub(super) fn forget_late(&mut self) {
        self.forgotten_until = None;
        while let Some(&(_, call)) = self.windows.first() {
            self.leave(call);
        }
    }
}
