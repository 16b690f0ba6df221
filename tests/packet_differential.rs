//! Our packet code against two that others wrote: `mqttbytes` (3.1.1) and `mqtt-proto` (3.1 and 3.1.1).
//!
//! What both sides can express must have the same bytes and the same meaning. For broken packets the sides must agree
//! on accepting or refusing, but for the exceptions that are listed with their reasons in [`laxer`] and [`stricter`].

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use mqtt_proto::v3 as proto;
use mqttbytes::v4 as mb;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{
    Connect, Decoded, Decoder, Limits, Packet, PacketErrorKind as Kind, PacketId, Protocol, PublishPacket, Will, encode,
};
use thingif::topic::{Topic, TopicFilter};

// Our side.

fn ours(bytes: &[u8]) -> Result<Packet, Kind> {
    let mut buf = BytesMut::from(bytes);
    match Decoder::new(Limits::default()).decode(&mut buf) {
        Ok(Some(Decoded::Packet(packet))) => {
            assert!(buf.is_empty(), "one packet is one frame");
            Ok(packet)
        }
        Ok(other) => panic!("a whole small frame gave {other:?}"),
        Err(error) => Err(error.kind()),
    }
}

fn written(packet: &Packet) -> Vec<u8> {
    let mut buf = BytesMut::new();
    encode(packet, Protocol::V311, &mut buf).expect("can be written");
    buf.to_vec()
}

fn id(id: u16) -> PacketId {
    NonZeroU16::new(id).expect("not 0")
}

fn qos(level: u8) -> Qos {
    match level {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("accepted by both, so it is a topic name")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).expect("accepted by both, so it is a filter")
}

// mqttbytes. It has no 3.1, takes passwords as text, and cannot tell an empty user name or password from none.

fn from_mqttbytes(packet: mb::Packet) -> Packet {
    match packet {
        mb::Packet::Connect(connect) => {
            assert_eq!(connect.protocol, mqttbytes::Protocol::V4);
            let text = |text: String| Some(text).filter(|text| !text.is_empty());
            let (username, password) =
                connect.login.map_or((None, None), |login| (text(login.username), text(login.password)));
            Packet::Connect(Box::new(Connect {
                protocol: Protocol::V311,
                clean_session: connect.clean_session,
                keep_alive: connect.keep_alive,
                client_id: connect.client_id,
                will: connect.last_will.map(|will| Will {
                    topic: topic(&will.topic),
                    message: will.message,
                    qos: qos(will.qos as u8),
                    retain: will.retain,
                }),
                username,
                password: password.map(Bytes::from),
            }))
        }
        mb::Packet::ConnAck(ack) => Packet::ConnAck { session_present: ack.session_present, code: ack.code as u8 },
        mb::Packet::Publish(publish) => Packet::Publish(PublishPacket {
            // DUP means nothing at QoS 0: mqttbytes passes it on, we read it as absent.
            dup: publish.dup && publish.qos != mqttbytes::QoS::AtMostOnce,
            retain: publish.retain,
            qos: qos(publish.qos as u8),
            id: NonZeroU16::new(publish.pkid),
            topic: topic(&publish.topic),
            payload: publish.payload,
        }),
        mb::Packet::PubAck(ack) => Packet::PubAck(id(ack.pkid)),
        mb::Packet::PubRec(ack) => Packet::PubRec(id(ack.pkid)),
        mb::Packet::PubRel(ack) => Packet::PubRel(id(ack.pkid)),
        mb::Packet::PubComp(ack) => Packet::PubComp(id(ack.pkid)),
        mb::Packet::Subscribe(subscribe) => Packet::Subscribe {
            id: id(subscribe.pkid),
            filters: subscribe.filters.iter().map(|f| (filter(&f.path), qos(f.qos as u8))).collect(),
        },
        mb::Packet::SubAck(ack) => {
            let code = |code: &mb::SubscribeReasonCode| match code {
                mb::SubscribeReasonCode::Success(qos) => *qos as u8,
                mb::SubscribeReasonCode::Failure => 0x80,
            };
            Packet::SubAck { id: id(ack.pkid), codes: ack.return_codes.iter().map(code).collect() }
        }
        mb::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            id: id(unsubscribe.pkid),
            filters: unsubscribe.topics.iter().map(|text| filter(text)).collect(),
        },
        mb::Packet::UnsubAck(ack) => Packet::UnsubAck(id(ack.pkid)),
        mb::Packet::PingReq => Packet::PingReq,
        mb::Packet::PingResp => Packet::PingResp,
        mb::Packet::Disconnect => Packet::Disconnect,
    }
}

