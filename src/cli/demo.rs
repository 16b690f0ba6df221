//! `thingif demo`: the whole story in one process, over real sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::cli::exit::Failure;
use crate::cli::listen_address::ListenAddress;
use crate::cli::narrator::Narrator;
use crate::cli::owner::Owner;
use crate::cli::record;
use crate::cli::server::{Server, Sockets, address};
use crate::cli::server_tls::ServerTls;
use crate::cli::tap::Tap;
use crate::client::{self, Client, Push, Pushes};
use crate::cloud;
use crate::config::{Config, Identity};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::mqtt::{Endpoint, Scheme};
use crate::secret::Secret;
use crate::thing_if::{self, ActionResult, ActionResults, ActionResultsUpdate, CommandPush, CommandState, media_type};
use crate::transport::paho::{self, Paho};

/// How long any one step may take. All of it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Show the whole story on this machine, in one process.
///
/// A cloud and its broker start, a thing onboards at the default broker, moves to the assigned one and reports its state;
/// its owner posts a command over HTTP; the thing executes it and reports; the owner reads DONE.
///
/// Everything runs over real sockets of the loopback interface, on ports that the system picks. Every frame is shown with its
/// topic; credentials are not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif demo
  thingif demo --over wss
  thingif demo --record demo.jsonl
  thingif replay demo.jsonl --machine
  thingif demo --json | jq -r 'select(.event == \"frame\") | .topic'")]
pub(crate) struct Demo {
    /// One JSON object a line, for programs.
    #[arg(long)]
    json: bool,
    /// How the thing travels to its brokers.
    #[arg(long, value_name = "SCHEME", default_value = "mqtt")]
    over: SchemeArg,
    /// Write a capture of what passes between the thing and its brokers, masked, for `thingif decode` and `thingif replay`; an older
    /// file is replaced.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// A scheme on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemeArg {
    /// TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl From<SchemeArg> for Scheme {
    fn from(given: SchemeArg) -> Scheme {
        match given {
            SchemeArg::Mqtt => Scheme::Mqtt,
            SchemeArg::Mqtts => Scheme::Mqtts,
            SchemeArg::Ws => Scheme::Ws,
            SchemeArg::Wss => Scheme::Wss,
        }
    }
}

/// Who takes part.
struct Cast {
    app_id: AppId,
    app_key: Secret<String>,
    vendor_thing_id: VendorThingId,
    thing_password: Secret<String>,
    owner_password: Secret<String>,
}

impl Cast {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            app_id: AppId::new("demo").map_err(Failure::other)?,
            app_key: random_text()?,
            vendor_thing_id: VendorThingId::new("lamp-1").map_err(Failure::other)?,
            thing_password: random_text()?,
            owner_password: random_text()?,
        })
    }
}

/// 32 hexadecimal digits, as application keys have.
fn random_text() -> Result<Secret<String>, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::other(format_args!("no random numbers: {error}")))?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

