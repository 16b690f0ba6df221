//! What is measured, and what it is measured against; each in a process of its own.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

pub(crate) mod fixed;
pub(crate) mod fleet;
pub(crate) mod mosquitto;
pub(crate) mod onboarder;
pub(crate) mod responder;
pub(crate) mod slow_road;
pub(crate) mod world;
