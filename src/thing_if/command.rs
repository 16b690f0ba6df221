//! Commands: asked for by an owner, pushed to the thing, read back with their state.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::{ActionResults, Actions, InvalidBody, Principal, actions, json, media_type, open_text};
use crate::ids::{CommandId, TriggerId};

open_text! {
    /// `commandState`. The SDKs disagree about which exist. (`wire` §5)
    CommandState {
        /// No result yet.
        Sending = "SENDING",
        /// Named by one SDK only.
        Delivered = "DELIVERED",
        /// Named by one SDK only.
        SendFailed = "SEND_FAILED",
        /// Some actions have a result.
        Incomplete = "INCOMPLETE",
        /// Every action has a result.
        Done = "DONE",
    }
}

/// The longest `title`, in characters. (`wire` §5)
pub(super) const MAX_TITLE: usize = 50;
/// The longest `description`, in characters. (`wire` §5)
pub(super) const MAX_DESCRIPTION: usize = 200;

/// The body of `POST …/commands`. (`wire` §5)
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandRequest {
    /// What is asked for; never empty.
    pub actions: Actions,
    /// Who asks: a user or a group by the documentation; a thing is read as well.
    pub issuer: Principal,
    /// Schema name; always there without traits, never with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Schema version; always there without traits, never with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// At most 50 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything of the owner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl CommandRequest {
    /// Reads the body that came with `content_type`: `CommandCreationRequest` has traits, anything else is taken for
    /// `application/json` and has none.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong; a list without any action is one, and so is one
    /// without traits that has the shape of one with.
    pub fn from_body(content_type: &[u8], body: &[u8]) -> Result<Self, InvalidBody> {
        let traits = media_type::is(content_type, media_type::COMMAND_CREATION_REQUEST);
        Self::read(Fields::parse(body)?, traits)
    }

    /// Reads the fields, which have traits or have not.
    pub(super) fn read(mut fields: Fields, traits: bool) -> Result<Self, InvalidBody> {
        let value = fields.take("actions").ok_or_else(|| fields.missing("actions"))?;
        if !traits && actions::has_traits(&value) {
            // Whoever reads the command later goes by its shape alone, and would expect results with aliases.
            return Err(fields.wrong("actions", "a list without traits: every parameter is an array of objects"));
        }
        let actions = if traits { Actions::traits(value) } else { Actions::flat(value) };
        let actions = actions.ok_or_else(|| fields.wrong("actions", actions::EXPECTED))?;
        if actions.is_empty() {
            return Err(fields.wrong("actions", "complete: at least one action is required"));
        }
        let issuer = fields.required("issuer", "a principal such as `user:{id}`")?;
        let (schema, schema_version) = if traits {
            (None, None)
        } else {
            let version = fields.integer("schemaVersion")?.ok_or_else(|| fields.missing("schemaVersion"))?;
            (Some(fields.required_text("schema")?), Some(version))
        };
        Ok(Self {
            actions,
            issuer,
            schema,
            schema_version,
            title: fields.text_up_to("title", MAX_TITLE, "a text of at most 50 characters")?,
            description: fields.text_up_to("description", MAX_DESCRIPTION, "a text of at most 200 characters")?,
            metadata: fields.map("metadata")?,
        })
    }
}

/// The answer to `POST …/commands`: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandCreated {
    /// The new command.
    #[serde(rename = "commandID")]
    pub command_id: CommandId,
}

/// What a thing receives on its own topic. (`wire` §6)
///
/// Written in the order that clients' comments show: `schema`, `schemaVersion`, `commandID`, `actions`, `issuer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandPush {
    /// Schema name, without traits; one known client refuses a push that lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Schema version, without traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// Stands in the path of the action results.
    #[serde(rename = "commandID")]
    pub command_id: CommandId,
    /// What is asked for.
    pub actions: Actions,
    /// Who asks, `user:{id}`; shown, never judged, so any text is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The end node behind a gateway, `thing:{id}`: ours, and only where it is asked for. (`wire` §8)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Principal>,
}

impl CommandPush {
    /// Reads the payload of a push.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not JSON or has no `commandID` or `actions`.
    pub fn from_json(payload: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(payload)
    }
}

/// What the issuer of a command receives on its own topic once the thing has reported. Only `commandID` is known of it;
/// the rest is ours, and there are no `actions`, by which readers tell a command. (`wire` §6)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandReportedPush {
    /// The command.
    #[serde(rename = "commandID")]
    pub command_id: CommandId,
    /// The thing that reported.
    pub target: Principal,
    /// How far the command is.
    pub command_state: CommandState,
}

/// The answer to `GET …/commands/{CID}`. (`wire` §5)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The command.
    #[serde(rename = "commandID")]
    pub command_id: CommandId,
    /// The thing it is for.
    pub target: Principal,
    /// Who asked.
    pub issuer: Principal,
    /// What was asked for.
    pub actions: Actions,
    /// What became of it, as far as the thing has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_results: Option<ActionResults>,
    /// How far it is.
    pub command_state: CommandState,
    /// The trigger that asked.
    #[serde(default, rename = "firedByTriggerID", skip_serializing_if = "Option::is_none")]
    pub fired_by_trigger_id: Option<TriggerId>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    /// Milliseconds since 1970, UTC.
    pub modified_at: i64,
}

