//! Sockets, and the edge that serves them.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, rustls};

use super::connection::{not_connected, serve};
use super::ending::Ending;
use super::execute::Backend;
use super::live::{Live, Place};
use super::login::Origin;
use super::record::{Recorded, Recording};
use super::socket::prepare;
use super::websocket::WebSocket;
use super::wire::{Stream, Wire};
use super::{Config, Directory, Registry};
use crate::mqtt::Scheme;

/// The sockets to accept connections from, any of them absent. Both roles come in on the same ones.
///
/// Secrets: this crate logs no payload, but the WebSocket library below `ws` and `wss` hands whole frames to the `log`
/// crate at level trace. A program that installs a logger for `log` must cap the targets `tungstenite` and
/// `tokio_tungstenite` at info, as the program `thingif` does.
#[derive(Debug, Default)]
pub struct Listeners {
    /// MQTT over TCP.
    pub mqtt: Option<TcpListener>,
    /// MQTT over TLS.
    pub mqtts: Option<TcpListener>,
    /// MQTT over WebSocket.
    pub ws: Option<TcpListener>,
    /// MQTT over WebSocket over TLS.
    pub wss: Option<TcpListener>,
    /// For [`mqtts`](Self::mqtts) and [`wss`](Self::wss), which need it. Certificates are renewed through its resolver.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// An MQTT 3.1 and 3.1.1 server for exactly this protocol: frames become requests to `S`, its responses frames.
///
/// See the [module](super) for what it does with what it receives.
///
/// ```no_run
/// use std::convert::Infallible;
/// use std::future::{Ready, ready};
/// use std::task::{Context, Poll};
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use thingif::edge::{Admission, Config, Directory, Edge, Listeners, Login, Registry, Role};
/// use thingif::ids::AppId;
/// use thingif::mqtt::RefusedReason;
///
/// /// Answers every request with its own body.
/// #[derive(Clone)]
/// struct Mirror;
///
/// impl tower_service::Service<Request<Bytes>> for Mirror {
///     type Response = Response<Bytes>;
///     type Error = Infallible;
///     type Future = Ready<Result<Response<Bytes>, Infallible>>;
///
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, request: Request<Bytes>) -> Self::Future {
///         ready(Ok(Response::new(request.into_body())))
///     }
/// }
///
/// /// Lets every client onboard, and nothing else.
/// struct Everybody(AppId);
///
/// impl Directory for Everybody {
///     async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
///         match login.credentials.client_id.is_anonymous() {
///             true => Ok(Admission { role: Role::Onboarding, app_id: self.0.clone() }),
///             false => Err(RefusedReason::BadUserNameOrPassword),
///         }
///     }
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = Everybody(AppId::new("c1k9abcdef12")?);
/// let edge = Edge::new(Mirror, directory, Registry::new(), Config::default());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:1883").await?;
/// let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
/// edge.run(listeners, std::future::pending::<()>()).await?;
/// # Ok(())
/// # }
/// ```
pub struct Edge<S, D> {
    service: S,
    directory: Arc<D>,
    live: Arc<Live>,
    recording: Option<Recording>,
}

impl<S: Clone, D> Clone for Edge<S, D> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            directory: Arc::clone(&self.directory),
            live: Arc::clone(&self.live),
            recording: self.recording.clone(),
        }
    }
}

impl<S, D> std::fmt::Debug for Edge<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("registry", &self.live.registry).finish_non_exhaustive()
    }
}

impl<S: Backend, D: Directory> Edge<S, D> {
    /// An edge in front of `service`, open to whom `directory` admits.
    ///
    /// `registry` is filled with the connections; give a clone of it to whoever pushes. It takes its bound on waiting
    /// pushes from `config`.
    pub fn new(service: S, directory: D, registry: Registry, config: Config) -> Self {
        let live = Arc::new(Live::new(config, registry));
        live.registry.attach(&live);
        Self { service, directory: Arc::new(directory), live, recording: None }
    }

