//! `/api/apps/{APP}/installations`: what makes pushes to a thing or a user possible. Kii Cloud's, HTTPS only. (`wire` §5)
//!
//! A principal may have several, each with an endpoint of its own; the newest 64 stay valid.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::store::installations::{self, Installation as Row, InstallationName};
use crate::cloud::store::{Sql, things, users};
use crate::cloud::{Cloud, answer};
use crate::ids::{ThingId, UserId};
use crate::thing_if::{
    ErrorCode, Installation, InstallationCreated, InstallationRequest, Installations, Principal, json, media_type,
};

/// What a path begins with that names an installation by its registration id.
const REGISTRATION: &str = "MQTT:";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/installations", post(install).get(list_installations))
        .route("/api/apps/{app}/installations/{installation}", get(get_installation).delete(delete_installation))
}

/// 201 once the installation is durable; its endpoint is told a little later. (`wire` §5)
async fn install(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_one_of(&[media_type::INSTALLATION_CREATION_REQUEST])?;
    let request = InstallationRequest::from_json(&body.bytes)?;
    if !request.is_mqtt() {
        return Err(
            Failure::invalid("`deviceType` is not MQTT, the only one that is served").with("field", "deviceType")
        );
    }
    let mut new = Row::generate(call.app.clone());
    new.development = request.development;
    new.ready_at = call.now.saturating_add(cloud.endpoint_preparation());
    let created = InstallationCreated {
        installation_id: new.installation_id.clone(),
        installation_registration_id: new.registration_id.clone(),
    };
    let location = format!("/api/apps/{}/installations/{}", call.app, new.installation_id);
    let insert = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let whose = whose(sql, &call, &caller, request.thing_id, request.user_id)?;
        installations::insert(sql, &whose, &new, call.now)?;
        installations::prune(sql, &call.app, &whose).map_err(Failure::from)
    };
    for old in cloud.store().write(insert).await? {
        cloud.pusher().disconnect(&old.mqtt_topic).await;
    }
    let mut response =
        answer::typed(StatusCode::CREATED, media_type::INSTALLATION_CREATION_RESPONSE, json::to_pretty(&created));
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).map_err(Failure::internal)?);
    Ok(response)
}

/// Who is meant: the thing or user that is named, else the caller itself.
fn whose(
    sql: &mut dyn Sql,
    call: &Call,
    caller: &Caller,
    thing: Option<ThingId>,
    user: Option<UserId>,
) -> Result<Principal, Failure> {
    let (principal, may) = match (thing, user) {
        (Some(_), Some(_)) => return Err(Failure::invalid("`thingID` and `userID` exclude one another")),
        (Some(thing), None) => {
            if !things::exists(sql, &call.app, &thing)? {
                return Err(Failure::thing_not_found(&call.app, &thing));
            }
            let may = call.may_use(sql, caller, &thing)?;
            (Principal::Thing(thing), may)
        }
        (None, Some(user)) => {
            if !users::exists(sql, &call.app, &user)? {
                return Err(Failure::user_not_found(&call.app, user.as_str()));
            }
            let principal = Principal::User(user);
            let may = caller.may_act_as(&principal);
            (principal, may)
        }
        (None, None) => match caller {
            Caller::Principal(own) => (own.clone(), true),
            Caller::Admin => return Err(Failure::invalid("An administrator names a `thingID` or a `userID`")),
            Caller::Anonymous => return Err(Failure::not_permitted(&call.app, caller)),
        },
    };
    if may { Ok(principal) } else { Err(Failure::not_permitted(&call.app, caller)) }
}

/// Those of the thing or user that the query names, else the caller's own; oldest first.
async fn list_installations(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = match call.query("thingID") {
        Some(id) => Some(ThingId::new(id).map_err(|_| Failure::no_such_thing(&call.app, "thingID", id))?),
        None => None,
    };
    let user = match call.query("userID") {
        Some(id) => Some(UserId::new(id).map_err(|_| Failure::user_not_found(&call.app, id))?),
        None => None,
    };
    let list = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let whose = whose(sql, &call, &caller, thing, user)?;
        let rows = installations::of(sql, &call.app, &whose)?;
        Ok::<_, Failure>(rows.into_iter().map(|row| shown(row, &whose)).collect())
    };
    let installations = Installations { installations: cloud.store().read(list).await? };
    let body = json::to_pretty(&installations);
    Ok(answer::typed(StatusCode::OK, media_type::INSTALLATIONS_RETRIEVAL_RESPONSE, body))
}

async fn get_installation(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let (row, whose) = authorized(sql, &call, ErrorCode::InstallationNotFound)?;
        Ok::<_, Failure>(shown(row, &whose))
    };
    let body = json::to_pretty(&cloud.store().read(get).await?);
    Ok(answer::typed(StatusCode::OK, media_type::INSTALLATION_RETRIEVAL_RESPONSE, body))
}

/// 204 once the endpoint's credentials open nothing any more; the connection that they opened ends.
async fn delete_installation(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let (installation, _) = authorized(sql, &call, ErrorCode::InstallationNotFound)?;
        installations::delete(sql, &call.app, &installation.installation_id)?;
        Ok::<_, Failure>(installation.mqtt_topic)
    };
    let topic = cloud.store().write(delete).await?;
    cloud.pusher().disconnect(&topic).await;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// The installation that the path names, if the caller may use it: its own, that of a thing it owns, or an administrator.
///
/// # Errors
/// As [`Call::caller`]; 404 with `missing` when there is none; 401 when it is somebody else's.
pub(super) fn authorized(sql: &mut dyn Sql, call: &Call, missing: ErrorCode) -> Result<(Row, Principal), Failure> {
    let caller = call.caller(sql)?;
    let named = call.param("installation");
    let name = match named.strip_prefix(REGISTRATION) {
        Some(registration) => InstallationName::Registration(registration),
        None => InstallationName::Id(named),
    };
    let (installation, whose) = installations::find(sql, &call.app, name)?.ok_or_else(|| {
        Failure::new(missing, format!("There is no installation {named}")).with("installationID", named)
    })?;
    let may = match &whose {
        Principal::Thing(thing) => call.may_use(sql, &caller, thing)?,
        Principal::User(_) | Principal::Group(_) => caller.may_act_as(&whose),
    };
    if may { Ok((installation, whose)) } else { Err(Failure::not_permitted(&call.app, &caller)) }
}

fn shown(row: Row, whose: &Principal) -> Installation {
    let mut shown = Installation {
        installation_id: row.installation_id,
        installation_registration_id: row.registration_id,
        development: row.development,
        thing_id: None,
        user_id: None,
        device_type: "MQTT".to_owned(),
    };
    match whose {
        Principal::Thing(thing) => shown.thing_id = Some(thing.clone()),
        Principal::User(user) => shown.user_id = Some(user.clone()),
        Principal::Group(_) => {}
    }
    shown
}
