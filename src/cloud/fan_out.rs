//! Pushes to many: from a change that is durable to every installation that is to hear of it. (`wire` §6)
//!
//! Publications wait in one queue, of 4,096 at most, and leave in its order, each to its recipients page by page. Nobody
//! who made a change waits for that. What finds the queue full is dropped and counted, as QoS 0 allows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::store::installations::Installation;
use super::store::subscriptions::{self, Recipient, Source};
use super::store::{Sql, StoreError, StoreErrorKind};
use super::{Cloud, delivery};
use crate::edge::PushOutcome;
use crate::ids::{AppId, ClientId};
use crate::thing_if::Principal;

/// Publications that wait; each has at most 4,096 bytes of payload.
const MAX_WAITING: usize = 4_096;
/// Recipients that are looked up at once.
const PAGE: i64 = 256;
/// Between two tries while the store has too much to do, and how often.
const RETRY: Duration = Duration::from_millis(100);
const TRIES: usize = 50;

/// Something to push.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) to: Audience,
    pub(crate) payload: Bytes,
    /// Whether it goes to installations of the development environment, and to those of production.
    pub(crate) development: bool,
    pub(crate) production: bool,
}

/// To whom.
#[derive(Debug)]
pub(crate) enum Audience {
    /// Whoever is subscribed when it leaves.
    Subscribers(Source),
    /// One principal, wherever it is installed; an end node at its gateway.
    Principal(AppId, Principal),
    /// Those who were subscribed to what is no longer there.
    Former(Vec<Recipient>),
}

/// What became of pushes since the cloud was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pushes {
    /// Taken by a connection that has its SUBACK.
    pub queued: u64,
    /// Nobody was connected.
    pub not_connected: u64,
    /// The connection had not subscribed.
    pub not_subscribed: u64,
    /// The connection had too much to take already.
    pub overloaded: u64,
    /// Changes and messages whose recipients could not be told, because too many others waited or the store failed.
    pub publications_dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct FanOut {
    queue: Mutex<Queue>,
    queued: AtomicU64,
    not_connected: AtomicU64,
    not_subscribed: AtomicU64,
    overloaded: AtomicU64,
    publications_dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Publication>,
    is_leaving: bool,
    is_closed: bool,
}

impl FanOut {
    // No operation on the queue panics half-way, so a poisoned lock holds a whole queue.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next publication; without one, whoever publishes next begins anew.
    fn next(&self) -> Option<Publication> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.is_leaving = next.is_some();
        next
    }

    fn drop_publications(&self, count: usize) {
        self.publications_dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Lets nothing more leave.
    pub(super) fn close(&self) {
        let left = {
            let mut queue = self.queue();
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting).len()
        };
        self.drop_publications(left);
    }

    fn snapshot(&self) -> Pushes {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Pushes {
            queued: read(&self.queued),
            not_connected: read(&self.not_connected),
            not_subscribed: read(&self.not_subscribed),
            overloaded: read(&self.overloaded),
            publications_dropped: read(&self.publications_dropped),
        }
    }
}

impl Cloud {
    /// What became of pushes of every kind, commands included, since the cloud was opened.
    pub fn pushes(&self) -> Pushes {
        self.fan_out().snapshot()
    }

