//! Users: owners of things.

use super::{Sql, StoreError};
use crate::ids::{AppId, UserId};

/// A user as it is registered. `fields` is a JSON object: what the user is described by, without the password.
#[derive(Debug)]
pub(crate) struct NewUser {
    pub(crate) user_id: UserId,
    pub(crate) login_name: Option<String>,
    pub(crate) email_address: Option<String>,
    pub(crate) phone_number: Option<String>,
    pub(crate) fields: String,
    pub(crate) password_hash: String,
}

/// What a login needs.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user_id: UserId,
    pub(crate) password_hash: String,
}

/// By what a user can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Login,
    Email,
    Phone,
}

impl Name {
    /// As the REST API calls it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Name::Login => "loginName",
            Name::Email => "emailAddress",
            Name::Phone => "phoneNumber",
        }
    }
}

pub(crate) fn insert(sql: &mut dyn Sql, app: &AppId, user: &NewUser, now: i64) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO users (app_id, user_id, login_name, email_address, phone_number, fields, password_hash, \
         created_at, modified_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        &[
            app.as_str().into(),
            user.user_id.as_str().into(),
            user.login_name.as_ref().into(),
            user.email_address.as_ref().into(),
            user.phone_number.as_ref().into(),
            (&user.fields).into(),
            (&user.password_hash).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn by_name(sql: &mut dyn Sql, app: &AppId, by: Name, name: &str) -> Result<Option<Login>, StoreError> {
    let statement = match by {
        Name::Login => "SELECT user_id, password_hash FROM users WHERE app_id = $1 AND login_name = $2",
        Name::Email => "SELECT user_id, password_hash FROM users WHERE app_id = $1 AND email_address = $2",
        Name::Phone => "SELECT user_id, password_hash FROM users WHERE app_id = $1 AND phone_number = $2",
    };
    match sql.query_one(statement, &[app.as_str().into(), name.into()])? {
        Some(mut row) => Ok(Some(Login {
            user_id: UserId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a user id"))?,
            password_hash: row.text(1)?,
        })),
        None => Ok(None),
    }
}

pub(crate) fn exists(sql: &mut dyn Sql, app: &AppId, user: &UserId) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT user_id FROM users WHERE app_id = $1 AND user_id = $2",
        &[app.as_str().into(), user.as_str().into()],
    )?;
    Ok(row.is_some())
}
