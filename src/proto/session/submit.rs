//! Calls on their way in.

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;

use super::Session;
use crate::proto::{CallId, IfDown, Instant, NotSent, RequestError, call};

impl Session {
    /// Takes a call that must be answered by `deadline`.
    ///
    /// # Errors
    /// [`RequestError::NotSent`] says why it was not taken; nothing follows then. A call that was taken ends with one
    /// [`Action::Resolve`](crate::proto::Action::Resolve), unless it is cancelled.
    pub fn submit(&mut self, now: Instant, request: Request<Bytes>, deadline: Instant) -> Result<CallId, RequestError> {
        if !self.takes_calls() {
            return Err(NotSent::NotConnected.into());
        }
        if self.in_flight.is_full() {
            return Err(NotSent::Overloaded.into());
        }
        let call = self.in_flight.reserve();
        self.take(now, call, request, deadline, IfDown::Fail)?;
        Ok(call)
    }

    /// As [`submit`](Session::submit), for a call that has a number and its place.
    pub(in crate::proto) fn take(
        &mut self,
        now: Instant,
        call: CallId,
        request: Request<Bytes>,
        deadline: Instant,
        if_down: IfDown,
    ) -> Result<(), NotSent> {
        if deadline <= now {
            return Err(NotSent::DeadlineExceeded);
        }
        self.enter(call, request, deadline, if_down)?;
        self.flush(now);
        Ok(())
    }

    pub(super) fn enter(
        &mut self,
        call: CallId,
        mut request: Request<Bytes>,
        deadline: Instant,
        if_down: IfDown,
    ) -> Result<(), NotSent> {
        let topic = call::topic(&self.own, &request)?;
        let again = (if_down == IfDown::Wait).then(|| Box::new(request.clone()));
        let callers_id = call::take_request_id(request.headers_mut());
        let foreign = request.headers().contains_key(AUTHORIZATION);
        let (authorization, max_frame) = (&self.authorization, self.rules.max_frame);
        let frame = |id| call::frame(request, id, authorization, max_frame);
        self.in_flight.enter(call, topic, deadline, callers_id, again, frame)?;
        if foreign {
            self.foreign.insert(call);
        }
        Ok(())
    }
}
