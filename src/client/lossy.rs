//! A bounded queue that never makes its sender wait: when it is full the oldest item goes, and the reader is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What the reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<T> {
    Value(T),
    /// So many items were dropped, all older than what follows.
    Lagged(u64),
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    capacity: usize,
    lagged: u64,
    reader: Option<Waker>,
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Mutex<Queue<T>>>);

#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Mutex<Queue<T>>>);

/// A queue for `capacity` items, at least one. Memory is taken as items arrive.
pub(super) fn queue<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Queue { items: VecDeque::new(), capacity: capacity.max(1), lagged: 0, reader: None, ended: false };
    let shared = Arc::new(Mutex::new(queue));
    (Sender(shared.clone()), Receiver(shared))
}

fn lock<T>(queue: &Mutex<Queue<T>>) -> MutexGuard<'_, Queue<T>> {
    // Nothing panics while it is held, and every state of it is a valid one.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Adds an item, in place of the oldest if there is no room.
    pub(super) fn send(&self, item: T) {
        let reader = {
            let mut queue = lock(&self.0);
            if queue.items.len() >= queue.capacity {
                queue.items.pop_front();
                queue.lagged += 1;
            }
            queue.items.push_back(item);
            queue.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let reader = {
            let mut queue = lock(&self.0);
            queue.ended = true;
            queue.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` when the sender is gone and everything is read. Cancel-safe.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<T>>> {
        let mut queue = lock(&self.0);
        if queue.lagged > 0 {
            return Poll::Ready(Some(Item::Lagged(std::mem::take(&mut queue.lagged))));
        }
        match queue.items.pop_front() {
            Some(item) => Poll::Ready(Some(Item::Value(item))),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(receiver: &mut Receiver<u32>) -> Poll<Option<Item<u32>>> {
        receiver.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_was_dropped_is_told_before_what_is_left() {
        let (sender, mut receiver) = queue(2);
        (1..=5).for_each(|item| sender.send(item));
        assert_eq!(read(&mut receiver), Poll::Ready(Some(Item::Lagged(3))));
        assert_eq!(read(&mut receiver), Poll::Ready(Some(Item::Value(4))));
        assert_eq!(read(&mut receiver), Poll::Ready(Some(Item::Value(5))));
        assert_eq!(read(&mut receiver), Poll::Pending);
        drop(sender);
        assert_eq!(read(&mut receiver), Poll::Ready(None));
    }

    #[test]
    fn what_was_sent_before_the_end_is_still_read() {
        let (sender, mut receiver) = queue(2);
        assert!(!sender.is_closed());
        sender.send(1);
        drop(sender);
        assert_eq!(read(&mut receiver), Poll::Ready(Some(Item::Value(1))));
        assert_eq!(read(&mut receiver), Poll::Ready(None));
    }
}
