//! The handle of one end node.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::node::Node;
use super::roster::Roster;
use super::{Departure, said, text};
use crate::ids::{AccessToken, ThingId, VendorThingId};
use crate::proto::{NotSent, RequestError};
use crate::secret::Secret;
use crate::thing_if::{ErrorBody, InvalidBody, State, TraitStates, media_type};
use crate::transport::BoxFuture;

/// Why something was not done for an end node.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no answer. [`NotSent::Closed`] when the node has left the gateway or the client is closed;
    /// [`NotSent::Overloaded`] when too many calls of the node, or of all, are in flight.
    #[error("no answer")]
    NoAnswer(#[source] RequestError),
    /// The service refuses.
    #[error("the service answered with status {status}{}", super::shown(.body))]
    Refused {
        /// The status, anything but 2xx.
        status: StatusCode,
        /// What the service says, where it is the documented error body.
        body: Option<Box<ErrorBody>>,
    },
    /// The answer cannot be read.
    #[error("the answer cannot be read")]
    InvalidAnswer(#[source] InvalidBody),
}

impl NodeError {
    /// Whether the service may have done it. `false` means that it certainly has not.
    pub fn may_have_been_processed(&self) -> bool {
        match self {
            Self::NoAnswer(error) => error.may_have_been_processed(),
            Self::Refused { status, .. } => status.is_server_error(),
            Self::InvalidAnswer(_) => true,
        }
    }

    /// What an answer other than 2xx is, to a call in which `sent` was.
    pub(super) fn check(answer: &Response<Bytes>, sent: &[Secret<String>]) -> Result<(), Self> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Self::Refused { status, body: said(answer, sent) })
    }
}

/// A handle on an end node: calls in its name, with its own token, over the gateway's connection. Cloning is cheap.
///
/// As a [`tower_service::Service`] it can stand wherever a [`Client`](crate::client::Client) can, such as below
/// [`Retry`](crate::client::retry::Retry) or under an [`outbox`](crate::client::outbox). At most
/// [so many](super::Builder::with_max_calls) of its calls are in flight; one more fails at once as
/// [`NotSent::Overloaded`]. Once the node has [left](EndNode::departure), every call fails as [`NotSent::Closed`].
#[derive(Clone)]
pub struct EndNode {
    node: Arc<Node>,
    roster: Arc<Roster>,
}

impl std::fmt::Debug for EndNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.node.fmt(f)
    }
}

impl EndNode {
    pub(super) fn new(node: Arc<Node>, roster: Arc<Roster>) -> Self {
        Self { node, roster }
    }

    /// The node, as the service names it.
    pub fn thing_id(&self) -> &ThingId {
        &self.node.thing_id
    }

    /// The node, as its maker names it.
    pub fn vendor_thing_id(&self) -> &VendorThingId {
        &self.node.vendor_thing_id
    }

    /// The node's own token, as it is now.
    pub fn access_token(&self) -> Secret<AccessToken> {
        self.node.access_token()
    }

    /// Why the node is no longer the gateway's; `None` while it is.
    pub fn departure(&self) -> Option<Departure> {
        self.node.departure()
    }

    /// Says whether the gateway can reach the node. The service is told by [`Routing::run`](super::Routing::run), and told
    /// again after each reconnect and after whatever went wrong, until it has heard the newest value. (`wire` §5)
    pub fn set_online(&self, online: bool) {
        self.node.set_online(online);
    }

    /// What was [set](EndNode::set_online) last.
    pub fn online(&self) -> Option<bool> {
        self.node.online()
    }

    /// Sends a request as [`Client::send`](crate::client::Client::send) does, with the node's token where it has no
    /// Authorization.
    ///
    /// # Errors
    /// [`RequestError`] tells whether the request may have been processed. Statuses of 400 and above are answers.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, RequestError> {
        self.node.call(request).await
    }

    /// Replaces the state of a node without traits. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn put_state(&self, state: &State) -> Result<(), NodeError> {
        self.write(Method::PUT, media_type::JSON, state).await
    }

    /// Replaces the states of all aliases of a node with traits. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn put_trait_states(&self, states: &TraitStates) -> Result<(), NodeError> {
        self.write(Method::PUT, media_type::MULTIPLE_TRAIT_STATE, states).await
    }

    /// Changes some fields of some aliases of a node with traits. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn patch_trait_states(&self, states: &TraitStates) -> Result<(), NodeError> {
        self.write(Method::PATCH, media_type::MULTIPLE_TRAIT_STATE_PATCH, states).await
    }

    /// The state of a node without traits, as the service has it. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`]; 404 `STATE_NOT_FOUND` when none was put.
    pub async fn state(&self) -> Result<State, NodeError> {
        State::from_json(&self.read().await?).map_err(NodeError::InvalidAnswer)
    }

    /// The states of all aliases of a node with traits. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`]; 404 `STATE_NOT_FOUND` when none was put.
    pub async fn trait_states(&self) -> Result<TraitStates, NodeError> {
        TraitStates::from_json(&self.read().await?).map_err(NodeError::InvalidAnswer)
    }

    /// Takes the node off the gateway, at the service and here. One that is off already is no error. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`]; the node stays here, though the service [may have done it](NodeError::may_have_been_processed).
    pub async fn unpair(&self) -> Result<(), NodeError> {
        self.roster.unpair(&self.node.thing_id).await
    }

    fn states(&self) -> String {
        format!("/thing-if/apps/{}/targets/thing:{}/states", self.node.app_id, self.node.thing_id)
    }

    async fn write<S: serde::Serialize>(&self, method: Method, kind: &'static str, state: &S) -> Result<(), NodeError> {
        let body = serde_json::to_vec(state).expect("an object whose keys are texts can be written");
        let mut request = super::request(method, &self.states(), body.into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.ask(request).await.map(drop)
    }

    async fn read(&self) -> Result<Bytes, NodeError> {
        let request = super::request(Method::GET, &self.states(), Bytes::new());
        Ok(self.ask(request).await?.into_body())
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NodeError> {
        let before = text(&self.access_token());
        let answer = self.send(request).await.map_err(NodeError::NoAnswer)?;
        // It may have been renewed just before the call was made.
        NodeError::check(&answer, &[before, text(&self.access_token())])?;
        Ok(answer)
    }
}

impl tower_service::Service<Request<Bytes>> for EndNode {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = BoxFuture<'static, Result<Response<Bytes>, RequestError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        let is_over = self.node.departure().is_some() || self.roster.client.is_closed();
        Poll::Ready(if is_over { Err(NotSent::Closed.into()) } else { Ok(()) })
    }

    /// As [`send`](EndNode::send), but the call is on its way, and its time runs, before the future is polled.
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.node.call(request)
    }
}
