//! Nothing secret reaches a log at any level, nor what an error says of itself: whole stories, told with everything
//! listening, and then searched for every secret that was planted in them.
//!
//! A secret is searched for as it is and in each form that software writes text in: JSON, `Debug`, Base64, percent-encoded,
//! hexadecimal, lists of numbers; its beginning and its end alone, too, since what was cut off is still a leak.
//!
//! In a program of its own: tracing remembers for the whole process whether anybody listens to an event.
#![cfg(feature = "client")]

mod collector;
mod planted;

#[path = "../device/mod.rs"]
mod device;

mod stories_in_memory;

#[cfg(all(feature = "cloud", any(feature = "paho", feature = "native-tls")))]
#[path = "../cloud_support/mod.rs"]
mod cloud_support;
#[cfg(all(feature = "cloud", any(feature = "paho", feature = "native-tls")))]
#[path = "../support/raw_mqtt.rs"]
mod raw_mqtt;
#[cfg(all(feature = "cloud", any(feature = "paho", feature = "native-tls")))]
mod stories_over_sockets;
#[cfg(all(feature = "cloud", any(feature = "paho", feature = "native-tls")))]
#[path = "../support/subprocess.rs"]
mod subprocess;
#[cfg(all(feature = "cloud", any(feature = "paho", feature = "native-tls")))]
#[path = "../support/transports.rs"]
mod transports;

#[cfg(feature = "cli")]
#[path = "../program/mod.rs"]
mod program;
#[cfg(feature = "cli")]
mod stories_of_the_program;
