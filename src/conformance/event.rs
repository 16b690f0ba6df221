//! Packets as JSON values and back. (the chapter [`format`](super::format), "Events")

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::frame::{Frame, Start};
use crate::mqtt::Qos;
use crate::mqtt::packet::{Connect, Decoded, Packet, PacketId, Protocol, PublishPacket};
use crate::thing_if::json::to_pretty;
use crate::topic::{Topic, TopicFilter};

/// The kind of a packet and its members.
pub(super) fn of_decoded(decoded: Decoded) -> (&'static str, Value) {
    match decoded {
        Decoded::Packet(packet) => of_packet(packet),
        Decoded::Oversize(head) => ("oversize", json!({"topic": head.topic.as_str(), "length": head.len})),
    }
}

fn of_packet(packet: Packet) -> (&'static str, Value) {
    match packet {
        Packet::Connect(connect) => ("connect", of_connect(&connect)),
        Packet::ConnAck { session_present, code } => {
            ("connack", json!({"code": code, "session_present": session_present}))
        }
        Packet::Publish(publish) => ("publish", of_publish(&publish)),
        Packet::PubAck(id) => ("puback", json!({"id": id})),
        Packet::PubRec(id) => ("pubrec", json!({"id": id})),
        Packet::PubRel(id) => ("pubrel", json!({"id": id})),
        Packet::PubComp(id) => ("pubcomp", json!({"id": id})),
        Packet::Subscribe { id, filters } => {
            let qos: Vec<_> = filters.iter().map(|(_, qos)| *qos as u8).collect();
            let filters: Vec<_> = filters.iter().map(|(filter, _)| filter.as_str()).collect();
            ("subscribe", json!({"id": id, "filters": filters, "qos": qos}))
        }
        Packet::SubAck { id, codes } => ("suback", json!({"id": id, "codes": codes})),
        Packet::Unsubscribe { id, filters } => {
            let filters: Vec<_> = filters.iter().map(TopicFilter::as_str).collect();
            ("unsubscribe", json!({"id": id, "filters": filters}))
        }
        Packet::UnsubAck(id) => ("unsuback", json!({"id": id})),
        Packet::PingReq => ("pingreq", json!({})),
        Packet::PingResp => ("pingresp", json!({})),
        Packet::Disconnect => ("disconnect", json!({})),
    }
}

fn of_connect(connect: &Connect) -> Value {
    json!({
        "version": match connect.protocol { Protocol::V31 => "3.1", Protocol::V311 => "3.1.1" },
        "client_id": connect.client_id,
        "username": connect.username,
        "password": connect.password.as_ref().map(|password| String::from_utf8_lossy(password)),
        "keep_alive": connect.keep_alive,
        "clean": connect.clean_session,
        "will": connect.will.is_some(),
    })
}

fn of_publish(publish: &PublishPacket) -> Value {
    let payload = &publish.payload[..];
    let mut members = json!({
        "topic": publish.topic.as_str(),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "dup": publish.dup,
        "id": publish.id,
        "length": payload.len(),
        "payload": String::from_utf8_lossy(payload),
    });
    if std::str::from_utf8(payload).is_err() {
        members["hex"] = payload
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
            .into();
    }
    if let Ok(frame) = Frame::parse(payload) {
        members["frame"] = of_frame(&frame);
    } else if let Ok(json) = serde_json::from_slice::<Value>(payload) {
        members["json"] = json;
    }
    members
}

fn of_frame(frame: &Frame<'_>) -> Value {
    let headers: Map<_, _> = frame
        .headers()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into()))
        .collect();
    let names: Vec<_> = frame.headers().map(|(name, _)| name).collect();
    let mut members = json!({"headers": headers, "names": names, "body": String::from_utf8_lossy(frame.body())});
    match frame.start() {
        Start::Response { status } => members["status"] = status.as_u16().into(),
        start => members["verb"] = start.method().map_or_else(String::new, |method| method.to_string()).into(),
    }
    if let Ok(json) = serde_json::from_slice::<Value>(frame.body()) {
        members["json"] = json;
    }
    members
}

