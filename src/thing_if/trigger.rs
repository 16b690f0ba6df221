//! Triggers: a predicate and what it sets off. (`wire` §5)

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Actions, CommandRequest, Predicate, Principal};
use crate::ids::{AccessToken, TriggerId};
use crate::secret::Secret;

/// The command of a trigger: as in [`CommandRequest`](super::CommandRequest), for a thing that may be another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerCommand {
    /// What is asked for.
    pub actions: Actions,
    /// Who asks.
    pub issuer: Principal,
    /// The thing that executes it, if it is not the one whose state fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Principal>,
    /// Schema name, without traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Schema version, without traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// At most 50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// At most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything of the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl TriggerCommand {
    /// What is asked of the target.
    pub fn to_request(&self) -> CommandRequest {
        CommandRequest {
            actions: self.actions.clone(),
            issuer: self.issuer.clone(),
            schema: self.schema.clone(),
            schema_version: self.schema_version,
            title: self.title.clone(),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

/// Code in the service and what it is called with. Its token is a credential: `Serialize` redacts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerCode {
    /// Name of the function.
    pub endpoint: String,
    /// On whose behalf it runs.
    #[serde(default, rename = "executorAccessToken", skip_serializing_if = "Option::is_none")]
    pub executor_access_token: Option<Secret<AccessToken>>,
    /// The application that has the code, if it is another one.
    #[serde(default, rename = "targetAppID", skip_serializing_if = "Option::is_none")]
    pub target_app_id: Option<String>,
    /// What it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
}

/// The answer to `POST …/triggers`: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerCreated {
    /// The new trigger.
    #[serde(rename = "triggerID")]
    pub trigger_id: TriggerId,
}

/// The answer to `GET …/triggers/{ID}`: what the trigger sets off is in `command` or `server_code`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The trigger.
    #[serde(rename = "triggerID")]
    pub trigger_id: TriggerId,
    /// When it fires.
    pub predicate: Predicate,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Why the service switched it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<TriggerCommand>,
    /// The server code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_code: Option<ServerCode>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The answer to `GET …/triggers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// One page.
    pub triggers: Vec<Trigger>,
    /// Given back as `paginationKey` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

/// The answer to `GET …/triggers/{ID}/results/server-code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCodeResults {
    /// One page.
    pub trigger_server_code_results: Vec<ServerCodeResult>,
    /// Given back as `paginationKey` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

/// One run of a trigger's server code: an element of `triggerServerCodeResults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCodeResult {
    /// Whether it ran to its end.
    pub succeeded: bool,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_value: Option<Value>,
    /// Milliseconds since 1970, UTC.
    pub executed_at: i64,
    /// Name of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ServerCodeError>,
}

/// Why a server code failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCodeError {
    /// For people.
    pub error_message: String,
    /// `errorCode` and `message` of the run-time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Map<String, Value>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn predicate() -> Value {
        json!({ "eventSource": "SCHEDULE", "schedule": "1 * * * *" })
    }

    #[test]
    fn answers_survive_the_wire() {
        let given = json!({ "triggers": [{ "triggerID": "t1", "predicate": predicate(), "disabled": true,
            "disabledReason": "invalid trigger", "command": { "actions": [{ "A": [{ "on": true }] }],
            "issuer": "user:u1", "target": "thing:th.1" } }], "nextPaginationKey": "1/2" });
        let list: Triggers = serde_json::from_value(given.clone()).expect("valid");
        assert_eq!(serde_json::to_value(&list).expect("plain"), given);
        let result = json!({ "succeeded": false, "executedAt": 1, "endpoint": "f", "error": { "errorMessage": "failed",
            "details": { "errorCode": "RUNTIME_ERROR", "message": "x" } } });
        let read: ServerCodeResult = serde_json::from_value(result.clone()).expect("valid");
        assert_eq!(serde_json::to_value(&read).expect("plain"), result);
    }
}
