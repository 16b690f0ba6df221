//! Objects in buckets.

use super::buckets::Bucket;
use super::{Row, Sql, StoreError};

/// An object. `fields` is a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Grows with every object of the bucket: the order of pages.
    pub(crate) seq: i64,
    pub(crate) object_id: String,
    /// Of the last write; no two writes in a bucket have the same.
    pub(crate) version: i64,
    /// Who made it: an id without its kind.
    pub(crate) owner: String,
    pub(crate) data_type: String,
    pub(crate) fields: String,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
}

/// Adds an object; its `seq` is decided here.
pub(crate) fn insert(sql: &mut dyn Sql, bucket: &Bucket, object: &Object) -> Result<(), StoreError> {
    let row = sql.query_one(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM objects WHERE app_id = $1 AND scope = $2 AND bucket_id = $3",
        &[bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into()],
    )?;
    let seq = row.map_or(Ok(1), |row| row.integer(0))?;
    sql.execute(
        "INSERT INTO objects (app_id, scope, bucket_id, object_id, seq, version, owner, data_type, fields, \
         created_at, modified_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        &[
            bucket.app_id.as_str().into(),
            (&bucket.scope).into(),
            (&bucket.bucket_id).into(),
            (&object.object_id).into(),
            seq.into(),
            object.version.into(),
            (&object.owner).into(),
            (&object.data_type).into(),
            (&object.fields).into(),
            object.created_at.into(),
            object.modified_at.into(),
        ],
    )?;
    Ok(())
}

/// Stores what an update changes: version, type, fields and time.
pub(crate) fn update(sql: &mut dyn Sql, bucket: &Bucket, object: &Object) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE objects SET version = $5, data_type = $6, fields = $7, modified_at = $8 \
         WHERE app_id = $1 AND scope = $2 AND bucket_id = $3 AND object_id = $4",
        &[
            bucket.app_id.as_str().into(),
            (&bucket.scope).into(),
            (&bucket.bucket_id).into(),
            (&object.object_id).into(),
            object.version.into(),
            (&object.data_type).into(),
            (&object.fields).into(),
            object.modified_at.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn get(sql: &mut dyn Sql, bucket: &Bucket, id: &str) -> Result<Option<Object>, StoreError> {
    let row = sql.query_one(
        "SELECT seq, object_id, version, owner, data_type, fields, created_at, modified_at FROM objects \
         WHERE app_id = $1 AND scope = $2 AND bucket_id = $3 AND object_id = $4",
        &[bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into(), id.into()],
    )?;
    row.map(object).transpose()
}

pub(crate) fn delete(sql: &mut dyn Sql, bucket: &Bucket, id: &str) -> Result<(), StoreError> {
    sql.execute(
        "DELETE FROM objects WHERE app_id = $1 AND scope = $2 AND bucket_id = $3 AND object_id = $4",
        &[bucket.app_id.as_str().into(), (&bucket.scope).into(), (&bucket.bucket_id).into(), id.into()],
    )?;
    Ok(())
}

/// At most `limit` objects after `after`, oldest first.
pub(crate) fn list(sql: &mut dyn Sql, bucket: &Bucket, after: i64, limit: i64) -> Result<Vec<Object>, StoreError> {
    let rows = sql.query(
        "SELECT seq, object_id, version, owner, data_type, fields, created_at, modified_at FROM objects \
         WHERE app_id = $1 AND scope = $2 AND bucket_id = $3 AND seq > $4 ORDER BY seq LIMIT $5",
        &[
            bucket.app_id.as_str().into(),
            (&bucket.scope).into(),
            (&bucket.bucket_id).into(),
            after.into(),
            limit.into(),
        ],
    )?;
    rows.into_iter().map(object).collect()
}

fn object(mut row: Row) -> Result<Object, StoreError> {
    Ok(Object {
        seq: row.integer(0)?,
        object_id: row.text(1)?,
        version: row.integer(2)?,
        owner: row.text(3)?,
        data_type: row.text(4)?,
        fields: row.text(5)?,
        created_at: row.integer(6)?,
        modified_at: row.integer(7)?,
    })
}
