//! The edge and the cloud together: what `serve` runs until it is told to stop, and `demo` for a while.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::admin::password::{self, Password};
use crate::admin::{Access, Admin};
use crate::bridge::PushHook;
use crate::bridge::upstream::UpstreamUrl;
use crate::cli::admin_file::AdminFile;
use crate::cli::advertise_arg::AdvertiseArg;
use crate::cli::exit::Failure;
use crate::cli::server_tls::ServerTls;
use crate::client::causes::with_causes;
use crate::cloud::{self, Advertise, Cloud, Location};
use crate::edge::{self, Edge, Listeners, Pusher, Recording, Registry};
use crate::mqtt::Scheme;
use crate::secret::Secret;

/// The line that says that everything listens.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    https: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wss: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<SocketAddr>,
    /// The authority to trust, where the certificate is one of this machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

/// The sockets, bound.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) http: Option<TcpListener>,
    pub(crate) https: Option<TcpListener>,
    pub(crate) mqtt: Option<TcpListener>,
    pub(crate) mqtts: Option<TcpListener>,
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

pub(crate) fn address(listener: &Option<TcpListener>) -> Option<SocketAddr> {
    listener.as_ref().and_then(|listener| listener.local_addr().ok())
}

impl Sockets {
    pub(crate) fn ready(&self, tls: Option<&ServerTls>) -> Ready {
        Ready {
            ready: true,
            http: address(&self.http),
            https: address(&self.https),
            mqtt: address(&self.mqtt),
            mqtts: address(&self.mqtts),
            ws: address(&self.ws),
            wss: address(&self.wss),
            admin: address(&self.admin),
            ca: tls.and_then(ServerTls::ca_file).map(PathBuf::from),
        }
    }

    /// Whether things can come in.
    pub(crate) fn have_things(&self) -> bool {
        [&self.mqtt, &self.mqtts, &self.ws, &self.wss].into_iter().any(Option::is_some)
    }

    pub(crate) fn need_tls(&self) -> bool {
        [&self.https, &self.mqtts, &self.wss].into_iter().any(Option::is_some)
    }

    pub(crate) fn tls_addresses(&self) -> Vec<IpAddr> {
        [&self.https, &self.mqtts, &self.wss].into_iter().filter_map(|l| Some(address(l)?.ip())).collect()
    }

    /// Listeners that are off stay out of what things are told, unless a port was given for them.
    pub(crate) fn advertise(&self, given: Option<&AdvertiseArg>) -> Advertise {
        let port = |scheme, listener| given.and_then(|g| g.port(scheme)).or(address(listener).map(|a| a.port()));
        Advertise {
            host: given.map(|given| given.host.clone()),
            tcp: port(Scheme::Mqtt, &self.mqtt),
            ssl: port(Scheme::Mqtts, &self.mqtts),
            ws: port(Scheme::Ws, &self.ws),
            wss: port(Scheme::Wss, &self.wss),
        }
    }
}

/// A cloud with an edge before it, ready to run.
pub(crate) struct Server {
    cloud: Cloud,
    registry: Registry,
    sockets: Sockets,
    tls: Option<TlsConfigs>,
    started: SystemTime,
    admin_file: Option<AdminFile>,
    password: Option<Password>,
    edge: edge::Config,
    recording: Option<Recording>,
}

/// A bridge that has things of this service.
pub(crate) struct PushTarget {
    pub(crate) url: UpstreamUrl,
    pub(crate) token: Secret<String>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// TLS for the two kinds of clients.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfigs {
    /// Of HTTPS.
    pub(crate) apps: Arc<ServerConfig>,
    /// Of MQTT, where a client certificate may be demanded.
    pub(crate) things: Arc<ServerConfig>,
}

