//! A gateway: end nodes over one connection.
//!
//! An end node is a thing of its own (an id, a token, states, commands) without a connection of its own: its gateway speaks
//! for it. [`Gateway::builder`] makes a gateway of an ordinary connected [`Client`]; [`Routing::run`] reads that connection's
//! pushes and notices in place of [`Commands`](super::commands::Commands). No second connection is made. (`wire` §4, §6)
//!
//! ```no_run
//! use serde::Deserialize;
//! use thingif::client::commands::{ActionTable, FileJournal};
//! use thingif::client::gateway::{FileNodeStore, Gateway, GatewayEvent, NodeOnboarding, Owner};
//! use thingif::client::{Client, Connection, Pushes};
//! use thingif::thing_if::State;
//!
//! #[derive(Deserialize)]
//! struct TurnPower {
//!     power: bool,
//! }
//!
//! async fn work(
//!     client: Client,
//!     pushes: Pushes,
//!     mut connection: Connection,
//!     owner: Owner,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let notices = connection.notices();
//!     tokio::spawn(connection.run());
//!
//!     // What carries out the commands of a node; called for each node that joins.
//!     let actuators = |node: &thingif::client::gateway::EndNode| {
//!         let lamp = node.vendor_thing_id().clone();
//!         ActionTable::new().on("turnPower", move |TurnPower { power }, _| {
//!             println!("{lamp}: the power is {}", if power { "on" } else { "off" });
//!             async { Ok::<(), String>(()) }
//!         })
//!     };
//!     let (gateway, routing, mut events) = Gateway::builder(client, actuators)
//!         .with_owner(owner)
//!         .with_store(FileNodeStore::open("/var/lib/hub/nodes")?)
//!         .with_journal(FileJournal::open("/var/lib/hub/commands")?)
//!         .open()
//!         .await?;
//!     tokio::spawn(routing.run(pushes, notices));
//!
//!     let lamp = NodeOnboarding::new("lamp-3".parse()?, "its password".into()).with_thing_type("lamp".parse()?);
//!     let lamp = gateway.onboard_once(&lamp).await?;
//!     lamp.set_online(true);
//!     let state: State = serde_json::from_str(r#"{"power":false}"#)?;
//!     lamp.put_state(&state).await?;
//!
//!     while let Some(event) = events.next().await {
//!         if let GatewayEvent::Left { vendor_thing_id, why, .. } = event {
//!             eprintln!("{vendor_thing_id} is no longer ours: {why:?}");
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Joining
//!
//! A node joins by [`Gateway::onboard`], in the name of the [`Owner`], or out of the [`NodeStore`] at the start. Its
//! credential is stored before it is used. [`NodeOnboardingError`] tells apart what the owner, the node and the service are
//! to blame for, and what may pass. Nodes that were restored can do everything at once; [`Gateway::onboard_once`] adds their
//! passwords, without which a refused token cannot be replaced.
//!
//! # Calls
//!
//! [`EndNode`] makes calls with the node's own token. They fail, wait and are bounded as [`Client::send`] says, and at most
//! 16 of one node are in flight, so that a node that is called too often takes nothing from the others.
//!
//! # Whether a node is online
//!
//! What [`EndNode::set_online`] said last is told to the service, with the gateway's token, until it has heard it; after each
//! reconnect it is told again. A report that fails is tried again after a pause by exponential back-off with full jitter,
//! from 1 s to 60 s, not before the service's `Retry-After`, and at once when there is a newer value. (`wire` §5)
//!
//! # Commands
//!
//! All commands are pushed on the gateway's one topic. Whose one is, is found out so: (`wire` §6, §8)
//!
//! | the push | then |
//! |---|---|
//! | has `target` | it is for that node, or for the gateway itself |
//! | has none | the service is asked `GET …/targets/thing:{id}/commands/{id}` for the gateway and for every node, each with its own token, for 5 s; the one that has it by the service's word is whose it is |
//! | nobody has it | [`Unrouted::NoTarget`], a counter |
//! | several have it | [`Unrouted::Ambiguous`], a counter; written into the journal as over, so that no list brings it back |
//! | some could not be asked, and nobody else has it | those look for it in their lists; if none of them can, [`Unrouted::Undetermined`], a counter |
//! | is for a node that is not this gateway's | [`Unrouted::UnknownTarget`], a counter |
//!
//! Commands are routed in the order in which they arrived, so that those of one node keep theirs; the time that one waits for
//! it counts as age. From there on each node's commands are treated as [`commands`](super::commands) says, in the node's name: journalled before
//! they run, in their order, reported on the node's path with the node's token until the service has heard, missed ones found
//! by listing after each connect, and those older than 60 s reported failed and not run. Each node has a task of its own, so a
//! slow one holds up nobody but itself. One journal serves all of them.
//!
//! # Leaving
//!
//! A node leaves when it is [unpaired](EndNode::unpair), here or by somebody else; when the service does not know it any
//! more; or when its token is refused and it cannot be onboarded again. A refusal is believed when the service repeats it to
//! a GET of the gateway's own. If owner and password are known the node is then onboarded again, at once at first, and after
//! a growing pause of up to 10 min while new tokens are refused as well. It leaves when that cannot be done three times in a
//! row, half a minute apart, so that a proxy which refuses everything for a moment costs no node. When the gateway itself has
//! become another thing, such as by being deleted and onboarded again, every node is onboarded again behind that one; whose
//! owner or password is not known leaves in the same way, as [`Departure::OtherGateway`].
//!
//! A node that leaves is out of every table: its calls fail as [`NotSent::Closed`](super::NotSent::Closed), what runs is finished and
//! not reported, what waits is dropped. The store forgets a node that the service does not have, or not here; the credential
//! of one that was only refused stays, until the node is onboarded again or [unpaired](Gateway::unpair). Each of these is a
//! [`GatewayEvent`].
//!
//! # What is bounded
//!
//! Nodes (64, at most 1,024), calls of a node (16), commands that wait at a node or for their routing (256), missed commands
//! looked at (200 each), the gateway's own calls (a quarter of what may be in flight), events kept for the reader (1,024).

