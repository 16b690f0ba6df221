//! One paho client from its making to its end, on the thread that owns it.
//!
//! A client may be dropped only when paho's threads are done with it. Whoever awaits a connect or disconnect token is
//! woken from inside the library's callback, which still holds the last reference but one; dropping ours then lets the
//! callback destroy the client and deadlock on the lock it holds. `is_connected` takes that same lock, so it returns
//! only after the callback has. Every way out of this file goes through [`destroy`].

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use paho_mqtt::{AsyncClient, Error, Message, QoS, Token};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::failure;
use super::guard::Guard;
use super::inbox::Inbox;
use super::link::{Command, PahoLink};
use super::settings::Settings;
use crate::mqtt::{LinkError, LinkErrorKind, Publish, Qos};
use crate::quiet;
use crate::topic::TopicFilter;
use crate::transport::LinkEvent;

/// How long `close` waits for what is queued, and again for the disconnect itself.
const CLOSING: Duration = Duration::from_secs(5);

/// How long until a publish is tried again that paho had no room for.
const FULL: Duration = Duration::from_millis(2);

/// Commands taken from the link at once.
const BATCH: usize = 64;

/// Runs a call of paho's Rust wrapper that logs the options of a CONNECT, password included, or a message that it publishes:
/// at DEBUG.
fn quietly<R>(call: impl FnOnce() -> R) -> R {
    quiet::quietly(&["paho_mqtt::async_client"], log::Level::Debug, call)
}

/// Why there is no link, and whether trying again at once may help.
pub(super) struct Refusal {
    pub(super) error: LinkError,
    pub(super) stray: bool,
}

/// Connects, hands the link to `reply`, and serves it until its end. If nobody waits for `reply` any more, what was
/// begun is ended: paho has no way to break off a connect, so it is awaited (at most its timeout and paho's round of
/// 3 s) and then disconnected.
pub(super) async fn run(
    settings: Settings,
    inbox: Arc<Inbox>,
    queue: usize,
    mut reply: oneshot::Sender<Result<PahoLink, Refusal>>,
    guard: &'static Guard,
) {
    let slot = guard.slot().await;
    if reply.is_closed() {
        return Guard::done(slot);
    }
    let scheme = settings.scheme;
    let (client, mut token) = match start(settings, &inbox) {
        Ok(started) => started,
        Err(error) => {
            Guard::done(slot);
            return drop(reply.send(Err(Refusal { error, stray: false })));
        }
    };
    let outcome = tokio::select! {
        outcome = &mut token => outcome,
        () = reply.closed() => (&mut token).await,
    };
    let _ = client.is_connected();
    drop(token);
    Guard::done(slot);
    if let Err(error) = outcome {
        destroy(client, guard).await;
        let refusal = Refusal { error: failure::connect(&error, scheme), stray: failure::is_stray(&error) };
        let _ = reply.send(Err(refusal));
        return;
    }
    let (commands, receiver) = mpsc::channel(queue);
    let (closing, closed) = oneshot::channel();
    // A failure drops the link that nobody waits for, and `serve` sees that.
    let _ = reply.send(Ok(PahoLink::new(commands, closing, Arc::clone(&inbox))));
    let mut connection =
        Connection { client, inbox, last: None, subacks: JoinSet::new(), closing: Closing::No(closed) };
    connection.serve(receiver).await;
    connection.end(guard).await;
}

fn start(settings: Settings, inbox: &Arc<Inbox>) -> Result<(AsyncClient, Token), LinkError> {
    let options = settings.connect_options()?;
    let wrong = |error: Error| LinkError::new(LinkErrorKind::Config, error.to_string());
    let client = quietly(|| AsyncClient::new(settings.create_options())).map_err(wrong)?;
    let messages = Arc::clone(inbox);
    client.set_message_callback(move |_, message| {
        if let Some(message) = message {
            messages.receive(&message);
        }
    });
    let loss = Arc::clone(inbox);
    client.set_connection_lost_callback(move |_| loss.lost());
    let token = quietly(|| client.connect(options));
    Ok((client, token))
}

/// Drops a client on this thread, after paho's callbacks. Paho sends DISCONNECT if it is still connected.
async fn destroy(client: AsyncClient, guard: &Guard) {
    let slot = guard.slot().await;
    let _ = client.is_connected();
    drop(client);
    Guard::done(slot);
}

/// How far the wish to end has come.
enum Closing {
    No(oneshot::Receiver<oneshot::Sender<()>>),
    Asked {
        done: oneshot::Sender<()>,
        until: Instant,
    },
    /// The link was dropped.
    Now,
}

/// A connected client.
struct Connection {
    client: AsyncClient,
    inbox: Arc<Inbox>,
    /// Resolves when all messages so far are written; looked at only by `close`.
    last: Option<Token>,
    subacks: JoinSet<()>,
    closing: Closing,
}

