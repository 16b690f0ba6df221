//! The device and its callers: what is fed to it, and what it wants done.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use thingif::frame;
use thingif::mqtt::LinkErrorKind;
use thingif::proto::{Action, CallId, Event, EventKind, IfDown, LinkId, NotSent, Notice, RequestError};

use super::network::Direction;
use super::{Due, PATHS, Wish, World};
use crate::book::Call;
use crate::device;
use crate::fault::Fault;
use crate::tally::Kind;

/// Ids that programs choose themselves. (`wire` §2.4)
const OWN_IDS: [&str; 3] = ["registerState", "asdf1234", "1479201234567"];

impl World {
    pub(super) fn feed(&mut self, event: Event) {
        self.count_input();
        if let EventKind::Lost(error) = &event.kind
            && matches!(error.kind(), LinkErrorKind::Refused(_))
        {
            self.book.refused(event.link);
        }
        self.watch.event(self.now, event.link, &event.kind);
        self.tell(|| format!("> {event:?}"));
        self.lifecycle.handle_event(self.now, event);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.lifecycle.poll_action() {
            self.tell(|| format!("< {action:?}"));
            self.watch.action(self.now, &action);
            match action {
                Action::Connect { link, endpoint, credentials, pipeline } => {
                    self.connect(link, &endpoint, &credentials, pipeline);
                }
                Action::Subscribe { link, filter } => {
                    let when = self.arrival(link, Direction::ToBroker);
                    self.at(when, Due::Subscribe(link, filter));
                }
                Action::Publish { link, call, publish } => self.publish(link, call, publish),
                Action::Disconnect { link } | Action::Abort { link } => self.left(link),
                Action::Resolve { call, result } => self.resolved(call, &result),
                Action::Store { link, .. } => self.store(link),
                Action::Notice(notice) => self.noticed(&notice),
                Action::Push(_) | Action::Closed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let open = self.book.open();
        assert!(open <= self.plan.config.max_in_flight(), "{open} calls in flight");
        assert!(self.watch.ready || !self.lifecycle.is_ready(), "ready without a notice");
        if let Some(event) = self.not_taken.pop() {
            if self.watch.link() == Some(event.link) {
                if let EventKind::NotSent { call: Some(call), .. } = event.kind
                    && self.book.has(call)
                {
                    self.book.call(call).not_taken = true;
                }
                self.feed(event);
            } else {
                self.drain();
            }
        }
    }

    pub(super) fn resolved(&mut self, call: CallId, result: &Result<Response<Bytes>, RequestError>) {
        self.book.resolve(self.now, self.plan.lateness, call, result);
        self.last_resolved = Some(call);
        match result {
            Ok(response) => {
                self.tally.answered += 1;
                self.accepted += u64::from(response.status().is_success());
            }
            Err(error) => self.saw_error(error),
        }
    }

    pub(super) fn saw_error(&mut self, error: &RequestError) {
        self.tally.saw(Kind::RequestError, error);
        if let RequestError::NotSent(reason) = error {
            self.tally.saw(Kind::NotSent, reason);
        }
    }

    pub(super) fn noticed(&mut self, notice: &Notice) {
        self.tally.saw(Kind::Notice, notice);
        if let Notice::CredentialDoubted { .. } = notice {
            let call = self.last_resolved.map(|call| self.book.call(call)).expect("an answer is the reason");
            assert_eq!(call.callers_authorization, None, "the caller's own token says nothing about the session's");
        }
        if let Notice::Waiting { cause, .. } | Notice::Lost { cause, .. } | Notice::GaveUp { cause } = notice
            && let Some(cause) = cause.cause()
        {
            self.tally.saw_named(Kind::Cause, cause.to_string());
        }
    }

    pub(super) fn submit(&mut self, wish: Wish) {
        if self.watch.closed.is_some() {
            return;
        }
        self.count_input();
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        let thing = self.lifecycle.credential().map_or("th.0".to_owned(), |held| held.thing_id.to_string());
        let name = format!("targets/thing:{thing}/{}", PATHS[self.rng.usize(..PATHS.len())]);
        let mut request = device::call(&name, &nonce);
        let path = request.uri().path().to_owned();
        let mut ttl = self.plan.config.call_deadline();
        let mut call = Call::new(nonce, path, self.now + ttl);
        if wish == Wish::Drawn {
            if self.happens(Fault::ShortDeadline) {
                ttl = Duration::from_millis(self.rng.u64(..400));
            }
            if self.happens(Fault::OwnRequestId) {
                let own = OWN_IDS[self.rng.usize(..OWN_IDS.len())];
                call.callers_id = Some(own);
                request.headers_mut().insert(frame::REQUEST_ID, HeaderValue::from_static(own));
            }
            if self.happens(Fault::OwnAuthorization) {
                let wrong = self.happens(Fault::WrongAuthorization);
                let own = if wrong { "Bearer somebody else's wrong" } else { "Bearer somebody else's" };
                call.callers_authorization = Some(own);
                request.headers_mut().insert("authorization", HeaderValue::from_static(own));
            }
            if self.happens(Fault::ImpossibleRequest) {
                call.impossible = true;
                self.make_impossible(&mut request);
            }
            call.waits = self.happens(Fault::WaitForLink);
        }
        // What a program calls before its connection was ever ready waits for it.
        call.waits |= self.plan.starts_early && !self.watch.ever_ready;
        call.deadline = self.now + ttl;
        self.tell(|| format!("> submit {} {} within {ttl:?}", call.nonce, call.path));
        let open = self.book.open();
        let was_connected = self.watch.takes_calls();
        let takes_calls = was_connected && !self.endpoint_may_expire() && !self.is_dying();
        let if_down = if call.waits { IfDown::Wait } else { IfDown::Fail };
        let taken = self.lifecycle.submit(self.now, request, call.deadline, if_down);
        match &taken {
            Ok(id) => {
                let looked_at = takes_calls || !call.waits;
                assert!(!(call.impossible && looked_at), "an impossible request was taken");
                assert!(was_connected || call.waits, "taken without a connection");
                let (id, cancel) = (*id, wish == Wish::Drawn && self.happens(Fault::Cancel));
                self.book.enter(id, call);
                if cancel {
                    let later = Duration::from_millis(self.rng.u64(..3000));
                    self.after(later, Due::Cancel(id));
                }
            }
            Err(error) => {
                self.saw_error(error);
                let RequestError::NotSent(reason) = error else { panic!("{error:?} on the spot") };
                match reason {
                    NotSent::NotConnected => {
                        assert!(!call.waits, "it was to wait");
                        assert!(!takes_calls, "connected, it says it is not");
                    }
                    // The client may have a question of its own under way.
                    NotSent::Overloaded => {
                        assert!(open + 1 >= self.plan.config.max_in_flight(), "{open} is not too many")
                    }
                    NotSent::DeadlineExceeded => assert_eq!(ttl, Duration::ZERO),
                    NotSent::InvalidPath(_) | NotSent::InvalidFrame(_) | NotSent::TooLarge { .. } => {
                        assert!(call.impossible, "{reason:?}");
                    }
                    other => panic!("{other:?} on the spot"),
                }
                self.tell(|| format!("  {error:?}"));
            }
        }
        self.drain();
    }

    /// An endpoint whose time is over is drained, and takes no more calls.
    fn endpoint_may_expire(&self) -> bool {
        self.watch.username().is_some_and(|username| self.service.expires(self.service.generation(username)))
    }

    fn is_dying(&self) -> bool {
        self.dying.is_some() && self.dying == self.watch.link()
    }

    pub(super) fn submit_late(&mut self) -> Result<CallId, RequestError> {
        let request = device::call("states", "late");
        self.lifecycle.submit(self.now, request, self.now + Duration::from_secs(1), IfDown::Wait)
    }

    /// The store does what it was asked, or not.
    fn store(&mut self, link: LinkId) {
        if self.happens(Fault::StoreNever) {
            return;
        }
        let late = self.happens(Fault::StoreLate);
        let most = if late { 2 * self.plan.config.connect_timeout() } else { Duration::from_millis(50) };
        let result = if self.happens(Fault::StoreFails) { Err("the disk is full".to_owned()) } else { Ok(()) };
        let later = most.mul_f64(self.rng.f64());
        self.after(later, Due::Stored(Event { link, kind: EventKind::Stored(result) }));
    }

    pub(super) fn make_impossible(&mut self, request: &mut Request<Bytes>) {
        match self.rng.u8(..3) {
            0 => *request.uri_mut() = http::Uri::from_static("*"),
            1 => *request.method_mut() = Method::from_bytes(b"200").expect("a token"),
            _ => *request.body_mut() = Bytes::from_static(&[b'x'; 600]),
        }
    }

    pub(super) fn cancel(&mut self, call: CallId) {
        if self.watch.closed.is_none() && self.book.cancel(call) {
            self.count_input();
            self.tell(|| format!("> cancel {call:?}"));
            self.lifecycle.cancel(self.now, call);
            self.drain();
        }
    }

    pub(super) fn close(&mut self) {
        if self.watch.closed.is_none() {
            self.count_input();
            self.tell(|| "> close".to_owned());
            self.was_closed = true;
            self.watch.closing = true;
            self.lifecycle.close(self.now);
            self.drain();
        }
    }
}
