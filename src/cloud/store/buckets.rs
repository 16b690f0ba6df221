//! Buckets, by scope: `app`, or the principal whose it is.

use super::{Sql, StoreError};
use crate::cloud::caller::Caller;
use crate::ids::AppId;
use crate::thing_if::Principal;

/// A bucket, by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) app_id: AppId,
    pub(crate) scope: String,
    pub(crate) bucket_id: String,
}

pub(crate) fn exists(sql: &mut dyn Sql, bucket: &Bucket) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT bucket_id FROM buckets WHERE app_id = $1 AND scope = $2 AND bucket_id = $3",
        &[bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into()],
    )?;
    Ok(row.is_some())
}

/// Makes the bucket; again is no error.
pub(crate) fn create(sql: &mut dyn Sql, bucket: &Bucket, owner: &Caller, now: i64) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO buckets (app_id, scope, bucket_id, owner, last_version, created_at) \
         VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (app_id, scope, bucket_id) DO NOTHING",
        &[
            bucket.app_id.as_str().into(),
            (&bucket.scope).into(),
            (&bucket.bucket_id).into(),
            owner.to_string().into(),
            now.into(),
        ],
    )?;
    Ok(())
}

/// A version for the next write to an object of the bucket: greater than every one before, also of a bucket of the same
/// name that was dropped, as long as the clock does not go back.
pub(crate) fn next_version(sql: &mut dyn Sql, bucket: &Bucket, now: i64) -> Result<i64, StoreError> {
    let place = [bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into()];
    let row =
        sql.query_one("SELECT last_version FROM buckets WHERE app_id = $1 AND scope = $2 AND bucket_id = $3", &place)?;
    let last = row.map_or(Ok(0), |row| row.integer(0))?;
    let next = now.max(last + 1);
    let [app, scope, name] = place;
    sql.execute(
        "UPDATE buckets SET last_version = $4 WHERE app_id = $1 AND scope = $2 AND bucket_id = $3",
        &[app, scope, name, next.into()],
    )?;
    Ok(next)
}

/// Removes the bucket, its objects and its subscriptions. `false` when there was none.
pub(crate) fn delete(sql: &mut dyn Sql, bucket: &Bucket) -> Result<bool, StoreError> {
    let place = [bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into()];
    sql.execute("DELETE FROM objects WHERE app_id = $1 AND scope = $2 AND bucket_id = $3", &place)?;
    sql.execute(
        "DELETE FROM push_subscriptions WHERE app_id = $1 AND scope = $2 AND kind = 'bucket' AND name = $3",
        &place,
    )?;
    let deleted = sql.execute("DELETE FROM buckets WHERE app_id = $1 AND scope = $2 AND bucket_id = $3", &place)?;
    Ok(deleted > 0)
}

/// Removes what is in the scope of `principal`, and what it has subscribed to.
pub(crate) fn delete_scope(sql: &mut dyn Sql, app: &AppId, principal: &Principal) -> Result<(), StoreError> {
    let whose = principal.to_string();
    for own in [
        "DELETE FROM objects WHERE app_id = $1 AND scope = $2",
        "DELETE FROM buckets WHERE app_id = $1 AND scope = $2",
        "DELETE FROM topics WHERE app_id = $1 AND scope = $2",
        "DELETE FROM push_subscriptions WHERE app_id = $1 AND scope = $2",
        "DELETE FROM push_subscriptions WHERE app_id = $1 AND subscriber = $2",
    ] {
        sql.execute(own, &[app.as_str().into(), (&whose).into()])?;
    }
    Ok(())
}