impl Connection {
    /// Carries out commands until the link is lost, dropped, or closed and drained.
    async fn serve(&mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let until = match &self.closing {
                Closing::No(_) => None,
                Closing::Asked { until, .. } => Some(*until),
                Closing::Now => return,
            };
            tokio::select! {
                biased;
                () = self.inbox.ended() => return,
                () = asked(&mut self.closing) => {}
                () = expired(until) => return,
                taken = commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 && until.is_some() {
                        return;
                    }
                    if taken == 0 {
                        // The link is being dropped: its other half follows.
                        asked(&mut self.closing).await;
                    }
                    for command in batch.drain(..) {
                        if !self.carry_out(command).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Whether to go on.
    async fn carry_out(&mut self, command: Command) -> bool {
        match command {
            Command::Publish(publish) => self.publish(publish).await,
            Command::Subscribe(filter) => {
                self.subscribe(filter);
                true
            }
        }
    }

    /// A push that follows a SUBACK must not overtake it on the way through two threads, so the token wakes a [`Place`].
    fn subscribe(&mut self, filter: TopicFilter) {
        while self.subacks.try_join_next().is_some() {}
        let place = Arc::new(Place { inbox: Arc::clone(&self.inbox), id: OnceLock::new(), marked: Notify::new() });
        let waker = Waker::from(Arc::clone(&place));
        self.inbox.hold();
        let mut token = self.client.subscribe(filter.as_str(), QoS::AtMostOnce);
        match Pin::new(&mut token).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => self.inbox.release(subscribed(filter, &result)),
            Poll::Pending => {
                self.inbox.release(None);
                self.subacks.spawn_local(suback(token, filter, place));
            }
        }
    }

    /// Hands a message to paho, which copies it. While paho's queue is full the message waits here, the link's own
    /// queue fills behind it, and then `publish` says `Overloaded`.
    async fn publish(&mut self, publish: Publish) -> bool {
        let qos = match publish.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        let mut message = Message::new(publish.topic.as_str(), Vec::from(publish.payload), qos);
        loop {
            match quietly(|| self.client.try_publish(message)) {
                Ok(token) => {
                    self.last = Some(token.into());
                    return true;
                }
                Err(Error::Publish(paho_mqtt_sys::MQTTASYNC_MAX_BUFFERED_MESSAGES, returned)) => message = returned,
                Err(Error::Publish(paho_mqtt_sys::MQTTASYNC_DISCONNECTED, _)) => {
                    self.inbox.lost();
                    return false;
                }
                Err(error) => {
                    self.inbox.end(LinkError::new(LinkErrorKind::Config, error.to_string()));
                    return false;
                }
            }
            let until = match &self.closing {
                Closing::No(_) => None,
                Closing::Asked { until, .. } => Some(*until),
                Closing::Now => return false,
            };
            tokio::select! {
                biased;
                () = self.inbox.ended() => return false,
                () = asked(&mut self.closing) => {}
                () = expired(until) => return false,
                () = sleep(FULL) => {}
            }
        }
    }

    /// Disconnects if that was asked for, and destroys the client.
    async fn end(self, guard: &Guard) {
        let Self { client, inbox, last, mut subacks, closing } = self;
        let Closing::Asked { done, until } = closing else {
            destroy(client, guard).await;
            inbox.end(LinkErrorKind::Closed.into());
            return;
        };
        if let Some(last) = last {
            let _ = timeout_at(until, last).await;
        }
        let token = client.disconnect(None);
        let _ = timeout(CLOSING, token).await;
        destroy(client, guard).await;
        subacks.abort_all();
        let _ = done.send(());
    }
}

/// Completes when the link asks to be closed or is dropped, once.
async fn asked(closing: &mut Closing) {
    match closing {
        Closing::No(asked) => {
            *closing = match asked.await {
                Ok(done) => Closing::Asked { done, until: Instant::now() + CLOSING },
                Err(_) => Closing::Now,
            }
        }
        Closing::Asked { .. } | Closing::Now => std::future::pending().await,
    }
}

async fn expired(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Awaits a SUBACK and reports it in its place among the messages.
async fn suback(token: Token, filter: TopicFilter, place: Arc<Place>) {
    place.marked.notified().await;
    let result = token.await;
    if let Some(id) = place.id.get() {
        place.inbox.fill(*id, subscribed(filter, &result));
    }
}

/// `None` if there was no SUBACK because the connection ended.
fn subscribed(filter: TopicFilter, result: &Result<paho_mqtt::ServerResponse, Error>) -> Option<LinkEvent> {
    let granted = match result {
        Ok(response) => response.subscribe_response().is_none_or(|qos| (0..=2).contains(&qos)),
        // What paho's wrapper makes of 0x80.
        Err(Error::Failure) => false,
        Err(_) => return None,
    };
    Some(LinkEvent::Subscribed { filter, granted })
}

/// Wakes from inside paho's callback: it marks the place at once, on paho's thread, and only then wakes the task.
struct Place {
    inbox: Arc<Inbox>,
    id: OnceLock<u64>,
    marked: Notify,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.id.get_or_init(|| self.inbox.reserve());
        self.marked.notify_one();
    }
}