    /// Has what passes through connections that begin from now on written to `recording`. Default: nothing is.
    #[must_use]
    pub fn with_recording(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// Accepts connections until `shutdown` resolves. Then no more are accepted, requests that were taken are finished and
    /// answered, for at most [`Config::shutdown_timeout`], and all connections closed.
    ///
    /// Dropping the future closes the listeners and every connection at once.
    ///
    /// # Errors
    /// Of kind `InvalidInput`: no listener at all, or one for TLS without a TLS configuration. A failing `accept` is
    /// counted, logged and tried again after a pause, because it passes: it means that file descriptors ran out.
    pub async fn run(self, listeners: Listeners, shutdown: impl Future) -> io::Result<()> {
        let accepting = Accepting::new(listeners)?;
        let live = Arc::clone(&self.live);
        let close_all = CloseAll(Arc::clone(&live));
        {
            let mut shutdown = pin!(shutdown);
            let mut accept = pin!(self.accept(accepting));
            poll_fn(|cx| match accept.as_mut().poll(cx) {
                Poll::Ready(never) => match never {},
                Poll::Pending => shutdown.as_mut().poll(cx).map(|_| ()),
            })
            .await;
        }
        live.each(super::session::Session::finish);
        let in_time = timeout(live.config.shutdown_timeout, live.no_tasks()).await;
        if in_time.is_err() {
            tracing::warn!("requests were still in flight when the time to shut down was over");
            drop(close_all);
            let goodbye = timeout(super::config::LINGER, live.no_tasks()).await;
            if goodbye.is_err() {
                tracing::warn!("the service is still busy with requests whose connections are closed");
            }
        }
        Ok(())
    }

    /// Serves one stream of bytes that was accepted elsewhere as if it had come in on `scheme`, to its end: a Unix
    /// socket, a pipe in memory. Neither TLS nor WebSocket is added to it.
    pub fn serve_stream<T>(
        &self,
        stream: T,
        scheme: Scheme,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> impl Future<Output = ()> + Send + use<T, S, D>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let origin = Origin { scheme, remote, local };
        self.clone().serve(Box::new(Stream::new(stream)), origin, self.connect_deadline(), self.live.open())
    }

    fn connect_deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.live.config.connect_timeout).unwrap_or(now + A_YEAR)
    }

    async fn serve<W: Wire>(self, wire: Box<W>, origin: Origin, deadline: Instant, place: Place) {
        let track = self.recording.as_ref().and_then(|recording| recording.track(place.session.id(), origin));
        let wire = Box::new(Recorded::new(*wire, track));
        serve(wire, origin, deadline, self.service, self.directory, place).await;
    }

    async fn accept(self, mut accepting: Accepting) -> std::convert::Infallible {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match poll_fn(|cx| accepting.poll(cx)).await {
                Ok((scheme, stream, remote)) => {
                    pause = SHORTEST_PAUSE;
                    self.start(scheme, stream, remote, accepting.tls.clone());
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.live.registry.counters().accept_errors.add();
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections, pausing");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Starts the task of a connection.
    fn start(&self, scheme: Scheme, tcp: TcpStream, remote: SocketAddr, tls: Option<TlsAcceptor>) {
        let Ok(local) = tcp.local_addr() else { return };
        if self.live.len() >= self.live.config.max_connections {
            self.live.registry.counters().turned_away.add();
            tracing::debug!(%remote, %scheme, "turned away: there are too many connections");
            return;
        }
        prepare(&tcp, self.live.config.tcp_keep_alive);
        let (edge, deadline, place) = (self.clone(), self.connect_deadline(), self.live.open());
        let origin = Origin { scheme, remote, local };
        match tls.filter(|_| scheme.is_tls()) {
            None => drop(tokio::spawn(edge.upgrade(tcp, origin, deadline, place))),
            Some(tls) => {
                let secure = async move { tls.accept(tcp).await.map_err(|_| Ending::Tls) };
                tokio::spawn(async move {
                    let secured = in_time(deadline, &place, Box::pin(secure)).await;
                    match secured {
                        Ok(stream) => edge.upgrade(*stream, origin, deadline, place).await,
                        Err(ending) => not_connected(&place.live, origin, place.session.id(), ending),
                    }
                });
            }
        }
    }

    /// WebSocket, where the listener is for it, then MQTT.
    fn upgrade<T>(self, stream: T, origin: Origin, deadline: Instant, place: Place) -> BoxFuture
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if !origin.scheme.is_websocket() {
            return Box::pin(self.serve(Box::new(Stream::new(stream)), origin, deadline, place));
        }
        let upgrade = Box::pin(WebSocket::accept(stream, self.live.config.max_skip));
        Box::pin(async move {
            let upgraded = in_time(deadline, &place, upgrade).await;
            match upgraded {
                Ok(upgraded) => self.serve(upgraded, origin, deadline, place).await,
                Err(ending) => not_connected(&place.live, origin, place.session.id(), ending),
            }
        })
    }
}

/// A task of a connection. Boxed: TLS and WebSocket would otherwise make every task as large as the largest.
type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handshake, until the deadline passes or the edge shuts down. Both come and go in boxes, so that the memory they need
/// does not stay with the connection.
async fn in_time<T>(
    deadline: Instant,
    place: &Place,
    handshake: Pin<Box<impl Future<Output = Result<T, Ending>>>>,
) -> Result<Box<T>, Ending> {
    let bounded = Box::pin(timeout_at(deadline, handshake));
    tokio::select! {
        done = bounded => done.unwrap_or(Err(Ending::ConnectTimeout)).map(Box::new),
        ending = place.session.asked_to_end() => Err(ending),
    }
}

/// Told apart from the listener's own errors: the next `accept` may well succeed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Stands for times that no clock can show.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The listeners, asked in turn.
struct Accepting {
    listeners: Vec<(Scheme, TcpListener)>,
    next: usize,
    tls: Option<TlsAcceptor>,
}

impl Accepting {
    fn new(listeners: Listeners) -> io::Result<Self> {
        let Listeners { mqtt, mqtts, ws, wss, tls } = listeners;
        let all = Scheme::ALL.into_iter().zip([mqtt, mqtts, ws, wss]);
        let listeners: Vec<_> = all.filter_map(|(scheme, listener)| Some((scheme, listener?))).collect();
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        if listeners.is_empty() {
            return Err(invalid("the edge has no listener"));
        }
        if tls.is_none() && listeners.iter().any(|(scheme, _)| scheme.is_tls()) {
            return Err(invalid("a listener for TLS needs a TLS configuration"));
        }
        Ok(Self { listeners, next: 0, tls: tls.map(TlsAcceptor::from) })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Scheme, TcpStream, SocketAddr)>> {
        for _ in 0..self.listeners.len() {
            let (scheme, listener) = &self.listeners[self.next];
            self.next = (self.next + 1) % self.listeners.len();
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, remote)| (*scheme, stream, remote)));
            }
        }
        Poll::Pending
    }
}

