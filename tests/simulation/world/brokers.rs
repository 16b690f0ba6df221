//! The brokers and the service behind them: what becomes of a request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use thingif::frame;
use thingif::ids::ClientId;
use thingif::mqtt::{LinkErrorKind, Publish};
use thingif::proto::{Event, EventKind, LinkId};
use thingif::thing_if::ErrorCode;
use thingif::topic::Topic;

use super::network::Direction;
use super::{Due, PATHS, Standing, World};
use crate::book::Call;
use crate::device;
use crate::fault::Fault;
use crate::plan::Ids;
use crate::service::{self, Gone, Verdict};

impl World {
    pub(super) fn arrive(&mut self, link: LinkId, publish: Publish) {
        let Some(from) = self.links.get(&link).filter(|link| link.standing != Standing::HalfOpen) else { return };
        if !from.admitted {
            return; // [MQTT-3.1.4-5]
        }
        match from.generation {
            None => self.onboard(link, &publish),
            Some(generation) => self.serve(link, generation, &publish),
        }
    }

    pub(super) fn onboard(&mut self, link: LinkId, publish: &Publish) {
        assert!(publish.topic.path_of_call(&ClientId::anonymous()).is_some(), "{}", publish.topic);
        if self.happens(Fault::OnboardingLost) {
            return;
        }
        let request = frame::decode_request(&publish.topic, publish.payload.clone()).expect("a request frame");
        let id = request.headers().get(frame::REQUEST_ID).cloned();
        let response = match () {
            () if self.happens(Fault::OnboardingRefusedForGood) => {
                service::answer(401, "-", Some(ErrorCode::WrongPassword))
            }
            () if self.happens(Fault::OnboardingBusy) => service::answer(503, "-", None),
            () if self.happens(Fault::OnboardingTooMany) => service::answer(429, "-", None),
            () if self.happens(Fault::OnboardingIncomplete) => {
                Response::new(Bytes::from_static(b"{\"thingID\":\"th.1\"}"))
            }
            () => {
                let ttl = self.happens(Fault::EndpointExpires).then(|| Duration::from_secs(self.rng.u64(20..200)));
                let body = self.service.onboard(self.now, ttl);
                let unusable = self.happens(Fault::OnboardingWithoutScheme);
                let body = if unusable { body.replace("portTCP", "portSSL") } else { body };
                Response::new(Bytes::from(body))
            }
        };
        let mut answer = device::answer(publish, &service::with_id(response, id.as_ref()));
        if self.happens(Fault::OnboardingUnreadable) {
            answer.payload = Bytes::from_static(b"what?");
        }
        if self.happens(Fault::OnboardingCut) {
            self.at(self.now, Due::End(link, LinkErrorKind::Closed));
        }
        let late = self.happens(Fault::OnboardingLate);
        let copies = if self.happens(Fault::OnboardingTwice) { 2 } else { 1 };
        for _ in 0..copies {
            let event = Event { link, kind: EventKind::Received(answer.clone()) };
            if late {
                let later = 2 * self.plan.config.call_deadline().mul_f64(self.rng.f64());
                self.after(later, Due::ToDevice(event));
            } else {
                self.travel(link, Direction::ToDevice, || Due::ToDevice(event.clone()));
            }
        }
    }

    pub(super) fn serve(&mut self, link: LinkId, generation: usize, publish: &Publish) {
        let client = self.service.client_id(generation);
        assert!(publish.topic.path_of_call(&client).is_some(), "{} at {client}", publish.topic);
        if self.happens(Fault::CutBeforeServing) {
            self.at(self.now, Due::End(link, LinkErrorKind::Closed));
            return;
        }
        if self.plan.ordinary {
            let copy = publish.clone();
            self.travel(link, Direction::ToDevice, || Due::ToSubscriber(copy.clone()));
        }
        let request = frame::decode_request(&publish.topic, publish.payload.clone()).expect("a request frame");
        let id = request.headers().get(frame::REQUEST_ID).cloned().expect("every call has an id");
        let authorization = request.headers()["authorization"].to_str().expect("ASCII").to_owned();
        let nonce = String::from_utf8(request.body().to_vec()).expect("ASCII");
        let verdict = self.service.judge(&authorization);
        let first = self.service.note_id(&id);
        let own = self.judge_call(&request, generation, &nonce, &authorization);
        if let Some(call) = own {
            assert!(first || call.carried_out > 0, "two frames with one id");
            call.carried_out += 1;
        }
        if self.happens(Fault::CutAfterServing) {
            self.at(self.now, Due::End(link, LinkErrorKind::Closed));
        }
        self.respond(link, publish, &id, &nonce, verdict);
    }

    /// The call whose request this is; `None` for one that the session makes on its own.
    pub(super) fn judge_call(
        &mut self,
        request: &Request<Bytes>,
        generation: usize,
        nonce: &str,
        authorization: &str,
    ) -> Option<&mut Call> {
        let own_token = format!("Bearer token-{generation}");
        if nonce.is_empty() {
            assert_eq!(*request.method(), Method::GET, "the session's own calls only ask");
            assert_eq!(authorization, own_token);
            return None;
        }
        let call = self.book.by_nonce(nonce);
        assert_eq!(authorization, call.callers_authorization.unwrap_or(&own_token), "{nonce}");
        assert_eq!(request.uri().path(), call.path, "{nonce}");
        assert!(!call.not_taken, "{nonce} was not taken and arrives");
        Some(call)
    }