/// What mqttbytes writes for `packet`.
fn written_by_mqttbytes(packet: &Packet) -> Vec<u8> {
    let their_qos = |qos: Qos| mqttbytes::qos(qos as u8).expect("0 to 2");
    let mut buf = BytesMut::new();
    match packet.clone() {
        Packet::Connect(connect) => {
            let mut theirs = mb::Connect::new(connect.client_id);
            theirs.clean_session = connect.clean_session;
            theirs.keep_alive = connect.keep_alive;
            theirs.last_will = connect
                .will
                .map(|will| mb::LastWill::new(will.topic.as_str(), will.message, their_qos(will.qos), will.retain));
            let password = connect.password.map_or(Vec::new(), Vec::from);
            theirs.login = connect
                .username
                .map(|username| mb::Login { username, password: String::from_utf8(password).expect("text only") });
            theirs.write(&mut buf)
        }
        Packet::ConnAck { session_present, code } => {
            let code = match code {
                0 => mb::ConnectReturnCode::Success,
                1 => mb::ConnectReturnCode::RefusedProtocolVersion,
                2 => mb::ConnectReturnCode::BadClientId,
                3 => mb::ConnectReturnCode::ServiceUnavailable,
                4 => mb::ConnectReturnCode::BadUserNamePassword,
                _ => mb::ConnectReturnCode::NotAuthorized,
            };
            mb::ConnAck::new(code, session_present).write(&mut buf)
        }
        Packet::Publish(publish) => {
            let mut theirs =
                mb::Publish::from_bytes(publish.topic.as_str(), their_qos(publish.qos), publish.payload.clone());
            (theirs.dup, theirs.retain) = (publish.dup, publish.retain);
            theirs.pkid = publish.id.map_or(0, NonZeroU16::get);
            theirs.write(&mut buf)
        }
        Packet::PubAck(id) => mb::PubAck::new(id.get()).write(&mut buf),
        Packet::PubRec(id) => mb::PubRec::new(id.get()).write(&mut buf),
        Packet::PubRel(id) => mb::PubRel::new(id.get()).write(&mut buf),
        Packet::PubComp(id) => mb::PubComp::new(id.get()).write(&mut buf),
        Packet::Subscribe { id, filters } => {
            let one = |(filter, qos): &(TopicFilter, Qos)| {
                mb::SubscribeFilter::new(filter.as_str().to_owned(), their_qos(*qos))
            };
            let mut theirs = mb::Subscribe::new_many(filters.iter().map(one));
            theirs.pkid = id.get();
            theirs.write(&mut buf)
        }
        Packet::SubAck { id, codes } => {
            let codes = codes.iter().map(|&code| mb::SubscribeReasonCode::try_from(code).expect("a return code"));
            mb::SubAck::new(id.get(), codes.collect()).write(&mut buf)
        }
        Packet::Unsubscribe { id, filters } => {
            let topics = filters.iter().map(|filter| filter.as_str().to_owned()).collect();
            mb::Unsubscribe { pkid: id.get(), topics }.write(&mut buf)
        }
        Packet::UnsubAck(id) => mb::UnsubAck::new(id.get()).write(&mut buf),
        Packet::PingReq => mb::PingReq.write(&mut buf),
        Packet::PingResp => mb::PingResp.write(&mut buf),
        Packet::Disconnect => mb::Disconnect.write(&mut buf),
    }
    .expect("mqttbytes can write it");
    buf.to_vec()
}

/// Without what mqttbytes cannot tell apart.
fn as_mqttbytes_sees_it(mut packet: Packet) -> Packet {
    if let Packet::Connect(connect) = &mut packet {
        connect.username.take_if(|username| username.is_empty());
        connect.password.take_if(|password| password.is_empty());
    }
    packet
}

// mqtt-proto.

