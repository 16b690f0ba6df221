//! What arrives: pushes, and answers on their way to the calls that wait for them.

use bytes::Bytes;
use http::{HeaderValue, Response};

use super::Session;
use crate::frame::{self, REQUEST_ID};
use crate::mqtt::Publish;
use crate::proto::doubt::Verdict;
use crate::proto::{Action, Answer, CallId, IfDown, Instant, Notice, PeerIds, RequestError, call};
use crate::topic::{Route, Topic};

impl Session {
    pub(super) fn receive(&mut self, now: Instant, publish: Publish) {
        self.silence.broken(now);
        match publish.topic.route(&self.own) {
            Route::Push if self.rules.pushes => self.actions.push_back(Action::Push(publish.payload)),
            Route::Push => self.counters.unwanted_pushes += 1,
            Route::Foreign => self.counters.foreign_messages += 1,
            Route::Response if frame::is_request(&publish.payload) => self.counters.own_echoes += 1,
            Route::Response => self.answer(now, publish),
        }
    }

    fn answer(&mut self, now: Instant, Publish { topic, payload, .. }: Publish) {
        let peer_before = self.in_flight.peer();
        match frame::decode_response(payload.clone()) {
            Ok(mut response) => {
                let id = response.headers().get(REQUEST_ID).cloned();
                let answer = self.in_flight.answer(&topic, id.as_ref().map(HeaderValue::as_bytes));
                self.count(&answer, &topic);
                if let Answer::For { call, callers_id } = answer {
                    call::restore_request_id(&mut response, callers_id);
                    self.answered(now, call, &topic, response);
                }
            }
            Err(error) => {
                self.counters.unreadable_answers += 1;
                let id = frame::request_id(&payload);
                let answer = id.map(|id| self.in_flight.answer(&topic, Some(id.as_bytes())));
                if let Some(Answer::For { call, .. }) = answer {
                    self.failed(now, call, RequestError::InvalidAnswer(error));
                } else {
                    self.actions.push_back(Action::Notice(Notice::UnreadableAnswer { topic }));
                }
            }
        }
        let link = self.link;
        match (peer_before, self.in_flight.peer()) {
            (PeerIds::Unknown, PeerIds::Omitted) => {
                self.actions.push_back(Action::Notice(Notice::PeerOmitsRequestIds { link }));
            }
            (PeerIds::Omitted, PeerIds::Echoed) => {
                self.actions.push_back(Action::Notice(Notice::PeerEchoesRequestIds { link }));
            }
            _ => {}
        }
    }

    /// Hands an answer out, or takes it for the client's own.
    fn answered(&mut self, now: Instant, call: CallId, topic: &Topic, response: Response<Bytes>) {
        if self.doubt.is_own(call) {
            return match self.doubt.answered(now, Some(&response)) {
                Verdict::Over(error) => self.leave(now, error),
                Verdict::Confirmed => {
                    self.actions.push_back(Action::Notice(Notice::CredentialConfirmed { link: self.link }));
                }
                Verdict::Unknown => {}
            };
        }
        let status = response.status();
        let doubtful = !self.foreign.remove(&call) && self.doubt.arises(now, topic, &response);
        self.actions.push_back(Action::Resolve { call, result: Ok(response) });
        if doubtful && self.takes_calls() {
            let question = self.in_flight.reserve();
            // The table may be full: this one call goes beyond.
            let asked = self.enter(question, self.doubt.request(), now + self.rules.patience, IfDown::Fail);
            if asked.is_ok() {
                self.doubt.asked(question);
                self.actions.push_back(Action::Notice(Notice::CredentialDoubted { link: self.link, status }));
            }
        }
    }

    /// Tells the caller that there is no answer, or takes it for the client's own call.
    pub(super) fn failed(&mut self, now: Instant, call: CallId, error: RequestError) {
        if error == RequestError::TimedOut {
            self.silence.unanswered();
        }
        if self.doubt.is_own(call) {
            self.doubt.answered(now, None);
            return;
        }
        self.foreign.remove(&call);
        self.actions.push_back(Action::Resolve { call, result: Err(error) });
    }

    fn count(&mut self, answer: &Answer, topic: &Topic) {
        match answer {
            Answer::For { .. } => {}
            Answer::Late => self.counters.late_answers += 1,
            Answer::UnknownId => self.counters.unknown_ids += 1,
            Answer::Unasked => self.counters.unasked_answers += 1,
            Answer::Ambiguous => {
                self.counters.ambiguous_answers += 1;
                self.actions.push_back(Action::Notice(Notice::AmbiguousAnswer { topic: topic.clone() }));
            }
        }
    }
}
