//! Who is told of a bucket's changes and of a topic's messages.

use super::{Sql, StoreError};
use crate::ids::{AppId, ClientId};
use crate::thing_if::Principal;

/// What can be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) app_id: AppId,
    pub(crate) scope: String,
    pub(crate) kind: SourceKind,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Bucket,
    Topic,
}

impl SourceKind {
    fn as_str(self) -> &'static str {
        match self {
            SourceKind::Bucket => "bucket",
            SourceKind::Topic => "topic",
        }
    }
}

/// Adds a subscription. `false` when it is there already.
pub(crate) fn insert(sql: &mut dyn Sql, source: &Source, subscriber: &Principal, now: i64) -> Result<bool, StoreError> {
    let added = sql.execute(
        "INSERT INTO push_subscriptions (app_id, scope, kind, name, subscriber, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app_id, scope, kind, name, subscriber) DO NOTHING",
        &[
            source.app_id.as_str().into(),
            (&source.scope).into(),
            source.kind.as_str().into(),
            (&source.name).into(),
            subscriber.to_string().into(),
            now.into(),
        ],
    )?;
    Ok(added > 0)
}

pub(crate) fn exists(sql: &mut dyn Sql, source: &Source, subscriber: &Principal) -> Result<bool, StoreError> {
    let row = sql.query_one(
        "SELECT subscriber FROM push_subscriptions \
         WHERE app_id = $1 AND scope = $2 AND kind = $3 AND name = $4 AND subscriber = $5",
        &[
            source.app_id.as_str().into(),
            (&source.scope).into(),
            source.kind.as_str().into(),
            (&source.name).into(),
            subscriber.to_string().into(),
        ],
    )?;
    Ok(row.is_some())
}

/// Removes a subscription. `false` when there was none.
pub(crate) fn delete(sql: &mut dyn Sql, source: &Source, subscriber: &Principal) -> Result<bool, StoreError> {
    let deleted = sql.execute(
        "DELETE FROM push_subscriptions \
         WHERE app_id = $1 AND scope = $2 AND kind = $3 AND name = $4 AND subscriber = $5",
        &[
            source.app_id.as_str().into(),
            (&source.scope).into(),
            source.kind.as_str().into(),
            (&source.name).into(),
            subscriber.to_string().into(),
        ],
    )?;
    Ok(deleted > 0)
}

/// How many subscribers there are.
pub(crate) fn count(sql: &mut dyn Sql, source: &Source) -> Result<i64, StoreError> {
    let row = sql.query_one(
        "SELECT COUNT(*) FROM push_subscriptions WHERE app_id = $1 AND scope = $2 AND kind = $3 AND name = $4",
        &[source.app_id.as_str().into(), (&source.scope).into(), source.kind.as_str().into(), (&source.name).into()],
    )?;
    row.map_or(Ok(0), |row| row.integer(0))
}

/// Where a push goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) mqtt_topic: ClientId,
    pub(crate) development: bool,
    /// Whose installation it is, and which of them: recipients are listed in this order.
    pub(crate) place: (String, i64),
}

/// At most `limit` installations of subscribers, after `after`.
pub(crate) fn recipients(
    sql: &mut dyn Sql,
    source: &Source,
    after: &(String, i64),
    limit: i64,
) -> Result<Vec<Recipient>, StoreError> {
    let rows = sql.query(
        "SELECT i.mqtt_topic, i.development, s.subscriber, i.seq FROM push_subscriptions s \
         JOIN installations i ON i.app_id = s.app_id AND i.principal = s.subscriber \
         WHERE s.app_id = $1 AND s.scope = $2 AND s.kind = $3 AND s.name = $4 \
         AND (s.subscriber > $5 OR (s.subscriber = $5 AND i.seq > $6)) ORDER BY s.subscriber, i.seq LIMIT $7",
        &[
            source.app_id.as_str().into(),
            (&source.scope).into(),
            source.kind.as_str().into(),
            (&source.name).into(),
            (&after.0).into(),
            after.1.into(),
            limit.into(),
        ],
    )?;
    let recipient = |mut row: super::Row| {
        Ok(Recipient {
            mqtt_topic: ClientId::new(row.text(0)?).map_err(|_| StoreError::column(0, "a client id"))?,
            development: row.integer(1)? != 0,
            place: (row.text(2)?, row.integer(3)?),
        })
    };
    rows.into_iter().map(recipient).collect()
}

/// All of them at once, for what is about to go.
pub(crate) fn all_recipients(sql: &mut dyn Sql, source: &Source) -> Result<Vec<Recipient>, StoreError> {
    recipients(sql, source, &(String::new(), 0), i64::MAX)
}