fn from_mqtt_proto(packet: proto::Packet) -> Packet {
    let their_id = |theirs: mqtt_proto::Pid| id(theirs.value());
    match packet {
        proto::Packet::Connect(connect) => Packet::Connect(Box::new(Connect {
            protocol: match connect.protocol {
                mqtt_proto::Protocol::V310 => Protocol::V31,
                mqtt_proto::Protocol::V311 => Protocol::V311,
                mqtt_proto::Protocol::V500 => panic!("a 3.x decoder gave a CONNECT of version 5"),
            },
            clean_session: connect.clean_session,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.to_string(),
            will: connect.last_will.map(|will| Will {
                topic: topic(&will.topic_name),
                message: will.message,
                qos: qos(will.qos as u8),
                retain: will.retain,
            }),
            username: connect.username.map(|username| username.to_string()),
            password: connect.password,
        })),
        proto::Packet::Connack(ack) => Packet::ConnAck { session_present: ack.session_present, code: ack.code as u8 },
        proto::Packet::Publish(publish) => Packet::Publish(PublishPacket {
            // DUP means nothing at QoS 0: mqtt-proto passes it on, we read it as absent.
            dup: publish.dup && publish.qos_pid.pid().is_some(),
            retain: publish.retain,
            qos: qos(publish.qos_pid.qos() as u8),
            id: publish.qos_pid.pid().map(their_id),
            topic: topic(&publish.topic_name),
            payload: publish.payload,
        }),
        proto::Packet::Puback(id) => Packet::PubAck(their_id(id)),
        proto::Packet::Pubrec(id) => Packet::PubRec(their_id(id)),
        proto::Packet::Pubrel(id) => Packet::PubRel(their_id(id)),
        proto::Packet::Pubcomp(id) => Packet::PubComp(their_id(id)),
        proto::Packet::Subscribe(subscribe) => Packet::Subscribe {
            id: their_id(subscribe.pid),
            filters: subscribe.topics.iter().map(|(text, level)| (filter(text), qos(*level as u8))).collect(),
        },
        proto::Packet::Suback(ack) => {
            let code = |code: &proto::SubscribeReturnCode| match code {
                proto::SubscribeReturnCode::MaxLevel0 => 0,
                proto::SubscribeReturnCode::MaxLevel1 => 1,
                proto::SubscribeReturnCode::MaxLevel2 => 2,
                proto::SubscribeReturnCode::Failure => 0x80,
            };
            Packet::SubAck { id: their_id(ack.pid), codes: ack.topics.iter().map(code).collect() }
        }
        proto::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            id: their_id(unsubscribe.pid),
            filters: unsubscribe.topics.iter().map(|text| filter(text)).collect(),
        },
        proto::Packet::Unsuback(id) => Packet::UnsubAck(their_id(id)),
        proto::Packet::Pingreq => Packet::PingReq,
        proto::Packet::Pingresp => Packet::PingResp,
        proto::Packet::Disconnect => Packet::Disconnect,
    }
}

