//! The device's side of the protocol as pure machines: no socket, no clock, no thread, no runtime.
//!
//! ```text
//! Onboarding   Connecting → (Subscribing →) AwaitingReply → Storing → Done    one attempt, one deadline
//! Session      Connecting → Subscribing → Ready (→ Draining) → Ended          calls from CONNACK on
//! Lifecycle    Onboarding → Session → Waiting → Session → … → Closed
//!                   ^──── credentials refused, or N failed connects ───┘
//! ```
//!
//! All have the same contract:
//!
//! 1. Feed **one** input: `handle_event`, `handle_timeout`, `submit`, `cancel` or `close`, each with `now`.
//! 2. Drain `poll_action` until it returns `None`, and do what it says, in that order.
//! 3. Sleep until `next_deadline`, or until there is another input. `handle_timeout` too early does no harm.
//!
//! Every event and every action names its [`LinkId`], which only grows, so that a late event of the first broker cannot
//! speak in the life of the second. What a machine ignores it counts: [`Counters`].
//!
//! # Which answer belongs to which call
//!
//! Answers arrive on the topic of their request, in any order (`wire` §3). [`InFlight`] pairs them by topic and
//! `X-Kii-RequestID`, and never guesses; its documentation has the rules.
//!
#![doc = include_str!("lifecycle.md")]

mod backoff;
mod budget;
mod call;
mod cause;
mod doubt;
mod error;
mod event;
mod history;
mod id;
mod in_flight;
mod instant;
mod lifecycle;
mod notice;
mod onboarding;
mod parked;
mod policy;
mod session;
mod silence;
mod takeover;

pub use backoff::Backoff;
pub use call::IfDown;
pub use cause::Cause;
pub use error::{ConnectError, NotSent, OnboardingError, RequestError, SessionError};
pub use event::{Action, Event, EventKind};
pub use id::{CallId, LinkId};
pub use in_flight::{Answer, InFlight, Limits, Outcome, PeerIds};
pub use instant::Instant;
pub use lifecycle::Lifecycle;
pub use notice::{Counters, Notice};
pub use onboarding::Onboarding;
pub use session::{Session, SessionEnd};
