//! The self-hosted Thing-IF cloud: an axum [`Router`](axum::Router) over a durable store.
//!
//! One implementation, served twice: over HTTP to apps ([`http::serve`]) and over MQTT to devices
//! ([`Cloud::service`] behind [`edge`](crate::edge)). The cloud is also the edge's [`Directory`](crate::edge::Directory),
//! and it pushes commands, events and messages through a [`Pusher`].
//!
//! A program that was written for Kii runs against it with another site: `https://HOST/api` for Kii Cloud's SDKs, `https://HOST`
//! for Thing-IF's, HOST as the default broker of a device. Every operation of (`wire` §4, §5) is here, those below `/thing-if/` on
//! both roads. Not built are groups, access lists that can be changed, bodies of objects, the administration of traits,
//! server code and the status of users; their paths say so. (`wire` §8)
//!
//! ```
//! use std::sync::Arc;
//! use thingif::cloud::{Cloud, Options};
//! # use thingif::edge::{Pusher, PushOutcome};
//! # struct Nobody;
//! # type Later<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
//! # impl Pusher for Nobody {
//! #     fn push<'a>(&'a self, _: &'a thingif::ids::ClientId, _: bytes::Bytes) -> Later<'a, PushOutcome> {
//! #         Box::pin(async { PushOutcome::NotConnected })
//! #     }
//! #     fn claim<'a>(&'a self, _: &'a thingif::ids::ClientId, _: u64) -> Later<'a, ()> { Box::pin(async {}) }
//! #     fn disconnect<'a>(&'a self, _: &'a thingif::ids::ClientId) -> Later<'a, ()> { Box::pin(async {}) }
//! # }
//! # let pusher = Nobody;
//! let mut options = Options::default();
//! options.apps = vec![("c1k9abcdef12".parse()?, "0123456789abcdef0123456789abcdef".into())];
//! let cloud = Cloud::open(options, Arc::new(pusher))?;
//! let router: axum::Router = cloud.router();
//! # let _ = router;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod apps;
mod backup;
mod bucket_query;
mod call;
mod caller;
mod clause;
mod command;
mod cross_origin;
mod data_directory;
mod delivery;
mod directory;
mod distribution;
mod endpoint_key;
mod failure;
mod fan_out;
mod health;
pub mod http;
mod id_page;
mod identifiers;
mod nesting;
mod object;
mod operations;
mod operator;
mod options;
mod page;
mod password;
mod rest;
mod run;
mod service;
mod state_change;
mod state_query;
mod state_write;
mod store;
mod thing_state;
mod throttle;
mod token;
mod triggers;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};

pub use apps::{AdminClient, App, CreateAppError, CreatedApp};
pub use backup::{Backup, BackupError, backup};
pub use distribution::Distribution;
pub use fan_out::Pushes;
pub use health::Unhealthy;
pub use operations::{Operation, Road};
pub use operator::{ListError, ListedThing};
pub use options::{Advertise, AllowedOrigins, Clock, Location, OpenError, Options, PasswordCost, StateHistory};
pub use service::CloudService;
pub use store::{Commits, Queued};
pub use throttle::Logins;
pub use triggers::TriggerCounts;

use crate::edge::Pusher;
use crate::ids::{AppId, CommandId};
use crate::secret::Secret;
use crate::thing_if::MqttEndpoint;
use apps::Apps;
use data_directory::DataDirectory;
use endpoint_key::EndpointKey;
use fan_out::FanOut;
use identifiers::Identifiers;
use operations::Operations;
use password::Passwords;
use store::installations::Installation;
use store::{Bounds, SqliteStore, Store};
use throttle::{Attempt, Name, Throttle};

/// Seconds for which an endpoint is valid: for ever, as Kii says it. (`wire` §7)
const TTL: i64 = 2_147_483_647;

/// A Thing-IF cloud. Cheap to clone; all clones are the same cloud.
///
/// Every write is answered after it is durable: a write-ahead log is synced before, once for all requests that arrived
/// meanwhile. Call [`close`](Cloud::close) to end it in order; nothing that was answered is lost without.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    store: Box<dyn Store>,
    apps: Apps,
    accept_any_app_key: bool,
    name_push_target: bool,
    advertise: Advertise,
    allowed_origins: AllowedOrigins,
    /// In milliseconds.
    endpoint_preparation: i64,
    max_body: usize,
    state_history: StateHistory,
    clock: Clock,
    identifiers: Identifiers,
    passwords: Passwords,
    throttle: Option<Throttle>,
    endpoint_key: EndpointKey,
    pusher: Arc<dyn Pusher>,
    unrecorded: Arc<Semaphore>,
    command_retention: Duration,
    closing: watch::Sender<bool>,
    fan_out: FanOut,
    object_queries: Semaphore,
    max_triggers: i64,
    trigger_firings_per_minute: i64,
    trigger_counters: triggers::Counters,
    schedule_changed: Notify,
    operations: Operations,
}

