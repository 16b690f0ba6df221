//! The half of a link that lives with its user.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::inbox::Inbox;
use crate::mqtt::packet::MAX_REMAINING_LENGTH;
use crate::mqtt::{LinkError, LinkErrorKind, Publish};
use crate::topic::TopicFilter;
use crate::transport::{BoxFuture, Link, LinkEvent};

/// What the client's thread is asked to do.
pub(super) enum Command {
    Publish(Publish),
    Subscribe(TopicFilter),
}

/// A connection made by [`Paho`](super::Paho). All it does is pass things to and from paho's thread.
pub(super) struct PahoLink {
    commands: mpsc::Sender<Command>,
    closing: oneshot::Sender<oneshot::Sender<()>>,
    inbox: Arc<Inbox>,
}

impl PahoLink {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        closing: oneshot::Sender<oneshot::Sender<()>>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self { commands, closing, inbox }
    }

    fn send(&self, command: Command) -> Result<(), LinkError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => {
                let detail = format!("{} messages wait to be sent", self.commands.max_capacity());
                LinkError::new(LinkErrorKind::Overloaded, detail)
            }
            TrySendError::Closed(_) => LinkErrorKind::Closed.into(),
        })
    }
}

impl Link for PahoLink {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        // Topic with its length, packet identifier, payload.
        if publish.topic.as_str().len() + 4 + publish.payload.len() > MAX_REMAINING_LENGTH {
            return Err(LinkError::new(LinkErrorKind::Config, "message is larger than MQTT can carry"));
        }
        self.send(Command::Publish(publish))
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.send(Command::Subscribe(filter))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        self.inbox.poll(cx)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        let (done, closed) = oneshot::channel();
        // Fails only when the connection has ended; `closed` then completes at once.
        let _ = self.closing.send(done);
        Box::pin(async move {
            let _ = closed.await;
        })
    }
}
