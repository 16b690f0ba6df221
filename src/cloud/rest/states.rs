//! `…/targets/thing:{TH}/states`: the state of a thing without traits. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::put;
use http::StatusCode;
use serde_json::Value;

use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::cloud::store::states::{self, Put};
use crate::cloud::{Cloud, answer};
use crate::thing_if::{self, ErrorCode, MAX_STATE_LEN, json, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/targets/{target}/states", put(put_state).get(get_state))
}

/// 201 for the first state of a thing, 204 from then on.
async fn put_state(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_json(&[media_type::MULTIPLE_TRAIT_STATE])?;
    let state = Value::Object(thing_if::State::from_json(&body.bytes)?.0);
    let printed = json::to_pretty(&state).len();
    let state = state.to_string();
    if state.len() > MAX_STATE_LEN {
        return Err(Failure::invalid(format!("The state is longer than {MAX_STATE_LEN} bytes")));
    }
    if printed > answer::MAX_LEN {
        let max = answer::MAX_LEN;
        return Err(Failure::invalid(format!("The state takes {printed} bytes in an answer, more than {max}")));
    }
    let thing = call.target()?;
    let put = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        states::put(sql, &call.app, &thing, &state, call.now).map_err(Failure::from)
    };
    Ok(answer::empty(match cloud.store().write(put).await? {
        Put::Created => StatusCode::CREATED,
        Put::Replaced => StatusCode::NO_CONTENT,
    }))
}

async fn get_state(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let get = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        states::get(sql, &call.app, &thing)?
            .ok_or_else(|| Failure::new(ErrorCode::StateNotFound, "Thing state not found"))
    };
    let state: Value = serde_json::from_str(&cloud.store().read(get).await?).map_err(Failure::internal)?;
    Ok(answer::json(StatusCode::OK, &state))
}
