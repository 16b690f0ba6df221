//! Both brokers and the service behind them, on one port, with one thing at a time that goes wrong.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use thingif::frame::{self, REQUEST_ID};
use thingif::mqtt::packet::{Decoded, Decoder, Limits, Packet, Protocol, PublishPacket, encode};
use thingif::mqtt::{Qos, Scheme};
use thingif::topic::Topic;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;

use crate::mqtt_broker::{Manners, Pipe, Seen, open};

pub(crate) const APP: &str = "c1k9abcdef12";
const CLIENT_ID: &str = "AbCdEfGhIjKlMnOpQrStUvW";

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The request is read and forgotten.
    LoseRequest,
    /// Its answer is forgotten.
    LoseAnswer,
    /// The answer waits so long.
    Delay(Duration),
    /// The answer is sent twice.
    Twice,
    /// Half of the answer's packet is sent; then the connection ends.
    CutMidPacket,
    /// From the request on nothing is read or written any more, and nothing closed.
    HalfOpen,
    /// The request is answered with a reset.
    Reset,
    /// The request ends every connection, and nobody listens for so long.
    Restart(Duration),
    /// The answer comes on another topic of this client.
    WrongTopic,
    /// The answer comes without id.
    WithoutId,
    /// The request is refused, with `Retry-After: 1`.
    Busy(u16),
    /// Connections are closed as soon as they are subscribed, until [`Shared::calm`].
    Kick,
    /// The next connect to the assigned broker is refused with this code.
    ConnAck(u8),
    /// The next onboarding is carried out and not answered.
    LoseOnboarding,
}

#[derive(Default)]
pub(crate) struct Shared {
    /// In the order in which they happen.
    troubles: Mutex<VecDeque<Trouble>>,
    pub(crate) onboardings: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// The port that onboarding answers name.
    pub(crate) advertised: AtomicU16,
    seen: Seen,
}

impl Shared {
    pub(crate) fn plan(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.troubles.lock().expect("not poisoned").extend(troubles);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm(&self) {
        self.troubles.lock().expect("not poisoned").clear();
    }

    /// Whether everything has gone wrong that was to.
    pub(crate) fn is_over(&self) -> bool {
        self.troubles.lock().expect("not poisoned").is_empty()
    }

    /// Takes the next trouble, if it is one that `applies` here.
    fn take(&self, applies: impl Fn(Trouble) -> bool) -> Option<Trouble> {
        let mut planned = self.troubles.lock().expect("not poisoned");
        let trouble = *planned.front().filter(|trouble| applies(**trouble))?;
        planned.pop_front();
        if trouble == Trouble::Kick {
            planned.push_front(Trouble::Kick);
        }
        Some(trouble)
    }
}

/// A running service; it ends when this is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(scheme: Scheme, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        shared.advertised.store(address.port(), Ordering::Relaxed);
        let mut task = JoinSet::new();
        task.spawn(listen(listener, address, scheme, tls, shared.clone()));
        Self { address, shared, _task: task }
    }
}

async fn listen(
    mut listener: TcpListener,
    address: SocketAddr,
    scheme: Scheme,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
) {
    loop {
        let (restart, mut restarts) = watch::channel(None);
        let restart = Arc::new(restart);
        let mut connections = JoinSet::new();
        let pause = loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((socket, _)) = accepted else { continue };
                    let (tls, shared, restart) = (tls.clone(), shared.clone(), restart.clone());
                    // An error ends the connection; what a client makes of that is the test's business.
                    connections.spawn(async move { drop(serve(socket, scheme, tls, &shared, &restart).await) });
                }
                Some(_) = connections.join_next() => {}
                _ = restarts.changed() => {
                    if let Some(pause) = *restarts.borrow() {
                        break pause;
                    }
                }
            }
        };
        drop((listener, connections));
        tokio::time::sleep(pause).await;
        listener = TcpListener::bind(address).await.expect("the port is ours");
    }
}

