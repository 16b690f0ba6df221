//! The device and its callers: what is fed to it, and what it wants done.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use thingif::frame;
use thingif::proto::{Action, CallId, Event, EventKind, IfDown, NotSent, Notice, RequestError};

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
        self.watch.event(event.link, &event.kind);
        self.tell(|| format!("> {event:?}"));
        self.lifecycle.handle_event(self.now, event);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.lifecycle.poll_action() {
            self.tell(|| format!("< {action:?}"));
            self.watch.action(self.now, &action);
            match action {
                Action::Connect { link, endpoint, credentials } => self.connect(link, &endpoint, &credentials),
                Action::Subscribe { link, filter } => {
                    let when = self.arrival(link, Direction::ToBroker);
                    self.at(when, Due::Subscribe(link, filter));
                }
                Action::Publish { link, call, publish } => self.publish(link, call, publish),
                Action::Disconnect { link } | Action::Abort { link } => self.left(link),
                Action::Resolve { call, result } => self.resolved(call, &result),
                Action::Store { link, .. } => {
                    let kind = EventKind::Stored(Ok(()));
                    self.at(self.now, Due::ToDevice(Event { link, kind }));
                }
                Action::Notice(notice) => self.noticed(&notice),
                Action::Push(_) | Action::Closed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let open = self.book.open();
        assert!(open <= self.plan.config.max_in_flight(), "{open} calls in flight");
        assert_eq!(self.lifecycle.is_ready(), self.watch.ready, "is_ready disagrees with the notices");
        if let Some(event) = self.not_taken.pop() {
            if self.watch.link() == Some(event.link) {
                if let EventKind::NotSent { call: Some(call), .. } = event.kind {
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
        match result {
            Ok(_) => self.tally.answered += 1,
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
    }

    pub(super) fn submit(&mut self, wish: Wish) {
        if self.watch.closed.is_some() {
            return;
        }
        self.count_input();
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        let name = PATHS[self.rng.usize(..PATHS.len())];
        let mut request = device::call(name, &nonce);
        let path = request.uri().path().to_owned();
        let mut ttl = self.plan.config.call_deadline();
        let mut call = Call::new(nonce, path, self.now + ttl);
        let mut impossible = false;
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
                impossible = true;
                self.make_impossible(&mut request);
            }
        }
        call.deadline = self.now + ttl;
        self.tell(|| format!("> submit {} {} within {ttl:?}", call.nonce, call.path));
        let open = self.book.open();
        let was_connected = self.watch.is_connected();
        let taken = self.lifecycle.submit(self.now, request, call.deadline, IfDown::Fail);
        match &taken {
            Ok(id) => {
                assert!(!impossible, "an impossible request was taken");
                assert!(was_connected, "taken without a connection");
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
                    NotSent::NotConnected => assert!(!was_connected, "connected, it says it is not"),
                    NotSent::Overloaded => assert!(open >= self.plan.config.max_in_flight(), "{open} is not too many"),
                    NotSent::DeadlineExceeded => assert_eq!(ttl, Duration::ZERO),
                    NotSent::InvalidPath(_) | NotSent::InvalidFrame(_) | NotSent::TooLarge { .. } => {
                        assert!(impossible, "{reason:?}");
                    }
                    other => panic!("{other:?} on the spot"),
                }
                self.tell(|| format!("  {error:?}"));
            }
        }
        self.drain();
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
            self.lifecycle.close(self.now);
            self.drain();
        }
    }
}
