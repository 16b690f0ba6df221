//! `thingif serve`: the edge and the cloud, until told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use http::HeaderValue;
use sd_notify::NotifyState;

use crate::admin::password::{self, Password};
use crate::bridge::upstream::UpstreamUrl;
use crate::cli::advertise_arg::AdvertiseArg;
use crate::cli::app_args::{self, AppArg};
use crate::cli::exit::Failure;
use crate::cli::limits::Limits;
use crate::cli::listen_address::ListenAddress;
use crate::cli::output;
use crate::cli::record;
use crate::cli::secret_input::{self, Unquoted};
use crate::cli::server::{PushTarget, Server, Sockets};
use crate::cli::server_tls::ServerTls;
use crate::cli::service;
use crate::cli::signals::Signals;
use crate::cloud::{self, AllowedOrigins, Location, StateHistory};
use crate::ids::AppId;
use crate::secret::Secret;

/// Serve Thing-IF: HTTP for apps, MQTT for things, in one process.
///
/// When it is ready, one line of JSON says where it listens. SIGTERM and SIGINT end it in order; SIGHUP takes the certificate
/// from its files again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif serve --app demo:$(openssl rand -hex 16)
  thingif serve --data /var/lib/thingif --apps-file /etc/thingif/apps --admin 9470 --mqtt 0.0.0.0:1883 --mqtts 0.0.0.0:8883 \\
      --http off --https 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem --advertise iot.example.org
  thingif serve --config /etc/thingif/thingif.toml
  thingif serve --app demo:KEY --http 0 --mqtt 0 --https off --mqtts off --ws off --wss off")]
pub(crate) struct Serve {
    /// Keep everything in this directory. Default: in memory, forgotten at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// An application and its key, besides those that `thingif app create` made in --data. Repeatable. Without :KEY the key is
    /// taken from THINGIF_APP_KEY.
    #[arg(long = "app", value_name = "ID[:KEY]", required_unless_present_any = ["apps_file", "data"], value_parser = Unquoted::<AppArg>::default())]
    apps: Vec<AppArg>,
    /// Applications from a file, one ID:KEY a line.
    #[arg(long, value_name = "FILE")]
    apps_file: Option<PathBuf>,
    #[command(flatten)]
    addresses: Addresses,
    /// The password of the admin page, from a file. Default: what `thingif admin password` has set in --data; nobody is let in
    /// without one.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// What things are told to connect to, where that is not the address they came to: HOST, and ports that differ.
    #[arg(long, value_name = "HOST[,tcp=PORT,ssl=PORT,ws=PORT,wss=PORT]")]
    advertise: Option<AdvertiseArg>,
    /// How long the endpoint of a new installation is answered with 503 and Retry-After, in seconds from 0 to 60.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = preparation)]
    endpoint_preparation: Duration,
    /// Say in every command that is pushed for which thing it is, for gateways that ask for it.
    #[arg(long)]
    name_push_target: bool,
    /// Past states that a thing with traits keeps, at most 1000000; 0 keeps none.
    #[arg(long, value_name = "STATES", default_value_t = StateHistory::default().states,
        value_parser = value_parser!(u32).range(..=1_000_000))]
    state_history: u32,
    /// Days for which it keeps them, from 1 to 36500.
    #[arg(long, value_name = "DAYS", default_value_t = StateHistory::default().days,
        value_parser = value_parser!(u32).range(1..=36_500))]
    state_history_days: u32,
    /// Days for which commands are kept, from 1 to 36500.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = value_parser!(u32).range(1..=36_500))]
    command_days: u32,
    /// A web page whose scripts may read answers over HTTP, as https://app.example. Repeatable. Default: any.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<HeaderValue>,
    /// Where pushes for things that are not connected here go: the --admin listener of a `thingif bridge`, as http://HOST:PORT.
    /// With it, --mqtt, --mqtts, --ws and --wss may all be off. A push that it does not take at once is not sent later: its command
    /// has failed.
    #[arg(long, value_name = "URL", requires = "push_token_file")]
    push_url: Option<UpstreamUrl>,
    /// The bridge's token, from a file.
    #[arg(long, value_name = "FILE", requires = "push_url")]
    push_token_file: Option<PathBuf>,
    /// Trust the bridge at an https --push-url by the authorities in this PEM file. Default: the system's.
    #[arg(long, value_name = "FILE", requires = "push_url")]
    push_ca: Option<PathBuf>,
    /// The server's certificate, then its chain (PEM). Default: one of a local authority, made under --data.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Demand a certificate of every thing that comes over TLS, signed by an authority in this PEM file. What it names is not
    /// looked at: it opens the door, and the login says who comes in. Read once, at the start; HTTPS is not concerned.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Take any application key, as late Kii services did: whoever knows an application's id then onboards and signs up.
    #[arg(long)]
    any_app_key: bool,
    /// Do not delay logins after failed ones. For a service behind a proxy, where all come from one address; then the proxy
    /// should slow them down.
    #[arg(long)]
    no_login_delay: bool,
    /// Write a capture of what passes between things and this service, masked, for `thingif decode` and `thingif replay`; an
    /// older file is replaced. It ends, and the service goes on, at 100 MB.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
}

