//! `/api/apps/{APP}/oauth2/token` and `/api/oauth2/token`: login of users and things. HTTPS only. (`wire` §5)

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::cloud::call::{self, Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::users::Name as UserName;
use crate::cloud::store::{Sql, StoreError, things, tokens, users};
use crate::cloud::throttle::Name;
use crate::cloud::{Cloud, answer, token};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, Principal, json as dialect, media_type};

/// Seconds: what a token that never expires is said to last. (`wire` §5)
const NEVER: i64 = 2_147_483_646;
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/oauth2/token", post(log_in)).route("/api/oauth2/token", post(log_in))
}

/// 200 with `access_token`, or 400 `invalid_grant`. The application's key may be left out: the password decides.
async fn log_in(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let request = LogIn::read(&body)?;
    let app = call.app.clone();
    let find = move |sql: &mut dyn Sql| request.who.find(sql, &app).map_err(Failure::from);
    let (name, found) = cloud.store().read(find).await?;
    let attempt = cloud.begin_login(call.remote, Some(name), call.waited).await;
    let (principal, hash) = found.unzip();
    let right = cloud.passwords().verify(&request.password, hash).await?;
    let (true, Some(principal)) = (right, principal) else {
        attempt.failed(cloud.now());
        return Err(invalid_grant("The user was not found or a wrong password was provided"));
    };
    attempt.succeeded();
    let (access_token, hash) = token::generate();
    let new = NewToken { hash, expires_at: request.expires_at };
    let id = match &principal {
        Principal::User(id) => id.to_string(),
        Principal::Group(id) => id.to_string(),
        Principal::Thing(id) => id.to_string(),
    };
    let (app, now) = (call.app, call.now);
    let insert = move |sql: &mut dyn Sql| tokens::add(sql, &app, &principal, &new, now).map_err(Failure::from);
    cloud.store().write(insert).await?;
    let expires_in = request.expires_at.map_or(NEVER, |at| at.saturating_sub(now).max(0) / 1000);
    let answered = json!({
        "id": id,
        "access_token": access_token.expose().as_str(),
        "expires_in": expires_in,
        "token_type": "bearer",
    });
    Ok(answer::exposed(StatusCode::OK, dialect::to_pretty(&answered)))
}

fn invalid_grant(message: &str) -> Failure {
    Failure::new(ErrorCode::InvalidGrant, message).with("error", "invalid_grant").with("error_description", message)
}

/// The request.
struct LogIn {
    who: Who,
    password: Secret<String>,
    expires_at: Option<i64>,
}

/// Who wants to log in, as `username` says it.
enum Who {
    Vendor(VendorThingId),
    Thing(ThingId),
    /// A user; without a prefix, a login name, else an e-mail address, else a phone number.
    User(Vec<UserName>, String),
}

impl LogIn {
    fn read(body: &Body) -> Result<Self, Failure> {
        let mut fields: Map<String, Value> = if media_type::is(body.content_type(), FORM) {
            let text = String::from_utf8_lossy(&body.bytes);
            let form: HashMap<String, String> = call::query(&text);
            form.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
        } else {
            dialect::from_slice(&body.bytes)?
        };
        let mut text = |name: &str| match fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(Failure::invalid(format!("`{name}` is not a string"))),
        };
        match text("grant_type")?.as_deref() {
            // One SDK leaves it out. (`wire` §5)
            None | Some("" | "password") => {}
            Some(known @ ("client_credentials" | "refresh_token" | "authorization_code")) => {
                return Err(Failure::not_implemented(&format!("grant_type {known}")));
            }
            Some(_) => {
                return Err(Failure::invalid("`grant_type` is not known").with("error", "unsupported_grant_type"));
            }
        }
        let missing = |name: &str| Failure::invalid(format!("`{name}` is missing"));
        let username = text("username")?.ok_or_else(|| missing("username"))?;
        let password = Secret::new(text("password")?.ok_or_else(|| missing("password"))?);
        let expires_at = match text("expiresAt")? {
            Some(at) => Some(at.parse().map_err(|_| Failure::invalid("`expiresAt` is not a number of milliseconds"))?),
            None => None,
        };
        Ok(Self { who: Who::read(&username), password, expires_at })
    }
}

impl Who {
    fn read(username: &str) -> Self {
        let anybody = || Who::User(vec![UserName::Login, UserName::Email, UserName::Phone], username.to_owned());
        let Some((prefix, rest)) = username.split_once(':') else { return anybody() };
        match prefix.to_ascii_uppercase().as_str() {
            "VENDOR_THING_ID" => VendorThingId::new(rest).map_or_else(|_| anybody(), Who::Vendor),
            "THING_ID" => ThingId::new(rest).map_or_else(|_| anybody(), Who::Thing),
            "EMAIL" => Who::User(vec![UserName::Email], rest.to_owned()),
            "PHONE" => Who::User(vec![UserName::Phone], rest.to_owned()),
            _ => anybody(),
        }
    }

    /// Who it is, the hash of its password, and what failures are counted by: a thing's are counted by the name that its maker
    /// gave it, and a user's by their id, whichever name was used.
    fn find(&self, sql: &mut dyn Sql, app: &AppId) -> Result<(Name, Option<(Principal, String)>), StoreError> {
        let (unknown, thing) = match self {
            Who::Vendor(id) => (Name::thing(app, id), things::by_vendor_id(sql, app, id)?),
            Who::Thing(id) => (Name::thing_id(app, id), things::by_id(sql, app, id)?),
            Who::User(names, name) => {
                let mut found = None;
                for by in names {
                    found = users::by_name(sql, app, *by, name)?;
                    if found.is_some() {
                        break;
                    }
                }
                let counted = found.as_ref().map_or_else(|| Name::user(app, name), |l| Name::user_id(app, &l.user_id));
                let found = found.map(|login| (Principal::User(login.user_id), login.password_hash));
                return Ok((counted, found));
            }
        };
        Ok(match thing {
            Some(login) => {
                let name = Name::thing(app, &login.vendor_thing_id);
                (name, Some((Principal::Thing(login.thing_id), login.password_hash)))
            }
            None => (unknown, None),
        })
    }
}
