//! Which thing is behind which gateway. An end node has one gateway at most, and is none itself.

use super::{Row, Sql, StoreError, subscriptions};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::thing_if::Principal;

/// The gateway of `thing`, if it is an end node.
pub(crate) fn gateway_of(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Option<ThingId>, StoreError> {
    let row = sql.query_one(
        "SELECT gateway_id FROM end_nodes WHERE app_id = $1 AND end_node_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map(|mut row| thing_id(&mut row, 0)).transpose()
}

/// How many end nodes `gateway` has.
pub(crate) fn count(sql: &mut dyn Sql, app: &AppId, gateway: &ThingId) -> Result<i64, StoreError> {
    let row = sql.query_one(
        "SELECT COUNT(*) FROM end_nodes WHERE app_id = $1 AND gateway_id = $2",
        &[app.as_str().into(), gateway.as_str().into()],
    )?;
    row.map_or(Ok(0), |row| row.integer(0))
}

/// Puts `end_node`, which has no gateway yet, behind `gateway`.
pub(crate) fn insert(
    sql: &mut dyn Sql,
    app: &AppId,
    gateway: &ThingId,
    end_node: &ThingId,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO end_nodes (app_id, end_node_id, gateway_id, created_at) VALUES ($1, $2, $3, $4)",
        &[app.as_str().into(), end_node.as_str().into(), gateway.as_str().into(), now.into()],
    )?;
    Ok(())
}

/// Takes `end_node` from behind `gateway`, and ends what that let them hear of each other, and the tokens that were given
/// for the gateway; `false` when it was not there.
pub(crate) fn delete(
    sql: &mut dyn Sql,
    app: &AppId,
    gateway: &ThingId,
    end_node: &ThingId,
) -> Result<bool, StoreError> {
    let deleted = sql.execute(
        "DELETE FROM end_nodes WHERE app_id = $1 AND end_node_id = $2 AND gateway_id = $3",
        &[app.as_str().into(), end_node.as_str().into(), gateway.as_str().into()],
    )?;
    if deleted > 0 {
        sql.execute(
            "DELETE FROM access_tokens WHERE app_id = $1 AND gateway_id = $2 AND principal = $3",
            &[app.as_str().into(), gateway.as_str().into(), Principal::Thing(end_node.clone()).to_string().into()],
        )?;
        subscriptions::part(sql, app, end_node, &Principal::Thing(gateway.clone()))?;
    }
    Ok(deleted > 0)
}

/// At most `limit` end nodes of `gateway` with both their ids, in the order of their thing ids, from behind `after` on.
pub(crate) fn list(
    sql: &mut dyn Sql,
    app: &AppId,
    gateway: &ThingId,
    after: &str,
    limit: i64,
) -> Result<Vec<(ThingId, VendorThingId)>, StoreError> {
    let rows = sql.query(
        "SELECT t.thing_id, t.vendor_thing_id FROM end_nodes e \
         JOIN things t ON t.app_id = e.app_id AND t.thing_id = e.end_node_id \
         WHERE e.app_id = $1 AND e.gateway_id = $2 AND e.end_node_id > $3 ORDER BY e.end_node_id LIMIT $4",
        &[app.as_str().into(), gateway.as_str().into(), after.into(), limit.into()],
    )?;
    rows.into_iter()
        .map(|mut row| {
            let vendor = VendorThingId::new(row.text(1)?).map_err(|_| StoreError::column(1, "a vendor thing id"))?;
            Ok((thing_id(&mut row, 0)?, vendor))
        })
        .collect()
}

/// Stores what `gateway` reports of its connection to `end_node`; `false` when that is not behind it.
pub(crate) fn report(
    sql: &mut dyn Sql,
    app: &AppId,
    gateway: &ThingId,
    end_node: &ThingId,
    online: bool,
    now: i64,
) -> Result<bool, StoreError> {
    let reported = sql.execute(
        "UPDATE end_nodes SET online = $4, online_modified_at = $5 \
         WHERE app_id = $1 AND end_node_id = $2 AND gateway_id = $3",
        &[app.as_str().into(), end_node.as_str().into(), gateway.as_str().into(), i64::from(online).into(), now.into()],
    )?;
    Ok(reported > 0)
}

/// Whether `end_node` is online and since when it is said to be so; `None` before the first report.
pub(crate) fn connection(
    sql: &mut dyn Sql,
    app: &AppId,
    end_node: &ThingId,
) -> Result<Option<(bool, i64)>, StoreError> {
    let row = sql.query_one(
        "SELECT online, online_modified_at FROM end_nodes \
         WHERE app_id = $1 AND end_node_id = $2 AND online IS NOT NULL",
        &[app.as_str().into(), end_node.as_str().into()],
    )?;
    row.map(|row| Ok((row.integer(0)? != 0, row.integer(1)?))).transpose()
}

/// Removes every link that `thing` has, to its gateway and to its end nodes, and the tokens of these that were given for it.
pub(crate) fn delete_all_of(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<(), StoreError> {
    for own in [
        "DELETE FROM end_nodes WHERE app_id = $1 AND end_node_id = $2",
        "DELETE FROM end_nodes WHERE app_id = $1 AND gateway_id = $2",
        "DELETE FROM access_tokens WHERE app_id = $1 AND gateway_id = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), thing.as_str().into()])?;
    }
    Ok(())
}

fn thing_id(row: &mut Row, column: usize) -> Result<ThingId, StoreError> {
    ThingId::new(row.text(column)?).map_err(|_| StoreError::column(column, "a thing id"))
}
