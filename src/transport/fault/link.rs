//! A link with a faulty lane in each direction.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fastrand::Rng;
use tokio::time::{Instant, Sleep};

use super::lane::Lane;
use super::{Counters, FaultPlan, count};
use crate::mqtt::{LinkError, LinkErrorKind, Publish};
use crate::topic::TopicFilter;
use crate::transport::{BoxFuture, Link, LinkEvent};

/// How many messages a lane holds: the device's next one is `Overloaded`, the broker's next one waits in the transport.
const MAX_ON_THE_WAY: usize = 4096;

#[derive(Debug, Clone)]
enum Outgoing {
    Publish(Publish),
    Subscribe(TopicFilter),
}

pub(super) struct FaultyLink {
    /// `None` once this link is cut or its end has been told.
    link: Option<Box<dyn Link>>,
    plan: Arc<FaultPlan>,
    counters: Arc<Counters>,
    to_broker: Lane<Outgoing>,
    to_device: Lane<LinkEvent>,
    /// Messages left until the cut.
    left: Option<u64>,
    /// The end of the link below, told after what is still on its way.
    end: Option<LinkError>,
    has_told_end: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl FaultyLink {
    pub(super) fn new(
        link: Box<dyn Link>,
        plan: Arc<FaultPlan>,
        counters: Arc<Counters>,
        cut_after: Option<u64>,
        to_broker: Rng,
        to_device: Rng,
    ) -> Self {
        let to_broker = Lane::new(plan.to_broker.clone(), to_broker);
        let to_device = Lane::new(plan.to_device.clone(), to_device);
        let mut faulty = Self {
            link: Some(link),
            plan,
            counters,
            to_broker,
            to_device,
            left: cut_after,
            end: None,
            has_told_end: false,
            timer: None,
        };
        if cut_after == Some(0) {
            faulty.cut();
        }
        faulty
    }

    fn send(&mut self, item: Outgoing) -> Result<(), LinkError> {
        if self.has_told_end {
            return Err(LinkErrorKind::Closed.into());
        }
        if self.link.is_none() || self.end.is_some() {
            return Ok(()); // cut, but not noticed yet
        }
        if self.to_broker.len() >= MAX_ON_THE_WAY {
            return Err(LinkErrorKind::Overloaded.into());
        }
        let spared = matches!(item, Outgoing::Subscribe(_)) && !self.plan.subscriptions;
        let now = Instant::now();
        drop(self.hand_on(now));
        let earlier = self.to_broker.len();
        self.to_broker.enter(item, spared, now, &self.counters);
        let result = self.hand_on(now);
        // An error must mean that the message is not sent: neither now nor, as its own twin, later.
        if self.to_broker.len() > earlier { Ok(()) } else { result }
    }

    /// Gives the link below what has arrived at its side. An error is its refusal of the first; all are counted.
    fn hand_on(&mut self, now: Instant) -> Result<(), LinkError> {
        let mut first = None;
        while let Some(link) = &mut self.link
            && let Some(item) = self.to_broker.take_arrived(now)
        {
            let is_message = matches!(item, Outgoing::Publish(_));
            let result = match item {
                Outgoing::Publish(publish) => link.publish(publish),
                Outgoing::Subscribe(filter) => link.subscribe(filter),
            };
            if result.is_err() {
                count(&self.counters.not_taken);
            } else if is_message {
                self.passed();
            }
            first.get_or_insert(result);
        }
        first.unwrap_or(Ok(()))
    }

    /// Counts a message that was handed on, and cuts the link when it was the last.
    fn passed(&mut self) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        count(&self.counters.cut);
        self.link = None;
        self.left = None;
        self.to_broker.clear();
        self.to_device.clear();
        self.end = Some(LinkError::new(LinkErrorKind::Closed, "injected fault"));
    }

    /// Lets what the link below has to say enter its lane; false when it has nothing more for now.
    fn take_in(&mut self, cx: &mut Context<'_>) -> bool {
        if self.end.is_some() || self.to_device.len() >= MAX_ON_THE_WAY {
            return false;
        }
        let Some(link) = &mut self.link else { return false };
        match link.poll_event(cx) {
            Poll::Pending => return false,
            Poll::Ready(LinkEvent::Lost(error)) => {
                self.to_broker.clear();
                self.end = Some(error);
            }
            Poll::Ready(event) => {
                let spared = !matches!(event, LinkEvent::Received(_)) && !self.plan.subscriptions;
                self.to_device.enter(event, spared, Instant::now(), &self.counters);
            }
        }
        true
    }

    /// Waits for the next arrival in either lane; false when there is nothing to wait for, or it is not there yet.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let arrivals = [self.to_broker.next_arrival(), self.to_device.next_arrival()];
        let Some(arrival) = arrivals.into_iter().flatten().min() else {
            self.timer = None;
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(arrival)));
        if timer.deadline() != arrival {
            timer.as_mut().reset(arrival);
        }
        let is_due = timer.as_mut().poll(cx).is_ready();
        if is_due {
            self.timer = None;
        }
        is_due
    }
}

impl Link for FaultyLink {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        self.send(Outgoing::Publish(publish))
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.send(Outgoing::Subscribe(filter))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        if self.has_told_end {
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            // What the link below refuses now was accepted from the caller earlier; it is counted.
            drop(self.hand_on(now));
            while self.take_in(cx) {}
            if let Some(event) = self.to_device.take_arrived(now) {
                if matches!(event, LinkEvent::Received(_)) {
                    self.passed();
                }
                return Poll::Ready(event);
            }
            if self.to_device.len() == 0
                && let Some(error) = self.end.take()
            {
                self.link = None;
                self.has_told_end = true;
                return Poll::Ready(LinkEvent::Lost(error));
            }
            if !self.poll_timer(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Sends first what is still on its way to the broker, each at its time.
    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while self.link.is_some()
                && let Some(arrival) = self.to_broker.next_arrival()
            {
                tokio::time::sleep_until(arrival).await;
                drop(self.hand_on(Instant::now()));
            }
            if let Some(link) = self.link.take() {
                link.close().await;
            }
        })
    }
}
