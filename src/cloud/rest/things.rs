//! `/api/apps/{APP}/things/{TH}`: the end of a thing. Kii Cloud's, HTTPS only. (`wire` §5, §7)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::delete;
use http::StatusCode;

use crate::cloud::call::Call;
use crate::cloud::failure::Failure;
use crate::cloud::store::{Sql, installations, things};
use crate::cloud::{Cloud, answer};
use crate::ids::{ThingId, VendorThingId};
use crate::thing_if::{ErrorCode, Principal};

/// What a path begins with that names a thing by its maker's id.
const VENDOR: &str = "VENDOR_THING_ID:";

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/things/{thing}", delete(delete_thing))
}

/// 204 once nothing of the thing is left; its connection ends.
async fn delete_thing(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let thing = find(sql, &call)?;
        if !call.may_use(sql, &caller, &thing)? {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        let installed = installations::of(sql, &call.app, &Principal::Thing(thing.clone()))?;
        things::delete(sql, &call.app, &thing)?;
        Ok(installed)
    };
    for installation in cloud.store().write(delete).await? {
        cloud.pusher().disconnect(&installation.mqtt_topic).await;
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// The thing that the path names, by either of its ids.
fn find(sql: &mut dyn Sql, call: &Call) -> Result<ThingId, Failure> {
    let named = call.param("thing");
    let by_vendor = named.get(..VENDOR.len()).filter(|prefix| prefix.eq_ignore_ascii_case(VENDOR));
    let (field, value) = match by_vendor {
        Some(_) => ("vendorThingID", &named[VENDOR.len()..]),
        None => ("thingID", named),
    };
    let found = match by_vendor {
        Some(_) => match VendorThingId::new(value) {
            Ok(vendor) => things::by_vendor_id(sql, &call.app, &vendor)?,
            Err(_) => None,
        },
        None => match ThingId::new(value) {
            Ok(thing) => things::by_id(sql, &call.app, &thing)?,
            Err(_) => None,
        },
    };
    found.map(|login| login.thing_id).ok_or_else(|| {
        Failure::new(ErrorCode::ThingNotFound, format!("There is no thing {value} in application {}", call.app))
            .with(field, value)
            .with("appID", call.app.as_str())
    })
}
