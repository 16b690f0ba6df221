//! A proxy between devices and a broker that records what passes.
//!
//! It goes between by changing one thing: the answer to an onboarding names this proxy as the assigned broker, and whoever then
//! logs in with the client id of that answer is led to the real one.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::bindings::Bindings;
use super::dial::{ONLY_TCP, dial};
use super::variables::{Kind, Variable};
use super::wire::Stream;
use crate::capture::{Conversation, Direction, Writer};
use crate::frame::Frame;
use crate::mqtt::Endpoint;
use crate::mqtt::packet::{Decoded, Decoder, Limits, MAX_REMAINING_LENGTH, Packet, PublishPacket, encode};
use crate::thing_if::OnboardingAnswer;

/// Connecting to the broker, and the first packet of a device, may take so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the device has closed its end, what the broker still says to it is passed on for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection that cannot be accepted, for want of file descriptors, may be one then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Assigned brokers that are remembered; the one that was told first is forgotten first.
const MAX_ASSIGNED: usize = 10_000;

/// How devices and the broker are reached.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The broker: `mqtt://` or `mqtts://`.
    pub broker: Endpoint,
    /// For an `mqtts://` broker.
    pub broker_tls: Option<Arc<ClientConfig>>,
    /// TLS for devices. Default: plain TCP.
    pub device_tls: Option<Arc<ServerConfig>>,
}

impl Options {
    /// Plain TCP for devices.
    pub fn new(broker: Endpoint) -> Self {
        Self { broker, broker_tls: None, device_tls: None }
    }
}

type Tape<W> = Arc<Mutex<Writer<W>>>;

struct Proxy<W> {
    options: Options,
    tape: Tape<W>,
    began: Instant,
    address: SocketAddr,
    /// By client id; and the order in which they were told.
    assigned: Mutex<(HashMap<String, Endpoint>, std::collections::VecDeque<String>)>,
    is_full: Notify,
    failure: Mutex<Option<io::Error>>,
    say: Box<dyn Fn(String) + Send + Sync>,
}

/// Records until the capture has reached its bound. `say` is told what is left out of the capture and which connections fail.
///
/// # Errors
/// Those of the capture's sink, and a broker that speaks WebSocket. A connection that cannot be accepted ends nothing.
pub async fn run<W: Write + Send + 'static>(
    listener: TcpListener,
    options: Options,
    tape: Tape<W>,
    say: impl Fn(String) + Send + Sync + 'static,
) -> io::Result<()> {
    if options.broker.scheme.is_websocket() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, ONLY_TCP));
    }
    let proxy = Arc::new(Proxy {
        address: listener.local_addr()?,
        options,
        tape,
        began: Instant::now(),
        assigned: Mutex::default(),
        is_full: Notify::new(),
        failure: Mutex::new(None),
        say: Box::new(say),
    });
    let mut links = 0;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    (proxy.say)(format!("a connection cannot be accepted: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = proxy.is_full.notified() => {
                return match proxy.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
                    _ => Ok(()),
                };
            }
        };
        links += 1;
        let (proxy, link) = (proxy.clone(), links);
        tokio::spawn(async move {
            // A device may look first whether anybody is there.
            if let Err(error) = proxy.connection(link, stream).await
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                (proxy.say)(format!("link {link} ({peer}): {error}"));
            }
        });
    }
}

/// One connection while it lasts.
struct Passage<'a, W> {
    proxy: &'a Proxy<W>,
    link: u64,
    conversation: Mutex<Conversation>,
    /// Where the device has connected to: it is to come back there.
    here: SocketAddr,
}