/// Ends every connection when it is dropped.
struct CloseAll(Arc<Live>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        self.0.each(|session| session.end(Ending::Shutdown));
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use futures_util::{SinkExt, StreamExt};
    use http::{Request, Response};
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::edge::{Admission, Login, Role};
    use crate::ids::AppId;
    use crate::mqtt::RefusedReason;
    use crate::mqtt::packet::{self, Connect, Packet, Protocol};
    use crate::topic::Topic;

    const ANSWER_LEN: usize = 600_000;

    #[derive(Clone)]
    struct Large;

    impl tower_service::Service<Request<Bytes>> for Large {
        type Response = Response<Bytes>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Response<Bytes>, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Bytes>) -> Self::Future {
            std::future::ready(Ok(Response::new(Bytes::from(vec![b'x'; ANSWER_LEN]))))
        }
    }

    struct Open;

    impl Directory for Open {
        async fn admit(&self, _: &Login) -> Result<Admission, RefusedReason> {
            Ok(Admission { role: Role::Assigned, app_id: AppId::new("app1").expect("valid") })
        }
    }

    fn connect() -> BytesMut {
        let connect = Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 0,
            client_id: "device".to_owned(),
            will: None,
            username: Some("u".to_owned()),
            password: Some(Bytes::from_static(b"p")),
        };
        let mut bytes = BytesMut::new();
        packet::encode(&Packet::Connect(Box::new(connect)), Protocol::V311, &mut bytes).expect("encodable");
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_that_takes_a_large_answer_slowly_is_not_taken_for_deaf() {
        let registry = Registry::new();
        let edge = Edge::new(Large, Open, registry.clone(), Config::default());
        let (near, far) = tokio::io::duplex(4096);
        let address = ([127, 0, 0, 1], 1).into();
        let origin = Origin { scheme: Scheme::Ws, remote: address, local: address };
        let (deadline, place) = (edge.connect_deadline(), edge.live.open());
        tokio::spawn(edge.upgrade(far, origin, deadline, place));
        let (mut socket, _) = tokio_tungstenite::client_async("ws://x/mqtt", near).await.expect("upgraded");
        socket.send(Message::Binary(connect().freeze())).await.expect("sent");
        assert!(matches!(socket.next().await, Some(Ok(Message::Binary(_)))), "CONNACK");
        let mut request = BytesMut::new();
        let topic = Topic::new("p/device/thing-if/apps/app1/x").expect("valid");
        packet::encode_publish(&topic, b"GET\n\n", &mut request).expect("encodable");
        socket.send(Message::Binary(request.freeze())).await.expect("sent");
        // Never nothing for 30 s, although the answer takes an hour as one frame.
        let mut stream = socket.into_inner();
        let mut taken = 0;
        while taken < ANSWER_LEN {
            sleep(Duration::from_secs(25)).await;
            let read = stream.read(&mut [0; 4096]).await.expect("open");
            assert!(read > 0, "closed after {taken} bytes: {:?}", registry.metrics());
            taken += read;
        }
    }
}
