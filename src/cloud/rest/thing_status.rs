//! `/api/apps/{APP}/things/{TH}/status` and `/password`: a thing that is lost, or whose password is. Kii Cloud's, HTTPS only.
//! (`wire` §5)

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::put;
use http::StatusCode;

use super::things::find_to_manage;
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::store::{Sql, installations, things, tokens};
use crate::cloud::{Cloud, answer, object};
use crate::ids::ThingId;
use crate::secret::Secret;
use crate::thing_if::Principal;

const STATUS: &str = "application/vnd.kii.ThingStatusUpdateRequest+json";
const PASSWORD: &str = "application/vnd.kii.ChangeThingPasswordRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/things/{thing}/status", put(put_status))
        .route("/api/apps/{app}/things/{thing}/password", put(put_password))
}

/// 204, again too; for the thing's owners and the administrator, not for the thing. As long as it is `disabled` its tokens and
/// its password are answered 401 `THING_DISABLED`, and its connections end. Its tokens end when it is enabled: whoever has
/// found it may have them.
async fn put_status(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let disabled = body.object(&[STATUS])?.boolean("disabled")?.ok_or_else(|| object::missing("disabled"))?;
    let put = move |sql: &mut dyn Sql| {
        let thing = find_to_rule(sql, &call)?;
        let (app, principal) = (&call.app, Principal::Thing(thing.clone()));
        if !things::set_disabled(sql, app, &thing, disabled, call.now)? {
            return Ok(Vec::new());
        }
        if disabled {
            tokens::disable_all_of(sql, app, &principal)?;
            installations::of(sql, app, &principal).map_err(Failure::from)
        } else {
            tokens::delete_all_of(sql, app, &principal)?;
            Ok(Vec::new())
        }
    };
    for installation in cloud.store().write(put).await? {
        cloud.pusher().disconnect(&installation.mqtt_topic).await;
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// The thing that the path means, for its owners and the administrator.
fn find_to_rule(sql: &mut dyn Sql, call: &Call) -> Result<ThingId, Failure> {
    let (thing, caller) = find_to_manage(sql, call)?;
    match &caller {
        Caller::Principal(Principal::Thing(_)) => Err(Failure::not_permitted(&call.app, &caller)),
        _ => Ok(thing),
    }
}

/// 204: the thing onboards and logs in with `newPassword` from now on. Its tokens stay valid. For the administrator.
async fn put_password(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields = body.object(&[PASSWORD])?;
    let password = Secret::new(fields.required_text("newPassword")?);
    if password.expose().is_empty() {
        return Err(object::wrong("newPassword", "a password: it is empty"));
    }
    let call = Arc::new(call);
    // Before the password is hashed, which takes long.
    let asked = call.clone();
    cloud.store().read(move |sql: &mut dyn Sql| find_to_administer(sql, &asked)).await?;
    let password_hash = cloud.passwords().hash(&password).await?;
    let put = move |sql: &mut dyn Sql| {
        let thing = find_to_administer(sql, &call)?;
        things::set_password(sql, &call.app, &thing, &password_hash, call.now).map_err(Failure::from)
    };
    cloud.store().write(put).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn find_to_administer(sql: &mut dyn Sql, call: &Call) -> Result<ThingId, Failure> {
    let (thing, caller) = find_to_manage(sql, call)?;
    if caller == Caller::Admin { Ok(thing) } else { Err(Failure::not_permitted(&call.app, &caller)) }
}