fn to_mqtt_proto(packet: &Packet) -> proto::Packet {
    let pid = |id: PacketId| mqtt_proto::Pid::try_from(id.get()).expect("not 0");
    let level = |qos: Qos| mqtt_proto::QoS::from_u8(qos as u8).expect("0 to 2");
    let name = |topic: &Topic| mqtt_proto::TopicName::try_from(topic.as_str()).expect("a topic name");
    let pattern = |filter: &TopicFilter| mqtt_proto::TopicFilter::try_from(filter.as_str()).expect("a filter");
    match packet {
        Packet::Connect(connect) => proto::Packet::Connect(proto::Connect {
            protocol: match connect.protocol {
                Protocol::V31 => mqtt_proto::Protocol::V310,
                Protocol::V311 => mqtt_proto::Protocol::V311,
            },
            clean_session: connect.clean_session,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.as_str().into(),
            last_will: connect.will.as_ref().map(|will| proto::LastWill {
                qos: level(will.qos),
                retain: will.retain,
                topic_name: name(&will.topic),
                message: will.message.clone(),
            }),
            username: connect.username.as_deref().map(Into::into),
            password: connect.password.clone(),
        }),
        Packet::ConnAck { session_present, code } => proto::Packet::Connack(proto::Connack::new(
            *session_present,
            proto::ConnectReturnCode::from_u8(*code).expect("0 to 5"),
        )),
        Packet::Publish(publish) => proto::Packet::Publish(proto::Publish {
            dup: publish.dup,
            retain: publish.retain,
            qos_pid: match (publish.qos, publish.id) {
                (Qos::AtLeastOnce, Some(id)) => mqtt_proto::QosPid::Level1(pid(id)),
                (Qos::ExactlyOnce, Some(id)) => mqtt_proto::QosPid::Level2(pid(id)),
                _ => mqtt_proto::QosPid::Level0,
            },
            topic_name: name(&publish.topic),
            payload: publish.payload.clone(),
        }),
        Packet::PubAck(id) => proto::Packet::Puback(pid(*id)),
        Packet::PubRec(id) => proto::Packet::Pubrec(pid(*id)),
        Packet::PubRel(id) => proto::Packet::Pubrel(pid(*id)),
        Packet::PubComp(id) => proto::Packet::Pubcomp(pid(*id)),
        Packet::Subscribe { id, filters } => {
            let topics = filters.iter().map(|(filter, qos)| (pattern(filter), level(*qos))).collect();
            proto::Packet::Subscribe(proto::Subscribe::new(pid(*id), topics))
        }
        Packet::SubAck { id, codes } => {
            let code = |code: &u8| proto::SubscribeReturnCode::from_u8(*code).expect("a return code");
            proto::Packet::Suback(proto::Suback::new(pid(*id), codes.iter().map(code).collect()))
        }
        Packet::Unsubscribe { id, filters } => {
            proto::Packet::Unsubscribe(proto::Unsubscribe::new(pid(*id), filters.iter().map(pattern).collect()))
        }
        Packet::UnsubAck(id) => proto::Packet::Unsuback(pid(*id)),
        Packet::PingReq => proto::Packet::Pingreq,
        Packet::PingResp => proto::Packet::Pingresp,
        Packet::Disconnect => proto::Packet::Disconnect,
    }
}

// Exceptions.

#[derive(Debug, Clone, Copy, PartialEq)]
enum Oracle {
    Mqttbytes,
    MqttProto,
}

/// Why `oracle` may accept what we refuse with `kind`. `None`: it may not.
fn laxer(oracle: Oracle, kind: Kind, frame: &[u8]) -> Option<&'static str> {
    let packet_type = frame[0] >> 4;
    Some(match (oracle, kind) {
        (_, Kind::TrailingBytes) => {
            "neither checks that a CONNECT, an acknowledgement or a ping ends with its last field"
        }
        (_, Kind::PasswordWithoutUsername) => "neither checks [MQTT-3.1.2-22]",
        (_, Kind::EmptyTopic) => "neither checks [MQTT-4.7.3-1] for topic names, mqttbytes not for filters either",
        (_, Kind::Nul) => "neither checks [MQTT-1.5.3-2] everywhere: mqtt-proto only in topics",
        (_, Kind::InvalidFilter) => "mqttbytes leaves filters to its user, mqtt-proto lets `a/+b` pass",
        (Oracle::Mqttbytes, Kind::BadFlags) => "looks at the flags of PUBLISH only",
        (Oracle::Mqttbytes, Kind::ReservedBits) => "masks the reserved bits of CONNECT, CONNACK and SUBSCRIBE away",
        (Oracle::Mqttbytes, Kind::ZeroPacketId) if packet_type != 3 => "checks packet ids of PUBLISH only",
        (Oracle::Mqttbytes, Kind::NoEntries) if packet_type != 9 => "checks SUBACK only for being empty",
        (Oracle::Mqttbytes, Kind::WildcardInTopic) => "leaves topics to its user",
        (Oracle::Mqttbytes, Kind::UnsupportedProtocolLevel(5)) => "reads the CONNECT of version 5 as far as 3.1.1 goes",
        (Oracle::MqttProto, Kind::NoEntries) if packet_type == 9 => "does not check SUBACK for being empty",
        (Oracle::MqttProto, Kind::WillFlagsWithoutWill) => "checks the will's QoS without a will, not its retain flag",
        _ => return None,
    })
}

