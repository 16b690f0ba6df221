//! Things, and who owns them.

use super::{Row, Sql, StoreError};
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
        "SELECT thing_id, vendor_thing_id, password_hash FROM things WHERE app_id = $1 AND thing_id = $2",
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
        "SELECT thing_id, vendor_thing_id, password_hash FROM things WHERE app_id = $1 AND vendor_thing_id = $2",
        &[app.as_str().into(), vendor.as_str().into()],
    )?;
    row.map(login).transpose()
}

fn login(mut row: Row) -> Result<Login, StoreError> {
    Ok(Login {
        thing_id: ThingId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a thing id"))?,
        vendor_thing_id: VendorThingId::new(row.text(1)?).map_err(|_| StoreError::column(1, "a vendor thing id"))?,
        password_hash: row.text(2)?,
    })
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

/// Removes `thing` and everything that is its own: owners, tokens, installations, state, commands.
pub(crate) fn delete(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<(), StoreError> {
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
        "DELETE FROM commands WHERE app_id = $1 AND thing_id = $2",
        "DELETE FROM things WHERE app_id = $1 AND thing_id = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), thing.as_str().into()])?;
    }
    Ok(())
}
