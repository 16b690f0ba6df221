//! Does one piece of work a given number of times, to be counted by callgrind: `instructions --count WORK TIMES`.
//!
//! `instructions.sh` runs it and compares. `--list` names the work. Started in any other way it does each piece once, to see
//! that it works.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use thingif::config::{Config, Identity};
use thingif::frame::{self, Frame};
use thingif::ids::AccessToken;
use thingif::mqtt::Publish;
use thingif::mqtt::packet::{self, Decoded, Decoder, Packet, Protocol};
use thingif::proto::{Action, Answer, Event, EventKind, IfDown, InFlight, Instant, Lifecycle, Limits, LinkId, Outcome};
use thingif::secret::Secret;
use thingif::thing_if::{Credential, MqttEndpoint};
use thingif::topic::Topic;

#[path = "../tests/samples/mod.rs"]
mod samples;

/// Every header field of the answer fits.
const FIELDS: usize = 16;

const PATH: &str = "/thing-if/apps/c1k9abcdef12/targets/thing:th.1/states";
const TOPIC: &str = "p/device-1/thing-if/apps/c1k9abcdef12/targets/thing:th.1/states";
const STATE: &[u8] = br#"{"power":true,"presetTemperature":25,"fanspeed":5,"currentTemperature":28}"#;

type Work = fn(&Inputs, usize);

const WORK: [(&str, Work); 11] = [
    ("frame", parse_frame),
    ("httparse", parse_headers),
    ("httparse-with-array", parse_headers_with_array),
    ("decode-response", decode_response),
    ("decode-request", decode_request),
    ("encode-response", encode_response),
    ("encode-request", encode_request),
    ("packet-decode", decode_packet),
    ("packet-encode", encode_packet),
    ("in-flight", pair_an_answer),
    ("call", call),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let inputs = Inputs::new();
    match &arguments[..] {
        [flag] if flag == "--list" => WORK.iter().for_each(|(name, _)| println!("{name}")),
        [flag, work, times] if flag == "--count" => {
            let found = WORK.iter().find(|(name, _)| name == work);
            let (_, work) = found.unwrap_or_else(|| panic!("unknown work {work:?}"));
            work(&inputs, times.parse().expect("TIMES is a number"));
        }
        _ => WORK.iter().for_each(|(_, work)| work(&inputs, 1)),
    }
}

/// Made before anything is counted.
struct Inputs {
    /// The answer of 300 bytes, as the edge writes it.
    answer: Bytes,
    /// The request that the client writes for [`request`].
    request: Bytes,
    topic: Topic,
    /// The answer in a PUBLISH.
    packet: BytesMut,
}

impl Inputs {
    fn new() -> Self {
        let answer = samples::payload("answer-300-bytes.jsonl", "300 bytes");
        let topic = Topic::new(TOPIC).expect("a topic");
        let mut request = BytesMut::new();
        frame::encode_request(&with_credential(), &mut request);
        let mut packet = BytesMut::new();
        packet::encode_publish(&topic, &answer, &mut packet).expect("it fits");
        Self { answer: answer.into(), request: request.freeze(), topic, packet }
    }

    /// The header lines of the answer.
    fn section(&self) -> &[u8] {
        &self.answer[self.answer.iter().position(|&b| b == b'\n').expect("a status line") + 1..]
    }
}

fn request() -> Request<Bytes> {
    let request = Request::put(PATH).header("Content-Type", "application/json");
    request.body(Bytes::from_static(STATE)).expect("valid")
}

/// As it leaves.
fn with_credential() -> Request<Bytes> {
    let request = Request::put(PATH)
        .header("Authorization", "Bearer 0123456789abcdef0123456789abcdef01234567")
        .header("X-Kii-RequestID", "0123456789abcdef-12345")
        .header("Content-Type", "application/json");
    request.body(Bytes::from_static(STATE)).expect("valid")
}

/// What is measured: status line, headers, body.
fn parse_frame(inputs: &Inputs, times: usize) {
    for _ in 0..times {
        let frame = Frame::parse(black_box(&inputs.answer)).expect("a frame");
        assert_eq!(black_box(&frame).header_count(), 5);
    }
}

/// The measure: `httparse` alone, its array made once and used again.
fn parse_headers(inputs: &Inputs, times: usize) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    for _ in 0..times {
        let parsed = httparse::parse_headers(black_box(inputs.section()), &mut fields).expect("headers");
        assert_eq!(black_box(parsed).unwrap().1.len(), 5);
    }
}

/// The same with a new array each time, as a parser without state has it.
fn parse_headers_with_array(inputs: &Inputs, times: usize) {
    for _ in 0..times {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let parsed = httparse::parse_headers(black_box(inputs.section()), &mut fields).expect("headers");
        assert_eq!(black_box(parsed).unwrap().1.len(), 5);
    }
}

fn decode_response(inputs: &Inputs, times: usize) {
    for _ in 0..times {
        let response = frame::decode_response(black_box(&inputs.answer).clone()).expect("an answer");
        assert_eq!(black_box(response).headers().len(), 5);
    }
}

fn decode_request(inputs: &Inputs, times: usize) {
    for _ in 0..times {
        let request = frame::decode_request(&inputs.topic, black_box(&inputs.request).clone()).expect("a request");
        assert_eq!(black_box(request).headers().len(), 3);
    }
}

