//! A device in the field that something happened to: over real sockets, on each transport, against the real cloud behind its edge.
//! It is ready again without anybody's help, or it says why it gave up.
#![cfg(all(any(feature = "paho", feature = "native-tls"), feature = "cloud"))]
#![allow(clippy::duplicate_mod)] // the same stories with another transport: that is the point

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../cloud_support/mod.rs"]
mod cloud_support;
#[path = "../support/transports.rs"]
mod support;

#[cfg(feature = "native-tls")]
#[path = "stories.rs"]
mod native;
#[cfg(feature = "paho")]
#[path = "stories.rs"]
mod paho;
