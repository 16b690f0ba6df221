//! A connection after CONNECT was written.

use std::collections::{HashMap, HashSet};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::alive::{Alive, Verdict};
use super::wire::{Output, Wire};
use crate::mqtt::packet::{
    Connect, Decoded, Decoder, Limits, Packet, PacketError, PacketId, Protocol, PublishPacket, encode, encode_publish,
};
use crate::mqtt::{LinkError, LinkErrorKind, Publish, Qos, RefusedReason};
use crate::topic::TopicFilter;
use crate::transport::{BoxFuture, Link, LinkEvent};

/// What is read of a payload that is too large, so that the error can tell its topic's length and no more.
const KEEP: usize = 0;

/// A peer that does not read holds up the goodbye for as long.
const LINGER: Duration = Duration::from_secs(5);

/// A peer that has read the goodbye and does not close holds it up for as long.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of the link's own acknowledgements that may wait besides messages. A peer that makes us owe more and reads none is
/// given up.
const MAX_OWED: usize = 64 * 1024;

/// A connection that reads and writes when it is polled; it has no task of its own.
pub(super) struct NativeLink<W> {
    /// `None` once the link is lost: the connection is closed then, whenever the link itself is dropped.
    wire: Option<W>,
    input: BytesMut,
    output: Output,
    decoder: Decoder,
    max_outgoing: usize,
    /// Bytes that wait up to the end of the last message among them; 0 when none waits, whatever else does.
    through_messages: usize,
    /// Bytes of messages that wait are never more: `max_outgoing`, or a larger message that found nothing waiting.
    bound: usize,
    /// Why nothing can be written any more. What the peer said before is read first.
    unwritten: Option<LinkError>,
    alive: Alive,
    timer: Pin<Box<Sleep>>,
    subscribing: HashMap<PacketId, TopicFilter>,
    /// Identifiers of our own PUBLISHes above QoS 0 that are not acknowledged.
    unacknowledged: HashSet<PacketId>,
    /// Identifiers of QoS 2 messages that were handed out and are not released yet: they may come again.
    unreleased: HashSet<PacketId>,
    last_id: u16,
    /// Until CONNACK has come, when it must have.
    connack_due: Option<Instant>,
}

impl<W: Wire> NativeLink<W> {
    /// Writes CONNECT as soon as it is polled.
    ///
    /// # Errors
    /// `Config` when CONNECT cannot carry what it is to say.
    pub(super) fn new(
        wire: W,
        connect: Connect,
        alive: Alive,
        (max_payload, max_outgoing): (usize, usize),
        connack_due: Instant,
    ) -> Result<Self, LinkError> {
        let mut output = Output::new::<W>();
        output
            .append(|bytes| encode(&Packet::Connect(Box::new(connect)), Protocol::V311, bytes))
            .map_err(|error| LinkError::new(LinkErrorKind::Config, format!("CONNECT: {error}")))?;
        let limits = Limits { max_frame: max_payload, keep: KEEP, max_skip: max_payload, ..Limits::default() };
        Ok(Self {
            wire: Some(wire),
            input: BytesMut::new(),
            output,
            decoder: Decoder::new(limits).with_protocol(Protocol::V311),
            max_outgoing,
            through_messages: 0,
            bound: max_outgoing,
            unwritten: None,
            alive,
            timer: Box::pin(sleep_until(Instant::now())),
            subscribing: HashMap::new(),
            unacknowledged: HashSet::new(),
            unreleased: HashSet::new(),
            last_id: 0,
            connack_due: Some(connack_due),
        })
    }

