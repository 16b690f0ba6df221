//! Bridges between this protocol and plain HTTP.
//!
//! ```text
//!  device ══ MQTT ══► edge ──► upstream ──► any HTTP(S) service        a server half: names `edge`
//!  local program ── HTTP ──► proxy ──► client ══ MQTT ══► any service  a device half: names `client`
//! ```
//!
//! Both pass requests and answers on without looking into them, by the same [`rules`].

pub(crate) mod http_server;
mod outgoing;
pub mod proxy;
mod push_hook;
pub mod rules;
pub mod upstream;

pub use push_hook::PushHook;
