//! What clients ask of triggers: a new one, and a change of one. (`wire` §5)

use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::Fields;
use super::{CommandRequest, InvalidBody, Predicate, Principal, ServerCode, TriggerCommand, actions, command};
use crate::ids::AccessToken;
use crate::secret::Secret;

/// The body of `POST …/triggers`.
///
/// `Serialize` redacts the token of a server code; see [`ServerCode`].
#[derive(Debug, Clone, Serialize)]
pub struct TriggerRequest {
    /// `triggersWhat` and the command or server code.
    #[serde(flatten)]
    pub target: TriggerTarget,
    /// When it fires.
    pub predicate: Predicate,
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

impl TriggerRequest {
    /// Reads the body. Without `triggersWhat`, which early clients do not send, it is told by what there is.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong; one of the predicate is `predicate`.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(body)?;
        let predicate = predicate(&mut fields)?.ok_or_else(|| fields.missing("predicate"))?;
        let target = match triggers_what(&mut fields)? {
            Some(what) => target(&mut fields, what)?.ok_or_else(|| fields.missing(what.field()))?,
            None => match (target(&mut fields, TriggersWhat::Command)?, target(&mut fields, TriggersWhat::ServerCode)?)
            {
                (Some(command), None) => command,
                (None, Some(server_code)) => server_code,
                _ => return Err(fields.missing("triggersWhat")),
            },
        };
        let Words { title, description, metadata } = Words::read(&mut fields)?;
        Ok(Self { target, predicate, title, description, metadata })
    }
}

/// The body of `PATCH …/triggers/{ID}`: what is absent stays as it is.
#[derive(Debug, Clone)]
pub struct TriggerPatch {
    /// `triggersWhat`, which some clients send with every change.
    pub triggers_what: Option<TriggersWhat>,
    /// The new command or server code, whole.
    pub target: Option<TriggerTarget>,
    /// The new predicate, whole.
    pub predicate: Option<Predicate>,
    /// At most 50 characters.
    pub title: Option<String>,
    /// At most 200 characters.
    pub description: Option<String>,
    /// Anything of the owner's.
    pub metadata: Option<Map<String, Value>>,
}

impl TriggerPatch {
    /// Reads the body.
    ///
    /// # Errors
    /// As [`TriggerRequest::from_json`]; nothing is required.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(body)?;
        let predicate = predicate(&mut fields)?;
        let triggers_what = triggers_what(&mut fields)?;
        let target = match triggers_what {
            Some(what) => target(&mut fields, what)?,
            None => match target(&mut fields, TriggersWhat::Command)? {
                Some(command) => Some(command),
                None => target(&mut fields, TriggersWhat::ServerCode)?,
            },
        };
        let Words { title, description, metadata } = Words::read(&mut fields)?;
        Ok(Self { triggers_what, target, predicate, title, description, metadata })
    }
}

/// `triggersWhat`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggersWhat {
    /// `COMMAND`
    Command,
    /// `SERVER_CODE`
    ServerCode,
}

impl TriggersWhat {
    fn field(self) -> &'static str {
        match self {
            TriggersWhat::Command => "command",
            TriggersWhat::ServerCode => "serverCode",
        }
    }
}

/// What a trigger sets off, told by `triggersWhat`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "triggersWhat")]
pub enum TriggerTarget {
    /// A command to a thing.
    #[serde(rename = "COMMAND")]
    Command {
        /// The command.
        command: TriggerCommand,
    },
    /// Code that runs in the service.
    #[serde(rename = "SERVER_CODE")]
    ServerCode {
        /// Which, and with what.
        #[serde(rename = "serverCode")]
        server_code: ServerCode,
    },
}

impl TriggerTarget {
    /// Which of the two it is.
    pub fn what(&self) -> TriggersWhat {
        match self {
            TriggerTarget::Command { .. } => TriggersWhat::Command,
            TriggerTarget::ServerCode { .. } => TriggersWhat::ServerCode,
        }
    }
}

