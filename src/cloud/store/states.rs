//! The last state of each thing without traits.

use super::{Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// Whether a state was written over or is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Replaced,
}

/// Stores `state`, a JSON object as text, of the time `at`.
pub(crate) fn put(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, state: &str, at: i64) -> Result<Put, StoreError> {
    let replaced = sql.execute(
        "UPDATE thing_states SET state = $3, modified_at = $4 WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into(), state.into(), at.into()],
    )?;
    if replaced > 0 {
        return Ok(Put::Replaced);
    }
    sql.execute(
        "INSERT INTO thing_states (app_id, thing_id, state, modified_at) VALUES ($1, $2, $3, $4)",
        &[app.as_str().into(), thing.as_str().into(), state.into(), at.into()],
    )?;
    Ok(Put::Created)
}

/// The state of `thing`, a JSON object as text, and its time.
pub(crate) fn get(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Option<(String, i64)>, StoreError> {
    let row = sql.query_one(
        "SELECT state, modified_at FROM thing_states WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map(|mut row| Ok((row.text(0)?, row.integer(1)?))).transpose()
}
