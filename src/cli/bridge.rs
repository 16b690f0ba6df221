//! `thingif bridge`: an MQTT edge before any HTTP(S) service, until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::password;
use crate::bridge::upstream::{
    self, Admin, Advertise, Allow, Clients, Door, Endpoints, LoginHook, Options, PrefixSwap, Upstream, UpstreamUrl,
};
use crate::cli::advertise_arg::AdvertiseArg;
use crate::cli::app_args::{self, AppArg};
use crate::cli::duration_arg;
use crate::cli::exit::Failure;
use crate::cli::listen_address::ListenAddress;
use crate::cli::output;
use crate::cli::record;
use crate::cli::secret_input::{self, Unquoted};
use crate::cli::server::{Sockets, address};
use crate::cli::server_tls::ServerTls;
use crate::cli::service;
use crate::cli::signals::Signals;
use crate::cloud;
use crate::edge::{self, Edge, Listeners, Recording, Registry};
use crate::ids::AppId;
use crate::secret::Secret;

/// Serve things over MQTT from any HTTP(S) service.
///
/// Frames become requests to --upstream, its answers frames. By default that is a Thing-IF service, for which the bridge is
/// both brokers: things onboard through it, and are told to come back to it. Pushes come in on --admin. When it is ready, one
/// line of JSON says where it listens. SIGTERM and SIGINT end it in order; SIGHUP takes the certificate and --clients from
/// their files again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif bridge --upstream http://127.0.0.1:8080 --app demo:KEY --data /var/lib/thingif-bridge \\
      --admin 9471 --admin-token-file /etc/thingif/bridge-token
  thingif serve --app demo:KEY --mqtt off --mqtts off --ws off --wss off \\
      --push-url http://127.0.0.1:9471 --push-token-file /etc/thingif/bridge-token
  thingif bridge --upstream https://api.example.org/v2 --map /v1=/devices --allow 'GET,POST /v1/*/readings' \\
      --clients /etc/thingif/clients.toml
  curl -H \"Authorization: Bearer $TOKEN\" -d '{\"go\":1}' http://127.0.0.1:9471/push/CLIENT_ID")]
pub(crate) struct Bridge {
    /// The service: http://HOST[:PORT][/PATH] or https://….
    #[arg(long, value_name = "URL", required_unless_present = "hash_password")]
    upstream: Option<UpstreamUrl>,
    /// Paths below FROM, as things call them, are those below TO at the upstream. Repeatable; the longest FROM counts. Default:
    /// /thing-if=/thing-if.
    #[arg(long = "map", value_name = "FROM=TO")]
    swaps: Vec<PrefixSwap>,
    /// Let through only these methods and paths: 'GET,PUT /thing-if/apps/*/targets/*/states', '* /v1/**'. Repeatable. Default:
    /// all that --map leads to.
    #[arg(long = "allow", value_name = "METHODS PATTERN")]
    allowed: Vec<Allow>,
    /// An application and its key, for things that onboard. Repeatable. Without :KEY the key is taken from THINGIF_APP_KEY.
    #[arg(long = "app", value_name = "ID[:KEY]", value_parser = Unquoted::<AppArg>::default())]
    apps: Vec<AppArg>,
    /// Applications from a file, one ID:KEY a line.
    #[arg(long, value_name = "FILE")]
    apps_file: Option<PathBuf>,
    /// Clients that may connect, from a TOML file: [[client]] with id, username, password-hash (or password, in a file of mode
    /// 0600), and app.
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Ask this HTTP(S) service about logins that nothing else knows: POST of clientId, username, password, scheme and remote;
    /// 200 or 204 admits, 401 and 403 do not. Nothing is cached.
    #[arg(long, value_name = "URL")]
    auth_url: Option<UpstreamUrl>,
    /// A token for --auth-url, from a file.
    #[arg(long, value_name = "FILE", requires = "auth_url")]
    auth_token_file: Option<PathBuf>,
    /// Keep the logins of things that have onboarded in this directory, their passwords hashed, and the local certificate
    /// authority. Default: in memory; after a restart things onboard again.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    addresses: Addresses,
    /// Whoever shows this token may push, from a file.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// What things are told to connect to, where that is not the address they came to: HOST, and ports that differ.
    #[arg(long, value_name = "HOST[,tcp=PORT,ssl=PORT,ws=PORT,wss=PORT]")]
    advertise: Option<AdvertiseArg>,
    /// Trust the upstream and --auth-url by the authorities in this PEM file. Default: the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For a new connection to the upstream, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration_arg::seconds)]
    connect_timeout: Duration,
    /// For a whole request to the upstream, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = duration_arg::seconds)]
    timeout: Duration,
    /// Requests to the upstream at once; more wait.
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_concurrent: u32,
    /// The longest body of a request that is sent on, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    max_request: u32,
    /// The longest body of an answer that is passed on, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 61_440, value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    max_answer: u32,
    /// The server's certificate, then its chain (PEM). Default: one of a local authority, made under --data.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Write a capture of what passes between things and this bridge, masked, for `thingif decode` and `thingif replay`; an older
    /// file is replaced. It ends, and the bridge goes on, at 100 MB.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print the password-hash of the password in FILE (- for standard input), for --clients, and do nothing else.
    #[arg(long, value_name = "FILE", exclusive = true)]
    hash_password: Option<PathBuf>,
}