async fn serve(
    socket: TcpStream,
    scheme: Scheme,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
    restart: &watch::Sender<Option<Duration>>,
) -> io::Result<()> {
    // A reset needs the socket itself, whatever is wrapped around it.
    let handle = socket.into_std()?;
    let socket = TcpStream::from_std(handle.try_clone()?)?;
    let pipe = open(socket, scheme, tls, &Manners::default(), &shared.seen).await?;
    let mut link = Link { pipe, decoder: Decoder::new(Limits::default()), buffer: BytesMut::new() };
    let Some(Packet::Connect(connect)) = link.read().await? else { return Ok(()) };
    let is_assigned = connect.client_id != "anonymous";
    let refusal = shared.take(|trouble| is_assigned && matches!(trouble, Trouble::ConnAck(_)));
    if let Some(Trouble::ConnAck(code)) = refusal {
        return link.write(&Packet::ConnAck { session_present: false, code }).await;
    }
    link.write(&Packet::ConnAck { session_present: false, code: 0 }).await?;
    while let Some(packet) = link.read().await? {
        match packet {
            Packet::Publish(request) if is_assigned => match link.answer(request, shared, restart, &handle).await? {
                Some(()) => {}
                None => return Ok(()),
            },
            Packet::Publish(request) => {
                shared.onboardings.fetch_add(1, Ordering::Relaxed);
                if shared.take(|trouble| trouble == Trouble::LoseOnboarding).is_none() {
                    let body = credential(shared.advertised.load(Ordering::Relaxed));
                    link.publish(&request.topic, &Response::new(Bytes::from(body))).await?;
                }
            }
            Packet::Subscribe { id, filters } => {
                link.write(&Packet::SubAck { id, codes: vec![0; filters.len()] }).await?;
                if shared.take(|trouble| trouble == Trouble::Kick).is_some() {
                    return Ok(());
                }
            }
            Packet::PingReq => link.write(&Packet::PingResp).await?,
            Packet::Disconnect => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn credential(port: u16) -> String {
    format!(
        r#"{{"accessToken":"t","thingID":"th.1","mqttEndpoint":{{"installationID":"i","username":"u","password":"p",
        "mqttTopic":"{CLIENT_ID}","host":"localhost","portTCP":{port},"portSSL":{port},"portWS":{port},"portWSS":{port}}}}}"#
    )
}

struct Link {
    pipe: Pipe,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Link {
    /// Answers with the request's own body, or as the trouble has it; `None` when the connection is over.
    async fn answer(
        &mut self,
        request: PublishPacket,
        shared: &Shared,
        restart: &watch::Sender<Option<Duration>>,
        handle: &std::net::TcpStream,
    ) -> io::Result<Option<()>> {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let applies = |trouble| !matches!(trouble, Trouble::Kick | Trouble::ConnAck(_) | Trouble::LoseOnboarding);
        let trouble = shared.take(applies);
        let decoded = frame::decode_request(&request.topic, request.payload).map_err(io::Error::other)?;
        let mut answer = Response::new(decoded.body().clone());
        if let Some(id) = decoded.headers().get(REQUEST_ID) {
            answer.headers_mut().insert(REQUEST_ID, id.clone());
        }
        let mut topic = request.topic;
        match trouble {
            None => {}
            Some(Trouble::LoseRequest | Trouble::LoseAnswer) => return Ok(Some(())),
            Some(Trouble::Delay(time)) => tokio::time::sleep(time).await,
            Some(Trouble::Twice) => self.publish(&topic, &answer).await?,
            Some(Trouble::CutMidPacket) => {
                self.pipe.write_half(&packet(&topic, &answer)).await?;
                return Ok(None);
            }
            Some(Trouble::HalfOpen) => std::future::pending().await,
            Some(Trouble::Reset) => {
                reset_on_close(handle)?;
                return Ok(None);
            }
            Some(Trouble::Restart(pause)) => {
                restart.send_replace(Some(pause));
                std::future::pending().await
            }
            Some(Trouble::WrongTopic) => {
                topic = Topic::new(&format!("{topic}/elsewhere")).expect("valid");
            }
            Some(Trouble::WithoutId) => answer.headers_mut().clear(),
            Some(Trouble::Busy(status)) => {
                *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
                answer.headers_mut().insert("retry-after", "1".parse().expect("a number"));
            }
            Some(other) => unreachable!("{other:?} is no trouble of a call"),
        }
        self.publish(&topic, &answer).await.map(Some)
    }

    async fn publish(&mut self, topic: &Topic, answer: &Response<Bytes>) -> io::Result<()> {
        self.pipe.write(packet(topic, answer)).await
    }

    async fn write(&mut self, packet: &Packet) -> io::Result<()> {
        let mut out = BytesMut::new();
        encode(packet, Protocol::V311, &mut out).map_err(io::Error::other)?;
        self.pipe.write(out.freeze()).await
    }

    async fn read(&mut self) -> io::Result<Option<Packet>> {
        loop {
            match self.decoder.decode(&mut self.buffer).map_err(io::Error::other)? {
                Some(Decoded::Packet(packet)) => return Ok(Some(packet)),
                Some(_) => return Err(io::Error::other("larger than any test sends")),
                None if self.pipe.read(&mut self.buffer).await? => {}
                None => return Ok(None),
            }
        }
    }
}

fn packet(topic: &Topic, answer: &Response<Bytes>) -> Bytes {
    let mut payload = BytesMut::new();
    frame::encode_response(answer, &mut payload);
    let publish = PublishPacket {
        dup: false,
        retain: false,
        qos: Qos::AtMostOnce,
        id: None,
        topic: topic.clone(),
        payload: payload.freeze(),
    };
    let mut out = BytesMut::new();
    encode(&Packet::Publish(publish), Protocol::V311, &mut out).expect("can be written");
    out.freeze()
}

/// What is closed from now on is closed with RST.
fn reset_on_close(socket: &std::net::TcpStream) -> io::Result<()> {
    TcpStream::from_std(socket.try_clone()?)?.set_zero_linger()
}
