//! `/thing-if/apps/{APP}/things/{TH}/firmware-version`: what a thing runs. (`wire` §5)

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
use crate::ids::FirmwareVersion;
use crate::thing_if::{ErrorCode, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/things/{thing}/firmware-version", get(get_version).put(put_version))
}

/// 200 with `firmwareVersion`, or 404 when the thing has never said.
async fn get_version(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let thing = find_to_use(sql, &call)?;
        let version = things::get(sql, &call.app, &thing)?.and_then(|thing| thing.firmware_version);
        version.ok_or_else(|| {
            Failure::new(ErrorCode::ThingWithoutFirmwareVersion, format!("Thing {thing} has no firmware version"))
                .with("thingID", thing.as_str())
        })
    };
    let version = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "firmwareVersion": version })))
}

/// 204. The newest replaces the one before.
async fn put_version(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let version: FirmwareVersion = body.id("firmwareVersion", media_type::THING_FIRMWARE_VERSION_UPDATE_REQUEST)?;
    let put = move |sql: &mut dyn Sql| {
        let thing = find_to_use(sql, &call)?;
        things::set_firmware_version(sql, &call.app, &thing, version.as_str(), call.now).map_err(Failure::from)
    };
    cloud.store().write(put).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
