//! Commands, in the order in which they were posted. Of each thing the newest 10,000 are kept.

use super::{Row, Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// The most commands of one thing; the oldest make room.
const MAX_PER_THING: i64 = 10_000;

/// A row. JSON columns hold compact JSON.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Place in the thing's history, from 1; 0 before [`insert`].
    pub(crate) seq: i64,
    pub(crate) command_id: String,
    pub(crate) state: String,
    pub(crate) issuer: String,
    pub(crate) actions: String,
    pub(crate) action_results: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) schema_version: Option<i64>,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) fired_by_trigger_id: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
}

pub(crate) fn insert(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, command: &Command) -> Result<(), StoreError> {
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM commands WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO commands (app_id, thing_id, seq, command_id, command_state, issuer, actions, schema_name, \
         schema_version, title, description, metadata, fired_by_trigger_id, created_at, modified_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            seq.into(),
            (&command.command_id).into(),
            (&command.state).into(),
            (&command.issuer).into(),
            (&command.actions).into(),
            command.schema.as_ref().into(),
            command.schema_version.into(),
            command.title.as_ref().into(),
            command.description.as_ref().into(),
            command.metadata.as_ref().into(),
            command.fired_by_trigger_id.as_ref().into(),
            command.created_at.into(),
            command.modified_at.into(),
        ],
    )?;
    if seq > MAX_PER_THING {
        sql.execute(
            "DELETE FROM commands WHERE app_id = $1 AND thing_id = $2 AND seq <= $3",
            &[app.as_str().into(), thing.as_str().into(), (seq - MAX_PER_THING).into()],
        )?;
    }
    Ok(())
}

/// Removes at most `limit` commands that were posted before `before`, oldest first. Returns how many.
pub(crate) fn prune(sql: &mut dyn Sql, before: i64, limit: i64) -> Result<usize, StoreError> {
    sql.execute(
        "DELETE FROM commands WHERE (app_id, thing_id, seq) IN \
         (SELECT app_id, thing_id, seq FROM commands WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

pub(crate) fn get(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, id: &str) -> Result<Option<Command>, StoreError> {
    let row = sql.query_one(
        "SELECT seq, command_id, command_state, issuer, actions, action_results, schema_name, schema_version, title, \
         description, metadata, fired_by_trigger_id, created_at, modified_at FROM commands \
         WHERE app_id = $1 AND thing_id = $2 AND command_id = $3",
        &[app.as_str().into(), thing.as_str().into(), id.into()],
    )?;
    row.map(command).transpose()
}

/// At most `limit` commands, newest first, all older than `before`.
pub(crate) fn list(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    before: i64,
    limit: i64,
) -> Result<Vec<Command>, StoreError> {
    let rows = sql.query(
        "SELECT seq, command_id, command_state, issuer, actions, action_results, schema_name, schema_version, title, \
         description, metadata, fired_by_trigger_id, created_at, modified_at FROM commands \
         WHERE app_id = $1 AND thing_id = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
        &[app.as_str().into(), thing.as_str().into(), before.into(), limit.into()],
    )?;
    rows.into_iter().map(command).collect()
}

fn command(mut row: Row) -> Result<Command, StoreError> {
    Ok(Command {
        seq: row.integer(0)?,
        command_id: row.text(1)?,
        state: row.text(2)?,
        issuer: row.text(3)?,
        actions: row.text(4)?,
        action_results: row.optional_text(5)?,
        schema: row.optional_text(6)?,
        schema_version: row.optional_integer(7)?,
        title: row.optional_text(8)?,
        description: row.optional_text(9)?,
        metadata: row.optional_text(10)?,
        fired_by_trigger_id: row.optional_text(11)?,
        created_at: row.integer(12)?,
        modified_at: row.integer(13)?,
    })
}

/// Records what became of the push. A command whose results are there already keeps its state.
pub(crate) fn delivered(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    id: &str,
    state: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE commands SET command_state = $4, modified_at = $5 \
         WHERE app_id = $1 AND thing_id = $2 AND command_id = $3 AND command_state = 'SENDING'",
        &[app.as_str().into(), thing.as_str().into(), id.into(), state.into(), now.into()],
    )?;
    Ok(())
}

/// Marks every command that was still being sent when the service last ended. Returns how many.
pub(crate) fn fail_unsent(sql: &mut dyn Sql, now: i64) -> Result<usize, StoreError> {
    sql.execute(
        "UPDATE commands SET command_state = 'SEND_FAILED', modified_at = $1 WHERE command_state = 'SENDING'",
        &[now.into()],
    )
}

/// Stores the results of a command and the state that follows from them.
pub(crate) fn put_results(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    id: &str,
    results: &str,
    state: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE commands SET action_results = $4, command_state = $5, modified_at = $6 \
         WHERE app_id = $1 AND thing_id = $2 AND command_id = $3",
        &[app.as_str().into(), thing.as_str().into(), id.into(), results.into(), state.into(), now.into()],
    )?;
    Ok(())
}