impl Demo {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let narrator = Arc::new(Narrator::new(self.json));
        let told = self.tell(&narrator).await;
        // A reader who has left is the reason, whatever else went wrong because of it.
        narrator.written()?;
        told
    }

    async fn tell(&self, narrator: &Arc<Narrator>) -> Result<(), Failure> {
        let cast = Cast::new()?;
        let scheme = Scheme::from(self.over);

        narrator.step("A cloud starts, and the MQTT broker before it");
        let tls = scheme.is_tls().then(|| ServerTls::local(None, &[], None)).transpose()?;
        let sockets = sockets(scheme).await?;
        let (Some(http), Some(mqtt)) = (address(&sockets.http), broker_address(&sockets)) else {
            return Err(Failure::other("a listener has no address"));
        };
        let broker = Endpoint::new(scheme, mqtt.ip().to_string(), mqtt.port()).map_err(Failure::other)?;
        let options = cloud::Options {
            apps: vec![(cast.app_id.clone(), cast.app_key.clone())],
            advertise: sockets.advertise(None),
            ..cloud::Options::default()
        };
        let mut server = Server::open(options, sockets, None).await?;
        if let Some(tls) = &tls {
            server.set_tls(tls.configs());
        }
        if let Some(file) = &self.record {
            server.set_recording(record::of_an_edge(file)?);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async move { drop(stopped.await) }));
        narrator.timing("cloud and broker are up");
        narrator.note(&format!("http://{http} for apps, {broker} for things"));

        let owner = Owner::new(http, cast.app_id.clone(), cast.app_key.clone());
        let played = self.play(narrator, &cast, broker, tls.as_ref(), owner).await;
        drop(stop);
        let served = serving.await.map_err(|error| Failure::other(format_args!("the server ended: {error}")))?;
        played.and(served)
    }

    async fn play(
        &self,
        narrator: &Arc<Narrator>,
        cast: &Cast,
        broker: Endpoint,
        tls: Option<&ServerTls>,
        owner: Owner,
    ) -> Result<(), Failure> {
        narrator.step("The thing onboards at the default broker and moves to the one it is assigned");
        let identity = Identity::vendor_thing(cast.vendor_thing_id.clone(), cast.thing_password.clone());
        let config =
            Config::new(broker, cast.app_id.clone(), cast.app_key.clone(), identity).map_err(Failure::other)?;
        let mut options = paho::Options::default();
        options.tls.ca_file = tls.and_then(ServerTls::ca_file).map(Into::into);
        let paho = Paho::new(options).map_err(|error| Failure::from(&error))?;
        let shown = Arc::clone(narrator);
        let transport = Tap::new(paho, move |passing| shown.passing(&passing));
        let connecting = client::connect(config, transport);
        let (client, pushes, connection) = in_time(connecting).await?.map_err(|error| Failure::from(&error))?;
        let connection = tokio::spawn(connection.run());

        let thing_id = client.onboarded().await.map_err(|error| Failure::from(&error))?.thing_id;
        let story = Story { narrator, client: &client, app_id: &cast.app_id, thing_id };
        story.report_states().await?;
        story.be_commanded(cast, owner, pushes).await?;

        narrator.step("The thing says goodbye");
        client.close().await;
        match connection.await {
            Ok(ended) => ended.map_err(|error| Failure::from(&error))?,
            Err(error) => return Err(Failure::other(format_args!("the connection's task ended: {error}"))),
        }
        narrator.timing("disconnected");
        narrator.end();
        Ok(())
    }
}

/// An HTTP listener and one for MQTT.
async fn sockets(scheme: Scheme) -> Result<Sockets, Failure> {
    let any = ListenAddress::At(([127, 0, 0, 1], 0).into());
    let mut sockets = Sockets { http: any.bind("HTTP").await?, ..Sockets::default() };
    let place = match scheme {
        Scheme::Mqtt => &mut sockets.mqtt,
        Scheme::Mqtts => &mut sockets.mqtts,
        Scheme::Ws => &mut sockets.ws,
        Scheme::Wss => &mut sockets.wss,
    };
    *place = any.bind("MQTT").await?;
    Ok(sockets)
}

fn broker_address(sockets: &Sockets) -> Option<std::net::SocketAddr> {
    [&sockets.mqtt, &sockets.mqtts, &sockets.ws, &sockets.wss].into_iter().find_map(address)
}

async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::other(format_args!("a step did not end within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, step).await.map_err(late)
}

/// A connected thing, and what it goes through.
struct Story<'a> {
    narrator: &'a Narrator,
    client: &'a Client,
    app_id: &'a AppId,
    thing_id: ThingId,
}

