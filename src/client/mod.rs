//! The device's end: `http` requests out, `http` responses and pushes in.
//!
//! [`connect`] onboards at the default broker if it must, moves to the assigned broker and returns three parts: a
//! [`Client`] to call with, [`Pushes`] to read, and the [`Connection`], whose `run` does the work and belongs in a task.
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use thingif::client::{self, Push};
//! use thingif::config::{Config, Identity};
//! use thingif::ids::{AppId, VendorThingId};
//! # use thingif::frame;
//! # use thingif::mqtt::Publish;
//! # use thingif::topic::Topic;
//! # use thingif::transport::memory::{self, FromDevice};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! # let (transport, mut broker) = memory::network();
//! # tokio::spawn(async move {
//! #     let onboarding = broker.accept().await.expect("the device connects");
//! #     assert!(onboarding.credentials().client_id.is_anonymous());
//! #     let mut link = onboarding.accept();
//! #     let Some(FromDevice::Publish(request)) = link.next().await else { panic!("expected the onboarding") };
//! #     link.publish(Publish::new(request.topic, concat!("200\r\n\r\n", r#"{"accessToken":"t","thingID":"th.1","#,
//! #         r#""mqttEndpoint":{"username":"u","password":"p","mqttTopic":"me","host":"h","portTCP":1883}}"#)))?;
//! #     let mut link = broker.accept().await.expect("the device moves on").accept();
//! #     let Some(FromDevice::Subscribe(filter)) = link.next().await else { panic!("expected a SUBSCRIBE") };
//! #     link.suback(filter, true)?;
//! #     link.publish(Publish::new(Topic::new("me").expect("valid"), "{\"commandID\":\"c\"}"))?;
//! #     let Some(FromDevice::Publish(call)) = link.next().await else { panic!("expected a call") };
//! #     let id = frame::request_id(&call.payload).expect("an id");
//! #     link.publish(Publish::new(call.topic, format!("204\r\nX-Kii-RequestID:{}\r\n\r\n", id.to_str().expect("text"))))?;
//! #     while link.next().await.is_some() {}
//! #     Ok::<(), thingif::mqtt::LinkError>(())
//! # });
//! let identity = Identity::vendor_thing(VendorThingId::new("thermostat-17")?, "its password".into());
//! let config = Config::new("mqtt://broker.example".parse()?, AppId::new("c1k9abcdef12")?, "app key".into(), identity)?;
//! let (client, mut pushes, connection) = client::connect(config, transport).await?;
//! let connection = tokio::spawn(connection.run());
//!
//! let thing = client.onboarded().await?.thing_id;
//! let states = format!("/thing-if/apps/c1k9abcdef12/targets/thing:{thing}/states");
//! let request = Request::put(states).header("Content-Type", "application/json").body(Bytes::from(r#"{"power":true}"#))?;
//! assert!(client.send(request).await?.status().is_success());
//!
//! if let Some(Push::Message(command)) = pushes.next().await {
//!     println!("{}", String::from_utf8_lossy(&command));
//! }
//! client.close().await;
//! connection.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Starting without waiting
//!
//! [`start`] returns the same three parts at once, before anything is connected. What is called early waits in the client
//! and leaves behind SUBSCRIBE, in the same flight: the first answer comes one round trip sooner than after [`connect`],
//! and the program can do something else meanwhile. On a device that was never onboarded, [`Client::onboarded`] waits for
//! the thing's id, which a call's path needs. Whoever wants to hear at once that the device cannot be connected takes
//! [`connect`].
//!
//! # What is built on it
//!
//! [`commands`] carries out what owners ask for, [`gateway`] speaks for end nodes that have no connection of their own,
//! [`outbox`] keeps uploads until they can be sent, [`retry`] makes calls again, [`vault`] keeps the credential.
//!
//! # What is bounded
//!
//! Calls ([`NotSent::Overloaded`]), pushes ([`Push::Lagged`]), notices ([`Notice::Lagged`]), frames
//! ([`NotSent::TooLarge`]), and every wait: each call has a deadline, and so has each step of connecting.
//!
//! # Time
//!
//! Everything here needs a tokio runtime with its clock enabled.

mod call;
pub(crate) mod causes;
pub mod commands;
mod connection;
pub mod gateway;
mod handle;
mod line_log;
mod links;
mod lossy;
pub mod outbox;
pub mod retry;
mod storing;
mod streams;
mod trace;
pub mod vault;

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant as Clock, timeout_at};

pub use connection::Connection;
pub use handle::{Client, TimeLimit, WaitForLink};
pub use streams::{Notices, Push, Pushes};

pub use crate::proto::{Cause, ConnectError, Counters, NotSent, Notice, OnboardingError, RequestError, SessionError};

