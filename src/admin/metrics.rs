//! Everything that is counted, in the text format of Prometheus.
//!
//! The cloud and the edge count by themselves; here their numbers are given names. Labels have few values whatever clients do:
//! an operation is a route with the names of its parameters, and no name of an application, a thing or a peer is one.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::cloud::{Cloud, Distribution, Road};
use crate::edge::Registry;

/// OpenMetrics, which Prometheus asks for and reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers as they are now.
pub(super) fn encode(cloud: &Cloud, registry: &Registry, started: SystemTime) -> Result<String, fmt::Error> {
    let mut all = prometheus_client::registry::Registry::default();
    all.register_collector(Box::new(Numbers { cloud: cloud.clone(), registry: registry.clone(), started }));
    let mut encoded = String::new();
    text::encode(&mut encoded, &all)?;
    Ok(encoded)
}

struct Numbers {
    cloud: Cloud,
    registry: Registry,
    started: SystemTime,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.about_the_process(encoder)?;
        self.about_connections(encoder)?;
        self.about_pushes(encoder)?;
        self.about_triggers(encoder)?;
        self.about_operations(encoder)?;
        self.about_the_store(encoder)?;
        let logins = self.cloud.logins();
        counter(encoder, "thingif_logins_failed", "Logins whose password or key was wrong", logins.failed)?;
        counter(
            encoder,
            "thingif_logins_delayed",
            "Logins that waited because others had failed before",
            logins.delayed,
        )?;
        counter(encoder, "thingif_logins_forgotten", "Failures forgotten before their time", logins.forgotten)?;
        let remembered = logins.remembered;
        gauge(
            encoder,
            "thingif_logins_remembered",
            "Addresses and names with failed logins, remembered now",
            remembered,
        )
    }
}

impl Numbers {
    fn about_the_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut build =
            encoder.encode_descriptor("thingif_build_info", "Which program this is", None, MetricType::Gauge)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        build.encode_family(&version)?.encode_gauge(&1_u64)?;
        gauge(encoder, "process_start_time_seconds", "When the program was started, in seconds since 1970", started)
    }

    fn about_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.registry.connections();
        let mut by_role = encoder.encode_descriptor(
            "thingif_connections",
            "MQTT connections now, by role: onboarding at the default broker, or assigned",
            None,
            MetricType::Gauge,
        )?;
        for (role, count) in [("onboarding", connections.onboarding), ("assigned", connections.assigned)] {
            by_role.encode_family(&[("role", role)])?.encode_gauge(&(count as u64))?;
        }
        let outgoing = self.registry.outgoing_bytes();
        gauge(encoder, "thingif_edge_outgoing_bytes", "Bytes of answers and pushes that wait to leave", outgoing)?;
        let counted = self.registry.metrics();
        let mut events = encoder.encode_descriptor(
            "thingif_edge_events",
            "What the edge accepts, refuses, drops and ends: the fields of thingif::edge::Metrics",
            None,
            MetricType::Counter,
        )?;
        for (event, count) in counted.iter() {
            add(&mut events.encode_family(&[("event", event)])?, count)?;
        }
        Ok(())
    }

    fn about_pushes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (pushes, at_the_edge) = (self.cloud.pushes(), self.registry.metrics());
        counter(encoder, "thingif_pushes_sent", "Pushes queued for a connection that has subscribed", pushes.queued)?;
        let mut dropped = encoder.encode_descriptor(
            "thingif_pushes_dropped",
            "Pushes dropped, by cause: not_connected, not_subscribed, overloaded (the connection's queue was full), or abandoned (sent, \
             and the connection ended before it took them)",
            None,
            MetricType::Counter,
        )?;
        for (cause, count) in [
            ("not_connected", pushes.not_connected),
            ("not_subscribed", pushes.not_subscribed),
            ("overloaded", pushes.overloaded),
            ("abandoned", at_the_edge.pushes_abandoned),
        ] {
            add(&mut dropped.encode_family(&[("cause", cause)])?, count)?;
        }
        counter(
            encoder,
            "thingif_publications_dropped",
            "Changes and messages whose recipients were not told: too many waited, or the store failed",
            pushes.publications_dropped,
        )
    }

    fn about_triggers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.cloud.trigger_counts();
        let mut events = encoder.encode_descriptor(
            "thingif_trigger_events",
            "What became of triggers: the fields of thingif::cloud::TriggerCounts",
            None,
            MetricType::Counter,
        )?;
        for (event, count) in [
            ("fired", counts.fired),
            ("suppressed", counts.suppressed),
            ("missed", counts.missed),
            ("switched_off", counts.switched_off),
        ] {
            add(&mut events.encode_family(&[("event", event)])?, count)?;
        }
        Ok(())
    }

    fn about_operations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let operations = self.cloud.operations();
        let name = |method: &str, path: &str| format!("{method} {}", if path.is_empty() { "unknown" } else { path });
        let road = |road: Road| match road {
            Road::Http => "http",
            Road::Mqtt => "mqtt",
        };
        let mut requests = encoder.encode_descriptor(
            "thingif_requests",
            "Requests answered, by road, operation and status",
            None,
            MetricType::Counter,
        )?;
        for operation in &operations {
            let operation_name = name(operation.method, &operation.path);
            for (status, count) in &operation.answers {
                let labels = [
                    ("road", road(operation.road).to_owned()),
                    ("operation", operation_name.clone()),
                    ("status", status.to_string()),
                ];
                add(&mut requests.encode_family(&labels)?, *count)?;
            }
        }
        let mut latencies = encoder.encode_descriptor(
            "thingif_request_duration_seconds",
            "From the head of a request to that of its answer, by road and operation",
            None,
            MetricType::Histogram,
        )?;
        for operation in &operations {
            let labels =
                [("road", road(operation.road).to_owned()), ("operation", name(operation.method, &operation.path))];
            histogram(&mut latencies.encode_family(&labels)?, &operation.latency)?;
        }
        Ok(())
    }

    fn about_the_store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut sizes = encoder.encode_descriptor(
            "thingif_store_batch_size",
            "Writes that one commit, and so one sync of the disk, had",
            None,
            MetricType::Histogram,
        )?;
        histogram(&mut sizes, &self.cloud.batches())?;
        let queued = self.cloud.queued();
        let mut waiting = encoder.encode_descriptor(
            "thingif_store_queued",
            "Jobs that wait for the store now",
            None,
            MetricType::Gauge,
        )?;
        for (queue, count) in [("write", queued.writes), ("read", queued.reads)] {
            waiting.encode_family(&[("queue", queue)])?.encode_gauge(&(count as u64))?;
        }
        Ok(())
    }
}

/// The format appends `_total`.
fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge<N>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    N: prometheus_client::encoding::EncodeGaugeValue,
{
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn add(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn histogram(encoder: &mut MetricEncoder<'_>, distribution: &Distribution) -> fmt::Result {
    let buckets: Vec<_> = distribution.buckets().collect();
    encoder.encode_histogram::<NoLabelSet>(distribution.sum(), distribution.count(), &buckets, None)
}