/// Why `oracle` may refuse what we read as `packet`. `None`: it may not.
fn stricter(oracle: Oracle, packet: &Packet, frame: &[u8]) -> Option<&'static str> {
    match (oracle, packet) {
        (Oracle::Mqttbytes, Packet::Connect(connect)) if connect.protocol == Protocol::V31 => Some("has no 3.1"),
        (Oracle::Mqttbytes, Packet::Connect(connect)) => {
            let password = connect.password.as_deref().unwrap_or_default();
            std::str::from_utf8(password).is_err().then_some("takes passwords for text; they are binary")
        }
        (Oracle::MqttProto, Packet::Connect(connect)) if connect.protocol == Protocol::V31 => {
            let flags = frame.iter().skip_while(|b| **b != 3).nth(1).copied().unwrap_or_default();
            let missing =
                (flags & 0x80 != 0 && connect.username.is_none()) || (flags & 0x40 != 0 && connect.password.is_none());
            let reserved = flags & 0x01 != 0 || (flags & 0x04 == 0 && flags & 0x18 != 0);
            (missing || reserved).then_some("holds 3.1 to what only 3.1.1 demands of the flags")
        }
        (Oracle::MqttProto, Packet::Subscribe { filters, .. }) => {
            filters.iter().any(|(f, _)| f.as_str().starts_with("$share/")).then_some("has shared subscriptions")
        }
        (Oracle::MqttProto, Packet::Unsubscribe { filters, .. }) => {
            filters.iter().any(|f| f.as_str().starts_with("$share/")).then_some("has shared subscriptions")
        }
        _ => None,
    }
}

/// Both verdicts on one whole frame, compared.
fn compare(oracle: Oracle, frame: &[u8], theirs: Result<impl FnOnce() -> Packet, String>) {
    match (ours(frame), theirs) {
        (Ok(packet), Ok(theirs)) => match oracle {
            Oracle::Mqttbytes => assert_eq!(as_mqttbytes_sees_it(packet), theirs(), "{frame:02x?}"),
            Oracle::MqttProto => assert_eq!(packet, theirs(), "{frame:02x?}"),
        },
        (Err(_), Err(_)) => {}
        (Err(kind), Ok(_)) => {
            assert!(laxer(oracle, kind, frame).is_some(), "we refuse with {kind:?}, {oracle:?} accepts {frame:02x?}");
        }
        (Ok(packet), Err(error)) => {
            let excuse = stricter(oracle, &packet, frame);
            assert!(excuse.is_some(), "we read {packet:?}, {oracle:?} says {error} of {frame:02x?}");
        }
    }
}

fn compare_with_both(frame: &[u8]) {
    let theirs = mb::read(&mut BytesMut::from(frame), usize::MAX);
    compare(
        Oracle::Mqttbytes,
        frame,
        theirs.map(|packet| move || from_mqttbytes(packet)).map_err(|error| error.to_string()),
    );
    let theirs = match proto::Packet::decode(frame) {
        Ok(Some(packet)) => Ok(move || from_mqtt_proto(packet)),
        Ok(None) => Err(String::from("a field beyond the end of the frame")),
        Err(error) => Err(error.to_string()),
    };
    compare(Oracle::MqttProto, frame, theirs);
}

// Packets.

fn any_text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 0..12).prop_map(String::from_iter)
}

fn any_topic() -> impl Strategy<Value = Topic> {
    any_text().prop_filter_map("a topic", |text| Topic::new(&text).ok())
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![any_topic().prop_map(|topic| topic.as_str().to_owned()), Just(String::from("+"))];
    (vec(level, 1..4), any::<bool>()).prop_filter_map("a filter both know", |(mut levels, all)| {
        levels.extend(all.then(|| String::from("#")));
        TopicFilter::new(&levels.join("/")).ok().filter(|filter| !filter.as_str().starts_with("$share/"))
    })
}

fn any_qos() -> impl Strategy<Value = Qos> {
    (0..3u8).prop_map(qos)
}

fn any_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn any_connect() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![Just(Protocol::V31), Just(Protocol::V311)];
    let will = (any_topic(), vec(any::<u8>(), 0..9), any_qos(), any::<bool>());
    let login = option::of((any_text(), option::of(vec(any::<u8>(), 0..9))));
    (protocol, any::<bool>(), any::<u16>(), any_text(), option::of(will), login).prop_map(
        |(protocol, clean_session, keep_alive, client_id, will, login)| {
            let (username, password) = login.map_or((None, None), |(name, word)| (Some(name), word.map(Bytes::from)));
            let will = will.map(|(topic, message, qos, retain)| Will { topic, message: message.into(), qos, retain });
            let connect = Connect { protocol, clean_session, keep_alive, client_id, will, username, password };
            Packet::Connect(Box::new(connect))
        },
    )
}

