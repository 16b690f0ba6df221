//! Who is told of a bucket's changes and of a topic's messages.

use super::{Sql, StoreError, end_nodes, things};
use crate::ids::{AppId, ClientId, ThingId};
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

/// At most `limit` installations of subscribers, after `after`; an end node's are those of its gateway, and a disabled thing has
/// none.
pub(crate) fn recipients(
    sql: &mut dyn Sql,
    source: &Source,
    after: &(String, i64),
    limit: i64,
) -> Result<Vec<Recipient>, StoreError> {
    let rows = sql.query(
        "SELECT i.mqtt_topic, i.development, s.subscriber, i.seq FROM push_subscriptions s \
         LEFT JOIN end_nodes e ON e.app_id = s.app_id AND e.end_node_id = substr(s.subscriber, 7) \
         AND substr(s.subscriber, 1, 6) = 'thing:' \
         LEFT JOIN things t ON t.app_id = s.app_id AND t.thing_id = substr(s.subscriber, 7) \
         AND substr(s.subscriber, 1, 6) = 'thing:' \
         JOIN installations i ON i.app_id = s.app_id AND i.principal = COALESCE('thing:' || e.gateway_id, s.subscriber) \
         WHERE COALESCE(t.disabled, 0) = 0 AND s.app_id = $1 AND s.scope = $2 AND s.kind = $3 AND s.name = $4 \
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

/// Ends the subscriptions between `thing` and `former`, which was its owner or its gateway: those of either in the scope of the
/// other and, for an owner, those between `thing` and its other things. Who still has to do with `thing` keeps them.
pub(crate) fn part(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, former: &Principal) -> Result<(), StoreError> {
    let whose = Principal::Thing(thing.clone()).to_string();
    let rows = sql.query(
        "SELECT scope, subscriber FROM push_subscriptions WHERE app_id = $1 AND scope = $2 AND subscriber <> $2 UNION \
         SELECT scope, subscriber FROM push_subscriptions WHERE app_id = $1 AND subscriber = $2 AND scope <> $2 \
         AND scope <> 'app'",
        &[app.as_str().into(), (&whose).into()],
    )?;
    for mut row in rows {
        let (scope, subscriber) = (row.text(0)?, row.text(1)?);
        let other = if scope == whose { &subscriber } else { &scope };
        let other: Principal = other.parse().map_err(|_| StoreError::column(0, "a principal"))?;
        let is_concerned = match &other {
            other if other == former => true,
            Principal::Thing(other) => things::is_owner(sql, app, other, former)?,
            _ => false,
        };
        if is_concerned && !has_to_do_with(sql, app, thing, &other)? {
            sql.execute(
                "DELETE FROM push_subscriptions WHERE app_id = $1 AND scope = $2 AND subscriber = $3",
                &[app.as_str().into(), scope.into(), subscriber.into()],
            )?;
        }
    }
    Ok(())
}

/// Whether `other` owns `thing`, or is a thing that is its gateway, is behind it, or has an owner in common with it.
fn has_to_do_with(sql: &mut dyn Sql, app: &AppId, thing: &ThingId, other: &Principal) -> Result<bool, StoreError> {
    let Principal::Thing(other) = other else { return things::is_owner(sql, app, thing, other) };
    if end_nodes::gateway_of(sql, app, thing)?.as_ref() == Some(other)
        || end_nodes::gateway_of(sql, app, other)?.as_ref() == Some(thing)
    {
        return Ok(true);
    }
    let common = sql.query_one(
        "SELECT a.owner FROM thing_owners a JOIN thing_owners b ON b.app_id = a.app_id AND b.owner = a.owner \
         WHERE a.app_id = $1 AND a.thing_id = $2 AND b.thing_id = $3 LIMIT 1",
        &[app.as_str().into(), thing.as_str().into(), other.as_str().into()],
    )?;
    Ok(common.is_some())
}
