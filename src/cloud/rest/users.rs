//! `/api/apps/{APP}/users`: sign-up. Kii Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::identifiers::Identifiers;
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::users::{self, Name, NewUser};
use crate::cloud::store::{Sql, tokens};
use crate::cloud::{Cloud, answer, token};
use crate::ids::AppId;
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, Principal, json, media_type};

/// The request whose answer brings a token along.
const WITH_AUTHORIZATION: &str = "application/vnd.kii.RegistrationAndAuthorizationRequest+json";
/// The most that the fields of a user take as JSON, in bytes: 63 KB.
const MAX_FIELDS: usize = 63 * 1024;

/// The most that they take in an answer: deep values take many times their size there.
const MAX_PRINTED: usize = 256 * 1024;
/// Characters of a password.
const MIN_PASSWORD: usize = 4;
const MAX_PASSWORD: usize = 200;

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/users", post(sign_up))
}

/// 201 with `userID`; `_accessToken` as well when the content type asks for it.
async fn sign_up(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    if !call.knows_app_key {
        return Err(Failure::unauthorized("Sign-up needs X-Kii-AppID and X-Kii-AppKey, or `Authorization: Basic`"));
    }
    let SignUp { names, password, fields } = SignUp::read(&body.bytes)?;
    let user = NewUser {
        user_id: Identifiers::user_id(),
        login_name: names[0].clone(),
        email_address: names[1].clone(),
        phone_number: names[2].clone(),
        fields: Value::Object(fields.clone()).to_string(),
        password_hash: cloud.passwords().hash(&password).await?,
    };
    let wants_token = media_type::is(body.content_type(), WITH_AUTHORIZATION);
    let user_id = user.user_id.clone();
    let (access_token, hash) = token::generate();
    let (app, now) = (call.app.clone(), call.now);
    let insert = move |sql: &mut dyn Sql| -> Result<(), Failure> {
        for (by, name) in NAMES.into_iter().zip([&user.login_name, &user.email_address, &user.phone_number]) {
            if let Some(name) = name
                && users::by_name(sql, &app, by, name)?.is_some()
            {
                return Err(already_exists(&app, by, name));
            }
        }
        users::insert(sql, &app, &user, now)?;
        if wants_token {
            let principal = Principal::User(user.user_id.clone());
            let new = NewToken { hash, expires_at: None, refresh: None, gateway: None };
            tokens::add(sql, &app, &principal.into(), &new, now)?;
        }
        Ok(())
    };
    cloud.store().write(insert).await?;
    let mut answered = Map::from_iter([("userID".to_owned(), Value::from(user_id.as_str()))]);
    if wants_token {
        answered.extend(fields);
        answered.insert("_accessToken".to_owned(), access_token.expose().as_str().into());
    }
    let mut response = answer::exposed(StatusCode::CREATED, json::to_pretty(&answered));
    let location = format!("/api/apps/{}/users/{user_id}", call.app);
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).map_err(Failure::internal)?);
    Ok(response)
}

pub(super) const NAMES: [Name; 3] = [Name::Login, Name::Email, Name::Phone];

pub(super) fn already_exists(app: &AppId, by: Name, name: &str) -> Failure {
    Failure::new(ErrorCode::UserAlreadyExists, format!("User with {} {name} already exists", by.field()))
        .with("field", by.field())
        .with("value", name)
        .with("appID", app.as_str())
}

/// A user to be.
struct SignUp {
    names: [Option<String>; 3],
    password: Secret<String>,
    /// Everything but the password, names included.
    fields: Map<String, Value>,
}

impl SignUp {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let mut fields: Map<String, Value> = json::from_slice(body)?;
        // These names are the service's own.
        fields.retain(|name, _| !name.starts_with('_') && name != "userID");
        let password = match fields.shift_remove("password") {
            Some(Value::String(password)) => Secret::new(password),
            _ => return Err(Failure::invalid("`password` is missing or not a string")),
        };
        check_password(&password)?;
        let names = read_names(&fields)?;
        check_fields(&fields)?;
        Ok(Self { names, password, fields })
    }
}

/// By what the user that has these fields is found: at least one name.
pub(super) fn read_names(fields: &Map<String, Value>) -> Result<[Option<String>; 3], Failure> {
    let mut names = [None, None, None];
    for (by, place) in NAMES.into_iter().zip(&mut names) {
        *place = match fields.get(by.field()) {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if is_name(by, name) => Some(name.clone()),
            Some(_) => {
                return Err(Failure::invalid(format!("`{}` is not one", by.field())).with("field", by.field()));
            }
        };
    }
    if names.iter().all(Option::is_none) {
        return Err(Failure::invalid("One of `loginName`, `emailAddress` and `phoneNumber` is needed"));
    }
    Ok(names)
}

/// Checks that the fields of a user, names included, are not longer than they may be.
pub(super) fn check_fields(fields: &Map<String, Value>) -> Result<(), Failure> {
    let fields = Value::Object(fields.clone());
    if fields.to_string().len() > MAX_FIELDS {
        return Err(Failure::invalid("The fields are longer than 63 KB"));
    }
    let printed = json::to_pretty(&fields).len();
    if printed > MAX_PRINTED {
        return Err(Failure::invalid(format!("The fields take {printed} bytes in an answer, more than {MAX_PRINTED}")));
    }
    Ok(())
}

pub(super) fn check_password(password: &Secret<String>) -> Result<(), Failure> {
    match password.expose().chars().count() {
        0..MIN_PASSWORD => {
            let message = format!("The password has fewer than {MIN_PASSWORD} characters");
            Err(Failure::new(ErrorCode::PasswordTooShort, message).with("minimumLength", MIN_PASSWORD))
        }
        MIN_PASSWORD..=MAX_PASSWORD => Ok(()),
        _ => Err(Failure::invalid(format!("The password has more than {MAX_PASSWORD} characters"))),
    }
}

fn is_name(by: Name, name: &str) -> bool {
    let all = |allowed: fn(u8) -> bool| name.bytes().all(allowed);
    match by {
        Name::Login => {
            (1..=64).contains(&name.len()) && all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        }
        Name::Email => name.len() <= 254 && name.contains('@') && all(|b| b.is_ascii_graphic() && b != b':'),
        Name::Phone => (4..=32).contains(&name.len()) && all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-')),
    }
}
