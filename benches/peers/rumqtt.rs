//! rumqttc, the usual MQTT client in Rust.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use super::Load;
use super::raw::TOPIC;
use crate::measure::slices::Figures;

pub(crate) async fn run(load: &Load) -> Figures {
    let Load { address, in_flight, slice, .. } = *load;
    let mut options = MqttOptions::new("device-1", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(60));
    options.set_credentials("u", "p");
    let (client, mut events) = AsyncClient::new(options, 2 * in_flight + 1);
    while !matches!(events.poll().await.expect("connected"), Event::Incoming(Packet::ConnAck(_))) {}
    let mut sent = VecDeque::new();
    let mut figures = Figures::begin();
    for _ in 0..in_flight {
        client.try_publish(TOPIC, QoS::AtMostOnce, false, load.payload.to_vec()).expect("room");
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        let Event::Incoming(Packet::Publish(received)) = events.poll().await.expect("connected") else { continue };
        assert!(!received.payload.is_empty());
        figures.count(sent.pop_front().expect("an answer to something").elapsed());
        if figures.elapsed() < slice {
            client.try_publish(TOPIC, QoS::AtMostOnce, false, load.payload.to_vec()).expect("room");
            sent.push_back(Instant::now());
        }
    }
    figures.end()
}
