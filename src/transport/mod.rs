//! How MQTT travels: [`Transport`] makes a [`Link`], a link carries messages. No decisions are made here.
//!
//! Both traits are object-safe, so transports wrap each other (recording, faults) and are picked at run time.

#[cfg(any(feature = "paho-tcp", feature = "native"))]
mod dial;
pub mod fault;
pub mod memory;
#[cfg(feature = "native")]
pub mod native;
#[cfg(feature = "paho-tcp")]
pub mod paho;
#[cfg(any(feature = "paho-tcp", feature = "native"))]
mod proxy;
pub mod record;
#[cfg(any(feature = "paho-tcp", feature = "native"))]
mod tls;
#[cfg(any(feature = "paho-tcp", feature = "native"))]
mod tunnel;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(any(feature = "paho-tcp", feature = "native"))]
pub use self::{
    proxy::{InvalidProxy, Proxy, ProxyLogin},
    tls::Tls,
};
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, SpkiPin};
use crate::topic::TopicFilter;

/// A boxed future, so that [`Transport`] stays object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is asked of a connection besides where and who.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Time for name, TCP, TLS, WebSocket and CONNACK together. Default 10 s.
    pub timeout: Duration,
    /// A peer that answers nothing is to be noticed within this time. Default 90 s. The transport chooses its
    /// keep-alive from it.
    pub detect_dead_peer: Duration,
    /// The largest payload accepted from the broker, in bytes. Default 1 MiB.
    pub max_payload: usize,
    /// The broker must have the key of one of these, besides a certificate that is accepted. Default none, which means that
    /// any key will do. A transport without [`Capabilities::spki_pins`] fails with `Config` at once if there are some, and
    /// so does every transport over a scheme without TLS.
    pub spki_pins: Vec<SpkiPin>,
    /// The link may be handed out as soon as packets can be written behind CONNECT, before CONNACK has come (MQTT 3.1.1
    /// §3.1.4): see [`Link::is_accepted`]. Default `false`. A transport that cannot do that hands it out after CONNACK.
    pub pipeline: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            detect_dead_peer: Duration::from_secs(90),
            max_payload: 1024 * 1024,
            spki_pins: Vec::new(),
            pipeline: false,
        }
    }
}

impl ConnectOptions {
    /// The same, and the link is handed out after CONNACK: for who shows or counts what happens, in its order.
    pub fn accepted(&self) -> Self {
        Self { pipeline: false, ..self.clone() }
    }
}

/// What a transport can do that not every one can. The default: nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// It checks [`ConnectOptions::spki_pins`] before it sends anything over a connection.
    pub spki_pins: bool,
}

/// Makes links. One call, one connection, one client identifier; clean session always.
pub trait Transport: Send + Sync + 'static {
    /// Connects and returns once CONNACK 0 has arrived, or earlier with [`ConnectOptions::pipeline`].
    ///
    /// Dropping the future gives up the attempt and leaves nothing behind that could speak later.
    ///
    /// # Errors
    /// [`LinkError`] tells the causes apart as far as the transport can.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>>;

    /// What it can do. A wrapper has those of what it wraps.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What every transport that cannot check pins does first.
fn refuse_pins(options: &ConnectOptions) -> Result<(), LinkError> {
    match options.spki_pins.is_empty() {
        true => Ok(()),
        false => {
            Err(LinkError::new(LinkErrorKind::Config, "SPKI pins are given, and this transport cannot check them"))
        }
    }
}

/// One MQTT connection, from CONNACK to its end; from CONNECT with [`ConnectOptions::pipeline`].
///
/// Messages on topics that were never subscribed to are delivered: that is how this protocol answers. (`wire` §1.4)
/// Dropping a link closes the connection without a DISCONNECT.
pub trait Link: Send {
    /// Whether CONNACK 0 has come. Until then, only with [`ConnectOptions::pipeline`], what is published and subscribed to is
    /// written behind CONNECT; [`LinkEvent::Accepted`] follows, or `Lost` with why there is no connection. A broker that refuses
    /// looks at nothing of it. [MQTT-3.1.4-5]
    fn is_accepted(&self) -> bool {
        true
    }

    /// Queues a PUBLISH; it is written as soon as the connection takes it. Never blocks.
    ///
    /// # Errors
    /// `Overloaded` when the transport's own bound is reached (the message is not sent), `Closed` when the link has
    /// ended. After `Ok` the message may or may not reach the broker: QoS 0 promises no more.
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError>;

    /// Queues a SUBSCRIBE at QoS 0; [`LinkEvent::Subscribed`] reports its end.
    ///
    /// # Errors
    /// As [`Link::publish`].
    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError>;

    /// The next thing that happened, in order. Also drives writing, where a transport needs that.
    ///
    /// Cancel-safe: an event is handed out once and never lost. After [`LinkEvent::Lost`] it stays pending.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent>;

    /// Ends the connection with a DISCONNECT after what is queued; resolves when that is done or cannot be.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What happens on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// CONNACK 0 arrived, on a link that was handed out before.
    Accepted,
    /// A PUBLISH arrived, on any topic.
    Received(Publish),
    /// The SUBACK for a filter; `granted` is false for return code 0x80.
    Subscribed {
        /// The filter asked for.
        filter: TopicFilter,
        /// Whether the broker granted it.
        granted: bool,
    },
    /// The connection has ended; nothing follows.
    Lost(LinkError),
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        (**self).connect(endpoint, credentials, options)
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
}

impl<T: Transport + ?Sized> Transport for std::sync::Arc<T> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        (**self).connect(endpoint, credentials, options)
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
}

/// The next event of `link`; see [`Link::poll_event`].
pub async fn next_event(link: &mut (dyn Link + '_)) -> LinkEvent {
    std::future::poll_fn(|cx| link.poll_event(cx)).await
}
