use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::PacketErrorKind as Kind;
use super::*;

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("a topic")
}

/// Everything `decoder` finds in `bytes`, cut into pieces of `step` bytes, and the error that ended it.
fn feed(mut decoder: Decoder, bytes: &[u8], step: usize) -> (Vec<Decoded>, Option<PacketError>) {
    let mut found = Vec::new();
    let mut buf = BytesMut::new();
    for piece in bytes.chunks(step) {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(decoded)) => found.push(decoded),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn feed_whole(bytes: &[u8]) -> (Vec<Decoded>, Option<PacketError>) {
    feed(Decoder::new(Limits::default()), bytes, usize::MAX)
}

/// The one packet in `bytes`, read by the rules of `protocol`.
fn decode_one(bytes: &[u8], protocol: Protocol) -> Result<Packet, PacketError> {
    let mut buf = BytesMut::from(bytes);
    match Decoder::new(Limits::default()).with_protocol(protocol).decode(&mut buf)? {
        Some(Decoded::Packet(packet)) if buf.is_empty() => Ok(packet),
        other => panic!("{other:?}, {} bytes left", buf.len()),
    }
}

fn refused(bytes: &[u8]) -> (Kind, usize) {
    let error = decode_one(bytes, Protocol::V311).expect_err("a malformed packet");
    (error.kind(), error.offset())
}

fn encoded(packet: &Packet, protocol: Protocol) -> Vec<u8> {
    let mut buf = BytesMut::new();
    encode(packet, protocol, &mut buf).expect("can be written");
    buf.to_vec()
}

fn connect(body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("short")];
    packet.extend_from_slice(body);
    packet
}

#[test]
fn the_connect_of_a_real_3_1_client_is_read() {
    // MQIsdp, level 3, flags 0xC2 (user name, password, clean session), keep-alive 300. (`wire` §1.3)
    let packet = connect(b"\0\x06MQIsdp\x03\xC2\x01\x2C\0\x02me\0\x01u\0\x02pw");
    let Packet::Connect(connect) = decode_one(&packet, Protocol::V311).expect("well-formed") else {
        panic!("not a CONNECT")
    };
    assert_eq!(connect.protocol, Protocol::V31);
    assert!(connect.clean_session);
    assert_eq!(connect.keep_alive, 300);
    assert_eq!((connect.client_id.as_str(), connect.username.as_deref()), ("me", Some("u")));
    assert_eq!(connect.password.as_deref(), Some(&b"pw"[..]));
    assert!(!format!("{connect:?}").contains("pw"), "{connect:?}");
    assert_eq!(encoded(&Packet::Connect(connect), Protocol::V311), packet);
}

#[test]
fn a_3_1_connect_may_set_flags_for_fields_that_are_missing() {
    let packet = connect(b"\0\x06MQIsdp\x03\xC2\0\x3C\0\x02me");
    let Ok(Packet::Connect(found)) = decode_one(&packet, Protocol::V311) else { panic!("3.1 allows it") };
    assert_eq!((found.username, found.password), (None, None));
    assert_eq!(refused(&connect(b"\0\x04MQTT\x04\xC2\0\x3C\0\x02me")), (Kind::Truncated, 16));
}

#[test]
fn a_3_1_client_id_may_be_longer_than_23_characters() {
    let mut body = b"\0\x06MQIsdp\x03\x02\0\x3C\0\x28".to_vec();
    body.extend_from_slice(&[b'x'; 40]);
    assert!(decode_one(&connect(&body), Protocol::V311).is_ok());
}

#[test]
fn other_versions_are_told_apart_from_broken_packets() {
    for (body, kind, offset) in [
        (&b"\0\x04MQTT\x05\x02\0\x3C\0\0\0"[..], Kind::UnsupportedProtocolLevel(5), 8),
        (&b"\0\x06MQIsdp\x83\x02\0\x3C\0\0"[..], Kind::UnsupportedProtocolLevel(0x83), 10),
        (&b"\0\x04HTTP\x04\x02\0\x3C\0\0"[..], Kind::UnknownProtocolName, 2),
    ] {
        assert_eq!(refused(&connect(body)), (kind, offset));
        assert!(kind.is_unsupported_version());
    }
    assert!(!Kind::Truncated.is_unsupported_version());
}

