//! `/api/apps/{APP}/things` and `/api/apps/{APP}/things/{TH}`: a thing from its registration to its end. Kii Cloud's, HTTPS
//! only. (`wire` §5, §7)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::thing_fields::{Said, shown};
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::identifiers::Identifiers;
use crate::cloud::object;
use crate::cloud::store::things::{NewThing, Thing};
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::{Sql, end_nodes, installations, things, tokens};
use crate::cloud::{Cloud, answer, token};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, LayoutPosition, Principal, media_type};

/// What a path begins with that names a thing by its maker's id.
const VENDOR: &str = "VENDOR_THING_ID:";
/// The request whose answer brings a token along, and the one whose answer does not.
const WITH_AUTHORIZATION: &str = "application/vnd.kii.ThingRegistrationAndAuthorizationRequest+json";
const REGISTRATION: &str = "application/vnd.kii.ThingRegistrationRequest+json";
const UPDATE: &str = "application/vnd.kii.ThingUpdateRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/things", post(register))
        .route("/api/apps/{app}/things/{thing}", get(get_thing).patch(update_thing).delete(delete_thing))
}

/// 201 with the thing; `_accessToken` as well when the content type asks for it. For whoever has the application's key, or
/// any token of the application.
async fn register(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields = body.object(&[WITH_AUTHORIZATION, REGISTRATION])?;
    let vendor_thing_id: VendorThingId = fields.required_id("_vendorThingID")?;
    let password = Secret::new(fields.required_text("_password")?);
    if password.expose().is_empty() {
        return Err(object::wrong("_password", "a password: it is empty"));
    }
    let said = Said::take(&mut fields)?;
    let mut thing = Thing {
        thing_id: Identifiers::thing_id(),
        vendor_thing_id,
        thing_type: None,
        firmware_version: None,
        layout_position: LayoutPosition::Standalone.as_str().to_owned(),
        properties: "{}".to_owned(),
        disabled: false,
        created_at: call.now,
        modified_at: call.now,
    };
    said.apply(&mut thing)?;
    let call = std::sync::Arc::new(call);
    // Before the password is hashed, which takes long.
    let (asked, vendor) = (call.clone(), thing.vendor_thing_id.clone());
    cloud.store().read(move |sql: &mut dyn Sql| may_register(sql, &asked, &vendor)).await?;
    let new = NewThing {
        thing_id: thing.thing_id.clone(),
        vendor_thing_id: thing.vendor_thing_id.clone(),
        password_hash: cloud.passwords().hash(&password).await?,
        thing_type: thing.thing_type.clone(),
        firmware_version: thing.firmware_version.clone(),
        layout_position: thing.layout_position.clone(),
        data_grouping_interval: None,
        properties: thing.properties.clone(),
    };
    let issued = media_type::is(body.content_type(), WITH_AUTHORIZATION).then(token::generate);
    let (access_token, hash) = issued.unzip();
    let (app, now) = (call.app.clone(), call.now);
    let insert = move |sql: &mut dyn Sql| {
        may_register(sql, &call, &new.vendor_thing_id)?;
        things::insert(sql, &call.app, &new, now)?;
        if let Some(hash) = hash {
            let token = NewToken { hash, expires_at: None, refresh: None, gateway: None };
            tokens::add(sql, &call.app, &Principal::Thing(new.thing_id).into(), &token, now)?;
        }
        Ok::<_, Failure>(())
    };
    cloud.store().write(insert).await?;
    let body = shown(&thing, access_token.as_ref().map(|token| token.expose().as_str()), None)?;
    let mut response = answer::exposed(StatusCode::CREATED, answer::without_percent(&body));
    let location = format!("/api/apps/{app}/things/{}", thing.thing_id);
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).map_err(Failure::internal)?);
    Ok(response)
}

fn may_register(sql: &mut dyn Sql, call: &Call, vendor: &VendorThingId) -> Result<(), Failure> {
    if !call.knows_app_key {
        call.caller(sql)?;
    }
    match things::by_vendor_id(sql, &call.app, vendor)? {
        Some(_) => Err(already_exists(&call.app, vendor)),
        None => Ok(()),
    }
}