/// The packet of that kind with these members.
///
/// # Errors
/// What is missing or cannot be.
pub(super) fn to_packet(kind: &str, members: &Map<String, Value>) -> Result<Packet, String> {
    let from = Members(members);
    Ok(match kind {
        "connect" => Packet::Connect(Box::new(to_connect(&from)?)),
        "connack" => Packet::ConnAck { session_present: from.flag("session_present"), code: from.byte("code")? },
        "publish" => Packet::Publish(to_publish(&from)?),
        "puback" => Packet::PubAck(from.id()?),
        "pubrec" => Packet::PubRec(from.id()?),
        "pubrel" => Packet::PubRel(from.id()?),
        "pubcomp" => Packet::PubComp(from.id()?),
        "subscribe" => {
            let qos = qos(from.byte("qos")?)?;
            Packet::Subscribe {
                id: from.id()?,
                filters: from.filters()?.into_iter().map(|filter| (filter, qos)).collect(),
            }
        }
        "suback" => {
            let codes = from.list("codes")?.iter().map(|code| code.as_u64().and_then(|code| u8::try_from(code).ok()));
            Packet::SubAck { id: from.id()?, codes: codes.collect::<Option<_>>().ok_or("codes are bytes")? }
        }
        "unsubscribe" => Packet::Unsubscribe { id: from.id()?, filters: from.filters()? },
        "unsuback" => Packet::UnsubAck(from.id()?),
        "pingreq" => Packet::PingReq,
        "pingresp" => Packet::PingResp,
        "disconnect" => Packet::Disconnect,
        other => return Err(format!("there is no packet {other}")),
    })
}

fn to_connect(from: &Members<'_>) -> Result<Connect, String> {
    Ok(Connect {
        protocol: match from.text("version").unwrap_or("3.1.1") {
            "3.1" => Protocol::V31,
            "3.1.1" => Protocol::V311,
            other => return Err(format!("there is no MQTT {other} here")),
        },
        clean_session: from.0.get("clean").and_then(Value::as_bool).unwrap_or(true),
        keep_alive: from.number("keep_alive").unwrap_or(60),
        client_id: from.text("client_id").unwrap_or_default().to_owned(),
        will: None,
        username: from.text("username").map(str::to_owned),
        password: from.text("password").map(|password| Bytes::from(password.to_owned())),
    })
}

fn to_publish(from: &Members<'_>) -> Result<PublishPacket, String> {
    let qos = qos(from.byte("qos")?)?;
    Ok(PublishPacket {
        dup: from.flag("dup"),
        retain: from.flag("retain"),
        qos,
        id: if qos == Qos::AtMostOnce { None } else { Some(from.id()?) },
        topic: Topic::new(from.text("topic").ok_or("a publish has a topic")?).map_err(|error| error.to_string())?,
        payload: bytes(from.0.get("payload").unwrap_or(&Value::Null))?.into(),
    })
}

/// More is not sent at once.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes as samples write them: a text, `{"hex": …}`, `{"repeat": …, "times": n}`, or a list of these.
pub(super) fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Array(parts) => Ok(parts.iter().map(bytes).collect::<Result<Vec<_>, _>>()?.concat()),
        Value::Object(members) => {
            let from = Members(members);
            match (from.text("hex"), from.text("repeat")) {
                (Some(hex), None) => unhex(hex).ok_or_else(|| format!("{hex:?} is not hexadecimal")),
                (None, Some(text)) => {
                    let times =
                        members.get("times").and_then(Value::as_u64).and_then(|times| usize::try_from(times).ok());
                    let times = times.ok_or("repeat needs times")?;
                    match text.len().checked_mul(times) {
                        Some(length) if length <= MAX_BYTES => Ok(text.repeat(times).into_bytes()),
                        _ => Err(format!("more than {MAX_BYTES} bytes")),
                    }
                }
                _ => Err(String::from("bytes are a text, hex, repeat and times, or a list of these")),
            }
        }
        other => Ok(other.to_string().into_bytes()),
    }
}

