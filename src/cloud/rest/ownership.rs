//! `/api/apps/{APP}/things/{TH}/ownership`: whose a thing is. Kii Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;

use super::things::{find, find_to_manage};
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::store::{Sql, things, users};
use crate::cloud::throttle;
use crate::cloud::{Cloud, answer, object};
use crate::ids::{AppId, ThingId, UserId};
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, Principal};

/// The most owners that a thing has; one more is refused with 409.
const MAX_OWNERS: usize = 1_000;

const REQUEST: &str = "application/vnd.kii.ThingOwnershipRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/things/{thing}/ownership", post(own))
        .route("/api/apps/{app}/things/{thing}/ownership/{owner}", get(is_owned).put(give).delete(disown))
}

/// 204: a user who knows the thing's password owns it from now on; 409 when it was so before. The administrator needs no
/// password.
async fn own(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields = body.object(&[REQUEST])?;
    let password = fields.text("thingPassword")?.map(Secret::new);
    let owner = match (fields.id::<UserId>("userID")?, fields.text("groupID")?) {
        (Some(user), None) => Principal::User(user),
        (None, Some(group)) => return Err(Failure::group_not_found(&call.app, &group)),
        _ => return Err(Failure::invalid("One of `userID` and `groupID` is needed")),
    };
    let call = std::sync::Arc::new(call);
    let (reader, named) = (call.clone(), owner.clone());
    let find = move |sql: &mut dyn Sql| {
        let caller = reader.caller(sql)?;
        let thing = find(sql, &reader, "thing")?;
        if !caller.may_act_as(&named) {
            return Err(Failure::not_permitted(&reader.app, &caller));
        }
        let login = things::by_id(sql, &reader.app, &thing)?;
        let login = login.ok_or_else(|| Failure::thing_not_found(&reader.app, &thing))?;
        Ok((login, caller))
    };
    let (login, caller) = cloud.store().read(find).await?;
    if caller != Caller::Admin {
        let password = password.ok_or_else(|| object::missing("thingPassword"))?;
        let name = throttle::Name::thing(&call.app, &login.vendor_thing_id);
        let attempt = cloud.begin_login(call.remote, Some(name), call.waited).await;
        if !cloud.passwords().verify(&password, Some(login.password_hash.clone())).await? {
            attempt.failed(cloud.now());
            return Err(Failure::wrong_password());
        }
        attempt.succeeded();
    }
    let add = move |sql: &mut dyn Sql| {
        // Neither the thing nor its password has changed meanwhile.
        if things::by_id(sql, &call.app, &login.thing_id)?.as_ref() != Some(&login) {
            return Err(Failure::overloaded());
        }
        add_new_owner(sql, &call, &login.thing_id, &owner)
    };
    cloud.store().write(add).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204: the owner that the path names owns the thing from now on; 409 when it was so before. For the administrator: a user
/// needs the thing's password, and there is no place for it here, so that is a 401.
async fn give(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let give = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let thing = find(sql, &call, "thing")?;
        if caller != Caller::Admin {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        add_new_owner(sql, &call, &thing, &named_owner(&call)?)
    };
    cloud.store().write(give).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204 when it is so, 404 when it is not. GET and HEAD.
async fn is_owned(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let check = move |sql: &mut dyn Sql| {
        let (thing, _) = find_to_manage(sql, &call)?;
        let owner = named_owner(&call)?;
        if things::is_owner(sql, &call.app, &thing, &owner)? { Ok(()) } else { Err(not_owned(&call, &thing)) }
    };
    cloud.store().read(check).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204: the owner that the path names owns the thing no more.
async fn disown(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let disown = move |sql: &mut dyn Sql| {
        let (thing, caller) = find_to_manage(sql, &call)?;
        if caller == Caller::Principal(Principal::Thing(thing.clone())) {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        let owner = named_owner(&call)?;
        if things::remove_owner(sql, &call.app, &thing, &owner)? { Ok(()) } else { Err(not_owned(&call, &thing)) }
    };
    cloud.store().write(disown).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// `user:{id}` or `group:{id}`, in any letter case.
fn named_owner(call: &Call) -> Result<Principal, Failure> {
    match call.param("owner").parse() {
        Ok(owner @ (Principal::User(_) | Principal::Group(_))) => Ok(owner),
        _ => Err(Failure::invalid("The owner in the path is not `user:{id}` or `group:{id}`")),
    }
}

fn not_owned(call: &Call, thing: &ThingId) -> Failure {
    let owner = call.param("owner");
    Failure::new(ErrorCode::ThingOwnershipNotFound, format!("Thing {thing} is not owned by {owner}"))
        .with("appID", call.app.as_str())
        .with("thingID", thing.as_str())
}

fn add_new_owner(sql: &mut dyn Sql, call: &Call, thing: &ThingId, owner: &Principal) -> Result<(), Failure> {
    match owner {
        Principal::User(user) if users::exists(sql, &call.app, user)? => {}
        Principal::Group(group) => return Err(Failure::group_not_found(&call.app, group.as_str())),
        _ => return Err(Failure::user_not_found(&call.app, owner.id())),
    }
    if things::is_owner(sql, &call.app, thing, owner)? {
        return Err(Failure::new(
            ErrorCode::ThingOwnershipAlreadyExists,
            format!("{owner} owns thing {thing} already"),
        )
        .with("appID", call.app.as_str())
        .with("thingID", thing.as_str())
        .with("userID", owner.id()));
    }
    add_owner(sql, &call.app, thing, owner, call.now)
}

/// Makes `owner` one of the owners of `thing`; again is no error.
///
/// # Errors
/// 409 when it has as many as it may have.
pub(super) fn add_owner(
    sql: &mut dyn Sql,
    app: &AppId,
    thing: &ThingId,
    owner: &Principal,
    now: i64,
) -> Result<(), Failure> {
    if things::owners(sql, app, thing)?.iter().filter(|known| *known != owner).count() >= MAX_OWNERS {
        let message = format!("Thing {thing} has {MAX_OWNERS} owners already");
        return Err(Failure::new(ErrorCode::OperationNotAllowed, message).with("thingID", thing.as_str()));
    }
    things::add_owner(sql, app, thing, owner, now)?;
    Ok(())
}
