//! What is known of one end node, for everybody who works for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use tokio::sync::{Notify, Semaphore};

use super::refusal::{Refusal, refusal};
use super::{Departure, NodeCredential, NodeOnboarding};
use crate::client::Client;
use crate::client::commands::Caller;
use crate::ids::{AccessToken, AppId, ThingId, VendorThingId};
use crate::proto::{NotSent, RequestError};
use crate::secret::Secret;
use crate::transport::BoxFuture;

type Reply = Result<Response<Bytes>, RequestError>;

/// One end node.
pub(super) struct Node {
    pub(super) app_id: AppId,
    pub(super) thing_id: ThingId,
    pub(super) vendor_thing_id: VendorThingId,
    client: Client,
    /// The gateway's own calls for all its nodes: a reconnect must not fill the connection with them.
    background: Arc<Semaphore>,
    /// The program's calls for this node: one that is called too often takes nothing from the others.
    calls: Arc<Semaphore>,
    /// Lets one onboarding of it at a time.
    pub(super) onboarding_turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// The service has refused the token or the node.
    pub(super) doubt_raised: Notify,
    /// The gateway is another thing than when the node was onboarded.
    pub(super) left_behind: Notify,
    /// There is another token.
    pub(super) renewed: Notify,
    /// There is something to report of its connection.
    pub(super) presence_changed: Notify,
}

struct State {
    token: Secret<AccessToken>,
    /// The gateway behind which it was onboarded.
    gateway: ThingId,
    /// How often the token was replaced.
    generation: u64,
    is_doubted: bool,
    /// What it takes to onboard it again.
    onboarding: Option<NodeOnboarding>,
    presence: Presence,
    departure: Option<Departure>,
}

/// What the service is to know of the node's connection.
#[derive(Debug, Default)]
struct Presence {
    wanted: Option<bool>,
    /// Counts what there was to report.
    version: u64,
    /// The newest version that needs no report any more.
    settled: u64,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndNode")
            .field("thing_id", &self.thing_id)
            .field("vendor_thing_id", &self.vendor_thing_id)
            .field("departure", &self.departure())
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(
        credential: NodeCredential,
        onboarding: Option<NodeOnboarding>,
        client: Client,
        background: Arc<Semaphore>,
        max_calls: usize,
    ) -> Self {
        Self {
            app_id: credential.app_id,
            thing_id: credential.thing_id,
            vendor_thing_id: credential.vendor_thing_id,
            client,
            background,
            calls: Arc::new(Semaphore::new(max_calls)),
            onboarding_turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                token: credential.access_token,
                gateway: credential.gateway,
                generation: 0,
                is_doubted: false,
                onboarding,
                presence: Presence::default(),
                departure: None,
            }),
            doubt_raised: Notify::new(),
            left_behind: Notify::new(),
            renewed: Notify::new(),
            presence_changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and every value of it is a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn access_token(&self) -> Secret<AccessToken> {
        self.state().token.clone()
    }

    pub(super) fn departure(&self) -> Option<Departure> {
        self.state().departure
    }

    /// It leaves; `false` when it has left before.
    pub(super) fn depart(&self, why: Departure) -> bool {
        let mut state = self.state();
        let is_first = state.departure.is_none();
        state.departure.get_or_insert(why);
        is_first
    }

    pub(super) fn onboarding(&self) -> Option<NodeOnboarding> {
        self.state().onboarding.clone()
    }

    pub(super) fn remember(&self, onboarding: NodeOnboarding) {
        self.state().onboarding = Some(onboarding);
    }

    /// Replaces the token. What was said against the old one does not count any more, and what was reported to another
    /// gateway must be reported to this one.
    pub(super) fn renew(&self, token: Secret<AccessToken>, gateway: ThingId) {
        let mut state = self.state();
        state.token = token;
        state.generation += 1;
        state.is_doubted = false;
        let is_other = state.gateway != gateway;
        state.gateway = gateway;
        drop(state);
        self.renewed.notify_one();
        if is_other {
            self.repeat_presence();
        }
    }

    /// Whether it was onboarded behind this gateway.
    pub(super) fn is_behind(&self, gateway: &ThingId) -> bool {
        self.state().gateway == *gateway
    }