/// Into a buffer that has room.
fn encode_response(inputs: &Inputs, times: usize) {
    let response: Response<Bytes> = frame::decode_response(inputs.answer.clone()).expect("an answer");
    let mut written = BytesMut::with_capacity(1024);
    for _ in 0..times {
        written.clear();
        frame::encode_response(black_box(&response), &mut written);
        assert!(black_box(&written).len() > 200);
    }
}

fn encode_request(inputs: &Inputs, times: usize) {
    let request = with_credential();
    let mut written = BytesMut::with_capacity(1024);
    for _ in 0..times {
        written.clear();
        frame::encode_request(black_box(&request), &mut written);
        assert_eq!(black_box(&written).len(), inputs.request.len());
    }
}

fn decode_packet(inputs: &Inputs, times: usize) {
    let mut decoder = Decoder::new(packet::Limits::default()).with_protocol(Protocol::V311);
    let mut input = BytesMut::new();
    for _ in 0..times {
        input.extend_from_slice(black_box(&inputs.packet));
        match decoder.decode(&mut input) {
            Ok(Some(Decoded::Packet(Packet::Publish(publish)))) => {
                assert_eq!(black_box(publish).payload.len(), inputs.answer.len());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn encode_packet(inputs: &Inputs, times: usize) {
    let mut written = BytesMut::with_capacity(1024);
    for _ in 0..times {
        written.clear();
        packet::encode_publish(black_box(&inputs.topic), black_box(&inputs.answer), &mut written).expect("it fits");
        assert_eq!(black_box(&written).len(), inputs.packet.len());
    }
}

/// A call enters the table, and its answer finds it; as one of 16 on the same topic.
fn pair_an_answer(inputs: &Inputs, times: usize) {
    let limits = Limits { in_flight: 256, quarantine: 1024, late_answer_window: Duration::from_secs(30) };
    let mut table = InFlight::new(limits, 1);
    table.open();
    let mut sent = std::collections::VecDeque::new();
    for number in 0..times as u64 + 16 {
        let deadline = Instant::from_origin(Duration::from_millis(10_000 + number));
        let mut id = None;
        let call = table.submit(inputs.topic.clone(), deadline, None, |given| {
            id = Some(given);
            Ok(Bytes::from_static(b"frame"))
        });
        assert!(matches!(table.poll_outcome(), Some(Outcome::Send { .. })));
        sent.push_back((call.expect("room"), id.expect("an id")));
        if sent.len() > 16 {
            let (call, id) = sent.pop_front().expect("seventeen");
            let answer = table.answer(black_box(&inputs.topic), Some(id.as_bytes()));
            assert_eq!(answer, Answer::For { call, callers_id: None });
        }
    }
}

/// One call through the whole machine of a device: request, frame, answer, response.
fn call(inputs: &Inputs, times: usize) {
    let mut machine = ready();
    let link = LinkId(1);
    for number in 0..times as u64 {
        let now = Instant::from_origin(Duration::from_millis(1_000 + number));
        let deadline = now + Duration::from_secs(10);
        let call = machine.submit(now, black_box(request()), deadline, IfDown::Fail).expect("taken");
        let Some(Action::Publish { publish, .. }) = machine.poll_action() else { panic!("a frame") };
        let id = frame::request_id(&publish.payload).expect("an id");
        let payload =
            [&b"200\r\nX-Kii-RequestID:"[..], id.as_bytes(), b"\r\nContent-Type:application/json\r\n\r\n", STATE];
        let answer = Publish::new(inputs.topic.clone(), Bytes::from(payload.concat()));
        machine.handle_event(now, Event { link, kind: EventKind::Received(answer) });
        match machine.poll_action() {
            Some(Action::Resolve { call: resolved, result: Ok(response) }) => {
                assert_eq!((resolved, response.status().as_u16()), (call, 200));
            }
            other => panic!("{other:?}"),
        }
        assert!(machine.poll_action().is_none());
    }
}

/// A device that has its credential and asks for no pushes, connected.
fn ready() -> Lifecycle {
    let endpoint = MqttEndpoint {
        installation_id: "i".into(),
        username: "u".into(),
        password: "p".to_owned().into(),
        mqtt_topic: "device-1".parse().expect("valid"),
        host: "broker.example".into(),
        port_tcp: Some(1883),
        port_ssl: None,
        port_ws: None,
        port_wss: None,
        ttl: None,
    };
    let credential = Credential {
        app_id: "c1k9abcdef12".parse().expect("valid"),
        thing_id: "th.1".parse().expect("valid"),
        access_token: Secret::new(AccessToken::new("0123456789abcdef0123456789abcdef01234567").expect("valid")),
        endpoint,
    };
    let identity = Identity::vendor_thing("lamp-1".parse().expect("valid"), "pw".to_owned().into());
    let broker = "mqtt://broker.example".parse().expect("an endpoint");
    let app = "c1k9abcdef12".parse().expect("valid");
    let config = Config::new(broker, app, "key".to_owned().into(), identity).expect("valid");
    let config = config.with_resume(credential).with_pushes(false);
    let mut machine = Lifecycle::new(Instant::ORIGIN, config, 1);
    machine.handle_event(Instant::ORIGIN, Event { link: LinkId(1), kind: EventKind::Connected });
    assert!(machine.is_ready());
    while machine.poll_action().is_some() {}
    machine
}