impl Story<'_> {
    async fn report_states(&self) -> Result<(), Failure> {
        self.narrator.step("The thing reports its state, and reads it back");
        self.put_state(json!({"power": false, "brightness": 0}), StatusCode::CREATED).await?;
        self.put_state(json!({"power": false, "brightness": 40}), StatusCode::NO_CONTENT).await?;
        let path = format!("/thing-if/apps/{}/targets/thing:{}/states", self.app_id, self.thing_id);
        self.call("GET states", Request::get(path).body(Bytes::new()), StatusCode::OK).await
    }

    async fn be_commanded(&self, cast: &Cast, mut owner: Owner, mut pushes: Pushes) -> Result<(), Failure> {
        let Self { narrator, thing_id, app_id, .. } = self;
        narrator.step("Its owner signs up, logs in and takes possession of it, over HTTP");
        narrator.called(&in_time(owner.sign_up("ann", &cast.owner_password)).await??);
        narrator.called(&in_time(owner.log_in("ann", &cast.owner_password)).await??);
        narrator.called(&in_time(owner.own(&cast.vendor_thing_id, &cast.thing_password)).await??);
        narrator.timing("owner signed up, logged in, owns the thing");

        narrator.step("The owner posts a command over HTTP; the thing executes it and reports");
        let posted_at = Instant::now();
        let actions = json!([{"turnPower": {"power": true}}, {"setBrightness": {"brightness": 75}}]);
        let (command_id, called) = in_time(owner.command(thing_id, actions)).await??;
        narrator.called(&called);
        narrator.timing("POST command (HTTP)");
        let push = next_command(&mut pushes).await?;
        if push.command_id != command_id {
            return Err(Failure::other("another command than the one posted was pushed"));
        }
        self.put_state(json!({"power": true, "brightness": 75}), StatusCode::NO_CONTENT).await?;
        let action_results = ActionResults::of(&push.actions, |_, action| ActionResult::succeeded(&action.name));
        let path = format!("/thing-if/apps/{app_id}/targets/thing:{thing_id}/commands/{command_id}/action-results");
        let report = Request::put(path)
            .header("Content-Type", media_type::JSON)
            .body(thing_if::json::to_pretty(&ActionResultsUpdate { action_results }));
        self.call("PUT action results", report, StatusCode::NO_CONTENT).await?;

        narrator.step("The owner reads what became of it");
        let (command, called) = in_time(owner.read_command(thing_id, &command_id)).await??;
        narrator.called(&called);
        narrator.timing("GET command (HTTP)");
        if command.command_state != CommandState::Done {
            return Err(Failure::other(format_args!("the command is {}, not DONE", command.command_state.as_str())));
        }
        narrator.duration("command posted to DONE read", posted_at.elapsed());
        narrator.called(&in_time(owner.read_state(thing_id)).await??);
        narrator.outcome(&command);
        Ok(())
    }

    async fn put_state(&self, state: serde_json::Value, expected: StatusCode) -> Result<(), Failure> {
        let path = format!("/thing-if/apps/{}/targets/thing:{}/states", self.app_id, self.thing_id);
        let request = Request::put(path).header("Content-Type", "application/json").body(state.to_string().into());
        self.call("PUT state", request, expected).await
    }

    /// Calls over MQTT and insists on the status.
    async fn call(
        &self,
        step: &str,
        request: http::Result<Request<Bytes>>,
        expected: StatusCode,
    ) -> Result<(), Failure> {
        let request = request.map_err(Failure::other)?;
        self.narrator.mark();
        let answer =
            self.client.send(request).await.map_err(|error| Failure::other(format_args!("{step}: {error}")))?;
        self.narrator.timing(step);
        if answer.status() == expected {
            Ok(())
        } else {
            Err(Failure::other(format_args!("{step} was answered {}, not {expected}", answer.status())))
        }
    }
}

async fn next_command(pushes: &mut Pushes) -> Result<CommandPush, Failure> {
    match in_time(pushes.next()).await? {
        Some(Push::Message(payload)) => CommandPush::from_json(&payload).map_err(Failure::other),
        Some(Push::Lagged(count)) => Err(Failure::other(format_args!("{count} pushes were dropped"))),
        None => Err(Failure::other("the connection ended before the command came")),
    }
}
