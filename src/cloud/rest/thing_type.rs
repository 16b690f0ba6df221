//! `/thing-if/apps/{APP}/things/{TH}/thing-type`: what a thing is. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::things::find_to_use;
use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::{Sql, things};
use crate::cloud::{Cloud, answer};
use crate::ids::ThingType;
use crate::thing_if::{ErrorCode, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/things/{thing}/thing-type", get(get_type).put(put_type))
}

/// 200 with `thingType`, or 404 when nobody has said.
async fn get_type(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let thing = find_to_use(sql, &call)?;
        let thing_type = things::get(sql, &call.app, &thing)?.and_then(|thing| thing.thing_type);
        thing_type.ok_or_else(|| {
            Failure::new(ErrorCode::ThingWithoutThingType, format!("Thing {thing} has no type"))
                .with("thingID", thing.as_str())
        })
    };
    let thing_type = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "thingType": thing_type })))
}

/// 204 for the first type of a thing; 409 from then on, whatever the type.
async fn put_type(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let thing_type: ThingType = body.id("thingType", media_type::THING_TYPE_UPDATE_REQUEST)?;
    let put = move |sql: &mut dyn Sql| {
        let id = find_to_use(sql, &call)?;
        let thing = things::get(sql, &call.app, &id)?;
        let mut thing = thing.ok_or_else(|| Failure::thing_not_found(&call.app, &id))?;
        if let Some(known) = &thing.thing_type {
            let message = format!("Thing {id} has a type already, {known}");
            return Err(Failure::new(ErrorCode::OperationNotAllowed, message).with("thingID", id.as_str()));
        }
        thing.thing_type = Some(thing_type.to_string());
        thing.modified_at = call.now;
        things::update(sql, &call.app, &thing).map_err(Failure::from)
    };
    cloud.store().write(put).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
