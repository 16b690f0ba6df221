//! A command on its way from a request, or from a trigger that fired, to its row and its push. (`wire` §5, §6)

use bytes::Bytes;

use super::answer;
use super::delivery::topics_of;
use super::failure::Failure;
use super::store::commands as rows;
use super::store::{Sql, StoreError};
use crate::ids::{AppId, ClientId, CommandId, ThingId, TriggerId};
use crate::thing_if::{Command, CommandPush, CommandRequest, CommandState, ErrorCode, MAX_PUSH_LEN, Principal, json};

/// The most that a command takes in an answer before it has results, in bytes; they get as much.
const MAX_POSTED_LEN: usize = answer::MAX_LEN / 2;

/// A command that fits a push and an answer, not stored yet.
#[derive(Debug)]
pub(crate) struct NewCommand {
    row: rows::Command,
    target: ThingId,
    payload: Bytes,
}

impl NewCommand {
    /// What `request` asks of `target`; the push says of whom if it `names_target`
    /// ([`Options::name_push_target`](super::Options::name_push_target)).
    ///
    /// # Errors
    /// `unfit` when no push or no answer can carry it.
    pub(crate) fn new(
        unfit: ErrorCode,
        id: &CommandId,
        target: &ThingId,
        request: CommandRequest,
        fired_by: Option<&TriggerId>,
        names_target: bool,
        now: i64,
    ) -> Result<Self, Failure> {
        let push = CommandPush {
            schema: request.schema.clone(),
            schema_version: request.schema_version,
            command_id: id.clone(),
            actions: request.actions.clone(),
            issuer: Some(request.issuer.to_string()),
            target: names_target.then(|| Principal::Thing(target.clone())),
        };
        let payload = serde_json::to_vec(&push).map_err(Failure::internal)?;
        if payload.len() > MAX_PUSH_LEN {
            let message = format!("The command takes {} bytes as a push, more than {MAX_PUSH_LEN}", payload.len());
            return Err(Failure::new(unfit, message));
        }
        let row = rows::Command {
            seq: 0,
            command_id: id.to_string(),
            state: CommandState::Sending.as_str().to_owned(),
            issuer: request.issuer.to_string(),
            actions: serde_json::to_string(&request.actions).map_err(Failure::internal)?,
            action_results: None,
            schema: request.schema,
            schema_version: request.schema_version,
            title: request.title,
            description: request.description,
            metadata: request.metadata.map(|fields| serde_json::Value::Object(fields).to_string()),
            fired_by_trigger_id: fired_by.map(ToString::to_string),
            created_at: now,
            modified_at: now,
        };
        let printed = len_in_list(&answered(row.clone(), target)?);
        if printed > MAX_POSTED_LEN {
            let message = format!("The command takes {printed} bytes in an answer, more than {MAX_POSTED_LEN}");
            return Err(Failure::new(unfit, message));
        }
        Ok(Self { row, target: target.clone(), payload: payload.into() })
    }

    /// Stores it as SENDING. It is to be delivered once that is durable.
    pub(crate) fn insert(self, sql: &mut dyn Sql, app: &AppId) -> Result<Delivery, StoreError> {
        rows::insert(sql, app, &self.target, &self.row)?;
        let command = CommandId::new(&self.row.command_id)
            .map_err(|error| StoreError::new(super::store::StoreErrorKind::Failed, error.to_string()))?;
        let topics = topics_of(sql, app, &self.target)?;
        Ok(Delivery { app: app.clone(), thing: self.target, command, topics, payload: self.payload })
    }

    /// Stores it as one that was never sent.
    pub(crate) fn insert_failed(mut self, sql: &mut dyn Sql, app: &AppId) -> Result<(), StoreError> {
        CommandState::SendFailed.as_str().clone_into(&mut self.row.state);
        rows::insert(sql, app, &self.target, &self.row)
    }
}

/// A stored command that is to be pushed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Delivery {
    pub(crate) app: AppId,
    pub(crate) thing: ThingId,
    pub(crate) command: CommandId,
    /// Where the thing, or its gateway, listens.
    pub(crate) topics: Vec<ClientId>,
    pub(crate) payload: Bytes,
}

/// A row as answers show it.
pub(crate) fn answered(row: rows::Command, thing: &ThingId) -> Result<Command, Failure> {
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
pub(crate) fn stored<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(Failure::internal)
}

/// The bytes that `element` takes on a page.
pub(crate) fn len_in_list(element: &impl serde::Serialize) -> usize {
    let pretty = json::to_pretty(element);
    // Inside the list every line is indented by two more spaces.
    pretty.len() + 2 * pretty.iter().filter(|byte| **byte == b'\n').count()
}
