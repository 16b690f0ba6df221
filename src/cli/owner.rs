//! The owner of a thing, as an app plays it: Kii Cloud's and Thing-IF's REST over HTTP.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::cli::exit::{Exit, Failure};
use crate::cli::http1;
use crate::ids::{AccessToken, AppId, CommandId, ThingId, VendorThingId};
use crate::secret::{Redacted, Secret};
use crate::thing_if::{Command, CommandCreated, json as dialect, media_type};

/// The largest answer taken, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A user of an application, and where the application's service is.
pub(crate) struct Owner {
    service: SocketAddr,
    app_id: AppId,
    app_key: Secret<String>,
    login: Option<(String, Secret<AccessToken>)>,
}

/// What was called, and what came of it.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Called {
    fn field(&self, name: &str) -> Result<String, Failure> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body[name].as_str().map(str::to_owned).ok_or_else(|| {
            Failure::other(format_args!("{} {}: the answer ({}) has no {name}", self.method, self.path, self.status))
        })
    }

    /// The answer's body as what it should be.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        dialect::from_slice(&self.body)
            .map_err(|error| Failure::other(format_args!("{} {}: {error}", self.method, self.path)))
    }
}

impl Owner {
    pub(crate) fn new(service: SocketAddr, app_id: AppId, app_key: Secret<String>) -> Self {
        Self { service, app_id, app_key, login: None }
    }

    /// Becomes a user. (`wire` §5)
    pub(crate) async fn sign_up(&self, name: &str, password: &Secret<String>) -> Result<Called, Failure> {
        let path = format!("/api/apps/{}/users", self.app_id);
        let body = json!({"loginName": name, "password": password.expose()});
        self.call(Method::POST, path, "application/vnd.kii.RegistrationRequest+json", Some(body)).await
    }

    /// Logs in; later calls carry the token. (`wire` §5)
    pub(crate) async fn log_in(&mut self, name: &str, password: &Secret<String>) -> Result<Called, Failure> {
        let path = format!("/api/apps/{}/oauth2/token", self.app_id);
        let body = json!({"username": name, "password": password.expose(), "grant_type": "password"});
        let called = self.call(Method::POST, path, media_type::JSON, Some(body)).await?;
        let token = AccessToken::new(called.field("access_token")?).map_err(Failure::other)?;
        self.login = Some((called.field("id")?, Secret::new(token)));
        Ok(called)
    }

    /// Becomes an owner of a thing whose password it knows. (`wire` §4)
    pub(crate) async fn own(&self, thing: &VendorThingId, password: &Secret<String>) -> Result<Called, Failure> {
        let path = format!("/thing-if/apps/{}/onboardings", self.app_id);
        let body = json!({"vendorThingID": thing, "thingPassword": password.expose(), "owner": self.principal()});
        self.call(Method::POST, path, media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER, Some(body)).await
    }

    /// Posts a command to a thing. (`wire` §5)
    pub(crate) async fn command(&self, thing: &ThingId, actions: Value) -> Result<(CommandId, Called), Failure> {
        let path = format!("/thing-if/apps/{}/targets/thing:{thing}/commands", self.app_id);
        let body = json!({"actions": actions, "issuer": self.principal(), "schema": "Lamp", "schemaVersion": 1});
        let called = self.call(Method::POST, path, media_type::JSON, Some(body)).await?;
        let created: CommandCreated = called.read()?;
        Ok((created.command_id, called))
    }

    /// Reads a command with its state. (`wire` §5)
    pub(crate) async fn read_command(
        &self,
        thing: &ThingId,
        command: &CommandId,
    ) -> Result<(Command, Called), Failure> {
        let path = format!("/thing-if/apps/{}/targets/thing:{thing}/commands/{command}", self.app_id);
        let called = self.call(Method::GET, path, "", None).await?;
        Ok((called.read()?, called))
    }

    /// Reads a thing's state. (`wire` §5)
    pub(crate) async fn read_state(&self, thing: &ThingId) -> Result<Called, Failure> {
        let path = format!("/thing-if/apps/{}/targets/thing:{thing}/states", self.app_id);
        self.call(Method::GET, path, "", None).await
    }

    fn principal(&self) -> Option<String> {
        self.login.as_ref().map(|(id, _)| format!("user:{id}"))
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        media_type: &str,
        body: Option<Value>,
    ) -> Result<Called, Failure> {
        let authorization = match &self.login {
            Some((_, token)) => format!("Bearer {}", token.expose().as_str()),
            None => format!("Basic {}", STANDARD.encode(format!("{}:{}", self.app_id, self.app_key.expose()))),
        };
        let mut authorization = HeaderValue::try_from(authorization).map_err(Failure::other)?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path.as_str())
            .header(header::AUTHORIZATION, authorization)
            .body(body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default())
            .map_err(Failure::other)?;
        if body.is_some() {
            let media_type = HeaderValue::try_from(media_type).map_err(Failure::other)?;
            request.headers_mut().insert(header::CONTENT_TYPE, media_type);
        }
        let failed = |error: String| Failure::new(Exit::CannotConnect, format_args!("{method} {path}: {error}"));
        let stream = TcpStream::connect(self.service).await.map_err(|error| failed(error.to_string()))?;
        let answer = http1::send(stream, &self.service.to_string(), request, MAX_ANSWER).await.map_err(failed)?;
        let status = answer.status();
        let called = Called { method, path, status, body: answer.into_body() };
        if status.is_success() { Ok(called) } else { Err(refused(&called)) }
    }
}

fn refused(called: &Called) -> Failure {
    let said = Redacted::new(&called.body).to_string();
    Failure::other(format_args!("{} {} was answered {}: {}", called.method, called.path, called.status, said.trim()))
}
