//! Things, and who owns them.

use super::{Row, Sql, StoreError, buckets, end_nodes, subscriptions};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::thing_if::Principal;

/// A thing as its first onboarding makes it. `properties` is a JSON object.
#[derive(Debug, Clone)]
pub(crate) struct NewThing {
    pub(crate) thing_id: ThingId,
    pub(crate) vendor_thing_id: VendorThingId,
    pub(crate) password_hash: String,
    pub(crate) thing_type: Option<String>,
    pub(crate) firmware_version: Option<String>,
    pub(crate) layout_position: String,
    pub(crate) data_grouping_interval: Option<String>,
    pub(crate) properties: String,
}

/// What a login of a thing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) thing_id: ThingId,
    pub(crate) vendor_thing_id: VendorThingId,
    pub(crate) password_hash: String,
    pub(crate) disabled: bool,
}

pub(crate) fn insert(sql: &mut dyn Sql, app: &AppId, thing: &NewThing, now: i64) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO things (app_id, thing_id, vendor_thing_id, password_hash, thing_type, firmware_version, \
         layout_position, data_grouping_interval, properties, created_at, modified_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        &[
            app.as_str().into(),
            thing.thing_id.as_str().into(),
            thing.vendor_thing_id.as_str().into(),
            (&thing.password_hash).into(),
            thing.thing_type.as_ref().into(),
            thing.firmware_version.as_ref().into(),
            (&thing.layout_position).into(),
            thing.data_grouping_interval.as_ref().into(),
            (&thing.properties).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn exists(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT thing_id FROM things WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    Ok(row.is_some())
}

pub(crate) fn by_id(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Option<Login>, StoreError> {
    let row = sql.query_one(
        "SELECT thing_id, vendor_thing_id, password_hash, disabled FROM things WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map(login).transpose()
}

pub(crate) fn by_vendor_id(
    sql: &mut dyn Sql,
    app: &AppId,
    vendor: &VendorThingId,
) -> Result<Option<Login>, StoreError> {
    let row = sql.query_one(
        "SELECT thing_id, vendor_thing_id, password_hash, disabled FROM things WHERE app_id = $1 AND vendor_thing_id = $2",
        &[app.as_str().into(), vendor.as_str().into()],
    )?;
    row.map(login).transpose()
}

fn login(mut row: Row) -> Result<Login, StoreError> {
    Ok(Login {
        thing_id: ThingId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a thing id"))?,
        vendor_thing_id: VendorThingId::new(row.text(1)?).map_err(|_| StoreError::column(1, "a vendor thing id"))?,
        password_hash: row.text(2)?,
        disabled: row.integer(3)? != 0,
    })
}

/// A thing as it is. `properties` is a JSON object.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) thing_id: ThingId,
    pub(crate) vendor_thing_id: VendorThingId,
    pub(crate) thing_type: Option<String>,
    pub(crate) firmware_version: Option<String>,
    pub(crate) layout_position: String,
    pub(crate) properties: String,
    pub(crate) disabled: bool,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
}

pub(crate) fn get(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Option<Thing>, StoreError> {
    let row = sql.query_one(
        "SELECT thing_id, vendor_thing_id, thing_type, firmware_version, layout_position, properties, created_at, \
         modified_at, disabled FROM things WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map(self::thing).transpose()
}

/// At most `limit` things of `owner`, of the type `thing_type` unless that is empty, in the order of their thing ids, from
/// behind `after` on.
pub(crate) fn of_owner(
    sql: &mut dyn Sql,
    app: &AppId,
    owner: &Principal,
    thing_type: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Thing>, StoreError> {
    let rows = sql.query(
        "SELECT t.thing_id, t.vendor_thing_id, t.thing_type, t.firmware_version, t.layout_position, t.properties, \
         t.created_at, t.modified_at, t.disabled FROM thing_owners o \
         JOIN things t ON t.app_id = o.app_id AND t.thing_id = o.thing_id \
         WHERE o.app_id = $1 AND o.owner = $2 AND o.thing_id > $3 AND ($4 = '' OR t.thing_type = $4) \
         ORDER BY o.thing_id LIMIT $5",
        &[app.as_str().into(), owner.to_string().into(), after.into(), thing_type.into(), limit.into()],
    )?;
    rows.into_iter().map(thing).collect()
}

/// At most `limit` things of `app`, in the order of their thing ids, from behind `after` on.
pub(crate) fn of_app(sql: &mut dyn Sql, app: &AppId, after: &str, limit: i64) -> Result<Vec<Thing>, StoreError> {
    let rows = sql.query(
        "SELECT thing_id, vendor_thing_id, thing_type, firmware_version, layout_position, properties, created_at, \
         modified_at, disabled FROM things WHERE app_id = $1 AND thing_id > $2 ORDER BY thing_id LIMIT $3",
        &[app.as_str().into(), after.into(), limit.into()],
    )?;
    rows.into_iter().map(thing).collect()
}

fn thing(mut row: Row) -> Result<Thing, StoreError> {
    Ok(Thing {
        thing_id: ThingId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a thing id"))?,
        vendor_thing_id: VendorThingId::new(row.text(1)?).map_err(|_| StoreError::column(1, "a vendor thing id"))?,
        thing_type: row.optional_text(2)?,
        firmware_version: row.optional_text(3)?,
        layout_position: row.text(4)?,
        properties: row.text(5)?,
        created_at: row.integer(6)?,
        modified_at: row.integer(7)?,
        disabled: row.integer(8)? != 0,
    })
}

/// Stores everything of `thing` but its ids and when it was made.
pub(crate) fn update(sql: &mut dyn Sql, app: &AppId, thing: &Thing) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE things SET thing_type = $3, firmware_version = $4, layout_position = $5, properties = $6, \
         modified_at = $7 WHERE app_id = $1 AND thing_id = $2",
        &[
            app.as_str().into(),
            thing.thing_id.as_str().into(),
            thing.thing_type.as_ref().into(),
            thing.firmware_version.as_ref().into(),
            (&thing.layout_position).into(),
            (&thing.properties).into(),
            thing.modified_at.into(),
        ],
    )?;
    Ok(())
}

/// The firmware version of `thing` and the interval by which its history is grouped, where they are known.
pub(crate) fn version_and_interval(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
) -> Result<(Option<String>, Option<String>), StoreError> {
    let row = sql.query_one(
        "SELECT firmware_version, data_grouping_interval FROM things WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    row.map_or(Ok((None, None)), |mut row| Ok((row.optional_text(0)?, row.optional_text(1)?)))
}

/// Stores the firmware version that a thing reports.
pub(crate) fn set_firmware_version(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    version: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE things SET firmware_version = $3, modified_at = $4 WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into(), version.into(), now.into()],
    )?;
    Ok(())
}

/// Gives a thing another maker's id, which no other thing has, and another password.
pub(crate) fn set_login(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    vendor: &VendorThingId,
    password_hash: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE things SET vendor_thing_id = $3, password_hash = $4, modified_at = $5 \
         WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into(), vendor.as_str().into(), password_hash.into(), now.into()],
    )?;
    Ok(())
}

/// Gives a thing another password.
pub(crate) fn set_password(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    password_hash: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE things SET password_hash = $3, modified_at = $4 WHERE app_id = $1 AND thing_id = $2",
        &[app.as_str().into(), thing.as_str().into(), password_hash.into(), now.into()],
    )?;
    Ok(())
}

