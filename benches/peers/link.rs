//! A link of this crate.

use std::collections::VecDeque;
use std::time::Instant;

use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::{ConnectOptions, LinkEvent, Transport, next_event};

use super::Load;
use super::raw::TOPIC;
use crate::measure::slices::Figures;

pub(crate) async fn run(transport: &dyn Transport, load: &Load) -> Figures {
    let Load { address, in_flight, slice, .. } = *load;
    let endpoint = Endpoint::new(Scheme::Mqtt, address.ip().to_string(), address.port()).expect("an endpoint");
    let credentials = Credentials {
        client_id: ClientId::new("device-1").expect("valid"),
        username: "u".into(),
        password: "p".into(),
    };
    let options = ConnectOptions::default();
    let mut link = transport.connect(&endpoint, &credentials, &options).await.expect("accepted");
    let publish = Publish::new(Topic::new(TOPIC).expect("a topic"), load.payload.clone());
    let mut sent = VecDeque::new();
    let mut figures = Figures::begin();
    for _ in 0..in_flight {
        link.publish(publish.clone()).expect("room");
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        let LinkEvent::Received(received) = next_event(link.as_mut()).await else { panic!("the server is gone") };
        assert!(!received.payload.is_empty());
        figures.count(sent.pop_front().expect("an answer to something").elapsed());
        if figures.elapsed() < slice {
            link.publish(publish.clone()).expect("room");
            sent.push_back(Instant::now());
        }
    }
    link.close().await;
    figures.end()
}
