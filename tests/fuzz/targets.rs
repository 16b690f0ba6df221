//! What reads, and what must hold of it whatever it is given. A target panics when something does not hold.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thingif::capture;
use thingif::frame::{self, Frame};
use thingif::ids::{AppId, ClientId};
use thingif::mqtt::packet::{self, Connect, Decoded, Decoder, Limits, Packet, Protocol};
use thingif::thing_if::{
    ActionResultsUpdate, BucketEvent, Command, CommandPush, CommandRequest, Commands, Credential, ErrorBody,
    InstallationRequest, InvalidBody, MqttEndpoint, OnboardingAnswer, OnboardingRequest, Push, TriggerPatch,
    TriggerRequest,
};
use thingif::topic::{Route, Topic, TopicFilter};

use crate::Target;
use crate::naive::{self, NaiveStart};
use crate::spans;

/// A text that stands in the corpus where secrets stand; no error may repeat it.
const SECRET: &str = "s3cr3t";

const ONBOARDINGS: &[&str] = &[
    "application/vnd.kii.OnboardingWithVendorThingIDByThing+json",
    "application/vnd.kii.OnboardingWithThingIDByThing+json",
    "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json",
    "application/vnd.kii.OnboardingWithThingIDByOwner+json",
    "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json",
    "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json",
];

pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("bodies", bodies),
    ("capture", captures),
    ("frame", frames),
    ("onboarding", onboardings),
    ("packet", packets),
    #[cfg(feature = "pcap")]
    ("pcap", pcaps),
    ("push", pushes),
    ("topic", topics),
];

type Accepts = fn(&[u8]) -> bool;

/// Whether an input is read to its end.
pub(crate) const ACCEPTS: &[(&str, Accepts)] = &[
    ("frame", |input| Frame::parse(input).is_ok()),
    ("onboarding", |input| {
        let requested = |media_type: &&str| OnboardingRequest::from_body(media_type.as_bytes(), input).is_ok();
        OnboardingAnswer::from_json(input).is_ok() || ONBOARDINGS.iter().any(requested)
    }),
    ("packet", |input| matches!(Decoder::new(limits()).decode(&mut BytesMut::from(input)), Ok(Some(_)))),
    #[cfg(feature = "pcap")]
    ("pcap", |input| {
        capture::pcap::Import::new(input, pcap_ports())
            .is_ok_and(|import| import.filter(|found| matches!(found, Ok(capture::pcap::Found::Entry(_)))).count() >= 4)
    }),
    ("push", |input| Push::from_json(input).is_ok()),
    ("topic", |input| Topic::from_bytes(input).is_ok()),
];

/// An error names a place or a field, never what stood there if that was a secret.
fn says_nothing_secret(error: &impl std::error::Error) {
    let mut said = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(!said.contains(SECRET), "{said}");
}

