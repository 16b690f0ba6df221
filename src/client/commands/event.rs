//! What becomes of commands, for whoever wants to know.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use http::StatusCode;

use crate::client::lossy::{Item, Receiver};
use crate::ids::CommandId;

/// Something that happened to a command. Each is a `tracing` event as well.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandEvent {
    /// It is written down and about to run.
    Began(CommandId),
    /// It ran; whether every action succeeded.
    Finished(CommandId, bool),
    /// It was older than allowed: reported failed, not run.
    TooOld(CommandId),
    /// One that was posted after it has been carried out before it reached the device: reported failed, not run.
    Superseded(CommandId),
    /// It had begun when the program ended, and is not run again: reported failed.
    Interrupted(CommandId),
    /// It could not be written down, and so was not run: reported failed.
    NotJournalled(CommandId, String),
    /// The service has its results.
    Reported(CommandId),
    /// The service does not want its results.
    ReportRefused(CommandId, StatusCode),
    /// Its results cannot be sent, not even without their data.
    ReportImpossible(CommandId, String),
    /// Its results could not be reported for now; they will be after the next connect.
    ReportPostponed(CommandId, String),
    /// The missed commands could not be listed for now.
    ListFailed(String),
    /// There are more missed commands than are looked at; the others stay as they are.
    TooManyMissed,
    /// More commands wait than are kept; this one was dropped, and will be found in the list when those are done.
    Dropped(CommandId),
    /// The program reads these too slowly: so many were dropped.
    Lagged(u64),
}

/// What becomes of commands. Ends with [`Commands::run`](super::Commands::run).
#[derive(Debug)]
pub struct CommandEvents(pub(super) Receiver<CommandEvent>);

impl CommandEvents {
    /// The next one; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<CommandEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for CommandEvents {
    type Item = CommandEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<CommandEvent>> {
        self.0.poll_next(cx).map(|item| {
            item.map(|item| match item {
                Item::Value(event) => event,
                Item::Lagged(count) => CommandEvent::Lagged(count),
            })
        })
    }
}

/// As a `tracing` event.
pub(super) fn trace(event: &CommandEvent) {
    match event {
        CommandEvent::Began(command) => tracing::debug!(%command, "command begins"),
        CommandEvent::Finished(command, succeeded) => tracing::info!(%command, succeeded, "command carried out"),
        CommandEvent::TooOld(command) => tracing::warn!(%command, "command is too old, and not carried out"),
        CommandEvent::Superseded(command) => {
            tracing::warn!(%command, "command comes after newer ones, and is not carried out")
        }
        CommandEvent::Interrupted(command) => tracing::warn!(%command, "command was interrupted by a restart"),
        CommandEvent::NotJournalled(command, reason) => {
            tracing::error!(%command, reason, "command cannot be written down, and is not carried out");
        }
        CommandEvent::Reported(command) => tracing::debug!(%command, "results reported"),
        CommandEvent::ReportRefused(command, status) => tracing::warn!(%command, %status, "results refused"),
        CommandEvent::ReportImpossible(command, reason) => tracing::error!(%command, reason, "results cannot be sent"),
        CommandEvent::ReportPostponed(command, reason) => tracing::warn!(%command, reason, "results not reported yet"),
        CommandEvent::ListFailed(reason) => tracing::warn!(reason, "missed commands cannot be listed yet"),
        CommandEvent::TooManyMissed => tracing::warn!("more missed commands than are looked at"),
        CommandEvent::Dropped(command) => tracing::warn!(%command, "too many commands wait; one was dropped"),
        CommandEvent::Lagged(count) => tracing::debug!(count, "command events dropped"),
    }
}
