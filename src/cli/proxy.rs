//! `thingif proxy`: local programs speak plain HTTP, and call as the thing.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::bridge::http_server;
use crate::bridge::proxy::{Gate, Proxy};
use crate::cli::connection_lock::{self, ConnectionLock, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::{CredentialArgs, Onboarded, Settings};
use crate::cli::exit::Failure;
use crate::cli::held::{self, Ending, Held};
use crate::cli::listen_address::ListenAddress;
use crate::cli::route_args::RouteArgs;
use crate::cli::thing_args::ThingArgs;
use crate::cli::{duration_arg, local_socket, output, relay, secret_input, session};
use crate::config::Config;
use crate::thing_if::Credential;

/// How often a process that holds the connection is asked whether it still does.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Let local programs call the API over plain HTTP/1.1, as the thing.
///
/// Their requests travel over the thing's one MQTT connection, with its Authorization unless they have one of their own, and
/// the answers come back as they are. What the proxy answers itself has the field X-Thingif-Fate and JSON that says why.
///
/// GET /push is a stream of Server-Sent Events: the thing's pushes.
///
/// The connection is shared: `thingif call` goes through it. If `thingif listen` has it already, this goes through that one,
/// and takes the connection over when that ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif proxy --listen 127.0.0.1:8090
  curl http://localhost:8090/thing-if/apps/$APP/targets/thing:$THING/states
  curl -X PUT -H 'Content-Type: application/json' -d '{\"power\":true}' http://localhost:8090/thing-if/apps/$APP/targets/thing:$THING/states
  curl -N http://localhost:8090/push
  thingif proxy --listen 0.0.0.0:8090 --token-file token --allow-host gateway.lan
  curl -H \"X-Thingif-Token: $(cat token)\" http://gateway.lan:8090/push

When ready it prints one JSON line with the address, the app and the thing.")]
pub(crate) struct ProxyVerb {
    /// ADDRESS:PORT, or a PORT on 127.0.0.1; port 0 lets the system pick one. Beyond loopback it needs --token-file.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: ListenAddress,
    /// Also take requests for this host name. localhost and IP addresses are always taken; other names are refused, because
    /// any web page can have one that points here.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Take only requests whose X-Thingif-Token is what this file has in it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Give a call up after this long, unless it says X-Thingif-Max-Time, in milliseconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    max_time: Duration,
    #[command(flatten)]
    thing: ThingArgs,
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
}

impl ProxyVerb {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let file = self.credentials.path()?;
        let gate = self.gate()?;
        let (config, settings) = session::resume_or_onboard(&file, &self.thing, &self.route)?;
        let config = config.with_call_deadline(self.max_time).map_err(Failure::usage)?;
        let mut stop = Box::pin(held::stop_signal()?);
        let Some(listener) = self.listen.bind("--listen").await? else {
            return Err(Failure::usage("--listen off leaves nothing to do"));
        };
        let mut front = Front { file, listener, gate, is_announced: false };
        loop {
            let taken = tokio::select! {
                taken = connection_lock::take(&front.file, Instant::now() + LOCK_PATIENCE) => taken?,
                () = stop.as_mut() => return Ok(()),
            };
            match taken {
                Taken::Lock(lock) => return front.hold(&config, &settings, &self.route, lock, stop.as_mut()).await,
                Taken::Served(socket, holder) => {
                    let holder = holder.map_or_else(|| String::from("another process"), |id| format!("process {id}"));
                    eprintln!("thingif: {holder} holds the connection; going through it");
                    if front.relay(&socket, stop.as_mut()).await? {
                        return Ok(());
                    }
                    eprintln!("thingif: it has ended; taking the connection over");
                }
            }
        }
    }

    /// Who may come in; beyond loopback, only with a token.
    fn gate(&self) -> Result<Gate, Failure> {
        let mut gate = self.allow_host.iter().fold(Gate::new(), |gate, name| gate.allow_host(name));
        if let Some(file) = &self.token_file {
            gate = gate.with_token(secret_input::read("token", file)?);
        }
        let ListenAddress::At(address) = self.listen else { return Ok(gate) };
        if !address.ip().is_loopback() {
            if self.token_file.is_none() {
                return Err(Failure::usage(format_args!(
                    "{address} is open to the network, and whoever reaches it calls with the thing's rights"
                ))
                .advise("Give --token-file FILE, or listen on 127.0.0.1."));
            }
            eprintln!("thingif: {address} is open to the network: what passes there, token included, is not encrypted");
        }
        Ok(gate)
    }
}