    /// Until CONNACK has come.
    ///
    /// # Errors
    /// `Refused`, `Protocol` for any other packet, `ConnectTimedOut`, and why else the connection ended.
    pub(super) async fn accepted(&mut self) -> Result<(), LinkError> {
        match poll_fn(|cx| self.poll_event(cx)).await {
            LinkEvent::Lost(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// What the first packet means.
    fn judge_connack(&mut self, packet: &Packet) -> Result<Option<LinkEvent>, LinkError> {
        self.connack_due = None;
        // It was set to when CONNACK was due, and that may be long after the first PINGREQ is.
        self.timer.as_mut().reset(Instant::now());
        match packet {
            Packet::ConnAck { code: 0, .. } => Ok(Some(LinkEvent::Accepted)),
            Packet::ConnAck { code, .. } => Err(match RefusedReason::from_code(*code) {
                Some(reason) => LinkErrorKind::Refused(reason).into(),
                None => LinkError::new(LinkErrorKind::Protocol, format!("CONNACK with return code {code}")),
            }),
            packet => Err(unexpected(packet)),
        }
    }

    /// The next packet from the peer. Writes what is to be written, and keeps the connection alive.
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<Packet, LinkError>> {
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Decoded::Packet(packet))) => return Poll::Ready(Ok(packet)),
                Ok(Some(Decoded::Oversize(oversize))) => {
                    let detail = format!("a payload of {} bytes, which is more than is accepted", oversize.len);
                    return Poll::Ready(Err(LinkError::new(LinkErrorKind::Protocol, detail)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(LinkError::new(LinkErrorKind::Protocol, error.to_string()))),
            }
            self.drain(cx);
            let Some(wire) = &mut self.wire else { return Poll::Pending };
            match wire.poll_fill(cx, &mut self.input) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.ended(LinkErrorKind::Closed.into()))),
                Poll::Ready(Ok(_)) => {
                    let now = Instant::now();
                    self.alive.heard(now);
                    // A peer that always has more to say leaves no other moment to ask.
                    if self.connack_due.is_none() && self.alive.judge(now) == Verdict::Ask {
                        self.answer(&Packet::PingReq)?;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ended(error))),
                Poll::Pending if self.unwritten.is_some() => {
                    return Poll::Ready(Err(self.ended(LinkErrorKind::Closed.into())));
                }
                Poll::Pending => {
                    if wire.take_heard() {
                        self.alive.heard(Instant::now());
                    }
                    ready!(self.poll_alive(cx))?;
                }
            }
        }
    }

    /// Writes as much as the connection takes. A peer that has hung up may have said why: that is read before the failure counts.
    fn drain(&mut self, cx: &mut Context<'_>) {
        let before = self.output.len();
        let Some(wire) = self.wire.as_mut().filter(|_| self.unwritten.is_none()) else { return };
        if let Poll::Ready(Err(error)) = wire.poll_drain(cx, &mut self.output) {
            self.unwritten = Some(error);
        }
        let written = before - self.output.len();
        if written > 0 {
            self.through_messages = self.through_messages.saturating_sub(written);
            self.alive.sent(Instant::now());
        }
    }

    /// Why the connection ended: what reading says if that is more than that it is closed, or else what writing said.
    fn ended(&mut self, read: LinkError) -> LinkError {
        match self.unwritten.take() {
            Some(unwritten) if read.kind() == LinkErrorKind::Closed => unwritten,
            _ => read,
        }
    }

    /// Ready when a PINGREQ is to be written, or the peer is dead.
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if let Some(due) = self.connack_due {
                if due <= Instant::now() {
                    let detail = "the connection stands, no CONNACK came";
                    return Poll::Ready(Err(LinkError::new(LinkErrorKind::ConnectTimedOut, detail)));
                }
                self.timer.as_mut().reset(due);
                continue;
            }
            match self.alive.judge(Instant::now()) {
                Verdict::Fine(due) => self.timer.as_mut().reset(due),
                Verdict::Ask => return Poll::Ready(self.answer(&Packet::PingReq)),
                Verdict::Dead => return Poll::Ready(Err(LinkErrorKind::KeepAlive.into())),
            }
        }
    }

    /// What a packet means to the link's user; `None` when it is the link's own business.
    fn event(&mut self, packet: Packet) -> Result<Option<LinkEvent>, LinkError> {
        if self.connack_due.is_some() {
            return self.judge_connack(&packet);
        }
        match packet {
            Packet::Publish(publish) => self.received(publish),
            Packet::SubAck { id, codes } => match (self.subscribing.remove(&id), codes.as_slice()) {
                (Some(filter), [code]) => Ok(Some(LinkEvent::Subscribed { filter, granted: *code != 0x80 })),
                _ => Err(LinkError::new(LinkErrorKind::Protocol, "a SUBACK that answers no SUBSCRIBE")),
            },
            Packet::PubAck(id) | Packet::PubComp(id) => {
                self.unacknowledged.remove(&id);
                Ok(None)
            }
            Packet::PubRec(id) => self.answer(&Packet::PubRel(id)).map(|()| None),
            Packet::PubRel(id) => {
                self.unreleased.remove(&id);
                self.answer(&Packet::PubComp(id)).map(|()| None)
            }
            Packet::PingResp => Ok(None),
            packet => Err(unexpected(&packet)),
        }
    }

    fn received(&mut self, publish: PublishPacket) -> Result<Option<LinkEvent>, LinkError> {
        let PublishPacket { qos, id, topic, payload, .. } = publish;
        let is_new = match (qos, id) {
            (Qos::ExactlyOnce, Some(id)) => {
                self.answer(&Packet::PubRec(id))?;
                self.unreleased.insert(id)
            }
            (_, Some(id)) => self.answer(&Packet::PubAck(id)).map(|()| true)?,
            (_, None) => true,
        };
        Ok(is_new.then_some(LinkEvent::Received(Publish { topic, payload, qos })))
    }

    /// Ready when everything is written, or cannot be. What comes meanwhile is read: a peer that is still writing may not read
    /// before somebody does.
    fn poll_rest(&mut self, wire: &mut W, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if let Poll::Ready(written) = wire.poll_drain(cx, &mut self.output) {
                return Poll::Ready(written.is_ok());
            }
            match ready!(wire.poll_fill(cx, &mut self.input)) {
                Ok(1..) => self.input.clear(),
                // One that has nothing more to say may still read.
                _ => return Poll::Pending,
            }
        }
    }

    /// Queues an acknowledgement or a PINGREQ.
    fn answer(&mut self, packet: &Packet) -> Result<(), LinkError> {
        let waiting = self.output.len();
        if waiting > self.bound.saturating_add(MAX_OWED) {
            let detail = format!("{waiting} bytes wait to be sent, and the broker wants more acknowledged");
            return Err(LinkError::new(LinkErrorKind::Overloaded, detail));
        }
        self.write(packet)
    }

    /// Queues a packet.
    fn write(&mut self, packet: &Packet) -> Result<(), LinkError> {
        self.output.append(|bytes| encode(packet, Protocol::V311, bytes)).map_err(unwritable)
    }

    /// A message was queued.
    fn admitted(&mut self) {
        self.through_messages = self.output.len();
    }

    /// Whether one more message may be queued. A SUBSCRIBE counts as one; CONNECT and acknowledgements do not.
    fn admit(&mut self, len: usize) -> Result<(), LinkError> {
        if self.wire.is_none() {
            return Err(LinkErrorKind::Closed.into());
        }
        let waiting = self.output.len();
        if self.through_messages == 0 {
            self.bound = self.max_outgoing.max(len);
        } else if waiting + len > self.max_outgoing {
            return Err(LinkError::new(LinkErrorKind::Overloaded, format!("{waiting} bytes wait to be sent")));
        }
        Ok(())
    }

    /// A packet identifier that nothing under way has.
    fn next_id(&mut self) -> Result<PacketId, LinkError> {
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.unacknowledged.contains(&id)
                && !self.subscribing.contains_key(&id)
            {
                return Ok(id);
            }
        }
        Err(LinkError::new(LinkErrorKind::Overloaded, "every packet identifier waits for its acknowledgement"))
    }
}