/// Against the naive reader, which was written from the grammar alone.
fn frames(input: &[u8]) {
    let topic = Topic::new("p/c/thing-if/apps/a").expect("valid");
    let parsed = Frame::parse(input);
    let read = naive::read(input);
    let request = frame::decode_request(&topic, Bytes::copy_from_slice(input));
    let response = frame::decode_response(Bytes::copy_from_slice(input));
    let id = frame::request_id(input);
    // Also of what is no frame: half an id would be another one.
    let ends_a_line =
        |id: &HeaderValue| input.split(|&b| b == b'\n').any(|line| line.trim_ascii().ends_with(id.as_bytes()));
    assert!(id.as_ref().is_none_or(ends_a_line), "{id:?}");
    let (frame, read) = match (parsed, read) {
        (Err(error), None) => {
            assert!(error.offset() <= input.len(), "{error}");
            says_nothing_secret(&error);
            assert!(request.is_err() && response.is_err());
            return;
        }
        (Ok(frame), Some(read)) => (frame, read),
        (parsed, read) => panic!("{parsed:?} but {read:?}"),
    };
    let headers: Vec<_> = frame.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    assert_eq!(headers, read.headers);
    assert_eq!(frame.body(), read.body);
    // Of so many bytes it cannot tell whether they are all: a line that they end in may go on.
    if input.len() != frame::MAX_HEAD_LEN || input.ends_with(b"\n") {
        assert_eq!(id.as_ref().map(|id| id.as_bytes()), frame.header("x-kii-requestid"));
    }
    assert!(headers.len() <= frame::MAX_HEADERS && input.len() - frame.body().len() <= frame::MAX_HEAD_LEN);
    // What was read is written in one dialect, and read back as the same.
    let mut written = BytesMut::new();
    match read.start {
        NaiveStart::Verb(_) => {
            let request = request.expect("a request");
            frame::encode_request(&request, &mut written);
            let again = frame::decode_request(&topic, written.freeze());
            if let Ok(again) = again {
                assert_eq!(
                    (again.method(), again.uri(), again.body()),
                    (request.method(), request.uri(), request.body())
                );
                assert_eq!(again.headers(), request.headers());
            } else {
                // Only a head that grows beyond its bound when it is written: `a:b` becomes `A: b`.
                assert!(input.len() - frame.body().len() > frame::MAX_HEAD_LEN / 2, "{again:?}");
            }
        }
        NaiveStart::Status(_) => {
            let response = response.expect("a response");
            frame::encode_response(&response, &mut written);
            let again = frame::decode_response(written.freeze());
            if let Ok(again) = again {
                assert_eq!((again.status(), again.body()), (response.status(), response.body()));
                assert_eq!(again.headers(), response.headers());
            } else {
                assert!(input.len() - frame.body().len() > frame::MAX_HEAD_LEN / 2, "{again:?}");
            }
        }
    }
}

fn topics(input: &[u8]) {
    let own = ClientId::new("AbCdEfGhIjKlMnOpQrStUvW").expect("valid");
    match Topic::from_bytes(input) {
        Ok(topic) => {
            assert_eq!(topic.as_str().as_bytes(), input);
            assert_eq!(Topic::new(topic.as_str()), Ok(topic.clone()));
            let filter = TopicFilter::new(topic.as_str()).expect("a topic is a filter");
            assert!(filter.matches(&topic) || topic.as_str().starts_with('$'));
            match topic.route(&own) {
                Route::Push => assert_eq!(topic.as_str(), own.as_str()),
                Route::Response => assert!(topic.as_str().starts_with("p/")),
                Route::Foreign => {}
            }
            if let Some(path) = topic.path_of_call(&own) {
                assert!(path.starts_with('/') && topic.path_of_any_call() == Some(path));
                assert_eq!(Topic::for_call(&own, path).as_ref(), Ok(&topic), "{path:?}");
            }
        }
        Err(error) => says_nothing_secret(&error),
    }
    if let Ok(text) = std::str::from_utf8(input) {
        match TopicFilter::new(text) {
            Ok(filter) => assert!(filter.as_str() == text && is_filter(text)),
            Err(error) => {
                says_nothing_secret(&error);
                assert!(!is_filter(text), "{text:?}");
            }
        }
        let fits = text.len() < 20_000 && text.starts_with('/') && !text.contains('\0');
        assert!(!fits || Topic::for_call(&own, text).is_ok(), "{text:?}");
        if let Ok(topic) = Topic::for_call(&own, text) {
            assert!(!topic.as_str().contains(['+', '#', '\0']), "{topic}");
            assert_eq!(topic.route(&own), Route::Response);
        }
    }
}

