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

/// The longest body of an answer, in bytes. Ours are far shorter; this only bounds what a mistake could cost.
const MAX_ANSWER: usize = 1 << 20;

/// The cloud as a service for [`Edge`](crate::edge): `http` requests in, `http` responses out, never an error.
///
/// Only `/thing-if/…` exists on this road (`wire` §3). That a connection calls its own application only, and the default
/// broker takes onboarding requests only, is the edge's to see to.
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
            let answered = if request.uri().path().starts_with("/thing-if/") {
                let request = request.map(|body| Body::new(Full::new(body)));
                router.call(request).await.unwrap_or_else(|error| match error {})
            } else {
                Failure::no_such_path(request.uri().path()).into_response()
            };
            Ok(whole(answered).await)
        })
    }
}

pub(super) async fn whole(response: HttpResponse) -> Response<Bytes> {
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
