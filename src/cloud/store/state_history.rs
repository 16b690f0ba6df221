//! Past states of the aliases of things with traits.
//!
//! Rows are numbered for each thing in the order in which they came, so that the oldest can be dropped by number: a thing
//! that has its fill loses one row for each that it gains, whatever the others have.

use super::{Row, Sql, StoreError};
use crate::ids::{AppId, ThingId};

/// A state of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastState {
    pub(crate) place: Place,
    /// A JSON object.
    pub(crate) state: String,
    /// What the thing ran then, where that was known.
    pub(crate) firmware_version: Option<String>,
}

/// Where a state stands in the history of its alias: by its time, then by when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// In milliseconds since 1970.
    pub(crate) generated_at: i64,
    /// Number of the row among those of its thing, from 1.
    pub(crate) seq: i64,
}

/// The number of the newest row of `thing`, 0 when it has none.
pub(crate) fn last_seq(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<i64, StoreError> {
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) FROM state_history WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map_or(Ok(0), |row| row.integer(0))
}

pub(crate) fn insert(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    alias: &str,
    past: &PastState,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO state_history (app_id, thing_id, seq, alias, generated_at, firmware_version, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            past.place.seq.into(),
            alias.into(),
            past.place.generated_at.into(),
            past.firmware_version.as_ref().into(),
            (&past.state).into(),
        ],
    )?;
    Ok(())
}

/// Drops at most `limit` rows of `thing` up to the number `seq`, the oldest first.
pub(crate) fn drop_up_to(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    seq: i64,
    limit: i64,
) -> Result<usize, StoreError> {
    sql.execute(
        "DELETE FROM state_history WHERE app_id = $1 AND thing_id = $2 AND seq IN (SELECT seq FROM state_history \
         WHERE app_id = $1 AND thing_id = $2 AND seq <= $3 ORDER BY seq LIMIT $4)",
        &[app.as_str().into(), thing.as_str().into(), seq.into(), limit.into()],
    )
}

/// An alias, by its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alias {
    pub(crate) app: String,
    pub(crate) thing: String,
    pub(crate) alias: String,
}

/// At most `limit` aliases that have a row from before `time`, in the order of their places, from behind `after` on.
pub(crate) fn outdated(sql: &mut dyn Sql, time: i64, after: &Alias, limit: i64) -> Result<Vec<Alias>, StoreError> {
    let rows = sql.query(
        "SELECT a.app_id, a.thing_id, a.alias FROM alias_states a \
         WHERE (a.app_id, a.thing_id, a.alias) > ($1, $2, $3) AND EXISTS (SELECT h.seq FROM state_history h \
         WHERE h.app_id = a.app_id AND h.thing_id = a.thing_id AND h.alias = a.alias AND h.generated_at < $4) \
         ORDER BY a.app_id, a.thing_id, a.alias LIMIT $5",
        &[(&after.app).into(), (&after.thing).into(), (&after.alias).into(), time.into(), limit.into()],
    )?;
    let read = |mut row: Row| Ok(Alias { app: row.text(0)?, thing: row.text(1)?, alias: row.text(2)? });
    rows.into_iter().map(read).collect()
}

/// Drops at most `limit` rows of `alias` from before `time`, the oldest first.
pub(crate) fn drop_before(sql: &mut dyn Sql, alias: &Alias, time: i64, limit: i64) -> Result<usize, StoreError> {
    sql.execute(
        "DELETE FROM state_history WHERE app_id = $1 AND thing_id = $2 AND seq IN (SELECT seq FROM state_history \
         WHERE app_id = $1 AND thing_id = $2 AND alias = $3 AND generated_at < $4 ORDER BY generated_at, seq LIMIT $5)",
        &[(&alias.app).into(), (&alias.thing).into(), (&alias.alias).into(), time.into(), limit.into()],
    )
}

/// The last state of `alias` that is not younger than `time`.
pub(crate) fn at(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    alias: &str,
    time: i64,
) -> Result<Option<PastState>, StoreError> {
    let row = sql.query_one(
        "SELECT generated_at, seq, firmware_version, state FROM state_history \
         WHERE app_id = $1 AND thing_id = $2 AND alias = $3 AND generated_at <= $4 \
         ORDER BY generated_at DESC, seq DESC LIMIT 1",
        &[app.as_str().into(), thing.as_str().into(), alias.into(), time.into()],
    )?;
    row.map(past).transpose()
}

/// At most `limit` states of `alias`, oldest first, that stand behind `after` and are not younger than `until`.
pub(crate) fn page(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    alias: &str,
    after: Place,
    until: i64,
    limit: i64,
) -> Result<Vec<PastState>, StoreError> {
    let rows = sql.query(
        "SELECT generated_at, seq, firmware_version, state FROM state_history \
         WHERE app_id = $1 AND thing_id = $2 AND alias = $3 AND (generated_at, seq) > ($4, $5) AND generated_at <= $6 \
         ORDER BY generated_at, seq LIMIT $7",
        &[
            app.as_str().into(),
            thing.as_str().into(),
            alias.into(),
            after.generated_at.into(),
            after.seq.into(),
            until.into(),
            limit.into(),
        ],
    )?;
    rows.into_iter().map(past).collect()
}

fn past(mut row: Row) -> Result<PastState, StoreError> {
    Ok(PastState {
        place: Place { generated_at: row.integer(0)?, seq: row.integer(1)? },
        firmware_version: row.optional_text(2)?,
        state: row.text(3)?,
    })
}