#[test]
fn malformed_packets_say_what_and_where() {
    for (bytes, kind, offset) in [
        (&b"\x00\x00"[..], Kind::UnknownType(0), 0),
        (b"\xF0\x00", Kind::UnknownType(15), 0),
        (b"\xC1\x00", Kind::BadFlags, 0),
        (b"\x80\x06\0\x01\0\x01a\0", Kind::BadFlags, 0),
        (b"\x8A\x06\0\x01\0\x01a\0", Kind::BadFlags, 0),
        (b"\x60\x02\0\x01", Kind::BadFlags, 0),
        (b"GET / HTTP/1.1\r\n", Kind::BadFlags, 0),
        (b"\x30\xFF\xFF\xFF\xFF", Kind::MalformedRemainingLength, 4),
        (b"\xC0\x01\0", Kind::TrailingBytes, 2),
        (b"\x40\x01\0", Kind::Truncated, 3),
        (b"\x40\x03\0\x01\0", Kind::TrailingBytes, 4),
        (b"\x40\x02\0\0", Kind::ZeroPacketId, 2),
        (b"\x36\x05\0\x01a\0\x01", Kind::InvalidQos, 0),
        (b"\x30\x01\0", Kind::Truncated, 2),
        (b"\x30\x03\0\x05a", Kind::Truncated, 2),
        (b"\x32\x04\0\x01a\0", Kind::Truncated, 2),
        (b"\x32\x05\0\x01a\0\0", Kind::ZeroPacketId, 5),
        (b"\x30\x02\0\0", Kind::EmptyTopic, 4),
        (b"\x30\x04\0\x02a\xFF", Kind::InvalidUtf8, 5),
        (b"\x30\x05\0\x03\xED\xA0\x80", Kind::InvalidUtf8, 4),
        (b"\x30\x04\0\x02a\0", Kind::Nul, 5),
        (b"\x30\x05\0\x03a/#", Kind::WildcardInTopic, 6),
        (b"\x82\x02\0\x01", Kind::NoEntries, 4),
        (b"\x82\x06\0\x00\0\x01a\0", Kind::ZeroPacketId, 2),
        (b"\x82\x06\0\x01\0\x01a\x03", Kind::InvalidQos, 7),
        (b"\x82\x06\0\x01\0\x01a\x04", Kind::ReservedBits, 7),
        (b"\x82\x08\0\x01\0\x03a+b\x00", Kind::InvalidFilter, 7),
        (b"\x82\x05\0\x01\0\x01a", Kind::Truncated, 7),
        (b"\xA2\x02\0\x01", Kind::NoEntries, 4),
        (b"\xA2\x04\0\x01\0\0", Kind::EmptyTopic, 6),
        (b"\x90\x02\0\x01", Kind::NoEntries, 4),
        (b"\x90\x03\0\x01\x03", Kind::UnknownReturnCode(3), 4),
        (b"\x20\x02\x02\0", Kind::ReservedBits, 2),
        (b"\x20\x02\0\x06", Kind::UnknownReturnCode(6), 3),
        (b"\x10\x0E\0\x04MQTT\x04\x40\0\0\0\0\0\0", Kind::PasswordWithoutUsername, 9),
        (b"\x10\x0C\0\x04MQTT\x04\x03\0\0\0\0", Kind::ReservedBits, 9),
        (b"\x10\x0C\0\x04MQTT\x04\x22\0\0\0\0", Kind::WillFlagsWithoutWill, 9),
        (b"\x10\x11\0\x04MQTT\x04\x1E\0\0\0\0\0\x01t\0\0", Kind::InvalidQos, 9),
        (b"\x10\x11\0\x04MQTT\x04\x06\0\0\0\0\0\x01#\0\0", Kind::WildcardInTopic, 16),
        (b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01\0", Kind::Nul, 14),
        (b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\0x", Kind::TrailingBytes, 14),
    ] {
        let (found, error) = feed_whole(bytes);
        let error = error.unwrap_or_else(|| panic!("{bytes:02x?} was read as {found:?}"));
        assert_eq!((error.kind(), error.offset()), (kind, offset), "{bytes:02x?}");
    }
}

#[test]
fn what_3_1_leaves_to_the_sender_is_no_fault_there() {
    for bytes in [
        &b"\x8A\x06\0\x01\0\x01a\0"[..], // SUBSCRIBE, repeated
        b"\x82\x06\0\x01\0\x01a\xFC",    // unused bits beside the QoS
        b"\x6A\x02\0\x01",               // PUBREL, repeated
        b"\x20\x02\xFF\0",               // CONNACK's first byte
        b"\x10\x0E\0\x06MQIsdp\x03\x23\0\0\0\0",
    ] {
        assert!(decode_one(bytes, Protocol::V31).is_ok(), "{bytes:02x?}");
    }
    assert_eq!(
        decode_one(b"\x20\x02\x01\0", Protocol::V31),
        Ok(Packet::ConnAck { session_present: false, code: 0 }),
        "3.1 has no session-present flag"
    );
}

#[test]
fn dup_at_qos_0_is_read_as_absent() {
    let Ok(Packet::Publish(publish)) = decode_one(b"\x39\x05\0\x01axy", Protocol::V311) else { panic!("lenient") };
    assert!(!publish.dup && publish.retain);
    assert_eq!(&publish.payload[..], b"xy");
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new(Limits::default());
    let mut buf = BytesMut::from(&b"\x40\x02\0\0"[..]);
    let error = decoder.decode(&mut buf).expect_err("packet id 0");
    buf = BytesMut::from(&b"\xC0\0"[..]);
    assert_eq!(decoder.decode(&mut buf), Err(error));
}

#[test]
fn a_payload_shares_the_memory_it_arrived_in() {
    let mut buf = BytesMut::from(&b"\x30\x08\0\x01apay!!\xC0\0"[..]);
    let range = buf.as_ptr_range();
    let Ok(Some(Decoded::Packet(Packet::Publish(publish)))) = Decoder::new(Limits::default()).decode(&mut buf) else {
        panic!("a PUBLISH")
    };
    assert_eq!(&publish.payload[..], b"pay!!");
    assert!(range.contains(&publish.payload.as_ptr()));
    assert_eq!(&buf[..], b"\xC0\0");
    assert!(!format!("{publish:?}").contains("pay!!"));
}

#[test]
fn a_server_takes_connect_first_and_only_first() {
    let server = || Decoder::new(Limits::default()).expecting_connect();
    let hello = b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0";
    let (found, error) = feed(server(), b"\x30", 1);
    assert_eq!((found.len(), error.map(|e| e.kind())), (0, Some(Kind::ConnectOutOfPlace)));
    let (found, error) = feed(server(), &[&hello[..], b"\xC0\0", hello].concat(), 1);
    assert_eq!((found.len(), error.map(|e| e.kind())), (2, Some(Kind::ConnectOutOfPlace)));
    let (found, error) = feed(Decoder::new(Limits::default()), &[&hello[..], hello].concat(), 1);
    assert_eq!((found.len(), error), (2, None));
}

#[test]
fn a_connect_sets_the_rules_for_what_follows() {
    let repeated = b"\x8A\x06\0\x01\0\x01a\0";
    let v31 = [&b"\x10\x0E\0\x06MQIsdp\x03\x02\0\0\0\0"[..], repeated].concat();
    assert_eq!(feed_whole(&v31).1, None);
    let v311 = [&b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0"[..], repeated].concat();
    assert_eq!(feed_whole(&v311).1.map(|e| e.kind()), Some(Kind::BadFlags));
}

fn large_publish(len: usize) -> (Vec<u8>, Vec<u8>) {
    let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let publish = PublishPacket {
        dup: false,
        retain: false,
        qos: Qos::AtLeastOnce,
        id: Some(id(7)),
        topic: topic("p/me/thing-if/x"),
        payload: payload.clone().into(),
    };
    (encoded(&Packet::Publish(publish), Protocol::V311), payload)
}

#[test]
fn a_frame_at_the_limit_is_whole_and_one_byte_more_is_not() {
    let max = Limits::default().max_frame;
    let (bytes, payload) = large_publish(max);
    let (found, error) = feed_whole(&bytes);
    assert_eq!(error, None);
    assert!(matches!(&found[..], [Decoded::Packet(Packet::Publish(p))] if p.payload == payload));

    let (mut bytes, payload) = large_publish(max + 1);
    bytes.extend_from_slice(b"\xC0\0");
    for step in [1, 1000, usize::MAX] {
        let (found, error) = feed(Decoder::new(Limits::default()), &bytes, step);
        assert_eq!(error, None);
        let [Decoded::Oversize(oversize), Decoded::Packet(Packet::PingReq)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(oversize.first, payload[..8192]);
        assert_eq!((oversize.len, oversize.id, oversize.qos), (max + 1, Some(id(7)), Qos::AtLeastOnce));
        assert_eq!(oversize.topic.as_str(), "p/me/thing-if/x");
    }
}

#[test]
fn an_oversize_frame_is_told_as_soon_as_its_head_is_there_and_never_buffered() {
    let (bytes, _) = large_publish(500_000);
    let head = bytes.len() - 500_000 + 8192;
    let mut decoder = Decoder::new(Limits::default());
    let mut buf = BytesMut::from(&bytes[..head - 1]);
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    buf.extend_from_slice(&bytes[head - 1..head]);
    assert!(matches!(decoder.decode(&mut buf), Ok(Some(Decoded::Oversize(_)))));
    for piece in bytes[head..].chunks(4096) {
        buf.extend_from_slice(piece);
        assert_eq!(decoder.decode(&mut buf), Ok(None));
        assert!(buf.is_empty());
    }
    buf.extend_from_slice(b"\xD0\0");
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Decoded::Packet(Packet::PingResp))));
}

#[test]
fn skipping_ends_at_its_limit() {
    let limits = Limits { max_frame: 100, keep: 10, max_skip: 1000, max_control: 50 };
    for (len, fatal) in [(1000, false), (1001, true)] {
        let (mut bytes, _) = large_publish(len);
        let payload_at = bytes.len() - len;
        bytes.extend_from_slice(b"\xC0\0");
        for step in [1, usize::MAX] {
            let (found, error) = feed(Decoder::new(limits), &bytes, step);
            assert!(matches!(&found[0], Decoded::Oversize(o) if o.len == len && o.first.len() == 10));
            let expected = fatal.then_some(Kind::TooLarge { len: 1001, max: 1000 });
            assert_eq!(error.map(|e| e.kind()), expected);
            assert_eq!(found.len(), if fatal { 1 } else { 2 });
        }
        let (_, error) = feed(Decoder::new(limits), &bytes[..payload_at + 999], 1);
        assert_eq!(error, None, "the sender may read its answer before the connection ends");
    }
}

#[test]
fn other_packets_have_a_small_limit_judged_by_the_header_alone() {
    for first in [0x10, 0x82, 0x90, 0xA2] {
        let (_, error) = feed_whole(&[first, 0x81, 0x80, 0x01]);
        let too_large = Kind::TooLarge { len: 16_385, max: 16_384 };
        assert_eq!(error.map(|e| (e.kind(), e.offset())), Some((too_large, 1)), "{first:02x}");
        assert_eq!(feed_whole(&[first, 0x80, 0x80, 0x01]).1, None, "{first:02x}");
    }
}

#[test]
fn an_announced_size_allocates_nothing() {
    // A PUBLISH of 256 MiB of which the first bytes have arrived.
    let mut buf = BytesMut::from(&b"\x30\xFF\xFF\xFF\x7F\0\x01a"[..]);
    let capacity = buf.capacity();
    assert_eq!(Decoder::new(Limits::default()).decode(&mut buf), Ok(None));
    assert_eq!((buf.len(), buf.capacity()), (8, capacity));
}

#[test]
fn what_cannot_be_written_is_an_error_and_writes_nothing() {
    let hello = |client_id: String, username: Option<String>, password: Option<Bytes>| {
        Packet::Connect(Box::new(Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 60,
            client_id,
            will: None,
            username,
            password,
        }))
    };
    let publish = |dup, qos, id| {
        Packet::Publish(PublishPacket { dup, retain: false, qos, id, topic: topic("a"), payload: Bytes::new() })
    };
    let long = "x".repeat(65_536);
    for (packet, kind) in [
        (hello(long.clone(), None, None), Kind::FieldTooLong(65_536)),
        (hello(String::new(), Some(long.clone()), None), Kind::FieldTooLong(65_536)),
        (hello(String::new(), Some("u".into()), Some(long.into())), Kind::FieldTooLong(65_536)),
        (hello("a\0".into(), None, None), Kind::Nul),
        (hello("a".into(), None, Some("p".into())), Kind::PasswordWithoutUsername),
        (publish(false, Qos::AtLeastOnce, None), Kind::InconsistentQos),
        (publish(false, Qos::AtMostOnce, Some(id(1))), Kind::InconsistentQos),
        (publish(true, Qos::AtMostOnce, None), Kind::InconsistentQos),
        (Packet::Subscribe { id: id(1), filters: vec![] }, Kind::NoEntries),
        (Packet::Unsubscribe { id: id(1), filters: vec![] }, Kind::NoEntries),
        (Packet::SubAck { id: id(1), codes: vec![] }, Kind::NoEntries),
        (Packet::SubAck { id: id(1), codes: vec![0, 3] }, Kind::UnknownReturnCode(3)),
        (Packet::ConnAck { session_present: false, code: 6 }, Kind::UnknownReturnCode(6)),
    ] {
        let mut buf = BytesMut::from(&b"before"[..]);
        let error = encode(&packet, Protocol::V311, &mut buf).expect_err("cannot be written");
        assert_eq!(error.kind(), kind);
        assert_eq!(&buf[..], b"before");
    }
    let mut buf = BytesMut::new();
    let huge = vec![0; MAX_REMAINING_LENGTH - 2];
    let error = encode_publish(&topic("a"), &huge, &mut buf).expect_err("one byte too many");
    assert!(matches!(error.kind(), Kind::TooLarge { len: 268_435_456, .. }), "{error}");
    assert!(buf.is_empty());
}

