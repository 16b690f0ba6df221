//! rumqttc, the usual MQTT client in Rust.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use super::answerer::PAYLOAD;
use super::raw::TOPIC;
use super::report::Figures;

pub(crate) async fn run(address: SocketAddr, in_flight: usize, slice: Duration) -> Figures {
    let mut options = MqttOptions::new("device-1", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 2 * in_flight + 1);
    while !matches!(events.poll().await.expect("connected"), Event::Incoming(Packet::ConnAck(_))) {}
    let mut sent = VecDeque::new();
    let mut figures = Figures::begin();
    let payload = vec![b'x'; PAYLOAD];
    for _ in 0..in_flight {
        client.try_publish(TOPIC, QoS::AtMostOnce, false, payload.clone()).expect("room");
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        let Event::Incoming(Packet::Publish(received)) = events.poll().await.expect("connected") else { continue };
        assert_eq!(received.payload.len(), PAYLOAD);
        figures.count(sent.pop_front().expect("an answer to something").elapsed());
        if figures.elapsed() < slice {
            client.try_publish(TOPIC, QoS::AtMostOnce, false, payload.clone()).expect("room");
            sent.push_back(Instant::now());
        }
    }
    figures.end()
}
