//! `…/targets/thing:{TH}/commands`: posted by an owner, pushed to the thing, read back. (`wire` §5, §6)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::commands as rows;
use crate::cloud::store::{Sql, installations};
use crate::cloud::{Cloud, answer};
use crate::ids::{CommandId, ThingId, TriggerId};
use crate::thing_if::{
    Command, CommandCreated, CommandPush, CommandRequest, CommandState, Commands, ErrorCode, InvalidBody, MAX_PUSH_LEN,
    Principal, json, media_type,
};

/// The most commands on a page, and how many there are when the request does not say.
const MAX_PAGE: i64 = 200;
const DEFAULT_PAGE: i64 = 50;
/// The most that a command takes in an answer before it has results, in bytes; they get as much.
const MAX_POSTED_LEN: usize = answer::MAX_LEN / 2;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/targets/{target}/commands", post(post_command).get(list_commands))
        .route("/thing-if/apps/{app}/targets/{target}/commands/{command}", get(get_command))
}

/// 201 with `commandID` once the command is durable; the push follows.
async fn post_command(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_json(&[media_type::COMMAND_CREATION_REQUEST])?;
    let request = CommandRequest::from_body(body.content_type(), &body.bytes).map_err(|error| match error {
        InvalidBody::Syntax { .. } => error.into(),
        _ => Failure::new(ErrorCode::WrongCommand, error.to_string()),
    })?;
    let thing = call.target()?;
    let command_id = cloud.new_command_id();
    let push = CommandPush {
        schema: request.schema.clone(),
        schema_version: request.schema_version,
        command_id: command_id.clone(),
        actions: request.actions.clone(),
        issuer: Some(request.issuer.to_string()),
        target: None,
    };
    let payload = serde_json::to_vec(&push).map_err(Failure::internal)?;
    if payload.len() > MAX_PUSH_LEN {
        let message = format!("The command takes {} bytes as a push, more than {MAX_PUSH_LEN}", payload.len());
        return Err(Failure::new(ErrorCode::WrongCommand, message));
    }
    let row = rows::Command {
        seq: 0,
        command_id: command_id.to_string(),
        state: CommandState::Sending.as_str().to_owned(),
        issuer: request.issuer.to_string(),
        actions: serde_json::to_string(&request.actions).map_err(Failure::internal)?,
        action_results: None,
        schema: request.schema,
        schema_version: request.schema_version,
        title: request.title,
        description: request.description,
        metadata: request.metadata.map(|fields| serde_json::Value::Object(fields).to_string()),
        fired_by_trigger_id: None,
        created_at: call.now,
        modified_at: call.now,
    };
    let printed = len_in_list(&command(row.clone(), &thing)?);
    if printed > MAX_POSTED_LEN {
        let message = format!("The command takes {printed} bytes in an answer, more than {MAX_POSTED_LEN}");
        return Err(Failure::new(ErrorCode::WrongCommand, message));
    }
    let (app, target, issuer) = (call.app.clone(), thing.clone(), request.issuer);
    let insert = move |sql: &mut dyn Sql| {
        let caller = call.authorize(sql, &target)?;
        if !caller.may_act_as(&issuer) {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        rows::insert(sql, &call.app, &target, &row)?;
        let installed = installations::of(sql, &call.app, &Principal::Thing(target))?;
        Ok(installed.into_iter().map(|installation| installation.mqtt_topic).collect::<Vec<_>>())
    };
    let topics = cloud.store().write(insert).await?;
    cloud.deliver(app, thing, command_id.clone(), topics, payload.into()).await;
    Ok(answer::json(StatusCode::CREATED, &CommandCreated { command_id }))
}

async fn get_command(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let target = thing.clone();
    let get = move |sql: &mut dyn Sql| {
        call.authorize(sql, &target)?;
        find(sql, &call, &target)
    };
    let row = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &command(row, &thing)?))
}

/// The row of the command that the path names.
pub(super) fn find(sql: &mut dyn Sql, call: &Call, thing: &ThingId) -> Result<rows::Command, Failure> {
    let id = call.param("command");
    rows::get(sql, &call.app, thing, id)?
        .ok_or_else(|| Failure::new(ErrorCode::CommandNotFound, format!("Command {id} not found")))
}

/// Newest first. A page ends early rather than grow beyond [`answer::MAX_LEN`].
async fn list_commands(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let limit = match call.query("bestEffortLimit") {
        None => DEFAULT_PAGE,
        Some(text) => match text.parse::<i64>() {
            Ok(limit) if limit > 0 => limit.min(MAX_PAGE),
            _ => return Err(Failure::invalid("`bestEffortLimit` is not a number above 0")),
        },
    };
    let before = match call.query("paginationKey") {
        None => i64::MAX,
        Some(key) => read_key(key).ok_or_else(|| Failure::invalid("`paginationKey` is not one that was given out"))?,
    };
    let target = thing.clone();
    let list = move |sql: &mut dyn Sql| {
        call.authorize(sql, &target)?;
        // One more than is shown tells whether there is another page.
        rows::list(sql, &call.app, &target, before, limit + 1).map_err(Failure::from)
    };
    let rows = cloud.store().read(list).await?;
    Ok(answer::json(StatusCode::OK, &page(rows, &thing, limit)?))
}