mod builder;
mod credential;
mod end_node;
mod event;
#[cfg(unix)]
mod file_store;
mod keeper;
mod lane;
mod node;
mod onboarding;
mod presence;
mod refusal;
mod resolve;
mod roster;
mod routing;
mod store;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};

pub use builder::Builder;
pub use credential::NodeCredential;
pub use end_node::{EndNode, NodeError};
pub use event::{Departure, GatewayCounters, GatewayEvent, GatewayEvents, Unrouted};
#[cfg(unix)]
pub use file_store::FileNodeStore;
pub use onboarding::{NodeOnboarding, NodeOnboardingError, Owner};
pub use routing::Routing;
pub use store::{MemoryNodeStore, NodeStore};

use super::Client;
use super::commands::{Actuator, encoded};
use crate::ids::{AccessToken, ThingId, VendorThingId};
use crate::secret::{Secret, redact};
use crate::thing_if::{EndNodes, ErrorBody, ListedEndNode};
use roster::Roster;

/// Nodes asked for at once.
const PAGE: usize = 50;
/// A handle on the end nodes behind a connection. Cloning is cheap.
#[derive(Clone)]
pub struct Gateway(Arc<Roster>);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gateway").field(&self.0.nodes()).finish()
    }
}

/// The end nodes of a gateway, as the service has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNodes {
    /// In the service's order.
    pub nodes: Vec<ListedEndNode>,
    /// There are more than were asked for.
    pub more: bool,
}

impl Gateway {
    /// A gateway that is connected through `client`. `actuators` makes what carries out the commands of a node, each time
    /// that one joins: an [`ActionTable`](super::commands::ActionTable), or an `Arc<dyn Actuator>` where nodes differ.
    pub fn builder<A: Actuator>(client: Client, mut actuators: impl FnMut(&EndNode) -> A + Send + 'static) -> Builder {
        Builder::new(client, Box::new(move |node| Arc::new(actuators(node))))
    }

    /// Whose nodes are onboarded from now on, with the user token that proves it; also when the service refuses a node's
    /// token. Kept in memory, never stored. `None` means nobody's: [`NodeOnboardingError::NoOwner`].
    pub fn set_owner(&self, owner: Option<Owner>) {
        self.0.set_owner(owner);
    }

    /// Onboards a node behind this gateway with the owner's token, and stores its credential. Doing it again is harmless:
    /// the same node comes out, perhaps with a new token. The password is kept in memory for when the service refuses the
    /// node's token. (`wire` §4)
    ///
    /// # Errors
    /// [`NodeOnboardingError`].
    pub async fn onboard(&self, node: &NodeOnboarding) -> Result<EndNode, NodeOnboardingError> {
        let node = self.0.onboard(node, false).await?;
        Ok(EndNode::new(node, self.0.clone()))
    }