#[test]
fn the_session_present_flag_is_3_1_1_only() {
    let packet = Packet::ConnAck { session_present: true, code: 0 };
    assert_eq!(encoded(&packet, Protocol::V311), b"\x20\x02\x01\x00");
    assert_eq!(encoded(&packet, Protocol::V31), b"\x20\x02\x00\x00");
}

#[test]
fn remaining_lengths_are_written_in_as_few_bytes_as_fit() {
    for (payload, header) in
        [(124, &b"\x30\x7F"[..]), (125, b"\x30\x80\x01"), (16_380, b"\x30\xFF\x7F"), (16_381, b"\x30\x80\x80\x01")]
    {
        let mut buf = BytesMut::new();
        encode_publish(&topic("a"), &vec![0; payload], &mut buf).expect("fits");
        assert!(buf.starts_with(header), "{payload}: {:02x?}", &buf[..5]);
        assert_eq!(buf.len(), header.len() + 3 + payload);
    }
}

fn any_text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 0..20).prop_map(String::from_iter)
}

fn any_topic() -> impl Strategy<Value = Topic> {
    any_text().prop_filter_map("a topic", |text| Topic::new(&text).ok())
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    prop_oneof![
        any_topic().prop_map(|topic| TopicFilter::new(topic.as_str()).expect("a name is a filter")),
        Just(TopicFilter::new("p/+/#").expect("a filter")),
    ]
}

