//! Makes another transport as bad as a [`FaultPlan`] says, the same way every time.

mod lane;
mod link;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use self::link::FaultyLink;
use super::{BoxFuture, Capabilities, ConnectOptions, Link, Transport};
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind};

/// What goes wrong, and how often. Probabilities go from 0.0 (never, the default of all) to 1.0 (always).
///
/// ```
/// use std::time::Duration;
/// use thingif::transport::fault::{FaultPlan, Faults};
///
/// let plan = FaultPlan {
///     to_device: Faults { drop: 0.1, delay: Duration::ZERO..=Duration::from_millis(200), ..Faults::default() },
///     cut_after: Some(50..=100),
///     ..FaultPlan::new(42)
/// };
/// assert_eq!(plan.to_broker, Faults::default());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// Decides every draw. The fate of a message depends on the seed, the number of its link, its direction and its place
    /// there, and on nothing else; so under tokio's paused clock a run repeats exactly.
    pub seed: u64,
    /// Probability that an attempt to connect fails at once, with `Tcp`.
    pub refuse_connect: f64,
    /// Probability that an attempt to connect is never answered: it fails with `ConnectTimedOut` after
    /// [`ConnectOptions::timeout`].
    pub lose_connect: f64,
    /// What happens to messages on their way to the broker.
    pub to_broker: Faults,
    /// What happens to messages on their way to the device.
    pub to_device: Faults,
    /// Cuts each link, with `Closed`, after a number of messages drawn from this range: those handed on in both
    /// directions together. `None`, the default, cuts none.
    pub cut_after: Option<RangeInclusive<u64>>,
    /// Whether SUBSCRIBE and SUBACK can be dropped, duplicated and reordered as well. They are delayed in any case, in
    /// order with the messages. Default false.
    pub subscriptions: bool,
}

/// What happens in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Probability that a message is lost.
    pub drop: f64,
    /// Probability that a message arrives twice, each with a delay of its own.
    pub duplicate: f64,
    /// How long each message takes, drawn evenly from this range; a message does not overtake an earlier one by it.
    /// At most a day; default zero.
    pub delay: RangeInclusive<Duration>,
    /// Probability that a message is held back, so that later ones overtake it.
    pub reorder: f64,
    /// How long a message is held back at most; at least a nanosecond, at most a day. Default 100 ms.
    pub held_back: Duration,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            refuse_connect: 0.0,
            lose_connect: 0.0,
            to_broker: Faults::default(),
            to_device: Faults::default(),
            cut_after: None,
            subscriptions: false,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            drop: 0.0,
            duplicate: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            reorder: 0.0,
            held_back: Duration::from_millis(100),
        }
    }
}

/// How often something went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Attempts refused.
    pub refused: u64,
    /// Attempts never answered.
    pub lost_connects: u64,
    /// Links cut.
    pub cut: u64,
    /// Messages dropped by the plan.
    pub dropped: u64,
    /// Messages that arrived, or will arrive, twice.
    pub duplicated: u64,
    /// Messages held back.
    pub reordered: u64,
    /// Delayed messages that the transport below did not take when their time had come.
    pub not_taken: u64,
}

#[derive(Debug, Default)]
struct Counters {
    refused: AtomicU64,
    lost_connects: AtomicU64,
    cut: AtomicU64,
    dropped: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
    not_taken: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A transport that injects faults into another one. See [`FaultPlan`].
#[derive(Debug)]
pub struct Fault<T> {
    transport: T,
    plan: Arc<FaultPlan>,
    attempts: AtomicU64,
    counters: Arc<Counters>,
}

impl<T: Transport> Fault<T> {
    /// Wraps `transport`.
    pub fn new(transport: T, plan: FaultPlan) -> Self {
        Self { transport, plan: Arc::new(plan), attempts: AtomicU64::new(0), counters: Arc::default() }
    }

    /// What went wrong so far, on all links together.
    pub fn counts(&self) -> FaultCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FaultCounts {
            refused: read(&self.counters.refused),
            lost_connects: read(&self.counters.lost_connects),
            cut: read(&self.counters.cut),
            dropped: read(&self.counters.dropped),
            duplicated: read(&self.counters.duplicated),
            reordered: read(&self.counters.reordered),
            not_taken: read(&self.counters.not_taken),
        }
    }
}

impl<T: Transport> Transport for Fault<T> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            let mut draws = stream(self.plan.seed, attempt, Stream::Link);
            let (refuse, lose) = (draws.f64(), draws.f64());
            if refuse < self.plan.refuse_connect {
                count(&self.counters.refused);
                return Err(LinkError::new(LinkErrorKind::Tcp, "injected fault"));
            }
            if lose < self.plan.lose_connect {
                count(&self.counters.lost_connects);
                tokio::time::sleep(options.timeout).await;
                return Err(LinkError::new(LinkErrorKind::ConnectTimedOut, "injected fault"));
            }
            let cut_after = self.plan.cut_after.clone().filter(|range| !range.is_empty()).map(|range| draws.u64(range));
            let link = self.transport.connect(endpoint, credentials, &options.accepted()).await?;
            let to_broker = stream(self.plan.seed, attempt, Stream::ToBroker);
            let to_device = stream(self.plan.seed, attempt, Stream::ToDevice);
            let (plan, counters) = (self.plan.clone(), self.counters.clone());
            Ok(Box::new(FaultyLink::new(link, plan, counters, cut_after, to_broker, to_device)) as Box<dyn Link>)
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Link,
    ToBroker,
    ToDevice,
}

/// Random numbers of their own for every link and direction: what happens in one place must not change the draws of
/// another, or a run would depend on who is polled first.
fn stream(seed: u64, attempt: u64, stream: Stream) -> Rng {
    let mut mixed = Rng::with_seed(seed);
    let place = attempt.wrapping_mul(4).wrapping_add(stream as u64);
    Rng::with_seed(mixed.u64(..) ^ Rng::with_seed(place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).u64(..))
}

#[cfg(test)]
mod tests;
