//! An edge with a scripted service and a scripted directory behind it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use thingif::edge::{Admission, Config, Directory, Edge, Listeners, Login, Peer, Registry, Role};
use thingif::ids::AppId;
use thingif::mqtt::{RefusedReason, Scheme};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::raw_mqtt::{self, Client};

pub const APP: &str = "app1";

/// What the scripted directory takes.
pub const ANONYMOUS: (&str, &str, &str) = ("anonymous", "type=oauth2&client_id=app1", "client_secret=key1");

pub fn anonymous() -> thingif::mqtt::packet::Connect {
    raw_mqtt::connect(ANONYMOUS.0, ANONYMOUS.1, ANONYMOUS.2)
}

/// An assigned client id: user name and password are checked to be these.
pub fn assigned(client_id: &str) -> thingif::mqtt::packet::Connect {
    raw_mqtt::connect(client_id, "user", "pw")
}

/// Admits [`anonymous`] and [`assigned`], refuses user name `stranger` with 5, never answers `hang`.
pub struct Scripted;

impl Directory for Scripted {
    async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
        let app_id = AppId::new(APP).expect("valid");
        let credentials = &login.credentials;
        let password = credentials.password.expose().as_str();
        if credentials.client_id.is_anonymous() {
            let known = (credentials.username.as_str(), password) == (ANONYMOUS.1, ANONYMOUS.2);
            return if known {
                Ok(Admission { role: Role::Onboarding, app_id })
            } else {
                Err(RefusedReason::NotAuthorised)
            };
        }
        match (credentials.username.as_str(), password) {
            ("user", "pw") => Ok(Admission { role: Role::Assigned, app_id }),
            ("stranger", _) => Err(RefusedReason::NotAuthorised),
            ("hang", _) => std::future::pending().await,
            _ => Err(RefusedReason::BadUserNameOrPassword),
        }
    }
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

/// A service that is a function.
#[derive(Clone)]
pub struct Function(Arc<dyn Fn(Request<Bytes>) -> BoxFuture + Send + Sync>);

pub fn service<F, R>(function: F) -> Function
where
    F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Bytes>, BoxError>> + Send + 'static,
{
    Function(Arc::new(move |request| Box::pin(function(request))))
}

/// Answers 200 with `{method} {path and query} {client id} {body}`.
pub fn echo() -> Function {
    service(|request| async move { Ok(Response::new(Bytes::from(describe(&request)))) })
}

pub fn describe(request: &Request<Bytes>) -> String {
    let client = request.extensions().get::<Peer>().expect("a peer").client_id.clone();
    format!("{} {} {client} {}", request.method(), request.uri(), String::from_utf8_lossy(request.body()))
}

impl Service<Request<Bytes>> for Function {
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> BoxFuture {
        (self.0)(request)
    }
}

/// An edge on a TCP port of its own.
pub struct Running {
    pub address: SocketAddr,
    pub registry: Registry,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

pub async fn start(service: Function) -> Running {
    start_with(service, Config::default()).await
}

pub async fn start_with(service: Function, config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let registry = Registry::new();
    let edge = Edge::new(service, Scripted, registry.clone(), config);
    let (shutdown, until) = oneshot::channel();
    let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
    let task = tokio::spawn(edge.run(listeners, until));
    Running { address, registry, shutdown, task }
}

impl Running {
    pub async fn anonymous(&self) -> Client<tokio::net::TcpStream> {
        Client::login(self.address, anonymous()).await
    }

    pub async fn assigned(&self, client_id: &str) -> Client<tokio::net::TcpStream> {
        Client::login(self.address, assigned(client_id)).await
    }

    /// Begins the shutdown.
    pub fn shut_down(self) -> JoinHandle<std::io::Result<()>> {
        self.shutdown.send(()).expect("running");
        self.task
    }
}

/// The other end of a connection in memory: for virtual time, which real sockets do not know.
pub fn in_memory(edge: &Edge<Function, Scripted>, capacity: usize) -> (Client<DuplexStream>, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(capacity);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut client = Client::new(near);
    client.patience = std::time::Duration::from_secs(24 * 3600); // of virtual time
    (client, tokio::spawn(edge.serve_stream(far, Scheme::Mqtt, address, address)))
}

/// Waits for what another task does, and fails when it does not come.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(raw_mqtt::PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
