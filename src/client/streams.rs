//! What a program reads besides answers: pushes and notices.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::call::Alive;
use super::lossy::{Item, Receiver};
use crate::proto::Notice;

/// What arrives on the device's own topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// A push: one JSON object, at most 4096 bytes by the documentation. (`wire` §6)
    Message(Bytes),
    /// The program read too slowly: so many pushes were dropped, all older than what follows. Commands among them can
    /// be asked for with `GET …/commands`.
    Lagged(u64),
}

/// The pushes, in the order they arrived. Ends when the connection does, after everything is read.
#[derive(Debug)]
pub struct Pushes {
    receiver: Receiver<Bytes>,
    /// Keeps the connection open as long as somebody reads.
    _alive: Alive,
}

impl Pushes {
    pub(super) fn new(receiver: Receiver<Bytes>, alive: Alive) -> Self {
        Self { receiver, _alive: alive }
    }

    /// The next push; `None` when the connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Push> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Pushes {
    type Item = Push;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        self.receiver.poll_next(cx).map(|item| {
            item.map(|item| match item {
                Item::Value(payload) => Push::Message(payload),
                Item::Lagged(count) => Push::Lagged(count),
            })
        })
    }
}

/// What happens to the connection, with its causes. Ends when the connection does.
#[derive(Debug)]
pub struct Notices {
    receiver: Receiver<Notice>,
}

impl Notices {
    pub(super) fn new(receiver: Receiver<Notice>) -> Self {
        Self { receiver }
    }

    /// The next notice; `None` when the connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Notices {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.receiver.poll_next(cx).map(|item| {
            item.map(|item| match item {
                Item::Value(notice) => notice,
                Item::Lagged(count) => Notice::Lagged(count),
            })
        })
    }
}