struct Words {
    title: Option<String>,
    description: Option<String>,
    metadata: Option<Map<String, Value>>,
}

impl Words {
    fn read(fields: &mut Fields) -> Result<Self, InvalidBody> {
        let title = fields.text_up_to("title", command::MAX_TITLE, "a text of at most 50 characters")?;
        let long = "a text of at most 200 characters";
        let description = fields.text_up_to("description", command::MAX_DESCRIPTION, long)?;
        Ok(Self { title, description, metadata: fields.map("metadata")? })
    }
}

fn triggers_what(fields: &mut Fields) -> Result<Option<TriggersWhat>, InvalidBody> {
    match fields.text("triggersWhat")?.as_deref() {
        None => Ok(None),
        Some("COMMAND") => Ok(Some(TriggersWhat::Command)),
        Some("SERVER_CODE") => Ok(Some(TriggersWhat::ServerCode)),
        Some(_) => Err(fields.wrong("triggersWhat", "COMMAND or SERVER_CODE")),
    }
}

fn predicate(fields: &mut Fields) -> Result<Option<Predicate>, InvalidBody> {
    let expected = "one: `eventSource` STATES with `condition` and `triggersWhen`, SCHEDULE with `schedule`, or \
                    SCHEDULE_ONCE with `scheduleAt`";
    let value = fields.take("predicate");
    value.map(|value| serde_json::from_value(value).map_err(|_| fields.wrong("predicate", expected))).transpose()
}

fn target(fields: &mut Fields, what: TriggersWhat) -> Result<Option<TriggerTarget>, InvalidBody> {
    let Some(fields) = fields.object(what.field())? else { return Ok(None) };
    Ok(Some(match what {
        TriggersWhat::Command => TriggerTarget::Command { command: trigger_command(fields)? },
        TriggersWhat::ServerCode => TriggerTarget::ServerCode { server_code: server_code(fields)? },
    }))
}

/// A command inside a trigger says by its shape alone whether it has traits.
fn trigger_command(mut fields: Fields) -> Result<TriggerCommand, InvalidBody> {
    let target: Option<Principal> = fields.optional("target", "a principal such as `thing:{id}`")?;
    let has_traits = fields.peek("actions").is_some_and(actions::has_traits);
    let CommandRequest { actions, issuer, schema, schema_version, title, description, metadata } =
        CommandRequest::read(fields, has_traits)?;
    Ok(TriggerCommand { actions, issuer, target, schema, schema_version, title, description, metadata })
}

