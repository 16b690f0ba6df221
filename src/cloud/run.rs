//! What a cloud does by itself, without being asked.

use std::time::Duration;

use tokio::time::Instant;

use super::Cloud;
use super::store::{Sql, StoreError, StoreErrorKind, commands};
use super::triggers;

/// How often what is too old is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Rows that one job removes: others want to write too.
const PRUNE_AT_ONCE: i64 = 1_000;
/// The longest rest. The clock may be set meanwhile.
const MAX_REST: Duration = Duration::from_secs(60);
/// After a failure of the store.
const RETRY: Duration = Duration::from_secs(1);

impl Cloud {
    /// Does what nobody asks for: fires the schedules of triggers, and forgets commands that are too old. Runs until the cloud
    /// is closed; to be started once, beside whatever serves the cloud. Dropping the future loses nothing: whoever runs
    /// it again goes on.
    ///
    /// A time of a SCHEDULE that passed while nobody ran this still fires within a minute, and is skipped after that; a
    /// SCHEDULE_ONCE fires within an hour. Later its command is stored as SEND_FAILED, or a result of its server code, and
    /// either way the trigger is off from then on.
    pub async fn run(&self) {
        let mut next_prune = Instant::now();
        loop {
            let rest = match self.fire().await {
                Ok(rest) => rest,
                Err(error) if error.kind() == StoreErrorKind::Closed => return,
                Err(error) => {
                    tracing::warn!(%error, "schedules are late");
                    RETRY
                }
            };
            if next_prune <= Instant::now() {
                if let Err(error) = self.prune_commands().await {
                    tracing::warn!(%error, "old commands were not removed; the next time is in an hour");
                }
                next_prune = Instant::now() + PRUNE_EVERY;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.0.schedule_changed.notified() => {}
                () = self.closing() => return,
            }
        }
    }

    /// Fires what is due. Returns how long to rest then.
    async fn fire(&self) -> Result<Duration, StoreError> {
        triggers::run_due(self).await?;
        let next = triggers::next_due_in(self).await?;
        Ok(next.unwrap_or(MAX_REST).min(MAX_REST))
    }

    async fn prune_commands(&self) -> Result<(), StoreError> {
        let retention = i64::try_from(self.0.command_retention.as_millis()).unwrap_or(i64::MAX);
        let before = self.now().saturating_sub(retention);
        let prune = move |sql: &mut dyn Sql| commands::prune(sql, before, PRUNE_AT_ONCE);
        while self.store().write(prune).await? as i64 == PRUNE_AT_ONCE {}
        Ok(())
    }

    /// Completes when [`close`](Cloud::close) begins.
    async fn closing(&self) {
        let mut closing = self.0.closing.subscribe();
        // The sender lives as long as this cloud.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
