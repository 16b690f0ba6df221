//! MQTT over TCP, TLS, WebSocket and WebSocket over TLS without any C library: tokio's sockets, rustls, tungstenite, and the
//! packet code of this crate.
//!
//! [`Native`] is a [`Transport`]. A link has no task and no thread of its own: it reads and writes when it is polled, and what
//! was queued since then leaves in one write.
//!
//! # What it can do that Paho cannot
//! - A broker, or whoever is between, that sends an impossible packet ends the connection with `Protocol`, never the process.
//! - It checks SPKI pins, before anything is sent.
//! - Each connect is one TCP connection; a connect that is given up is gone at once.
//! - Why a connection ended is told: closed, reset, TLS, silence.
//! - Memory follows what has arrived, not what the peer announces.
//!
//! # What it needs
//! A tokio runtime with its network and time drivers. Without the feature `native-tls` nothing but the Rust toolchain, and then
//! `mqtts` and `wss` fail with `Config`; with it, a C compiler for ring.
//!
//! # Round trips
//! With [`ConnectOptions::pipeline`] a link is handed out when TCP, TLS and WebSocket are done. CONNECT leaves with the first
//! poll, in one write with whatever was published and subscribed to until then. Round trips of a cold start of
//! [`client::connect`](crate::client::connect), which uses that, the TCP handshakes among them; with
//! [`client::start`](crate::client::start) a call that waits already leaves with SUBSCRIBE, and its answer comes when the device is
//! ready. Without pipelining each broker costs one more, as with Paho:
//!
//! | scheme | stored credential: ready | first answer | fresh: onboarded | ready | first answer |
//! |---|---|---|---|---|---|
//! | `mqtt` | 2 | 3 | 2 | 4 | 5 |
//! | `mqtts` (TLS 1.3), `ws` | 3 | 4 | 3 | 6 | 7 |
//! | `wss` | 4 | 5 | 4 | 8 | 9 |
//!
//! That is the least that the protocol allows: TCP, TLS and the upgrade each wait for an answer, where to go is known when the
//! onboarding is answered, and ready means that SUBSCRIBE is.
//!
//! # What a peer can do
//! Acknowledgements that it does not read end the link with `Overloaded` 64 KiB beyond what may wait of messages. A refusal or a TLS alert is told even if
//! writing failed before it was read. [`Link::close`] waits up to 5 s until all is written and then up to 1 s for the peer to
//! close, because a socket that is closed with something unread takes back what the peer has not read yet.
//!
//! # Keep-alive
//! Half of [`ConnectOptions::detect_dead_peer`], at least 1 s. Any byte of the peer is a sign of life; silence of one keep-alive
//! is asked about with PINGREQ, and one more ends the link with `KeepAlive`.
//!
//! # Certificates
//! The files of [`Tls`] are read for each connect, so that a renewed one is the next one shown. The system's authorities are
//! read once a day.

mod alive;
mod failure;
mod link;
#[cfg(feature = "native-tls")]
mod tls;
mod websocket;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::alive::Alive;
use self::link::NativeLink;
use self::websocket::WebSocket;
use self::wire::{Stream, Wire};
use super::{BoxFuture, Capabilities, ConnectOptions, Link, Proxy, Tls, Transport, dial, refuse_pins, tunnel};
use crate::mqtt::packet::{Connect, Protocol};
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind};

/// A longer time to connect is cut to this, so that every deadline can be said.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What [`Native`] can be told; the same for all its links.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Certificates, for `mqtts` and `wss`.
    pub tls: Tls,
    /// The HTTP proxy through which all brokers are reached, on every scheme. Default none: the environment is never asked.
    pub proxy: Option<Proxy>,
    /// Bytes of a link that wait to be written; beyond, `publish` and `subscribe` answer `Overloaded`, but one message may wait
    /// whatever its size, also behind CONNECT. At least 1, default 1 MiB. Costs memory only while they wait.
    pub max_outgoing_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: Tls::default(), proxy: None, max_outgoing_bytes: 1024 * 1024 }
    }
}

/// The transport without a C library; see the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Native {
    options: Arc<Options>,
    #[cfg(feature = "native-tls")]
    connector: Arc<tls::Connector>,
}