type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// Where local programs come in.
struct Front {
    file: PathBuf,
    listener: TcpListener,
    gate: Gate,
    is_announced: bool,
}

impl Front {
    /// Serves over a connection of its own, until `stop` or until that ends.
    async fn hold(
        mut self,
        config: &Config,
        settings: &Settings,
        route: &RouteArgs,
        lock: ConnectionLock,
        mut stop: Stop<'_>,
    ) -> Result<(), Failure> {
        let held = tokio::select! {
            held = Held::connect(&self.file, config, settings, route, lock) => held?,
            () = stop.as_mut() => return Ok(()),
        };
        let Held { client, pushes, mut connection, lock: _lock, socket } = held;
        let proxy =
            Proxy::new(client.clone()).map_err(|error| Failure::other(format_args!("no random numbers: {error}")))?;
        let (told, notices) = (connection.notices(), connection.notices());
        let mut connection = tokio::spawn(connection.run());
        let credential = client.onboarded().await.map_err(|error| Failure::from(&error))?;
        eprintln!("thingif: connected as {}", credential.thing_id);
        self.announce(&credential)?;
        let Self { listener, gate, .. } = self;
        let ending = Ending::new();
        let serving = async {
            tokio::join!(proxy.serve(listener, gate, ending.begun()), proxy.serve_unix(socket, ending.begun()));
        };
        tokio::pin!(serving);
        let beside = async {
            tokio::join!(proxy.follow(pushes, notices), held::follow(told, |_| ()));
        };
        tokio::pin!(beside);
        let ended = tokio::select! {
            ended = &mut connection => match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(session::explain(&error, config, &settings.route).await),
                Err(error) => Err(Failure::other(format_args!("the connection's task ended: {error}"))),
            },
            () = &mut serving => Ok(()),
            () = &mut beside => Ok(()),
            () = stop.as_mut() => {
                ending.begin();
                serving.await;
                Ok(())
            }
        };
        client.close().await;
        ended
    }

    /// Serves through the process that listens at `socket`, until `stop` (`true`) or until that ends.
    async fn relay(&mut self, socket: &Path, mut stop: Stop<'_>) -> Result<bool, Failure> {
        self.announce(&Onboarded::load(&self.file)?.credential)?;
        let gate = Arc::new(self.gate.clone());
        let shared: Arc<Path> = socket.into();
        let answer = move |request| {
            let (gate, socket) = (Arc::clone(&gate), Arc::clone(&shared));
            async move { relay::answer(request, &gate, &socket).await }
        };
        let mut is_stopped = false;
        let ends = async {
            tokio::select! {
                () = stop.as_mut() => is_stopped = true,
                () = gone(socket) => {}
            }
        };
        http_server::serve(&self.listener, answer, ends).await;
        Ok(is_stopped)
    }

    /// Says on standard output, once, where it is to be found and as whom it calls.
    fn announce(&mut self, credential: &Credential) -> Result<(), Failure> {
        if std::mem::replace(&mut self.is_announced, true) {
            return Ok(());
        }
        let address =
            self.listener.local_addr().map_err(|error| Failure::other(format_args!("no address: {error}")))?;
        output::json_line(&serde_json::json!({
            "ready": true, "http": address.to_string(), "appID": credential.app_id.as_str(),
            "thingID": credential.thing_id.as_str(),
        }))
    }
}

/// Waits until nobody listens at `socket` any more.
async fn gone(socket: &Path) {
    while local_socket::is_served(socket).await {
        sleep(ASK_AGAIN).await;
    }
}
