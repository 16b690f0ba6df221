//! Paho as its own users have it, without anything of this crate: publish, and a callback.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use paho_mqtt::{AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, Message, PersistenceType, QoS};

use super::Load;
use super::raw::TOPIC;
use crate::measure::slices::Figures;

/// For an answer that will not come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(load: &Load) -> Figures {
    let options = CreateOptionsBuilder::new()
        .server_uri(format!("tcp://{}", load.address))
        .client_id("device-1")
        .max_buffered_messages(10_000) // the default is 100, beyond which it refuses
        .persistence(PersistenceType::None)
        .finalize();
    let client = AsyncClient::new(options).expect("valid options");
    let (heard, hear) = mpsc::channel();
    client.set_message_callback(move |_, message| {
        if let Some(message) = message {
            // Fails only when this slice is over.
            heard.send(message.payload().len()).ok();
        }
    });
    let options = ConnectOptionsBuilder::new().user_name("u").password("p").finalize();
    client.connect(options).wait().expect("accepted");
    assert!(client.is_connected(), "waits for the library's callback to return");
    // Its delivery tokens are not awaited: that would cost it most of its speed.
    let publish = || {
        let message = Message::new(TOPIC, load.payload.to_vec(), QoS::AtMostOnce);
        drop(client.try_publish(message).expect("room"));
    };
    let mut sent = VecDeque::new();
    let mut figures = Figures::begin();
    for _ in 0..load.in_flight {
        publish();
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        assert!(hear.recv_timeout(PATIENCE).expect("an answer") > 0);
        figures.count(sent.pop_front().expect("an answer to something").elapsed());
        if figures.elapsed() < load.slice {
            publish();
            sent.push_back(Instant::now());
        }
    }
    let figures = figures.end();
    client.disconnect(None).wait().expect("connected");
    // A client that is dropped while the library's callback runs stands still for ever.
    assert!(!client.is_connected());
    figures
}
