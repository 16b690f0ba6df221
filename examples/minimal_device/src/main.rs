//! The least that is a device: it onboards, reports its state once, and listens for commands.
//!
//! ```sh
//! export DEVICE_BROKER=mqtts://127.0.0.1 DEVICE_APP=demo DEVICE_THING=lamp-1 DEVICE_CA=ca.pem
//! export DEVICE_APP_KEY_FILE=app-key DEVICE_PASSWORD_FILE=password
//! cargo run --profile device -p minimal-device
//! ```
//!
//! Other transports: `--no-default-features --features native`, `paho` or `paho-tcp`. It prints the status of the answer to its
//! report, and then each command, a line each. It keeps nothing: it onboards at each start, and what it is told while it is away
//! is lost to it. A device that is to work has a vault, an outbox and `client::commands`, as the air conditioner has.

use std::env::{self, VarError};
use std::error::Error;
use std::fs;

use bytes::Bytes;
use http::Request;
use thingif::client::{self, Push};
use thingif::config::{Config, Identity};
use thingif::secret::Secret;
#[cfg(feature = "native")]
use thingif::transport::native::{Native as Mqtt, Options};
#[cfg(all(feature = "paho-tcp", not(feature = "native")))]
use thingif::transport::paho::{Options, Paho as Mqtt};

// One thread is enough for a device.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let identity = Identity::vendor_thing(setting("DEVICE_THING")?.parse()?, secret("DEVICE_PASSWORD_FILE")?);
    let (broker, app) = (setting("DEVICE_BROKER")?.parse()?, setting("DEVICE_APP")?.parse()?);
    let config = Config::new(broker, app, secret("DEVICE_APP_KEY_FILE")?, identity)?;
    let mut options = Options::default();
    options.tls.ca_file = env::var_os("DEVICE_CA").map(Into::into);
    let (client, mut pushes, connection) = client::connect(config, Mqtt::new(options)?).await?;
    let connection = tokio::spawn(connection.run());

    let credential = client.onboarded().await?;
    eprintln!("connected as {}", credential.thing_id);
    let states = format!("/thing-if/apps/{}/targets/thing:{}/states", credential.app_id, credential.thing_id);
    let report = Request::put(states).header("Content-Type", "application/json");
    let answer = client.send(report.body(Bytes::from_static(br#"{"power":true}"#))?).await?;
    println!("{}", answer.status().as_u16());
    while let Some(push) = pushes.next().await {
        match push {
            Push::Message(command) => println!("{}", String::from_utf8_lossy(&command)),
            Push::Lagged(lost) => eprintln!("{lost} commands were not taken in time"),
            other => eprintln!("{other:?}"),
        }
    }
    // The connection ends by itself only where trying again cannot help, and says why.
    Ok(connection.await??)
}

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error: VarError| format!("{name}: {error}"))
}

/// A secret out of the file that `name` names: neither arguments nor the environment show it to others.
fn secret(name: &str) -> Result<Secret<String>, Box<dyn Error>> {
    let file = setting(name)?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    Ok(Secret::new(text.trim_end().to_owned()))
}
