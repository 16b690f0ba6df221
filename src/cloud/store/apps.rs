//! Applications, and the clients that administer them.

use super::{Sql, StoreError};
use crate::cloud::token::TokenHash;
use crate::ids::AppId;
use crate::secret::Secret;

/// An application as it is made.
#[derive(Debug)]
pub(crate) struct NewApp {
    pub(crate) app_id: AppId,
    pub(crate) app_key: Secret<String>,
    pub(crate) name: Option<String>,
    pub(crate) client_id: String,
    pub(crate) secret_hash: TokenHash,
}

pub(crate) fn insert(sql: &mut dyn Sql, new: &NewApp, now: i64) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO apps (app_id, app_key, name, created_at) VALUES ($1, $2, $3, $4)",
        &[new.app_id.as_str().into(), new.app_key.expose().into(), new.name.as_ref().into(), now.into()],
    )?;
    sql.execute(
        "INSERT INTO admin_clients (app_id, client_id, secret_hash, created_at) VALUES ($1, $2, $3, $4)",
        &[new.app_id.as_str().into(), (&new.client_id).into(), new.secret_hash.as_bytes().into(), now.into()],
    )?;
    Ok(())
}

/// Every application, oldest first: id, key, name, and when it was made.
pub(crate) fn all(sql: &mut dyn Sql) -> Result<Vec<App>, StoreError> {
    let rows = sql.query("SELECT app_id, app_key, name, created_at FROM apps ORDER BY created_at, app_id", &[])?;
    rows.into_iter()
        .map(|mut row| {
            Ok(App {
                app_id: AppId::new(row.text(0)?).map_err(|_| StoreError::column(0, "an app id"))?,
                app_key: row.text(1)?.into(),
                name: row.optional_text(2)?,
                created_at: row.integer(3)?,
            })
        })
        .collect()
}

/// An application that was made by hand.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) app_id: AppId,
    pub(crate) app_key: Secret<String>,
    pub(crate) name: Option<String>,
    pub(crate) created_at: i64,
}

/// What the secret of an administering client hashes to.
pub(crate) fn admin_secret(sql: &mut dyn Sql, app: &AppId, client_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sql.query_one(
        "SELECT secret_hash FROM admin_clients WHERE app_id = $1 AND client_id = $2",
        &[app.as_str().into(), client_id.into()],
    )?;
    row.map(|mut row| row.blob(0)).transpose()
}
