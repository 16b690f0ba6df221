//! The REST surface: a file for each resource, each with its routes. (`wire` §4, §5)

mod action_results;
mod commands;
mod oauth2;
mod onboardings;
mod states;
mod users;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, Uri};

use super::Cloud;
use super::failure::Failure;
use crate::thing_if::ErrorCode;

/// All routes, and what holds for every one of them.
pub(crate) fn router(cloud: Cloud) -> Router {
    Router::new()
        .merge(users::routes())
        .merge(oauth2::routes())
        .merge(onboardings::routes())
        .merge(states::routes())
        .merge(commands::routes())
        .merge(action_results::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(detach))
        .with_state(cloud)
}

/// Executes a request in a task of its own: a peer that disconnects cannot stop it half-way, and a panic is a 500.
async fn detach(request: Request, next: Next) -> Response {
    let mut response = match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Failure::internal(error).into_response(),
    };
    let no_store = HeaderValue::from_static("max-age=0, no-cache, no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    response
}

async fn not_found(uri: Uri) -> Failure {
    Failure::no_such_path(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    Failure::new(ErrorCode::MethodNotAllowed, format!("{method} is not allowed at {}", uri.path()))
}
