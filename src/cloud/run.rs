//! What a cloud does by itself, without being asked.

use std::time::Duration;

use super::Cloud;
use super::store::{Sql, StoreError, StoreErrorKind, commands};

/// How often what is too old is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Rows that one job removes: others want to write too.
const PRUNE_AT_ONCE: i64 = 1_000;

impl Cloud {
    /// Does what nobody asks for: forgets commands that are too old. Runs until the cloud is closed; to be started once, beside
    /// whatever serves the cloud. Dropping the future loses nothing.
    pub async fn run(&self) {
        loop {
            if self.prune_commands().await.is_err_and(|error| error.kind() == StoreErrorKind::Closed) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PRUNE_EVERY) => {}
                () = self.closing() => return,
            }
        }
    }

    async fn prune_commands(&self) -> Result<(), StoreError> {
        let retention = i64::try_from(self.0.command_retention.as_millis()).unwrap_or(i64::MAX);
        let before = self.now().saturating_sub(retention);
        loop {
            let prune = move |sql: &mut dyn Sql| commands::prune(sql, before, PRUNE_AT_ONCE);
            match self.store().write(prune).await {
                Ok(removed) if removed as i64 == PRUNE_AT_ONCE => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "old commands were not removed; the next time is in an hour");
                    return Err(error);
                }
            }
        }
    }

    /// Completes when [`close`](Cloud::close) begins.
    async fn closing(&self) {
        let mut closing = self.0.closing.subscribe();
        // The sender lives as long as this cloud.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
