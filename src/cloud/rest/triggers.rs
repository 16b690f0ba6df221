//! `…/targets/thing:{TH}/triggers`: made, read, changed, switched on and off. (`wire` §5)

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use http::StatusCode;

use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::page::PageRequest;
use crate::cloud::store::triggers as rows;
use crate::cloud::store::{Sql, things};
use crate::cloud::triggers::{NewPredicate, NewTarget, answered, check_len, switch_off, switch_on};
use crate::cloud::{Cloud, answer};
use crate::ids::{ThingId, TriggerId};
use crate::thing_if::{
    ErrorCode, InvalidBody, Predicate, TriggerCreated, TriggerPatch, TriggerRequest, Triggers, TriggersWhat, media_type,
};

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/targets/{target}/triggers", post(post_trigger).get(list_triggers))
        .route(
            "/thing-if/apps/{app}/targets/{target}/triggers/{trigger}",
            get(get_trigger).patch(patch_trigger).delete(delete_trigger),
        )
        .route("/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/enable", put(enable_trigger))
        .route("/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/disable", put(disable_trigger))
}

/// What is wrong with a body, by the code that SDKs know.
fn refused(error: InvalidBody) -> Failure {
    match &error {
        InvalidBody::Syntax { .. } => error.into(),
        InvalidBody::Field { field, .. } | InvalidBody::Missing { field } if field == "predicate" => {
            Failure::new(ErrorCode::WrongPredicate, error.to_string())
        }
        _ => Failure::new(ErrorCode::WrongTrigger, error.to_string()),
    }
}

/// 201 with `triggerID`. The trigger fires with the rights of whoever posted it.
async fn post_trigger(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON])?;
    let request = TriggerRequest::from_json(&body.bytes).map_err(refused)?;
    let thing = call.target()?;
    let trigger_id = TriggerId::new(cloud.new_command_id().as_str()).map_err(Failure::internal)?;
    let target = NewTarget::new(&cloud, &trigger_id, &thing, request.target, call.now)?;
    let call = Arc::new(call);
    let predicate = check_predicate(&cloud, &call, &thing, request.predicate).await?;
    let mut row = rows::Trigger {
        seq: 0,
        trigger_id: trigger_id.to_string(),
        owner: String::new(),
        event_source: String::new(),
        predicate: String::new(),
        command: None,
        server_code: None,
        title: request.title,
        description: request.description,
        metadata: request.metadata.map(|fields| serde_json::Value::Object(fields).to_string()),
        disabled: false,
        disabled_reason: None,
        due_at: None,
        counted_since: 0,
        counted: 0,
        created_at: call.now,
        modified_at: call.now,
    };
    let max = cloud.max_triggers();
    let insert = move |sql: &mut dyn Sql| {
        let caller = call.authorize(sql, &thing)?;
        check_rights(sql, &call, &caller, &target)?;
        if rows::count(sql, &call.app, &thing)? >= max {
            let message = format!("The thing has {max} triggers, which is as many as it may have");
            return Err(Failure::new(ErrorCode::OperationNotAllowed, message));
        }
        row.owner = caller.to_string();
        target.apply(&mut row);
        predicate.apply(&mut row);
        check_len(&row)?;
        rows::insert(sql, &call.app, &thing, &row).map_err(Failure::from)
    };
    cloud.store().write(insert).await?;
    cloud.schedule_changed();
    Ok(answer::json(StatusCode::CREATED, &TriggerCreated { trigger_id }))
}

/// Checks a predicate for those who may use `thing`, and for nobody else: a schedule that never comes takes some time to be
/// found out.
async fn check_predicate(
    cloud: &Cloud,
    call: &Arc<Call>,
    thing: &ThingId,
    predicate: Predicate,
) -> Result<NewPredicate, Failure> {
    let (now, call, thing) = (call.now, Arc::clone(call), thing.clone());
    cloud.store().read(move |sql: &mut dyn Sql| call.authorize(sql, &thing).map(drop)).await?;
    let check = move || NewPredicate::new(&predicate, now);
    tokio::task::spawn_blocking(check).await.map_err(Failure::internal)?
}

