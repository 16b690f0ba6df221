//! What a cloud does by itself, without being asked.

use std::time::Duration;

use tokio::time::Instant;

use super::Cloud;
use super::store::state_history::{self, Alias};
use super::store::{Sql, StoreError, StoreErrorKind, commands};
use super::triggers;

/// How often what is too old is looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(60 * 60);
/// Rows that one job removes: others want to write too.
const AT_ONCE: i64 = 1_000;
/// The longest rest. The clock may be set meanwhile.
const MAX_REST: Duration = Duration::from_secs(60);
/// Aliases whose past one job looks at.
const ALIASES_AT_ONCE: i64 = 100;
/// After a failure of the store.
const RETRY: Duration = Duration::from_secs(1);

/// How far the removal of what is too old has come.
enum Retention {
    Commands,
    /// Past states of the aliases behind this one.
    History(Alias),
}

impl Cloud {
    /// Does what nobody asks for: fires the schedules of triggers, and once an hour forgets commands and past states that are
    /// too old. Runs until the cloud is closed; to be started once, beside whatever serves the cloud. Dropping the future
    /// loses nothing: whoever runs it again goes on.
    ///
    /// A time of a SCHEDULE that passed while nobody ran this still fires within a minute, and is skipped after that; a
    /// SCHEDULE_ONCE fires within an hour. Later its command is stored as SEND_FAILED, or a result of its server code, and
    /// either way the trigger is off from then on.
    ///
    /// A clock that is put back sets the times of every SCHEDULE anew.
    pub async fn run(&self) {
        let (mut next_retention, mut retention) = (Instant::now(), None);
        // The first look finds the clock put back, as it may have been while nobody ran this.
        let (mut last_look, mut is_put_back) = (i64::MAX, false);
        loop {
            let now = self.now();
            is_put_back |= now < last_look;
            last_look = now;
            let rest = match self.fire(&mut is_put_back).await {
                Ok(rest) => rest,
                Err(error) if error.kind() == StoreErrorKind::Closed => return,
                Err(error) => {
                    tracing::warn!(%error, "schedules are late");
                    RETRY
                }
            };
            if next_retention <= Instant::now() {
                next_retention = Instant::now() + RETENTION_EVERY;
                retention = Some(Retention::Commands);
            }
            if let Some(begun) = retention.take() {
                // One job at a time: to forget much must keep no schedule waiting.
                match self.forget(begun).await {
                    Ok(left) => retention = left,
                    Err(error) => {
                        tracing::warn!(%error, "not all that is too old was removed; the next time is in an hour")
                    }
                }
            }
            let rest = if retention.is_some() { Duration::ZERO } else { rest };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.0.schedule_changed.notified() => {}
                () = self.closing() => return,
            }
        }
    }

    /// Fires what is due. Returns how long to rest then.
    async fn fire(&self, is_put_back: &mut bool) -> Result<Duration, StoreError> {
        if *is_put_back {
            triggers::bring_forward(self).await?;
            *is_put_back = false;
        }
        triggers::run_due(self).await?;
        let next = triggers::next_due_in(self).await?;
        Ok(next.unwrap_or(MAX_REST).min(MAX_REST))
    }

    /// Removes some of what is too old. Returns what is left to be looked at.
    async fn forget(&self, retention: Retention) -> Result<Option<Retention>, StoreError> {
        match retention {
            Retention::Commands => {
                let millis = i64::try_from(self.0.command_retention.as_millis()).unwrap_or(i64::MAX);
                let before = self.now().saturating_sub(millis);
                let prune = move |sql: &mut dyn Sql| commands::prune(sql, before, AT_ONCE);
                let is_over = (self.store().write(prune).await? as i64) < AT_ONCE;
                Ok(Some(if is_over { Retention::History(Alias::default()) } else { Retention::Commands }))
            }
            // What a thing puts drops what is too old of it; this is for things that put nothing any more.
            Retention::History(after) => {
                let (oldest, behind) = (self.state_history().oldest(self.now()), after.clone());
                let outdated = move |sql: &mut dyn Sql| state_history::outdated(sql, oldest, &behind, ALIASES_AT_ONCE);
                let found = self.store().read(outdated).await?;
                let Some(last) = found.last().cloned() else { return Ok(None) };
                let drop = move |sql: &mut dyn Sql| -> Result<i64, StoreError> {
                    let mut left = AT_ONCE;
                    for alias in &found {
                        left -= state_history::drop_before(sql, alias, oldest, left)? as i64;
                    }
                    Ok(left)
                };
                // When there was too much for one job, the next looks at the same ones again.
                let is_over = self.store().write(drop).await? > 0;
                Ok(Some(Retention::History(if is_over { last } else { after })))
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
