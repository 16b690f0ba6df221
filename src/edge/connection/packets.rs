//! What each packet of a client does.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderValue, Response};
use tokio::time::Instant;

use super::{Connection, publish, write};
use crate::edge::answer;
use crate::edge::ending::Ending;
use crate::edge::execute::{Backend, run_lane};
use crate::edge::intake::{self, Verdict};
use crate::edge::lanes::{Enqueued, Job, LaneKey, OpenLane, Queued};
use crate::edge::wire::Wire;
use crate::mqtt::Qos;
use crate::mqtt::packet::{Oversize, Packet, PacketId, Protocol};
use crate::topic::{Topic, TopicFilter};

impl<W: Wire, S: Backend> Connection<W, S> {
    pub(super) fn handle(&mut self, packet: Packet) -> Result<(), Ending> {
        match packet {
            Packet::Publish(publish) => {
                if publish.retain {
                    self.live.registry.counters().ignored.add();
                }
                if self.acknowledge(publish.qos, publish.id)? {
                    let taps = self.live.registry.taps();
                    taps.show(true, &self.peer.client_id, &publish.topic, &publish.payload);
                    let verdict = intake::judge(
                        &self.peer,
                        self.live.config.paths,
                        publish.topic.clone(),
                        publish.payload,
                        self.live.registry.counters(),
                    );
                    self.obey(verdict, &publish.topic);
                }
            }
            Packet::PubRel(id) => {
                self.unreleased.remove(&id);
                self.write(&Packet::PubComp(id));
            }
            Packet::Subscribe { id, filters } => self.subscribe(id, &filters),
            Packet::Unsubscribe { id, filters } => self.unsubscribe(id, &filters),
            Packet::PingReq => self.write(&Packet::PingResp),
            Packet::Disconnect => return Err(Ending::Disconnect),
            // Nothing that this server sends asks for one of these.
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => self.live.registry.counters().ignored.add(),
            Packet::Connect(_)
            | Packet::ConnAck { .. }
            | Packet::SubAck { .. }
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Ending::ServerPacket),
        }
        Ok(())
    }

    pub(super) fn oversize(&mut self, oversize: &Oversize) -> Result<(), Ending> {
        if self.acknowledge(oversize.qos, oversize.id)? {
            let (max, counters) = (self.live.config.max_frame, self.live.registry.counters());
            let verdict =
                intake::judge_oversize(&self.peer, &oversize.topic, &oversize.first, oversize.len, max, counters);
            self.obey(verdict, &oversize.topic);
        }
        Ok(())
    }

    /// Acknowledges a PUBLISH; `false` for one that was there before.
    ///
    /// PUBACK and PUBREC say that the request was taken, not that it was executed: that is what the answer says. They
    /// are not kept until then, because clients bound what they have unacknowledged, and a slow request would hold up
    /// all others.
    fn acknowledge(&mut self, qos: Qos, id: Option<PacketId>) -> Result<bool, Ending> {
        match (qos, id) {
            (Qos::AtLeastOnce, Some(id)) => self.write(&Packet::PubAck(id)),
            (Qos::ExactlyOnce, Some(id)) => {
                let is_new = !self.unreleased.contains(&id);
                if is_new && self.unreleased.len() >= self.live.config.max_unreleased {
                    return Err(Ending::Unreleased);
                }
                self.write(&Packet::PubRec(id));
                if !is_new {
                    self.live.registry.counters().duplicates.add();
                    return Ok(false);
                }
                self.unreleased.insert(id);
            }
            // The decoder gives an identifier to these two and to no other.
            _ => {}
        }
        Ok(true)
    }

    fn obey(&mut self, verdict: Verdict, topic: &Topic) {
        if matches!(verdict, Verdict::Foreign) {
            return;
        }
        if let Err(wait) = self.rate.take(&self.live.config, Instant::now()) {
            self.live.registry.counters().throttled_requests.add();
            return self.answer(topic, answer::too_many(wait), verdict.into_request_id());
        }
        match verdict {
            Verdict::Foreign => {}
            Verdict::Refused(response, request_id) => self.answer(topic, response, request_id),
            Verdict::Accepted(job, lane) => self.submit(job, lane),
        }
    }

    fn answer(&mut self, topic: &Topic, response: Response<Bytes>, request_id: Option<HeaderValue>) {
        let frame = answer::encode(response, request_id.as_ref());
        publish(&mut self.output, topic, &frame);
    }

    /// Hands a request to the service, behind those of the same path.
    fn submit(&mut self, job: Job, lane: LaneKey) {
        let Some(reserved) = self.live.reserve(job.size, self.peer.role) else { return self.overloaded(job) };
        let queued = Queued { job, session: Arc::clone(&self.session), reserved };
        match self.lanes.enqueue(self.epoch, lane, queued, self.live.config.lane_bounds(self.peer.role)) {
            Enqueued::Full(Queued { job, .. }) => return self.overloaded(job),
            Enqueued::Waiting => {}
            Enqueued::First(first) => {
                let lane = OpenLane::new(Arc::clone(&self.lanes), lane, Arc::clone(&self.live));
                let task = self.live.task();
                self.begin(run_lane(self.service.clone(), lane, first, Arc::clone(&self.live), task));
            }
        }
        self.in_flight += 1;
    }

    /// Has a lane worked on: at once as far as it comes without waiting, then in a task of its own. A task, and waking this
    /// one from there, costs more than a service that need not wait; its answer is collected after what has been read.
    fn begin(&self, lane: impl Future<Output = ()> + Send + 'static) {
        // Answers of which many wait already must not pile up before some are written.
        if self.session.held() > self.live.config.write_high_water {
            drop(tokio::spawn(lane));
            return;
        }
        self.session.stay_awake();
        let mut lane = Box::pin(lane);
        // The task looks again when it starts: no wake is missed.
        if lane.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            drop(tokio::spawn(lane));
        }
    }

    fn overloaded(&mut self, job: Job) {
        self.live.registry.counters().overloaded_requests.add();
        self.answer(&job.topic, answer::overloaded(), job.request_id);
    }

    /// Grants the connection's own topics: `{client id}`, and what lies below `p/{client id}/`, which is answered with or
    /// without. The SUBACK is written before the first push can be. (`wire` §1.3)
    fn subscribe(&mut self, id: PacketId, filters: &[(TopicFilter, Qos)]) {
        let mut wants_pushes = false;
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, _) in filters {
            let is_own = self.is_for_pushes(filter);
            wants_pushes |= is_own;
            codes.push(if is_own || self.is_for_answers(filter) {
                Qos::AtMostOnce as u8
            } else {
                self.live.registry.counters().refused_filters.add();
                match self.protocol {
                    // It has no code for a refusal and tells servers to acknowledge ("SUBSCRIBE").
                    Protocol::V31 => Qos::AtMostOnce as u8,
                    Protocol::V311 => 0x80,
                }
            });
        }
        self.write(&Packet::SubAck { id, codes });
        if wants_pushes {
            self.session.subscribe();
        }
    }

    fn unsubscribe(&mut self, id: PacketId, filters: &[TopicFilter]) {
        if filters.iter().any(|filter| self.is_for_pushes(filter)) {
            for payload in self.session.unsubscribe() {
                self.push(&payload);
            }
        }
        self.write(&Packet::UnsubAck(id));
    }

    fn is_for_pushes(&self, filter: &TopicFilter) -> bool {
        filter.as_str() == self.peer.client_id.as_str()
    }

    fn is_for_answers(&self, filter: &TopicFilter) -> bool {
        let below = filter.as_str().strip_prefix("p/").and_then(|rest| rest.strip_prefix(self.peer.client_id.as_str()));
        below.is_some_and(|below| below.starts_with('/'))
    }

    fn write(&mut self, packet: &Packet) {
        write(&mut self.output, self.protocol, packet);
    }

    /// Writes a push that the session has counted among what is held.
    pub(super) fn push(&mut self, payload: &Bytes) {
        self.live.registry.taps().show(false, &self.peer.client_id, &self.pushes, payload);
        self.held += payload.len();
        if !publish(&mut self.output, &self.pushes, payload) {
            let counters = self.live.registry.counters();
            counters.pushes_dropped.add();
            counters.pushes_abandoned.add();
        }
    }
}
