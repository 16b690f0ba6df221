//! MQTT installations: where a principal's pushes go, and who may connect as it.

use super::{Row, Sql, StoreError};
use crate::cloud::identifiers::Identifiers;
use crate::ids::{AppId, ClientId};
use crate::thing_if::Principal;

/// An MQTT installation. Its password is derived from `installation_id` and `generation`, never stored.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) app_id: AppId,
    pub(crate) installation_id: String,
    pub(crate) registration_id: String,
    pub(crate) mqtt_topic: ClientId,
    pub(crate) username: String,
    pub(crate) generation: i64,
    /// For the development environment, not for production.
    pub(crate) development: bool,
    /// When its endpoint is told to who asks, in milliseconds since 1970.
    pub(crate) ready_at: i64,
}

/// The newest installations of a principal that stay valid: some clients install anew at every start. (`wire` §7)
pub(crate) const KEEP: i64 = 64;

impl Installation {
    /// A new one, for production, ready at once.
    pub(crate) fn generate(app_id: AppId) -> Self {
        Self {
            installation_id: Identifiers::installation_id(),
            registration_id: Identifiers::registration_id(),
            mqtt_topic: Identifiers::mqtt_topic(),
            username: Identifiers::endpoint_username(&app_id),
            generation: 1,
            development: false,
            ready_at: 0,
            app_id,
        }
    }
}

pub(crate) fn insert(sql: &mut dyn Sql, principal: &Principal, new: &Installation, now: i64) -> Result<(), StoreError> {
    let principal = principal.to_string();
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM installations WHERE app_id = $1 AND principal = $2",
        &[new.app_id.as_str().into(), (&principal).into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO installations (app_id, installation_id, registration_id, principal, seq, mqtt_topic, username, \
         generation, development, ready_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        &[
            new.app_id.as_str().into(),
            (&new.installation_id).into(),
            (&new.registration_id).into(),
            (&principal).into(),
            seq.into(),
            new.mqtt_topic.as_str().into(),
            (&new.username).into(),
            new.generation.into(),
            i64::from(new.development).into(),
            new.ready_at.into(),
            now.into(),
        ],
    )?;
    Ok(())
}

/// The installations of `principal`, oldest first.
pub(crate) fn of(sql: &mut dyn Sql, app: &AppId, principal: &Principal) -> Result<Vec<Installation>, StoreError> {
    let rows = sql.query(
        "SELECT app_id, installation_id, registration_id, mqtt_topic, username, generation, development, ready_at \
         FROM installations \
         WHERE app_id = $1 AND principal = $2 ORDER BY seq",
        &[app.as_str().into(), principal.to_string().into()],
    )?;
    rows.into_iter().map(installation).collect()
}

/// Removes all but the newest [`KEEP`] installations of `principal`, and says which went.
pub(crate) fn prune(sql: &mut dyn Sql, app: &AppId, principal: &Principal) -> Result<Vec<Installation>, StoreError> {
    let mut all = of(sql, app, principal)?;
    let keep = usize::try_from(KEEP).unwrap_or(usize::MAX);
    all.truncate(all.len().saturating_sub(keep));
    for old in &all {
        delete(sql, app, &old.installation_id)?;
    }
    Ok(all)
}

/// The installation whose endpoint has this user name.
pub(crate) fn by_username(sql: &mut dyn Sql, username: &str) -> Result<Option<Installation>, StoreError> {
    let row = sql.query_one(
        "SELECT app_id, installation_id, registration_id, mqtt_topic, username, generation, development, ready_at \
         FROM installations \
         WHERE username = $1",
        &[username.into()],
    )?;
    row.map(installation).transpose()
}

/// Whether the installation whose endpoint has this user name is that of a disabled thing.
pub(crate) fn is_disabled(sql: &mut dyn Sql, username: &str) -> Result<bool, StoreError> {
    // The thing is looked up by its key; the last comparison tells it from a user.
    let row = sql.query_one(
        "SELECT t.thing_id FROM installations i \
         JOIN things t ON t.app_id = i.app_id AND t.thing_id = SUBSTR(i.principal, 7) \
         WHERE i.username = $1 AND t.disabled <> 0 AND i.principal = 'thing:' || t.thing_id",
        &[username.into()],
    )?;
    Ok(row.is_some())
}

/// The installation with this id, or with this registration id, and whose it is.
pub(crate) fn find(
    sql: &mut dyn Sql,
    app: &AppId,
    name: InstallationName<'_>,
) -> Result<Option<(Installation, Principal)>, StoreError> {
    let row = match name {
        InstallationName::Id(id) => sql.query_one(
            "SELECT app_id, installation_id, registration_id, mqtt_topic, username, generation, development, \
             ready_at, principal \
             FROM installations WHERE app_id = $1 AND installation_id = $2",
            &[app.as_str().into(), id.into()],
        )?,
        InstallationName::Registration(id) => sql.query_one(
            "SELECT app_id, installation_id, registration_id, mqtt_topic, username, generation, development, \
             ready_at, principal \
             FROM installations WHERE app_id = $1 AND registration_id = $2",
            &[app.as_str().into(), id.into()],
        )?,
    };
    let Some(mut row) = row else { return Ok(None) };
    let principal = row.text(8)?.parse().map_err(|_| StoreError::column(8, "a principal"))?;
    Ok(Some((installation(row)?, principal)))
}

/// How a path names an installation. (`wire` §5)
#[derive(Debug, Clone, Copy)]
pub(crate) enum InstallationName<'a> {
    /// `installationID`
    Id(&'a str),
    /// `MQTT:{installationRegistrationID}`
    Registration(&'a str),
}

/// Removes an installation: its endpoint is no longer valid.
pub(crate) fn delete(sql: &mut dyn Sql, app: &AppId, installation_id: &str) -> Result<(), StoreError> {
    sql.execute(
        "DELETE FROM installations WHERE app_id = $1 AND installation_id = $2",
        &[app.as_str().into(), installation_id.into()],
    )?;
    Ok(())
}

fn installation(mut row: Row) -> Result<Installation, StoreError> {
    Ok(Installation {
        app_id: AppId::new(row.text(0)?).map_err(|_| StoreError::column(0, "an app id"))?,
        installation_id: row.text(1)?,
        registration_id: row.text(2)?,
        mqtt_topic: ClientId::new(row.text(3)?).map_err(|_| StoreError::column(3, "a client id"))?,
        username: row.text(4)?,
        generation: row.integer(5)?,
        development: row.integer(6)? != 0,
        ready_at: row.integer(7)?,
    })
}
