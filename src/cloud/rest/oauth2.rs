//! `/api/apps/{APP}/oauth2/token` and `/api/oauth2/token`: login of users and things. HTTPS only. (`wire` §5)

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cloud::call::{self, Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::object::{self, Object};
use crate::cloud::store::tokens::{NewToken, Refreshed};
use crate::cloud::store::users::Name as UserName;
use crate::cloud::store::{Sql, StoreError, things, tokens, users};
use crate::cloud::throttle::Name;
use crate::cloud::token::TokenHash;
use crate::cloud::{Cloud, answer, token};
use crate::ids::{AccessToken, AppId, ThingId, VendorThingId};
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
    let request = match Grant::read(&body)? {
        Grant::Refresh(refresh) => return self::refresh(&cloud, call, refresh).await,
        Grant::LogIn(request) => request,
    };
    if request.expires_at.is_some_and(|at| at <= call.now) {
        return Err(object::wrong("expiresAt", "a time to come, in milliseconds since 1970"));
    }
    let (app, who) = (call.app.clone(), request.who.clone());
    let (name, found) = cloud.store().read(move |sql: &mut dyn Sql| who.find(sql, &app).map_err(Failure::from)).await?;
    let attempt = cloud.begin_login(call.remote, name, call.waited).await;
    let Some(caller) = judge(&cloud, &call, &request, found.clone()).await? else {
        attempt.failed(cloud.now());
        return Err(request.who.refused());
    };
    attempt.succeeded();
    // A client has what it logs in with at hand, and needs nothing to renew its tokens with.
    let (issued, new) = match request.who {
        Who::Client(_) => Issued::generate_last(request.expires_at),
        _ => Issued::generate(request.expires_at),
    };
    let id = caller.id().to_owned();
    let (app, now) = (call.app, call.now);
    let insert = move |sql: &mut dyn Sql| {
        // To check a password takes long: meanwhile it may have been changed, or whose it is may be gone.
        if request.who.find(sql, &app)?.1 != found {
            return Err(request.who.refused());
        }
        check_enabled(sql, &app, &caller)?;
        tokens::add(sql, &app, &caller, &new, now).map_err(Failure::from)
    };
    cloud.store().write(insert).await?;
    Ok(issued.answer(&id, now))
}

/// # Errors
/// 401 `THING_DISABLED` for a thing that is.
fn check_enabled(sql: &mut dyn Sql, app: &AppId, caller: &Caller) -> Result<(), Failure> {
    match caller {
        Caller::Principal(Principal::Thing(thing)) if things::is_disabled(sql, app, thing)? => {
            Err(Failure::thing_disabled(app, thing.as_str()))
        }
        _ => Ok(()),
    }
}

/// 200 with a token that lasts as long as the one that it follows did, and is there instead of it; 403 for a refresh token
/// that is unknown or was used.
async fn refresh(cloud: &Cloud, call: Call, refresh: TokenHash) -> Result<Response, Failure> {
    let attempt = cloud.begin_login(call.remote, None, call.waited).await;
    let now = call.now;
    let refresh = move |sql: &mut dyn Sql| {
        let Refreshed { caller, lifetime, gateway } =
            tokens::take_refreshed(sql, &call.app, &refresh)?.ok_or_else(Failure::wrong_refresh_token)?;
        check_enabled(sql, &call.app, &caller)?;
        let (issued, new) = Issued::generate(Some(now.saturating_add(lifetime)));
        let new = NewToken { gateway, ..new };
        tokens::add(sql, &call.app, &caller, &new, now)?;
        Ok::<_, Failure>((issued, caller))
    };
    match cloud.store().write(refresh).await {
        Ok((issued, caller)) => {
            attempt.succeeded();
            Ok(issued.answer(caller.id(), now))
        }
        Err(failure) => {
            if failure.status() == StatusCode::FORBIDDEN {
                attempt.failed(cloud.now());
            }
            Err(failure)
        }
    }
}

/// A token that is given out.
pub(super) struct Issued {
    access_token: Secret<AccessToken>,
    expires_at: Option<i64>,
    refresh_token: Option<Secret<AccessToken>>,
}

impl Issued {
    /// A new token, and what is stored of it. One that expires comes with another one, to be used once when it has.
    pub(super) fn generate(expires_at: Option<i64>) -> (Self, NewToken) {
        let (access_token, hash) = token::generate();
        let (refresh_token, refresh) = expires_at.map(|_| token::generate()).unzip();
        (Self { access_token, expires_at, refresh_token }, NewToken { hash, expires_at, refresh, gateway: None })
    }

    /// The same without another one.
    fn generate_last(expires_at: Option<i64>) -> (Self, NewToken) {
        let (access_token, hash) = token::generate();
        (
            Self { access_token, expires_at, refresh_token: None },
            NewToken { hash, expires_at, refresh: None, gateway: None },
        )
    }

