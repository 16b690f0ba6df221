//! The last state of each alias of things with traits.

use super::{Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasState {
    pub(crate) alias: String,
    /// A JSON object.
    pub(crate) state: String,
    /// When the thing was in this state, in milliseconds since 1970.
    pub(crate) generated_at: i64,
}

/// Every alias of `thing`, in the order of their names.
pub(crate) fn all(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Vec<AliasState>, StoreError> {
    let rows = sql.query(
        "SELECT alias, state, generated_at FROM alias_states WHERE app_id = $1 AND thing_id = $2 ORDER BY alias",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    rows.into_iter()
        .map(|mut row| Ok(AliasState { alias: row.text(0)?, state: row.text(1)?, generated_at: row.integer(2)? }))
        .collect()
}

/// Stores the state of one alias, over the one before.
pub(crate) fn put(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, state: &AliasState) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO alias_states (app_id, thing_id, alias, state, generated_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (app_id, thing_id, alias) DO UPDATE SET state = $4, generated_at = $5",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            (&state.alias).into(),
            (&state.state).into(),
            state.generated_at.into(),
        ],
    )?;
    Ok(())
}
