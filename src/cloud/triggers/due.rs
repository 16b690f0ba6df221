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

/// How long it is until the next schedule is due.
pub(crate) async fn next_due_in(cloud: &Cloud) -> Result<Option<Duration>, StoreError> {
    let due = next_due(cloud).await?;
    let now = cloud.now();
    Ok(due.map(|due| Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0))))
}

async fn next_due(cloud: &Cloud) -> Result<Option<i64>, StoreError> {
    cloud.store().read(|sql: &mut dyn Sql| rows::next_due(sql)).await
}
