//! Packets to bytes.

use bytes::{BufMut, BytesMut};

use super::error::{PacketError, PacketErrorKind as Kind};
use super::{Connect, Packet, PacketId, Protocol, PublishPacket};
use crate::mqtt::Qos;
use crate::topic::Topic;

/// The largest remaining length that MQTT can write: 256 MiB less one byte.
pub const MAX_REMAINING_LENGTH: usize = 268_435_455;

/// Appends `packet` to `dst` as `protocol` writes it. A [`Connect`] is written as its own `protocol` field says.
///
/// # Errors
/// [`PacketError`] when the packet cannot be one: a string of more than 65,535 bytes or with a NUL, a payload beyond
/// [`MAX_REMAINING_LENGTH`], no filters, a packet identifier that does not fit the QoS, a return code that no version
/// has, a password without a user name. Then `dst` is left as it was. The offset is where the field would have begun
/// after a fixed header of two bytes.
pub fn encode(packet: &Packet, protocol: Protocol, dst: &mut BytesMut) -> Result<(), PacketError> {
    match packet {
        Packet::Connect(connect) => encode_connect(connect, dst),
        Packet::ConnAck { session_present, code } => {
            if *code > 5 {
                return Err(PacketError::new(Kind::UnknownReturnCode(*code), 3));
            }
            let flags = u8::from(*session_present && protocol == Protocol::V311);
            dst.put_slice(&[0x20, 2, flags, *code]);
            Ok(())
        }
        Packet::Publish(publish) => encode_publish_packet(publish, dst),
        Packet::PubAck(id) => acknowledge(0x40, *id, dst),
        Packet::PubRec(id) => acknowledge(0x50, *id, dst),
        Packet::PubRel(id) => acknowledge(0x62, *id, dst),
        Packet::PubComp(id) => acknowledge(0x70, *id, dst),
        Packet::Subscribe { id, filters } => {
            let len = filters.iter().map(|(filter, _)| 3 + filter.as_str().len()).sum::<usize>();
            entries(0x82, *id, len, dst)?;
            for (filter, qos) in filters {
                put_field(filter.as_str().as_bytes(), dst);
                dst.put_u8(*qos as u8);
            }
            Ok(())
        }
        Packet::SubAck { id, codes } => {
            if let Some(at) = codes.iter().position(|code| !matches!(code, 0..=2 | 0x80)) {
                return Err(PacketError::new(Kind::UnknownReturnCode(codes[at]), 4 + at));
            }
            entries(0x90, *id, codes.len(), dst)?;
            dst.put_slice(codes);
            Ok(())
        }
        Packet::Unsubscribe { id, filters } => {
            let len = filters.iter().map(|filter| 2 + filter.as_str().len()).sum::<usize>();
            entries(0xA2, *id, len, dst)?;
            for filter in filters {
                put_field(filter.as_str().as_bytes(), dst);
            }
            Ok(())
        }
        Packet::UnsubAck(id) => acknowledge(0xB0, *id, dst),
        Packet::PingReq => fixed(0xC0, dst),
        Packet::PingResp => fixed(0xD0, dst),
        Packet::Disconnect => fixed(0xE0, dst),
    }
}

/// Appends a PUBLISH at QoS 0, without retain, the only kind that this protocol's servers send (`wire` §1.3).
/// Copies the payload once; allocates only when `dst` must grow.
///
/// # Errors
/// As [`encode`]: the payload is beyond [`MAX_REMAINING_LENGTH`].
pub fn encode_publish(topic: &Topic, payload: &[u8], dst: &mut BytesMut) -> Result<(), PacketError> {
    let topic = topic.as_str().as_bytes();
    put_header(0x30, 2 + topic.len() + payload.len(), dst)?;
    put_field(topic, dst);
    dst.put_slice(payload);
    Ok(())
}

fn encode_publish_packet(publish: &PublishPacket, dst: &mut BytesMut) -> Result<(), PacketError> {
    let topic = publish.topic.as_str().as_bytes();
    let consistent = match publish.qos {
        Qos::AtMostOnce => publish.id.is_none() && !publish.dup,
        Qos::AtLeastOnce | Qos::ExactlyOnce => publish.id.is_some(),
    };
    if !consistent {
        return Err(PacketError::new(Kind::InconsistentQos, 0));
    }
    let first = 0x30 | u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    let id_len = if publish.id.is_some() { 2 } else { 0 };
    put_header(first, 2 + topic.len() + id_len + publish.payload.len(), dst)?;
    put_field(topic, dst);
    if let Some(id) = publish.id {
        dst.put_u16(id.get());
    }
    dst.put_slice(&publish.payload);
    Ok(())
}

