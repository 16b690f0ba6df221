//! An MQTT connection of its own, so that a replay shares no judgement with the ends that it looks at.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Step;
use super::bindings::Bindings;
use super::difference::{Difference, lines_of};
use crate::mqtt::packet::{Decoded, Decoder, Limits, Packet, PacketId, Protocol, PublishPacket, encode};
use crate::mqtt::{Publish, Qos};

/// A stream of bytes: TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Packets that wait to be looked at; then the peer waits.
const WAITING: usize = 1024;

/// Why a connection ended on which nothing came.
const SILENT: &str = "it was closed by the other end before a byte";

/// What the other end does next.
#[derive(Debug)]
pub(super) enum Next {
    Packet(Packet),
    /// It closed the connection, or broke the rules of MQTT.
    Ended(String),
    Silent,
}

/// One end of a connection. A task answers what needs no thought: PINGREQ, UNSUBSCRIBE, QoS 1.
pub(super) struct Wire {
    incoming: mpsc::Receiver<Packet>,
    outgoing: Option<mpsc::Sender<Packet>>,
    task: tokio::task::JoinHandle<String>,
    /// Messages that came before they were looked for.
    inbox: VecDeque<Publish>,
    /// What came while a message was waited for and is none.
    controls: VecDeque<Packet>,
    ended: Option<String>,
    last_id: u16,
}

impl Wire {
    /// `expects_connect` on the broker's end; `protocol` of the CONNECT on the device's.
    pub(super) fn new(stream: Box<dyn Stream>, expects_connect: bool, protocol: Protocol) -> Self {
        let (arrived, incoming) = mpsc::channel(WAITING);
        let (outgoing, to_send) = mpsc::channel(WAITING);
        let limits = Limits { max_frame: 2 * 1024 * 1024, max_control: 256 * 1024, ..Limits::default() };
        let decoder = Decoder::new(limits).with_protocol(protocol);
        let decoder = if expects_connect { decoder.expecting_connect() } else { decoder };
        let task = tokio::spawn(carry(stream, decoder, arrived, to_send, protocol));
        let outgoing = Some(outgoing);
        Self { incoming, outgoing, task, inbox: VecDeque::new(), controls: VecDeque::new(), ended: None, last_id: 0 }
    }

    /// Sends; a connection that has ended is noticed by whoever looks for an answer.
    pub(super) async fn send(&self, packet: Packet) {
        if let Some(outgoing) = &self.outgoing {
            drop(outgoing.send(packet).await);
        }
    }

    pub(super) async fn publish(&mut self, publish: Publish) {
        let Publish { topic, payload, qos } = publish;
        let id = (qos != Qos::AtMostOnce).then(|| self.id());
        self.send(Packet::Publish(PublishPacket { dup: false, retain: false, qos, id, topic, payload })).await;
    }

