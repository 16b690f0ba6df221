//! Pushes as Server-Sent Events: one bounded ring that every subscriber reads at its own pace.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::client::Push;

/// Events kept for subscribers that are behind, and for those that come back.
const MAX_EVENTS: usize = 256;
/// The same in bytes, as written. One that is longer by itself is still kept, alone.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Subscribers at once.
pub(crate) const MAX_SUBSCRIBERS: usize = 64;
/// After so much silence a comment is sent: whatever stands between keeps the connection, and one that is gone is found out.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Everything that subscribers are told, as far as it is kept.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Begins every event's id, so that an id of another run is recognised.
    run: String,
    ring: Mutex<Ring>,
    /// The number of the next event; wakes subscribers.
    next: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the first event in it.
    first: u64,
    events: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

/// What a subscriber finds.
enum Found {
    Event(Bytes),
    /// So many events are no longer there.
    Missed(u64),
    Nothing,
    End,
}

impl Feed {
    /// `run` is to be another one each time.
    pub(crate) fn new(run: String) -> Self {
        let places = Arc::new(Semaphore::new(MAX_SUBSCRIBERS));
        Self { run, ring: Mutex::default(), next: watch::Sender::new(0), places }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it is held, and every state of it is a valid one.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every subscriber of a push, or of pushes that were dropped before they came here. Never waits.
    pub(crate) fn push(&self, push: &Push) {
        match push {
            Push::Message(payload) => match std::str::from_utf8(payload) {
                Ok(text) => self.tell(None, text),
                Err(_) => self.tell(Some("base64"), &STANDARD.encode(payload)),
            },
            Push::Lagged(count) => self.tell(Some("lagged"), &format!("{{\"dropped\":{count}}}")),
        }
    }

    /// Tells every subscriber whether there is a connection: what is pushed while there is none is lost.
    pub(crate) fn connection(&self, is_there: bool) {
        self.tell(Some(if is_there { "connected" } else { "disconnected" }), "{}");
    }

    fn tell(&self, name: Option<&str>, text: &str) {
        let mut ring = self.ring();
        let number = ring.first + ring.events.len() as u64;
        let event = written(&format!("{}.{number}", self.run), name, text);
        ring.bytes += event.len();
        ring.events.push_back(event);
        while ring.events.len() > MAX_EVENTS || (ring.bytes > MAX_BYTES && ring.events.len() > 1) {
            let Some(gone) = ring.events.pop_front() else { break };
            ring.bytes -= gone.len();
            ring.first += 1;
        }
        // Under the lock, so that the number never goes back.
        self.next.send_replace(number + 1);
    }

    /// Ends every subscriber's stream, after what it has not read yet.
    pub(crate) fn end(&self) {
        self.ring().ended = true;
        self.next.send_modify(|_| {});
    }

    /// Subscribes, from now on or from after `last_event_id`. `None`: there are as many subscribers as there may be.
    pub(crate) fn subscribe(self: &Arc<Self>, last_event_id: Option<&str>) -> Option<Subscription> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let heard = self.next.subscribe();
        let (first, next) = {
            let ring = self.ring();
            (ring.first, ring.first + ring.events.len() as u64)
        };
        let mut opening = String::from("retry: 1000\n: thingif\n\n");
        let from = match last_event_id.map(|id| self.number_of(id).filter(|number| *number < next)) {
            None => next,
            Some(Some(number)) => number + 1,
            // An id of another run: all that is here is newer, and nobody knows what was between.
            Some(None) => {
                opening.push_str("event: lagged\ndata: {\"dropped\":null}\n\n");
                first
            }
        };
        Some(Subscription { feed: Arc::clone(self), next: from, heard, opening: Some(opening.into()), _place: place })
    }

    /// The number in an id of this run.
    fn number_of(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.run)?.strip_prefix('.')?.parse().ok()
    }

    fn read(&self, number: u64) -> Found {
        let ring = self.ring();
        match number.checked_sub(ring.first) {
            None => Found::Missed(ring.first - number),
            Some(at) => match usize::try_from(at).ok().and_then(|at| ring.events.get(at)) {
                Some(event) => Found::Event(event.clone()),
                None if ring.ended => Found::End,
                None => Found::Nothing,
            },
        }
    }
}

/// An event as it is written. Line ends of any kind in `text` arrive as LF (HTML standard §9.2.6).
fn written(id: &str, name: Option<&str>, text: &str) -> Bytes {
    let mut event = format!("id: {id}\n");
    if let Some(name) = name {
        // Writing to a String does not fail.
        let _ = writeln!(event, "event: {name}");
    }
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        let _ = writeln!(event, "data: {line}");
    }
    event.push('\n');
    event.into()
}

