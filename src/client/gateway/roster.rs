//! The nodes behind the gateway, and how they come and go.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::event::trace;
use super::node::Node;
use super::onboarding::read;
use super::refusal::{is_unpaired, refusal};
use super::{
    Departure, GatewayCounters, GatewayEvent, NodeCredential, NodeError, NodeOnboarding, NodeOnboardingError,
    NodeStore, Owner, text,
};
use crate::client::causes::with_causes;
use crate::client::lossy;
use crate::client::retry::retry_after;
use crate::client::vault::VaultError;
use crate::client::{Client, WaitForLink};
use crate::ids::{ThingId, VendorThingId};
use crate::proto::RequestError;
use crate::thing_if::{Credential, ThingIdentity, media_type};

/// The share of the calls that may be in flight which the gateway's own calls for its nodes may have: a reconnect must leave
/// room for the program's.
const BACKGROUND_SHARE: usize = 4;
/// How long the store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handles, the router and the lanes share.
pub(super) struct Roster {
    pub(super) client: Client,
    /// How the gateway is named at onboarding, if not by its thing id.
    vendor_thing_id: Option<VendorThingId>,
    max_nodes: usize,
    max_calls: usize,
    owner: Mutex<Option<Owner>>,
    nodes: Mutex<BTreeMap<ThingId, Arc<Node>>>,
    /// A node has joined or left.
    pub(super) changed: Notify,
    store: Arc<dyn NodeStore>,
    /// Lets one change at a time at the store, so that what is stored last is what counts.
    storing: tokio::sync::Mutex<()>,
    /// Lets one onboarding at a time of nodes that are not here, so that none is made twice and no room is given twice.
    onboarding: tokio::sync::Mutex<()>,
    background: Arc<Semaphore>,
    events: lossy::Sender<GatewayEvent>,
    counters: Mutex<GatewayCounters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and every value of it is a valid one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Roster {
    pub(super) fn new(
        client: Client,
        (max_nodes, max_calls): (usize, usize),
        (vendor_thing_id, owner): (Option<VendorThingId>, Option<Owner>),
        store: Arc<dyn NodeStore>,
        events: lossy::Sender<GatewayEvent>,
    ) -> Self {
        let background = Arc::new(Semaphore::new((client.max_in_flight() / BACKGROUND_SHARE).max(1)));
        Self {
            client,
            vendor_thing_id,
            max_nodes,
            max_calls,
            owner: Mutex::new(owner),
            nodes: Mutex::default(),
            changed: Notify::new(),
            store,
            storing: tokio::sync::Mutex::default(),
            onboarding: tokio::sync::Mutex::default(),
            background,
            events,
            counters: Mutex::default(),
        }
    }

    /// The gateway, as the service names it.
    pub(super) fn own(&self) -> ThingId {
        self.credential().thing_id
    }

    /// What the gateway calls with, now: it may be onboarded again.
    pub(super) fn credential(&self) -> Credential {
        self.client.credential().expect("a gateway is opened when it has one")
    }

    pub(super) fn tell(&self, event: GatewayEvent) {
        trace(&event);
        self.events.send(event);
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut GatewayCounters)) {
        count(&mut lock(&self.counters));
    }

    pub(super) fn counters(&self) -> GatewayCounters {
        *lock(&self.counters)
    }

