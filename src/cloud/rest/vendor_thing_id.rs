//! `/api/apps/{APP}/things/{TH}/vendor-thing-id`: one device takes the place of another. Kii Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::things::{already_exists, find_to_manage};
use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::{Sql, things};
use crate::cloud::{Cloud, answer, object};
use crate::ids::VendorThingId;
use crate::secret::Secret;

const REQUEST: &str = "application/vnd.kii.VendorThingIDUpdateRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/things/{thing}/vendor-thing-id", get(get_id).put(put_id))
}

/// 200 with `_vendorThingID`.
async fn get_id(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let (thing, _) = find_to_manage(sql, &call)?;
        let login = things::by_id(sql, &call.app, &thing)?;
        login.ok_or_else(|| Failure::thing_not_found(&call.app, &thing))
    };
    let login = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "_vendorThingID": login.vendor_thing_id })))
}

/// 204: the thing has another maker's id and another password from now on. Its tokens stay valid. 409 when another thing has
/// that id.
async fn put_id(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields = body.object(&[REQUEST])?;
    let vendor: VendorThingId = fields.required_id("_vendorThingID")?;
    let password = Secret::new(fields.required_text("_password")?);
    if password.expose().is_empty() {
        return Err(object::wrong("_password", "a password: it is empty"));
    }
    let call = std::sync::Arc::new(call);
    // Before the password is hashed, which takes long.
    let asked = call.clone();
    cloud.store().read(move |sql: &mut dyn Sql| find_to_manage(sql, &asked)).await?;
    let password_hash = cloud.passwords().hash(&password).await?;
    let put = move |sql: &mut dyn Sql| {
        let (thing, _) = find_to_manage(sql, &call)?;
        match things::by_vendor_id(sql, &call.app, &vendor)? {
            Some(other) if other.thing_id != thing => Err(already_exists(&call.app, &vendor)),
            _ => things::set_login(sql, &call.app, &thing, &vendor, &password_hash, call.now).map_err(Failure::from),
        }
    };
    cloud.store().write(put).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