impl<W: Write + Send> Proxy<W> {
    async fn connection(&self, link: u64, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let here = stream.local_addr().unwrap_or(self.address);
        let mut device: Box<dyn Stream> = match &self.options.device_tls {
            None => Box::new(stream),
            Some(config) => {
                Box::new(timeout(PATIENCE, TlsAcceptor::from(config.clone()).accept(stream)).await.map_err(late)??)
            }
        };
        // Whom the device is says where it is to be led.
        let mut first = BytesMut::new();
        let client_id = timeout(PATIENCE, client_id(&mut device, &mut first)).await.map_err(late)??;
        if let Some(what) = not_mqtt(&first) {
            (self.say)(format!(
                "link {link}: this is {what}; it passes, but only MQTT over TCP, or over TLS with a certificate, is recorded"
            ));
        }
        let target = {
            let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
            assigned.0.get(&client_id).cloned().unwrap_or_else(|| self.options.broker.clone())
        };
        let seen =
            Endpoint::new(scheme(&self.options), here.ip().to_string(), here.port()).unwrap_or_else(|_| target.clone());
        let passage = Passage { proxy: self, link, conversation: Mutex::new(Conversation::new(link, seen)), here };
        passage.record(Direction::Out, &first);
        let broker = match timeout(PATIENCE, dial(&target, self.options.broker_tls.as_ref())).await {
            Ok(Ok(broker)) => broker,
            Ok(Err(error)) => {
                passage.end(Direction::In);
                return Err(io::Error::new(error.kind(), format!("cannot connect to {target}: {error}")));
            }
            Err(elapsed) => {
                passage.end(Direction::In);
                return Err(late(elapsed));
            }
        };
        let (from_device, to_device) = tokio::io::split(device);
        let (from_broker, mut to_broker) = tokio::io::split(broker);
        let out = async {
            if to_broker.write_all(&first).await.is_err() || to_broker.flush().await.is_err() {
                return Direction::In;
            }
            passage.out(from_device, to_broker).await
        };
        let mut inward = std::pin::pin!(passage.inward(from_broker, to_device));
        let by = tokio::select! {
            by = out => {
                // Whoever speaks no more may listen still.
                drop(timeout(LAST_WORDS, &mut inward).await);
                by
            }
            () = &mut inward => Direction::In,
        };
        passage.end(by);
        Ok(())
    }
}