/// However the bytes are cut, the same packets; what is written again is read as the same.
fn packets(input: &[u8]) {
    let mut whole = Vec::new();
    let end = drain(&mut Decoder::new(limits()), &mut BytesMut::from(input), &mut whole);
    let (mut decoder, mut buffer, mut pieces) = (Decoder::new(limits()), BytesMut::new(), Vec::new());
    let mut rng = fastrand::Rng::with_seed(input.len() as u64);
    let (mut rest, mut cut_end) = (input, Ok(()));
    while !rest.is_empty() && cut_end.is_ok() {
        let longest = rng.usize(1..=64).min(rest.len());
        let (piece, after) = rest.split_at(rng.usize(1..=longest));
        buffer.extend_from_slice(piece);
        cut_end = drain(&mut decoder, &mut buffer, &mut pieces);
        rest = after;
    }
    assert_eq!(pieces, whole);
    assert_eq!(cut_end, end);
    for (decoded, (kind, remaining)) in whole.into_iter().zip(spans::packets(input)) {
        assert_eq!(matches!(decoded, Decoded::Oversize(_) | Decoded::Packet(Packet::Publish(_))), kind == 3);
        match &decoded {
            Decoded::Packet(Packet::Publish(publish)) => {
                let id = if publish.id.is_some() { 2 } else { 0 };
                assert_eq!(2 + publish.topic.as_str().len() + id + publish.payload.len(), remaining);
            }
            Decoded::Oversize(oversize) => {
                let id = if oversize.id.is_some() { 2 } else { 0 };
                assert_eq!(2 + oversize.topic.as_str().len() + id + oversize.len, remaining);
            }
            Decoded::Packet(Packet::Connect(connect)) => assert!(texts(connect).all(|text| !text.contains('\0'))),
            _ => assert!(remaining <= limits().max_control),
        }
        let Decoded::Packet(packet) = decoded else { continue };
        for protocol in [Protocol::V31, Protocol::V311] {
            let mut written = BytesMut::new();
            if packet::encode(&packet, protocol, &mut written).is_ok() {
                let again = Decoder::new(limits()).with_protocol(protocol).decode(&mut written);
                if protocol == Protocol::V311 {
                    assert_eq!(again, Ok(Some(Decoded::Packet(packet.clone()))));
                }
            }
        }
    }
}

/// As MQTT 3.1.1 §4.7.1 has it.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let is_good = |(index, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => index + 1 == levels.len(),
        level => !level.contains(['+', '#']),
    };
    (1..=65_535).contains(&text.len()) && !text.contains('\0') && levels.iter().enumerate().all(is_good)
}

fn texts(connect: &Connect) -> impl Iterator<Item = &str> {
    let will = connect.will.as_ref().map(|will| will.topic.as_str());
    [Some(connect.client_id.as_str()), connect.username.as_deref(), will].into_iter().flatten()
}

/// Small ones, so that the bounds are met.
fn limits() -> Limits {
    Limits { max_frame: 512, keep: 64, max_skip: 2_048, max_control: 256 }
}

fn drain(decoder: &mut Decoder, buffer: &mut BytesMut, into: &mut Vec<Decoded>) -> Result<(), packet::PacketError> {
    loop {
        match decoder.decode(buffer) {
            Ok(Some(decoded)) => into.push(decoded),
            Ok(None) => return Ok(()),
            Err(error) => {
                says_nothing_secret(&error);
                return Err(error);
            }
        }
    }
}

fn captures(input: &[u8]) {
    let mut reader = match capture::Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(error.line() >= 1);
            return;
        }
    };
    let (header, mut last_line) = (reader.header().clone(), 0);
    let mut entries = Vec::new();
    for read in &mut reader {
        match read {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                assert!(error.line() > last_line, "{error}");
                last_line = error.line();
            }
        }
    }
    let mut writer = capture::Writer::danger_with_secrets(Vec::new(), &header).expect("memory");
    entries.iter().for_each(|entry| writer.write(entry).expect("memory"));
    let written = writer.into_inner();
    let again = capture::Reader::new(written.as_slice()).expect("our own");
    let again: Vec<capture::Entry> = again.map(|entry| entry.expect("our own")).collect();
    let at = |entry: &capture::Entry| capture::Entry {
        // Captures count in whole microseconds.
        at: std::time::Duration::from_micros(u64::try_from(entry.at.as_micros()).unwrap_or(u64::MAX)),
        ..entry.clone()
    };
    assert_eq!(again, entries.iter().map(at).collect::<Vec<_>>());
}

#[cfg(feature = "pcap")]
fn pcap_ports() -> capture::pcap::Ports {
    capture::pcap::Ports { mqtt: vec![1883], websocket: vec![12_470] }
}