impl Native {
    /// Checks the options.
    ///
    /// # Errors
    /// `Config`: a file of [`Tls`] cannot be read or holds no PEM of the right kind, the proxy has an impossible host or
    /// login, or a bound is 0.
    pub fn new(options: Options) -> Result<Self, LinkError> {
        options.tls.check_files()?;
        if let Some(Err(error)) = options.proxy.as_ref().map(Proxy::check) {
            return Err(config(error.to_string()));
        }
        if options.max_outgoing_bytes == 0 {
            return Err(config("max_outgoing_bytes must be at least 1"));
        }
        Ok(Self {
            #[cfg(feature = "native-tls")]
            connector: Arc::new(tls::Connector::new(options.tls.clone())),
            options: Arc::new(options),
        })
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
        options: &ConnectOptions,
    ) -> Result<Box<dyn Link>, LinkError> {
        self.check(endpoint, options)?;
        let deadline = Instant::now() + options.timeout.min(LONGEST);
        let waits_for = match &self.options.proxy {
            Some(proxy) => format!("{proxy} was not reached or makes no tunnel"),
            None => String::from("the host name was not resolved or TCP not answered"),
        };
        let stream = within(deadline, &waits_for, self.tcp(endpoint)).await?;
        if !endpoint.scheme.is_tls() {
            return self.mqtt(stream, endpoint, credentials, options, deadline).await;
        }
        #[cfg(feature = "native-tls")]
        {
            let handshake = self.connector.connect(stream, endpoint, &options.spki_pins);
            let stream = within(deadline, "TCP answered, TLS did not", handshake).await?;
            self.mqtt(stream, endpoint, credentials, options, deadline).await
        }
        #[cfg(not(feature = "native-tls"))]
        Err(config("this program was built without TLS (feature native-tls)"))
    }

    fn check(&self, endpoint: &Endpoint, options: &ConnectOptions) -> Result<(), LinkError> {
        Endpoint::new(endpoint.scheme, endpoint.host.as_str(), endpoint.port)
            .map_err(|error| config(error.to_string()))?;
        let path = &endpoint.path;
        if endpoint.scheme.is_websocket() && !(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(config("WebSocket path must begin with / and be printable ASCII without spaces"));
        }
        if cfg!(feature = "native-tls") && endpoint.scheme.is_tls() { Ok(()) } else { refuse_pins(options) }
    }

    async fn tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, LinkError> {
        let stream = match &self.options.proxy {
            Some(proxy) => tunnel::open(proxy, endpoint).await?,
            None => dial::connect(&endpoint.host, endpoint.port).await?,
        };
        // A frame is one write; it must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|error| LinkError::new(LinkErrorKind::Tcp, error.to_string()))?;
        Ok(stream)
    }

    async fn mqtt<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: T,
        endpoint: &Endpoint,
        credentials: &Credentials,
        options: &ConnectOptions,
        deadline: Instant,
    ) -> Result<Box<dyn Link>, LinkError> {
        if !endpoint.scheme.is_websocket() {
            return self.accepted(Stream(stream), credentials, options, deadline).await;
        }
        let upgrade = WebSocket::connect(stream, endpoint, options.max_payload);
        let socket = within(deadline, "the WebSocket upgrade was not answered", upgrade).await?;
        self.accepted(socket, credentials, options, deadline).await
    }

    async fn accepted<W: Wire>(
        &self,
        wire: W,
        credentials: &Credentials,
        options: &ConnectOptions,
        deadline: Instant,
    ) -> Result<Box<dyn Link>, LinkError> {
        let alive = Alive::new(options.detect_dead_peer, Instant::now());
        let connect = Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: alive.keep_alive(),
            client_id: credentials.client_id.as_str().to_owned(),
            will: None,
            username: Some(credentials.username.clone()),
            password: Some(Bytes::copy_from_slice(credentials.password.expose().as_bytes())),
        };
        let bounds = (options.max_payload, self.options.max_outgoing_bytes);
        let mut link = NativeLink::new(wire, connect, alive, bounds, deadline)?;
        if !options.pipeline {
            link.accepted().await?;
        }
        Ok(Box::new(link))
    }
}

/// Gives up at the deadline and says what was waited for.
async fn within<T>(
    deadline: Instant,
    stage: &str,
    step: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout_at(deadline, step).await.map_err(|_| LinkError::new(LinkErrorKind::ConnectTimedOut, stage))?
}

fn config(what: impl Into<String>) -> LinkError {
    LinkError::new(LinkErrorKind::Config, what)
}

impl Transport for Native {
    /// Connects; needs a tokio runtime with its network and time drivers.
    ///
    /// # Errors
    /// `Config` for what cannot be asked for (a NUL in the user name, a WebSocket path with a space, SPKI pins without TLS),
    /// `NameNotResolved`, `Tcp`, `Proxy`, `Tls`, `WebSocket`, `Refused`, `ConnectTimedOut`, `Protocol` for a peer that speaks
    /// something else, and `Closed` for one that closes before CONNACK.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(self.attempt(endpoint, credentials, options))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { spki_pins: cfg!(feature = "native-tls") }
    }
}
