//! An edge whose service onboards everybody at once, without a store: what is left of a cold start is the road. It answers
//! everything but what asks for commands: that is held back for ever.

use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use thingif::edge::{Admission, Directory, Edge, Listeners, Login, Registry, Role};
use thingif::ids::AccessToken;
use thingif::mqtt::RefusedReason;
use thingif::secret::Secret;
use thingif::thing_if::{Credential, MqttEndpoint, OnboardingAnswer};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;

use super::fixed::{APP, unlimited};

/// Where devices are sent: TCP, TLS.
pub(crate) type Assigned = Arc<OnceLock<[SocketAddr; 2]>>;

/// How many requests are held back.
pub(crate) type Held = Arc<AtomicUsize>;

#[derive(Clone)]
struct Onboarder(Assigned, Held);

type Answer = Result<Response<Bytes>, Infallible>;

impl tower_service::Service<Request<Bytes>> for Onboarder {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, Pending<Answer>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        if request.uri().path().contains("/commands/") {
            self.1.fetch_add(1, Ordering::SeqCst);
            return Either::Right(pending());
        }
        let is_onboarding = request.uri().path().ends_with("/onboardings");
        let body = if is_onboarding { answer(*self.0.get().expect("set")).to_body_exposed() } else { Bytes::new() };
        let json = Response::builder().header("Content-Type", "application/json");
        Either::Left(ready(Ok(json.body(body).expect("valid"))))
    }
}

struct BothRoles;

impl Directory for BothRoles {
    async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
        let role = if login.credentials.client_id.is_anonymous() { Role::Onboarding } else { Role::Assigned };
        Ok(Admission { role, app_id: APP.parse().expect("valid") })
    }
}

/// Serves until the runtime ends; gives its addresses, TCP and TLS.
pub(crate) async fn start(tls: Arc<ServerConfig>, assigned: Assigned, held: Held) -> [SocketAddr; 2] {
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.expect("loopback") };
    let (mqtt, mqtts) = (listen().await, listen().await);
    let addresses = [&mqtt, &mqtts].map(|listener| listener.local_addr().expect("bound"));
    let listeners = Listeners { mqtt: Some(mqtt), mqtts: Some(mqtts), tls: Some(tls), ..Listeners::default() };
    let mut config = unlimited();
    config.max_in_flight = 10_000;
    let edge = Edge::new(Onboarder(assigned, held), BothRoles, Registry::new(), config);
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
    addresses
}

fn answer([tcp, tls]: [SocketAddr; 2]) -> OnboardingAnswer {
    let endpoint = MqttEndpoint {
        installation_id: "i".into(),
        username: "u".into(),
        password: "p".to_owned().into(),
        mqtt_topic: "device-1".parse().expect("valid"),
        host: "127.0.0.1".into(),
        port_tcp: Some(tcp.port()),
        port_ssl: Some(tls.port()),
        port_ws: None,
        port_wss: None,
        ttl: None,
    };
    let token = AccessToken::new("0123456789abcdef0123456789abcdef01234567").expect("valid");
    OnboardingAnswer { access_token: Secret::new(token), thing_id: "th.1".parse().expect("valid"), endpoint }
}

/// What a device has kept that was onboarded here.
pub(crate) fn credential(assigned: [SocketAddr; 2]) -> Credential {
    answer(assigned).into_credential(APP.parse().expect("valid"))
}