use crate::config::Config;
use crate::proto::{Action, Event, EventKind, Instant, Lifecycle, LinkId, Onboarding};
use crate::thing_if::Credential;
use crate::transport::Transport;
use connection::{Status, Wiring};
use links::Links;
use storing::Storing;
use vault::{Vault, VaultKey};

/// Connects: onboards unless there is a credential to resume with, goes to the assigned broker, and returns once that
/// has granted the subscriptions. Dropping the future gives everything up. [`start`] does not wait.
///
/// # Errors
/// [`ConnectError`] after as many failed attempts as [`Config::with_connect_attempts`] allows, or at once when no
/// further attempt can help.
pub async fn connect(config: Config, transport: impl Transport) -> Result<(Client, Pushes, Connection), ConnectError> {
    ready(start(config, transport)?).await
}

/// Prepares what [`connect`] does and returns at once: nothing happens until [`Connection::run`] is driven, which then
/// onboards if it must, connects, and ends with what would have made [`connect`] fail.
///
/// Calls can be made at once. Until the connection is ready for the first time they wait in the client, each with its own
/// deadline, which runs, and together at most as many as [may be in flight](Config::with_max_in_flight); one more fails as
/// [`NotSent::Overloaded`]. As soon as the assigned broker's link takes packets, SUBSCRIBE leaves and they follow, in the
/// order in which they were made: before CONNACK with a transport that [can do that](Config::with_pipelined_connect), so
/// that the first answer comes with SUBACK, a round trip sooner than a call made after [`connect`]. (`wire` §1.3, §1.4) With
/// [`Config::with_response_filter`] they follow SUBACK, because an ordinary broker delivers no answer before. They end like any
/// other call. One that never left is [`RequestError::NotSent`]; one that was on its way when the broker refused the subscription or
/// the link was lost is [`RequestError::Disconnected`] and may have been processed. What follows a refused CONNECT was never
/// looked at, and waits for the next attempt.
///
/// A call's path needs the thing's id: [`Client::onboarded`] waits for it, on a device that has none yet. [`Notice::Ready`],
/// from [`Connection::notices`], says when pushes can arrive.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, StatusCode};
/// use thingif::client;
/// use thingif::config::Config;
/// use thingif::transport::Transport;
///
/// async fn first_state(config: Config, transport: impl Transport) -> Result<StatusCode, Box<dyn std::error::Error>> {
///     let (client, _pushes, connection) = client::start(config, transport)?;
///     let connection = tokio::spawn(connection.run());
///     let own = client.onboarded().await?;
///     let path = format!("/thing-if/apps/{}/targets/thing:{}/states", own.app_id, own.thing_id);
///     let state = Request::put(path).header("Content-Type", "application/json").body(Bytes::from(r#"{"power":true}"#))?;
///     let answer = client.send(state).await?;
///     client.close().await;
///     connection.await??;
///     Ok(answer.status())
/// }
/// ```
///
/// # Errors
/// [`ConnectError::Config`] when the transport cannot do what the configuration asks for, [`ConnectError::NoRandomness`].
pub fn start(config: Config, transport: impl Transport) -> Result<(Client, Pushes, Connection), ConnectError> {
    begin(config, transport, Storing::nowhere(), None)
}

/// As [`connect`], with a [`Vault`] that outlives the program: what it has under [`VaultKey::of`] the configuration is
/// resumed, and each new credential is stored there before the default broker is left. A device that lost its credential
/// onboards again by itself.
///
/// The vault's credential is newer than what the program may have kept elsewhere, so it is preferred to
/// [`Config::with_resume`], which counts only while the vault has none. A load and a store are each waited for at most
/// [the connect timeout](Config::with_connect_timeout); [`vault`] says what a failure means. The driver goes on while
/// something is stored, and closing waits for it as long.
///
/// # Errors
/// As [`connect`], and [`ConnectError::Vault`] at once, before anything is sent, when the vault is
/// [set up wrongly](vault::VaultError::is_misconfiguration).
pub async fn connect_with(
    config: Config,
    transport: impl Transport,
    vault: impl Vault,
) -> Result<(Client, Pushes, Connection), ConnectError> {
    ready(start_with(config, transport, vault).await?).await
}

/// As [`start`], with a [`Vault`] as [`connect_with`] has it. Waits for what the vault has, at most
/// [the connect timeout](Config::with_connect_timeout), and for nothing else.
///
/// # Errors
/// As [`start`], and [`ConnectError::Vault`] when the vault is [set up wrongly](vault::VaultError::is_misconfiguration).
pub async fn start_with(
    config: Config,
    transport: impl Transport,
    vault: impl Vault,
) -> Result<(Client, Pushes, Connection), ConnectError> {
    config.check_pins(transport.capabilities().spki_pins)?;
    let (vault, key): (Arc<dyn Vault>, _) = (Arc::new(vault), VaultKey::of(&config));
    let (config, failure) = storing::load(config, &*vault, &key).await?;
    let failure = failure.map(|reason| Notice::LoadFailed { reason });
    begin(config, transport, Storing::in_vault(vault, key), failure)
}

