//! A change of a thing's state, and what it sets off.
//!
//! Whoever writes a state calls [`Cloud::state_changed`] in the transaction that writes it, and [`Cloud::follow`] once
//! that is durable.

use super::Cloud;
use super::command::Delivery;
use super::store::{Sql, StoreError};
use super::thing_state::ThingState;
use super::triggers;
use crate::ids::{AppId, ThingId};

/// What a request made of the state of a thing: one for each request, however many states it brought.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StateChange {
    pub(crate) app: AppId,
    pub(crate) thing: ThingId,
    /// `None`: this is the thing's first state.
    pub(crate) before: Option<ThingState>,
    pub(crate) after: ThingState,
    /// When the request came, in milliseconds since 1970.
    pub(crate) now: i64,
}

/// What is left to do when a change is durable.
#[derive(Debug, Default)]
#[must_use = "what a change sets off happens in `Cloud::follow`"]
pub(crate) struct Consequences {
    commands: Vec<Delivery>,
}

impl Cloud {
    /// Finds out what `change` sets off, and stores what of it must not be lost, in the transaction of the change.
    ///
    /// # Errors
    /// Those of the store; the change is rolled back with them.
    pub(crate) fn state_changed(&self, sql: &mut dyn Sql, change: &StateChange) -> Result<Consequences, StoreError> {
        Ok(Consequences { commands: triggers::state_changed(self, sql, change)? })
    }

    /// Does what is left to do, now that the change is durable.
    pub(crate) async fn follow(&self, consequences: Consequences) {
        for command in consequences.commands {
            self.deliver(command).await;
        }
    }
}