/// One subscriber's place in the feed.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    next: u64,
    heard: watch::Receiver<u64>,
    opening: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    /// What is to be written next; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        loop {
            // Before reading, so that what comes meanwhile wakes.
            self.heard.borrow_and_update();
            match self.feed.read(self.next) {
                Found::Event(event) => {
                    self.next += 1;
                    return Some(event);
                }
                Found::Missed(count) => {
                    self.next += count;
                    let last = format!("{}.{}", self.feed.run, self.next - 1);
                    return Some(written(&last, Some("lagged"), &format!("{{\"dropped\":{count}}}")));
                }
                Found::End => return None,
                Found::Nothing => match timeout(HEARTBEAT, self.heard.changed()).await {
                    Ok(_) => {}
                    Err(_) => return Some(Bytes::from_static(b":\n\n")),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Arc<Feed> {
        Arc::new(Feed::new("r".to_owned()))
    }

    fn message(text: &str) -> Push {
        Push::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A subscriber that has read the opening, and the opening.
    async fn subscribed(feed: &Arc<Feed>, last_event_id: Option<&str>) -> (Subscription, String) {
        let mut subscription = feed.subscribe(last_event_id).expect("a place");
        let opening = read(&mut subscription).await;
        (subscription, opening)
    }

    async fn read(subscription: &mut Subscription) -> String {
        let bytes = subscription.next().await.expect("not at its end");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn every_subscriber_hears_what_is_pushed_from_now_on() {
        let feed = feed();
        feed.push(&message("before"));
        let (mut one, opening) = subscribed(&feed, None).await;
        assert!(opening.starts_with("retry: 1000\n"), "{opening}");
        let (mut two, _) = subscribed(&feed, None).await;
        feed.push(&message("{\n  \"a\" : 1\r\n}"));
        let expected = "id: r.1\ndata: {\ndata:   \"a\" : 1\ndata: }\n\n";
        assert_eq!(read(&mut one).await, expected);
        assert_eq!(read(&mut two).await, expected);
        feed.push(&Push::Message(Bytes::from_static(b"\xff\x00")));
        assert_eq!(read(&mut one).await, "id: r.2\nevent: base64\ndata: /wA=\n\n");
        feed.push(&Push::Lagged(3));
        assert_eq!(read(&mut one).await, "id: r.3\nevent: lagged\ndata: {\"dropped\":3}\n\n");
        feed.connection(false);
        assert_eq!(read(&mut one).await, "id: r.4\nevent: disconnected\ndata: {}\n\n");
        assert_eq!(read(&mut one).await, ":\n\n", "silence is broken by comments");
        feed.end();
        assert_eq!(one.next().await, None);
        assert!(read(&mut two).await.contains("base64"), "the end comes after everything else");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_too_slow_is_told_how_much_is_gone() {
        let feed = feed();
        let (mut slow, _) = subscribed(&feed, None).await;
        for number in 0..MAX_EVENTS + 3 {
            feed.push(&message(&number.to_string()));
        }
        assert_eq!(read(&mut slow).await, "id: r.2\nevent: lagged\ndata: {\"dropped\":3}\n\n");
        assert_eq!(read(&mut slow).await, "id: r.3\ndata: 3\n\n");
    }

    #[test]
    fn long_events_make_room_for_each_other() {
        let feed = feed();
        for _ in 0..10 {
            feed.push(&message(&"x".repeat(MAX_BYTES / 4)));
            let ring = feed.ring();
            assert_eq!(ring.bytes, ring.events.iter().map(Bytes::len).sum::<usize>());
            assert!(ring.bytes <= MAX_BYTES, "{}", ring.bytes);
        }
        assert_eq!(feed.ring().events.len(), 3);
        feed.push(&message(&"x".repeat(2 * MAX_BYTES)));
        assert_eq!(feed.ring().events.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_back_hears_what_was_between_as_far_as_it_is_there() {
        let feed = feed();
        for text in ["a", "b", "c"] {
            feed.push(&message(text));
        }
        let (mut back, opening) = subscribed(&feed, Some("r.0")).await;
        assert!(!opening.contains("lagged"), "{opening}");
        assert_eq!(read(&mut back).await, "id: r.1\ndata: b\n\n");
        assert_eq!(read(&mut back).await, "id: r.2\ndata: c\n\n");
        let (mut up_to_date, _) = subscribed(&feed, Some("r.2")).await;
        assert_eq!(read(&mut up_to_date).await, ":\n\n");
        for unknown in ["another run.1", "r.3", "r.x", "r", ""] {
            let (mut stranger, opening) = subscribed(&feed, Some(unknown)).await;
            assert!(opening.ends_with("event: lagged\ndata: {\"dropped\":null}\n\n"), "{opening}");
            assert_eq!(read(&mut stranger).await, "id: r.0\ndata: a\n\n", "{unknown}");
        }
        for _ in 0..MAX_EVENTS {
            feed.push(&message("d"));
        }
        let (mut late, _) = subscribed(&feed, Some("r.0")).await;
        assert_eq!(read(&mut late).await, "id: r.2\nevent: lagged\ndata: {\"dropped\":2}\n\n");
    }

    #[test]
    fn there_is_a_bound_to_subscribers_and_whoever_leaves_makes_room() {
        let feed = feed();
        let mut all: Vec<_> = (0..MAX_SUBSCRIBERS).map(|_| feed.subscribe(None).expect("a place")).collect();
        assert!(feed.subscribe(None).is_none());
        all.pop();
        assert!(feed.subscribe(None).is_some());
    }
}