/// An answer in the service's dialect. (`wire` §2.2)
pub(super) fn answer(status: u16, headers: &[(&str, String)], body: Option<&Value>) -> String {
    let mut payload = format!("{status}\r\n");
    if body.is_some_and(|body| !body.is_string()) {
        payload.push_str("Content-Type:application/json\r\n");
    }
    for (name, value) in headers {
        let _ = write!(payload, "{name}:{value}\r\n");
    }
    payload.push_str("\r\n");
    match body {
        None => {}
        Some(Value::String(text)) => payload.push_str(text),
        Some(body) => payload.push_str(&String::from_utf8_lossy(&to_pretty(body))),
    }
    payload
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn qos(level: u8) -> Result<Qos, String> {
    match level {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        other => Err(format!("there is no QoS {other}")),
    }
}

struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn number(&self, name: &str) -> Option<u16> {
        self.0.get(name)?.as_u64().and_then(|number| number.try_into().ok())
    }

    fn byte(&self, name: &str) -> Result<u8, String> {
        self.number(name).unwrap_or(0).try_into().map_err(|_| format!("{name} is not a byte"))
    }

    fn id(&self) -> Result<PacketId, String> {
        self.number("id").and_then(PacketId::new).ok_or_else(|| String::from("id is not a packet identifier"))
    }

    fn list(&self, name: &str) -> Result<&'a [Value], String> {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| format!("{name} is not a list"))
    }

    fn filters(&self) -> Result<Vec<TopicFilter>, String> {
        let filter = |value: &Value| TopicFilter::new(value.as_str().unwrap_or_default()).map_err(|e| e.to_string());
        self.list("filters")?.iter().map(filter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_comes_back_from_its_members() {
        for (kind, members) in [
            (
                "connect",
                json!({"version": "3.1", "client_id": "c", "username": "u", "password": "p", "keep_alive": 7, "clean": true, "will": false}),
            ),
            ("connack", json!({"code": 5, "session_present": false})),
            ("puback", json!({"id": 1})),
            ("pubrec", json!({"id": 1})),
            ("pubrel", json!({"id": 1})),
            ("pubcomp", json!({"id": 1})),
            ("suback", json!({"id": 1, "codes": [0, 128]})),
            ("unsubscribe", json!({"id": 1, "filters": ["a/#"]})),
            ("unsuback", json!({"id": 1})),
            ("pingreq", json!({})),
            ("pingresp", json!({})),
            ("disconnect", json!({})),
        ] {
            let packet = to_packet(kind, members.as_object().expect("an object")).expect(kind);
            assert_eq!(of_packet(packet), (kind, members));
        }
        to_packet("auth", &Map::new()).expect_err("MQTT 5");
        to_packet("puback", &Map::new()).expect_err("no id");
        bytes(&json!({"repeat": "xx", "times": u64::MAX})).expect_err("more than there is");
        assert_eq!(bytes(&json!({"repeat": "", "times": u64::MAX})), Ok(Vec::new()));
    }

    #[test]
    fn a_publish_shows_its_frame_or_its_json() {
        let publish = |payload: Value| {
            let members = json!({"topic": "p/c/x", "payload": payload});
            of_packet(to_packet("publish", members.as_object().expect("an object")).expect("valid")).1
        };
        let answer = publish(json!("200\r\nX-Kii-RequestID:7\r\n\r\n{\"a\":1}"));
        assert_eq!(answer["frame"]["status"], 200);
        assert_eq!(answer["frame"]["headers"], json!({"x-kii-requestid": "7"}));
        assert_eq!(answer["frame"]["json"], json!({"a": 1}));
        assert_eq!(publish(json!("put\n\n"))["frame"]["verb"], "PUT");
        assert_eq!(publish(json!("{\"a\":1}"))["json"]["a"], 1);
        assert_eq!(publish(json!([{"hex": "00ff"}, {"repeat": "x", "times": 2}]))["hex"], "00ff7878");
    }
}