    pub(super) fn id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).unwrap_or(PacketId::MIN)
    }

    /// The next packet that is no message; messages are kept.
    pub(super) async fn control(&mut self, deadline: Instant) -> Next {
        if let Some(packet) = self.controls.pop_front() {
            return Next::Packet(packet);
        }
        loop {
            match self.next(deadline).await {
                Next::Packet(Packet::Publish(publish)) => self.inbox.push_back(message(publish)),
                other => return other,
            }
        }
    }

    async fn next(&mut self, deadline: Instant) -> Next {
        if let Some(why) = &self.ended {
            return Next::Ended(why.clone());
        }
        match timeout_at(deadline, self.incoming.recv()).await {
            Ok(Some(packet)) => Next::Packet(packet),
            Err(_) => Next::Silent,
            Ok(None) => {
                let why = (&mut self.task).await.unwrap_or_else(|error| error.to_string());
                self.ended = Some(why.clone());
                Next::Ended(why)
            }
        }
    }

    /// Waits for the message that was recorded in `step` and compares it.
    pub(super) async fn expect(
        &mut self,
        step: &Step,
        recorded: &Publish,
        bindings: &mut Bindings,
        wait: Duration,
        key: fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Publish, Difference> {
        let wanted = key(&bindings.fill(&recorded.payload, |_, _| None));
        let is_it =
            |publish: &Publish| bindings.is_topic(&recorded.topic, &publish.topic) && key(&publish.payload) == wanted;
        let deadline = Instant::now() + wait;
        let found = loop {
            if let Some(place) = self.inbox.iter().position(is_it) {
                break self.inbox.remove(place);
            }
            match self.next(deadline).await {
                Next::Packet(Packet::Publish(publish)) => self.inbox.push_back(message(publish)),
                Next::Packet(Packet::Disconnect) => self.ended = Some("it said DISCONNECT".into()),
                Next::Packet(packet) => self.controls.push_back(packet),
                Next::Ended(why) => {
                    return Err(self.missing(step, recorded, bindings, &format!("the connection ended: {why}")));
                }
                Next::Silent => {
                    let waited = format!("it did not come within {} s", wait.as_secs_f64());
                    return Err(self.missing(step, recorded, bindings, &waited));
                }
            }
        };
        let Some(seen) = found else { return Err(self.missing(step, recorded, bindings, "it did not come")) };
        bindings.compare(&recorded.payload, &seen.payload).map_err(|mismatch| {
            let what = format!("{}, at byte {} of the payload", mismatch.why, mismatch.offset);
            difference(step, what, expected(bindings, recorded, Some(&seen)), lines_of(&seen))
        })?;
        if recorded.qos == seen.qos {
            return Ok(seen);
        }
        let what = format!("it has QoS {}, not {}", seen.qos as u8, recorded.qos as u8);
        Err(difference(step, what, expected(bindings, recorded, Some(&seen)), lines_of(&seen)))
    }

    /// What is shown instead: what came on the same topic, else what came at all.
    fn missing(&self, step: &Step, recorded: &Publish, bindings: &Bindings, why: &str) -> Difference {
        let topic = bindings.topic(&recorded.topic);
        let instead = self.inbox.iter().find(|publish| publish.topic == topic).or(self.inbox.front());
        let seen = instead.map_or_else(|| vec![why.to_owned()], lines_of);
        difference(step, format!("a message is missing: {why}"), expected(bindings, recorded, instead), seen)
    }

    /// A message that came and that nobody looked for.
    pub(super) fn left_over(&mut self) -> Option<Publish> {
        while let Ok(packet) = self.incoming.try_recv() {
            if let Packet::Publish(publish) = packet {
                self.inbox.push_back(message(publish));
            }
        }
        self.inbox.pop_front()
    }

    /// Whether the other end closed without a byte.
    pub(super) fn has_said_nothing(&self) -> bool {
        self.ended.as_deref() == Some(SILENT)
    }

    /// Sends what is queued, then closes.
    pub(super) async fn close(mut self) {
        self.outgoing = None;
        drop(self.incoming);
        let patience = Instant::now() + Duration::from_secs(5);
        if timeout_at(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn expected(bindings: &Bindings, recorded: &Publish, seen: Option<&Publish>) -> Vec<String> {
    let payload = bindings.expected(&recorded.payload, seen.map_or(&[], |seen| &seen.payload));
    lines_of(&Publish { topic: bindings.topic(&recorded.topic), payload: payload.into(), qos: recorded.qos })
}

pub(super) fn difference(step: &Step, what: String, recorded: Vec<String>, seen: Vec<String>) -> Difference {
    Difference { line: step.line, link: step.entry.link, what, recorded, seen }
}

fn message(publish: PublishPacket) -> Publish {
    Publish { topic: publish.topic, payload: publish.payload, qos: publish.qos }
}

/// Carries packets both ways until one end has enough; says why it ended.
async fn carry(
    mut stream: Box<dyn Stream>,
    mut decoder: Decoder,
    arrived: mpsc::Sender<Packet>,
    mut to_send: mpsc::Receiver<Packet>,
    mut protocol: Protocol,
) -> String {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut is_silent = true;
    loop {
        tokio::select! {
            packet = to_send.recv() => {
                let Some(packet) = packet else {
                    drop(stream.shutdown().await);
                    return "it was closed here".into();
                };
                if let Err(error) = encode(&packet, protocol, &mut output) {
                    return format!("a packet cannot be written: {error}");
                }
            }
            read = stream.read_buf(&mut input) => match read {
                Ok(0) if is_silent => return SILENT.into(),
                Ok(0) => return "it was closed by the other end".into(),
                Ok(_) => is_silent = false,
                Err(error) => return error.to_string(),
            },
        }
        loop {
            let packet = match decoder.decode(&mut input) {
                Ok(Some(Decoded::Packet(packet))) => packet,
                Ok(Some(Decoded::Oversize(oversize))) => return format!("a message of {} bytes came", oversize.len),
                Ok(None) => break,
                Err(error) => return format!("what came is no MQTT: {error}"),
                #[allow(unreachable_patterns, reason = "more may be decoded one day")]
                Ok(Some(_)) => continue,
            };
            let reply = match &packet {
                Packet::Connect(connect) => {
                    protocol = connect.protocol;
                    None
                }
                Packet::PingReq => Some(Packet::PingResp),
                Packet::Unsubscribe { id, .. } => Some(Packet::UnsubAck(*id)),
                Packet::Publish(PublishPacket { qos: Qos::AtLeastOnce, id: Some(id), .. }) => Some(Packet::PubAck(*id)),
                Packet::Publish(PublishPacket { qos: Qos::ExactlyOnce, id: Some(id), .. }) => Some(Packet::PubRec(*id)),
                Packet::PubRec(id) => Some(Packet::PubRel(*id)),
                Packet::PubRel(id) => Some(Packet::PubComp(*id)),
                _ => None,
            };
            if let Some(reply) = reply
                && let Err(error) = encode(&reply, protocol, &mut output)
            {
                return format!("a packet cannot be written: {error}");
            }
            let is_plumbing = matches!(
                packet,
                Packet::PingReq
                    | Packet::PingResp
                    | Packet::PubAck(_)
                    | Packet::PubRec(_)
                    | Packet::PubRel(_)
                    | Packet::PubComp(_)
                    | Packet::UnsubAck(_)
            );
            // Nobody listens any more: what is queued still leaves.
            if !is_plumbing {
                drop(arrived.send(packet).await);
            }
        }
        if !output.is_empty()
            && let Err(error) = stream.write_all_buf(&mut output).await
        {
            return error.to_string();
        }
        if let Err(error) = stream.flush().await {
            return error.to_string();
        }
    }
}