    /// As [`onboard`](Gateway::onboard), but a node that the gateway has, such as one from the store, is not onboarded again:
    /// what a program calls for each of its nodes at every start.
    ///
    /// # Errors
    /// As [`onboard`](Gateway::onboard).
    pub async fn onboard_once(&self, node: &NodeOnboarding) -> Result<EndNode, NodeOnboardingError> {
        let node = self.0.onboard(node, true).await?;
        Ok(EndNode::new(node, self.0.clone()))
    }

    /// The nodes that this gateway works for, by their thing ids.
    pub fn nodes(&self) -> Vec<EndNode> {
        self.0.nodes().into_iter().map(|node| EndNode::new(node, self.0.clone())).collect()
    }

    /// The node `thing`, if this gateway works for it.
    pub fn node(&self, thing: &ThingId) -> Option<EndNode> {
        Some(EndNode::new(self.0.node(thing)?, self.0.clone()))
    }

    /// The node that its maker names `id`, if this gateway works for it.
    pub fn node_of_vendor(&self, id: &VendorThingId) -> Option<EndNode> {
        Some(EndNode::new(self.0.node_of_vendor(id)?, self.0.clone()))
    }

    /// The first `limit` nodes that the service has behind this gateway, asked for in pages of 50. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn list(&self, limit: usize) -> Result<ListedNodes, NodeError> {
        let own = self.0.credential();
        let path = format!("/thing-if/apps/{}/things/{}/end-nodes", own.app_id, own.thing_id);
        let (mut nodes, mut seen, mut key) = (Vec::new(), 0, String::new());
        while seen < limit {
            let page = PAGE.min(limit - seen);
            let request = request(Method::GET, &format!("{path}?bestEffortLimit={page}{key}"), Bytes::new());
            let answer = self.0.client.send(request).await.map_err(NodeError::NoAnswer)?;
            NodeError::check(&answer, &[text(&own.access_token)])?;
            let EndNodes { results, next_pagination_key } =
                EndNodes::from_json(answer.body()).map_err(NodeError::InvalidAnswer)?;
            // An empty page with a key of the next would go round in circles.
            seen += results.len().max(1);
            nodes.extend(results);
            match next_pagination_key {
                Some(next) => key = format!("&paginationKey={}", encoded(&next)),
                None => return Ok(ListedNodes { more: nodes.len() > limit, nodes: cut(nodes, limit) }),
            }
        }
        Ok(ListedNodes { nodes: cut(nodes, limit), more: true })
    }

    /// Takes the node `thing` off this gateway, at the service and here, whether it is known here or not. One that is off
    /// already is no error. (`wire` §5)
    ///
    /// # Errors
    /// [`NodeError`]; the node stays here, though the service [may have done it](NodeError::may_have_been_processed).
    pub async fn unpair(&self, thing: &ThingId) -> Result<(), NodeError> {
        self.0.unpair(thing).await
    }

    /// How many pushes were not routed.
    pub fn counters(&self) -> GatewayCounters {
        self.0.counters()
    }
}

/// A service may give more than it was asked for.
fn cut(mut nodes: Vec<ListedEndNode>, limit: usize) -> Vec<ListedEndNode> {
    nodes.truncate(limit);
    nodes
}

/// A request of ours, whose path is made of ids, which stand in a path as they are.
fn request(method: Method, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// `Bearer {token}`, marked so that no header map shows it.
fn bearer(token: &Secret<AccessToken>) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose().as_str()))
        .expect("a token is printable ASCII, which a header value may be");
    value.set_sensitive(true);
    value
}

/// What the service says where it refuses, without what was sent to it: its words go into errors, events and logs, and it may
/// repeat what it refuses.
fn said(answer: &Response<Bytes>, sent: &[Secret<String>]) -> Option<Box<ErrorBody>> {
    let body = ErrorBody::from_json(&redact(answer.body())).ok()?;
    Some(Box::new(sent.iter().fold(body, ErrorBody::masking)))
}

/// A token as [`said`] looks for it.
fn text(token: &Secret<AccessToken>) -> Secret<String> {
    Secret::from(token.expose().as_str())
}

/// What the service said, behind a status.
fn shown(body: &Option<Box<ErrorBody>>) -> String {
    match body {
        Some(body) if body.message.is_empty() => format!(": {}", body.error_code),
        Some(body) => format!(": {}: {}", body.error_code, body.message),
        None => String::new(),
    }
}