impl<W: Wire> Link for NativeLink<W> {
    fn is_accepted(&self) -> bool {
        self.connack_due.is_none()
    }

    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        let Publish { topic, payload, qos } = publish;
        self.admit(topic.as_str().len() + payload.len())?;
        if qos == Qos::AtMostOnce {
            self.output.append(|bytes| encode_publish(&topic, &payload, bytes)).map_err(unwritable)?;
            self.admitted();
            return Ok(());
        }
        let id = self.next_id()?;
        let packet = PublishPacket { dup: false, retain: false, qos, id: Some(id), topic, payload };
        self.write(&Packet::Publish(packet))?;
        self.unacknowledged.insert(id);
        self.admitted();
        Ok(())
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.admit(filter.as_str().len())?;
        let id = self.next_id()?;
        self.write(&Packet::Subscribe { id, filters: vec![(filter.clone(), Qos::AtMostOnce)] })?;
        self.subscribing.insert(id, filter);
        self.admitted();
        Ok(())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        while self.wire.is_some() {
            let packet = ready!(self.poll_packet(cx));
            match packet.and_then(|packet| self.event(packet)) {
                Ok(Some(event)) => return Poll::Ready(event),
                Ok(None) => {}
                Err(error) => {
                    self.wire = None;
                    return Poll::Ready(LinkEvent::Lost(error));
                }
            }
        }
        Poll::Pending
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Two bytes that can always be written.
            let _ = self.write(&Packet::Disconnect);
            let Some(mut wire) = self.wire.take() else { return };
            let goodbye = async {
                let is_said = poll_fn(|cx| self.poll_rest(&mut wire, cx)).await;
                if is_said {
                    poll_fn(|cx| wire.poll_shutdown(cx)).await;
                }
                is_said
            };
            if timeout(LINGER, goodbye).await == Ok(true) {
                // To close a socket before everything is read resets it, and the peer loses what it has not read yet.
                let _ = timeout(FAREWELL, async {
                    while let Ok(1..) = poll_fn(|cx| wire.poll_fill(cx, &mut self.input)).await {
                        self.input.clear();
                    }
                })
                .await;
            }
        })
    }
}

