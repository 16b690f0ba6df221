//! In whose name the service is asked.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};

use crate::client::{Client, RequestError};
use crate::ids::{AppId, ThingId};
use crate::transport::BoxFuture;

/// A thing that calls the service with a token of its own: the one that is connected, or an end node behind it.
pub(in crate::client) trait Caller: Send + Sync + 'static {
    /// The thing, as it is known now: another onboarding may have made it another one.
    fn own(&self) -> (AppId, ThingId);

    /// Makes one call.
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, RequestError>>;
}

impl Caller for Client {
    fn own(&self) -> (AppId, ThingId) {
        let credential = self.credential().expect("commands are carried out only once the device is onboarded");
        (credential.app_id, credential.thing_id)
    }

    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, RequestError>> {
        tower_service::Service::call(&mut self.clone(), request)
    }
}

/// A caller as what can be made patient.
#[derive(Clone)]
pub(super) struct AnyCaller(pub(super) Arc<dyn Caller>);

impl tower_service::Service<Request<Bytes>> for AnyCaller {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = BoxFuture<'static, Result<Response<Bytes>, RequestError>>;

    /// Always ready: one that is closed says so when it is called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.0.call(request)
    }
}