    /// How often the token was replaced.
    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.state().is_doubted
    }

    /// The service was asked once more, or long enough ago.
    pub(super) fn believe(&self) {
        self.state().is_doubted = false;
    }

    pub(super) fn set_online(&self, online: bool) {
        let mut state = self.state();
        if state.presence.wanted != Some(online) {
            state.presence.wanted = Some(online);
            state.presence.version += 1;
            drop(state);
            self.presence_changed.notify_one();
        }
    }

    pub(super) fn online(&self) -> Option<bool> {
        self.state().presence.wanted
    }

    /// The service may have missed what it was told.
    pub(super) fn repeat_presence(&self) {
        self.state().presence.version += 1;
        self.presence_changed.notify_one();
    }

    /// What there is to report, with its version.
    pub(super) fn unreported(&self) -> Option<(bool, u64)> {
        let state = self.state();
        let Presence { wanted, version, settled } = state.presence;
        wanted.filter(|_| settled < version).map(|online| (online, version))
    }

    /// This version needs no report any more.
    pub(super) fn settle_presence(&self, version: u64) {
        let mut state = self.state();
        state.presence.settled = state.presence.settled.max(version);
    }

    /// Adds the node's token, unless the request has an Authorization; with the token's generation if it was added.
    fn authorized(&self, mut request: Request<Bytes>) -> Result<(Request<Bytes>, Option<u64>), NotSent> {
        let state = self.state();
        if state.departure.is_some() {
            return Err(NotSent::Closed);
        }
        if request.headers().contains_key(AUTHORIZATION) {
            return Ok((request, None));
        }
        request.headers_mut().insert(AUTHORIZATION, super::bearer(&state.token));
        Ok((request, Some(state.generation)))
    }

    /// Looks at an answer to a call with the token of this generation.
    fn judge(&self, generation: Option<u64>, reply: &Reply) {
        let (Some(generation), Ok(answer)) = (generation, reply) else { return };
        let mut state = self.state();
        let is_new = state.generation == generation && !state.is_doubted && state.departure.is_none();
        if is_new && refusal(answer).is_some() {
            state.is_doubted = true;
            drop(state);
            self.doubt_raised.notify_one();
        }
    }

    /// A call of the program's own, on its way before the future is polled.
    pub(super) fn call(self: &Arc<Self>, request: Request<Bytes>) -> BoxFuture<'static, Reply> {
        let begun = self.authorized(request).and_then(|(request, generation)| {
            let permit = self.calls.clone().try_acquire_owned().map_err(|_| NotSent::Overloaded)?;
            Ok((tower_service::Service::call(&mut self.client.clone(), request), generation, permit))
        });
        let node = self.clone();
        Box::pin(async move {
            let (call, generation, _permit) = begun?;
            let reply = call.await;
            node.judge(generation, &reply);
            reply
        })
    }

    /// Makes a call for the gateway itself, in its turn, and says what is held against the node, if anything is.
    pub(super) async fn ask(&self, request: Request<Bytes>) -> (Reply, Option<Refusal>) {
        let reply = self.in_turn(request).await;
        let held_against = match &reply {
            (Ok(answer), Some(_)) => refusal(answer),
            _ => None,
        };
        (reply.0, held_against)
    }

    async fn in_turn(&self, request: Request<Bytes>) -> (Reply, Option<u64>) {
        // It is never closed.
        let Ok(_turn) = self.background.acquire().await else { return (Err(NotSent::Closed.into()), None) };
        match self.authorized(request) {
            Ok((request, generation)) => (self.client.send(request).await, generation),
            Err(reason) => (Err(reason.into()), None),
        }
    }
}

/// A node that asks about its commands.
pub(super) struct NodeCaller(pub(super) Arc<Node>);

impl Caller for NodeCaller {
    fn own(&self) -> (AppId, ThingId) {
        (self.0.app_id.clone(), self.0.thing_id.clone())
    }

    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Reply> {
        let node = self.0.clone();
        Box::pin(async move {
            let (reply, generation) = node.in_turn(request).await;
            node.judge(generation, &reply);
            reply
        })
    }
}
