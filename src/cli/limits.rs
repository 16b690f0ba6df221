//! How much `thingif serve` takes at once: bounds that a large machine raises and a small one lowers.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::{cloud, edge};

const MIB: usize = 1024 * 1024;

/// Bounds. Whatever is beyond one is answered so that whoever sent it knows, and counted in /metrics.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// MQTT connections at once; one more is closed. Keep it below the system's limit on open files.
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    max_connections: u32,
    /// Seconds from a connection to its complete CONNECT, TLS included; then it is closed.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u32).range(1..=300))]
    connect_timeout: u32,
    /// Requests a second of one MQTT connection, once its burst is used up; beyond, 429.
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    request_rate: u32,
    /// Requests of one MQTT connection that are taken at once after a pause.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    request_burst: u32,
    /// Requests of one thing that are worked on at once; beyond, 503.
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = value_parser!(u32).range(1..=65_536))]
    max_in_flight: u32,
    /// MiB that all requests over MQTT may hold together; beyond, 503.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = value_parser!(u32).range(1..=1_048_576))]
    request_memory: u32,
    /// MiB of answers and pushes that may wait for their connections; beyond, those that hold the most are closed.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = value_parser!(u32).range(1..=1_048_576))]
    outgoing_memory: u32,
    /// Pushes that may wait for one connection; beyond, they are dropped.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = value_parser!(u32).range(1..=65_536))]
    push_queue: u32,
    /// The largest request over MQTT, with its head, in bytes; beyond, 413.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = value_parser!(u32).range(1_024..=16_777_216))]
    max_frame: u32,
    /// The largest body of a request, in bytes; beyond, 413.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = value_parser!(u32).range(1_024..=16_777_216))]
    max_body: u32,
    /// Writes, and as many reads, that may wait for the store; beyond, 503.
    #[arg(long, value_name = "NUMBER", default_value_t = 4_096, value_parser = value_parser!(u32).range(1..=1_048_576))]
    store_queue: u32,
    /// Writes that share a sync of the disk, at most; 1 syncs for each.
    #[arg(long, value_name = "NUMBER", default_value_t = 512, value_parser = value_parser!(u16).range(1..=4_096))]
    writes_per_commit: u16,
    /// Triggers of one thing; beyond, 409.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = value_parser!(u16).range(1..=10_000))]
    max_triggers: u16,
    /// How often one trigger fires within a minute; beyond, it does nothing.
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = value_parser!(u16).range(1..=6_000))]
    trigger_firings: u16,
}

impl Limits {
    /// Sets those that are the cloud's.
    pub(crate) fn set(&self, options: &mut cloud::Options) {
        options.max_body = self.max_body as usize;
        options.store_queue = self.store_queue as usize;
        options.writes_per_commit = self.writes_per_commit.into();
        options.max_triggers = self.max_triggers;
        options.trigger_firings_per_minute = self.trigger_firings;
    }

    /// Those that are the edge's, and the defaults of all others.
    pub(crate) fn edge(&self) -> edge::Config {
        let default = edge::Config::default();
        let max_frame = self.max_frame as usize;
        edge::Config {
            max_connections: self.max_connections as usize,
            connect_timeout: Duration::from_secs(self.connect_timeout.into()),
            max_requests_per_second: self.request_rate,
            max_request_burst: self.request_burst,
            max_in_flight: self.max_in_flight as usize,
            max_in_flight_bytes_total: self.request_memory as usize * MIB,
            max_outgoing_total: self.outgoing_memory as usize * MIB,
            push_queue: self.push_queue as usize,
            max_frame,
            // What is too large by a little is skipped, not hung up on.
            max_skip: default.max_skip.max(max_frame.saturating_mul(2)),
            // One frame of a client can always wait.
            max_waiting_bytes: default.max_waiting_bytes.max(max_frame.saturating_mul(2)),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        limits: Limits,
    }

    fn read(flags: &[&str]) -> Limits {
        Flags::try_parse_from(std::iter::once("serve").chain(flags.iter().copied())).expect("valid").limits
    }

    #[test]
    fn without_flags_they_are_what_the_library_says() {
        let limits = read(&[]);
        let mut options = cloud::Options::default();
        let before = format!("{options:?}");
        limits.set(&mut options);
        assert_eq!(format!("{options:?}"), before);
        assert_eq!(format!("{:?}", limits.edge()), format!("{:?}", edge::Config::default()));
    }

    #[test]
    fn each_flag_sets_its_own() {
        let flags = [
            "--max-connections=1",
            "--connect-timeout=2",
            "--request-rate=3",
            "--request-burst=4",
            "--max-in-flight=5",
            "--request-memory=6",
            "--outgoing-memory=7",
            "--push-queue=8",
            "--max-frame=2097152",
            "--max-body=1025",
            "--store-queue=9",
            "--writes-per-commit=10",
            "--max-triggers=11",
            "--trigger-firings=12",
        ];
        let limits = read(&flags);
        let edge = limits.edge();
        assert_eq!((edge.max_connections, edge.connect_timeout), (1, Duration::from_secs(2)));
        assert_eq!((edge.max_requests_per_second, edge.max_request_burst, edge.max_in_flight), (3, 4, 5));
        assert_eq!((edge.max_in_flight_bytes_total, edge.max_outgoing_total), (6 * MIB, 7 * MIB));
        assert_eq!((edge.push_queue, edge.max_frame, edge.max_skip), (8, 2 * MIB, 4 * MIB));
        let mut options = cloud::Options::default();
        limits.set(&mut options);
        assert_eq!((options.max_body, options.store_queue, options.writes_per_commit), (1_025, 9, 10));
        assert_eq!((options.max_triggers, options.trigger_firings_per_minute), (11, 12));
    }

    #[test]
    fn the_ends_of_each_range_open_a_cloud() {
        use crate::edge::Registry;
        for flags in [
            ["--max-body=1024", "--store-queue=1", "--writes-per-commit=1", "--max-triggers=1", "--trigger-firings=1"],
            [
                "--max-body=16777216",
                "--store-queue=1048576",
                "--writes-per-commit=4096",
                "--max-triggers=10000",
                "--trigger-firings=6000",
            ],
        ] {
            let mut options = cloud::Options::default();
            read(&flags).set(&mut options);
            cloud::Cloud::open(options, std::sync::Arc::new(Registry::new())).expect("within the library's ranges");
        }
        for flag in ["--max-body=1023", "--store-queue=0", "--max-triggers=10001", "--max-connections=0"] {
            assert!(Flags::try_parse_from(["serve", flag]).is_err(), "{flag}");
        }
    }
}
