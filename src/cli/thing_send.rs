//! `thingif thing send`: a command, and what the thing makes of it.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::exit::{Exit, Failure};
use crate::cli::login_file::LoginArgs;
use crate::cli::{duration_arg, output, table, thing};
use crate::thing_if::{Command, CommandCreated, CommandState, media_type};

/// Between two looks at a command.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Send a command to a thing, and wait for its result.
///
/// Ends with 0 when the thing has reported on every action and each succeeded, with 28 when it has not reported in time, and
/// with 1 when an action failed or the command did not reach the thing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif thing send lamp-1 '[{\"turnPower\":{\"power\":true}},{\"setBrightness\":{\"brightness\":80}}]'
  thingif thing send lamp-1 '[{\"lamp\":[{\"turnPower\":true}]}]' --traits
  thingif thing send lamp-1 '[{\"turnPower\":{\"power\":true}}]' --no-wait --json")]
pub(crate) struct Send {
    /// The thing.
    thing: String,
    /// A JSON array of actions.
    #[arg(value_name = "ACTIONS", value_parser = actions)]
    actions: Value,
    /// The actions have traits: [{"ALIAS":[{"ACTION":VALUE}]}].
    #[arg(long)]
    traits: bool,
    /// The schema that the actions are of.
    #[arg(long, value_name = "NAME", default_value = "default", conflicts_with = "traits")]
    schema: String,
    /// Its version.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "traits")]
    schema_version: u32,
    /// A title to find the command by, at most 50 characters.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// How long the thing has to report.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = duration_arg::seconds)]
    wait: Duration,
    /// Print the command's id, and do not wait.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Print the command as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

fn actions(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    match value.as_array() {
        Some(actions) if !actions.is_empty() => Ok(value),
        _ => Err(String::from("expected a JSON array of actions, such as [{\"turnPower\":{\"power\":true}}]")),
    }
}

impl Send {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let user = self.login.load()?;
        let thing = thing::find(&user, &self.thing).await?;
        let mut body = json!({"actions": self.actions, "issuer": format!("user:{}", user.id)});
        let media_type = if self.traits {
            media_type::COMMAND_CREATION_REQUEST
        } else {
            body["schema"] = self.schema.as_str().into();
            body["schemaVersion"] = self.schema_version.into();
            media_type::JSON
        };
        if let Some(title) = &self.title {
            body["title"] = title.as_str().into();
        }
        let path = format!("{}/commands", thing::target(&user, &thing));
        let created: CommandCreated = user.call(Method::POST, &path, Some((media_type, &body))).await?.read()?;
        let id = created.command_id;
        if self.no_wait {
            return match self.json {
                true => output::json_line(&json!({"commandID": id})),
                false => output::line(&format!("command      {id}")),
            };
        }
        let deadline = Instant::now() + self.wait;
        let command = loop {
            let command: Command = user.call(Method::GET, &format!("{path}/{id}"), None).await?.read()?;
            match command.command_state {
                CommandState::Sending | CommandState::Delivered | CommandState::Incomplete
                    if Instant::now() < deadline =>
                {
                    sleep(LOOK_EVERY).await;
                }
                _ => break command,
            }
        };
        self.print(&command)?;
        judge(&command, self.wait)
    }

    fn print(&self, command: &Command) -> Result<(), Failure> {
        if self.json {
            return output::json_line(command);
        }
        let mut table = table::with_header(["ACTION", "RESULT"]);
        let results = command.action_results.as_ref().map(serde_json::to_value).transpose().map_err(Failure::other)?;
        for (place, action) in self.actions.as_array().into_iter().flatten().enumerate() {
            let result = results.as_ref().and_then(|results| results.get(place)).map(Value::to_string);
            table.add_row([action.to_string(), result.unwrap_or_else(|| String::from("none yet"))]);
        }
        output::line(&format!(
            "command      {}\nstate        {}\n\n{table}",
            command.command_id,
            command.command_state.as_str()
        ))
    }
}

/// What the command's end is worth to a script.
fn judge(command: &Command, waited: Duration) -> Result<(), Failure> {
    let id = &command.command_id;
    match &command.command_state {
        CommandState::Done => {
            let results = serde_json::to_value(&command.action_results).map_err(Failure::other)?;
            if has_failed(&results) {
                Err(Failure::other(format_args!("an action of command {id} failed")))
            } else {
                Ok(())
            }
        }
        CommandState::SendFailed => Err(Failure::other(format_args!("command {id} did not reach the thing")).advise(
            "It is not connected, or has not subscribed. It finds the command in its list when it comes back.",
        )),
        state => Err(Failure::new(
            Exit::TimedOut,
            format_args!(
                "the thing has not reported on command {id} within {} s: it is {}",
                waited.as_secs_f64(),
                state.as_str()
            ),
        )
        .advise("--wait waits longer; the thing may still report.")),
    }
}

/// Whether some result, however deep by its aliases, says that it did not succeed.
fn has_failed(results: &Value) -> bool {
    match results {
        Value::Array(all) => all.iter().any(has_failed),
        Value::Object(fields) => match fields.get("succeeded") {
            Some(succeeded) => succeeded == &Value::Bool(false),
            None => fields.values().any(has_failed),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_action_is_found_with_traits_and_without() {
        for (results, failed) in [
            (json!([{"turnPower": {"succeeded": true}}]), false),
            (json!([{"turnPower": {"succeeded": true}}, {"dim": {"succeeded": false, "errorMessage": "no"}}]), true),
            (json!([{"lamp": [{"turnPower": {"succeeded": true}}]}]), false),
            (json!([{"lamp": [{"turnPower": {"succeeded": false}}]}]), true),
            (json!([{"ask": {"succeeded": true, "data": {"succeeded": false}}}]), false),
        ] {
            assert_eq!(has_failed(&results), failed, "{results}");
        }
    }

    #[test]
    fn actions_are_an_array_that_is_not_empty() {
        actions(r#"[{"turnPower":{"power":true}}]"#).expect("valid");
        for text in ["", "[]", "{}", "[", "\"x\""] {
            actions(text).expect_err(text);
        }
    }
}