/// Disables or enables a thing; `false` when it was so before.
pub(crate) fn set_disabled(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    disabled: bool,
    now: i64,
) -> Result<bool, StoreError> {
    let changed = sql.execute(
        "UPDATE things SET disabled = $3, modified_at = $4 WHERE app_id = $1 AND thing_id = $2 AND disabled <> $3",
        &[app.as_str().into(), thing.as_str().into(), i64::from(disabled).into(), now.into()],
    )?;
    Ok(changed > 0)
}

pub(crate) fn is_disabled(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT thing_id FROM things WHERE app_id = $1 AND thing_id = $2 AND disabled <> 0",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    Ok(row.is_some())
}

/// Stores where a thing stands.
pub(crate) fn set_layout_position(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    position: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE things SET layout_position = $3, modified_at = $4 \
         WHERE app_id = $1 AND thing_id = $2 AND layout_position <> $3",
        &[app.as_str().into(), thing.as_str().into(), position.into(), now.into()],
    )?;
    Ok(())
}

/// Makes `owner` an owner of `thing`; again is no error.
pub(crate) fn add_owner(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    owner: &Principal,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO thing_owners (app_id, thing_id, owner, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (app_id, thing_id, owner) DO NOTHING",
        &[app.as_str().into(), thing.as_str().into(), owner.to_string().into(), now.into()],
    )?;
    Ok(())
}

pub(crate) fn is_owner(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, owner: &Principal) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT owner FROM thing_owners WHERE app_id = $1 AND thing_id = $2 AND owner = $3",
        &[app.as_str().into(), thing.as_str().into(), owner.to_string().into()],
    )?;
    Ok(row.is_some())
}

/// The owners of `thing`, oldest first.
pub(crate) fn owners(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Vec<Principal>, StoreError> {
    let rows = sql.query(
        "SELECT owner FROM thing_owners WHERE app_id = $1 AND thing_id = $2 ORDER BY created_at, owner",
        &[app.as_str().into(), thing.as_str().into()],
    )?;
    rows.into_iter().map(|mut row| row.text(0)?.parse().map_err(|_| StoreError::column(0, "an owner"))).collect()
}

/// Makes `owner` an owner of `thing` no more, and ends what it hears by that; `false` when it was none.
pub(crate) fn remove_owner(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    owner: &Principal,
) -> Result<bool, StoreError> {
    let removed = sql.execute(
        "DELETE FROM thing_owners WHERE app_id = $1 AND thing_id = $2 AND owner = $3",
        &[app.as_str().into(), thing.as_str().into(), owner.to_string().into()],
    )?;
    if removed > 0 {
        subscriptions::part(sql, app, thing, owner)?;
    }
    Ok(removed > 0)
}

/// Removes `thing` and everything that is its own: owners, tokens, installations, state, commands, triggers, what is in its
/// scope, its place behind a gateway. What was behind it stays, and is behind nothing.
pub(crate) fn delete(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<(), StoreError> {
    buckets::delete_scope(sql, app, &Principal::Thing(thing.clone()))?;
    let principal = Principal::Thing(thing.clone()).to_string();
    for own in [
        "DELETE FROM access_tokens WHERE app_id = $1 AND principal = $2",
        "DELETE FROM installations WHERE app_id = $1 AND principal = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), (&principal).into()])?;
    }
    for own in [
        "DELETE FROM thing_owners WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM thing_states WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM alias_states WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM state_history WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM commands WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM trigger_results WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM triggers WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM things WHERE app_id = $1 AND thing_id = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), thing.as_str().into()])?;
    }
    end_nodes::delete_all_of(sql, app, thing)
}
