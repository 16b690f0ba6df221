//! What became of the server codes of triggers. Of each trigger the newest 100 runs are kept.

use super::{Row, Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// The most results of one trigger; the oldest make room.
const MAX_PER_TRIGGER: i64 = 100;

/// A row. `result` is compact JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TriggerResult {
    /// Place among the results of the trigger, from 1.
    pub(crate) seq: i64,
    pub(crate) result: String,
}

pub(crate) fn insert(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    trigger: &str,
    result: &str,
) -> Result<(), StoreError> {
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM trigger_results \
         WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3",
        &[app.as_str().into(), thing.as_str().into(), trigger.into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO trigger_results (app_id, thing_id, trigger_id, seq, result) VALUES ($1, $2, $3, $4, $5)",
        &[app.as_str().into(), thing.as_str().into(), trigger.into(), seq.into(), result.into()],
    )?;
    sql.execute(
        "DELETE FROM trigger_results WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3 AND seq <= $4",
        &[app.as_str().into(), thing.as_str().into(), trigger.into(), (seq - MAX_PER_TRIGGER).into()],
    )?;
    Ok(())
}

/// At most `limit` results, newest first, all older than `before`.
pub(crate) fn list(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    trigger: &str,
    before: i64,
    limit: i64,
) -> Result<Vec<TriggerResult>, StoreError> {
    let rows = sql.query(
        "SELECT seq, result FROM trigger_results \
         WHERE app_id = $1 AND thing_id = $2 AND trigger_id = $3 AND seq < $4 ORDER BY seq DESC LIMIT $5",
        &[app.as_str().into(), thing.as_str().into(), trigger.into(), before.into(), limit.into()],
    )?;
    let read = |mut row: Row| Ok(TriggerResult { seq: row.integer(0)?, result: row.text(1)? });
    rows.into_iter().map(read).collect()
}
