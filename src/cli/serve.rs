//! `thingif serve`: the edge and the cloud, until told to stop.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::advertise_arg::AdvertiseArg;
use crate::cli::app_args::{self, AppArg};
use crate::cli::exit::Failure;
use crate::cli::listen_address::ListenAddress;
use crate::cli::output;
use crate::cli::secret_input::Unquoted;
use crate::cli::server::{Server, Sockets};
use crate::cli::server_tls::ServerTls;
use crate::cloud::{self, Location};
use crate::ids::AppId;
use crate::secret::Secret;

/// Serve Thing-IF: HTTP for apps, MQTT for things, in one process.
///
/// When it is ready, one line of JSON says where it listens. SIGTERM and SIGINT end it in order; SIGHUP takes the certificate
/// from its files again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif serve --app demo:$(openssl rand -hex 16)
  thingif serve --data /var/lib/thingif --apps-file /etc/thingif/apps --mqtt 0.0.0.0:1883 --mqtts 0.0.0.0:8883 \\
      --http off --https 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem --advertise iot.example.org
  thingif serve --app demo:KEY --http 0 --mqtt 0 --https off --mqtts off --ws off --wss off")]
pub(crate) struct Serve {
    /// Keep everything in this directory. Default: in memory, forgotten at the end.
    #[arg(long, value_name = "DIR", env = "THINGIF_DATA")]
    data: Option<PathBuf>,
    /// An application and its key. Repeatable. Without :KEY the key is taken from THINGIF_APP_KEY.
    #[arg(long = "app", value_name = "ID[:KEY]", required_unless_present = "apps_file", value_parser = Unquoted::<AppArg>::default())]
    apps: Vec<AppArg>,
    /// Applications from a file, one ID:KEY a line.
    #[arg(long, value_name = "FILE")]
    apps_file: Option<PathBuf>,
    #[command(flatten)]
    addresses: Addresses,
    /// What things are told to connect to, where that is not the address they came to: HOST, and ports that differ.
    #[arg(long, value_name = "HOST[,tcp=PORT,ssl=PORT,ws=PORT,wss=PORT]")]
    advertise: Option<AdvertiseArg>,
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
}

impl Addresses {
    async fn bind(&self) -> Result<Sockets, Failure> {
        let sockets = Sockets {
            http: self.http.bind("--http").await?,
            https: self.https.bind("--https").await?,
            mqtt: self.mqtt.bind("--mqtt").await?,
            mqtts: self.mqtts.bind("--mqtts").await?,
            ws: self.ws.bind("--ws").await?,
            wss: self.wss.bind("--wss").await?,
        };
        if [&sockets.mqtt, &sockets.mqtts, &sockets.ws, &sockets.wss].into_iter().all(Option::is_none) {
            return Err(Failure::usage("nothing to serve things on: --mqtt, --mqtts, --ws and --wss are all off"));
        }
        Ok(sockets)
    }
}

impl Serve {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let apps = self.read_apps()?;
        let mut signals = Signals::install()?;
        let sockets = self.addresses.bind().await?;
        let tls = self.tls(&sockets)?;
        let ready = sockets.ready(tls.as_ref());
        let options = cloud::Options {
            store: self.data.clone().map_or(Location::Memory, Location::Dir),
            apps,
            advertise: sockets.advertise(self.advertise.as_ref()),
            ..cloud::Options::default()
        };
        let config = tls.as_ref().map(ServerTls::configs);
        let server = Server::open(options, sockets, config).await.map_err(|failure| {
            failure.advise("Another `thingif serve` may use this --data, or its directory may not be writable.")
        })?;
        output::json_line(&ready)?;
        server.run(signals.until_stop(tls.as_ref())).await
    }

    fn read_apps(&self) -> Result<Vec<(AppId, Secret<String>)>, Failure> {
        let mut apps = match &self.apps_file {
            Some(file) => app_args::read_file(file)?,
            None => Vec::new(),
        };
        for app in &self.apps {
            apps.push((app.id.clone(), app.key(None)?));
        }
        let mut ids: Vec<_> = apps.iter().map(|(id, _)| id).collect();
        ids.sort();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Failure::usage(format_args!("app {} is given twice", pair[0]))),
            None if apps.is_empty() => Err(Failure::usage("there is no application to serve")),
            None => Ok(apps),
        }
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

fn reload(certificates: Option<&ServerTls>) {
    match certificates.map(ServerTls::reload) {
        None => tracing::info!("SIGHUP: there is no TLS listener, so nothing to reload"),
        Some(Ok(())) => eprintln!("thingif: the certificate was reloaded"),
        Some(Err(failure)) => eprintln!("{}", failure.advise("The certificate in use stays.")),
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        let install =
            |kind| signal(kind).map_err(|error| Failure::other(format_args!("cannot wait for signals: {error}")));
        Ok(Self {
            hangup: install(SignalKind::hangup())?,
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Resolves when the process is asked to stop; takes certificates from their files when asked for that.
    async fn until_stop(&mut self, certificates: Option<&ServerTls>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reload(certificates),
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
            }
        }
        tracing::info!("stopping");
    }
}
