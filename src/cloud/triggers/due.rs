//! Schedules whose time has come.

use std::time::Duration;

use super::fire::{fire, give_up};
use super::schedule::Schedule;
use super::{count, switch_off};
use crate::cloud::Cloud;
use crate::cloud::command::Delivery;
use crate::cloud::store::triggers::{self as rows, Trigger as Row};
use crate::cloud::store::{Sql, StoreError};
use crate::ids::{AppId, ThingId};
use crate::thing_if::Predicate;

/// Triggers that fire in one transaction.
const AT_ONCE: i64 = 100;
/// How late a time of a SCHEDULE still fires, in milliseconds: as late as the next one could be due.
const LATE: i64 = 60_000;
/// How late a SCHEDULE_ONCE still fires, in milliseconds.
const LATE_ONCE: i64 = 60 * 60_000;

/// Fires what is due by `now`: at most so much that others are not kept waiting. Returns what is to be delivered.
pub(super) fn fire_due(cloud: &Cloud, sql: &mut dyn Sql, now: i64) -> Result<Vec<Delivery>, StoreError> {
    let mut deliveries = Vec::new();
    for (app, thing, mut row) in rows::due(sql, now, AT_ONCE)? {
        deliveries.extend(fire_one(cloud, sql, &app, &thing, &mut row, now)?);
        rows::update(sql, &app, &thing, &row)?;
    }
    Ok(deliveries)
}

/// Fires `row`, whose time has come, and gives it its next time.
fn fire_one(
    cloud: &Cloud,
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    row: &mut Row,
    now: i64,
) -> Result<Option<Delivery>, StoreError> {
    // Whatever becomes of it, this time is over.
    let late = now.saturating_sub(row.due_at.take().unwrap_or(now));
    match serde_json::from_str(&row.predicate) {
        Ok(Predicate::Schedule { schedule }) => {
            let fired = if late <= LATE {
                fire(cloud, sql, app, thing, row, true, now)?
            } else {
                count(&cloud.trigger_counters().missed);
                None
            };
            match Schedule::parse(&schedule, now).ok().and_then(|schedule| schedule.after(now)) {
                None => give_up(cloud, row, "Its schedule does not come again", now),
                next => row.due_at = next.filter(|_| !row.disabled),
            }
            Ok(fired)
        }
        Ok(Predicate::ScheduleOnce { .. }) => {
            let in_time = late <= LATE_ONCE;
            if !in_time {
                count(&cloud.trigger_counters().missed);
            }
            let fired = fire(cloud, sql, app, thing, row, in_time, now)?;
            let reason = if in_time { "It has fired" } else { "Its time passed while the service did not run" };
            switch_off(row, Some(reason), now);
            Ok(fired)
        }
        _ => {
            give_up(cloud, row, "Its predicate cannot be read", now);
            Ok(None)
        }
    }
}

/// Fires everything that is due, and delivers it.
pub(crate) async fn run_due(cloud: &Cloud) -> Result<(), StoreError> {
    loop {
        let now = cloud.now();
        if next_due(cloud).await?.is_none_or(|due| due > now) {
            return Ok(());
        }
        let own = cloud.clone();
        let deliveries = cloud.store().write(move |sql: &mut dyn Sql| fire_due(&own, sql, now)).await?;
        for delivery in deliveries {
            cloud.deliver(delivery).await;
        }
    }
}

/// Looks at every cron expression, and gives those an earlier time that the clock has one for: one that was ahead when the
/// last time was found has been put right since.
pub(crate) async fn bring_forward(cloud: &Cloud) -> Result<(), StoreError> {
    let mut after = (String::new(), String::new(), 0);
    loop {
        let now = cloud.now();
        let behind = after.clone();
        let look = move |sql: &mut dyn Sql| -> Result<_, StoreError> {
            let found = rows::scheduled(sql, (&behind.0, &behind.1, behind.2), AT_ONCE)?;
            let last = found.last().map(|(app, thing, row)| (app.to_string(), thing.to_string(), row.seq));
            let is_early = |found: &(AppId, ThingId, Row)| earlier(&found.2, now).is_some();
            Ok((last, found.into_iter().filter(is_early).collect::<Vec<_>>()))
        };
        let (last, found) = cloud.store().read(look).await?;
        let Some(last) = last else { return Ok(()) };
        if !found.is_empty() {
            let write = move |sql: &mut dyn Sql| -> Result<(), StoreError> {
                for (app, thing, row) in found {
                    // It may have fired, or been changed.
                    let Some(mut row) = rows::get(sql, &app, &thing, &row.trigger_id)? else { continue };
                    if let Some(due_at) = earlier(&row, now) {
                        row.due_at = Some(due_at);
                        rows::update(sql, &app, &thing, &row)?;
                    }
                }
                Ok(())
            };
            cloud.store().write(write).await?;
        }
        after = last;
    }
}

/// The next time of `row`, if that comes before the time that it waits for.
fn earlier(row: &Row, now: i64) -> Option<i64> {
    let due_at = row.due_at.filter(|due_at| *due_at > now)?;
    match serde_json::from_str(&row.predicate) {
        Ok(Predicate::Schedule { schedule }) => {
            Schedule::parse(&schedule, now).ok()?.after(now).filter(|next| *next < due_at)
        }
        _ => None,
    }
}

/// How long it is until the next schedule is due.
pub(crate) async fn next_due_in(cloud: &Cloud) -> Result<Option<Duration>, StoreError> {
    let due = next_due(cloud).await?;
    let now = cloud.now();
    Ok(due.map(|due| Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0))))
}

async fn next_due(cloud: &Cloud) -> Result<Option<i64>, StoreError> {
    cloud.store().read(|sql: &mut dyn Sql| rows::next_due(sql)).await
}