    /// Pushes to one installation, and counts what became of it.
    pub(crate) async fn push(&self, topic: &ClientId, payload: Bytes) -> PushOutcome {
        let outcome = self.pusher().push(topic, payload).await;
        let counter = match outcome {
            PushOutcome::Queued => &self.fan_out().queued,
            PushOutcome::NotConnected => &self.fan_out().not_connected,
            PushOutcome::NotSubscribed => &self.fan_out().not_subscribed,
            PushOutcome::Overloaded => &self.fan_out().overloaded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Queues `publication`, and returns at once. Call it when what it tells of is durable.
    pub(crate) fn publish(&self, publication: Publication) {
        let must_begin = {
            let mut queue = self.fan_out().queue();
            if queue.is_closed || queue.waiting.len() >= MAX_WAITING {
                drop(queue);
                self.fan_out().drop_publications(1);
                tracing::warn!("a publication was dropped: too many wait");
                return;
            }
            queue.waiting.push_back(publication);
            !std::mem::replace(&mut queue.is_leaving, true)
        };
        if must_begin {
            let cloud = self.clone();
            tokio::spawn(async move {
                while let Some(next) = cloud.fan_out().next() {
                    let one = cloud.clone();
                    // A task of its own, so that a panic ends this publication alone.
                    if let Err(error) = tokio::spawn(async move { one.send(next).await }).await {
                        tracing::error!(%error, "a publication failed");
                        cloud.fan_out().drop_publications(1);
                    }
                }
            });
        }
    }

    async fn send(&self, publication: Publication) {
        let Publication { to, payload, development, production } = publication;
        let told = match to {
            Audience::Former(recipients) => {
                self.push_all(&recipients, &payload, development, production).await;
                Ok(())
            }
            Audience::Principal(app, principal) => {
                self.tell_one(app, principal, &payload, development, production).await
            }
            Audience::Subscribers(source) => self.tell_subscribers(source, &payload, development, production).await,
        };
        if let Err(error) = told {
            tracing::warn!(%error, "a publication did not reach everybody");
            self.fan_out().drop_publications(1);
        }
    }

    async fn tell_one(
        &self,
        app: AppId,
        principal: Principal,
        payload: &Bytes,
        development: bool,
        production: bool,
    ) -> Result<(), StoreError> {
        let installed = self
            .look_up(move |sql| {
                let all = delivery::installations_for(sql, &app, &principal)?;
                let recipient = |installation: Installation| Recipient {
                    mqtt_topic: installation.mqtt_topic,
                    development: installation.development,
                    place: (String::new(), 0),
                };
                Ok(all.into_iter().map(recipient).collect())
            })
            .await?;
        self.push_all(&installed, payload, development, production).await;
        Ok(())
    }

    async fn tell_subscribers(
        &self,
        source: Source,
        payload: &Bytes,
        development: bool,
        production: bool,
    ) -> Result<(), StoreError> {
        let mut after = (String::new(), 0);
        loop {
            let (source, begin) = (source.clone(), after.clone());
            let page = self.look_up(move |sql| subscriptions::recipients(sql, &source, &begin, PAGE)).await?;
            self.push_all(&page, payload, development, production).await;
            match page.into_iter().next_back() {
                Some(last) => after = last.place,
                None => return Ok(()),
            }
        }
    }

    /// Reads, and waits a few seconds for a store that has too much to do.
    async fn look_up<F>(&self, read: F) -> Result<Vec<Recipient>, StoreError>
    where
        F: Fn(&mut dyn Sql) -> Result<Vec<Recipient>, StoreError> + Clone + Send + 'static,
    {
        let mut tries = 1;
        loop {
            match self.store().read(read.clone()).await {
                Err(error) if error.kind() == StoreErrorKind::Overloaded && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(RETRY).await;
                }
                done => return done,
            }
        }
    }

    async fn push_all(&self, recipients: &[Recipient], payload: &Bytes, development: bool, production: bool) {
        for recipient in recipients {
            if if recipient.development { development } else { production } {
                self.push(&recipient.mqtt_topic, payload.clone()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::cloud::Options;
    use crate::edge::Pusher;

    type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

    /// Takes a push for each permit, and remembers it.
    struct Gate {
        open: Semaphore,
        taken: Mutex<Vec<Bytes>>,
    }

    impl Pusher for Gate {
        fn push<'a>(&'a self, _: &'a ClientId, payload: Bytes) -> Later<'a, PushOutcome> {
            Box::pin(async move {
                self.open.acquire().await.expect("open").forget();
                self.taken.lock().expect("not poisoned").push(payload);
                PushOutcome::NotSubscribed
            })
        }

        fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Later<'a, ()> {
            Box::pin(async {})
        }

        fn disconnect<'a>(&'a self, _: &'a ClientId) -> Later<'a, ()> {
            Box::pin(async {})
        }
    }

    fn publication(n: usize) -> Publication {
        let mqtt_topic = ClientId::new("device").expect("valid");
        let to = Audience::Former(vec![Recipient {
            mqtt_topic,
            development: n.is_multiple_of(2),
            place: (String::new(), 0),
        }]);
        Publication { to, payload: n.to_string().into(), development: true, production: true }
    }

    #[tokio::test]
    async fn publications_leave_in_their_order_and_what_finds_the_queue_full_is_counted() {
        let gate = Arc::new(Gate { open: Semaphore::new(0), taken: Mutex::default() });
        let cloud = Cloud::open(Options::default(), gate.clone()).expect("opens");
        cloud.publish(publication(0));
        // The first is taken out of the queue, and waits for the gate.
        while !cloud.fan_out().queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        for n in 1..=MAX_WAITING + 3 {
            cloud.publish(publication(n));
        }
        assert_eq!(cloud.pushes().publications_dropped, 3);
        gate.open.add_permits(MAX_WAITING + 1);
        while cloud.fan_out().queue().is_leaving {
            tokio::task::yield_now().await;
        }
        let taken: Vec<_> = gate.taken.lock().expect("not poisoned").clone();
        assert_eq!(taken, (0..=MAX_WAITING).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>());
        assert_eq!(cloud.pushes().not_subscribed, MAX_WAITING as u64 + 1);

        // Whoever publishes next begins anew; after the end nothing leaves.
        gate.open.add_permits(1);
        cloud.publish(publication(0));
        while cloud.fan_out().queue().is_leaving {
            tokio::task::yield_now().await;
        }
        assert_eq!(cloud.pushes().not_subscribed, MAX_WAITING as u64 + 2);
        cloud.close().await;
        cloud.publish(publication(0));
        assert_eq!(cloud.pushes().publications_dropped, 4);
    }
}