impl<W: Write + Send> Passage<'_, W> {
    /// What the device sends goes through as it is. Who ended that.
    async fn out(&self, mut from: ReadHalf<Box<dyn Stream>>, mut to: WriteHalf<Box<dyn Stream>>) -> Direction {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        while matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
            self.record(Direction::Out, &buffer);
            if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
                return Direction::In;
            }
            buffer.clear();
        }
        // A DISCONNECT may be on its way still.
        drop(to.shutdown().await);
        Direction::Out
    }

    /// What the broker sends goes through packet by packet, as it is, but for answers to onboardings.
    async fn inward(&self, mut from: ReadHalf<Box<dyn Stream>>, mut to: WriteHalf<Box<dyn Stream>>) {
        let limits = Limits { max_skip: MAX_REMAINING_LENGTH, max_control: 1024 * 1024, ..Limits::default() };
        let mut decoder = Decoder::new(limits);
        let (mut raw, mut input) = (BytesMut::new(), BytesMut::new());
        let mut is_mqtt = true;
        loop {
            let had = raw.len();
            if !matches!(from.read_buf(&mut raw).await, Ok(1..)) {
                break;
            }
            input.extend_from_slice(&raw[had..]);
            let mut passed = BytesMut::new();
            while is_mqtt {
                let before = input.len();
                let decoded = decoder.decode(&mut input);
                let bytes = raw.split_to(before - input.len());
                match decoded {
                    Ok(Some(Decoded::Packet(Packet::Publish(publish)))) => match self.redirected(&publish) {
                        Some(changed) => {
                            let packet = Packet::Publish(PublishPacket { payload: changed.into(), ..publish });
                            if encode(&packet, crate::mqtt::packet::Protocol::V311, &mut passed).is_err() {
                                passed.extend_from_slice(&bytes);
                            }
                        }
                        None => passed.extend_from_slice(&bytes),
                    },
                    Ok(Some(_)) => passed.extend_from_slice(&bytes),
                    Ok(None) => {
                        passed.extend_from_slice(&bytes);
                        break;
                    }
                    Err(_) => {
                        passed.extend_from_slice(&bytes);
                        is_mqtt = false;
                    }
                }
            }
            if !is_mqtt {
                passed.extend_from_slice(&raw.split());
                input.clear();
            }
            self.record(Direction::In, &passed);
            if to.write_all(&passed).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    }

    /// The answer to an onboarding with this proxy as the assigned broker.
    fn redirected(&self, publish: &PublishPacket) -> Option<Vec<u8>> {
        if !publish.topic.as_str().ends_with("/onboardings") {
            return None;
        }
        let body = Frame::parse(&publish.payload).ok()?.body();
        let endpoint = OnboardingAnswer::from_json(body).ok()?.endpoint;
        let client_id = endpoint.mqtt_topic.to_string();
        let scheme = self.proxy.options.broker.scheme;
        let Some(real) = endpoint.endpoint(scheme) else {
            let what = format!(
                "link {}: the assigned broker has no port for {scheme}, so the device goes past this recording",
                self.link
            );
            (self.proxy.say)(what);
            return None;
        };
        {
            let mut assigned = self.proxy.assigned.lock().unwrap_or_else(PoisonError::into_inner);
            let (by_client, order) = &mut *assigned;
            if by_client.insert(client_id.clone(), real).is_none() {
                order.push_back(client_id);
            }
            if order.len() > MAX_ASSIGNED
                && let Some(oldest) = order.pop_front()
            {
                by_client.remove(&oldest);
            }
        }
        let is_tls = self.proxy.options.device_tls.is_some();
        let here = |variable: &Variable, value: &[u8]| {
            let text = match (variable.kind, variable.name.as_str()) {
                (Kind::Address, "host") => self.here.ip().to_string().into_bytes(),
                (Kind::Address, "porttcp") if !is_tls => self.here.port().to_string().into_bytes(),
                (Kind::Address, "portssl") if is_tls => self.here.port().to_string().into_bytes(),
                _ => value.to_vec(),
            };
            Some(text)
        };
        Some(Bindings::default().fill(&publish.payload, here))
    }

    fn record(&self, direction: Direction, bytes: &[u8]) {
        let at = self.proxy.began.elapsed();
        let mut conversation = self.conversation.lock().unwrap_or_else(PoisonError::into_inner);
        conversation.feed(at, direction, bytes);
        self.write(&mut conversation);
    }

    fn end(&self, by: Direction) {
        let at = self.proxy.began.elapsed();
        let mut conversation = self.conversation.lock().unwrap_or_else(PoisonError::into_inner);
        conversation.end(at, by);
        self.write(&mut conversation);
    }

    fn write(&self, conversation: &mut Conversation) {
        let mut tape = self.proxy.tape.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut entry) = conversation.next_entry() {
            // Entries of several connections stand in the order of their times.
            entry.at = self.proxy.began.elapsed();
            if let Err(error) = tape.write(&entry) {
                let mut failure = self.proxy.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                self.proxy.is_full.notify_one();
                return;
            }
        }
        for omission in conversation.take_omissions() {
            (self.proxy.say)(format!("link {}: {omission}", self.link));
        }
    }
}

fn scheme(options: &Options) -> crate::mqtt::Scheme {
    if options.device_tls.is_some() { crate::mqtt::Scheme::Mqtts } else { crate::mqtt::Scheme::Mqtt }
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing happened for 30 s")
}

/// What it is that a device begins with, where it is another thing than is expected.
fn not_mqtt(first: &[u8]) -> Option<&'static str> {
    match first {
        [b'G', b'E', b'T', b' ', ..] => Some("an HTTP request, such as a WebSocket begins with"),
        [0x16, 3, ..] => Some("TLS"),
        _ => None,
    }
}

/// Reads until the CONNECT is there, and leaves everything in `first`. Of what is no MQTT, the client id is empty.
async fn client_id(device: &mut Box<dyn Stream>, first: &mut BytesMut) -> io::Result<String> {
    loop {
        if device.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let decoded = Decoder::new(Limits::default()).expecting_connect().decode(&mut first.clone());
        match decoded {
            Ok(Some(Decoded::Packet(Packet::Connect(connect)))) => return Ok(connect.client_id),
            Ok(None) => {}
            _ => return Ok(String::new()),
        }
    }
}
