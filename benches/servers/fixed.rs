//! One service with one answer, behind the edge and behind hyper.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thingif::edge::{Admission, Config, Directory, Edge, Listeners, Login, Registry, Role};
use thingif::mqtt::RefusedReason;
use tokio::net::TcpListener;
use tower_service::Service as _;

pub(crate) const APP: &str = "a1";
/// With the head that the edge writes it is a frame of 300 bytes.
const BODY: &[u8] = br#"{"power":true,"presetTemperature":25,"fanspeed":5,"currentTemperature":28,"h":65}"#;

/// Answers every request with 200 and the same body, at once.
#[derive(Clone)]
pub(crate) struct Fixed;

impl tower_service::Service<Request<Bytes>> for Fixed {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        assert!(!request.body().is_empty(), "a request that arrived whole");
        let json = Response::builder().header("Content-Type", "application/json");
        ready(Ok(json.body(Bytes::from_static(BODY)).expect("valid")))
    }
}

/// Admits everybody to the assigned broker.
pub(crate) struct Everybody;

impl Directory for Everybody {
    async fn admit(&self, _: &Login) -> Result<Admission, RefusedReason> {
        Ok(Admission { role: Role::Assigned, app_id: APP.parse().expect("valid") })
    }
}

/// An edge's configuration that stops nobody for being fast.
pub(crate) fn unlimited() -> Config {
    let mut config = Config::default();
    config.max_requests_per_second = u32::MAX;
    config.max_request_burst = u32::MAX;
    config
}

/// Listens, and says where.
pub(crate) async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    println!("{}", listener.local_addr().expect("bound"));
    listener
}

/// The edge before [`Fixed`].
pub(crate) async fn edge() {
    let listeners = Listeners { mqtt: Some(listen().await), ..Listeners::default() };
    let edge = Edge::new(Fixed, Everybody, Registry::new(), unlimited());
    edge.run(listeners, std::future::pending::<()>()).await.expect("a listener");
}

/// hyper before [`Fixed`]: HTTP/1.1, kept alive.
pub(crate) async fn hyper() {
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let answer = Fixed.call(Request::from_parts(parts, body)).await.unwrap_or_else(|never| match never {});
            Ok::<_, hyper::Error>(answer.map(Full::new))
        });
        tokio::spawn(async move {
            // A client that goes is no failure.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}
