//! The edge's knobs.

use std::time::Duration;

use super::Role;
use super::socket::KEEP_ALIVE;
use crate::mqtt::packet::Limits;

/// Bounds and times of an [`Edge`](super::Edge). Start from [`Config::default`].
///
/// Every bound has a visible answer: an error frame, a CONNACK code, a [`PushOutcome`](super::PushOutcome) or the end of
/// the connection, and a counter in [`Metrics`](super::Metrics).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Time from accept to a complete CONNECT, TLS and WebSocket handshakes included; as long again, and never
    /// less than 10 s, for the [`Directory`](super::Directory) to judge it, which may delay a login after failures. Default 10 s. Short times cost devices on slow radio their TLS handshake; long
    /// ones leave sockets to strangers.
    pub connect_timeout: Duration,
    /// Connections at once, those without a CONNECT included; one more is accepted and closed, and counted as
    /// [`turned_away`](super::Metrics::turned_away), so that it does not wait in vain and the process keeps descriptors for
    /// everything else. Default 100,000: set it below the system's limit on open files. Does not bind
    /// [`Edge::serve_stream`](super::Edge::serve_stream).
    pub max_connections: usize,
    /// The paths that are served. Default [`Paths::ThingIf`].
    pub paths: Paths,
    /// The largest frame (payload of a PUBLISH), in bytes; more is answered with 413. Default 64 KiB. (`wire` §8)
    pub max_frame: usize,
    /// The largest payload that is skipped after that answer, in bytes; more ends the connection. Default 1 MiB.
    pub max_skip: usize,
    /// Requests of one connection, refused ones included, that are taken at once after a pause. Default 10,000; see
    /// [`max_requests_per_second`](Self::max_requests_per_second).
    pub max_request_burst: u32,
    /// Requests of one connection that are taken each second once its burst is used up; more are answered with 429 and
    /// `Retry-After`. Default 2,000, which no honest device comes near; 0 counts as 1.
    pub max_requests_per_second: u32,
    /// Requests of one client that the service has at once, those included that earlier connections of it have left; more
    /// are answered with 503 and `Retry-After`. Default 256, each of which costs its frame, at most [`max_frame`](Self::max_frame), and two copies of its topic, at most 128 KiB.
    pub max_in_flight: usize,
    /// Requests of one client of the assigned broker that wait behind others with the same path, of earlier connections
    /// too; more are answered with 503. They are apart from those in flight, so that a device may report a burst of states without losing the last one, which is the one
    /// that counts. Default 2,048.
    pub max_waiting: usize,
    /// The same for one connection to the default broker, where a device has one request. Default 16. What waits when the
    /// connection ends is dropped.
    pub max_waiting_onboarding: usize,
    /// The bytes that those that wait may hold, their frames, twice their topics and their headers' places; a request
    /// beyond it is answered with 503. Default 4 MiB: a small one holds between 1 and 2 KiB.
    pub max_waiting_bytes: usize,
    /// Requests of all connections together, those included whose device has gone; more are answered with 503. The default
    /// broker may have a quarter of them, rounded up, so that whoever onboards keeps no assigned device from its service.
    /// Default 65,536.
    pub max_in_flight_total: usize,
    /// The bytes that those requests may hold, counted in the same way; a request beyond it is answered with 503.
    /// Of these too, the default broker may have a quarter. Default 256 MiB.
    pub max_in_flight_bytes_total: usize,
    /// QoS 2 packet identifiers that a client may leave without PUBREL; one more ends the connection. Default 256,
    /// at most 65,535 by the protocol; 2 bytes each.
    pub max_unreleased: usize,
    /// Pushes that wait for one connection to take them; more are dropped, counted and reported as
    /// [`PushOutcome::Overloaded`](super::PushOutcome::Overloaded). Default 64, at 4096 bytes each by the documentation.
    pub push_queue: usize,
    /// Pushes that one connection may lose in a row, because its client takes nothing of what is written; one more ends
    /// it, so that the client comes back and asks for what it has missed. Default 64. Those that are lost to a burst while the
    /// client takes what it gets are dropped and counted, and end nothing.
    pub max_dropped_pushes: usize,
    /// Bytes of answers and pushes that wait for their connections, over all connections of a registry. Beyond, those that
    /// hold the most are closed until an eighth of it is free, and counted as
    /// [`outgoing_overflows`](super::Metrics::outgoing_overflows). Default 256 MiB. What TLS and WebSocket hold below, some
    /// 16 KiB and a packet each, is not counted. With several edges on one registry, the one that was made last decides.
    pub max_outgoing_total: usize,
    /// Bytes written for a connection but not taken by it, above which its requests are no longer read. Default 256 KiB.
    pub write_high_water: usize,
    /// A connection that takes not one byte of what is written for it in this time is closed. Default 30 s.
    pub write_timeout: Duration,
    /// Silence of a peer after which the system begins to ask, three times in 30 s, whether it is still there; without an
    /// answer the connection ends. This finds peers that vanished and have no MQTT keep-alive. Default 60 s, so within 90 s;
    /// `None` leaves it to the system, which means never. Takes effect on accepted TCP sockets only.
    pub tcp_keep_alive: Option<Duration>,
    /// How long a closing connection may take to read its last bytes, and the edge, on shutdown, to let requests in
    /// flight finish before it closes connections regardless. Default 5 s.
    pub shutdown_timeout: Duration,
}

