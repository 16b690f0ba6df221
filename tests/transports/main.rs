//! What every transport promises that connects over real sockets: one list of tests, run with each of them.
//!
//! What only one of them promises, and what only one of them has to bear, is in `paho_*.rs` and `native_*.rs` beside this.
#![cfg(any(feature = "paho", feature = "native-tls"))]
#![allow(clippy::duplicate_mod)] // the same tests with another transport: that is the point

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/connect_proxy.rs"]
mod connect_proxy;
#[path = "../support/mqtt_broker.rs"]
mod mqtt_broker;
#[cfg(feature = "edge")]
#[path = "../support/raw_mqtt.rs"]
mod raw_mqtt;
#[cfg(feature = "edge")]
#[path = "../support/scripted_edge.rs"]
mod scripted_edge;
#[path = "../support/subprocess.rs"]
mod subprocess;
#[path = "../support/transports.rs"]
mod support;

#[cfg(feature = "native-tls")]
#[path = "list.rs"]
mod native;
#[cfg(feature = "paho")]
#[path = "list.rs"]
mod paho;