/// Where to listen. A port alone is one of 127.0.0.1; port 0 lets the system pick.
#[derive(Debug, Args)]
struct Addresses {
    /// HTTP, for apps.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8080")]
    http: ListenAddress,
    /// HTTPS, for apps.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8443")]
    https: ListenAddress,
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
    /// For operators: a page with a login, /healthz and /metrics without one, all without TLS. Keep it on loopback, or in a
    /// network of theirs.
    #[arg(long, value_name = "ADDR|off", default_value = "off")]
    admin: ListenAddress,
}

impl Addresses {
    async fn bind(&self, may_have_no_things: bool) -> Result<Sockets, Failure> {
        let sockets = Sockets {
            http: self.http.bind("--http").await?,
            https: self.https.bind("--https").await?,
            mqtt: self.mqtt.bind("--mqtt").await?,
            mqtts: self.mqtts.bind("--mqtts").await?,
            ws: self.ws.bind("--ws").await?,
            wss: self.wss.bind("--wss").await?,
            admin: self.admin.bind("--admin").await?,
        };
        if !sockets.have_things() && (!may_have_no_things || (sockets.http.is_none() && sockets.https.is_none())) {
            return Err(Failure::usage("nothing to serve things on: --mqtt, --mqtts, --ws and --wss are all off"));
        }
        Ok(sockets)
    }
}

fn preparation(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| String::from("expected seconds from 0 to 60"))
}

impl Serve {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let apps = self.read_apps()?;
        let mut signals = Signals::install()?;
        let push_target = self.push_target()?;
        let sockets = self.addresses.bind(push_target.is_some()).await?;
        let mut options = cloud::Options {
            store: self.data.clone().map_or(Location::Memory, Location::Dir),
            apps,
            advertise: sockets.advertise(self.advertise.as_ref()),
            endpoint_preparation: self.endpoint_preparation,
            name_push_target: self.name_push_target,
            allowed_origins: match &self.allowed_origins[..] {
                [] => AllowedOrigins::Any,
                only => AllowedOrigins::Only(only.to_vec()),
            },
            command_retention: Duration::from_secs(u64::from(self.command_days) * 24 * 60 * 60),
            state_history: StateHistory { states: self.state_history, days: self.state_history_days },
            accept_any_app_key: self.any_app_key,
            throttle_logins: !self.no_login_delay,
            ..cloud::Options::default()
        };
        self.limits.set(&mut options);
        let mut server = Server::open(options, sockets, push_target).await.map_err(|failure| {
            failure.advise("Another `thingif serve` may use this --data, or its directory may not be writable.")
        })?;
        server.set_edge(self.limits.edge());
        if let Some(file) = &self.record {
            server.set_recording(record::of_an_edge(file)?);
        }
        // Its authority may have to be made in the data directory, which is ours only now.
        let tls = self.tls(server.sockets())?;
        let ready = server.sockets().ready(tls.as_ref());
        if let Some(tls) = &tls {
            server.set_tls(tls.configs());
        }
        if let Some(file) = &self.admin_password_file {
            let hash = password::hash(&secret_input::read("password", file)?).map_err(Failure::usage)?;
            server.set_password(Password::Hash(hash));
        }
        if !server.has_apps() {
            eprintln!("thingif: there is no application yet: `thingif app create --data DIR` makes one (see --admin)");
        }
        if ready.admin.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
            eprintln!(
                "thingif: --admin can be reached from other machines, and has no TLS: only operators' may get there"
            );
        }
        output::json_line(&ready)?;
        tell_service_manager(&[NotifyState::Ready]);
        let stop = async {
            signals.until_stop(|| reload(tls.as_ref())).await;
            tell_service_manager(&[NotifyState::Stopping]);
        };
        server.run(stop).await
    }

    fn push_target(&self) -> Result<Option<PushTarget>, Failure> {
        let (Some(url), Some(token)) = (&self.push_url, &self.push_token_file) else { return Ok(None) };
        let tls = if url.is_tls() { Some(Arc::new(service::tls(self.push_ca.as_deref())?)) } else { None };
        Ok(Some(PushTarget { url: url.clone(), token: secret_input::read("push token", token)?, tls }))
    }

    fn read_apps(&self) -> Result<Vec<(AppId, Secret<String>)>, Failure> {
        let apps = app_args::read_all(&self.apps, self.apps_file.as_deref())?;
        if apps.is_empty() && self.data.is_none() {
            return Err(Failure::usage("there is no application to serve"));
        }
        Ok(apps)
    }

    fn tls(&self, sockets: &Sockets) -> Result<Option<ServerTls>, Failure> {
        if !sockets.need_tls() {
            return match &self.tls_client_ca {
                Some(_) => Err(Failure::usage("--tls-client-ca demands certificates, and no listener has TLS")),
                None => Ok(None),
            };
        }
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificates), Some(key)) => ServerTls::from_files(certificates, key),
            _ => {
                let host = self.advertise.as_ref().map(|advertise| advertise.host.as_str());
                ServerTls::local(self.data.as_deref(), &sockets.tls_addresses(), host)
            }
        };
        match &self.tls_client_ca {
            Some(file) => tls?.demanding_certificates_of(file).map(Some),
            None => tls.map(Some),
        }
    }
}

/// Tells systemd, or whatever else has given this process a `NOTIFY_SOCKET`.
fn tell_service_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

fn reload(certificates: Option<&ServerTls>) {
    match certificates {
        None => tracing::info!("SIGHUP: there is no TLS listener, so nothing to reload"),
        Some(certificates) => certificates.reload_and_tell(),
    }
}