/// The paths that an edge hands to its service. Below `/thing-if/`, a connection has those of its own application in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Paths {
    /// `/thing-if/apps/{APP_ID}/…`; others are answered with 404. (`wire` §3)
    #[default]
    ThingIf,
    /// Every path, for connections to the assigned broker: the service says which of them there are.
    Any,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_connections: 100_000,
            paths: Paths::ThingIf,
            max_frame: 64 * 1024,
            max_skip: 1024 * 1024,
            max_request_burst: 10_000,
            max_requests_per_second: 2_000,
            max_in_flight: 256,
            max_waiting: 2_048,
            max_waiting_onboarding: 16,
            max_waiting_bytes: 4 * 1024 * 1024,
            max_in_flight_total: 65_536,
            max_in_flight_bytes_total: 256 * 1024 * 1024,
            max_unreleased: 256,
            push_queue: 64,
            max_dropped_pushes: 64,
            max_outgoing_total: 256 * 1024 * 1024,
            write_high_water: 256 * 1024,
            write_timeout: Duration::from_secs(30),
            tcp_keep_alive: Some(KEEP_ALIVE),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    pub(super) fn push_bounds(&self) -> PushBounds {
        PushBounds { queue: self.push_queue, max_dropped: self.max_dropped_pushes }
    }

    pub(super) fn lane_bounds(&self, role: Role) -> LaneBounds {
        let waiting = match role {
            Role::Onboarding => self.max_waiting_onboarding,
            Role::Assigned => self.max_waiting,
        };
        LaneBounds { in_flight: self.max_in_flight, waiting, waiting_bytes: self.max_waiting_bytes }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { max_frame: self.max_frame, max_skip: self.max_skip, ..Limits::default() }
    }
}

/// How many pushes may wait for a connection, and how many it may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PushBounds {
    pub(super) queue: usize,
    pub(super) max_dropped: usize,
}

/// How many requests of one client the service may have, and how many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneBounds {
    pub(super) in_flight: usize,
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
}

/// The `Retry-After` of a 503: long enough for a burst to pass, in seconds.
pub(super) const RETRY_AFTER_SECONDS: u32 = 1;

/// What a directory has at least to judge a CONNECT: longer than any delay that it makes after failures.
pub(crate) const SHORTEST_ADMISSION: Duration = Duration::from_secs(10);

/// How long a closed connection's last bytes are waited for, so that they are not lost to a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);