/// Whatever a file holds, what is found in it is no more than it has, and can be written and read again.
#[cfg(feature = "pcap")]
fn pcaps(input: &[u8]) {
    use capture::pcap::{Found, Import};
    let mut import = match Import::new(input, pcap_ports()) {
        Ok(import) => import,
        Err(error) => return says_nothing_secret(&error),
    };
    let mut writer = capture::Writer::danger_with_secrets(Vec::new(), &capture::Header::new("")).expect("memory");
    let (mut entries, mut payloads, mut failed, mut last) = (0, 0, false, std::time::Duration::ZERO);
    for found in &mut import {
        assert!(!failed, "nothing follows an error");
        match found {
            Ok(Found::Entry(entry)) => {
                assert!(entry.at >= last && entry.link >= 1);
                last = entry.at;
                entries += 1;
                if let capture::Event::Publish(publish) | capture::Event::Received(publish) = &entry.event {
                    payloads += publish.payload.len();
                }
                writer.write(&entry).expect("memory");
            }
            Ok(Found::Remark(remark)) => assert!(remark.link >= 1 && !remark.to_string().contains(SECRET)),
            Ok(_) => {}
            Err(error) => {
                says_nothing_secret(&error);
                failed = true;
            }
        }
    }
    let counts = import.counts();
    assert!(counts.segments <= counts.packets && counts.connections <= counts.segments);
    assert!(payloads <= input.len() && entries <= input.len());
    let written = writer.into_inner();
    let again = capture::Reader::new(written.as_slice()).expect("our own");
    let again: Result<Vec<_>, _> = again.collect();
    assert_eq!(again.expect("our own").len(), entries);
}

fn onboardings(input: &[u8]) {
    let app = AppId::new("app").expect("valid");
    match OnboardingAnswer::from_json(input) {
        Ok(answer) => {
            let body = answer.to_body_exposed();
            assert_eq!(OnboardingAnswer::from_json(&body).expect("our own").to_body_exposed(), body);
            let stored = answer.into_credential(app).to_json_exposed();
            assert_eq!(Credential::from_json(&stored).expect("our own").to_json_exposed(), stored);
        }
        Err(error) => says_nothing_secret(&error),
    }
    if let Err(error) = Credential::from_json(input) {
        says_nothing_secret(&error);
    }
    if let Err(error) = MqttEndpoint::from_json(input) {
        says_nothing_secret(&error);
    }
    for content_type in ONBOARDINGS {
        match OnboardingRequest::from_body(content_type.as_bytes(), input) {
            Ok(request) => {
                let body = request.to_json_exposed().to_string();
                let again = OnboardingRequest::from_body(request.media_type().as_bytes(), body.as_bytes());
                assert_eq!(again.expect("our own").to_json_exposed().to_string(), body);
            }
            Err(error) => says_nothing_secret(&error),
        }
    }
}

fn pushes(input: &[u8]) {
    if let Err(error) = Push::from_json(input) {
        says_nothing_secret(&error);
    }
    stable(input, CommandPush::from_json);
}

fn bodies(input: &[u8]) {
    stable(input, ErrorBody::from_json);
    stable(input, ActionResultsUpdate::from_json);
    stable(input, InstallationRequest::from_json);
    if let Err(error) = TriggerRequest::from_json(input) {
        says_nothing_secret(&error);
    }
    if let Err(error) = TriggerPatch::from_json(input) {
        says_nothing_secret(&error);
    }
    stable(input, |input| serde_json::from_slice::<Command>(input));
    stable(input, |input| serde_json::from_slice::<Commands>(input));
    stable(input, |input| serde_json::from_slice::<BucketEvent>(input));
    for content_type in ["application/json", "application/vnd.kii.CommandCreationRequest+json"] {
        if let Err(error) = CommandRequest::from_body(content_type.as_bytes(), input) {
            let _: &InvalidBody = &error;
            says_nothing_secret(&error);
        }
    }
}

/// What is read is written, and read back as the same.
fn stable<T, E>(input: &[u8], read: impl Fn(&[u8]) -> Result<T, E>)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    E: std::fmt::Debug,
{
    if let Ok(value) = read(input) {
        let written = serde_json::to_vec(&value).expect("JSON");
        assert_eq!(read(&written).expect("our own"), value, "{}", String::from_utf8_lossy(&written));
    }
}
