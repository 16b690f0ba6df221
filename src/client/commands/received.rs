//! A command as the device has it, whether it was pushed or found in the list.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{CommandId, ThingId};
use crate::thing_if::{ActionResult, ActionResults, Actions, CommandPush, Principal};

/// A command that has reached the device. (`wire` §6)
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReceivedCommand {
    /// The command.
    #[serde(rename = "commandID")]
    pub command_id: CommandId,
    /// The thing it is for: this one, or an end node behind it.
    #[serde(rename = "thingID")]
    pub thing_id: ThingId,
    /// What is asked for.
    pub actions: Actions,
    /// Who asks, `user:{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Schema name, without traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Schema version, without traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// As asked; pushes do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// As asked; pushes do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As asked; pushes do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Milliseconds since 1970 by the service's clock; pushes do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// Milliseconds since 1970 by the device's clock, when it arrived.
    pub received_at: i64,
}

impl ReceivedCommand {
    /// A command that was pushed to `own`, or through it to the end node that the push names.
    pub fn from_push(push: CommandPush, own: &ThingId, received_at: i64) -> Self {
        let thing_id = match push.target {
            Some(Principal::Thing(node)) => node,
            _ => own.clone(),
        };
        Self {
            command_id: push.command_id,
            thing_id,
            actions: push.actions,
            issuer: push.issuer,
            schema: push.schema,
            schema_version: push.schema_version,
            title: None,
            description: None,
            metadata: None,
            created_at: None,
            received_at,
        }
    }

    /// The results of a command none of whose actions was carried out.
    pub fn failed(&self, why: &str) -> ActionResults {
        ActionResults::of(&self.actions, |_, action| ActionResult::failed(&action.name, why))
    }
}

/// Shows no parameter of an action: it may be the code of a door.
impl fmt::Debug for ReceivedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedCommand({}, {} actions)", self.command_id, self.actions.len())
    }
}