fn any_publish() -> impl Strategy<Value = Packet> {
    (any::<bool>(), any::<bool>(), any_qos(), any_id(), any_topic(), vec(any::<u8>(), 0..200)).prop_map(
        |(dup, retain, qos, id, topic, payload)| {
            let acknowledged = qos != Qos::AtMostOnce;
            let (dup, id) = (dup && acknowledged, acknowledged.then_some(id));
            Packet::Publish(PublishPacket { dup, retain, qos, id, topic, payload: payload.into() })
        },
    )
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let codes = prop_oneof![Just(0u8), Just(1), Just(2), Just(0x80)];
    prop_oneof![
        3 => any_connect(),
        1 => (any::<bool>(), 0..=5u8).prop_map(|(session_present, code)| Packet::ConnAck { session_present, code }),
        3 => any_publish(),
        1 => any_id().prop_map(Packet::PubAck),
        1 => any_id().prop_map(Packet::PubRec),
        1 => any_id().prop_map(Packet::PubRel),
        1 => any_id().prop_map(Packet::PubComp),
        2 => (any_id(), vec((any_filter(), any_qos()), 1..4)).prop_map(|(id, filters)| Packet::Subscribe { id, filters }),
        1 => (any_id(), vec(codes, 1..4)).prop_map(|(id, codes)| Packet::SubAck { id, codes }),
        2 => (any_id(), vec(any_filter(), 1..4)).prop_map(|(id, filters)| Packet::Unsubscribe { id, filters }),
        1 => any_id().prop_map(Packet::UnsubAck),
        1 => Just(Packet::PingReq),
        1 => Just(Packet::PingResp),
        1 => Just(Packet::Disconnect),
    ]
}

/// A well-formed packet with some bytes changed, removed or added, under a remaining length that fits.
fn any_broken_frame() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop_oneof![
        3 => any::<u8>(),
        3 => prop_oneof![Just(0u8), Just(1), Just(3), Just(4), Just(5), Just(b'+'), Just(b'#'), Just(b'/'), Just(0x80)],
    ];
    let changes = vec((any::<proptest::sample::Index>(), interesting, 0..4u8), 1..4);
    (any_packet(), changes, option::weighted(0.2, any::<u8>())).prop_map(|(packet, changes, first)| {
        let bytes = written(&packet);
        let header = 1 + bytes[1..].iter().position(|b| b & 0x80 == 0).expect("a remaining length ends") + 1;
        let mut body = bytes[header..].to_vec();
        for (at, byte, how) in changes {
            let at = at.index(body.len() + 1);
            match how {
                0 if at < body.len() => drop(body.remove(at)),
                1 => body.insert(at, byte),
                _ if at < body.len() => body[at] = byte,
                _ => body.push(byte),
            }
        }
        frame(first.unwrap_or(bytes[0]), &body)
    })
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        frame.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    frame.extend_from_slice(body);
    frame
}

fn fits_mqttbytes(packet: &Packet) -> bool {
    match packet {
        Packet::Connect(connect) => {
            connect.protocol == Protocol::V311
                && connect.username.as_deref() != Some("")
                && connect.password.as_ref().is_none_or(|p| !p.is_empty() && std::str::from_utf8(p).is_ok())
        }
        _ => true,
    }
}

