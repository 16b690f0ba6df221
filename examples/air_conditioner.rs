//! An air conditioner: typed commands, typed states, and nothing for anybody to look after.
//!
//! It onboards at the first start, finds the commands that it missed, carries out each once, and reports its state after each
//! change, when the connection is there again.
//!
//! ```sh
//! export AC_BROKER=mqtt://127.0.0.1 AC_APP=demo AC_THING=ac-1 AC_DIR=./ac-1       # AC_CA=ca.pem for a private authority
//! export AC_APP_KEY_FILE=app-key AC_PASSWORD_FILE=password
//! cargo run --example air_conditioner
//! thingif thing send ac-1 '[{"turnPower":{"power":true}},{"setPresetTemperature":{"presetTemperature":25}}]'
//! ```

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use serde::{Deserialize, Serialize};
use thingif::client::commands::{ActionTable, Commands, FileJournal};
use thingif::client::outbox::{Outbox, OutboxEvent};
use thingif::client::{self, vault::FileVault};
use thingif::config::{Config, Identity};
use thingif::secret::Secret;
use thingif::transport::paho::{Options, Paho};

/// What an owner may ask for; a command that is none of this fails with the reason.
#[derive(Deserialize)]
struct TurnPower {
    power: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetPresetTemperature {
    preset_temperature: u8,
}

/// What an owner sees.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    power: bool,
    preset_temperature: u8,
}

/// The machine. A real one has a compressor behind it.
#[derive(Clone)]
struct AirConditioner {
    state: Arc<Mutex<State>>,
    outbox: Outbox,
    states: String,
}

impl AirConditioner {
    async fn turn_power(self, power: bool) -> Result<(), String> {
        self.change(|state| state.power = power).await
    }

    async fn set_preset_temperature(self, degrees: u8) -> Result<(), String> {
        if !(16..=30).contains(&degrees) {
            return Err(format!("{degrees} °C cannot be set: 16 to 30 can"));
        }
        self.change(|state| state.preset_temperature = degrees).await
    }

    /// Changes the state and has it reported, now or when there is a connection; a newer report takes the place of an older one.
    async fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), String> {
        let state = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut state);
            state.clone()
        };
        let body = serde_json::to_vec(&state).map_err(|error| error.to_string())?;
        let report = Request::put(&self.states).header("Content-Type", "application/json").body(Bytes::from(body));
        let report = report.map_err(|error| error.to_string())?;
        self.outbox.push(report).await.map(drop).map_err(|error| error.to_string())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(setting("AC_DIR")?);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let identity = Identity::vendor_thing(setting("AC_THING")?.parse()?, secret("AC_PASSWORD_FILE")?);
    let config =
        Config::new(setting("AC_BROKER")?.parse()?, setting("AC_APP")?.parse()?, secret("AC_APP_KEY_FILE")?, identity)?;
    let mut options = Options::default();
    options.tls.ca_file = std::env::var_os("AC_CA").map(PathBuf::from);
    let vault = FileVault::open(directory.join("credential"))?;
    let (client, pushes, mut connection) = client::connect_with(config, Paho::new(options)?, vault).await?;
    let notices = connection.notices();
    let mut connection = tokio::spawn(connection.run());

    let (outbox, sender, mut events) = Outbox::builder().on_disk(directory.join("states")).open()?;
    tokio::spawn(sender.run(client.clone()));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                OutboxEvent::Sent(_) => {}
                other => eprintln!("a state was not reported: {other:?}"),
            }
        }
    });

    let credential = client.onboarded().await?;
    let states = format!("/thing-if/apps/{}/targets/thing:{}/states", credential.app_id, credential.thing_id);
    let state = Arc::new(Mutex::new(State { power: false, preset_temperature: 22 }));
    let machine = AirConditioner { state, outbox, states };
    machine.change(|_| {}).await?;

    let (power, temperature) = (machine.clone(), machine);
    let table = ActionTable::new().on("turnPower", move |TurnPower { power: on }, _| power.clone().turn_power(on)).on(
        "setPresetTemperature",
        move |SetPresetTemperature { preset_temperature }, _| {
            temperature.clone().set_preset_temperature(preset_temperature)
        },
    );
    let journal = FileJournal::open(directory.join("commands"))?;
    let (commands, _events) = Commands::builder(client.clone(), table).with_journal(journal).build();
    let commands = tokio::spawn(commands.run(pushes, notices));
    eprintln!("connected as {}", credential.thing_id);

    tokio::select! {
        // The connection ends by itself only where trying again cannot help.
        ended = &mut connection => ended??,
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            client.close().await;
            connection.await??;
        }
    }
    commands.await?;
    Ok(())
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
