//! Topics of Kii Cloud, by scope. They are not those of MQTT.

use super::subscriptions::Source;
use super::{Sql, StoreError};
use crate::cloud::caller::Caller;
use crate::ids::AppId;

/// Makes a topic. `false` when it is there already.
pub(crate) fn insert(sql: &mut dyn Sql, topic: &Source, owner: &Caller, now: i64) -> Result<bool, StoreError> {
    let added = sql.execute(
        "INSERT INTO topics (app_id, scope, topic_id, owner, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (app_id, scope, topic_id) DO NOTHING",
        &[
            topic.app_id.as_str().into(),
            (&topic.scope).into(),
            (&topic.name).into(),
            owner.to_string().into(),
            now.into(),
        ],
    )?;
    Ok(added > 0)
}

pub(crate) fn exists(sql: &mut dyn Sql, topic: &Source) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT topic_id FROM topics WHERE app_id = $1 AND scope = $2 AND topic_id = $3",
        &[topic.app_id.as_str().into(), (&topic.scope).into(), (&topic.name).into()],
    )?;
    Ok(row.is_some())
}

/// Removes a topic and its subscriptions. `false` when there was none.
pub(crate) fn delete(sql: &mut dyn Sql, topic: &Source) -> Result<bool, StoreError> {
    let place = [topic.app_id.as_str().into(), (&topic.scope).into(), (&topic.name).into()];
    sql.execute(
        "DELETE FROM push_subscriptions WHERE app_id = $1 AND scope = $2 AND kind = 'topic' AND name = $3",
        &place,
    )?;
    let deleted = sql.execute("DELETE FROM topics WHERE app_id = $1 AND scope = $2 AND topic_id = $3", &place)?;
    Ok(deleted > 0)
}

/// At most `limit` topics of a scope, by name, after `after`.
pub(crate) fn list(
    sql: &mut dyn Sql,
    app: &AppId,
    scope: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let rows = sql.query(
        "SELECT topic_id FROM topics WHERE app_id = $1 AND scope = $2 AND topic_id > $3 ORDER BY topic_id LIMIT $4",
        &[app.as_str().into(), scope.into(), after.into(), limit.into()],
    )?;
    rows.into_iter().map(|mut row| row.text(0)).collect()
}
