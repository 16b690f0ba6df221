//! What operators see of a service that runs, on a listener of its own: `/healthz`, `/metrics`, a page for
//! people, and `/control/…` for the program.
//!
//! Who can reach that listener can read the first two without a login, as the programs that ask for them expect; it is meant for
//! loopback, or for a network that only operators are in.

pub(crate) mod control;
mod login;
mod metrics;
mod page;
pub(crate) mod password;
mod session;
mod tail;
mod thing_page;

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
use tokio::sync::{Semaphore, watch};

use crate::cloud::{self, Cloud};
use crate::edge::Registry;
use crate::secret::Secret;
use password::Password;
use session::Sessions;

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    registry: Registry,
    started: SystemTime,
    /// What the program shows to be let in; nobody without one.
    token: Option<Secret<String>>,
    password: Option<Password>,
    sessions: Sessions,
    /// Held by the one login that is looked at.
    login: tokio::sync::Mutex<()>,
    waiting_logins: Arc<Semaphore>,
    viewers: Arc<Semaphore>,
    /// Becomes true when the service ends, and with it what would go on for ever.
    ending: watch::Sender<bool>,
}

/// Who is let in to more than numbers.
#[derive(Default)]
pub(crate) struct Access {
    /// The program, with this token.
    pub(crate) token: Option<Secret<String>>,
    /// People, with this password.
    pub(crate) password: Option<Password>,
}

impl Admin {
    /// Of `cloud`, and of the connections in `registry`; `started` is when the process did.
    pub(crate) fn new(cloud: Cloud, registry: Registry, started: SystemTime, access: Access) -> Self {
        let Access { token, password } = access;
        Self(Arc::new(Inner {
            cloud,
            registry,
            started,
            token,
            password,
            sessions: Sessions::default(),
            login: tokio::sync::Mutex::default(),
            waiting_logins: Arc::new(Semaphore::new(login::MAX_WAITING)),
            viewers: Arc::new(Semaphore::new(tail::MAX_VIEWERS)),
            ending: watch::Sender::new(false),
        }))
    }

    fn has_password(&self) -> bool {
        match &self.0.password {
            Some(Password::File(path)) => path.is_file(),
            Some(Password::Hash(_)) => true,
            None => false,
        }
    }

    async fn accepts(&self, given: Secret<String>) -> bool {
        let Some(password) = self.0.password.clone() else { return false };
        tokio::task::spawn_blocking(move || password.accepts(&given)).await.unwrap_or(false)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .merge(control::routes())
            .merge(page::routes(self))
            .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here: see /, /healthz and /metrics\n"))
            .with_state(self.clone())
    }

    /// Answers until `shutdown` completes, then ends what is under way within 10 s.
    ///
    /// # Errors
    /// As [`cloud::http::serve`].
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let admin = self.clone();
        let shutdown = async move {
            shutdown.await;
            admin.0.ending.send_replace(true);
        };
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
