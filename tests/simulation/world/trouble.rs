//! What goes wrong at times of its own.

use std::time::Duration;

use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{Event, EventKind, LinkId};
use thingif::topic::Topic;

use super::{Down, Due, Standing, World};
use crate::fault::Fault;
use crate::service::Gone;

impl World {
    pub(super) fn current(&self) -> Option<LinkId> {
        let link = self.watch.link()?;
        self.links.get(&link).filter(|link| link.standing == Standing::Open).map(|_| link)
    }

    pub(super) fn trouble(&mut self, fault: Fault) {
        let current = self.current();
        match (fault, current) {
            (Fault::Cut | Fault::Kick, Some(link)) => self.at(self.now, Due::End(link, LinkErrorKind::Closed)),
            (Fault::Reset, Some(link)) => {
                let kind = if self.rng.bool() { LinkErrorKind::Closed } else { LinkErrorKind::Protocol };
                self.at(self.now, Due::End(link, kind));
            }
            (Fault::HalfOpen, Some(link)) => {
                self.links.get_mut(&link).expect("current").standing = Standing::HalfOpen;
                let noticed = self.plan.config.detect_dead_peer().mul_f64(self.rng.f64());
                self.after(noticed, Due::End(link, LinkErrorKind::KeepAlive));
            }
            (Fault::HalfOpenForEver, Some(link)) => {
                self.links.get_mut(&link).expect("current").standing = Standing::HalfOpen;
            }
            (Fault::BrokerRestart, _) => {
                let down = match self.rng.u8(..3) {
                    0 => Down::Refuses,
                    1 => Down::Silent,
                    _ => Down::Unavailable,
                };
                self.down = Some((self.now + Duration::from_millis(self.rng.u64(100..40_000)), down));
                if let Some(link) = self.watch.link() {
                    self.at(self.now, Due::End(link, LinkErrorKind::Closed));
                }
            }
            (Fault::DuplicateDevice, _) => {
                self.rival_until = self.now + Duration::from_millis(self.rng.u64(1000..60_000));
                if let Some(link) = current {
                    self.at(self.now, Due::End(link, LinkErrorKind::Closed));
                }
            }
            (Fault::CredentialRevoked, _) => {
                let reason =
                    if self.rng.bool() { RefusedReason::BadUserNameOrPassword } else { RefusedReason::NotAuthorised };
                let generation = self.in_use();
                self.service.revoke(generation, reason);
                if let Some(link) = current.filter(|_| self.rng.bool()) {
                    self.at(self.now, Due::End(link, LinkErrorKind::Closed));
                }
            }
            (Fault::TokenRevoked, _) => {
                let status = if self.rng.bool() { 401 } else { 403 };
                let generation = self.in_use();
                self.service.revoke_token(generation, status);
            }
            (Fault::ThingDeleted, _) => {
                self.delete_thing();
                if let Some(link) = current {
                    self.at(self.now, Due::End(link, LinkErrorKind::Closed));
                }
            }
            (Fault::ThingDeletedUnderALink, _) => self.delete_thing(),
            (Fault::EndpointMoved, _) => {
                self.service.move_away();
                if let Some(link) = current {
                    self.at(self.now, Due::End(link, LinkErrorKind::Closed));
                }
            }
            (Fault::ForeignMessage, Some(link)) => {
                let topic = Topic::new("somebody/else").expect("valid");
                let kind = EventKind::Received(Publish::new(topic, "{}"));
                self.at(self.now, Due::ToDevice(Event { link, kind }));
            }
            (Fault::Push, Some(link)) => {
                let Some(generation) = self.links[&link].generation else { return };
                let topic = Topic::new(self.service.client_id(generation).as_str()).expect("valid");
                let kind = EventKind::Received(Publish::new(topic, r#"{"commandID":"c"}"#));
                self.at(self.now, Due::ToDevice(Event { link, kind }));
            }
            (Fault::StaleEvent, _) => {
                let last = self.watch.link();
                let Some(event) = self.messages.pop().filter(|event| Some(event.link) != last) else { return };
                self.at(self.now, Due::Stale(event));
            }
            (Fault::EarlyTimer, _) => {
                let due = self.lifecycle.next_deadline().is_some_and(|deadline| deadline <= self.now);
                if due {
                    return;
                }
                self.count_input();
                let before = self.lifecycle.next_deadline();
                self.lifecycle.handle_timeout(self.now);
                assert!(self.lifecycle.poll_action().is_none(), "a timer that is early does something");
                assert_eq!(self.lifecycle.next_deadline(), before);
            }
            _ => return,
        }
        self.saw(fault);
    }

    fn delete_thing(&mut self) {
        let says = [Gone::Unauthorized, Gone::TargetNotFound, Gone::ThingNotFound, Gone::Status410];
        self.service.delete_thing(says[self.rng.usize(..says.len())]);
    }

    /// The credential that the device uses, or the last one that was handed out.
    pub(super) fn in_use(&self) -> usize {
        self.watch.username().map_or_else(|| self.service.newest(), |username| self.service.generation(username))
    }
}
