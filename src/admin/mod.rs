//! What operators see of a service that runs, on a listener of its own: `/healthz`, `/metrics`, and `/control/…` for the program.
//!
//! Who can reach that listener can read the first two without a login, as the programs that ask for them expect; it is meant for
//! loopback, or for a network that only operators are in.

pub(crate) mod control;
mod metrics;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;

use crate::cloud::{self, Cloud};
use crate::edge::Registry;
use crate::secret::Secret;

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    registry: Registry,
    started: SystemTime,
    /// What the program shows to be let in; nobody without one.
    token: Option<Secret<String>>,
}

impl Admin {
    /// Of `cloud`, and of the connections in `registry`; `started` is when the process did. The program is let in with `token`.
    pub(crate) fn new(cloud: Cloud, registry: Registry, started: SystemTime, token: Option<Secret<String>>) -> Self {
        Self(Arc::new(Inner { cloud, registry, started, token }))
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .merge(control::routes())
            .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here: see /healthz and /metrics\n"))
            .with_state(self.clone())
    }

    /// Answers until `shutdown` completes, then ends what is under way within 10 s.
    ///
    /// # Errors
    /// As [`cloud::http::serve`].
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        cloud::http::serve_router(listener, None, self.router(), shutdown).await
    }
}

/// 200 while requests can be answered, 503 with the reason otherwise.
async fn health(State(admin): State<Admin>) -> Response {
    let uncached = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    match admin.0.cloud.check_health().await {
        Ok(()) => (uncached, "ok\n").into_response(),
        Err(unhealthy) => (StatusCode::SERVICE_UNAVAILABLE, uncached, format!("{unhealthy}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match metrics::encode(&admin.0.cloud, &admin.0.registry, admin.0.started) {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
