//! MQTT over TCP, TLS, WebSocket and WebSocket over TLS, on the Paho C library.
//!
//! The feature `paho` has all four; `paho-tcp` is the same without OpenSSL, and then `mqtts` and `wss` fail with `Config`.
//!
//! [`Paho`] is a [`Transport`]; each link has a paho client of its own. Paho's own reconnecting is off, MQTT 3.1.1 and a
//! clean session are forced, nothing is persisted, and messages on topics that were never subscribed to arrive.
//!
//! # What it costs
//! Three threads for the whole process, however many links there are (`paho`, which owns every client, and the
//! library's own two), and some 10 KiB a link. Each connect shows at the broker as two TCP connections: the first only
//! finds out whether anybody listens, because the library uses a whole processor while nobody answers. That is one round
//! trip for each connect, besides the one that CONNACK is waited for: a call made early, after
//! [`client::start`](crate::client::start), is answered after 4 round trips over TCP and 5 over TLS 1.3 with a stored credential, and
//! after twice as many on a device that must be onboarded first. Over TLS the
//! library reads the authorities anew for each connect: the system's cost OpenSSL 3.0 about 100 ms, a
//! [`Tls::ca_file`] with one authority 1 ms.
//!
//! # Through a proxy
//! With [`Options::proxy`], every broker is reached through an HTTP CONNECT tunnel, on all four schemes; TLS is spoken with the
//! broker, through it. The proxy resolves the broker's name. The tunnel is made before the library hears of it, and ends in a
//! loopback listener of this process, there for one connection that knows a secret word: one more thread for the process, four more descriptors a link,
//! and two more copies of each byte. `LinkErrorKind::Proxy` is a proxy that is not there or does not want to, `Tcp` with the
//! proxy's status one that cannot reach the broker. The library's own way to a proxy is not used: it would wait for the proxy
//! with its global lock held. The environment is never asked; where `PAHO_C_CLIENT_USE_HTTP_PROXY=TRUE` would make the library
//! take a proxy from there, connecting fails with `Config`.
//!
//! # What it cannot do
//! - It cannot check SPKI pins: the library shows nobody the broker's certificate. With pins, connecting fails with `Config`
//!   before anything is sent.
//! - **A PUBLISH whose topic is not UTF-8 or has a NUL aborts the process**, inside paho's wrapper, where nothing can
//!   catch it. Whoever can write into the connection can do that, so use TLS. The packet code of this crate refuses
//!   such a packet; [`Transport`] is the place for a link without the C library.
//! - **A WebSocket message that ends in the middle of a packet, and then the connection's end**, may leave the link standing
//!   for ever: nothing is reported, not even by the keep-alive, or the process is aborted by what is taken for a topic. A
//!   session notices it by its calls ([`SessionError::Unanswered`](crate::proto::SessionError::Unanswered)).
//! - What a WebSocket connection left behind when it was cut within a message disturbs the next ones: some connects fail,
//!   six in a row were seen, and then it works again.
//! - While a WebSocket upgrade waits for the peer's answer, nothing is received on any other link of the process.
//! - The library allocates what a broker announces, up to 256 MiB, before [`ConnectOptions::max_payload`] can end the
//!   link.
//! - Over TLS and WebSocket the library resolves the host name once more by itself, under its global lock, right after
//!   it was resolved here. If the name server falls silent in that moment, all links of the process stand still for as
//!   long as the resolver waits. Tokio's threads do not.
//! - A connect that was given up cannot be broken off. It is ended when the broker answers or its time has passed, at
//!   most 4 s after its own timeout; nothing is sent in it after CONNECT but DISCONNECT.
//! - The library may charge one connection's failure to another that begins in the same moment. A connect that fails so
//!   is tried again, at most twice; a WebSocket upgrade that really is refused looks the same and is tried three times.
//! - On anything but Linux, and in a program that used paho itself before the first [`Paho::new`], one of the library's
//!   sockets keeps blocking. Connects and closes are then let in at 500 a second at most; some 250 links that a broker
//!   closes in the same instant could still stop all of paho.
//! - Dropping a link sends DISCONNECT, as the library does that by itself.
//! - Why a connection was lost is not told. Silence of the length that the keep-alive makes is reported as `KeepAlive`,
//!   everything else as `Closed`.
//!
//! # Logs
//! Paho's wrapper logs passwords and payloads at DEBUG, under the target `paho_mqtt`. While it is about to, DEBUG is
//! switched off for it, whatever logger is installed and however it is filtered, and the C library's trace is switched
//! off even if the environment asks for it (`MQTT_C_CLIENT_TRACE`). Two ways remain in which a secret could be logged: a
//! logger that writes records it has said not to be interested in, and another part of the program that raises the `log`
//! crate's level in that very microsecond. A filter `paho_mqtt=warn` closes both.

mod client;
mod failure;
mod guard;
mod inbox;
mod link;
mod relay;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::client::Refusal;
use self::guard::Guard;
use self::inbox::{Bounds, Inbox};
use self::link::PahoLink;
use self::relay::Relay;
use self::settings::Settings;

use super::{BoxFuture, ConnectOptions, Link, Transport, dial, refuse_pins, tunnel};
pub use super::{InvalidProxy, Proxy, ProxyLogin, Tls};
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind};

/// A longer time to connect is cut to this: paho counts milliseconds in 32 bits.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How often a connect is tried when it fails in the way that another client's failure can cause.
const TRIES: usize = 3;

type Answer = Result<PahoLink, Refusal>;