impl Cloud {
    /// Opens the store, and with it the cloud. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    pub fn open(options: Options, pusher: Arc<dyn Pusher>) -> Result<Self, OpenError> {
        check("max_body", options.max_body, 1_024..=16 << 20)?;
        check("store_queue", options.store_queue, 1..=1 << 20)?;
        check("max_triggers", options.max_triggers.into(), 1..=10_000)?;
        check("trigger_firings_per_minute", options.trigger_firings_per_minute.into(), 1..=6_000)?;
        check("writes_per_commit", options.writes_per_commit, 1..=4_096)?;
        cross_origin::check(&options.allowed_origins)?;
        let endpoint_preparation = match i64::try_from(options.endpoint_preparation.as_millis()) {
            Ok(millis @ 0..=60_000) => millis,
            _ => return Err(OpenError::Option { name: "endpoint_preparation", problem: "is longer than 60 s".into() }),
        };
        if options.command_retention < Duration::from_secs(60) {
            return Err(OpenError::Option { name: "command_retention", problem: "is less than a minute".to_owned() });
        }
        check("state_history.states", options.state_history.states as usize, 0..=1_000_000)?;
        check("state_history.days", options.state_history.days as usize, 1..=36_500)?;
        let identifiers = Identifiers::new()?;
        let passwords = Passwords::new(options.password_cost)?;
        let now = options.clock.millis();
        let bounds = Bounds { queue: options.store_queue, writes_per_commit: options.writes_per_commit };
        let (store, endpoint_key): (Box<dyn Store>, _) = match &options.store {
            Location::Memory => (Box::new(SqliteStore::in_memory(bounds, now)?), EndpointKey::generate()),
            Location::Dir(path) => {
                let directory = DataDirectory::claim(path)?;
                let key = EndpointKey::load(&directory, SqliteStore::exists_in(&directory))?;
                (Box::new(SqliteStore::in_directory(directory, bounds, now)?), key)
            }
        };
        let apps = Apps::load(&options, &*store)?;
        Ok(Self(Arc::new(Inner {
            store,
            apps,
            accept_any_app_key: options.accept_any_app_key,
            name_push_target: options.name_push_target,
            advertise: options.advertise,
            allowed_origins: options.allowed_origins,
            endpoint_preparation,
            max_body: options.max_body,
            state_history: options.state_history,
            clock: options.clock,
            identifiers,
            passwords,
            throttle: options.throttle_logins.then(Throttle::default),
            endpoint_key,
            pusher,
            unrecorded: Arc::new(Semaphore::new(delivery::MAX_UNRECORDED as usize)),
            command_retention: options.command_retention,
            closing: watch::Sender::new(false),
            fan_out: FanOut::default(),
            object_queries: Semaphore::new(rest::OBJECT_QUERIES),
            max_triggers: options.max_triggers.into(),
            trigger_firings_per_minute: options.trigger_firings_per_minute.into(),
            trigger_counters: triggers::Counters::default(),
            schedule_changed: Notify::new(),
            operations: Operations::default(),
        })))
    }

    /// The REST surface as a router, for [`http::serve`] and for tests. It answers web pages of
    /// [`Options::allowed_origins`], preflights included.
    pub fn router(&self) -> axum::Router {
        rest::router(self.clone()).layer(cross_origin::layer(&self.0.allowed_origins))
    }

    /// The REST surface as a service for an edge.
    pub fn service(&self) -> CloudService {
        CloudService::new(rest::router(self.clone()))
    }

    /// How many writes have shared how many commits: the measure of what group commit saves.
    pub fn commits(&self) -> Commits {
        self.store().commits()
    }

    /// How many writes each commit had, since the cloud was opened.
    pub fn batches(&self) -> Distribution {
        self.store().batches()
    }

    /// How many jobs wait for the store now; [`Options::store_queue`] is the most.
    pub fn queued(&self) -> Queued {
        self.store().queued()
    }

    /// Ends the cloud: outcomes of pushes are recorded, queued writes are executed and made durable, the store is
    /// closed. Requests that come later are answered 503. Stop serving first.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        self.0.fan_out.close();
        // Never returned: nothing is pushed any more. An error says that another `close` has them.
        if let Ok(all) = self.unrecorded().acquire_many_owned(delivery::MAX_UNRECORDED).await {
            all.forget();
            self.0.unrecorded.close();
        }
        let cloud = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || cloud.0.store.close()).await {
            tracing::error!(%error, "the store did not close");
        }
    }

    /// How many logins failed and were delayed. All zero without [`Options::throttle_logins`].
    pub fn logins(&self) -> Logins {
        self.0.throttle.as_ref().map(Throttle::logins).unwrap_or_default()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(crate) fn endpoint_key(&self) -> &EndpointKey {
        &self.0.endpoint_key
    }

    pub(crate) fn pusher(&self) -> &dyn Pusher {
        &*self.0.pusher
    }

    fn fan_out(&self) -> &FanOut {
        &self.0.fan_out
    }

    pub(crate) fn unrecorded(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.unrecorded)
    }

    /// In milliseconds.
    pub(crate) fn endpoint_preparation(&self) -> i64 {
        self.0.endpoint_preparation
    }

    /// What became of triggers since the cloud was opened.
    pub fn trigger_counts(&self) -> TriggerCounts {
        self.0.trigger_counters.read()
    }

    pub(crate) fn trigger_counters(&self) -> &triggers::Counters {
        &self.0.trigger_counters
    }

    pub(crate) fn max_triggers(&self) -> i64 {
        self.0.max_triggers
    }

    pub(crate) fn trigger_firings_per_minute(&self) -> i64 {
        self.0.trigger_firings_per_minute
    }

    /// Tells [`run`](Cloud::run) that another schedule may be the next.
    pub(crate) fn schedule_changed(&self) {
        self.0.schedule_changed.notify_one();
    }

    pub(crate) fn max_body(&self) -> usize {
        self.0.max_body
    }

    pub(crate) fn state_history(&self) -> StateHistory {
        self.0.state_history
    }

    pub(crate) fn has_app(&self, app: &AppId) -> bool {
        self.0.apps.contains(app)
    }

    pub(crate) fn app_key(&self, app: &AppId) -> Option<Secret<String>> {
        self.0.apps.key(app)
    }

    pub(crate) fn accepts_any_app_key(&self) -> bool {
        self.0.accept_any_app_key
    }

    pub(crate) fn names_push_target(&self) -> bool {
        self.0.name_push_target
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.0.clock.millis()
    }

    pub(crate) fn new_command_id(&self) -> CommandId {
        self.0.identifiers.command_id(self.0.clock.now())
    }

    /// Waits as long as failures before this login make it wait, less what the request has `waited` already, and begins
    /// it.
    pub(crate) async fn begin_login(&self, remote: Option<IpAddr>, name: Option<Name>, waited: Duration) -> Attempt {
        let attempt = match &self.0.throttle {
            Some(throttle) => throttle.begin(remote, name, self.now()),
            None => Attempt::unthrottled(),
        };
        let delay = attempt.delay().saturating_sub(waited);
        if !delay.is_zero() {
            tracing::info!(remote = remote.map(tracing::field::display), delay_ms = delay.as_millis(), "login delayed");
            tokio::time::sleep(delay).await;
        }
        attempt
    }

    /// What is said of the assigned broker to whoever was accepted at `local`.
    pub(crate) fn endpoint(&self, installation: &Installation, local: Option<IpAddr>) -> MqttEndpoint {
        let advertise = &self.0.advertise;
        let accepted = || local.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical().to_string();
        MqttEndpoint {
            installation_id: installation.installation_id.clone(),
            username: installation.username.clone(),
            password: self.0.endpoint_key.password(installation),
            mqtt_topic: installation.mqtt_topic.clone(),
            host: advertise.host.clone().unwrap_or_else(accepted),
            port_tcp: advertise.tcp,
            port_ssl: advertise.ssl,
            port_ws: advertise.ws,
            port_wss: advertise.wss,
            ttl: Some(TTL),
        }
    }
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("apps", &self.0.apps.ids()).finish_non_exhaustive()
    }
}

fn check(name: &'static str, value: usize, range: std::ops::RangeInclusive<usize>) -> Result<(), OpenError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(OpenError::Option { name, problem: format!("is {value}, not within {} to {}", range.start(), range.end()) })
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Cloud::open has seen the operating system give random numbers");
    bytes
}
