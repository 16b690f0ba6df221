//! Store and forward: uploads that wait for the connection, if need be across a restart.
//!
//! A call fails when there is no connection, or [waits](super::WaitForLink) for as long as somebody waits for it. A device
//! that measures something once a minute wants neither: it hands its states over and goes on. The outbox keeps them, within
//! bounds, and sends them one after the other, in their order, until the service has taken each.
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use thingif::client::outbox::{Keep, Outbox};
//! use thingif::client::Client;
//!
//! async fn measure(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//!     let path = format!("/thing-if/apps/app/targets/thing:{}/states", client.onboarded().await?.thing_id);
//!     let (outbox, sender, _events) = Outbox::builder().with_keep(Keep::Newest).on_disk("/var/lib/meter/outbox").open()?;
//!     tokio::spawn(sender.run(client));
//!     loop {
//!         let state = Request::put(&path).header("content-type", "application/json").body(Bytes::from("{\"kWh\":7}"))?;
//!         outbox.push(state).await?;
//!         tokio::time::sleep(std::time::Duration::from_secs(60)).await;
//!     }
//! }
//! ```
//!
//! # What is promised
//!
//! - What [`push`](Outbox::push) has accepted is sent until the service answers with 2xx, unless it is replaced by a newer
//!   one of its path, grows too old, makes room for newer ones, is refused for good (any other 4xx than 401, 403, 408 and
//!   429), or cannot be a frame. Each of these is a [`OutboxEvent`]. On disk, that holds across a crash at any moment.
//! - An upload may arrive twice: an answer can be lost, and a crash can come between the answer and its being written down.
//! - Uploads leave in the order in which they came; the next one only when the one before has its end.

mod entry;
mod queue;
mod sender;
mod spool;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderName, Request, StatusCode};
use tokio::sync::{Mutex, Notify};

pub use sender::Sender;

use super::commands::clock;
use super::lossy::{self, Item};
use entry::Entry;
use queue::{Queue, Rules};
use spool::Spool;

/// Events kept for the reader.
const EVENT_QUEUE: usize = 256;

/// Which uploads to one path are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Of PUTs to one path the newest: it says everything that the others said. Other methods are all kept.
    #[default]
    Newest,
    /// All of them, in their order.
    All,
}

/// What happens when there is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It is refused as [`OutboxError::Full`].
    #[default]
    Refuse,
    /// The oldest make room, which is reported.
    DropOldest,
}

/// Why an upload was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// There is no room for it.
    #[error("the outbox is full")]
    Full,
    /// It would not fit an empty outbox either.
    #[error("the upload has {len} bytes, more than the {max} of the whole outbox")]
    TooLarge {
        /// Its size in bytes: path, content type and body.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// It has a header other than `Content-Type`, which would not be kept. The Authorization is added when it is sent.
    #[error("the upload has the header {0}, which an outbox does not keep")]
    Header(HeaderName),
    /// Its `Content-Type` has other than visible ASCII characters.
    #[error("the upload's Content-Type is not plain text")]
    ContentType,
    /// Its URI has no path that begins with a slash.
    #[error("the upload's path `{0}` does not begin with a slash")]
    Path(String),
    /// It could not be written to disk.
    #[error("the upload cannot be stored: {0}")]
    Storage(String),
}

/// Whether an accepted upload takes the place of an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It waits behind the others.
    Added,
    /// An older one of the same path is gone for it.
    Replaced,
}

/// What became of an upload, by the number that counts them from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxEvent {
    /// The service has it.
    Sent(u64),
    /// The service will never take it.
    Refused(u64, StatusCode),
    /// It cannot be a frame: too large, or its path cannot be a topic.
    Impossible(u64, String),
    /// It was too old.
    TooOld(u64),
    /// It made room for newer ones.
    Dropped(u64),
    /// It could not be sent for now, and is tried again.
    Postponed(u64, String),
    /// The end of one could not be written to disk: after a restart it is sent again.
    NotStored(String),
    /// The program reads these too slowly: so many were dropped.
    Lagged(u64),
}

/// What becomes of uploads. Ends with the last [`Outbox`] and [`Sender`].
#[derive(Debug)]
pub struct OutboxEvents(lossy::Receiver<OutboxEvent>);

impl OutboxEvents {
    /// The next one; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<OutboxEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for OutboxEvents {
    type Item = OutboxEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<OutboxEvent>> {
        self.0.poll_next(cx).map(|item| {
            item.map(|item| match item {
                Item::Value(event) => event,
                Item::Lagged(count) => OutboxEvent::Lagged(count),
            })
        })
    }
}

/// How an [`Outbox`] is made.
#[derive(Debug, Clone)]
pub struct Builder {
    rules: Rules,
    path: Option<PathBuf>,
}

