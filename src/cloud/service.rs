//! The road from the edge: the same router, in whole messages.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tower_service::Service;

use super::failure::Failure;
use crate::edge::{Peer, Role};
use crate::thing_if::ErrorCode;

/// The longest body of an answer, in bytes. Ours are far shorter; this only bounds what a mistake could cost.
const MAX_ANSWER: usize = 1 << 20;

/// The cloud as a service for [`Edge`](crate::edge): `http` requests in, `http` responses out, never an error.
///
/// Only `/thing-if/…` exists on this road, only for the application that the connection logged in to, and a connection
/// to the default broker may only onboard. (`wire` §1.1, §3)
#[derive(Clone, Debug)]
pub struct CloudService {
    router: Router,
}

impl CloudService {
    pub(super) fn new(router: Router) -> Self {
        Self { router }
    }
}

impl Service<Request<Bytes>> for CloudService {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let mut router = self.router.clone();
        Box::pin(async move {
            let answered = match refuse(&request) {
                Some(failure) => failure.into_response(),
                None => {
                    let request = request.map(|body| Body::new(Full::new(body)));
                    router.call(request).await.unwrap_or_else(|error| match error {})
                }
            };
            Ok(whole(answered).await)
        })
    }
}

/// Why this peer may not send this request over MQTT at all.
fn refuse(request: &Request<Bytes>) -> Option<Failure> {
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix("/thing-if/") else { return Some(Failure::no_such_path(path)) };
    let peer = request.extensions().get::<Peer>()?;
    let (app, rest) = rest.strip_prefix("apps/")?.split_once('/')?;
    if app != peer.app_id.as_str() {
        Some(Failure::app_not_found(app))
    } else if peer.role == Role::Onboarding && rest != "onboardings" {
        let message = "The default MQTT broker only accepts onboarding requests";
        Some(Failure::new(ErrorCode::OperationNotSupported, message))
    } else {
        None
    }
}

async fn whole(response: HttpResponse) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(collected) => Response::from_parts(parts, collected.to_bytes()),
        Err(error) => {
            // The failure's own body is a few hundred bytes in memory: collecting it cannot fail.
            let (parts, body) = Failure::internal(error).into_response().into_parts();
            let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
            Response::from_parts(parts, bytes)
        }
    }
}
