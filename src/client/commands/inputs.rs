//! Where commands come from.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream as _;

use super::{ReceivedCommand, Tap, clock};
use crate::client::{Notice, Notices, Push, Pushes};
use crate::ids::ThingId;
use crate::thing_if;

/// Something for the loop.
#[derive(Debug)]
pub(in crate::client) enum Input {
    /// A command of this age has arrived.
    Command(Box<ReceivedCommand>, Duration),
    /// Commands may have been missed.
    Behind,
    /// There is a new connection: what the last one did not take can be tried again.
    Connected,
}

/// What the loop waits for.
pub(in crate::client) trait Inputs: Send {
    /// The next input for the commands of `own`; `None` at the end. Cancel-safe.
    fn next(&mut self, own: &ThingId) -> impl Future<Output = Option<Input>> + Send;
}

/// The pushes and notices of a connection whose only thing is the device itself.
pub(super) struct Arrivals {
    pushes: Pushes,
    notices: Option<Notices>,
    tap: Option<Tap>,
}

impl Arrivals {
    /// What has happened so far is left out: it is covered by the list that is asked for at the beginning.
    pub(super) async fn from_now_on(pushes: Pushes, notices: Notices, tap: Option<Tap>) -> Self {
        Self { pushes, notices: without_the_past(notices).await, tap }
    }

    fn pushed(&mut self, push: &Push, own: &ThingId) -> Option<Input> {
        if let Some(tap) = &mut self.tap {
            tap(push);
        }
        match push {
            Push::Message(payload) => match thing_if::Push::from_json(payload) {
                Ok(thing_if::Push::Command(push)) => {
                    let command = ReceivedCommand::from_push(push, own, clock());
                    Some(Input::Command(Box::new(command), Duration::ZERO))
                }
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "a push cannot be read");
                    None
                }
            },
            Push::Lagged(_) => Some(Input::Behind),
        }
    }
}

impl Inputs for Arrivals {
    async fn next(&mut self, own: &ThingId) -> Option<Input> {
        loop {
            tokio::select! {
                push = self.pushes.next() => {
                    if let Some(input) = self.pushed(&push?, own) {
                        return Some(input);
                    }
                }
                () = connected(&mut self.notices) => return Some(Input::Connected),
            }
        }
    }
}

/// The next time that the connection is ready, as far as is known; pending when that is never. Cancel-safe.
pub(in crate::client) async fn connected(notices: &mut Option<Notices>) {
    while let Some(open) = notices {
        match open.next().await {
            Some(Notice::Ready { .. } | Notice::Lagged(_)) => return,
            Some(_) => {}
            None => *notices = None,
        }
    }
    std::future::pending().await
}

/// Reads what is there already; `None` at the end.
pub(in crate::client) async fn without_the_past(mut notices: Notices) -> Option<Notices> {
    let is_open = poll_fn(|cx| {
        loop {
            match Pin::new(&mut notices).poll_next(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending => return Poll::Ready(true),
            }
        }
    });
    is_open.await.then_some(notices)
}