/// Drives what was begun until it is ready.
async fn ready(
    (client, pushes, mut connection): (Client, Pushes, Connection),
) -> Result<(Client, Pushes, Connection), ConnectError> {
    connection.until_ready().await?;
    Ok((client, pushes, connection))
}

fn begin(
    config: Config,
    transport: impl Transport,
    storing: Storing,
    first: Option<Notice>,
) -> Result<(Client, Pushes, Connection), ConnectError> {
    config.check_pins(transport.capabilities().spki_pins)?;
    let seed = seed(&config)?;
    let links = Links::owning(&config, transport);
    // As many as may be in flight: a driver that is behind is not a reason to refuse them.
    let (alive, commands) = mpsc::channel(config.max_in_flight());
    let (cancel, cancels) = mpsc::unbounded_channel();
    let (pushes, received) = lossy::queue(config.push_queue());
    let status = Arc::new(Status::default());
    let client = Client::new(&config, alive.clone(), cancel, status.clone());

    let origin = Clock::now();
    let lifecycle = Lifecycle::new(Instant::ORIGIN, config, seed);
    let wiring = Wiring { commands, cancels, pushes, status };
    let mut connection = Connection::new(lifecycle, origin, links, storing, wiring);
    first.into_iter().for_each(|notice| connection.tell(notice));
    Ok((client, Pushes::new(received, alive), connection))
}

/// Onboards and nothing more: one attempt at the default broker, whose answer is the credential to store. The assigned
/// broker is not connected to, and [`Config::with_resume`] is not looked at.
///
/// # Errors
/// [`ConnectError::Onboarding`] says what failed.
pub async fn onboard(config: &Config, transport: &impl Transport) -> Result<Credential, ConnectError> {
    onboard_once(config, transport, Storing::nowhere()).await
}

/// As [`onboard`], and stores the credential in `vault` before the default broker is left. What the vault has already is
/// not looked at.
///
/// # Errors
/// As [`onboard`], and [`ConnectError::Vault`] when nothing could be stored. The thing exists then; onboarding again is
/// harmless. (`wire` §7)
pub async fn onboard_with(
    config: &Config,
    transport: &impl Transport,
    vault: impl Vault,
) -> Result<Credential, ConnectError> {
    onboard_once(config, transport, Storing::in_vault(Arc::new(vault), VaultKey::of(config))).await
}

async fn onboard_once(
    config: &Config,
    transport: &impl Transport,
    mut storing: Storing,
) -> Result<Credential, ConnectError> {
    config.check_pins(transport.capabilities().spki_pins)?;
    let origin = Clock::now();
    let now = || Instant::from_origin(origin.elapsed());
    let mut links = Links::borrowing(config, transport);
    let mut machine = Onboarding::new(now(), LinkId(1), config, seed(config)?);
    let mut not_stored = None;
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Connect { link, endpoint, credentials, pipeline } => {
                    links.connect(link, endpoint, credentials, pipeline);
                }
                Action::Subscribe { link, filter } => links.subscribe(link, filter),
                Action::Publish { link, call, publish } => links.publish(link, call, publish),
                Action::Disconnect { link } => links.disconnect(link),
                Action::Abort { link } => links.abort(link),
                Action::Store { link, credential } => storing.begin(link, credential),
                Action::Notice(notice) => {
                    trace::notice(&notice);
                    if let Notice::StoreFailed { reason } = notice {
                        not_stored = Some(reason);
                    }
                }
                // These belong to sessions.
                Action::Resolve { .. } | Action::Push(_) | Action::Closed(_) => {}
            }
        }
        let Some(deadline) = machine.next_deadline() else { break };
        let event = async {
            tokio::select! {
                event = links.next_event() => event,
                (link, stored) = poll_fn(|cx| storing.poll_stored(cx)) => Event { link, kind: EventKind::Stored(stored) },
            }
        };
        match timeout_at(origin + deadline.since_origin(), event).await {
            Ok(event) => machine.handle_event(now(), event),
            Err(_) => machine.handle_timeout(now()),
        }
    }
    links.finish().await;
    let credential = machine.into_outcome().unwrap_or(Err(OnboardingError::Closed))?;
    not_stored.map_or(Ok(credential), |reason| Err(ConnectError::Vault(reason)))
}

fn seed(config: &Config) -> Result<u64, ConnectError> {
    match config.seed() {
        Some(seed) => Ok(seed),
        None => getrandom::u64().map_err(|error| ConnectError::NoRandomness(error.to_string())),
    }
}
