//! The fields of a complete packet, read one after the other.

use bytes::Bytes;

use super::error::{PacketError, PacketErrorKind as Kind};
use super::{Connect, Packet, PacketId, Protocol, Will};
use crate::mqtt::Qos;
use crate::topic::{Topic, TopicFilter};

/// Reads from `packet`, which is a whole packet with its fixed header, so that `at` is the offset errors tell.
pub(super) struct Fields<'a> {
    packet: &'a [u8],
    at: usize,
}

type Result<T> = std::result::Result<T, PacketError>;

impl<'a> Fields<'a> {
    pub(super) fn new(packet: &'a [u8], at: usize) -> Self {
        Self { packet, at }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let start = self.at;
        let end = start.saturating_add(len);
        let taken = self.packet.get(start..end).ok_or(PacketError::new(Kind::Truncated, start))?;
        self.at = end;
        Ok(taken)
    }

    fn is_empty(&self) -> bool {
        self.at >= self.packet.len()
    }

    fn end(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(PacketError::new(Kind::TrailingBytes, self.at)) }
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Result<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn id(&mut self) -> Result<PacketId> {
        let at = self.at;
        PacketId::new(self.short()?).ok_or(PacketError::new(Kind::ZeroPacketId, at))
    }

    /// A field with a 16-bit length.
    fn binary(&mut self) -> Result<&'a [u8]> {
        let at = self.at;
        let len = self.short()?;
        self.take(usize::from(len)).map_err(|_| PacketError::new(Kind::Truncated, at))
    }

    fn string(&mut self) -> Result<&'a str> {
        let bytes = self.binary()?;
        let start = self.at - bytes.len();
        let text = std::str::from_utf8(bytes)
            .map_err(|error| PacketError::new(Kind::InvalidUtf8, start + error.valid_up_to()))?;
        match text.bytes().position(|b| b == 0) {
            Some(offset) => Err(PacketError::new(Kind::Nul, start + offset)),
            None => Ok(text),
        }
    }

    pub(super) fn topic(&mut self) -> Result<Topic> {
        let bytes = self.binary()?;
        Topic::from_bytes(bytes).map_err(|error| PacketError::of_topic(error, false, self.at - bytes.len()))
    }

    fn filter(&mut self) -> Result<TopicFilter> {
        let text = self.string()?;
        TopicFilter::new(text).map_err(|error| PacketError::of_topic(error, true, self.at - text.len()))
    }

    fn qos(&self, bits: u8, at: usize) -> Result<Qos> {
        qos(bits).ok_or(PacketError::new(Kind::InvalidQos, at))
    }

    pub(super) fn connect(mut self) -> Result<Packet> {
        let (protocol, flags, flags_at) = self.connect_header()?;
        let keep_alive = self.short()?;
        let client_id = self.string()?.to_owned();
        let will = if flags & 0x04 != 0 {
            Some(Will {
                topic: self.topic()?,
                message: Bytes::copy_from_slice(self.binary()?),
                qos: self.qos(flags >> 3 & 3, flags_at)?,
                retain: flags & 0x20 != 0,
            })
        } else {
            None
        };
        // 3.1 inherits from its predecessor that the remaining length beats these two flags: a flag may be set where
        // the field is missing (MQTT 3.1, "CONNECT", note on user name and password).
        let present = |fields: &Self, flag: u8| flags & flag != 0 && !(protocol == Protocol::V31 && fields.is_empty());
        let username = if present(&self, 0x80) { Some(self.string()?.to_owned()) } else { None };
        let password = if present(&self, 0x40) { Some(Bytes::copy_from_slice(self.binary()?)) } else { None };
        self.end()?;
        let clean_session = flags & 0x02 != 0;
        Ok(Packet::Connect(Box::new(Connect {
            protocol,
            clean_session,
            keep_alive,
            client_id,
            will,
            username,
            password,
        })))
    }

    /// Protocol name, level and flags, with the offset of the flags.
    fn connect_header(&mut self) -> Result<(Protocol, u8, usize)> {
        let name_at = self.at;
        let name = self.binary()?;
        let level_at = self.at;
        let level = self.byte()?;
        let protocol = match (name, level) {
            (b"MQIsdp", 3) => Protocol::V31,
            (b"MQTT", 4) => Protocol::V311,
            (b"MQIsdp" | b"MQTT", _) => return Err(PacketError::new(Kind::UnsupportedProtocolLevel(level), level_at)),
            _ => return Err(PacketError::new(Kind::UnknownProtocolName, name_at)),
        };
        let flags_at = self.at;
        let flags = self.byte()?;
        let fault = if flags & 0xC0 == 0x40 {
            Some(Kind::PasswordWithoutUsername)
        } else if flags & 0x04 != 0 && flags & 0x18 == 0x18 {
            Some(Kind::InvalidQos)
        } else if protocol == Protocol::V31 {
            None // leaves bit 0 and, without a will, the will's bits to the sender
        } else if flags & 0x01 != 0 {
            Some(Kind::ReservedBits)
        } else if flags & 0x04 == 0 && flags & 0x38 != 0 {
            Some(Kind::WillFlagsWithoutWill)
        } else {
            None
        };
        match fault {
            Some(kind) => Err(PacketError::new(kind, flags_at)),
            None => Ok((protocol, flags, flags_at)),
        }
    }

    pub(super) fn connack(mut self, protocol: Protocol) -> Result<Packet> {
        let flags_at = self.at;
        let flags = self.byte()?;
        if protocol == Protocol::V311 && flags > 1 {
            return Err(PacketError::new(Kind::ReservedBits, flags_at));
        }
        let code_at = self.at;
        let code = self.byte()?;
        if code > 5 {
            return Err(PacketError::new(Kind::UnknownReturnCode(code), code_at));
        }
        Ok(Packet::ConnAck { session_present: protocol == Protocol::V311 && flags == 1, code })
    }

    pub(super) fn subscribe(mut self, protocol: Protocol) -> Result<Packet> {
        let id = self.id()?;
        let mut filters = Vec::new();
        while !self.is_empty() {
            let filter = self.filter()?;
            let at = self.at;
            let options = self.byte()?;
            if protocol == Protocol::V311 && options & 0xFC != 0 {
                return Err(PacketError::new(Kind::ReservedBits, at));
            }
            filters.push((filter, self.qos(options & 3, at)?));
        }
        self.some(filters).map(|filters| Packet::Subscribe { id, filters })
    }

    pub(super) fn unsubscribe(mut self) -> Result<Packet> {
        let id = self.id()?;
        let mut filters = Vec::new();
        while !self.is_empty() {
            filters.push(self.filter()?);
        }
        self.some(filters).map(|filters| Packet::Unsubscribe { id, filters })
    }

    pub(super) fn suback(mut self) -> Result<Packet> {
        let id = self.id()?;
        let mut codes = Vec::new();
        while !self.is_empty() {
            let at = self.at;
            match self.byte()? {
                code @ (0..=2 | 0x80) => codes.push(code),
                code => return Err(PacketError::new(Kind::UnknownReturnCode(code), at)),
            }
        }
        self.some(codes).map(|codes| Packet::SubAck { id, codes })
    }

    fn some<T>(&self, entries: Vec<T>) -> Result<Vec<T>> {
        if entries.is_empty() { Err(PacketError::new(Kind::NoEntries, self.at)) } else { Ok(entries) }
    }
}

/// QoS from two bits; `None` for 3.
pub(super) fn qos(bits: u8) -> Option<Qos> {
    Some(match bits {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        2 => Qos::ExactlyOnce,
        _ => return None,
    })
}