impl Server {
    /// Opens the cloud; `options` say everything but who pushes: this process, and to whoever is not here, `push_target`. From
    /// here on the data directory is this process's own.
    pub(crate) async fn open(
        options: cloud::Options,
        sockets: Sockets,
        push_target: Option<PushTarget>,
    ) -> Result<Self, Failure> {
        let started = SystemTime::now();
        let registry = Registry::new();
        let pusher: Arc<dyn Pusher> = match push_target {
            None => Arc::new(registry.clone()),
            Some(PushTarget { url, token, tls }) => Arc::new(PushHook::new(registry.clone(), url, &token, tls)),
        };
        let directory = match &options.store {
            Location::Dir(directory) => Some(directory.clone()),
            Location::Memory => None,
        };
        let password = directory.as_ref().map(|directory| Password::File(directory.join(password::FILE)));
        let opened = tokio::task::spawn_blocking(move || Cloud::open(options, pusher)).await;
        match opened.map_err(|error| Failure::other(format_args!("the cloud did not open: {error}")))? {
            Ok(cloud) => {
                let admin_file = match (directory, address(&sockets.admin)) {
                    (Some(directory), Some(address)) => Some(AdminFile::write(&directory, address)?),
                    (Some(directory), None) => {
                        AdminFile::remove_left(&directory)?;
                        None
                    }
                    (None, _) => None,
                };
                let edge = edge::Config::default();
                Ok(Self { cloud, registry, sockets, tls: None, started, admin_file, password, edge, recording: None })
            }
            Err(error) => Err(Failure::other(with_causes(&error))),
        }
    }

    /// Sets the bounds of MQTT connections.
    pub(crate) fn set_edge(&mut self, config: edge::Config) {
        self.edge = config;
    }

    /// Writes what passes between it and things.
    pub(crate) fn set_recording(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// Where it will listen.
    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// What the listeners with TLS use. Where there are some, it is needed before [`run`](Self::run).
    pub(crate) fn set_tls(&mut self, tls: TlsConfigs) {
        self.tls = Some(tls);
    }

    /// Lets people in to the admin page with this password, whatever the data directory says.
    pub(crate) fn set_password(&mut self, password: Password) {
        self.password = Some(password);
    }

    /// Whether there is an application to serve.
    pub(crate) fn has_apps(&self) -> bool {
        !self.cloud.apps().is_empty()
    }

    /// Serves until `stop` resolves, or a listener fails; then answers what is under way and closes the store.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let Self { cloud, registry, sockets, tls, started, admin_file, password, edge, recording } = self;
        if sockets.need_tls() && tls.is_none() {
            return Err(Failure::other("a listener for TLS has no certificate"));
        }
        let has_things = sockets.have_things();
        let (stopping, stopped) = watch::channel(());
        let until_stopped = |mut stopped: watch::Receiver<()>| async move { drop(stopped.changed().await) };
        let alone = cloud.clone();
        let alone = tokio::spawn(async move { alone.run().await });
        let mut tasks = JoinSet::new();
        for (listener, tls) in [(sockets.http, None), (sockets.https, tls.as_ref().map(|tls| tls.apps.clone()))] {
            if let Some(listener) = listener {
                tasks.spawn(cloud::http::serve(listener, tls, cloud.clone(), until_stopped(stopped.clone())));
            }
        }
        if let Some(listener) = sockets.admin {
            let token = admin_file.as_ref().map(|file| file.token.clone());
            let admin = Admin::new(cloud.clone(), registry.clone(), started, Access { token, password });
            tasks.spawn(admin.serve(listener, until_stopped(stopped.clone())));
        }
        let mut edge = Edge::new(cloud.service(), cloud.clone(), registry, edge);
        if let Some(recording) = recording {
            edge = edge.with_recording(recording);
        }
        let tls = tls.map(|tls| tls.things);
        let listeners = Listeners { mqtt: sockets.mqtt, mqtts: sockets.mqtts, ws: sockets.ws, wss: sockets.wss, tls };
        // With a bridge, things may all be elsewhere.
        if has_things {
            tasks.spawn(edge.run(listeners, until_stopped(stopped)));
        }

        let mut failed = tokio::select! {
            () = stop => None,
            ended = tasks.join_next() => ended.and_then(|ended| why(ended).err()),
        };
        drop(admin_file);
        drop(stopping);
        while let Some(ended) = tasks.join_next().await {
            failed = failed.or(why(ended).err());
        }
        cloud.close().await;
        if let Err(error) = alone.await {
            tracing::error!(%error, "what the cloud does by itself ended early");
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What ended a listener's task, if that was no order.
pub(crate) fn why(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::other(format_args!("a listener failed: {error}"))),
        Err(error) => Err(Failure::other(format_args!("a listener ended: {error}"))),
    }
}