/// Where to listen. A port alone is one of 127.0.0.1; port 0 lets the system pick.
#[derive(Debug, Args)]
struct Addresses {
    /// MQTT over TCP.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:1883")]
    mqtt: ListenAddress,
    /// MQTT over TLS.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8883")]
    mqtts: ListenAddress,
    /// MQTT over WebSocket.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:12470")]
    ws: ListenAddress,
    /// MQTT over WebSocket over TLS.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:12473")]
    wss: ListenAddress,
    /// For the service behind: POST /push/{client_id}, GET and DELETE /clients/{client_id}, /status with --admin-token-file, and
    /// /healthz without. All without TLS. Keep it on loopback, or in a network of its own.
    #[arg(long, value_name = "ADDR|off", requires = "admin_token_file")]
    admin: Option<ListenAddress>,
}

/// The line that says that everything listens.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    upstream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wss: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<SocketAddr>,
    /// The authority to trust, where the certificate is one of this machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

impl Addresses {
    async fn bind(&self) -> Result<Sockets, Failure> {
        let sockets = Sockets {
            http: None,
            https: None,
            mqtt: self.mqtt.bind("--mqtt").await?,
            mqtts: self.mqtts.bind("--mqtts").await?,
            ws: self.ws.bind("--ws").await?,
            wss: self.wss.bind("--wss").await?,
            admin: self.admin.unwrap_or(ListenAddress::Off).bind("--admin").await?,
        };
        if !sockets.have_things() {
            return Err(Failure::usage("nothing to serve things on: --mqtt, --mqtts, --ws and --wss are all off"));
        }
        Ok(sockets)
    }
}

