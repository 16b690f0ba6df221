//! What the bridge counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since the [`Upstream`](super::Upstream) was made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, counting.
        #[derive(Debug, Default)]
        pub(super) struct Counting {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counting {
            pub(super) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Requests that the upstream has answered, whatever it said.
    answered,
    /// Requests that were not allowed: 404, 405, 413.
    refused,
    /// Requests for which there was no connection in time: 503.
    overloaded,
    /// Requests for which the upstream could not be reached: 503.
    unreachable,
    /// Requests that were broken off: 502.
    broken,
    /// Answers that were too long: 502.
    too_long,
    /// Requests that were not answered in time: 504.
    timed_out,
    /// Requests that were sent again because their connection was gone.
    repeated,
    /// Onboardings whose login could not be kept: 503.
    not_learnt,
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