/// The answer to `GET …/commands`, newest first or not: no document says. (`wire` §5)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commands {
    /// One page.
    pub commands: Vec<Command>,
    /// Given back as `paginationKey` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        json!({ "actions": [{ "turnPower": { "power": true } }], "issuer": "USER:u1", "schema": "Lamp",
            "schemaVersion": 1, "title": "t", "description": "d", "metadata": { "k": 1 } })
    }

    #[test]
    fn a_request_is_read_with_its_issuer_in_any_case() {
        let body = request().to_string();
        let command = CommandRequest::from_body(b"application/json", body.as_bytes()).expect("valid");
        let mut expected = request();
        expected["issuer"] = json!("user:u1");
        assert_eq!(serde_json::to_value(&command).expect("plain"), expected);
    }

    #[test]
    fn what_a_request_lacks_is_named() {
        for (field, value, expected) in [
            ("actions", Value::Null, "body has no `actions`"),
            ("actions", json!([]), "`actions` is not complete: at least one action is required"),
            (
                "actions",
                json!([{ "on": [{ "to": 1 }] }, { "off": [] }]),
                "`actions` is not a list without traits: every parameter is an array of objects",
            ),
            ("actions", json!([1]), "`actions` is not an array of objects with one name each"),
            ("issuer", json!("u1"), "`issuer` is not a principal such as `user:{id}`"),
            ("schema", Value::Null, "body has no `schema`"),
            ("schemaVersion", Value::Null, "body has no `schemaVersion`"),
            ("title", json!("é".repeat(51)), "`title` is not a text of at most 50 characters"),
            ("description", json!("x".repeat(201)), "`description` is not a text of at most 200 characters"),
            ("metadata", json!([]), "`metadata` is not an object"),
        ] {
            let mut body = request();
            body[field] = value;
            let error = CommandRequest::from_body(b"application/json", body.to_string().as_bytes());
            assert_eq!(error.expect_err("refused").to_string(), expected);
        }
        let mut longest = request();
        longest["title"] = json!("é".repeat(50));
        assert!(CommandRequest::from_body(b"", longest.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn traits_are_told_by_the_media_type_and_need_no_schema() {
        let body = json!({ "actions": [{ "Lamp": [{ "turnPower": true }] }], "issuer": "user:u1" }).to_string();
        let content_type = media_type::COMMAND_CREATION_REQUEST.to_ascii_uppercase();
        let command = CommandRequest::from_body(content_type.as_bytes(), body.as_bytes()).expect("valid");
        assert!(matches!(command.actions, Actions::Traits(_)));
        let flat = request().to_string();
        assert!(CommandRequest::from_body(content_type.as_bytes(), flat.as_bytes()).is_err());
    }

    #[test]
    fn a_push_is_written_in_the_order_that_clients_show() {
        let given = r#"{"schema":"Lamp","schemaVersion":1,"commandID":"c1","actions":[{"on":{}}],"issuer":"user:u1"}"#;
        let push = CommandPush::from_json(given.as_bytes()).expect("valid");
        assert_eq!(serde_json::to_string(&push).expect("plain"), given);
    }

    #[test]
    fn a_push_with_traits_and_unknown_fields_is_read() {
        let given = br#"{"commandID":"c1","actions":[{"Lamp":[{"on":true}]}],"issuer":"app admin","title":"x"}"#;
        let push = CommandPush::from_json(given).expect("lenient");
        assert_eq!(push.actions.len(), 1);
        assert_eq!(push.issuer.as_deref(), Some("app admin"));
    }

    #[test]
    fn a_command_id_that_could_leave_its_path_is_refused() {
        let error = CommandPush::from_json(br#"{"commandID":"../x","actions":[{"on":{}}]}"#).expect_err("refused");
        assert!(error.to_string().contains("command id"), "{error}");
    }

    #[test]
    fn a_command_survives_the_wire() {
        let given = json!({ "commands": [{ "commandID": "c1", "target": "thing:th.1", "issuer": "user:u1",
            "actions": [{ "on": {} }], "actionResults": [{ "on": { "succeeded": true } }], "commandState": "DONE",
            "firedByTriggerID": "t1", "title": "t", "schema": "Lamp", "schemaVersion": 1,
            "createdAt": 1_469_102_511_270_i64, "modifiedAt": 1_469_102_511_271_i64 }], "nextPaginationKey": "1/2" });
        let commands: Commands = serde_json::from_value(given.clone()).expect("valid");
        assert_eq!(commands.commands[0].command_state, CommandState::Done);
        assert_eq!(serde_json::to_value(&commands).expect("plain"), given);
    }
}