fn server_code(mut fields: Fields) -> Result<ServerCode, InvalidBody> {
    let token: Option<AccessToken> = fields.optional("executorAccessToken", "a token")?;
    Ok(ServerCode {
        endpoint: fields.required_text("endpoint")?,
        executor_access_token: token.map(Secret::new),
        target_app_id: fields.text("targetAppID")?,
        parameters: fields.map("parameters")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn predicate() -> Value {
        json!({ "eventSource": "SCHEDULE", "schedule": "1 * * * *" })
    }

    fn command() -> Value {
        json!({ "actions": [{ "on": {} }], "issuer": "user:u1", "target": "thing:th.2", "schema": "Lamp",
            "schemaVersion": 1, "title": "c" })
    }

    fn read(body: &Value) -> Result<TriggerRequest, InvalidBody> {
        TriggerRequest::from_json(body.to_string().as_bytes())
    }

    #[test]
    fn a_command_trigger_survives_the_wire() {
        let traits = json!({ "actions": [{ "Lamp": [{ "on": true }] }], "issuer": "user:u1" });
        for command in [command(), traits] {
            let given = json!({ "triggersWhat": "COMMAND", "command": command, "predicate": predicate(), "title": "t",
                "description": "d", "metadata": { "k": 1 } });
            assert_eq!(serde_json::to_value(read(&given).expect("valid")).expect("plain"), given);
        }
    }

    #[test]
    fn a_server_code_trigger_is_read_and_its_token_never_shown() {
        let given = json!({ "triggersWhat": "SERVER_CODE", "predicate": predicate(), "serverCode":
            { "endpoint": "f", "executorAccessToken": "t0k3n", "targetAppID": "a1", "parameters": { "n": 1 } } });
        let request = read(&given).expect("valid");
        let TriggerTarget::ServerCode { server_code } = &request.target else { panic!("not a server code") };
        let token = server_code.executor_access_token.as_ref().expect("given");
        assert_eq!(token.expose().as_str(), "t0k3n");
        let shown = format!("{request:?} {}", serde_json::to_string(&request).expect("plain"));
        assert!(!shown.contains("t0k3n"), "{shown}");
    }

    #[test]
    fn what_is_no_trigger_is_refused_by_the_name_of_its_field() {
        let good = json!({ "triggersWhat": "COMMAND", "command": command(), "predicate": predicate() });
        assert!(read(&good).is_ok());
        for (pointer, value, expected) in [
            ("/command", Value::Null, "body has no `command`"),
            ("/command", json!([]), "`command` is not an object"),
            ("/triggersWhat", json!("MAGIC"), "`triggersWhat` is not COMMAND or SERVER_CODE"),
            ("/triggersWhat", json!("SERVER_CODE"), "body has no `serverCode`"),
            ("/predicate", Value::Null, "body has no `predicate`"),
            ("/command/issuer", json!("u1"), "`command.issuer` is not a principal such as `user:{id}`"),
            ("/command/target", json!("th.2"), "`command.target` is not a principal such as `thing:{id}`"),
            ("/command/schema", Value::Null, "body has no `command.schema`"),
            ("/command/actions", json!([]), "`command.actions` is not complete: at least one action is required"),
            ("/command/title", json!("x".repeat(51)), "`command.title` is not a text of at most 50 characters"),
        ] {
            let mut given = good.clone();
            *given.pointer_mut(pointer).expect("a field") = value;
            assert_eq!(read(&given).expect_err("refused").to_string(), expected, "{given}");
        }
        let mut wrong = good.clone();
        wrong["predicate"] = json!({ "eventSource": "MOON" });
        assert!(read(&wrong).expect_err("refused").to_string().starts_with("`predicate` is not one: "));
        assert_eq!(
            read(&json!({ "predicate": predicate() })).expect_err("refused").to_string(),
            "body has no `triggersWhat`"
        );
    }

    #[test]
    fn what_it_triggers_is_told_by_what_there_is() {
        let request = read(&json!({ "command": command(), "predicate": predicate() })).expect("valid");
        assert_eq!(request.target.what(), TriggersWhat::Command);
        let request = read(&json!({ "serverCode": { "endpoint": "f" }, "predicate": predicate() })).expect("valid");
        assert_eq!(request.target.what(), TriggersWhat::ServerCode);
    }

    #[test]
    fn a_patch_may_be_empty_and_is_checked_where_it_is_not() {
        let read = |body: Value| TriggerPatch::from_json(body.to_string().as_bytes());
        let empty = read(json!({ "triggersWhat": "COMMAND" })).expect("valid");
        assert!(empty.target.is_none() && empty.predicate.is_none() && empty.title.is_none());
        assert_eq!(empty.triggers_what, Some(TriggersWhat::Command));
        let patch = read(json!({ "command": command(), "predicate": predicate(), "title": "t" })).expect("valid");
        assert!(patch.target.is_some() && patch.predicate.is_some() && patch.title.is_some());
        assert!(read(json!({ "serverCode": { "endpoint": "f" } })).expect("valid").target.is_some());
        for wrong in [json!({ "predicate": {} }), json!({ "command": {} }), json!({ "serverCode": {} }), json!([])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
