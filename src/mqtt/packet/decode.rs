//! Bytes to packets.

use bytes::{Buf, Bytes, BytesMut};

use super::error::{PacketError, PacketErrorKind as Kind};
use super::fields::{Fields, qos};
use super::{Packet, PacketId, Protocol, PublishPacket};
use crate::mqtt::Qos;
use crate::topic::Topic;

/// How large packets may be. Nothing is allocated for what a peer announces, only for what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload of a PUBLISH that is handed out whole, in bytes. Default 64 KiB.
    pub max_frame: usize,
    /// How many bytes of a larger payload [`Oversize`] keeps. Default 8 KiB, the size of a header section.
    pub keep: usize,
    /// The largest payload that is skipped, in bytes, the kept ones included; more ends the connection.
    /// Default 1 MiB.
    pub max_skip: usize,
    /// The largest remaining length of any packet but PUBLISH, in bytes; more ends the connection. Default 16 KiB.
    pub max_control: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: 64 * 1024, keep: 8 * 1024, max_skip: 1024 * 1024, max_control: 16 * 1024 }
    }
}

/// What [`Decoder::decode`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Decoded {
    /// A packet.
    Packet(Packet),
    /// The head of a PUBLISH that is larger than [`Limits::max_frame`]; what follows of it is skipped.
    Oversize(Oversize),
}

/// The head of a PUBLISH whose payload is too large.
#[derive(Clone, PartialEq)]
pub struct Oversize {
    /// Topic name.
    pub topic: Topic,
    /// Quality of service: above 0 the sender waits for an acknowledgement of `id`.
    pub qos: Qos,
    /// Present iff `qos` is above 0.
    pub id: Option<PacketId>,
    /// The first [`Limits::keep`] bytes of the payload.
    pub first: Bytes,
    /// Length of the whole payload in bytes.
    pub len: usize,
}

/// Shows lengths only: payloads carry tokens.
impl std::fmt::Debug for Oversize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Oversize({:?}, {} of {} bytes, {:?})", self.topic, self.first.len(), self.len, self.qos)
    }
}

/// Reads packets from a buffer as it fills, however the bytes were cut on their way.
///
/// Until a CONNECT says otherwise, packets are read by the rules of 3.1.1. 3.1 is laxer: it lets DUP be set on PUBREL,
/// SUBSCRIBE and UNSUBSCRIBE and leaves some bits to the sender that 3.1.1 reserves.
///
/// ```
/// use bytes::BytesMut;
/// use thingif::mqtt::packet::{Decoded, Decoder, Limits, Packet};
///
/// let mut decoder = Decoder::new(Limits::default());
/// let mut buf = BytesMut::from(&[0xC0, 0x00, 0x30][..]);
/// assert_eq!(decoder.decode(&mut buf)?, Some(Decoded::Packet(Packet::PingReq)));
/// assert_eq!(decoder.decode(&mut buf)?, None); // the PUBLISH has only begun
/// # Ok::<(), thingif::mqtt::packet::PacketError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    protocol: Protocol,
    first: First,
    state: State,
}

/// Whether the first packet must be a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Any,
    Connect,
    Passed,
}

#[derive(Debug)]
enum State {
    /// At the first byte of a packet.
    Packet,
    /// Inside an oversize payload: this much is left to skip, then the next packet or the end.
    Skip {
        left: usize,
        then: Option<PacketError>,
    },
    Failed(PacketError),
}

