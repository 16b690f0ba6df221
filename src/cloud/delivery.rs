//! Commands on their way to their thing. (`wire` §6)

use std::time::Duration;

use bytes::Bytes;

use super::Cloud;
use super::command::Delivery;
use super::store::installations::{self, Installation};
use super::store::{Sql, StoreError, StoreErrorKind, commands, end_nodes, things};
use crate::edge::PushOutcome;
use crate::ids::{AppId, ClientId, ThingId};
use crate::thing_if::{CommandState, Principal};

/// Outcomes that may wait to be recorded; more pushes wait with them.
pub(super) const MAX_UNRECORDED: u32 = 1_024;
/// Between two tries to record an outcome while the store has too much to do.
const RETRY: Duration = Duration::from_millis(100);

/// Where pushes for `principal` go: to its own installations or, as long as it is a thing behind a gateway, to the gateway's.
/// The gateway is told nothing for one that is disabled; the own connections of that have ended. (`wire` §6, §8)
pub(crate) fn installations_for(
    sql: &mut dyn Sql,
    app: &AppId,
    principal: &Principal,
) -> Result<Vec<Installation>, StoreError> {
    if let Principal::Thing(thing) = principal
        && let Some(gateway) = end_nodes::gateway_of(sql, app, thing)?
    {
        return match things::is_disabled(sql, app, thing)? {
            true => Ok(Vec::new()),
            false => installations::of(sql, app, &Principal::Thing(gateway)),
        };
    }
    installations::of(sql, app, principal)
}

/// The topics that pushes for `thing` go to.
pub(crate) fn topics_of(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Vec<ClientId>, StoreError> {
    let installations = installations_for(sql, app, &Principal::Thing(thing.clone()))?;
    Ok(installations.into_iter().map(|installation| installation.mqtt_topic).collect())
}

impl Cloud {
    /// Pushes a durable command to its thing, and records what became of the push: DELIVERED when a subscribed
    /// connection has it, SEND_FAILED when nobody could take it. Returns when it is pushed; recording goes on.
    pub(crate) async fn deliver(&self, delivery: Delivery) {
        let Delivery { app, thing, command, topics, payload } = delivery;
        // Held until the outcome is recorded. `close` takes all of them, so it waits for this.
        let Ok(permit) = self.unrecorded().acquire_owned().await else { return };
        let mut state = CommandState::SendFailed;
        for topic in &topics {
            match self.push(topic, payload.clone()).await {
                PushOutcome::Queued => state = CommandState::Delivered,
                outcome => tracing::debug!(%command, %thing, ?outcome, "command not delivered"),
            }
        }
        let cloud = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            loop {
                let (app, thing, command, state, now) =
                    (app.clone(), thing.clone(), command.clone(), state.clone(), cloud.now());
                let record = move |sql: &mut dyn Sql| -> Result<(), StoreError> {
                    commands::delivered(sql, &app, &thing, command.as_str(), state.as_str(), now)
                };
                match cloud.store().write(record).await {
                    Err(error) if error.kind() == StoreErrorKind::Overloaded => tokio::time::sleep(RETRY).await,
                    Err(error) => return tracing::warn!(%error, "the outcome of a push was not recorded"),
                    Ok(()) => return,
                }
            }
        });
    }

    /// Tells a command's issuer that its thing has reported: to whoever is connected, once, unrecorded.
    pub(crate) async fn tell_issuer(&self, topics: &[ClientId], payload: Bytes) {
        for topic in topics {
            let outcome = self.push(topic, payload.clone()).await;
            tracing::debug!(%topic, ?outcome, "issuer told of results");
        }
    }
}