/// 409: another thing has this id.
pub(super) fn already_exists(app: &AppId, vendor: &VendorThingId) -> Failure {
    Failure::new(ErrorCode::ThingAlreadyExists, format!("Thing {vendor} already exists"))
        .with("vendorThingID", vendor.as_str())
        .with("appID", app.as_str())
}

/// 200 with all that is known of the thing, its password excepted.
async fn get_thing(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let thing = find_to_use(sql, &call)?;
        load(sql, &call.app, &thing)
    };
    let (thing, connection) = cloud.store().read(get).await?;
    Ok(answer::exposed(StatusCode::OK, answer::without_percent(&shown(&thing, None, connection)?)))
}

fn load(sql: &mut dyn Sql, app: &AppId, id: &ThingId) -> Result<(Thing, Option<(bool, i64)>), Failure> {
    let thing = things::get(sql, app, id)?.ok_or_else(|| Failure::thing_not_found(app, id))?;
    Ok((thing, end_nodes::connection(sql, app, id)?))
}

/// 204. Fields that the request does not name stay, those that are `null` go.
async fn update_thing(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let said = Said::take(&mut body.object(&[UPDATE])?)?;
    let update = move |sql: &mut dyn Sql| {
        let (id, _) = find_to_manage(sql, &call)?;
        let (mut thing, _) = load(sql, &call.app, &id)?;
        said.apply(&mut thing)?;
        thing.modified_at = call.now;
        things::update(sql, &call.app, &thing).map_err(Failure::from)
    };
    cloud.store().write(update).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204 once nothing of the thing is left; its connection ends.
async fn delete_thing(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let (thing, _) = find_to_manage(sql, &call)?;
        let installed = installations::of(sql, &call.app, &Principal::Thing(thing.clone()))?;
        things::delete(sql, &call.app, &thing)?;
        Ok::<_, Failure>(installed)
    };
    for installation in cloud.store().write(delete).await? {
        cloud.pusher().disconnect(&installation.mqtt_topic).await;
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// The thing that the parameter `name` of the path means, by either of its ids.
///
/// # Errors
/// 404 `THING_NOT_FOUND`, with the id that there is not.
pub(super) fn find(sql: &mut dyn Sql, call: &Call, name: &str) -> Result<ThingId, Failure> {
    let named = call.param(name);
    let by_vendor = named.get(..VENDOR.len()).filter(|prefix| prefix.eq_ignore_ascii_case(VENDOR));
    let found = match by_vendor {
        Some(_) => match VendorThingId::new(&named[VENDOR.len()..]) {
            Ok(vendor) => things::by_vendor_id(sql, &call.app, &vendor)?,
            Err(_) => None,
        },
        None => match ThingId::new(named) {
            Ok(thing) => things::by_id(sql, &call.app, &thing)?,
            Err(_) => None,
        },
    };
    found.map(|login| login.thing_id).ok_or_else(|| match by_vendor {
        Some(_) => Failure::no_such_thing(&call.app, "vendorThingID", &named[VENDOR.len()..]),
        None => Failure::no_such_thing(&call.app, "thingID", named),
    })
}

/// The thing that the parameter `thing` of the path means, for whoever may use it.
///
/// # Errors
/// As [`Call::caller`] and [`find`]; 401 when it is somebody else's.
pub(super) fn find_to_use(sql: &mut dyn Sql, call: &Call) -> Result<ThingId, Failure> {
    let caller = call.caller(sql)?;
    let thing = find(sql, call, "thing")?;
    if call.may_use(sql, &caller, &thing)? { Ok(thing) } else { Err(Failure::not_permitted(&call.app, &caller)) }
}

/// The same for whoever may manage it. Says who it is as well.
pub(super) fn find_to_manage(sql: &mut dyn Sql, call: &Call) -> Result<(ThingId, Caller), Failure> {
    let caller = call.caller(sql)?;
    let thing = find(sql, call, "thing")?;
    if !call.may_manage(sql, &caller, &thing)? {
        return Err(Failure::not_permitted(&call.app, &caller));
    }
    Ok((thing, caller))
}