fn encode_connect(connect: &Connect, dst: &mut BytesMut) -> Result<(), PacketError> {
    let (name, level) = match connect.protocol {
        Protocol::V31 => ("MQIsdp", 3),
        Protocol::V311 => ("MQTT", 4),
    };
    let mut flags = u8::from(connect.clean_session) << 1;
    // Checks every field before the first byte is written.
    let mut at = 2 + 2 + name.len() + 4;
    at += field_len(connect.client_id.as_bytes(), true, at)?;
    if let Some(will) = &connect.will {
        flags |= 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
        at += field_len(will.topic.as_str().as_bytes(), true, at)?;
        at += field_len(&will.message, false, at)?;
    }
    if let Some(username) = &connect.username {
        flags |= 0x80;
        at += field_len(username.as_bytes(), true, at)?;
    }
    if let Some(password) = &connect.password {
        if connect.username.is_none() {
            return Err(PacketError::new(Kind::PasswordWithoutUsername, at));
        }
        flags |= 0x40;
        at += field_len(password, false, at)?;
    }
    put_header(0x10, at - 2, dst)?;
    put_field(name.as_bytes(), dst);
    dst.put_u8(level);
    dst.put_u8(flags);
    dst.put_u16(connect.keep_alive);
    put_field(connect.client_id.as_bytes(), dst);
    if let Some(will) = &connect.will {
        put_field(will.topic.as_str().as_bytes(), dst);
        put_field(&will.message, dst);
    }
    if let Some(username) = &connect.username {
        put_field(username.as_bytes(), dst);
    }
    if let Some(password) = &connect.password {
        put_field(password, dst);
    }
    Ok(())
}

fn field_len(field: &[u8], is_text: bool, at: usize) -> Result<usize, PacketError> {
    if field.len() > usize::from(u16::MAX) {
        return Err(PacketError::new(Kind::FieldTooLong(field.len()), at));
    }
    match field.iter().position(|&b| is_text && b == 0) {
        Some(offset) => Err(PacketError::new(Kind::Nul, at + 2 + offset)),
        None => Ok(2 + field.len()),
    }
}

/// Writes a field whose length was checked by its type or by [`field_len`].
fn put_field(field: &[u8], dst: &mut BytesMut) {
    let len = u16::try_from(field.len()).expect("topics and filters are bounded by their types, the rest was checked");
    dst.put_u16(len);
    dst.put_slice(field);
}

/// Writes the fixed header and makes room for the rest, so that a packet grows `dst` once at most.
fn put_header(first: u8, remaining: usize, dst: &mut BytesMut) -> Result<(), PacketError> {
    if remaining > MAX_REMAINING_LENGTH {
        return Err(PacketError::new(Kind::TooLarge { len: remaining, max: MAX_REMAINING_LENGTH }, 1));
    }
    dst.reserve(5 + remaining);
    dst.put_u8(first);
    let mut left = remaining;
    loop {
        let byte = (left & 0x7F) as u8;
        left >>= 7;
        if left == 0 {
            dst.put_u8(byte);
            return Ok(());
        }
        dst.put_u8(byte | 0x80);
    }
}

fn entries(first: u8, id: PacketId, len: usize, dst: &mut BytesMut) -> Result<(), PacketError> {
    if len == 0 {
        return Err(PacketError::new(Kind::NoEntries, 4));
    }
    put_header(first, 2 + len, dst)?;
    dst.put_u16(id.get());
    Ok(())
}

fn acknowledge(first: u8, id: PacketId, dst: &mut BytesMut) -> Result<(), PacketError> {
    let [high, low] = id.get().to_be_bytes();
    dst.put_slice(&[first, 2, high, low]);
    Ok(())
}

fn fixed(first: u8, dst: &mut BytesMut) -> Result<(), PacketError> {
    dst.put_slice(&[first, 0]);
    Ok(())
}
