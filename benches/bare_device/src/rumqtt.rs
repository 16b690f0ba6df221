use std::error::Error;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use super::{CLIENT_ID, FRAME, TOPIC, heard};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(is_tls: bool, authority: &str) -> Result<(), Box<dyn Error>> {
    let (host, port) = authority.rsplit_once(':').ok_or("a port is missing")?;
    let mut options = MqttOptions::new(CLIENT_ID, host, port.parse()?);
    options.set_keep_alive(Duration::from_secs(60));
    options.set_credentials("u", "p");
    if is_tls {
        options.set_transport(tls()?);
    }
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe(CLIENT_ID, QoS::AtMostOnce).await?;
    client.publish(TOPIC, QoS::AtMostOnce, false, FRAME).await?;
    loop {
        if let Event::Incoming(Packet::Publish(received)) = events.poll().await? {
            heard(&received.topic, &received.payload);
        }
    }
}

#[cfg(feature = "rumqttc-tls")]
fn tls() -> Result<rumqttc::Transport, Box<dyn Error>> {
    // The library looks for the one that the process has.
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    provider.install_default().map_err(|_| "twice")?;
    let ca = std::fs::read(std::env::var("DEVICE_CA")?)?;
    Ok(rumqttc::Transport::tls(ca, None, None))
}

#[cfg(not(feature = "rumqttc-tls"))]
fn tls() -> Result<rumqttc::Transport, Box<dyn Error>> {
    Err("built without TLS".into())
}
