//! `…/targets/thing:{TH}/states`: the state of a thing, with traits or without. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{post, put};
use http::StatusCode;

use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::state_write::{self, Target, Write, Written, alias_not_found};
use crate::cloud::store::Sql;
use crate::cloud::thing_state::ThingState;
use crate::cloud::{Cloud, answer};
use crate::thing_if::{self, BulkStates, InvalidBody, TraitStates, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/targets/{target}/states", put(put_state).patch(patch_state).get(get_state))
        .route("/thing-if/apps/{app}/targets/{target}/states/aliases/{alias}", put(put_alias).get(get_alias))
        .route("/thing-if/apps/{app}/targets/{target}/states-bulk", post(post_bulk))
}

/// 201 for the first state of a thing, 204 from then on.
async fn put_state(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::MULTIPLE_TRAIT_STATE])?;
    let wanted = if media_type::is(body.content_type(), media_type::MULTIPLE_TRAIT_STATE) {
        Write::Traits(TraitStates::from_json(&body.bytes)?)
    } else {
        Write::Flat(thing_if::State::from_json(&body.bytes)?.0)
    };
    let written = write(cloud, call, wanted).await?;
    Ok(created(written.is_first))
}

/// 204. Fields at the top of the state, or of the states of the aliases, are set; the others stay.
async fn patch_state(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::MULTIPLE_TRAIT_STATE_PATCH])?;
    let wanted = if media_type::is(body.content_type(), media_type::MULTIPLE_TRAIT_STATE_PATCH) {
        Write::PatchTraits(TraitStates::from_json(&body.bytes)?)
    } else {
        Write::Patch(thing_if::State::from_json(&body.bytes)?.0)
    };
    write(cloud, call, wanted).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 201 for the first state of an alias, 204 from then on.
async fn put_alias(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::TRAIT_STATE])?;
    let mut states = TraitStates::default();
    states.insert(call.param("alias"), thing_if::State::from_json(&body.bytes)?.0);
    let written = write(cloud, call, Write::Traits(states)).await?;
    Ok(created(written.has_new_alias))
}

/// 204. Only the media type tells whole states from patches.
async fn post_bulk(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let is = |known| media_type::is(body.content_type(), known);
    let read = || BulkStates::from_json(&body.bytes).map(|bulk| bulk.states);
    let wanted = if is(media_type::STATE_BULK_UPLOAD_REQUEST) {
        Write::Bulk(read()?)
    } else if is(media_type::STATE_PATCH_BULK_UPLOAD_REQUEST) {
        Write::BulkPatch(read()?)
    } else {
        return Err(InvalidBody::MediaType.into());
    };
    write(cloud, call, wanted).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn created(is_first: bool) -> Response {
    answer::empty(if is_first { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// The one way by which states are written: durable, with what the change sets off.
async fn write(cloud: Cloud, call: Call, wanted: Write) -> Result<Written, Failure> {
    let thing = call.target()?;
    let in_job = cloud.clone();
    let job = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let target = Target { app: &call.app, thing: &thing, history: in_job.state_history(), now: call.now };
        let written = state_write::write(sql, &target, wanted)?;
        let consequences = match &written.change {
            Some(change) => in_job.state_changed(sql, change)?,
            None => Default::default(),
        };
        Ok::<_, Failure>((written, consequences))
    };
    let (written, consequences) = cloud.store().write(job).await?;
    cloud.follow(consequences).await;
    Ok(written)
}

async fn get_state(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    Ok(match read(&cloud, call).await?.0.ok_or_else(Failure::state_not_found)? {
        ThingState::Flat(state) => answer::json(StatusCode::OK, &state),
        ThingState::Traits(states) => answer::json(StatusCode::OK, &states),
    })
}

async fn get_alias(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let (state, call) = read(&cloud, call).await?;
    let alias = call.param("alias");
    match &state {
        Some(ThingState::Traits(states)) => states.get(alias),
        Some(ThingState::Flat(_)) | None => None,
    }
    .map(|state| answer::json(StatusCode::OK, state))
    .ok_or_else(|| alias_not_found(alias))
}

async fn read(cloud: &Cloud, call: Call) -> Result<(Option<ThingState>, Call), Failure> {
    let thing = call.target()?;
    let read = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        Ok::<_, Failure>((state_write::read(sql, &call.app, &thing)?, call))
    };
    cloud.store().read(read).await
}
