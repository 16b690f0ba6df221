//! What a link has heard and nobody has fetched yet: the bound between paho's threads and ours.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::mqtt::{LinkError, LinkErrorKind, Publish, Qos};
use crate::topic::Topic;
use crate::transport::LinkEvent;

/// How much may wait and how large one message may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) payload: usize,
    pub(super) keep_alive: Duration,
}

/// The events of one link in the order in which paho's receiving thread saw them.
///
/// Written by that thread, so nothing here blocks or panics, and no method of paho is called. A consumer that does not
/// fetch loses the link: what was heard so far is still handed out, then `Lost` with `Overloaded`. Dropping single
/// messages instead would turn an overload into calls that time out for no visible reason.
pub(super) struct Inbox {
    state: Mutex<State>,
    bounds: Bounds,
    ended: Notify,
}

struct State {
    queue: VecDeque<Slot>,
    /// How many of `queue` may be handed out while it is not known whether a SUBACK is among the rest.
    hold: Option<usize>,
    /// Payload bytes in `queue`.
    bytes: usize,
    end: End,
    waker: Option<Waker>,
    next_id: u64,
    last_heard: Instant,
}

enum Slot {
    Event(LinkEvent),
    /// A SUBACK has arrived here; what it says is being fetched.
    Suback(u64),
}

enum End {
    NotYet,
    Lost(LinkError),
    Told,
}

impl Inbox {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = State {
            queue: VecDeque::new(),
            hold: None,
            bytes: 0,
            end: End::NotYet,
            waker: None,
            next_id: 0,
            last_heard: Instant::now(),
        };
        Self { state: Mutex::new(state), bounds, ended: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message as paho hands it over; its accessors panic on what they take to be impossible, and a panic in paho's
    /// callback would abort the process.
    pub(super) fn receive(&self, message: &paho_mqtt::Message) {
        let read = || {
            let payload = message.payload();
            if payload.len() > self.bounds.payload {
                let detail = format!("a payload of {} bytes, {} are accepted", payload.len(), self.bounds.payload);
                return Err(LinkError::new(LinkErrorKind::Protocol, detail));
            }
            let topic = Topic::new(message.topic())
                .map_err(|error| LinkError::new(LinkErrorKind::Protocol, format!("PUBLISH: {error}")))?;
            let qos = match message.qos() {
                paho_mqtt::QoS::AtMostOnce => Qos::AtMostOnce,
                paho_mqtt::QoS::AtLeastOnce => Qos::AtLeastOnce,
                paho_mqtt::QoS::ExactlyOnce => Qos::ExactlyOnce,
            };
            Ok(Publish { topic, payload: Bytes::copy_from_slice(payload), qos })
        };
        match std::panic::catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(publish)) => self.push(publish),
            Ok(Err(error)) => self.end(error),
            Err(_) => self.end(LinkError::new(LinkErrorKind::Protocol, "PUBLISH with an impossible topic or QoS")),
        }
    }

    fn push(&self, publish: Publish) {
        let mut state = self.lock();
        if !matches!(state.end, End::NotYet) {
            return;
        }
        state.last_heard = Instant::now();
        let bytes = state.bytes + publish.payload.len();
        if state.queue.len() >= self.bounds.messages || (bytes > self.bounds.bytes && state.bytes > 0) {
            let detail = format!("{} messages, {} bytes arrived and were not taken", state.queue.len(), state.bytes);
            drop(state);
            return self.end(LinkError::new(LinkErrorKind::Overloaded, detail));
        }
        state.bytes = bytes;
        state.queue.push_back(Slot::Event(LinkEvent::Received(publish)));
        wake(state);
    }

    /// Marks the place of a SUBACK among the messages.
    pub(super) fn reserve(&self) -> u64 {
        let mut state = self.lock();
        state.last_heard = Instant::now();
        let id = state.next_id;
        state.next_id += 1;
        state.queue.push_back(Slot::Suback(id));
        id
    }

    /// Puts `event`, if there is one, into a place marked before.
    pub(super) fn fill(&self, id: u64, event: Option<LinkEvent>) {
        let mut state = self.lock();
        if let Some(at) = state.queue.iter().position(|slot| matches!(slot, Slot::Suback(known) if *known == id)) {
            match event {
                Some(event) => state.queue[at] = Slot::Event(event),
                None => {
                    state.queue.remove(at);
                    state.hold = state.hold.map(|left| left - usize::from(at < left));
                }
            }
        }
        wake(state);
    }

    /// Keeps what arrives from now on back until [`release`](Self::release): a SUBACK may arrive before anybody can
    /// mark its place.
    pub(super) fn hold(&self) {
        let mut state = self.lock();
        state.hold = Some(state.queue.len());
    }

    /// Ends [`hold`](Self::hold), with the event of a SUBACK that did arrive in between: it goes before what was kept.
    pub(super) fn release(&self, event: Option<LinkEvent>) {
        let mut state = self.lock();
        let at = state.hold.take();
        if let (Some(at), Some(event)) = (at, event) {
            state.queue.insert(at, Slot::Event(event));
        }
        wake(state);
    }

    /// Paho reports a lost connection, without a reason.
    ///
    /// It declares a peer dead only if nothing has come from it for 1.5 keep-alives; an idle peer that goes silent is
    /// noticed 2.5 keep-alives after its last message, give or take two of paho's rounds. So a loss outside that time
    /// is a close, and one inside it is taken for a silent peer.
    pub(super) fn lost(&self) {
        let silent = self.lock().last_heard.elapsed();
        let keep_alive = self.bounds.keep_alive;
        let rounds = (keep_alive / 5).min(Duration::from_secs(10)) + Duration::from_secs(4);
        let error = if silent >= keep_alive.mul_f32(1.5) && silent <= keep_alive.mul_f32(2.5) + rounds {
            LinkError::new(LinkErrorKind::KeepAlive, format!("nothing heard for {} s", silent.as_secs()))
        } else {
            LinkError::from(LinkErrorKind::Closed)
        };
        self.end(error);
    }

    /// Ends the link. The first reason stands.
    pub(super) fn end(&self, error: LinkError) {
        let mut state = self.lock();
        if matches!(state.end, End::NotYet) {
            state.end = End::Lost(error);
            self.ended.notify_one();
        }
        wake(state);
    }

    /// Completes once, when the link has ended. For one task at a time.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The next event; see [`Link::poll_event`](crate::transport::Link::poll_event).
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let mut state = self.lock();
        let ended = !matches!(state.end, End::NotYet);
        while state.hold != Some(0)
            && let Some(slot) = state.queue.pop_front()
        {
            state.hold = state.hold.map(|left| left - 1);
            match slot {
                Slot::Event(event) => {
                    if let LinkEvent::Received(publish) = &event {
                        state.bytes -= publish.payload.len();
                    }
                    return Poll::Ready(event);
                }
                Slot::Suback(_) if ended => {}
                Slot::Suback(id) => {
                    state.queue.push_front(Slot::Suback(id));
                    state.hold = state.hold.map(|left| left + 1);
                    break;
                }
            }
        }
        if ended
            && state.queue.is_empty()
            && let End::Lost(error) = std::mem::replace(&mut state.end, End::Told)
        {
            return Poll::Ready(LinkEvent::Lost(error));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes after unlocking: a waker is somebody else's code.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
