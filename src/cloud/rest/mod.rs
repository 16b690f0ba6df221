//! The REST surface: a file for each resource, each with its routes. (`wire` §4, §5)

mod action_results;
mod buckets;
mod commands;
mod end_nodes;
mod firmware;
mod installations;
mod messages;
mod mqtt_endpoint;
mod not_built;
mod oauth2;
mod object_query;
mod object_version;
mod objects;
mod onboardings;
mod ownership;
mod scope;
mod state_query;
mod states;
mod subscriptions;
mod thing_fields;
mod thing_query;
mod thing_status;
mod thing_type;
mod things;
mod topics;
mod trigger_results;
mod triggers;
mod user;
mod users;
mod vendor_thing_id;

pub(super) use object_query::AT_WORK as OBJECT_QUERIES;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, Uri};

use super::Cloud;
use super::failure::Failure;
use super::operations;
use crate::thing_if::ErrorCode;

/// All routes, and what holds for every one of them.
pub(crate) fn router(cloud: Cloud) -> Router {
    Router::new()
        .merge(users::routes())
        .merge(user::routes())
        .merge(things::routes())
        .merge(thing_query::routes())
        .merge(thing_status::routes())
        .merge(vendor_thing_id::routes())
        .merge(ownership::routes())
        .merge(end_nodes::routes())
        .merge(firmware::routes())
        .merge(thing_type::routes())
        .merge(installations::routes())
        .merge(mqtt_endpoint::routes())
        .merge(buckets::routes())
        .merge(objects::routes())
        .merge(subscriptions::routes())
        .merge(object_query::routes())
        .merge(topics::routes())
        .merge(messages::routes())
        .merge(oauth2::routes())
        .merge(onboardings::routes())
        .merge(states::routes())
        .merge(state_query::routes())
        .merge(commands::routes())
        .merge(action_results::routes())
        .merge(triggers::routes())
        .merge(trigger_results::routes())
        .merge(not_built::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(detach))
        .layer(middleware::from_fn_with_state(cloud.clone(), operations::count))
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tokio::sync::mpsc;
    use tower_service::Service as _;

    use super::*;

    fn request(path: &str) -> Request {
        Request::builder().uri(path).body(Body::empty()).expect("a request")
    }

    #[tokio::test]
    async fn a_panic_is_a_500_in_the_layout_of_every_error() {
        let panics = get(async || -> StatusCode { panic!("on purpose") });
        let mut router = Router::new().route("/", panics).layer(middleware::from_fn(detach));
        let response = router.call(request("/")).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.expect("in memory");
        assert!(body.starts_with(b"{\n  \"errorCode\" : \"UNDEFINED_ERROR\",\n"), "{body:?}");
        assert!(!body.windows(10).any(|part| part == b"on purpose"), "{body:?}");
    }

    #[tokio::test]
    async fn a_request_goes_on_when_nobody_waits_for_it() {
        let (begun, mut has_begun) = mpsc::channel(1);
        let (go_on, may_go_on) = tokio::sync::watch::channel(false);
        let (done, mut is_done) = mpsc::channel(1);
        let slow = get(async move || {
            begun.send(()).await.expect("heard");
            may_go_on.clone().wait_for(|go_on| *go_on).await.expect("told");
            done.send(()).await.expect("heard");
        });
        let mut router: Router = Router::new().route("/", slow).layer(middleware::from_fn(detach));
        let waiting = tokio::spawn(async move { router.call(request("/")).await });
        has_begun.recv().await.expect("begun");
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        go_on.send(true).expect("heard");
        is_done.recv().await.expect("done all the same");
    }
}
