//! A gateway with two lamps behind it, over one connection: each lamp is a thing of its own, with states, commands and a sign of
//! life, and has no connection of its own.
//!
//! The lamps belong to the user who owns the gateway, whose token lets the gateway onboard them.
//!
//! ```sh
//! export GATEWAY_BROKER=mqtt://127.0.0.1 GATEWAY_APP=demo GATEWAY_THING=hub-1 GATEWAY_DIR=./hub-1
//! export GATEWAY_APP_KEY_FILE=app-key GATEWAY_PASSWORD_FILE=password     # of the gateway and, here, of its lamps
//! export GATEWAY_OWNER=USER_ID GATEWAY_OWNER_TOKEN_FILE=token
//! cargo run --example gateway -- lamp-1 lamp-2
//! thingif thing send lamp-2 '[{"turnPower":{"power":true}}]'
//! ```

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use thingif::client::commands::{ActionTable, FileJournal};
use thingif::client::gateway::{EndNode, FileNodeStore, Gateway, GatewayEvent, NodeOnboarding, Owner};
use thingif::client::{self, vault::FileVault};
use thingif::config::{Config, Identity};
use thingif::ids::AccessToken;
use thingif::secret::Secret;
use thingif::thing_if::State;
use thingif::transport::paho::{Options, Paho};
use tokio::sync::mpsc;

#[derive(Deserialize)]
struct TurnPower {
    power: bool,
}

/// Something happened at a lamp: here by a command, elsewhere by its switch.
struct Switched {
    lamp: EndNode,
    power: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(setting("GATEWAY_DIR")?);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let password = secret("GATEWAY_PASSWORD_FILE")?;
    let identity = Identity::vendor_thing(setting("GATEWAY_THING")?.parse()?, password.clone());
    let (broker, app) = (setting("GATEWAY_BROKER")?.parse()?, setting("GATEWAY_APP")?.parse()?);
    let config = Config::new(broker, app, secret("GATEWAY_APP_KEY_FILE")?, identity)?;
    let mut options = Options::default();
    options.tls.ca_file = std::env::var_os("GATEWAY_CA").map(PathBuf::from);
    let vault = FileVault::open(directory.join("credential"))?;
    let (client, pushes, mut connection) = client::connect_with(config, Paho::new(options)?, vault).await?;
    let notices = connection.notices();
    let mut connection = tokio::spawn(connection.run());

    let (switched, mut switches) = mpsc::channel(64);
    let token = AccessToken::new(secret("GATEWAY_OWNER_TOKEN_FILE")?.expose().as_str())?;
    let owner = Owner::user(setting("GATEWAY_OWNER")?.parse()?, token);
    let (gateway, routing, mut events) = Gateway::builder(client.clone(), move |lamp| actions(lamp, &switched))
        .with_owner(owner)
        .with_store(FileNodeStore::open(directory.join("nodes"))?)
        .with_journal(FileJournal::open(directory.join("commands"))?)
        .open()
        .await?;
    let routing = tokio::spawn(routing.run(pushes, notices));

    for lamp in std::env::args().skip(1) {
        let lamp = gateway.onboard_once(&NodeOnboarding::new(lamp.parse()?, password.clone())).await?;
        lamp.set_online(true);
        report(&lamp, false).await;
        eprintln!("{} is here as {}", lamp.vendor_thing_id(), lamp.thing_id());
    }

    loop {
        tokio::select! {
            Some(Switched { lamp, power }) = switches.recv() => report(&lamp, power).await,
            Some(event) = events.next() => match event {
                GatewayEvent::Left { vendor_thing_id, why, .. } => eprintln!("{vendor_thing_id} has left: {why:?}"),
                other => eprintln!("{other:?}"),
            },
            // The connection ends by itself only where trying again cannot help.
            ended = &mut connection => return Ok(ended??),
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                break;
            }
        }
    }
    client.close().await;
    connection.await??;
    routing.await?;
    Ok(())
}

/// What a lamp can be asked for.
fn actions(lamp: &EndNode, switched: &mpsc::Sender<Switched>) -> ActionTable {
    let (lamp, switched) = (lamp.clone(), switched.clone());
    ActionTable::new().on("turnPower", move |TurnPower { power }, _| {
        // Over Zigbee, or whatever the lamp speaks.
        let (lamp, switched) = (lamp.clone(), switched.clone());
        async move { switched.send(Switched { lamp, power }).await.map_err(|_| "the gateway is ending") }
    })
}

/// A report that fails is not the end of a gateway: the next switch reports again.
async fn report(lamp: &EndNode, power: bool) {
    let state = State([(String::from("power"), json!(power))].into_iter().collect());
    if let Err(error) = lamp.put_state(&state).await {
        eprintln!("the state of {} was not reported: {error}", lamp.vendor_thing_id());
    }
}

fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// A secret out of the file that `name` names: neither arguments nor the environment show it to others.
fn secret(name: &str) -> Result<Secret<String>, Box<dyn Error>> {
    let file = setting(name)?;
    let text = std::fs::read_to_string(Path::new(&file)).map_err(|error| format!("{file}: {error}"))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
