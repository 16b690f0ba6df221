use std::error::Error;

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, Message, PersistenceType, QoS, SslOptionsBuilder,
};

use super::{CLIENT_ID, FRAME, TOPIC, heard};

pub(crate) fn run(is_tls: bool, authority: &str) -> Result<(), Box<dyn Error>> {
    let scheme = if is_tls { "mqtts" } else { "mqtt" };
    let options = CreateOptionsBuilder::new()
        .server_uri(format!("{scheme}://{authority}"))
        .client_id(CLIENT_ID)
        .persistence(PersistenceType::None)
        .finalize();
    let client = AsyncClient::new(options)?;
    let messages = client.start_consuming();
    let mut options = ConnectOptionsBuilder::new();
    options.user_name("u").password("p");
    if is_tls {
        let mut tls = SslOptionsBuilder::new();
        tls.verify(true).trust_store(std::env::var("DEVICE_CA")?)?;
        options.ssl_options(tls.finalize());
    }
    client.connect(options.finalize()).wait()?;
    client.subscribe(CLIENT_ID, QoS::AtMostOnce).wait()?;
    client.publish(Message::new(TOPIC, FRAME, QoS::AtMostOnce)).wait()?;
    for message in messages.iter().flatten() {
        heard(message.topic(), message.payload());
    }
    Ok(())
}