/// Checks that `caller` may do what `target` does: command that thing, in that name.
fn check_rights(sql: &mut dyn Sql, call: &Call, caller: &Caller, target: &NewTarget) -> Result<(), Failure> {
    let Some((commanded, issuer)) = &target.rights else { return Ok(()) };
    if !things::exists(sql, &call.app, commanded)? {
        return Err(Failure::target_not_found(&format!("thing:{commanded}")));
    }
    if !call.may_use(sql, caller, commanded)? || !caller.may_act_as(issuer) {
        return Err(Failure::not_permitted(&call.app, caller));
    }
    Ok(())
}

/// The row of the trigger that the path names.
pub(super) fn find(sql: &mut dyn Sql, call: &Call, thing: &ThingId) -> Result<rows::Trigger, Failure> {
    rows::get(sql, &call.app, thing, call.param("trigger"))?.ok_or_else(|| not_found(call))
}

fn not_found(call: &Call) -> Failure {
    Failure::new(ErrorCode::TriggerNotFound, format!("Trigger {} not found", call.param("trigger")))
}

async fn get_trigger(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let get = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        find(sql, &call, &thing)
    };
    let row = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &answered(&row)?))
}

/// Oldest first.
async fn list_triggers(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let page = PageRequest::of(&call)?;
    let list = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        rows::list(sql, &call.app, &thing, page.after.unwrap_or(0), page.rows()).map_err(Failure::from)
    };
    let rows = cloud.store().read(list).await?;
    let rows = rows.into_iter().map(|row| Ok((row.seq, answered(&row)?)));
    let (triggers, next_pagination_key) = page.fill(rows)?;
    Ok(answer::json(StatusCode::OK, &Triggers { triggers, next_pagination_key }))
}

/// A new command or server code takes the place of the old one, whole, and from then on the trigger fires with the
/// rights of whoever gave it. A trigger that is off stays off.
async fn patch_trigger(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON])?;
    let patch = TriggerPatch::from_json(&body.bytes).map_err(refused)?;
    let thing = call.target()?;
    let call = Arc::new(call);
    let predicate = match patch.predicate {
        Some(predicate) => Some(check_predicate(&cloud, &call, &thing, predicate).await?),
        None => None,
    };
    // A trigger of another name than any that was given out is not found; until then its name only fills a place.
    let id = TriggerId::new(call.param("trigger")).map_err(|_| not_found(&call))?;
    let target = patch.target.map(|target| NewTarget::new(&cloud, &id, &thing, target, call.now)).transpose()?;
    let update = move |sql: &mut dyn Sql| {
        let caller = call.authorize(sql, &thing)?;
        let mut row = find(sql, &call, &thing)?;
        let now_triggers = if row.command.is_some() { TriggersWhat::Command } else { TriggersWhat::ServerCode };
        match target {
            Some(target) => {
                check_rights(sql, &call, &caller, &target)?;
                target.apply(&mut row);
                row.owner = caller.to_string();
            }
            None if patch.triggers_what.is_some_and(|what| what != now_triggers) => {
                let message = "`triggersWhat` changes without a `command` or `serverCode` that goes with it";
                return Err(Failure::new(ErrorCode::WrongTrigger, message));
            }
            None => {}
        }
        if let Some(predicate) = predicate {
            predicate.apply(&mut row);
        }
        row.title = patch.title.or(row.title);
        row.description = patch.description.or(row.description);
        row.metadata = patch.metadata.map(|fields| serde_json::Value::Object(fields).to_string()).or(row.metadata);
        row.modified_at = call.now;
        check_len(&row)?;
        rows::update(sql, &call.app, &thing, &row).map_err(Failure::from)
    };
    cloud.store().write(update).await?;
    cloud.schedule_changed();
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn delete_trigger(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let delete = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let was_there = rows::delete(sql, &call.app, &thing, call.param("trigger"))?;
        if was_there { Ok(()) } else { Err(not_found(&call)) }
    };
    cloud.store().write(delete).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn enable_trigger(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let enable = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let mut row = find(sql, &call, &thing)?;
        switch_on(&mut row, call.now)?;
        rows::update(sql, &call.app, &thing, &row).map_err(Failure::from)
    };
    cloud.store().write(enable).await?;
    cloud.schedule_changed();
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn disable_trigger(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let disable = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let mut row = find(sql, &call, &thing)?;
        switch_off(&mut row, None, call.now);
        rows::update(sql, &call.app, &thing, &row).map_err(Failure::from)
    };
    cloud.store().write(disable).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
