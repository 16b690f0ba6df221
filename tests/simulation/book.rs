//! The calls of a schedule, and what each of them may come to.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use thingif::frame;
use thingif::proto::{CallId, Instant, LinkId, NotSent, RequestError};

use crate::service::NONCE;

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) nonce: String,
    /// It waits for a link.
    pub(crate) waits: bool,
    /// No frame can be made of it.
    pub(crate) impossible: bool,
    pub(crate) path: String,
    pub(crate) deadline: Instant,
    pub(crate) callers_id: Option<&'static str>,
    pub(crate) callers_authorization: Option<&'static str>,
    /// The link that it was written to.
    pub(crate) published: Option<LinkId>,
    /// The link did not take it, or its broker refused the CONNECT before it.
    pub(crate) not_taken: bool,
    pub(crate) carried_out: u32,
    /// An answer that cannot be read was sent.
    pub(crate) unreadable: bool,
    pub(crate) statuses: Vec<u16>,
    cancelled: bool,
    pub(crate) ended: bool,
}

impl Call {
    pub(crate) fn new(nonce: String, path: String, deadline: Instant) -> Self {
        Self {
            nonce,
            waits: false,
            impossible: false,
            path,
            deadline,
            callers_id: None,
            callers_authorization: None,
            published: None,
            not_taken: false,
            carried_out: 0,
            unreadable: false,
            statuses: Vec::new(),
            cancelled: false,
            ended: false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    calls: BTreeMap<CallId, Call>,
    by_nonce: HashMap<String, CallId>,
    open: usize,
    /// The last call that was written to each topic of the newest link.
    last_written: (Option<LinkId>, HashMap<String, CallId>),
}

impl Book {
    pub(crate) fn enter(&mut self, id: CallId, call: Call) {
        assert!(self.calls.keys().next_back().is_none_or(|last| *last < id), "{id:?} is no new number");
        self.by_nonce.insert(call.nonce.clone(), id);
        self.calls.insert(id, call);
        self.open += 1;
    }

    /// How many calls wait.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn call(&mut self, id: CallId) -> &mut Call {
        self.calls.get_mut(&id).expect("a call that was taken")
    }

    /// Whether it is a caller's: the client makes calls of its own.
    pub(crate) fn has(&self, id: CallId) -> bool {
        self.calls.contains_key(&id)
    }

    pub(crate) fn by_nonce(&mut self, nonce: &str) -> &mut Call {
        let id = self.by_nonce.get(nonce).expect("the nonce of a call that was taken");
        self.calls.get_mut(id).expect("entered")
    }

    pub(crate) fn published(&mut self, id: CallId, link: LinkId) {
        let call = self.call(id);
        assert!(!call.ended && !call.cancelled, "{id:?} is written after its end");
        // One that the last link certainly did not take may go by the next.
        let again = call.waits && call.not_taken && call.published.is_some_and(|before| before < link);
        assert!(call.published.is_none() || again, "{id:?} is written twice");
        call.published = Some(link);
        call.not_taken = false;
        let path = call.path.clone();
        let (newest, last) = &mut self.last_written;
        if newest.replace(link) != Some(link) {
            last.clear();
        }
        let before = last.insert(path, id);
        assert!(before.is_none_or(|before| before < id), "{id:?} is written after {before:?}, on one topic");
    }

    /// The broker refused the CONNECT of this link: it looks at nothing that was written behind it.
    pub(crate) fn refused(&mut self, link: LinkId) {
        for call in self.calls.values_mut().filter(|call| call.published == Some(link)) {
            assert_eq!(call.carried_out, 0, "{} was carried out for who was refused", call.nonce);
            call.not_taken = true;
        }
    }

    /// Whether there is anything to cancel.
    pub(crate) fn cancel(&mut self, id: CallId) -> bool {
        let call = self.call(id);
        let first = !call.ended && !call.cancelled;
        call.cancelled = true;
        self.open -= usize::from(first);
        first
    }

    /// A call's end. `slack` is how late its machine's timers are.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        slack: Duration,
        id: CallId,
        result: &Result<Response<Bytes>, RequestError>,
    ) {
        let call = self.call(id);
        assert!(!call.cancelled, "{id:?} was cancelled and hears something");
        assert!(!call.ended, "{id:?} ends twice");
        call.ended = true;
        assert!(now <= call.deadline + slack, "{id:?} ends {:?} after its deadline", now.since(call.deadline));
        let written = call.published.is_some() && !call.not_taken;
        match result {
            Ok(response) => {
                assert!(written && call.carried_out > 0, "{id:?} is answered and was never carried out");
                let nonce = response.headers().get(NONCE).expect("each answer has one");
                assert_eq!(nonce, call.nonce.as_str(), "{id:?} has another call's answer");
                let status = response.status().as_u16();
                assert!(call.statuses.contains(&status), "{id:?}: {status} was never sent");
                assert!(status != 200 || response.body() == call.nonce.as_bytes(), "{id:?} has another call's body");
                let id_shown = response.headers().get(frame::REQUEST_ID).map(|id| id.to_str().expect("ASCII"));
                assert_eq!(id_shown, call.callers_id, "{id:?}: the caller's own id");
            }
            Err(error) => {
                assert_eq!(error.may_have_been_processed(), written, "{id:?}: {error:?}");
                assert!(written || call.carried_out == 0, "{id:?} was carried out: {error:?}");
                match error {
                    RequestError::TimedOut | RequestError::NotSent(NotSent::DeadlineExceeded) => {
                        assert!(call.deadline <= now, "{id:?}: {error:?} before its deadline");
                    }
                    RequestError::InvalidAnswer(_) => assert!(call.unreadable, "{id:?}: {error:?}"),
                    RequestError::NotSent(NotSent::NotConnected) => assert!(!call.waits, "{id:?} waits for a link"),
                    RequestError::NotSent(
                        NotSent::InvalidPath(_) | NotSent::InvalidFrame(_) | NotSent::TooLarge { .. },
                    ) => assert!(call.impossible && call.waits, "{id:?}: {error:?}"),
                    RequestError::NotSent(NotSent::Link(_)) => assert!(call.not_taken, "{id:?}: {error:?}"),
                    _ => {}
                }
            }
        }
        self.open -= 1;
    }

    /// Everybody has heard his end.
    pub(crate) fn check_closed(&self) {
        for (id, call) in &self.calls {
            assert!(call.ended || call.cancelled, "{id:?} never ended: {call:?}");
        }
        assert_eq!(self.open, 0);
    }
}
