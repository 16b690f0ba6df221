//! `/api/apps/{APP}/users/{USER}`: a user, as `me`, by id or by a name, from its sign-up to its end. Kii Cloud's, HTTPS only.
//! (`wire` §5)

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::users::{NAMES, already_exists, check_fields, check_password, read_names};
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::object::Object;
use crate::cloud::store::users::{self, Name, User};
use crate::cloud::store::{Sql, installations, tokens};
use crate::cloud::throttle;
use crate::cloud::{Cloud, answer};
use crate::ids::UserId;
use crate::secret::Secret;
use crate::thing_if::Principal;

const UPDATE: &str = "application/vnd.kii.UserUpdateRequest+json";
const CHANGE_PASSWORD: &str = "application/vnd.kii.ChangePasswordRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/users/{user}", get(get_user).patch(patch_user).post(replace_fields).delete(delete_user))
        .route("/api/apps/{app}/users/{user}/password", put(change_password))
}

/// The user that the path means, and who asks.
///
/// # Errors
/// As [`Call::caller`]; 404 `USER_NOT_FOUND` when there is none. `me` is for users alone.
pub(super) fn find(sql: &mut dyn Sql, call: &Call) -> Result<(User, Caller), Failure> {
    let caller = call.caller(sql)?;
    let named = call.param("user");
    let (field, value) = match named.split_once(':') {
        Some((prefix, value)) if prefix.eq_ignore_ascii_case("LOGIN_NAME") => (Some(Name::Login), value),
        Some((prefix, value)) if prefix.eq_ignore_ascii_case("EMAIL") => (Some(Name::Email), value),
        Some((prefix, value)) if prefix.eq_ignore_ascii_case("PHONE") => (Some(Name::Phone), value),
        _ => (None, named),
    };
    let user_id = match (field, &caller) {
        (None, Caller::Principal(Principal::User(own))) if value.eq_ignore_ascii_case("me") => Some(own.clone()),
        (None, _) if value.eq_ignore_ascii_case("me") => return Err(Failure::not_permitted(&call.app, &caller)),
        (None, _) => UserId::new(value).ok(),
        (Some(by), _) => users::by_name(sql, &call.app, by, value)?.map(|login| login.user_id),
    };
    let user = match user_id {
        Some(user_id) => users::get(sql, &call.app, &user_id)?,
        None => None,
    };
    let field = field.map_or("userID", Name::field);
    Ok((user.ok_or_else(|| Failure::no_such_user(&call.app, field, value))?, caller))
}

/// The same for the user itself and the administrator.
fn find_own(sql: &mut dyn Sql, call: &Call) -> Result<(User, Caller), Failure> {
    let (user, caller) = find(sql, call)?;
    if caller.may_act_as(&Principal::User(user.user_id.clone())) {
        Ok((user, caller))
    } else {
        Err(Failure::not_permitted(&call.app, &caller))
    }
}

/// 200 with the user; others than itself and the administrator see its id, login name and display name alone, and those who
/// know nothing but the application's key nothing.
async fn get_user(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let get = move |sql: &mut dyn Sql| {
        let (user, caller) = find(sql, &call)?;
        match &caller {
            Caller::Anonymous => Err(Failure::not_permitted(&call.app, &caller)),
            _ => Ok((caller.may_act_as(&Principal::User(user.user_id.clone())), user)),
        }
    };
    let (is_own, user) = cloud.store().read(get).await?;
    let mut fields = user.fields()?;
    let mut body = Map::from_iter([("userID".to_owned(), Value::from(user.user_id.as_str()))]);
    if !is_own {
        fields.retain(|name, _| matches!(name.as_str(), "loginName" | "displayName"));
        body.extend(fields);
        return Ok(answer::json(StatusCode::OK, &body));
    }
    let (has_email, has_phone) = (user.email_address.is_some(), user.phone_number.is_some());
    body.extend(fields);
    // There is no verification: an address is taken for what it is said to be.
    for (name, is_there) in [("emailAddressVerified", has_email), ("phoneNumberVerified", has_phone)] {
        if is_there {
            body.insert(name.to_owned(), true.into());
        }
    }
    body.insert("_hasPassword".to_owned(), true.into());
    body.insert("_disabled".to_owned(), false.into());
    body.insert("createdAt".to_owned(), user.created_at.into());
    body.insert("modifiedAt".to_owned(), user.modified_at.into());
    Ok(answer::json(StatusCode::OK, &body))
}

