//! What the program asks of a service that runs: applications. Whoever can read the token in the data directory may.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::Admin;
use crate::ids::AppId;

/// Where the applications are.
pub(crate) const APPS: &str = "/control/apps";

/// An application that is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NewApp {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// An application that was made. The secrets are in clear: this is the one time that they are told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedApp {
    #[serde(rename = "appID")]
    pub(crate) app_id: AppId,
    pub(crate) app_key: String,
    #[serde(rename = "clientID")]
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl From<crate::cloud::CreatedApp> for CreatedApp {
    fn from(made: crate::cloud::CreatedApp) -> Self {
        Self {
            app_id: made.admin.app,
            app_key: made.app_key.expose().clone(),
            client_id: made.admin.client_id,
            client_secret: made.admin.client_secret.expose().clone(),
        }
    }
}

/// An application as it is listed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedApp {
    #[serde(rename = "appID")]
    pub(crate) app_id: AppId,
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Milliseconds since 1970; nothing for one of the configuration.
    #[serde(default)]
    pub(crate) created_at: Option<i64>,
}

impl From<crate::cloud::App> for ListedApp {
    fn from(app: crate::cloud::App) -> Self {
        Self { app_id: app.id, name: app.name, created_at: app.created_at }
    }
}

pub(super) fn routes() -> Router<Admin> {
    Router::new().route(APPS, get(list).post(create))
}

async fn list(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if !admin.has_token(&headers) {
        return unauthorized();
    }
    let apps: Vec<ListedApp> = admin.0.cloud.apps().into_iter().map(ListedApp::from).collect();
    Json(apps).into_response()
}

async fn create(State(admin): State<Admin>, headers: HeaderMap, Json(new): Json<NewApp>) -> Response {
    if !admin.has_token(&headers) {
        return unauthorized();
    }
    match admin.0.cloud.create_app(new.name).await {
        Ok(made) => {
            let uncached = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (StatusCode::CREATED, uncached, Json(CreatedApp::from(made))).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, "the token is missing or wrong\n").into_response()
}

impl Admin {
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        match (given, &self.0.token) {
            (Some(given), Some(token)) => given.ct_eq(token.expose().as_bytes()).into(),
            _ => false,
        }
    }
}