struct FixedHeader {
    kind: u8,
    flags: u8,
    /// Length of the header itself, 2 to 5.
    len: usize,
    remaining: usize,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, protocol: Protocol::V311, first: First::Any, state: State::Packet }
    }

    /// For a server: the first packet must be a CONNECT and no later one may be. Anything else fails on its first byte,
    /// so that a stranger cannot fill a buffer.
    #[must_use]
    pub fn expecting_connect(mut self) -> Self {
        self.first = First::Connect;
        self
    }

    /// For a client: the version of the CONNECT it sent. A server's decoder learns it from the CONNECT it reads.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Takes the next packet off the front of `buf`; `None` when more bytes are needed.
    ///
    /// The payload of a PUBLISH shares `buf`'s memory. Call it until it gives `None`, then fill `buf` again.
    ///
    /// # Errors
    /// [`PacketError`], from then on always the same one: the connection is to be closed.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Decoded>, PacketError> {
        match &mut self.state {
            State::Packet => {}
            State::Skip { left, then } => {
                let skipped = (*left).min(buf.len());
                buf.advance(skipped);
                *left -= skipped;
                match (*left, *then) {
                    (0, Some(error)) => return self.fail(error),
                    (0, None) => self.state = State::Packet,
                    _ => return Ok(None),
                }
            }
            State::Failed(error) => return Err(*error),
        }
        self.packet(buf).or_else(|error| self.fail(error))
    }

    fn fail<T>(&mut self, error: PacketError) -> Result<T, PacketError> {
        self.state = State::Failed(error);
        Err(error)
    }

    fn packet(&mut self, buf: &mut BytesMut) -> Result<Option<Decoded>, PacketError> {
        let Some(header) = self.fixed_header(buf)? else { return Ok(None) };
        if header.kind == 3 {
            return self.publish(&header, buf);
        }
        check_length(&header, self.limits.max_control)?;
        let total = header.len + header.remaining;
        let Some(bytes) = buf.get(..total) else { return Ok(None) };
        let mut fields = Fields::new(bytes, header.len);
        let packet = match header.kind {
            1 => fields.connect()?,
            2 => fields.connack(self.protocol)?,
            4 => Packet::PubAck(fields.id()?),
            5 => Packet::PubRec(fields.id()?),
            6 => Packet::PubRel(fields.id()?),
            7 => Packet::PubComp(fields.id()?),
            8 => fields.subscribe(self.protocol)?,
            9 => fields.suback()?,
            10 => fields.unsubscribe()?,
            11 => Packet::UnsubAck(fields.id()?),
            12 => Packet::PingReq,
            13 => Packet::PingResp,
            14 => Packet::Disconnect,
            kind => return Err(PacketError::new(Kind::UnknownType(kind), 0)),
        };
        buf.advance(total);
        if let Packet::Connect(connect) = &packet {
            self.protocol = connect.protocol;
            if self.first == First::Connect {
                self.first = First::Passed;
            }
        }
        Ok(Some(Decoded::Packet(packet)))
    }

    fn fixed_header(&self, buf: &[u8]) -> Result<Option<FixedHeader>, PacketError> {
        let Some(&first) = buf.first() else { return Ok(None) };
        let (kind, flags) = (first >> 4, first & 0x0F);
        let out_of_place = match self.first {
            First::Any => false,
            First::Connect => kind != 1,
            First::Passed => kind == 1,
        };
        if out_of_place {
            return Err(PacketError::new(Kind::ConnectOutOfPlace, 0));
        }
        let flags_are_good = match kind {
            3 => true, // its flags have meanings
            6 | 8 | 10 => flags == 2 || (flags == 0x0A && self.protocol == Protocol::V31),
            1..=14 => flags == 0,
            _ => return Err(PacketError::new(Kind::UnknownType(kind), 0)),
        };
        if !flags_are_good {
            return Err(PacketError::new(Kind::BadFlags, 0));
        }
        let mut remaining = 0;
        for (index, &byte) in buf[1..].iter().take(4).enumerate() {
            remaining |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(FixedHeader { kind, flags, len: index + 2, remaining }));
            }
        }
        if buf.len() < 5 { Ok(None) } else { Err(PacketError::new(Kind::MalformedRemainingLength, 4)) }
    }

    fn publish(&mut self, header: &FixedHeader, buf: &mut BytesMut) -> Result<Option<Decoded>, PacketError> {
        let qos = qos(header.flags >> 1 & 3).ok_or(PacketError::new(Kind::InvalidQos, 0))?;
        let truncated = PacketError::new(Kind::Truncated, header.len);
        let after_topic = if qos == Qos::AtMostOnce { 0 } else { 2 };
        if header.remaining < 2 + after_topic {
            return Err(truncated);
        }
        let Some(&[high, low]) = buf.get(header.len..header.len + 2) else { return Ok(None) };
        let before_payload = 2 + usize::from(u16::from_be_bytes([high, low])) + after_topic;
        let len = header.remaining.checked_sub(before_payload).ok_or(truncated)?;
        let is_oversize = len > self.limits.max_frame;
        let kept = if is_oversize { len.min(self.limits.keep) } else { len };
        let payload_at = header.len + before_payload;
        if buf.len() < payload_at + kept {
            return Ok(None);
        }
        let mut fields = Fields::new(&buf[..payload_at], header.len);
        let topic = fields.topic()?;
        let id = if after_topic == 0 { None } else { Some(fields.id()?) };
        let payload = if kept == 0 {
            buf.advance(payload_at);
            Bytes::new() // an empty slice would keep the whole buffer alive
        } else {
            let mut packet = buf.split_to(payload_at + kept).freeze();
            packet.advance(payload_at);
            packet
        };
        if !is_oversize {
            // DUP means nothing at QoS 0 and is read as absent.
            let dup = header.flags & 8 != 0 && id.is_some();
            let retain = header.flags & 1 != 0;
            return Ok(Some(Decoded::Packet(Packet::Publish(PublishPacket { dup, retain, qos, id, topic, payload }))));
        }
        let max = self.limits.max_skip.max(kept);
        self.state = State::Skip {
            left: len.min(max) - kept,
            then: (len > max).then(|| PacketError::new(Kind::TooLarge { len, max }, 1)),
        };
        Ok(Some(Decoded::Oversize(Oversize { topic, qos, id, first: payload, len })))
    }
}

/// Judges the remaining length of any packet but PUBLISH before the rest has arrived.
fn check_length(header: &FixedHeader, max: usize) -> Result<(), PacketError> {
    let exact = match header.kind {
        2 | 4..=7 | 11 => 2,
        12..=14 => 0,
        _ if header.remaining > max => {
            return Err(PacketError::new(Kind::TooLarge { len: header.remaining, max }, 1));
        }
        _ => return Ok(()),
    };
    match header.remaining {
        remaining if remaining < exact => Err(PacketError::new(Kind::Truncated, header.len + remaining)),
        remaining if remaining > exact => Err(PacketError::new(Kind::TrailingBytes, header.len + exact)),
        _ => Ok(()),
    }
}