/// What an update does to the fields that it does not name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Stay,
    /// Those that the service has a meaning for stay nevertheless.
    Go,
}

/// 200 with `modifiedAt`. Fields that the request does not name stay, those that are `null` go.
async fn patch_user(cloud: State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    update(cloud, call, body, Unnamed::Stay).await
}

/// The same, but an app's own fields that the request does not name go: it sends all that it wants to keep.
async fn replace_fields(cloud: State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    update(cloud, call, body, Unnamed::Go).await
}

async fn update(State(cloud): State<Cloud>, call: Call, body: Body, unnamed: Unnamed) -> Result<Response, Failure> {
    let said = body.object(&[UPDATE])?.0;
    let now = call.now;
    let update = move |sql: &mut dyn Sql| {
        let (mut user, _) = find_own(sql, &call)?;
        let mut fields = user.fields()?;
        if unnamed == Unnamed::Go {
            fields.retain(|name, _| is_predefined(name));
        }
        for (name, value) in said {
            match value {
                _ if is_reserved(&name) => {}
                Value::Null => drop(fields.shift_remove(&name)),
                value => drop(fields.insert(name, value)),
            }
        }
        check_fields(&fields)?;
        let names = read_names(&fields)?;
        for (by, name) in NAMES.into_iter().zip(&names) {
            if let Some(name) = name
                && users::by_name(sql, &call.app, by, name)?.is_some_and(|other| other.user_id != user.user_id)
            {
                return Err(already_exists(&call.app, by, name));
            }
        }
        [user.login_name, user.email_address, user.phone_number] = names;
        user.fields = Value::Object(fields).to_string();
        user.modified_at = call.now;
        users::update(sql, &call.app, &user).map_err(Failure::from)
    };
    cloud.store().write(update).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "modifiedAt": now })))
}

/// The fields of a user that every app has.
fn is_predefined(name: &str) -> bool {
    matches!(name, "loginName" | "emailAddress" | "phoneNumber" | "displayName" | "country" | "locale")
}

/// What answers show and nobody but the service sets. A password is set elsewhere.
fn is_reserved(name: &str) -> bool {
    const OWN: [&str; 6] =
        ["userID", "password", "createdAt", "modifiedAt", "emailAddressVerified", "phoneNumberVerified"];
    name.starts_with('_') || OWN.contains(&name)
}

/// 204 once nothing of the user is left; its connections end, and the things that it owned are its no more.
async fn delete_user(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let (user, _) = find_own(sql, &call)?;
        let installed = installations::of(sql, &call.app, &Principal::User(user.user_id.clone()))?;
        users::delete(sql, &call.app, &user.user_id)?;
        Ok::<_, Failure>(installed)
    };
    for installation in cloud.store().write(delete).await? {
        cloud.pusher().disconnect(&installation.mqtt_topic).await;
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204, and every token of the user has ended. The administrator need not know the old password.
async fn change_password(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields: Object = body.object(&[CHANGE_PASSWORD])?;
    let old = fields.text("oldPassword")?.map(Secret::new);
    let new = Secret::new(fields.required_text("newPassword")?);
    check_password(&new)?;
    let call = Arc::new(call);
    let asked = call.clone();
    let (user, caller) = cloud.store().read(move |sql: &mut dyn Sql| find_own(sql, &asked)).await?;
    if caller != Caller::Admin {
        let name = throttle::Name::user_id(&call.app, &user.user_id);
        let attempt = cloud.begin_login(call.remote, Some(name), call.waited).await;
        let old = old.unwrap_or_else(|| Secret::from(""));
        if !cloud.passwords().verify(&old, Some(user.password_hash.clone())).await? {
            attempt.failed(cloud.now());
            return Err(Failure::wrong_password()
                .with("appID", call.app.as_str())
                .with("principalID", user.user_id.as_str()));
        }
        attempt.succeeded();
    }
    let password_hash = cloud.passwords().hash(&new).await?;
    let change = move |sql: &mut dyn Sql| {
        // Whose it is, and what it was, is as it was when it was checked.
        let (now_there, _) = find_own(sql, &call)?;
        if now_there.password_hash != user.password_hash {
            return Err(Failure::overloaded());
        }
        users::set_password(sql, &call.app, &user.user_id, &password_hash, call.now)?;
        tokens::delete_all_of(sql, &call.app, &Principal::User(user.user_id))?;
        Ok(())
    };
    cloud.store().write(change).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