/// What [`Paho`] can be told; the same for all its links.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Certificates, for `mqtts` and `wss`.
    pub tls: Tls,
    /// The HTTP proxy through which all brokers are reached, on every scheme. Default none: the environment is never asked.
    pub proxy: Option<Proxy>,
    /// Messages of a link that wait for paho to take them; beyond, `publish` answers `Overloaded`. Paho itself queues
    /// 10,000 more. At least 1, default 1,000. Costs the messages' memory, only while they wait.
    pub max_outgoing: usize,
    /// Messages of a link that have arrived and were not fetched by `poll_event`; one more ends the link with
    /// `Overloaded`. At least 1, default 10,000.
    pub max_incoming: usize,
    /// The same in bytes of payload, but one message may wait whatever its size. Default 16 MiB.
    pub max_incoming_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: Tls::default(),
            proxy: None,
            max_outgoing: 1_000,
            max_incoming: 10_000,
            max_incoming_bytes: 16 * 1024 * 1024,
        }
    }
}

/// The transport on the Paho C library; see the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Paho {
    options: Arc<Options>,
}

impl Paho {
    /// Checks the options and, the first time in the process, starts the thread that owns paho's clients.
    ///
    /// # Errors
    /// `Config`: a file of [`Tls`] cannot be read or holds no PEM of the right kind, the proxy has an impossible host or
    /// login, a bound is 0, or the thread cannot be started.
    pub fn new(options: Options) -> Result<Self, LinkError> {
        options.tls.check_files()?;
        if let Some(Err(error)) = options.proxy.as_ref().map(Proxy::check) {
            return Err(LinkError::new(LinkErrorKind::Config, error.to_string()));
        }
        if options.max_outgoing == 0 || options.max_incoming == 0 {
            return Err(LinkError::new(LinkErrorKind::Config, "max_outgoing and max_incoming must be at least 1"));
        }
        Guard::get()?;
        Ok(Self { options: Arc::new(options) })
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
        options: &ConnectOptions,
    ) -> Result<Box<dyn Link>, LinkError> {
        refuse_pins(options)?;
        if endpoint.scheme.is_tls() && !cfg!(feature = "paho") {
            return Err(LinkError::new(LinkErrorKind::Config, "this program was built without TLS (feature paho)"));
        }
        settings::check(endpoint, credentials)?;
        settings::check_environment(self.options.proxy.as_ref())?;
        let deadline = Instant::now() + options.timeout.min(LONGEST);
        let late = |stage: &str| LinkError::new(LinkErrorKind::ConnectTimedOut, stage);
        let address = match self.options.proxy {
            None => {
                let probed = timeout_at(deadline, probe(endpoint)).await;
                Some(probed.map_err(|_| late("the host name was not resolved or TCP not answered"))??)
            }
            // Whether the broker is there, the proxy finds out.
            Some(_) => None,
        };
        let keep_alive = settings::keep_alive(options.detect_dead_peer);
        let bounds = Bounds {
            messages: self.options.max_incoming,
            bytes: self.options.max_incoming_bytes,
            payload: options.max_payload,
            keep_alive,
        };
        let mut tries = 1;
        loop {
            let relay = match &self.options.proxy {
                None => None,
                Some(proxy) => {
                    let tunnel = timeout_at(deadline, tunnel::open(proxy, endpoint)).await;
                    let tunnel = tunnel.map_err(|_| late("the proxy made no tunnel"))??;
                    Some(Relay::start(tunnel, deadline).await?)
                }
            };
            let settings = Settings {
                uri: settings::uri(endpoint, address),
                scheme: endpoint.scheme,
                client_id: credentials.client_id.clone(),
                username: credentials.username.clone(),
                password: credentials.password.clone(),
                keep_alive,
                timeout: deadline.saturating_duration_since(Instant::now()),
                tls: self.options.tls.clone(),
                relay,
            };
            let answer = timeout_at(deadline, self.submit(settings, bounds)?)
                .await
                .map_err(|_| late("TCP answered, no CONNACK came"))?
                .map_err(|_| LinkError::new(LinkErrorKind::Config, "paho's thread has ended"))?;
            match answer {
                Ok(link) => return Ok(Box::new(link)),
                Err(refusal) if refusal.stray && tries < TRIES => tries += 1,
                Err(refusal) => return Err(refusal.error),
            }
        }
    }

    /// Has paho's thread make a client and connect it.
    fn submit(&self, settings: Settings, bounds: Bounds) -> Result<oneshot::Receiver<Answer>, LinkError> {
        let (reply, answer) = oneshot::channel();
        let guard = Guard::get()?;
        let queue = self.options.max_outgoing;
        guard.run(move || client::run(settings, Arc::new(Inbox::new(bounds)), queue, reply, guard))?;
        Ok(answer)
    }
}

/// Is there anybody? Asked before paho is: it resolves names while holding its global lock, and while a SYN stays
/// unanswered it spins at 100 % CPU. The connection is closed again at once.
async fn probe(endpoint: &Endpoint) -> Result<SocketAddr, LinkError> {
    let stream = dial::connect(&endpoint.host, endpoint.port).await?;
    stream.peer_addr().map_err(|error| LinkError::new(LinkErrorKind::Tcp, format!("{}: {error}", endpoint.authority())))
}

impl Transport for Paho {
    /// Connects; needs a tokio runtime with its network and time drivers.
    ///
    /// # Errors
    /// `Config` for what cannot be asked for (a NUL in the user name, a WebSocket path with a space, SPKI pins),
    /// `NameNotResolved`, `Tcp`, `Proxy`, `Tls`, `WebSocket`, `Refused`, `ConnectTimedOut`, and `Closed` for a broker that closes before CONNACK.
    /// Paho says little about a failure, so the kind is inferred: over TLS, a close before CONNACK is `Tls`, because
    /// that is how a missing client certificate shows.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(self.attempt(endpoint, credentials, options))
    }
}