    /// 200 with the tokens in clear; `id` is whose they are.
    pub(super) fn answer(&self, id: &str, now: i64) -> Response {
        let mut answered = json!({
            "id": id,
            "access_token": self.access_token.expose().as_str(),
            "expires_in": self.expires_at.map_or(NEVER, |at| at.saturating_sub(now).max(0) / 1000),
            "token_type": "bearer",
        });
        if let Some(refresh_token) = &self.refresh_token {
            answered["refresh_token"] = refresh_token.expose().as_str().into();
        }
        answer::exposed(StatusCode::OK, dialect::to_pretty(&answered))
    }
}

/// Who it is, if the secret is right.
async fn judge(
    cloud: &Cloud,
    call: &Call,
    request: &LogIn,
    found: Option<(Principal, String)>,
) -> Result<Option<Caller>, Failure> {
    let (app, secret) = (call.app.clone(), &request.password);
    if let Who::Client(client) = &request.who {
        // The application itself is everybody who has its key. (`wire` §5)
        return Ok(if client == app.as_str() {
            cloud.accepts_app_key(&app, secret).then_some(Caller::Anonymous)
        } else {
            cloud.is_admin(&app, client, secret).await?.then_some(Caller::Admin)
        });
    }
    let (principal, hash) = found.unzip();
    let right = cloud.passwords().verify(secret, hash).await?;
    Ok(principal.filter(|_| right).map(Caller::Principal))
}

fn invalid_grant(message: &str) -> Failure {
    Failure::new(ErrorCode::InvalidGrant, message).with("error", "invalid_grant").with("error_description", message)
}

/// The request.
enum Grant {
    LogIn(LogIn),
    Refresh(TokenHash),
}

struct LogIn {
    who: Who,
    password: Secret<String>,
    expires_at: Option<i64>,
}

/// Who wants to log in, as `username` or `client_id` says it.
#[derive(Debug, Clone)]
enum Who {
    Vendor(VendorThingId),
    Thing(ThingId),
    /// A user; without a prefix, a login name, else an e-mail address, else a phone number.
    User(Vec<UserName>, String),
    /// A client of the application, or the application itself.
    Client(String),
}

impl Grant {
    /// Reads JSON, or a form. (`wire` §5)
    fn read(body: &Body) -> Result<Self, Failure> {
        let mut fields = if media_type::is(body.content_type(), FORM) {
            let text = String::from_utf8_lossy(&body.bytes);
            let form: HashMap<String, String> = call::query(&text);
            Object(form.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
        } else {
            body.object(&[media_type::OAUTH_TOKEN_REQUEST])?
        };
        let is_client = match fields.text("grant_type")?.as_deref() {
            // One SDK leaves it out: the credentials say which it is. (`wire` §5)
            None | Some("") => !fields.0.contains_key("username") && fields.0.contains_key("client_id"),
            Some("password") => false,
            Some("client_credentials") => true,
            Some("refresh_token") => {
                let token = Secret::new(fields.required_text("refresh_token")?);
                return Ok(Self::Refresh(TokenHash::of(token.expose().as_bytes())));
            }
            Some("authorization_code") => {
                return Err(Failure::not_implemented("grant_type authorization_code"));
            }
            Some(_) => {
                return Err(Failure::invalid("`grant_type` is not known").with("error", "unsupported_grant_type"));
            }
        };
        let (name, secret) = if is_client { ("client_id", "client_secret") } else { ("username", "password") };
        let name = number_or_text(&mut fields, name)?;
        let password = Secret::new(number_or_text(&mut fields, secret)?);
        let expires_at = fields.integer("expiresAt")?;
        Ok(Self::LogIn(LogIn {
            who: if is_client { Who::Client(name) } else { Who::read(&name) },
            password,
            expires_at,
        }))
    }
}

/// A required field. A login name or a password of digits is sometimes sent as a number.
fn number_or_text(fields: &mut Object, field: &str) -> Result<String, Failure> {
    if let Some(Value::Number(number)) = fields.0.get(field) {
        return Ok(number.to_string());
    }
    fields.required_text(field)
}

/// What failures are counted by; who it is, and the hash of its password.
type Found = (Option<Name>, Option<(Principal, String)>);

impl Who {
    /// 400, the same whether there is nobody of this name or the password is another one.
    fn refused(&self) -> Failure {
        invalid_grant(match self {
            Who::Client(_) => "The client was not found or a wrong secret was provided",
            _ => "The user was not found or a wrong password was provided",
        })
    }

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
    fn find(&self, sql: &mut dyn Sql, app: &AppId) -> Result<Found, StoreError> {
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
                return Ok((Some(counted), found));
            }
            // One who gets the application's key wrong must not slow down all others who have it.
            Who::Client(client) if client == app.as_str() => return Ok((None, None)),
            Who::Client(client) => return Ok((Some(Name::client(app, client)), None)),
        };
        Ok(match thing {
            Some(login) => {
                let name = Name::thing(app, &login.vendor_thing_id);
                (Some(name), Some((Principal::Thing(login.thing_id), login.password_hash)))
            }
            None => (Some(unknown), None),
        })
    }
}