impl Builder {
    /// The most that may wait, in bytes of paths, content types and bodies. Default 1 MiB. On disk an upload takes some 120 bytes
    /// more, and the file is written anew when more than half of it is of no more use.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_bytes = bytes;
        self
    }

    /// How long an upload may wait, also one that was tried already. Default 24 h. It is counted by the device's clock: one that jumps forward ages everything
    /// that waits; one that jumps back makes nothing older.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.rules.max_age = age;
        self
    }

    /// Which uploads to one path are kept. Default: [`Keep::Newest`].
    #[must_use]
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.rules.keep = keep;
        self
    }

    /// What happens when there is no room. Default: [`WhenFull::Refuse`].
    #[must_use]
    pub fn with_when_full(mut self, when_full: WhenFull) -> Self {
        self.rules.when_full = when_full;
        self
    }

    /// Keeps what waits in the file `path` as well (mode 0600, one owner, `….lock` beside it). Each upload is durable before
    /// it is accepted, which costs a sync, some milliseconds on flash.
    #[must_use]
    pub fn on_disk(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Opens it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// Of the file system; `WouldBlock` when another process has the file; `InvalidData` when it is none of ours.
    pub fn open(self) -> io::Result<(Outbox, Sender, OutboxEvents)> {
        let (spool, queue) = match &self.path {
            Some(path) => Spool::open(path).map(|(spool, queue)| (Some(spool), queue))?,
            None => (None, Queue::default()),
        };
        let (events, receiver) = lossy::queue(EVENT_QUEUE);
        let shared = Arc::new(Shared {
            rules: self.rules,
            state: Mutex::new(State { queue, spool }),
            wake: Notify::new(),
            events,
        });
        Ok((Outbox(shared.clone()), Sender::new(shared), OutboxEvents(receiver)))
    }
}

#[derive(Debug)]
struct Shared {
    rules: Rules,
    state: Mutex<State>,
    /// Something new waits.
    wake: Notify,
    events: lossy::Sender<OutboxEvent>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    spool: Option<Spool>,
}

/// Takes uploads. Cheap to clone; all clones are one outbox.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Shared>);

impl Outbox {
    /// An outbox in memory with every bound at its default, to be changed.
    pub fn builder() -> Builder {
        let rules = Rules {
            max_bytes: 1024 * 1024,
            max_age: Duration::from_secs(24 * 3600),
            keep: Keep::default(),
            when_full: WhenFull::default(),
        };
        Builder { rules, path: None }
    }

    /// Hands an upload over: method, path, `Content-Type` and body. On disk it is durable when this returns. Once begun it
    /// is not given up when the future is dropped.
    ///
    /// # Errors
    /// [`OutboxError`] says why it was not accepted; nothing has changed then.
    pub async fn push(&self, request: Request<Bytes>) -> Result<Accepted, OutboxError> {
        let entry = Entry::of(request, clock())?;
        let shared = self.0.clone();
        let task = tokio::spawn(async move { shared.accept(entry).await });
        task.await.map_err(|error| OutboxError::Storage(error.to_string()))?
    }

    /// How many uploads wait, and how many bytes they take.
    pub async fn waiting(&self) -> (usize, usize) {
        let state = self.0.state.lock().await;
        (state.queue.len(), state.queue.bytes())
    }
}

impl Shared {
    fn tell(&self, event: OutboxEvent) {
        match &event {
            OutboxEvent::Sent(number) => tracing::debug!(number, "upload sent"),
            other => tracing::warn!(event = ?other, "outbox"),
        }
        self.events.send(event);
    }

    async fn accept(&self, entry: Entry) -> Result<Accepted, OutboxError> {
        let mut state = self.state.lock().await;
        let plan = state.queue.plan(&entry, &self.rules)?;
        let gone: Vec<u64> = plan.replaced.iter().chain(&plan.dropped).copied().collect();
        if let Some(spool) = &state.spool {
            spool.add(plan.number, &entry, &gone).await.map_err(|error| OutboxError::Storage(error.to_string()))?;
        }
        for number in gone {
            state.queue.remove(number);
        }
        state.queue.insert(plan.number, entry);
        self.tidy(&mut state).await;
        drop(state);
        plan.dropped.into_iter().for_each(|number| self.tell(OutboxEvent::Dropped(number)));
        self.wake.notify_one();
        Ok(if plan.replaced.is_some() { Accepted::Replaced } else { Accepted::Added })
    }

    /// Takes out what has its end.
    async fn end(&self, state: &mut State, numbers: &[u64]) {
        if let Some(spool) = &state.spool
            && let Err(error) = spool.remove(numbers).await
        {
            self.tell(OutboxEvent::NotStored(error.to_string()));
        }
        for number in numbers {
            state.queue.remove(*number);
        }
        self.tidy(state).await;
    }

    /// Writes the spool anew when most of it is of no more use.
    async fn tidy(&self, state: &mut State) {
        if let Some(spool) = &state.spool
            && let Err(error) = spool.compact_if_worth_it(&state.queue).await
        {
            tracing::warn!(%error, "the outbox cannot be written anew");
        }
    }
}