fn any_qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn any_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::V31), Just(Protocol::V311)]
}

fn any_connect() -> impl Strategy<Value = Packet> {
    let will = proptest::option::of(
        (any_topic(), any_bytes(50), any_qos(), any::<bool>()).prop_map(|(topic, message, qos, retain)| Will {
            topic,
            message,
            qos,
            retain,
        }),
    );
    let login = proptest::option::of((any_text(), proptest::option::of(any_bytes(50))));
    (any_protocol(), any::<bool>(), any::<u16>(), any_text(), will, login).prop_map(
        |(protocol, clean_session, keep_alive, client_id, will, login)| {
            let (username, password) = login.map_or((None, None), |(name, password)| (Some(name), password));
            let connect = Connect { protocol, clean_session, keep_alive, client_id, will, username, password };
            Packet::Connect(Box::new(connect))
        },
    )
}

fn any_publish() -> impl Strategy<Value = Packet> {
    (any::<bool>(), any::<bool>(), any_qos(), any_id(), any_topic(), any_bytes(300)).prop_map(
        |(dup, retain, qos, id, topic, payload)| {
            let acknowledged = qos != Qos::AtMostOnce;
            let (dup, id) = (dup && acknowledged, acknowledged.then_some(id));
            Packet::Publish(PublishPacket { dup, retain, qos, id, topic, payload })
        },
    )
}

