//! Access tokens. Only their hashes are stored.

use super::{Sql, StoreError};
use crate::cloud::caller::Caller;
use crate::cloud::token::TokenHash;
use crate::ids::{AppId, ThingId};
use crate::thing_if::Principal;

/// Whose token this is, in `app`, and whether it is that of a disabled thing; `None` for a token that is unknown there or has
/// expired.
pub(crate) fn caller(
    sql: &mut dyn Sql,
    app: &AppId,
    hash: &TokenHash,
    now: i64,
) -> Result<Option<(Caller, bool)>, StoreError> {
    let row = sql.query_one(
        "SELECT principal, disabled FROM access_tokens \
         WHERE token_hash = $1 AND app_id = $2 AND (expires_at IS NULL OR expires_at > $3)",
        &[hash.as_bytes().into(), app.as_str().into(), now.into()],
    )?;
    let Some(mut row) = row else { return Ok(None) };
    let caller = row.text(0)?.parse().map_err(|_| StoreError::column(0, "a caller"))?;
    Ok(Some((caller, row.integer(1)? != 0)))
}

/// A token to be added.
#[derive(Debug)]
pub(crate) struct NewToken {
    pub(crate) hash: TokenHash,
    /// In milliseconds since 1970; `None` never.
    pub(crate) expires_at: Option<i64>,
    /// Of the token that brings another one when this one has expired.
    pub(crate) refresh: Option<TokenHash>,
    /// For which gateway an end node's is: it ends when the end node is not behind that any more.
    pub(crate) gateway: Option<ThingId>,
}

/// What a refresh token was worth.
#[derive(Debug)]
pub(crate) struct Refreshed {
    pub(crate) caller: Caller,
    /// For how many milliseconds the token was given out that it came with.
    pub(crate) lifetime: i64,
    /// As [`NewToken::gateway`].
    pub(crate) gateway: Option<ThingId>,
}

/// The newest tokens of a thing that stay valid: one for each onboarding.
const KEEP_OF_THING: i64 = 8;
/// The newest tokens of a user that stay valid: a user has many browsers.
const KEEP_OF_USER: i64 = 64;

/// The newest tokens of an administrator that stay valid; there is one for each session.
const KEEP_OF_ADMIN: i64 = 64;
/// The newest tokens of anybody with the application's key that stay valid: many share them.
const KEEP_OF_ANYBODY: i64 = 10_000;

/// Adds a token of `caller`. Of all that there are, the newest 8 of a thing, 64 of a user or an administrator, 10,000 of anybody
/// with the application's key stay valid. One of a disabled thing is disabled as well.
pub(crate) fn add(sql: &mut dyn Sql, app: &AppId, caller: &Caller, new: &NewToken, now: i64) -> Result<(), StoreError> {
    let keep = match caller {
        Caller::Principal(Principal::Thing(_)) => KEEP_OF_THING,
        Caller::Principal(Principal::User(_) | Principal::Group(_)) => KEEP_OF_USER,
        Caller::Admin => KEEP_OF_ADMIN,
        Caller::Anonymous => KEEP_OF_ANYBODY,
    };
    let principal = caller.to_string();
    let thing = match caller {
        Caller::Principal(Principal::Thing(thing)) => Some(thing.as_str()),
        _ => None,
    };
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM access_tokens WHERE app_id = $1 AND principal = $2",
        &[app.as_str().into(), (&principal).into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO access_tokens (token_hash, app_id, principal, seq, expires_at, created_at, refresh_hash, \
         disabled, gateway_id) VALUES ($1, $2, $3, $4, $5, $6, $7, \
         COALESCE((SELECT disabled FROM things WHERE app_id = $2 AND thing_id = $8), 0), $9)",
        &[
            new.hash.as_bytes().into(),
            app.as_str().into(),
            (&principal).into(),
            seq.into(),
            new.expires_at.into(),
            now.into(),
            new.refresh.as_ref().map(|hash| hash.as_bytes()).into(),
            thing.into(),
            new.gateway.as_ref().map(ThingId::as_str).into(),
        ],
    )?;
    sql.execute(
        "DELETE FROM access_tokens WHERE app_id = $1 AND principal = $2 AND seq <= $3",
        &[app.as_str().into(), (&principal).into(), (seq - keep).into()],
    )?;
    Ok(())
}

/// Ends the token that `refresh` is to follow, and says what it was; `None` for a refresh token that is unknown in `app`, or
/// was used.
pub(crate) fn take_refreshed(
    sql: &mut dyn Sql,
    app: &AppId,
    refresh: &TokenHash,
) -> Result<Option<Refreshed>, StoreError> {
    let row = sql.query_one(
        "SELECT principal, COALESCE(expires_at, created_at) - created_at, gateway_id FROM access_tokens \
         WHERE refresh_hash = $1 AND app_id = $2",
        &[refresh.as_bytes().into(), app.as_str().into()],
    )?;
    let Some(mut row) = row else { return Ok(None) };
    sql.execute(
        "DELETE FROM access_tokens WHERE refresh_hash = $1 AND app_id = $2",
        &[refresh.as_bytes().into(), app.as_str().into()],
    )?;
    let caller = row.text(0)?.parse().map_err(|_| StoreError::column(0, "a caller"))?;
    let gateway = row.optional_text(2)?.map(ThingId::new).transpose();
    let gateway = gateway.map_err(|_| StoreError::column(2, "a thing id or NULL"))?;
    Ok(Some(Refreshed { caller, lifetime: row.integer(1)?, gateway }))
}

/// Disables every token of `principal`.
pub(crate) fn disable_all_of(sql: &mut dyn Sql, app: &AppId, principal: &Principal) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE access_tokens SET disabled = 1 WHERE app_id = $1 AND principal = $2",
        &[app.as_str().into(), principal.to_string().into()],
    )?;
    Ok(())
}

/// Ends every token of `principal`.
pub(crate) fn delete_all_of(sql: &mut dyn Sql, app: &AppId, principal: &Principal) -> Result<(), StoreError> {
    sql.execute(
        "DELETE FROM access_tokens WHERE app_id = $1 AND principal = $2",
        &[app.as_str().into(), principal.to_string().into()],
    )?;
    Ok(())
}
