//! Grades devices and services by scenarios whose files any language can read.
//!
//! [`ClientRun`] plays the service, with scripted misbehaviour, and grades what a client does; [`ServerRun`] plays devices
//! and grades what a service does. Both share floor 0 with what they may be grading, and no judgement: there is no `client`,
//! `proto` or `edge` here. The scenarios are in `proto-samples/scenarios`; [`format`](mod@format) is their specification, and says what
//! a client must do to be graded.
//!
//! ```
//! use thingif::conformance::{End, Scenarios};
//!
//! let scenarios = Scenarios::built_in(End::Client)?;
//! assert!(scenarios.scenarios.iter().any(|scenario| scenario.name == "onboarding-frame"));
//! # Ok::<(), thingif::conformance::InvalidPack>(())
//! ```

mod client;
mod event;
mod link;
mod matching;
mod pack;
mod play;
mod report;
pub mod scenario;
mod server;
mod shown;
mod stage;
mod subject;
mod values;

#[doc = include_str!("../../proto-samples/scenarios/README.md")]
pub mod format {}

pub use client::{APP_ID, APP_KEY, ClientRun, PASSWORD, THING, listed};
pub use matching::{Mismatch, matches, matches_all};
pub use pack::{InvalidPack, Scenarios};
pub use report::{Failure, Outcome, Verdict, to_junit};
pub use scenario::End;
pub use server::{App, ServerRun};
