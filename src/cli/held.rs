//! The one connection of a credential, for the verbs that keep it: `listen` and `proxy`.

use std::convert::Infallible;
use std::path::Path;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::connection_lock::ConnectionLock;
use crate::cli::credential_file::Settings;
use crate::cli::credential_vault::CredentialVault;
use crate::cli::exit::Failure;
use crate::cli::route_args::RouteArgs;
use crate::cli::{local_socket, session};
use crate::client::causes::with_causes;
use crate::client::{self, Client, Connection, Notice, Notices, Pushes};
use crate::config::Config;

/// A connection, and the socket where others share it.
pub(crate) struct Held {
    pub(crate) client: Client,
    pub(crate) pushes: Pushes,
    pub(crate) connection: Connection,
    pub(crate) lock: ConnectionLock,
    pub(crate) socket: UnixListener,
}

impl Held {
    /// Connects, and binds the socket that belongs to `lock`.
    pub(crate) async fn connect(
        file: &Path,
        config: &Config,
        settings: &Settings,
        route: &RouteArgs,
        lock: ConnectionLock,
    ) -> Result<Self, Failure> {
        let transport = session::transport(&settings.route, route)?;
        let vault = CredentialVault::new(file, settings.clone());
        let (client, pushes, connection) = match client::connect_with(config.clone(), transport, vault).await {
            Ok(connected) => connected,
            Err(error) => return Err(session::explain(&error, config, &settings.route).await),
        };
        let socket = local_socket::bind(lock.socket()).map_err(|error| {
            Failure::other(format_args!("cannot listen on {}: {error}", lock.socket().display()))
                .advise("A Unix socket's path has at most 107 bytes: choose a shorter --credentials.")
        })?;
        Ok(Self { client, pushes, connection, lock, socket })
    }
}

/// Says what happens to the connection, and tells `also`. The vault says itself what it stores.
pub(crate) async fn follow(mut notices: Notices, also: impl Fn(&Notice)) -> Infallible {
    let mut lost = false;
    while let Some(notice) = notices.next().await {
        also(&notice);
        match notice {
            Notice::Waiting { cause, pause, .. } => {
                lost = true;
                eprintln!("thingif: {}; trying again in {:.1} s", with_causes(&*cause), pause.as_secs_f64());
            }
            Notice::Ready { .. } if lost => {
                lost = false;
                eprintln!("thingif: connected again");
            }
            other => tracing::info!(notice = ?other),
        }
    }
    std::future::pending().await
}

/// Tells servers to end, and is what they wait for.
pub(crate) struct Ending(watch::Sender<bool>);

impl Ending {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Resolves when the end [has begun](Self::begin).
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + use<> {
        let mut ending = self.0.subscribe();
        async move { drop(ending.wait_for(|ending| *ending).await) }
    }
}

/// Resolves when the process is asked to end.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let install = |kind| signal(kind).map_err(|error| Failure::other(format_args!("cannot wait for signals: {error}")));
    let (mut terminate, mut interrupt) = (install(SignalKind::terminate())?, install(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