/// Any packet that 3.1.1 can carry.
fn any_packet() -> impl Strategy<Value = Packet> {
    let codes = prop_oneof![Just(0u8), Just(1), Just(2), Just(0x80)];
    prop_oneof![
        any_connect(),
        (any::<bool>(), 0..=5u8).prop_map(|(session_present, code)| Packet::ConnAck { session_present, code }),
        any_publish(),
        any_id().prop_map(Packet::PubAck),
        any_id().prop_map(Packet::PubRec),
        any_id().prop_map(Packet::PubRel),
        any_id().prop_map(Packet::PubComp),
        (any_id(), vec((any_filter(), any_qos()), 1..5)).prop_map(|(id, filters)| Packet::Subscribe { id, filters }),
        (any_id(), vec(codes, 1..5)).prop_map(|(id, codes)| Packet::SubAck { id, codes }),
        (any_id(), vec(any_filter(), 1..5)).prop_map(|(id, filters)| Packet::Unsubscribe { id, filters }),
        any_id().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}

/// Packets one after the other, perhaps cut short, perhaps with a few bytes changed.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    (vec(any_packet(), 1..6), changes, any::<bool>()).prop_map(|(packets, changes, cut)| {
        let mut bytes: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, Protocol::V311)).collect();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            if cut && byte % 8 == 0 {
                bytes.truncate(at + 1);
            }
            bytes[at] = byte;
        }
        bytes
    })
}

