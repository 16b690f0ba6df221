//! The MQTT side of a service: frames in, `http` requests to a [`tower_service::Service`], answers out.
//!
//! ```text
//!  TCP  TLS  WS  WSS          PUBLISH p/{client id}/thing-if/apps/{app}/…            Request<Bytes> + Peer
//!  ───────────────────► Edge ────────────────────────────────────────────► lanes ──────────────────────► Service
//!                        │  ◄──────────── the same topic, QoS 0 ──────────────────  Response<Bytes>
//!                        │
//!                     Registry ◄── Pusher: PUBLISH {client id}
//! ```
//!
//! **Who.** [`Directory::admit`] judges every CONNECT and grants a [`Role`]. Connections to the default broker stand side by
//! side, all as `anonymous`; on the assigned broker a client identifier has one connection, and a newer one takes over.
//! Protocol levels other than those of 3.1 and 3.1.1 get CONNACK 1, an identifier that cannot stand in a topic (the
//! empty one too) 2, a CONNECT without user name or password 4. (`wire` §1, §8)
//!
//! **What it does with a PUBLISH.** Retain is ignored, as are wills. QoS 1 and 2 are acknowledged when the request was
//! taken, before it is executed; a QoS 2 packet identifier that was not released is not executed again.
//!
//! | topic and payload | answer |
//! |---|---|
//! | not below `p/{own client id}/` | none |
//! | path other than `/thing-if/apps/…` (unless [`Config::paths`] says otherwise), or with `.` or `..` | 404 `PATH_NOT_FOUND` |
//! | another application's path; on the default broker, anything but `…/onboardings` | 403 `OPERATION_NOT_SUPPORTED` |
//! | payload is no frame | 400 `INVALID_INPUT_DATA` |
//! | head above 8 KiB, or of more than 64 fields | 431 `REQUEST_HEADER_FIELDS_TOO_LARGE` |
//! | payload above [`Config::max_frame`] | 413 `PAYLOAD_TOO_LARGE` |
//! | more than [`Config::max_requests_per_second`], after a burst | 429 `TOO_MANY_REQUESTS`, `Retry-After` |
//! | too much in flight | 503 `TEMPORARY_UNAVAILABLE_ERROR`, `Retry-After` |
//! | the service panics or fails, or its answer has a head of more than 8 KiB or 64 fields | 500 `UNDEFINED_ERROR` |
//! | everything else | the service's |
//!
//! Headers about the connection ([RFC 9110 §7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)) stop here, in both
//! directions.
//!
//! Every answer goes to the asking connection alone, on the very topic string of its request, subscribed or not, at
//! QoS 0. Requests of one client identifier of the assigned broker with the same path are executed in the order they came, and
//! so are those of one connection to the default broker; others run concurrently. What was taken on the assigned broker is
//! executed to its end even if the connection is gone by then, and before what a newer connection of the client brings; what
//! a connection that was taken over still brings is 503. On the default broker, what waits when a connection ends is
//! dropped and counted: nobody is left to take the answer.
//!
//! **Subscriptions.** `{client id}` (pushes) and anything below `p/{client id}/` (which changes nothing) are granted,
//! other filters are not: 0x80 for 3.1.1; 3.1, which has no such code, is told 0 and hears nothing. (`wire` §1.3)
//!
//! **Slow clients.** A connection whose client does not take what is written for it is no longer read from. Pushes that find
//! its queue full are dropped, counted and reported to whoever pushes ([`Backlog`], [`PushOutcome::Overloaded`]); after too
//! many of them, or after [`Config::write_timeout`], it is closed. Answers are never dropped but with their connection, and then
//! counted. What waits to leave is bounded over all connections together: those that hold the most are closed.
//!
//! Nothing is dropped in silence: see [`Metrics`]. [`conformance`] lists what becomes of each statement of MQTT 3.1.1.

mod answer;
mod config;
#[doc = include_str!("conformance.md")]
pub mod conformance {}
mod connection;
mod directory;
mod ending;
mod execute;
mod intake;
mod lanes;
mod listen;
mod live;
mod login;
mod metrics;
mod outgoing;
mod push;
mod rate;
mod record;
mod registry;
mod session;
mod socket;
mod tap;
mod websocket;
mod wire;

#[cfg(feature = "cloud")]
pub(crate) use config::SHORTEST_ADMISSION;
pub use config::{Config, Paths};
pub use directory::{Admission, ConnectionId, Directory, Login, Peer, Role};
pub use execute::Backend;
pub use listen::{Edge, Listeners};
pub use metrics::Metrics;
pub use push::{PushOutcome, Pusher};
pub use record::Recording;
pub use registry::{Backlog, Connections, Registry};
#[cfg(any(feature = "cloud", feature = "bridge"))]
pub(crate) use socket::{KEEP_ALIVE, prepare};
pub use tap::{Passed, Seen, Tap};
