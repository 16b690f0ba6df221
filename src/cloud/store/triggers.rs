//! Triggers, in the order in which they were made.

use super::{Row, Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// A row. JSON columns hold compact JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trigger {
    /// Place among the thing's triggers, from 1; 0 before [`insert`].
    pub(crate) seq: i64,
    pub(crate) trigger_id: String,
    /// Whose token gave it its command: it fires with that caller's rights.
    pub(crate) owner: String,
    /// `eventSource` of the predicate.
    pub(crate) event_source: String,
    pub(crate) predicate: String,
    pub(crate) command: Option<String>,
    pub(crate) server_code: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) disabled_reason: Option<String>,
    /// When a schedule fires next, in milliseconds; always `None` when it is disabled.
    pub(crate) due_at: Option<i64>,
    /// Since when firings are counted, and how many there were: what bounds their rate.
    pub(crate) counted_since: i64,
    pub(crate) counted: i64,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
}

/// How many triggers `thing` has.
pub(crate) fn count(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<i64, StoreError> {
    let row = sql.query_one(
        "SELECT COUNT(*) FROM triggers WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map_or(Ok(0), |row| row.integer(0))
}

pub(crate) fn insert(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, new: &Trigger) -> Result<(), StoreError> {
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM triggers WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO triggers (app_id, thing_id, seq, trigger_id, owner, event_source, predicate, command, \
         server_code, title, description, metadata, disabled, disabled_reason, due_at, counted_since, counted, \
         created_at, modified_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            seq.into(),
            (&new.trigger_id).into(),
            (&new.owner).into(),
            (&new.event_source).into(),
            (&new.predicate).into(),
            new.command.as_ref().into(),
            new.server_code.as_ref().into(),
            new.title.as_ref().into(),
            new.description.as_ref().into(),
            new.metadata.as_ref().into(),
            i64::from(new.disabled).into(),
            new.disabled_reason.as_ref().into(),
            new.due_at.into(),
            new.counted_since.into(),
            new.counted.into(),
            new.created_at.into(),
            new.modified_at.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn get(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, id: &str) -> Result<Option<Trigger>, StoreError> {
    let row = sql.query_one(
        "SELECT seq, trigger_id, owner, event_source, predicate, command, server_code, title, description, metadata, \
         disabled, disabled_reason, due_at, counted_since, counted, created_at, modified_at FROM triggers \
         WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3",
        &[app.as_str().into(), thing.as_str().into(), id.into()],
    )?;
    row.map(trigger).transpose()
}

/// At most `limit` triggers, oldest first, all younger than `after`.
pub(crate) fn list(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    after: i64,
    limit: i64,
) -> Result<Vec<Trigger>, StoreError> {
    let rows = sql.query(
        "SELECT seq, trigger_id, owner, event_source, predicate, command, server_code, title, description, metadata, \
         disabled, disabled_reason, due_at, counted_since, counted, created_at, modified_at FROM triggers \
         WHERE app_id = $1 AND thing_id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        &[app.as_str().into(), thing.as_str().into(), after.into(), limit.into()],
    )?;
    rows.into_iter().map(trigger).collect()
}

/// The enabled triggers that watch the state of `thing`, oldest first.
pub(crate) fn watching(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Vec<Trigger>, StoreError> {
    let rows = sql.query(
        "SELECT seq, trigger_id, owner, event_source, predicate, command, server_code, title, description, metadata, \
         disabled, disabled_reason, due_at, counted_since, counted, created_at, modified_at FROM triggers \
         WHERE app_id = $1 AND thing_id = $2 AND event_source = 'STATES' AND disabled = 0 ORDER BY seq",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    rows.into_iter().map(trigger).collect()
}

/// At most `limit` triggers whose time has come by `now`, the most overdue first, each with its application and thing.
pub(crate) fn due(sql: &mut dyn Sql, now: i64, limit: i64) -> Result<Vec<(AppId, ThingId, Trigger)>, StoreError> {
    let rows = sql.query(
        "SELECT seq, trigger_id, owner, event_source, predicate, command, server_code, title, description, metadata, \
         disabled, disabled_reason, due_at, counted_since, counted, created_at, modified_at, app_id, thing_id \
         FROM triggers WHERE due_at <= $1 ORDER BY due_at LIMIT $2",
        &[now.into(), limit.into()],
    )?;
    rows.into_iter().map(with_place).collect()
}

/// At most `limit` enabled triggers with a cron expression, in the order of their places, from behind `after` on, each with its
/// application and thing.
pub(crate) fn scheduled(
    sql: &mut dyn Sql,
    after: (&str, &str, i64),
    limit: i64,
) -> Result<Vec<(AppId, ThingId, Trigger)>, StoreError> {
    let (app, thing, seq) = after;
    let rows = sql.query(
        "SELECT seq, trigger_id, owner, event_source, predicate, command, server_code, title, description, metadata, \
         disabled, disabled_reason, due_at, counted_since, counted, created_at, modified_at, app_id, thing_id \
         FROM triggers WHERE event_source = 'SCHEDULE' AND disabled = 0 AND (app_id, thing_id, seq) > ($1, $2, $3) \
         ORDER BY app_id, thing_id, seq LIMIT $4",
        &[app.into(), thing.into(), seq.into(), limit.into()],
    )?;
    rows.into_iter().map(with_place).collect()
}

fn with_place(mut row: Row) -> Result<(AppId, ThingId, Trigger), StoreError> {
    let app = AppId::new(row.text(17)?).map_err(|_| StoreError::column(17, "an app id"))?;
    let thing = ThingId::new(row.text(18)?).map_err(|_| StoreError::column(18, "a thing id"))?;
    Ok((app, thing, trigger(row)?))
}

/// When the next schedule is due, in milliseconds.
pub(crate) fn next_due(sql: &mut dyn Sql) -> Result<Option<i64>, StoreError> {
    let row = sql.query_one("SELECT MIN(due_at) FROM triggers WHERE due_at IS NOT NULL", &[])?;
    row.map_or(Ok(None), |row| row.optional_integer(0))
}

/// Writes every column of `changed` but its place and its id.
pub(crate) fn update(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, changed: &Trigger) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE triggers SET owner = $4, event_source = $5, predicate = $6, command = $7, server_code = $8, title = $9, \
         description = $10, metadata = $11, disabled = $12, disabled_reason = $13, due_at = $14, counted_since = $15, \
         counted = $16, modified_at = $17 WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            (&changed.trigger_id).into(),
            (&changed.owner).into(),
            (&changed.event_source).into(),
            (&changed.predicate).into(),
            changed.command.as_ref().into(),
            changed.server_code.as_ref().into(),
            changed.title.as_ref().into(),
            changed.description.as_ref().into(),
            changed.metadata.as_ref().into(),
            i64::from(changed.disabled).into(),
            changed.disabled_reason.as_ref().into(),
            changed.due_at.into(),
            changed.counted_since.into(),
            changed.counted.into(),
            changed.modified_at.into(),
        ],
    )?;
    Ok(())
}

/// Removes a trigger with its results. Returns whether it was there.
pub(crate) fn delete(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, id: &str) -> Result<bool, StoreError> {
    let name = [app.as_str().into(), thing.as_str().into(), id.into()];
    sql.execute("DELETE FROM trigger_results WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3", &name)?;
    let deleted = sql.execute("DELETE FROM triggers WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3", &name)?;
    Ok(deleted > 0)
}

fn trigger(mut row: Row) -> Result<Trigger, StoreError> {
    Ok(Trigger {
        seq: row.integer(0)?,
        trigger_id: row.text(1)?,
        owner: row.text(2)?,
        event_source: row.text(3)?,
        predicate: row.text(4)?,
        command: row.optional_text(5)?,
        server_code: row.optional_text(6)?,
        title: row.optional_text(7)?,
        description: row.optional_text(8)?,
        metadata: row.optional_text(9)?,
        disabled: row.integer(10)? != 0,
        disabled_reason: row.optional_text(11)?,
        due_at: row.optional_integer(12)?,
        counted_since: row.integer(13)?,
        counted: row.integer(14)?,
        created_at: row.integer(15)?,
        modified_at: row.integer(16)?,
    })
}