/// mqtt-proto 0.4 writes the failure code of a SUBACK as 3 instead of 0x80.
fn fits_mqtt_proto(packet: &Packet) -> bool {
    !matches!(packet, Packet::SubAck { codes, .. } if codes.contains(&0x80))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn mqttbytes_reads_what_we_write(packet in any_packet().prop_filter("it can say", fits_mqttbytes)) {
        let theirs = mb::read(&mut BytesMut::from(&written(&packet)[..]), usize::MAX).expect("well-formed");
        prop_assert_eq!(from_mqttbytes(theirs), packet);
    }

    #[test]
    fn we_read_what_mqttbytes_writes(packet in any_packet().prop_filter("it can say", fits_mqttbytes)) {
        let theirs = written_by_mqttbytes(&packet);
        prop_assert_eq!(&theirs, &written(&packet));
        prop_assert_eq!(ours(&theirs), Ok(packet));
    }

    #[test]
    fn mqtt_proto_reads_what_we_write(packet in any_packet()) {
        let theirs = proto::Packet::decode(&written(&packet)).expect("well-formed").expect("whole");
        prop_assert_eq!(from_mqtt_proto(theirs), packet);
    }

    #[test]
    fn we_read_what_mqtt_proto_writes(packet in any_packet().prop_filter("it can say", fits_mqtt_proto)) {
        let theirs = to_mqtt_proto(&packet).encode().expect("mqtt-proto can write it");
        prop_assert_eq!(theirs.as_ref(), &written(&packet)[..]);
        prop_assert_eq!(ours(theirs.as_ref()), Ok(packet));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn broken_packets_get_the_same_verdict(frame in any_broken_frame()) {
        compare_with_both(&frame);
    }

    #[test]
    fn arbitrary_frames_get_the_same_verdict(first in 0x10..0xF0u8, body in vec(any::<u8>(), 0..40)) {
        compare_with_both(&frame(first, &body));
    }
}

/// Without this the list of exceptions could grow stale, or the oracles could be compared with nothing.
#[test]
fn the_exceptions_are_real() {
    let mqttbytes_accepts = |frame: &[u8]| mb::read(&mut BytesMut::from(frame), usize::MAX).is_ok();
    let mqtt_proto_accepts = |frame: &[u8]| matches!(proto::Packet::decode(frame), Ok(Some(_)));
    for (frame, kind, mqttbytes, mqtt_proto) in [
        (&b"\x40\x03\0\x01\0"[..], Kind::TrailingBytes, true, true),
        (b"\x10\x0E\0\x04MQTT\x04\x40\0\0\0\0\0\0", Kind::PasswordWithoutUsername, true, true),
        (b"\x30\x02\0\0", Kind::EmptyTopic, true, true),
        (b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01\0", Kind::Nul, true, true),
        (b"\x82\x08\0\x01\0\x03+ab\0", Kind::InvalidFilter, true, true),
        (b"\xC1\x00", Kind::BadFlags, true, false),
        (b"\x20\x02\x02\0", Kind::ReservedBits, true, false),
        (b"\x40\x02\0\0", Kind::ZeroPacketId, true, false),
        (b"\xA2\x02\0\x01", Kind::NoEntries, true, false),
        (b"\x90\x02\0\x01", Kind::NoEntries, false, true),
        (b"\x30\x05\0\x03a/#", Kind::WildcardInTopic, true, false),
        (b"\x10\x0C\0\x04MQTT\x05\x02\0\0\0\0", Kind::UnsupportedProtocolLevel(5), true, false),
        (b"\x10\x0C\0\x04MQTT\x04\x22\0\0\0\0", Kind::WillFlagsWithoutWill, false, true),
    ] {
        assert_eq!(ours(frame), Err(kind), "{frame:02x?}");
        assert_eq!(mqttbytes_accepts(frame), mqttbytes, "mqttbytes: {frame:02x?}");
        assert_eq!(mqtt_proto_accepts(frame), mqtt_proto, "mqtt-proto: {frame:02x?}");
    }
    for (frame, mqttbytes, mqtt_proto) in [
        (&b"\x10\x0E\0\x06MQIsdp\x03\x02\0\0\0\0"[..], false, true),
        (b"\x10\x0E\0\x06MQIsdp\x03\xC2\0\0\0\0", false, false),
        (b"\x10\x0E\0\x06MQIsdp\x03\x03\0\0\0\0", false, false),
        (b"\x10\x12\0\x04MQTT\x04\xC2\0\0\0\0\0\x01u\0\x01\xFF", false, true),
        (b"\xA2\x0C\0\x01\0\x08$share/a", true, false),
    ] {
        assert!(ours(frame).is_ok(), "{frame:02x?}");
        assert_eq!(mqttbytes_accepts(frame), mqttbytes, "mqttbytes: {frame:02x?}");
        assert_eq!(mqtt_proto_accepts(frame), mqtt_proto, "mqtt-proto: {frame:02x?}");
    }
}
