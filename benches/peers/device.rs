//! This crate's client: requests and answers of `http`, ids and deadlines included.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::Request;
use thingif::client::{self, Client};
use thingif::config::{Config, Identity};
use thingif::frame;
use thingif::ids::AccessToken;
use thingif::secret::Secret;
use thingif::thing_if::{Credential, MqttEndpoint};
use thingif::transport::Transport;

use super::Load;
use crate::measure::slices::Figures;

pub(crate) const STATE: &[u8] =
    br#"{"power":true,"presetTemperature":25,"fanspeed":5,"currentTemperature":28,"currentHumidity":65}"#;

pub(crate) fn states() -> &'static str {
    "/thing-if/apps/a1/targets/thing:th.1/states"
}

/// The frame that the client sends, for those who send bytes.
pub(crate) fn frame() -> Bytes {
    let request = Request::put(states())
        .header("Authorization", "Bearer 0123456789abcdef0123456789abcdef01234567")
        .header("X-Kii-RequestID", "0123456789abcdef-12345")
        .header("Content-Type", "application/json")
        .body(STATE)
        .expect("valid");
    let mut bytes = BytesMut::new();
    frame::encode_request(&request, &mut bytes);
    bytes.freeze()
}

/// A device that was onboarded before, and is `device-1` at this broker.
pub(crate) fn config(load: &Load, is_ordinary_broker: bool) -> Config {
    let endpoint = MqttEndpoint {
        installation_id: "i".into(),
        username: "u".into(),
        password: "p".to_owned().into(),
        mqtt_topic: "device-1".parse().expect("valid"),
        host: load.address.ip().to_string(),
        port_tcp: Some(load.address.port()),
        port_ssl: None,
        port_ws: None,
        port_wss: None,
        ttl: None,
    };
    let credential = Credential {
        app_id: "a1".parse().expect("valid"),
        thing_id: "th.1".parse().expect("valid"),
        access_token: Secret::new(AccessToken::new("0123456789abcdef0123456789abcdef01234567").expect("valid")),
        endpoint,
    };
    let identity = Identity::vendor_thing("lamp-1".parse().expect("valid"), "pw".to_owned().into());
    let broker = format!("mqtt://{}", load.address).parse().expect("an endpoint");
    let config = Config::new(broker, "a1".parse().expect("valid"), "key".to_owned().into(), identity).expect("valid");
    config.with_resume(credential).with_response_filter(is_ordinary_broker)
}

pub(crate) async fn run(transport: impl Transport, load: &Load, is_ordinary_broker: bool) -> Figures {
    let (client, _pushes, connection) =
        client::connect(config(load, is_ordinary_broker), transport).await.expect("connects");
    let connection = tokio::spawn(connection.run());
    let figures = requests(&client, load).await;
    client.close().await;
    connection.await.expect("no panic").expect("closed");
    figures
}

async fn requests(client: &Client, load: &Load) -> Figures {
    let send = || async {
        let begun = Instant::now();
        let request = Request::put(states()).header("Content-Type", "application/json");
        let answer = client.send(request.body(Bytes::from_static(STATE)).expect("valid")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        begun.elapsed()
    };
    let mut figures = Figures::begin();
    let mut calls: FuturesUnordered<_> = (0..load.in_flight).map(|_| send()).collect();
    while let Some(latency) = calls.next().await {
        figures.count(latency);
        if figures.elapsed() < load.slice {
            calls.push(send());
        }
    }
    figures.end()
}
