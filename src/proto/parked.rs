//! Calls that wait for a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use http::Request;

use super::{CallId, Instant};

/// Calls that wait for a connection, in the order in which they were made. They leave by being taken out, at their
/// deadline or before.
#[derive(Default)]
pub(super) struct Parked {
    calls: BTreeMap<CallId, (Instant, Box<Request<Bytes>>)>,
    deadlines: BTreeSet<(Instant, CallId)>,
}

impl Parked {
    pub(super) fn insert(&mut self, call: CallId, deadline: Instant, request: Box<Request<Bytes>>) {
        self.deadlines.insert((deadline, call));
        self.calls.insert(call, (deadline, request));
    }

    /// Takes `call` out, if it is there.
    pub(super) fn remove(&mut self, call: CallId) {
        if let Some((deadline, _)) = self.calls.remove(&call) {
            self.deadlines.remove(&(deadline, call));
        }
    }

    /// Takes out a call whose time is over at `now`.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<CallId> {
        let &(_, call) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(call);
        Some(call)
    }

    /// Takes out the oldest.
    pub(super) fn take_first(&mut self) -> Option<(CallId, Instant, Box<Request<Bytes>>)> {
        let (call, (deadline, request)) = self.calls.pop_first()?;
        self.deadlines.remove(&(deadline, call));
        Some((call, deadline, request))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// Shows the number: requests may carry credentials.
impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parked({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn whatever_leaves_leaves_the_deadlines_too() {
        let mut parked = Parked::default();
        for (number, deadline) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
            parked.insert(CallId::new(number), at(deadline), Box::default());
        }
        assert_eq!(parked.next_deadline(), Some(at(10)));
        assert_eq!(parked.take_overdue(at(9)), None);
        assert_eq!(parked.take_overdue(at(10)), Some(CallId::new(2)));
        assert_eq!(parked.take_first().map(|(call, ..)| call), Some(CallId::new(1)));
        parked.remove(CallId::new(3));
        parked.remove(CallId::new(3));
        assert_eq!((parked.len(), parked.next_deadline()), (1, Some(at(40))));
        assert_eq!(parked.take_overdue(at(99)), Some(CallId::new(4)));
        assert!(parked.is_empty() && parked.next_deadline().is_none());
    }
}