impl Bridge {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        if let Some(file) = &self.hash_password {
            let hash = password::hash(&secret_input::read("password", file)?).map_err(Failure::usage)?;
            return output::line(&hash);
        }
        let Some(url) = &self.upstream else { return Err(Failure::usage("--upstream is missing")) };
        let apps = self.read_apps()?;
        let token = self.admin_token_file.as_deref().map(|file| secret_input::read("token", file)).transpose()?;
        let clients = match &self.clients {
            Some(file) => Some(Arc::new(Clients::open(file).map_err(Failure::usage)?)),
            None => None,
        };
        let mut signals = Signals::install()?;
        let sockets = self.addresses.bind().await?;
        let upstream = Upstream::new(self.options(url, &apps, &sockets)?);
        // Its authority may have to be made under --data, which is this process's own only now.
        let tls = self.tls(&sockets)?;
        let door =
            Door { apps, clients: clients.clone(), endpoints: Arc::clone(upstream.endpoints()), hook: self.hook()? };
        let recording = self.record.as_deref().map(record::of_an_edge).transpose()?;
        let ready = Ready {
            ready: true,
            upstream: url.to_string(),
            mqtt: address(&sockets.mqtt),
            mqtts: address(&sockets.mqtts),
            ws: address(&sockets.ws),
            wss: address(&sockets.wss),
            admin: address(&sockets.admin),
            ca: tls.as_ref().and_then(ServerTls::ca_file).map(PathBuf::from),
        };
        if ready.admin.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
            eprintln!(
                "thingif: --admin can be reached from other machines, and has no TLS: pushes and the token can be read on the way. \
                 Keep it on loopback, or in a network of the service's own"
            );
        }
        output::json_line(&ready)?;
        let reload = || self.reload(tls.as_ref(), clients.as_deref());
        let stop = signals.until_stop(reload);
        serve(upstream, door, sockets, tls.as_ref(), token, recording, stop).await
    }

    fn options(
        &self,
        url: &UpstreamUrl,
        apps: &[(AppId, Secret<String>)],
        sockets: &Sockets,
    ) -> Result<Options, Failure> {
        let mut options = Options::new(url.clone());
        if url.is_tls() {
            options.tls = Some(Arc::new(service::tls(self.ca.as_deref())?));
        }
        if let Some(directory) = &self.data {
            options.endpoints = Arc::new(open_endpoints(directory)?);
        }
        let cloud::Advertise { host, tcp, ssl, ws, wss } = sockets.advertise(self.advertise.as_ref());
        options.advertise = Advertise { host, tcp, ssl, ws, wss };
        options.apps = apps.to_vec();
        options.swaps.clone_from(&self.swaps);
        options.allowed.clone_from(&self.allowed);
        options.connect_timeout = self.connect_timeout;
        options.timeout = self.timeout;
        options.max_concurrent = self.max_concurrent as usize;
        options.max_request = self.max_request as usize;
        options.max_answer = self.max_answer as usize;
        Ok(options)
    }

    fn hook(&self) -> Result<Option<LoginHook>, Failure> {
        let Some(url) = &self.auth_url else { return Ok(None) };
        let token = self.auth_token_file.as_deref().map(|file| secret_input::read("token", file)).transpose()?;
        let tls = if url.is_tls() { Some(Arc::new(service::tls(self.ca.as_deref())?)) } else { None };
        Ok(Some(LoginHook::new(url.clone(), token.as_ref(), tls)))
    }

    fn read_apps(&self) -> Result<Vec<(AppId, Secret<String>)>, Failure> {
        let apps = app_args::read_all(&self.apps, self.apps_file.as_deref())?;
        if apps.is_empty() && self.clients.is_none() && self.auth_url.is_none() {
            return Err(Failure::usage(
                "nobody could connect: there is no --app, --apps-file, --clients or --auth-url",
            ));
        }
        Ok(apps)
    }

    fn tls(&self, sockets: &Sockets) -> Result<Option<ServerTls>, Failure> {
        if !sockets.need_tls() {
            return Ok(None);
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificates), Some(key)) => ServerTls::from_files(certificates, key).map(Some),
            _ => {
                let host = self.advertise.as_ref().map(|advertise| advertise.host.as_str());
                ServerTls::local(self.data.as_deref(), &sockets.tls_addresses(), host).map(Some)
            }
        }
    }

    fn reload(&self, tls: Option<&ServerTls>, clients: Option<&Clients>) {
        if let Some(tls) = tls {
            tls.reload_and_tell();
        }
        if let (Some(clients), Some(file)) = (clients, &self.clients) {
            match clients.reload(file) {
                Ok(()) => eprintln!("thingif: {} clients were reloaded", clients.len()),
                Err(error) => eprintln!("{}", Failure::usage(error).advise("The clients that were known stay.")),
            }
        }
    }
}

fn open_endpoints(directory: &std::path::Path) -> Result<Endpoints, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Failure::other(format_args!("cannot make {}: {error}", directory.display())))?;
    Endpoints::open(&directory.join("endpoints.jsonl"))
        .map_err(|error| Failure::other(error).advise("Another `thingif bridge` may use this --data."))
}

/// Serves until `stop` resolves, or a listener fails.
async fn serve(
    upstream: Upstream,
    door: Door,
    sockets: Sockets,
    tls: Option<&ServerTls>,
    token: Option<Secret<String>>,
    recording: Option<Recording>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let registry = Registry::new();
    let (stopping, stopped) = watch::channel(());
    let until_stopped = |mut stopped: watch::Receiver<()>| async move { drop(stopped.changed().await) };
    let mut tasks = JoinSet::new();
    if let (Some(listener), Some(token)) = (sockets.admin, token) {
        let admin = Admin { registry: registry.clone(), upstream: upstream.clone(), token };
        let router = upstream::admin_router(admin);
        tasks.spawn(cloud::http::serve_router(listener, None, router, until_stopped(stopped.clone())));
    }
    let config = edge::Config { paths: upstream.paths(), ..edge::Config::default() };
    let mut edge = Edge::new(upstream, door, registry, config);
    if let Some(recording) = recording {
        edge = edge.with_recording(recording);
    }
    let listeners = Listeners {
        mqtt: sockets.mqtt,
        mqtts: sockets.mqtts,
        ws: sockets.ws,
        wss: sockets.wss,
        tls: tls.map(|tls| tls.configs().things),
    };
    tasks.spawn(edge.run(listeners, until_stopped(stopped)));
    let mut failed = tokio::select! {
        () = stop => None,
        ended = tasks.join_next() => ended.and_then(|ended| crate::cli::server::why(ended).err()),
    };
    drop(stopping);
    while let Some(ended) = tasks.join_next().await {
        failed = failed.or(crate::cli::server::why(ended).err());
    }
    failed.map_or(Ok(()), Err)
}
