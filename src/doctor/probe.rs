//! What is probed, and what was found.

use std::fmt;
use std::time::Duration;

use crate::mqtt::Endpoint;

/// Which of the two brokers a probe is about. (`wire` §1)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broker {
    /// The one that a device is built with, where it onboards.
    Default,
    /// The one that it was assigned there.
    Assigned,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default broker",
            Self::Assigned => "assigned broker",
        })
    }
}

/// A step on the way from nothing to a device at work, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The host name, of the proxy where there is one, is resolved.
    Name,
    /// A TCP connection to one of its addresses.
    Tcp,
    /// The proxy's tunnel to the broker; only with a proxy.
    Proxy,
    /// The TLS handshake and the broker's certificate.
    Tls,
    /// The WebSocket upgrade.
    WebSocket,
    /// CONNECT and its answer.
    Connack,
    /// The onboarding call and its answer; at the default broker only.
    Onboarding,
    /// SUBSCRIBE to the pushes; at the assigned broker only, as all that follows.
    Subscribe,
    /// A GET of the thing's state, to its answer.
    RoundTrip,
    /// Whether another device with the same client id ends our connection.
    DuplicateClientId,
    /// Whether a push arrives.
    Push,
    /// PINGREQ and its answer, on the connection that was listened on.
    KeepAlive,
    /// This machine's clock against the service's.
    Clock,
}

impl Step {
    /// Its name for programs: `name`, `tcp`, `proxy`, `tls`, `websocket`, `connack`, `onboarding`, `subscribe`, `round-trip`,
    /// `duplicate-client-id`, `push`, `keep-alive`, `clock`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Connack => "connack",
            Self::Onboarding => "onboarding",
            Self::Subscribe => "subscribe",
            Self::RoundTrip => "round-trip",
            Self::DuplicateClientId => "duplicate-client-id",
            Self::Push => "push",
            Self::KeepAlive => "keep-alive",
            Self::Clock => "clock",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A host name was not resolved.
    Name,
    /// No connection, or one that broke off.
    Connect,
    /// TLS failed before a certificate could be judged, or for want of ours.
    Tls,
    /// The broker's certificate is not accepted.
    Certificate,
    /// The broker or the service refused who we are.
    Login,
    /// Nobody answered in time.
    TimedOut,
    /// Anything else.
    Other,
}

/// What a probe came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and will not always, or not for every device.
    Warning,
    /// It does not work: devices stop here.
    Failed(Fault),
    /// Not probed; what was said is why.
    Skipped,
}

impl Verdict {
    /// `ok`, `warning`, `failed`, `skipped`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed(_) => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was probed.
    pub step: Step,
    /// Where; the clock is nobody's.
    pub broker: Option<Broker>,
    /// That broker's address, as far as it is known.
    pub endpoint: Option<Endpoint>,
    /// How long it took.
    pub took: Duration,
    /// What it came to.
    pub verdict: Verdict,
    /// What was seen, or why nothing was. Without secrets and control characters, on one line of some 600 characters at most.
    pub said: String,
    /// What to do about it; always there after a failure or a warning.
    pub remedy: Option<String>,
}

/// A probe without its place and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) said: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(said: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, said: said.into(), remedy: None }
    }

    pub(super) fn warning(said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, said: said.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn failed(fault: Fault, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed(fault), said: said.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, said: why.into(), remedy: None }
    }
}