const SMALL: Limits = Limits { max_frame: 64, keep: 16, max_skip: 128, max_control: 64 };

proptest! {
    #[test]
    fn what_is_written_is_read_again(packet in any_packet()) {
        let bytes = encoded(&packet, Protocol::V311);
        prop_assert_eq!(decode_one(&bytes, Protocol::V311), Ok(packet));
    }

    #[test]
    fn what_is_read_is_written_as_it_was_or_more_strictly(bytes in any_stream()) {
        let (found, _) = feed_whole(&bytes);
        for decoded in found {
            let Decoded::Packet(packet) = decoded else { continue };
            prop_assert_eq!(decode_one(&encoded(&packet, Protocol::V311), Protocol::V311), Ok(packet));
        }
    }

    #[test]
    fn both_ways_to_write_a_publish_agree(topic in any_topic(), payload in any_bytes(300)) {
        let mut fast = BytesMut::new();
        encode_publish(&topic, &payload, &mut fast).expect("fits");
        let publish = PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload };
        prop_assert_eq!(fast.to_vec(), encoded(&Packet::Publish(publish), Protocol::V311));
    }

    #[test]
    fn how_a_stream_is_cut_does_not_matter(bytes in any_stream(), step in 2..50usize, small in any::<bool>()) {
        let decoder = || Decoder::new(if small { SMALL } else { Limits::default() });
        let whole = feed(decoder(), &bytes, usize::MAX);
        prop_assert_eq!(&feed(decoder(), &bytes, 1), &whole);
        prop_assert_eq!(&feed(decoder(), &bytes, step), &whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused_alike_however_they_are_cut(bytes in vec(any::<u8>(), 0..400), step in 1..50usize) {
        for decoder in [|| Decoder::new(Limits::default()), || Decoder::new(SMALL)] {
            let (found, error) = feed(decoder(), &bytes, usize::MAX);
            prop_assert!(found.len() <= bytes.len() / 2);
            prop_assert_eq!(feed(decoder(), &bytes, step), (found, error));
        }
    }
}
