//! Users: owners of things.

use serde_json::{Map, Value};

use super::{Sql, StoreError, buckets, things};
use crate::ids::{AppId, UserId};
use crate::thing_if::Principal;

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

/// A user as it is.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) user_id: UserId,
    pub(crate) login_name: Option<String>,
    pub(crate) email_address: Option<String>,
    pub(crate) phone_number: Option<String>,
    /// A JSON object with the names in it.
    pub(crate) fields: String,
    pub(crate) password_hash: String,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
}

impl User {
    /// What the user is described by.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>, StoreError> {
        serde_json::from_str(&self.fields).map_err(|_| StoreError::column(4, "a JSON object"))
    }
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

pub(crate) fn get(sql: &mut dyn Sql, app: &AppId, user: &UserId) -> Result<Option<User>, StoreError> {
    let row = sql.query_one(
        "SELECT user_id, login_name, email_address, phone_number, fields, password_hash, created_at, modified_at \
         FROM users WHERE app_id = $1 AND user_id = $2",
        &[app.as_str().into(), user.as_str().into()],
    )?;
    row.map(|mut row| {
        Ok(User {
            user_id: UserId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a user id"))?,
            login_name: row.optional_text(1)?,
            email_address: row.optional_text(2)?,
            phone_number: row.optional_text(3)?,
            fields: row.text(4)?,
            password_hash: row.text(5)?,
            created_at: row.integer(6)?,
            modified_at: row.integer(7)?,
        })
    })
    .transpose()
}

/// Stores everything of `user` but its id, its password and when it was made.
pub(crate) fn update(sql: &mut dyn Sql, app: &AppId, user: &User) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE users SET login_name = $3, email_address = $4, phone_number = $5, fields = $6, modified_at = $7 \
         WHERE app_id = $1 AND user_id = $2",
        &[
            app.as_str().into(),
            user.user_id.as_str().into(),
            user.login_name.as_ref().into(),
            user.email_address.as_ref().into(),
            user.phone_number.as_ref().into(),
            (&user.fields).into(),
            user.modified_at.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn set_password(
    sql: &mut dyn Sql,
    app: &AppId,
    user: &UserId,
    password_hash: &str,
    now: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE users SET password_hash = $3, modified_at = $4 WHERE app_id = $1 AND user_id = $2",
        &[app.as_str().into(), user.as_str().into(), password_hash.into(), now.into()],
    )?;
    Ok(())
}

/// Things that are read at once.
const OWNED_AT_ONCE: i64 = 100;

/// Removes `user` and everything that is its own: tokens, installations, what is in its scope, and that it owns things.
pub(crate) fn delete(sql: &mut dyn Sql, app: &AppId, user: &UserId) -> Result<(), StoreError> {
    let owner = Principal::User(user.clone());
    buckets::delete_scope(sql, app, &owner)?;
    // One by one: with it goes what its things heard of one another. Some at a time: a thing may have 63 KB of fields.
    loop {
        let some = things::of_owner(sql, app, &owner, "", "", OWNED_AT_ONCE)?;
        if some.is_empty() {
            break;
        }
        for thing in some {
            things::remove_owner(sql, app, &thing.thing_id, &owner)?;
        }
    }
    let principal = owner.to_string();
    for own in [
        "DELETE FROM access_tokens WHERE app_id = $1 AND principal = $2",
        "DELETE FROM installations WHERE app_id = $1 AND principal = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), (&principal).into()])?;
    }
    sql.execute("DELETE FROM users WHERE app_id = $1 AND user_id = $2", &[app.as_str().into(), user.as_str().into()])?;
    Ok(())
}

pub(crate) fn exists(sql: &mut dyn Sql, app: &AppId, user: &UserId) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT user_id FROM users WHERE app_id = $1 AND user_id = $2",
        &[app.as_str().into(), user.as_str().into()],
    )?;
    Ok(row.is_some())
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
