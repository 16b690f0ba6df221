//! An edge whose service is an HTTP(S) upstream.
//!
//! ```text
//!  device ══ MQTT ══► edge ──► Door: who may connect
//!                       │
//!                       └────► Upstream ── HTTP/1.1, pooled ──► the service
//!                       ▲
//!                 admin listener ◄── POST /push/{client_id} ── the service
//! ```
//!
//! **Requests.** A frame on `p/{client id}{path}` becomes a request for `{base of the URL}{path}`, its prefix swapped if a
//! [`PrefixSwap`] says so; by default `/thing-if` is itself and nothing else is there. [`Allow`]s narrow that down to methods
//! and paths. Requests of one device with the same path go one after the other, as everywhere behind an
//! [edge](crate::edge); after a 504 the next one goes although the upstream may still be busy with the one before.
//!
//! **Headers.** What is about one connection stays behind in both directions, with what `Connection` names. `Host` is the
//! upstream's. The upstream is told `X-Forwarded-For` (the device's address, no list), `X-Forwarded-Proto` (`https` when the
//! device came over TLS, else `http`), `X-Forwarded-Host` (where devices find the bridge), `X-Thingif-Client-ID` and
//! `X-Thingif-App-ID` (who has logged in); a device cannot set any of these, nor `Forwarded`, `X-Real-IP`, nor fields that turn
//! a request into another one (`X-HTTP-Method-Override`, `X-Original-URL`, …), nor the same with `_`. All else passes,
//! `Authorization`, `traceparent` and `tracestate` included. A `Location` of the upstream's becomes the device's path.
//!
//! **Answers.** What the upstream answers is what the device gets, `Retry-After` included; a 502, 503 or 504 whose body is no
//! JSON error gets one, with the same status. Errors of the bridge itself have the form and the meaning that
//! [`rules`](super::rules) lists:
//!
//! | what happened | answer | the request |
//! |---|---|---|
//! | no route, or not allowed | 404, 405 with `Allow` | was not sent |
//! | a body of more than [`Options::max_request`] bytes | 413 | was not sent |
//! | [`Options::max_concurrent`] are under way, and none ended in time | 503, `Retry-After: 1` | was not sent |
//! | name not found, connection refused, no TLS, [`Options::connect_timeout`] over | 503, `Retry-After: 5` | was not sent |
//! | the connection broke off, or what came is not HTTP | 502 | may have been executed |
//! | a body of more than [`Options::max_answer`] bytes | 502 | was executed |
//! | a head that, with what the edge adds to it, has more than 8 KiB or 64 fields, which no device reads | 502 | was executed |
//! | no whole answer within [`Options::timeout`] | 504 | may have been executed |
//!
//! A connection that the upstream closed while it was idle is noticed and replaced. Where it closes one at the moment that a
//! request arrives, GET, HEAD and OPTIONS are sent again, once; others are 502, because nobody knows. That this is
//! rare is what [`Options::idle`] is for: shorter than any upstream's own.
//!
//! **Who may connect** is judged by a [`Door`]: applications and their keys for the default broker, a file of clients, logins
//! that were learnt, or a hook.
//!
//! # A Thing-IF upstream
//!
//! The bridge is then both brokers, and a device notices no difference:
//!
//! - *Onboarding.* At the default broker the device logs in with application id and key, which the bridge checks, and sends its
//!   onboarding, which has no `Authorization`. It goes to `POST /thing-if/apps/{app}/onboardings` with the application's
//!   `Authorization: Basic`, and is judged there. A device with a login that was learnt may onboard again on the assigned
//!   broker in the same way: it came by that login with the key. Clients of a file or of a hook have not shown the key, so it is
//!   not added for them; their onboardings need an `Authorization` of their own. (`wire` §4)
//! - *The assigned broker.* The answer's `mqttEndpoint` names brokers of the upstream's. The bridge puts its own host and ports
//!   there ([`Advertise`]), leaves user name, password and `mqttTopic`, and keeps what the device needs to log in with them
//!   ([`Endpoints`]), the password as a salted hash. That is on disk before the device is told, so a bridge that is started
//!   again knows its devices. Without a file they are refused with CONNACK 4 then, and onboard again, which is always legal.
//!   (`wire` §7)
//! - *Calls* pass, with the device's own token, which the upstream checks at each.
//! - *Pushes.* The upstream posts them to the bridge's [admin listener](admin_router), which has them sent as any
//!   edge sends them. The alternative, a second MQTT connection for each device from the bridge to the upstream's broker, would
//!   need the passwords in clear, and could not tell the upstream whether the device itself is there. Our own cloud
//!   does so when its [`Pusher`](crate::edge::Pusher) is a [`PushHook`](super::PushHook) (`thingif serve --push-url`).
//!   When a thing is deleted, the same road ends its connection and has its login forgotten.
//!
//! What differs: behind a bridge all devices have one address for a service that does not read `X-Forwarded-For`, so where it
//! delays logins after failures by address, it delays those of all of them. Onboarding by thing with the `Authorization` of
//! somebody else is judged by that, while a broker's CONNECT alone would do.

mod admin;
mod clients;
mod counters;
mod door;
mod endpoints;
mod headers;
mod hook;
mod onboarding;
mod options;
mod route;
mod service;
mod url;

pub use admin::{Admin, admin_router};
pub use clients::{Clients, InvalidClients};
pub use counters::Counters;
pub use door::Door;
pub use endpoints::{Endpoints, EndpointsError, MAX_ENDPOINTS};
pub use headers::{CLIENT_APP, CLIENT_ID};
pub use hook::LoginHook;
pub use onboarding::Advertise;
pub use options::Options;
pub use route::{Allow, InvalidAllow, InvalidSwap, PrefixSwap};
pub use service::Upstream;
pub use url::{InvalidUrl, UpstreamUrl};

use http::HeaderValue;

use crate::secret::Secret;

/// `Authorization` of whoever has `token`; `None` when it cannot stand in a header.
pub(super) fn bearer(token: &Secret<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
