//! Why a device does not get through: each step of its way, probed one after the other, with what to do about the one that
//! fails.
//!
//! [`examine`] goes the way of a device over a connection of its own, at a finer grain than
//! [`client::connect`](crate::client::connect) does: name, TCP, proxy, TLS, WebSocket, CONNACK and onboarding at the default
//! broker, the same at the assigned one, SUBSCRIBE, a round trip, a while of listening, PINGREQ, and the clock. TLS is spoken with rustls
//! here, so that a certificate's fault is told exactly. (`wire` §0, §1)
//!
//! # What it does to the device
//! It logs in with the device's client id: a device that runs with the same id is disconnected for that time and comes back by
//! itself. With a credential ([`Config::with_resume`]) it does not onboard. Without one it does, which makes the thing if it does not exist
//! and gives it one token more; a service may keep only the newest few valid.

mod clock;
mod examiner;
mod exchange;
mod login;
mod probe;
mod reach;
mod tls;
mod trust;
mod watch;
mod websocket;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use self::examiner::Examiner;
pub(crate) use self::trust::Trust;
use crate::config::Config;
use crate::thing_if::Credential;
use crate::transport::BoxFuture;
use crate::transport::{Proxy, Tls};

pub use probe::{Broker, Fault, Probe, Step, Verdict};

/// What [`examine`] can be told besides the [`Config`]. Each step of a connection has the config's connect timeout, each call
/// its call deadline.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Certificates, as for the transport.
    pub tls: Tls,
    /// The proxy on the way to the brokers. Default none.
    pub proxy: Option<Proxy>,
    /// How long to listen for somebody who takes the connection over, and for pushes. Default 0: not at all.
    pub watch: Duration,
    /// Whether to connect a second time with the same client id, to see that the newer connection takes over, or whether it
    /// is ended as the first one was. Default off: nothing is learned but by listening. It disturbs a device that runs with that
    /// id once more.
    pub disruptive: bool,
    /// The process of this machine that holds the connection already, if there is one: it is not disturbed. Default none.
    pub held: Option<Held>,
}

/// A process that holds the device's connection, and a way to call through it.
#[derive(Clone)]
pub struct Held {
    /// Who it is, for people: `process 123`.
    pub holder: String,
    /// Sends a request through it; it adds the Authorization.
    pub call: Arc<HeldCall>,
}

/// A call through another process: its answer, or what kind of failure it was and why.
pub type HeldCall =
    dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, (Fault, String)>> + Send + Sync;

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.holder)
    }
}

/// What is told while [`examine`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A probe has begun.
    Begun(Step, Option<Broker>),
    /// One is over; each step is told of exactly once, those that are skipped as well.
    Ended(Probe),
}

/// What [`examine`] found.
#[derive(Debug)]
pub struct Examined {
    /// Every probe, in order.
    pub probes: Vec<Probe>,
    /// The credential of the onboarding, if there was one.
    pub credential: Option<Credential>,
}

impl Examined {
    /// The first probe that failed, if one did: the others follow from it, or are less.
    pub fn failure(&self) -> Option<&Probe> {
        self.probes.iter().find(|probe| matches!(probe.verdict, Verdict::Failed(_)))
    }
}

/// Goes the way of the device that `config` describes, until a step fails. What then is left is skipped, and said to be.
///
/// With a credential to resume, what fails at the default broker is a warning: the device works without, until the credential
/// has to be renewed.
///
/// # Errors
/// Which file of `options` cannot be used, and why.
pub async fn examine(
    config: &Config,
    options: &Options,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Examined, String> {
    let trust = Trust::read(&options.tls, config.spki_pins())?;
    Ok(Examiner::new(config, options, trust, tell).run().await)
}
