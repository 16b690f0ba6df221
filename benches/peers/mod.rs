//! Clients, each of which keeps a number of requests in flight for a slice of time.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

pub(crate) mod answerer;
pub(crate) mod device;
pub(crate) mod http1;
pub(crate) mod link;
pub(crate) mod raw;
pub(crate) mod raw_paho;
pub(crate) mod rumqtt;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

/// What all clients are given.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// Of every message there; whoever measures messages knows what comes back.
    pub(crate) payload: Bytes,
    pub(crate) in_flight: usize,
    pub(crate) slice: Duration,
}
