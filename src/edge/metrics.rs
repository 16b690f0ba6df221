//! What the edge counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since the [`Registry`](super::Registry) was made, one for everything that an edge drops, refuses or ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            /// Each of them with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// The same, counting.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Metrics {
                Metrics { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Sockets accepted.
    accepted,
    /// Sockets closed at once because there were
    /// [`Config::max_connections`](super::Config::max_connections) already.
    turned_away,
    /// `accept` failed: out of file descriptors, mostly.
    accept_errors,
    /// Connections that ended before a complete CONNECT: handshake failed, timed out, or something else than MQTT.
    not_connected,
    /// CONNECTs answered with a refusal.
    refused,
    /// Connections closed because a newer one has their client identifier.
    taken_over,
    /// Connections closed for silence of 1.5 keep-alives.
    keep_alive_expired,
    /// Connections closed because they did not take what was written for them, or lost too many pushes by that.
    slow_consumers,
    /// Connections closed because they held the most when all together held more than
    /// [`Config::max_outgoing_total`](super::Config::max_outgoing_total).
    outgoing_overflows,
    /// Connections closed for breaking MQTT, or for a payload that was too large to skip.
    protocol_errors,
    /// Requests handed to the service.
    requests,
    /// Requests answered with 400: not a frame.
    malformed_frames,
    /// Requests answered with 431: a head of too many bytes or fields.
    oversize_heads,
    /// Requests answered with 413.
    oversize_frames,
    /// Requests answered with 403 or 404 by the edge itself: not this connection's application, or not its broker's job.
    misdirected_requests,
    /// Requests answered with 429: too many a second.
    throttled_requests,
    /// Requests answered with 503: too many in flight.
    overloaded_requests,
    /// Requests that were taken and had not begun when their connection to the default broker ended; dropped.
    abandoned_requests,
    /// The service panicked or failed; answered with 500.
    service_failures,
    /// Answers that found their connection gone.
    undeliverable_answers,
    /// PUBLISHes on topics outside `p/{own client id}/`, ignored.
    foreign_publishes,
    /// Topic filters refused, with 0x80 in 3.1.1 and without a word in 3.1.
    refused_filters,
    /// QoS 2 PUBLISHes that had come before, not executed again.
    duplicates,
    /// Acknowledgements of what was never sent, and wills and retain flags, all ignored.
    ignored,
    /// Pushes queued for a connection.
    pushes,
    /// Pushes dropped because the connection's queue was full, or because it ended before it took them.
    pushes_dropped,
    /// Those among them that had been queued: the connection ended before it took them.
    pushes_abandoned,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.add_many(1);
    }

    pub(super) fn add_many(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
