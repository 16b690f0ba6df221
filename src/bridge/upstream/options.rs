//! The knobs of an upstream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use super::Endpoints;
use super::onboarding::Advertise;
use super::route::{Allow, PrefixSwap};
use super::url::UpstreamUrl;
use crate::ids::AppId;
use crate::secret::Secret;

/// What an [`Upstream`](super::Upstream) is made with. Start from [`Options::new`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where the service is.
    pub url: UpstreamUrl,
    /// Whom to trust, for `https`. Default: nobody. Without ALPN; HTTP/1.1 is spoken.
    pub tls: Option<Arc<ClientConfig>>,
    /// Which paths are where at the upstream. Default: none, which stands for `/thing-if=/thing-if`.
    pub swaps: Vec<PrefixSwap>,
    /// What devices may call of that. Default: none, which stands for everything.
    pub allowed: Vec<Allow>,
    /// Applications and their keys, for onboardings that bring no Authorization. Default: none.
    pub apps: Vec<(AppId, Secret<String>)>,
    /// Where onboarded devices find the bridge.
    pub advertise: Advertise,
    /// What onboarding answers teach. Default: in memory.
    pub endpoints: Arc<Endpoints>,
    /// For a new connection: name, TCP and TLS. Default 5 s.
    pub connect_timeout: Duration,
    /// For a request, from when it comes to the last byte of its answer, a new connection included. Default 30 s. Our own
    /// clients wait 10 s; others longer.
    pub timeout: Duration,
    /// How long an unused connection is kept. Default 4 s: many a server closes its end after 5 s.
    pub idle: Duration,
    /// Requests, and so connections, at once; more wait, until [`timeout`](Self::timeout) is over. Default 256.
    pub max_concurrent: usize,
    /// The longest body of a request, in bytes. Default 64 KiB, the longest frame.
    pub max_request: usize,
    /// The longest body of an answer, in bytes. Default 60 KiB: with its head it is a frame that devices take.
    pub max_answer: usize,
}

impl Options {
    /// The defaults, for the service at `url`.
    pub fn new(url: UpstreamUrl) -> Self {
        Self {
            url,
            tls: None,
            swaps: Vec::new(),
            allowed: Vec::new(),
            apps: Vec::new(),
            advertise: Advertise::default(),
            endpoints: Arc::default(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            idle: Duration::from_secs(4),
            max_concurrent: 256,
            max_request: 64 * 1024,
            max_answer: 60 * 1024,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("url", &self.url).finish_non_exhaustive()
    }
}
