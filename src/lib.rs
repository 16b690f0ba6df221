//! Kii Thing-IF over MQTT: device client, codec, MQTT edge, self-hosted cloud.
//!
//! Everything is `http`; MQTT is only how it travels. A module names only what lies below it:
//!
//! ```text
//!  5   bin/thingif.rs   cli/   admin/
//!  4   cloud/           bridge/
//!  3   client/          edge/
//!  2   transport/       memory, record, fault, paho
//!  1   proto/           onboarding, session, lifecycle, in_flight, backoff     pure: no I/O, no clock, no runtime
//!  0   ids  secret  topic  mqtt  frame/  thing_if/  config  capture            pure: bytes and types
//! ```
//!
//! [`wire`] is the account of the protocol itself, with the source of each fact; (`wire` §N) means its section N.
#![cfg_attr(feature = "cli", doc = "", doc = include_str!("manual/front.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod capture;
pub mod config;
pub mod frame;
pub mod ids;
pub mod mqtt;
pub mod secret;
pub mod thing_if;
pub mod topic;
#[doc = include_str!("wire.md")]
pub mod wire {}
#[cfg(feature = "cli")]
pub mod manual;

pub mod proto;

#[cfg(any(feature = "client", feature = "cloud"))]
mod file_lock;
#[cfg(any(feature = "paho-tcp", feature = "native", feature = "edge"))]
mod quiet;

#[cfg(feature = "client")]
pub mod transport;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "edge")]
pub mod edge;
#[cfg(any(feature = "cloud", feature = "bridge"))]
mod http_server;

#[cfg(feature = "bridge")]
pub mod bridge;
#[cfg(feature = "cloud")]
pub mod cloud;

#[cfg(feature = "cli")]
pub mod replay;

#[cfg(feature = "cli")]
pub mod conformance;

#[cfg(feature = "cli")]
mod admin;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod doctor;

/// The README's example, compiled with the documentation's.
#[cfg(all(doctest, feature = "paho"))]
#[doc = include_str!("../README.md")]
struct Readme;
