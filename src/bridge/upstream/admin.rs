//! The listener for the service behind the bridge: pushes, and clients that are to go.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;

use super::clients::is_same;
use super::{Endpoints, Upstream};
use crate::bridge::rules::{self, MAX_PUSH_LEN};
use crate::edge::{PushOutcome, Pusher as _, Registry};
use crate::ids::ClientId;
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, json as dialect};

/// What the admin listener works on.
#[derive(Clone)]
pub struct Admin {
    /// The connections.
    pub registry: Registry,
    /// The bridge.
    pub upstream: Upstream,
    /// Whoever shows it as `Authorization: Bearer` may do everything that there is.
    pub token: Secret<String>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// The routes of the admin listener. All but `/healthz` need `Authorization: Bearer {token}`, else 401. Without TLS of its own:
/// keep it on loopback, or in a network of its own.
///
/// | request | answer |
/// |---|---|
/// | `POST /push/{client_id}`, the push as it is: one JSON object for Thing-IF devices (`wire` §6) | 202: queued for a connection that has had its SUBACK. QoS 0: no more is known |
/// | | 404 `CLIENT_NOT_CONNECTED`: not connected to the assigned broker |
/// | | 409 `CLIENT_NOT_SUBSCRIBED`: connected, and did not subscribe to `{client_id}` yet |
/// | | 413: more than 4096 bytes; 400: an empty one, or no client identifier |
/// | | 503, `Retry-After`: the connection's queue is full; the push was dropped |
/// | `GET /clients/{client_id}` | 200: connected, with what waits; 404 |
/// | `DELETE /clients/{client_id}` | 204: its connection is closed, its learnt login forgotten; 404 when there was neither |
/// | `GET /status` | 200: connections, and all that was counted |
/// | `GET /healthz` | 200, an empty body: this process runs |
pub fn admin_router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    let guarded = Router::new()
        .route("/push/{client}", post(push))
        .route("/clients/{client}", get(show).merge(delete(remove)))
        .route("/status", get(status))
        .fallback(async || answer(rules::error(ErrorCode::PathNotFound, "There is nothing at this path.")))
        .method_not_allowed_fallback(async || {
            answer(rules::error(ErrorCode::MethodNotAllowed, "This path has no such method."))
        })
        // Around the fallbacks, too: a stranger does not learn which paths there are.
        .layer(from_fn_with_state(Arc::clone(&admin), check_token))
        .with_state(admin);
    Router::new().route("/healthz", get(async || StatusCode::OK)).merge(guarded)
}

fn answer(response: http::Response<Bytes>) -> Response {
    response.map(Body::from)
}

fn refuse(code: &str, status: StatusCode, message: impl Into<String>) -> Response {
    let mut response = rules::error(ErrorCode::from(code), message);
    *response.status_mut() = status;
    answer(response)
}

async fn check_token(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if shows(request.headers(), &admin.token) {
        return next.run(request).await;
    }
    let message = "This needs `Authorization: Bearer {token}` with the token of the bridge.";
    let mut refused = answer(rules::error(ErrorCode::Unauthorized, message));
    refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bridge\""));
    refused
}

fn shows(headers: &HeaderMap, token: &Secret<String>) -> bool {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    text.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer") && is_same(&Secret::from(shown.trim()), token)
    })
}

/// The client identifier of the path.
#[allow(clippy::result_large_err)] // the answer is what is written next
fn client(text: &str) -> Result<ClientId, Response> {
    ClientId::new(text).map_err(|error| answer(rules::error(ErrorCode::InvalidInputData, error.to_string())))
}

async fn push(State(admin): State<Arc<Admin>>, Path(text): Path<String>, body: Body) -> Response {
    let client = match client(&text) {
        Ok(client) => client,
        Err(refused) => return refused,
    };
    let payload = match Limited::new(body, MAX_PUSH_LEN).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("A push has at most {MAX_PUSH_LEN} bytes.");
            return answer(rules::error(ErrorCode::PayloadTooLarge, message));
        }
        Err(_) => return answer(rules::error(ErrorCode::InvalidInputData, "The body did not come whole.")),
    };
    if payload.is_empty() {
        return answer(rules::error(ErrorCode::InvalidInputData, "A push is not empty."));
    }
    match admin.registry.push(&client, payload).await {
        PushOutcome::Queued => StatusCode::ACCEPTED.into_response(),
        PushOutcome::NotConnected => not_connected(&client),
        PushOutcome::NotSubscribed => refuse(
            "CLIENT_NOT_SUBSCRIBED",
            StatusCode::CONFLICT,
            format!("{client} is connected and has not subscribed to its pushes."),
        ),
        PushOutcome::Overloaded => {
            let message = format!("{client} does not take what waits for it. The push was dropped.");
            let wait = std::time::Duration::from_secs(1);
            answer(rules::error_to_retry(ErrorCode::TemporaryUnavailableError, message, wait))
        }
    }
}

fn not_connected(client: &ClientId) -> Response {
    refuse("CLIENT_NOT_CONNECTED", StatusCode::NOT_FOUND, format!("{client} is not connected."))
}

async fn show(State(admin): State<Arc<Admin>>, Path(text): Path<String>) -> Response {
    let client = match client(&text) {
        Ok(client) => client,
        Err(refused) => return refused,
    };
    match admin.registry.backlog(&client) {
        Some(backlog) => in_json(&json!({
            "connected": true,
            "waitingBytes": backlog.bytes,
            "waitingPushes": backlog.pushes,
            "droppedPushes": backlog.pushes_dropped,
        })),
        None => not_connected(&client),
    }
}

async fn remove(State(admin): State<Arc<Admin>>, Path(text): Path<String>) -> Response {
    let client = match client(&text) {
        Ok(client) => client,
        Err(refused) => return refused,
    };
    // First the login, so that it does not come back through the door.
    let (endpoints, forgotten) = (Arc::clone(admin.upstream.endpoints()), client.clone());
    let forgotten = tokio::task::spawn_blocking(move || Endpoints::forget(&endpoints, &forgotten)).await;
    let was_connected = admin.registry.is_connected(&client);
    admin.registry.disconnect(&client).await;
    match forgotten {
        Ok(Ok(was_known)) if was_known || was_connected => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(_)) => refuse("CLIENT_NOT_FOUND", StatusCode::NOT_FOUND, format!("{client} is not known.")),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn fmt::Display) -> Response {
    tracing::error!(%error, "a login was not forgotten for good");
    answer(rules::error(ErrorCode::UndefinedError, "The login is forgotten only until the bridge starts anew."))
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let connections = admin.registry.connections();
    let edge: serde_json::Map<_, _> =
        admin.registry.metrics().iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    in_json(&json!({
        "connections": { "onboarding": connections.onboarding, "assigned": connections.assigned },
        "learntLogins": admin.upstream.endpoints().len(),
        "upstream": admin.upstream.counters(),
        "edge": edge,
    }))
}

fn in_json(body: &serde_json::Value) -> Response {
    let mut response = http::Response::new(dialect::to_pretty(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer(response)
}