fn unwritable(error: PacketError) -> LinkError {
    LinkError::new(LinkErrorKind::Config, error.to_string())
}

fn unexpected(packet: &Packet) -> LinkError {
    let name = match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck { .. } => "a second CONNACK",
        Packet::Publish(_) => "PUBLISH before CONNACK",
        Packet::Subscribe { .. } => "SUBSCRIBE",
        Packet::SubAck { .. } => "SUBACK before CONNACK",
        Packet::Unsubscribe { .. } => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP before CONNACK",
        Packet::Disconnect => "DISCONNECT",
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
            "an acknowledgement before CONNACK"
        }
    };
    LinkError::new(LinkErrorKind::Protocol, format!("{name} from the broker"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::transport::native::wire::Stream;

    const SECOND: Duration = Duration::from_secs(1);

    /// A broker drops who says nothing for one and a half keep-alives, however much it says itself.
    #[tokio::test(start_paused = true)]
    async fn who_is_never_done_reading_is_heard_of_all_the_same() {
        let packet = [&b"\x30\xEB\x07\0\x01a"[..], &[b'x'; 1_000]].concat();
        let says = [b"\x20\x02\0\0", &packet.repeat(20_000)[..]].concat();
        let (mut heard, ours) = tokio::io::duplex(4_096);
        let wire = Stream(tokio::io::join(Cursor::new(says), ours));
        let connect = Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 45,
            client_id: String::from("d"),
            will: None,
            username: None,
            password: None,
        };
        let alive = Alive::new(90 * SECOND, Instant::now());
        let bounds = (2_000, 2_000);
        let mut link = NativeLink::new(wire, connect, alive, bounds, Instant::now() + SECOND).expect("a CONNECT");
        link.accepted().await.expect("CONNACK is there");
        for n in 0..20_000 {
            if n % 100 == 0 {
                tokio::time::advance(SECOND).await;
            }
            let event = poll_fn(|cx| link.poll_event(cx)).await;
            assert!(matches!(event, LinkEvent::Received(_)), "{event:?}");
        }
        drop(link);
        let mut bytes = Vec::new();
        heard.read_to_end(&mut bytes).await.expect("memory");
        let after_connect = &bytes[2 + usize::from(bytes[1])..];
        assert_eq!(after_connect, b"\xC0\0".repeat(4), "PINGREQ four times in 200 s");
    }
}