    pub(super) fn respond(&mut self, link: LinkId, publish: &Publish, id: &HeaderValue, nonce: &str, verdict: Verdict) {
        if self.happens(Fault::AnswerNever) {
            return;
        }
        let own = nonce.is_empty();
        let shown = if own { "own" } else { nonce };
        let response = match verdict {
            Verdict::Revoked(401) => service::answer(401, shown, Some(ErrorCode::Unauthorized)),
            Verdict::Revoked(_) => service::answer(403, shown, Some(ErrorCode::WrongToken)),
            Verdict::Gone(Gone::Unauthorized) => service::answer(401, shown, Some(ErrorCode::Unauthorized)),
            Verdict::Gone(Gone::TargetNotFound) => service::answer(404, shown, Some(ErrorCode::TargetNotFound)),
            Verdict::Gone(Gone::ThingNotFound) => service::answer(404, shown, Some(ErrorCode::ThingNotFound)),
            Verdict::Gone(Gone::Status410) => service::answer(410, shown, None),
            Verdict::Foreign if self.happens(Fault::WrongAuthorization) => {
                service::answer(401, shown, Some(ErrorCode::Unauthorized))
            }
            Verdict::Good | Verdict::Foreign => match () {
                () if self.happens(Fault::Answer401) => service::answer(401, shown, Some(ErrorCode::Unauthorized)),
                () if self.happens(Fault::Answer403) => service::answer(403, shown, Some(ErrorCode::WrongToken)),
                () if self.happens(Fault::Answer403ForReasonsOfItsOwn) => {
                    service::answer(403, shown, Some(ErrorCode::OperationNotSupported))
                }
                () if self.happens(Fault::AnswerTargetGone) => {
                    service::answer(404, shown, Some(ErrorCode::TargetNotFound))
                }
                () if self.happens(Fault::Answer404) => service::answer(404, shown, Some(ErrorCode::CommandNotFound)),
                () if self.happens(Fault::Answer429) => service::answer(429, shown, None),
                () if self.happens(Fault::Answer503) => service::answer(503, shown, None),
                () => service::answer(200, shown, None),
            },
        };
        let status = response.status().as_u16();
        let omitted = match self.plan.ids {
            Ids::Echoed => self.happens(Fault::AnswerWithoutId),
            Ids::Omitted => true,
            Ids::NowAndThen => self.rng.bool(),
        };
        let response = if omitted { response } else { service::with_id(response, Some(id)) };
        let mut answer = device::answer(publish, &response);
        let mut readable = true;
        if !omitted {
            if self.happens(Fault::AnswerWrongTopic) {
                answer.topic = self.other_topic(&answer.topic);
                readable = false;
            } else if self.happens(Fault::AnswerForeignId) {
                let foreign = service::with_id(response.clone(), Some(&HeaderValue::from_static("somebody's-7")));
                answer = device::answer(publish, &foreign);
                readable = false;
            } else if self.happens(Fault::AnswerUnreadable) {
                let id = id.to_str().expect("ASCII");
                answer.payload = Bytes::from(format!("2x0\r\nX-Kii-RequestID: {id}\r\n\r\n"));
                readable = false;
                if !own {
                    self.book.by_nonce(nonce).unreadable = true;
                }
            }
        } else if self.happens(Fault::AnswerUnreadableWithoutId) {
            answer.payload = Bytes::from_static(b"2x0\r\n\r\n");
            readable = false;
        }
        if readable && !own {
            self.book.by_nonce(nonce).statuses.push(status);
        }
        let late = self.happens(Fault::AnswerLate);
        let copies = if self.happens(Fault::AnswerTwice) { 2 } else { 1 };
        for _ in 0..copies {
            let message = || match self.plan.ordinary {
                true => Due::ToSubscriber(answer.clone()),
                false => Due::ToDevice(Event { link, kind: EventKind::Received(answer.clone()) }),
            };
            if late {
                // After most deadlines, and still within the window of those that had passed.
                let later = Duration::from_millis(self.rng.u64(100..4500));
                let message = message();
                self.after(later, message);
            } else {
                let message = message();
                let again = move || match &message {
                    Due::ToSubscriber(publish) => Due::ToSubscriber(publish.clone()),
                    Due::ToDevice(event) => Due::ToDevice(event.clone()),
                    _ => unreachable!("an answer"),
                };
                self.travel(link, Direction::ToDevice, again);
            }
        }
    }

    /// The topic of another path of the same device.
    pub(super) fn other_topic(&mut self, topic: &Topic) -> Topic {
        let other = PATHS.iter().find(|path| !topic.as_str().ends_with(**path)).expect("there are three");
        let (rest, _) = topic.as_str().rsplit_once('/').expect("a path");
        Topic::new(&format!("{rest}/{other}")).expect("valid")
    }
}