fn page(rows: Vec<rows::Command>, thing: &ThingId, limit: i64) -> Result<Commands, Failure> {
    let mut shown = Commands { commands: Vec::new(), next_pagination_key: None };
    let (mut len, mut last) = (0, 0);
    for row in rows {
        let seq = row.seq;
        let command = command(row, thing)?;
        len += len_in_list(&command);
        let is_full = shown.commands.len() as i64 == limit || (len > answer::MAX_LEN && !shown.commands.is_empty());
        if is_full {
            shown.next_pagination_key = Some(write_key(last));
            break;
        }
        shown.commands.push(command);
        last = seq;
    }
    Ok(shown)
}

/// The bytes that `command` takes on a page.
pub(super) fn len_in_list(command: &Command) -> usize {
    let pretty = json::to_pretty(command);
    // Inside the list every line is indented by two more spaces.
    pretty.len() + 2 * pretty.iter().filter(|byte| **byte == b'\n').count()
}

/// Keys are `[A-Za-z0-9_-]` alone, so that they can stand in a topic. (`wire` §3)
fn write_key(seq: i64) -> String {
    URL_SAFE_NO_PAD.encode(seq.to_be_bytes())
}

fn read_key(key: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(key).ok()?;
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|seq| *seq > 0)
}

pub(super) fn command(row: rows::Command, thing: &ThingId) -> Result<Command, Failure> {
    Ok(Command {
        command_id: CommandId::new(&row.command_id).map_err(Failure::internal)?,
        target: Principal::Thing(thing.clone()),
        issuer: row.issuer.parse().map_err(Failure::internal)?,
        actions: stored(&row.actions)?,
        action_results: row.action_results.as_deref().map(stored).transpose()?,
        command_state: CommandState::from(row.state.as_str()),
        fired_by_trigger_id: row.fired_by_trigger_id.map(TriggerId::new).transpose().map_err(Failure::internal)?,
        title: row.title,
        description: row.description,
        metadata: row.metadata.as_deref().map(stored).transpose()?,
        schema: row.schema,
        schema_version: row.schema_version,
        created_at: row.created_at,
        modified_at: row.modified_at,
    })
}

/// Reads a JSON column.
fn stored<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(Failure::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i64, title_len: usize) -> rows::Command {
        rows::Command {
            seq,
            command_id: format!("c{seq}"),
            state: "SENDING".into(),
            issuer: "user:u".into(),
            actions: r#"[{"turnPower":{"power":true}}]"#.into(),
            action_results: None,
            schema: Some("s".into()),
            schema_version: Some(1),
            title: Some("t".repeat(title_len)),
            description: None,
            metadata: None,
            fired_by_trigger_id: None,
            created_at: 0,
            modified_at: 0,
        }
    }

    fn thing() -> ThingId {
        ThingId::new("th.1").expect("valid")
    }

    #[test]
    fn keys_are_safe_in_a_topic_and_checked() {
        for seq in [1, 62, 63, 255, 1 << 40, i64::MAX] {
            let key = write_key(seq);
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
            assert_eq!(read_key(&key), Some(seq));
        }
        for wrong in ["", "x", "AAAAAAAAAAA", "__________8", "AAAAAAAAAAE=", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(read_key(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_ends_at_its_limit_in_commands() {
        let rows = (1..=3).rev().map(|seq| row(seq, 1)).collect();
        let page = page(rows, &thing(), 2).expect("readable");
        assert_eq!(page.commands.len(), 2);
        assert_eq!(page.next_pagination_key.as_deref().and_then(read_key), Some(2));
    }

    #[test]
    fn a_page_ends_early_at_its_limit_in_bytes_but_shows_one_at_least() {
        let rows = vec![row(3, answer::MAX_LEN), row(2, 20_000), row(1, 20_000)];
        let first = page(rows, &thing(), 50).expect("readable");
        assert_eq!(first.commands.len(), 1);
        assert_eq!(first.next_pagination_key.as_deref().and_then(read_key), Some(3));
        let second = page(vec![row(2, 20_000), row(1, 20_000)], &thing(), 50).expect("readable");
        assert_eq!((second.commands.len(), second.next_pagination_key), (2, None));
        assert!(json::to_pretty(&second.commands).len() < answer::MAX_LEN);
    }
}
