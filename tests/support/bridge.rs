//! A bridge on a TCP port of its own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::SocketAddr;

use serde_json::json;
use thingif::bridge::upstream::{Door, LoginHook, Options, Upstream};
use thingif::edge::{Config, Edge, Listeners, Registry};
use thingif::ids::AppId;
use thingif::mqtt::packet::Connect;
use thingif::thing_if::MqttEndpoint;
use tokio::net::{TcpListener, TcpStream};

use crate::raw_mqtt::{self, Client};

pub const APP: &str = "app1";
pub const KEY: &str = "key1";

pub struct Bridge {
    pub address: SocketAddr,
    pub registry: Registry,
    pub upstream: Upstream,
}

pub fn options(url: &str) -> Options {
    let mut options = Options::new(url.parse().expect("a URL"));
    options.apps = vec![(app(), KEY.into())];
    options
}

pub fn app() -> AppId {
    AppId::new(APP).expect("valid")
}

/// Knows the client `device`, user `user`, password `pw`, and the application.
pub async fn start(options: Options) -> Bridge {
    start_with(options, None, Config::default()).await
}

pub async fn start_with(mut options: Options, hook: Option<LoginHook>, mut config: Config) -> Bridge {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    options.advertise.tcp = Some(address.port());
    let login = json!({ "username": "user", "password": "pw", "mqttTopic": "device", "host": "h" });
    options.endpoints.learn(&app(), &MqttEndpoint::try_from(login).expect("complete")).expect("room");
    let apps = options.apps.clone();
    let upstream = Upstream::new(options);
    let door = Door { apps, endpoints: upstream.endpoints().clone(), hook, ..Door::default() };
    let registry = Registry::new();
    config.paths = upstream.paths();
    let edge = Edge::new(upstream.clone(), door, registry.clone(), config);
    let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
    Bridge { address, registry, upstream }
}

pub fn device() -> Connect {
    raw_mqtt::connect("device", "user", "pw")
}

pub fn anonymous() -> Connect {
    raw_mqtt::connect("anonymous", "type=oauth2&client_id=app1", "client_secret=key1")
}

impl Bridge {
    pub async fn device(&self) -> Client<TcpStream> {
        Client::login(self.address, device()).await
    }
}
