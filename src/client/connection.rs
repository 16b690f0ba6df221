//! The driver: moves values between the machine, the link and the clients. It decides nothing.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant as Clock, Sleep, sleep_until, timeout};

use super::call::{Command, Reply};
use super::links::Links;
use super::lossy;
use super::storing::Storing;
use super::streams::Notices;
use super::trace;
use crate::proto::{Action, CallId, ConnectError, Counters, Event, EventKind, Instant, Lifecycle, Notice};
use crate::thing_if::Credential;

/// Calls that are taken before the link is looked after again, and events of the link before anything else is.
const BATCH: usize = 64;

/// Notices kept for one reader.
const NOTICE_QUEUE: usize = 64;

/// What the driver shows to its clients.
#[derive(Debug, Default)]
pub(super) struct Status {
    credential: watch::Sender<Option<Credential>>,
    was_ready: AtomicBool,
    /// Why no further attempt can help.
    failure: OnceLock<ConnectError>,
    counters: Mutex<Counters>,
    /// Somebody asked for the end.
    pub(super) close: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and every value of it is a valid one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Status {
    pub(super) fn credential(&self) -> Option<Credential> {
        self.credential.borrow().clone()
    }

    /// The credential, once there is one. Pending as long as the driver makes none.
    pub(super) async fn onboarded(&self) -> Credential {
        let mut credential = self.credential.subscribe();
        loop {
            if let Some(credential) = credential.borrow_and_update().clone() {
                return credential;
            }
            if credential.changed().await.is_err() {
                // The sender lives in `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the connection was ready, now or before.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<ConnectError> {
        self.failure.get().cloned()
    }

    pub(super) fn counters(&self) -> Counters {
        *lock(&self.counters)
    }
}

/// What a driver is connected to.
pub(super) struct Wiring {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) cancels: mpsc::UnboundedReceiver<CallId>,
    pub(super) pushes: lossy::Sender<Bytes>,
    pub(super) status: Arc<Status>,
}

/// The connection itself, to be driven by [`run`](Connection::run), usually in a task of its own.
///
/// Dropping it closes the connection without a DISCONNECT and ends every call.
#[must_use = "a connection does nothing unless `run` is awaited"]
pub struct Connection {
    driver: Driver,
    first_notices: Option<Notices>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("ready", &self.driver.lifecycle.is_ready()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        lifecycle: Lifecycle,
        origin: Clock,
        links: Links<'static>,
        storing: Storing,
        wiring: Wiring,
    ) -> Self {
        // The stored one, where the machine finds that it fits.
        wiring.status.credential.send_replace(lifecycle.credential().cloned());
        let mut driver = Driver {
            lifecycle,
            origin,
            has_begun: false,
            links,
            storing,
            wiring,
            waiting: HashMap::new(),
            notices: Vec::new(),
            counters: Counters::default(),
            closed: None,
        };
        let first_notices = Some(driver.subscribe());
        Self { driver, first_notices }
    }

    /// Tells whoever reads notices.
    pub(super) fn tell(&mut self, notice: Notice) {
        self.driver.tell(&notice);
    }

    /// Drives until the connection is ready for the first time.
    pub(super) async fn until_ready(&mut self) -> Result<(), ConnectError> {
        match self.driver.run_until(Lifecycle::is_ready).await {
            None => Ok(()),
            Some(failure) => Err(failure.unwrap_or(ConnectError::Closed)),
        }
    }

    /// What happens to the connection. The first reader also gets what happened since `connect` or `start` was called.
    ///
    /// Each reader has a queue for 64 notices; beyond it the oldest are dropped and reported as
    /// [`Notice::Lagged`].
    pub fn notices(&mut self) -> Notices {
        match self.first_notices.take() {
            Some(notices) => notices,
            None => self.driver.subscribe(),
        }
    }

    /// Drives the connection until its end: connects, reconnects, onboards when that is needed, carries calls and pushes.
    ///
    /// Returns `Ok` when it was closed: by `Client::close`, or because every `Client` and the `Pushes` are gone.
    ///
    /// # Errors
    /// [`ConnectError`] when no further attempt can help: the default broker refuses this device for good.
    pub async fn run(mut self) -> Result<(), ConnectError> {
        // Whoever has not asked for them yet never will.
        self.first_notices = None;
        let failure = self.driver.run_until(|_| false).await.flatten();
        failure.map_or(Ok(()), Err)
    }
}

struct Driver {
    lifecycle: Lifecycle,
    /// The machine's origin of time. Moved to when it is driven first.
    origin: Clock,
    has_begun: bool,
    links: Links<'static>,
    storing: Storing,
    wiring: Wiring,
    waiting: HashMap<CallId, oneshot::Sender<Reply>>,
    notices: Vec<lossy::Sender<Notice>>,
    counters: Counters,
    closed: Option<Option<ConnectError>>,
}

impl Driver {
    /// Runs until `done` or the end, and says how it ended if it did.
    async fn run_until(&mut self, done: impl Fn(&Lifecycle) -> bool) -> Option<Option<ConnectError>> {
        // Until then nothing has happened, and the time that the first attempt has for connecting is not to run.
        if !std::mem::replace(&mut self.has_begun, true) {
            self.origin = Clock::now();
        }
        let status = Arc::clone(&self.wiring.status);
        let mut timer = pin!(sleep_until(self.origin));
        let mut close = pin!(status.close.notified());
        let mut events_in_a_row = 0;
        loop {
            self.perform();
            if let Some(closed) = self.closed.take() {
                self.finish().await;
                return Some(closed);
            }
            if done(&self.lifecycle) {
                return None;
            }
            let has_deadline = self.set(timer.as_mut());
            poll_fn(|cx| {
                // What has arrived goes first, and in a batch: to look at everything else between two events costs more than
                // most events do.
                let link_first = events_in_a_row < BATCH;
                if link_first && self.poll_link(cx).is_ready() {
                    events_in_a_row += 1;
                    return Poll::Ready(());
                }
                events_in_a_row = 0;
                if close.as_mut().poll(cx).is_ready() {
                    close.set(status.close.notified());
                    self.lifecycle.close(self.now());
                    return Poll::Ready(());
                }
                if self.poll_own(cx).is_ready() {
                    return Poll::Ready(());
                }
                if has_deadline && timer.as_mut().poll(cx).is_ready() {
                    self.lifecycle.handle_timeout(self.now());
                    return Poll::Ready(());
                }
                if self.poll_commands(cx).is_ready() {
                    return Poll::Ready(());
                }
                if link_first { Poll::Pending } else { self.poll_link(cx) }
            })
            .await;
        }
    }

    /// Hands what happened on the link to the machine.
    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let event = ready!(self.links.poll_event(cx));
        self.lifecycle.handle_event(self.now(), event);
        Poll::Ready(())
    }

    /// Hands on what was stored, and calls that nobody waits for any more.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready((link, stored)) = self.storing.poll_stored(cx) {
            self.lifecycle.handle_event(self.now(), Event { link, kind: EventKind::Stored(stored) });
            return Poll::Ready(());
        }
        match self.wiring.cancels.poll_recv(cx) {
            Poll::Ready(Some(call)) => {
                if self.waiting.remove(&call).is_some() {
                    self.lifecycle.cancel(self.now(), call);
                }
                Poll::Ready(())
            }
            // Without clients there are no commands either, and that is what counts.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.wiring.commands.poll_recv(cx)) {
            Some(command) => self.submit_all(command),
            None => self.lifecycle.close(self.now()),
        }
        Poll::Ready(())
    }

    /// Says goodbye, and ends what is being stored; neither for ever.
    async fn finish(&mut self) {
        let stored = timeout(self.links.close_timeout(), self.storing.finish());
        let (_, stored) = tokio::join!(self.links.finish(), stored);
        if stored.is_err() {
            tracing::warn!("the credential is not stored: the vault took too long");
        }
    }

    /// Sees to it that the timer ends by the machine's next deadline; `false` when there is none.
    fn set(&self, timer: Pin<&mut Sleep>) -> bool {
        let Some(deadline) = self.lifecycle.next_deadline() else { return false };
        // A deadline beyond what the clock can say is none.
        let Some(deadline) = self.origin.checked_add(deadline.since_origin()) else { return false };
        // One that is set too early costs a look at the clock; moving it for each call would cost more.
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.reset(deadline);
        }
        true
    }

    fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    fn subscribe(&mut self) -> Notices {
        let (sender, receiver) = lossy::queue(NOTICE_QUEUE);
        self.notices.push(sender);
        Notices::new(receiver)
    }

    fn tell(&mut self, notice: &Notice) {
        trace::notice(notice);
        self.notices.retain(|reader| !reader.is_closed());
        self.notices.iter().for_each(|reader| reader.send(notice.clone()));
    }

    /// Takes what else is waiting as well, so that it leaves in one write.
    fn submit_all(&mut self, first: Command) {
        self.submit(first);
        for _ in 1..BATCH {
            match self.wiring.commands.try_recv() {
                Ok(command) => self.submit(command),
                Err(_) => return,
            }
        }
    }

    fn submit(&mut self, Command { request, deadline, if_down, ticket, reply }: Command) {
        if !ticket.begin() {
            return;
        }
        let deadline = Instant::from_origin(deadline.saturating_duration_since(self.origin));
        match self.lifecycle.submit(self.now(), request, deadline, if_down) {
            Ok(call) if ticket.taken(call) => {
                self.waiting.insert(call, reply);
            }
            Ok(call) => self.lifecycle.cancel(self.now(), call),
            // Whoever has given up meanwhile need not be told.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Does everything that the machine wants done.
    fn perform(&mut self) {
        while let Some(action) = self.lifecycle.poll_action() {
            match action {
                Action::Connect { link, endpoint, credentials, pipeline } => {
                    self.links.connect(link, endpoint, credentials, pipeline);
                }
                Action::Subscribe { link, filter } => self.links.subscribe(link, filter),
                Action::Publish { link, call, publish } => self.links.publish(link, call, publish),
                Action::Disconnect { link } => self.links.disconnect(link),
                Action::Abort { link } => self.links.abort(link),
                Action::Resolve { call, result } => {
                    if let Some(reply) = self.waiting.remove(&call) {
                        drop(reply.send(result));
                    }
                }
                Action::Push(payload) => self.wiring.pushes.send(payload),
                Action::Store { link, credential } => {
                    self.wiring.status.credential.send_replace(Some(credential.clone()));
                    self.storing.begin(link, credential);
                }
                Action::Notice(notice) => {
                    if let Notice::Ready { .. } = notice {
                        self.wiring.status.was_ready.store(true, Ordering::Release);
                    }
                    self.tell(&notice);
                }
                Action::Closed(failure) => {
                    if let Some(failure) = &failure {
                        // Nothing follows, so it is empty.
                        drop(self.wiring.status.failure.set(failure.clone()));
                    }
                    self.closed = Some(failure);
                }
            }
        }
        let counters = self.lifecycle.counters();
        if counters != self.counters {
            self.counters = counters;
            *lock(&self.wiring.status.counters) = counters;
        }
    }
}

/// Tells each call that was taken how far it came: one that still waited for the link was certainly not sent.
impl Drop for Driver {
    fn drop(&mut self) {
        self.lifecycle.close(self.now());
        while let Some(action) = self.lifecycle.poll_action() {
            if let Action::Resolve { call, result } = action
                && let Some(reply) = self.waiting.remove(&call)
            {
                drop(reply.send(result));
            }
        }
    }
}