    pub(super) fn set_owner(&self, owner: Option<Owner>) {
        *lock(&self.owner) = owner;
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    pub(super) fn node(&self, thing: &ThingId) -> Option<Arc<Node>> {
        lock(&self.nodes).get(thing).cloned()
    }

    pub(super) fn node_of_vendor(&self, id: &VendorThingId) -> Option<Arc<Node>> {
        lock(&self.nodes).values().find(|node| node.vendor_thing_id == *id).cloned()
    }

    /// Takes up the nodes that are stored. Those of another gateway, such as this one before its thing was deleted and made
    /// again, stay where they are until they are onboarded here.
    pub(super) async fn restore(&self) -> Result<(), VaultError> {
        let stored = match in_time(self.store.load()).await {
            Ok(stored) => stored,
            Err(error) if error.is_misconfiguration() => return Err(error),
            Err(error) => {
                tracing::error!(error = with_causes(&error), "the stored end nodes cannot be read");
                return Ok(());
            }
        };
        let own = self.credential();
        for credential in stored {
            if (&credential.app_id, &credential.gateway) != (&own.app_id, &own.thing_id) {
                tracing::warn!(node = %credential.thing_id, "a stored end node belongs to another gateway");
            } else if let Err(error) = self.admit(credential, None) {
                tracing::warn!(%error, "a stored end node is left out");
            }
        }
        Ok(())
    }

    /// Puts a node in, or gives the one that is there its new token.
    fn admit(
        &self,
        credential: NodeCredential,
        onboarding: Option<NodeOnboarding>,
    ) -> Result<(Arc<Node>, Option<Arc<Node>>), NodeOnboardingError> {
        let mut nodes = lock(&self.nodes);
        if let Some(node) = nodes.get(&credential.thing_id) {
            node.renew(credential.access_token, credential.gateway);
            onboarding.into_iter().for_each(|onboarding| node.remember(onboarding));
            return Ok((node.clone(), None));
        }
        let (thing_id, vendor_thing_id) = (credential.thing_id.clone(), credential.vendor_thing_id.clone());
        let other = nodes.values().find(|node| node.vendor_thing_id == vendor_thing_id).cloned();
        if other.is_none() && nodes.len() >= self.max_nodes {
            return Err(NodeOnboardingError::TooManyNodes { max: self.max_nodes });
        }
        if let Some(other) = &other {
            nodes.remove(&other.thing_id);
            other.depart(Departure::Replaced);
        }
        let (client, background) = (self.client.clone(), self.background.clone());
        let node = Arc::new(Node::new(credential, onboarding, client, background, self.max_calls));
        nodes.insert(thing_id.clone(), node.clone());
        drop(nodes);
        if let Some(other) = &other {
            self.tell_departure(other, Departure::Replaced);
        }
        self.tell(GatewayEvent::Joined { node: thing_id, vendor_thing_id });
        self.changed.notify_one();
        Ok((node, other))
    }

    fn tell_departure(&self, node: &Node, why: Departure) {
        let (thing, vendor_thing_id) = (node.thing_id.clone(), node.vendor_thing_id.clone());
        self.tell(GatewayEvent::Left { node: thing, vendor_thing_id, why });
        self.changed.notify_one();
    }

    /// Takes a node out of everything, unless it was onboarded again since: what is `held_against` one generation
    /// of its token is nothing against the next. Only the service's word that it is not there, or not here, takes it out of
    /// the store as well: it may be of use again.
    pub(super) async fn depart(&self, node: &Arc<Node>, why: Departure, held_against: Option<u64>) {
        {
            let mut nodes = lock(&self.nodes);
            let is_other = held_against.is_some_and(|generation| generation != node.generation());
            if is_other || !node.depart(why) {
                return;
            }
            nodes.remove(&node.thing_id);
        }
        self.tell_departure(node, why);
        match why {
            Departure::Unpaired | Departure::Gone | Departure::Replaced => self.forget(&node.thing_id).await,
            Departure::TokenRefused | Departure::OtherGateway => {}
        }
    }

    /// Removes what is stored of a node that is not here.
    async fn forget(&self, thing: &ThingId) {
        let _turn = self.storing.lock().await;
        if self.node(thing).is_none()
            && let Err(error) = in_time(self.store.forget(thing)).await
        {
            self.tell(GatewayEvent::NotStored(thing.clone(), with_causes(&error)));
        }
    }

    /// Onboards a node with the owner's token, or does not when it is here and that is enough.
    pub(super) async fn onboard(
        &self,
        onboarding: &NodeOnboarding,
        unless_known: bool,
    ) -> Result<Arc<Node>, NodeOnboardingError> {
        loop {
            match self.node_of_vendor(onboarding.vendor_thing_id()) {
                Some(node) if unless_known && node.is_behind(&self.own()) => {
                    node.remember(onboarding.clone());
                    return Ok(node);
                }
                Some(node) => {
                    let _turn = node.onboarding_turn.lock().await;
                    // It may have left meanwhile.
                    if node.departure().is_none() {
                        return self.onboard_now(onboarding).await;
                    }
                }
                None => {
                    let _turn = self.onboarding.lock().await;
                    // It may have joined meanwhile.
                    if self.node_of_vendor(onboarding.vendor_thing_id()).is_none() {
                        if lock(&self.nodes).len() >= self.max_nodes {
                            return Err(NodeOnboardingError::TooManyNodes { max: self.max_nodes });
                        }
                        return self.onboard_now(onboarding).await;
                    }
                }
            }
        }
    }

    /// Onboards a node again for the gateway itself: many at once must leave room for the program's calls.
    pub(super) async fn onboard_in_turn(&self, node: &NodeOnboarding) -> Result<Arc<Node>, NodeOnboardingError> {
        // It is never closed.
        let _turn = self.background.acquire().await;
        self.onboard(node, false).await
    }

    async fn onboard_now(&self, onboarding: &NodeOnboarding) -> Result<Arc<Node>, NodeOnboardingError> {
        let owner = lock(&self.owner).clone().ok_or(NodeOnboardingError::NoOwner)?;
        let own = self.credential();
        let gateway = match &self.vendor_thing_id {
            Some(id) => ThingIdentity::VendorThing(id.clone()),
            None => ThingIdentity::Thing(own.thing_id.clone()),
        };
        let request = onboarding.request(&own.app_id, gateway, &owner);
        let answer = self.client.send(request).await.map_err(NodeOnboardingError::NoAnswer)?;
        let answer = read(&answer, &onboarding.secrets(&owner, &own.access_token))?;
        let credential = NodeCredential {
            app_id: own.app_id,
            gateway: own.thing_id,
            thing_id: answer.end_node_thing_id,
            vendor_thing_id: onboarding.vendor_thing_id().clone(),
            access_token: answer.access_token,
        };
        let turn = self.storing.lock().await;
        // Stored before it is used, so that whoever is cut off in between finds it at the next start.
        if let Err(error) = in_time(self.store.store(&credential)).await {
            self.tell(GatewayEvent::NotStored(credential.thing_id.clone(), with_causes(&error)));
        }
        let (node, replaced) = self.admit(credential, Some(onboarding.clone()))?;
        drop(turn);
        if let Some(replaced) = replaced {
            self.forget(&replaced.thing_id).await;
        }
        Ok(node)
    }

    /// Takes a node off the gateway, at the service and here. (`wire` §5)
    pub(super) async fn unpair(&self, thing: &ThingId) -> Result<(), NodeError> {
        let own = self.credential();
        let path = format!("/thing-if/apps/{}/things/{}/end-nodes/{thing}", own.app_id, own.thing_id);
        let request = super::request(Method::DELETE, &path, Bytes::new());
        let answer = self.client.send(request).await.map_err(NodeError::NoAnswer)?;
        let node = self.node(thing);
        // Somebody was faster: it is what was wanted. Unless it is behind the gateway that this one was.
        if !is_unpaired(&answer) || node.as_ref().is_some_and(|node| !node.is_behind(&own.thing_id)) {
            NodeError::check(&answer, &[text(&own.access_token)])?;
        }
        match node {
            Some(node) => self.depart(&node, Departure::Unpaired, None).await,
            None => self.forget(thing).await,
        }
        Ok(())
    }

    /// Tells the service whether a node is online. (`wire` §5)
    pub(super) async fn report_online(&self, node: &Node, online: bool) -> Result<Reported, RequestError> {
        // It is never closed.
        let _turn = self.background.acquire().await;
        let own = self.credential();
        let path =
            format!("/thing-if/apps/{}/things/{}/end-nodes/{}/connection", own.app_id, own.thing_id, node.thing_id);
        let body = if online { r#"{"online":true}"# } else { r#"{"online":false}"# };
        let mut request = super::request(Method::PUT, &path, body.into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
        request.extensions_mut().insert(WaitForLink);
        let answer = self.client.send(request).await?;
        let status = answer.status();
        Ok(match status {
            _ if status.is_success() => Reported::Taken,
            // It belongs to the gateway that this one was, and is to be onboarded again.
            _ if is_unpaired(&answer) && !node.is_behind(&own.thing_id) => Reported::NotNow(None),
            _ if is_unpaired(&answer) => Reported::Unpaired,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Reported::NotNow(retry_after(&answer)),
            // A gateway whose own token is refused gets another one.
            _ if status.is_client_error() && refusal(&answer).is_none() => Reported::Refused(status),
            // And a service in trouble recovers.
            _ => Reported::NotNow(retry_after(&answer)),
        })
    }
}

/// What became of a connection report.
pub(super) enum Reported {
    Taken,
    /// The node is not behind this gateway.
    Unpaired,
    Refused(StatusCode),
    /// It may be taken later; not before so long, if the service says so.
    NotNow(Option<Duration>),
}

async fn in_time<T>(work: impl Future<Output = Result<T, VaultError>>) -> Result<T, VaultError> {
    timeout(STORE_TIMEOUT, work).await.unwrap_or_else(|_| Err(VaultError::other("the store takes too long")))
}
