//! The firing of a trigger, in the transaction of what fires it.

use serde_json::{Map, json};

use super::{count, switch_off};
use crate::cloud::call::may_use;
use crate::cloud::caller::Caller;
use crate::cloud::command::{Delivery, NewCommand};
use crate::cloud::state_change::StateChange;
use crate::cloud::store::triggers::{self as rows, Trigger as Row};
use crate::cloud::store::{Sql, StoreError, StoreErrorKind, things, trigger_results};
use crate::cloud::{Cloud, clause};
use crate::ids::{AppId, ThingId, TriggerId};
use crate::thing_if::{
    ErrorCode, Predicate, Principal, ServerCode, ServerCodeError, ServerCodeResult, TriggerCommand, TriggersWhen,
};

/// For how long firings are counted together, in milliseconds.
const WINDOW: i64 = 60_000;

/// Fires the triggers that `change` fires. What they made is to be delivered once the change is durable.
pub(crate) fn state_changed(
    cloud: &Cloud,
    sql: &mut dyn Sql,
    change: &StateChange,
) -> Result<Vec<Delivery>, StoreError> {
    let mut deliveries = Vec::new();
    for mut row in rows::watching(sql, &change.app, &change.thing)? {
        let Ok(Predicate::States { condition, triggers_when }) = serde_json::from_str(&row.predicate) else {
            give_up(cloud, &mut row, "Its predicate cannot be read", change.now);
            rows::update(sql, &change.app, &change.thing, &row)?;
            continue;
        };
        let before = change.before.as_ref().is_some_and(|before| clause::holds(&condition, before));
        let after = clause::holds(&condition, &change.after);
        let fires = match triggers_when {
            TriggersWhen::ConditionTrue => after,
            TriggersWhen::ConditionFalseToTrue => !before && after,
            TriggersWhen::ConditionChanged => before != after,
        };
        if fires {
            deliveries.extend(fire(cloud, sql, &change.app, &change.thing, &mut row, true, change.now)?);
            rows::update(sql, &change.app, &change.thing, &row)?;
        }
    }
    Ok(deliveries)
}

/// Fires `row`, a trigger of `thing`, and changes it as that changes it; whoever calls stores it. A command that is not
/// `in_time` is stored as one that was not sent.
pub(super) fn fire(
    cloud: &Cloud,
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    row: &mut Row,
    in_time: bool,
    now: i64,
) -> Result<Option<Delivery>, StoreError> {
    if !has_turn(cloud, row, now) {
        return Ok(None);
    }
    if let Some(server_code) = &row.server_code {
        let result = serde_json::to_string(&not_executed(server_code, now))
            .map_err(|error| StoreError::new(StoreErrorKind::Failed, error.to_string()))?;
        trigger_results::insert(sql, app, thing, &row.trigger_id, &result)?;
        count(&cloud.trigger_counters().fired);
        return Ok(None);
    }
    match command(cloud, sql, app, thing, row, now)? {
        Err(reason) => {
            give_up(cloud, row, reason, now);
            Ok(None)
        }
        Ok(command) => {
            count(&cloud.trigger_counters().fired);
            if in_time { command.insert(sql, app).map(Some) } else { command.insert_failed(sql, app).map(|()| None) }
        }
    }
}

/// Whether `row` may fire once more. What a command makes its thing do may fire the trigger again, and so on for ever:
/// this bounds how fast.
fn has_turn(cloud: &Cloud, row: &mut Row, now: i64) -> bool {
    // Requests are not executed in the order of their times: one of a little earlier begins no new minute.
    if !(-WINDOW..WINDOW).contains(&now.saturating_sub(row.counted_since)) {
        (row.counted_since, row.counted) = (now, 0);
    }
    let limit = cloud.trigger_firings_per_minute();
    if row.counted < limit {
        row.counted += 1;
        return true;
    }
    if row.counted == limit {
        // Said once a minute.
        row.counted += 1;
        tracing::warn!(trigger = %row.trigger_id, limit, "a trigger fires too often; it makes nothing until the minute is over");
    }
    count(&cloud.trigger_counters().suppressed);
    false
}

/// The command of `row`, or why it is not to be had. It is its owner's: with that caller's rights at this time.
fn command(
    cloud: &Cloud,
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    row: &Row,
    now: i64,
) -> Result<Result<NewCommand, &'static str>, StoreError> {
    const UNREADABLE: &str = "Its command cannot be read";
    let read = row.command.as_deref().and_then(|json| serde_json::from_str::<TriggerCommand>(json).ok());
    let owner = row.owner.parse::<Caller>().ok();
    let id = TriggerId::new(&row.trigger_id).ok();
    let (Some(command), Some(owner), Some(id)) = (read, owner, id) else { return Ok(Err(UNREADABLE)) };
    let Some(Principal::Thing(target)) = command.target.clone() else { return Ok(Err(UNREADABLE)) };
    if !cloud.has_app(app) || !things::exists(sql, app, &target)? {
        return Ok(Err("The thing that it commands is gone"));
    }
    // That of a thing which was disabled since. Everybody else's rights are judged below.
    if let Caller::Principal(Principal::Thing(own)) = &owner
        && things::is_disabled(sql, app, own)?
    {
        return Ok(Err("The thing that gave it its command is disabled"));
    }
    if !may_use(sql, app, &owner, thing)? || !may_use(sql, app, &owner, &target)? {
        return Ok(Err("Whoever gave it its command may no longer command that thing"));
    }
    let new = cloud.new_command_id();
    let (request, names_target) = (command.to_request(), cloud.names_push_target());
    let made = NewCommand::new(ErrorCode::WrongTrigger, &new, &target, request, Some(&id), names_target, now);
    Ok(made.map_err(|_| "No push can carry its command"))
}

/// Switches a trigger off that cannot fire, rather than fail again each time.
pub(super) fn give_up(cloud: &Cloud, row: &mut Row, reason: &str, now: i64) {
    tracing::info!(trigger = %row.trigger_id, reason, "a trigger was switched off");
    count(&cloud.trigger_counters().switched_off);
    switch_off(row, Some(reason), now);
}

/// What is recorded instead of executing code, in the documented layout.
fn not_executed(server_code: &str, now: i64) -> ServerCodeResult {
    let code: ErrorCode = ErrorCode::OperationNotImplemented;
    let details = Map::from_iter([
        ("errorCode".to_owned(), json!(code.as_str())),
        ("message".to_owned(), json!("This service executes no server code")),
    ]);
    ServerCodeResult {
        succeeded: false,
        returned_value: None,
        executed_at: now,
        endpoint: serde_json::from_str::<ServerCode>(server_code).ok().map(|code| code.endpoint),
        error: Some(ServerCodeError {
            error_message: "The server code was not executed".to_owned(),
            details: Some(details),
        }),
    }
}
