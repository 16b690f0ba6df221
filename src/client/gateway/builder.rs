//! How a gateway is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lane::Means;
use super::roster::Roster;
use super::routing::Actuators;
use super::{Gateway, GatewayEvents, MemoryNodeStore, NodeStore, Owner, Routing};
use crate::client::causes::with_causes;
use crate::client::commands::{Actuator, Journal, MemoryJournal, Rules, Tap};
use crate::client::vault::VaultError;
use crate::client::{Client, Push, lossy};
use crate::ids::VendorThingId;

/// Events kept for the reader.
const EVENT_QUEUE: usize = 1024;
/// The most nodes that a gateway may be allowed.
const MAX_NODES: usize = 1024;

/// How a gateway is made; see [`Gateway::builder`].
pub struct Builder {
    client: Client,
    actuators: Actuators,
    own_actuator: Option<Arc<dyn Actuator>>,
    journal: Arc<dyn Journal>,
    store: Arc<dyn NodeStore>,
    owner: Option<Owner>,
    vendor_thing_id: Option<VendorThingId>,
    tap: Option<Tap>,
    rules: Rules,
    max_nodes: usize,
    max_calls: usize,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("rules", &self.rules)
            .field("max_nodes", &self.max_nodes)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(client: Client, actuators: Actuators) -> Self {
        Self {
            client,
            actuators,
            own_actuator: None,
            journal: Arc::new(MemoryJournal::new()),
            store: Arc::new(MemoryNodeStore::new()),
            owner: None,
            vendor_thing_id: None,
            tap: None,
            rules: Rules::default(),
            max_nodes: 64,
            max_calls: 16,
        }
    }

    /// Where the credentials of nodes are kept. Default: [`MemoryNodeStore`], which forgets with the process.
    #[must_use]
    pub fn with_store(mut self, store: impl NodeStore) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// Whose nodes are onboarded; see [`Gateway::set_owner`]. Default: nobody's.
    #[must_use]
    pub fn with_owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The gateway is named by its maker's id when nodes are onboarded, instead of by its thing id. (`wire` §4)
    #[must_use]
    pub fn with_vendor_thing_id(mut self, id: VendorThingId) -> Self {
        self.vendor_thing_id = Some(id);
        self
    }

    /// What carries out the commands for the gateway itself. Without it they are [left alone](super::Unrouted::Own).
    #[must_use]
    pub fn with_own_actuator(mut self, actuator: impl Actuator) -> Self {
        self.own_actuator = Some(Arc::new(actuator));
        self
    }

    /// Where the commands of the gateway and all nodes are written down. Default: [`MemoryJournal`], which forgets with the
    /// process.
    #[must_use]
    pub fn with_journal(mut self, journal: impl Journal) -> Self {
        self.journal = Arc::new(journal);
        self
    }

    /// A command that is older is reported failed and not carried out. Default 60 s. As
    /// [for a single device](crate::client::commands::Builder::with_max_command_age).
    #[must_use]
    pub fn with_max_command_age(mut self, age: Duration) -> Self {
        self.rules.max_age = age;
        self
    }

    /// How many of a node's newest commands are looked at for missed ones. Default 200; at least 1.
    #[must_use]
    pub fn with_max_missed(mut self, count: usize) -> Self {
        self.rules.max_missed = count.max(1);
        self
    }

    /// How many commands may wait for their turn at each node, and how many to be routed; one more is dropped, reported, and
    /// found in the list later. Default 256; at least 1.
    #[must_use]
    pub fn with_max_waiting(mut self, count: usize) -> Self {
        self.rules.max_waiting = count.max(1);
        self
    }

    /// A command that had begun when the program ended is carried out again, as
    /// [for a single device](crate::client::commands::Builder::at_least_once). Default: at most once.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.rules.run_again = true;
        self
    }

    /// How many nodes there may be. Default 64; 1 to 1,024, values beyond are cut. A node costs a task and some kilobytes,
    /// two calls after each connect, and one call for each command that is pushed without a target.
    #[must_use]
    pub fn with_max_nodes(mut self, count: usize) -> Self {
        self.max_nodes = count.clamp(1, MAX_NODES);
        self
    }

    /// How many calls of the program's own for one node may be in flight; one more fails at once as
    /// [`NotSent::Overloaded`](crate::client::NotSent::Overloaded). Default 16; at least 1.
    #[must_use]
    pub fn with_max_calls(mut self, count: usize) -> Self {
        self.max_calls = count.max(1);
        self
    }

    /// `tap` sees every push first, commands included: the way to the pushes that are none.
    #[must_use]
    pub fn with_tap(mut self, tap: impl FnMut(&Push) + Send + 'static) -> Self {
        self.tap = Some(Box::new(tap));
        self
    }

    /// Takes up the nodes that are stored, and makes the gateway, what drives it, and what happens to it. Waits at most 10 s
    /// for the store, and for a client of [`start`](crate::client::start) until it is
    /// [onboarded](crate::client::Client::onboarded), so that its connection must be driven meanwhile: nodes are behind one thing.
    ///
    /// # Errors
    /// [`VaultError`] when the store is [set up wrongly](VaultError::is_misconfiguration), or the connection ended before the
    /// device was onboarded. A store that cannot be read for another reason is logged, and the gateway begins without nodes.
    pub async fn open(self) -> Result<(Gateway, Routing, GatewayEvents), VaultError> {
        if let Err(error) = self.client.onboarded().await {
            return Err(VaultError::other(format!("the gateway was not onboarded: {}", with_causes(&error))));
        }
        let (events, receiver) = lossy::queue(EVENT_QUEUE);
        let (limits, names) = ((self.max_nodes, self.max_calls), (self.vendor_thing_id, self.owner));
        let roster = Arc::new(Roster::new(self.client, limits, names, self.store, events));
        roster.restore().await?;
        let means = Means { roster: roster.clone(), journal: self.journal, rules: self.rules };
        let routing = Routing::new(means, self.actuators, self.own_actuator, self.tap);
        Ok((Gateway(roster), routing, GatewayEvents(receiver)))
    }
}
