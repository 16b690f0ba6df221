//! Logins that somebody else judges, over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ClientConfig;

use super::door::DEFAULT_APP;
use super::url::UpstreamUrl;
use crate::bridge::outgoing::{Bounds, Outgoing};
use crate::edge::Login;
use crate::ids::AppId;
use crate::mqtt::RefusedReason;
use crate::secret::Secret;

/// For one question, a new connection included; and for that connection.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions at once. Others wait, for as long as the edge lets a login wait.
const MAX_CONCURRENT: usize = 32;
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 4096;

/// Asks an HTTP(S) service about logins that nothing else knows.
///
/// ```text
/// POST {URL}                                      200   {"app": "demo"}     admitted to this application
/// Content-Type: application/json                  204                       admitted to the application `default`
/// Authorization: Bearer {token, if one is given}  401, 404                  CONNACK 4: user name or password
///                                                 403                       CONNACK 5: not authorised
/// {"clientId": …, "username": …, "password": …,   anything else, or nothing
///  "scheme": "mqtts", "remote": "192.0.2.7:4711"} within 5 s                CONNACK 3: unavailable
/// ```
///
/// 32 questions go out at once; others wait, for as long as the edge gives a login. Nothing is cached: who is shut out is shut
/// out at the next CONNECT. Connections that there are stay; `DELETE /clients/{client_id}` on the admin listener ends one.
#[derive(Clone)]
pub struct LoginHook {
    url: UpstreamUrl,
    token: Option<HeaderValue>,
    outgoing: Outgoing,
    places: Arc<Semaphore>,
}

impl fmt::Debug for LoginHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginHook").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Admitted {
    app: Option<AppId>,
}

impl LoginHook {
    /// Asks at `url`, as whoever has `token`; `tls` says whom to trust. A token that cannot stand in a header is left out.
    pub fn new(url: UpstreamUrl, token: Option<&Secret<String>>, tls: Option<Arc<ClientConfig>>) -> Self {
        let bounds = Bounds { connect: CONNECT_TIMEOUT, idle: Duration::from_secs(4), max_idle: MAX_CONCURRENT };
        let outgoing = Outgoing::new(tls, bounds);
        Self { url, token: token.and_then(super::bearer), outgoing, places: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// The application that the login is admitted to.
    pub(super) async fn judge(&self, login: &Login) -> Result<AppId, RefusedReason> {
        let unavailable = RefusedReason::ServerUnavailable;
        let _place = self.places.acquire().await.map_err(|_| unavailable)?;
        let answered = self.outgoing.send(self.question(login).ok_or(unavailable)?, TIMEOUT, MAX_ANSWER).await;
        let answered = answered.map_err(|why| {
            tracing::warn!(hook = %self.url, %why, "a login could not be judged");
            unavailable
        })?;
        let default = || AppId::new(DEFAULT_APP).map_err(|_| unavailable);
        match answered.status() {
            StatusCode::NO_CONTENT => default(),
            StatusCode::OK => match serde_json::from_slice(answered.body()) {
                Ok(Admitted { app: Some(app) }) => Ok(app),
                Ok(Admitted { app: None }) => default(),
                Err(error) => {
                    tracing::warn!(hook = %self.url, line = error.line(), "the answer about a login is not what it must be");
                    Err(unavailable)
                }
            },
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Err(RefusedReason::BadUserNameOrPassword),
            StatusCode::FORBIDDEN => Err(RefusedReason::NotAuthorised),
            status => {
                tracing::warn!(hook = %self.url, %status, "a login could not be judged");
                Err(unavailable)
            }
        }
    }

    fn question(&self, login: &Login) -> Option<Request<Bytes>> {
        let body = json!({
            "clientId": login.credentials.client_id,
            "username": login.credentials.username,
            "password": login.credentials.password.expose(),
            "scheme": login.scheme.as_str(),
            "remote": login.remote.to_string(),
        });
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.whole()?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        Some(request)
    }
}
