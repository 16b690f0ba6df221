//! One test per file of `proto-samples/frames`: every payload is read as the file says, or refused where it says.

mod naive;
mod samples;

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use libtest_mimic::{Arguments, Trial};
use naive::NaiveStart;
use samples::{Meaning, Sample, Start};
use thingif::frame::{self, Frame, FrameError};
use thingif::topic::Topic;

fn main() {
    let arguments = Arguments::from_args();
    let trials = samples::files().into_iter().map(|file| {
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        Trial::test(name, move || {
            check_file(&file);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn check_file(file: &Path) {
    for sample in samples::read(file) {
        let name = sample.name.clone();
        if let Err(panic) = std::panic::catch_unwind(|| check(&sample)) {
            eprintln!("in sample {name:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn check(sample: &Sample) {
    let found = frame::request_id(&sample.payload);
    assert_eq!(found.as_ref().map(|id| id.as_bytes()), sample.request_id.as_deref(), "request id");
    match &sample.meaning {
        Meaning::Refused { kind, offset } => check_refused(sample, kind, *offset),
        Meaning::Accepted { start, headers, body } => check_accepted(sample, start, headers, body),
    }
}

fn check_refused(sample: &Sample, kind: &str, offset: usize) {
    let error = Frame::parse(&sample.payload).expect_err("parse refuses it");
    assert_eq!((kebab(error).as_str(), error.offset()), (kind, offset), "{error}");
    assert!(error.to_string().contains(&format!("byte {offset}")), "{error}");
    assert_eq!(naive::read(&sample.payload), None, "the naive reader refuses it");
    let payload = Bytes::from(sample.payload.clone());
    assert_eq!(frame::decode_response(payload.clone()).expect_err("refused"), error);
    assert_eq!(frame::decode_request(&topic(sample), payload).expect_err("refused"), error);
}

fn check_accepted(sample: &Sample, start: &Start, headers: &[(String, Vec<u8>)], body: &[u8]) {
    let frame = Frame::parse(&sample.payload).expect("parse accepts it");
    let seen: Vec<_> = frame.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    assert_eq!(seen, headers);
    assert_eq!(frame.header_count(), headers.len());
    assert_eq!(frame.body(), body);
    for (name, _) in headers {
        let last = headers.iter().rfind(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..]);
        assert_eq!(frame.header(&name.to_uppercase()), last, "{name}");
    }
    assert_eq!(frame.header("X-Not-There"), None);

    let naive = naive::read(&sample.payload).expect("the naive reader accepts it");
    assert_eq!((&naive.headers[..], &naive.body[..]), (headers, body), "the naive reader agrees");

    let payload = Bytes::from(sample.payload.clone());
    let mut again = BytesMut::new();
    match start {
        Start::Verb(verb) => {
            assert_eq!(naive.start, NaiveStart::Verb(verb.clone()));
            assert_eq!(frame.start().method().expect("a request").as_str(), verb);
            assert!(frame::is_request(&sample.payload));
            frame::decode_response(payload.clone()).expect_err("a request is no response");

            let request = frame::decode_request(&topic(sample), payload).expect("decode accepts it");
            check_request(sample, &request, verb, headers, body);
            frame::encode_request(&request, &mut again);
            let second = frame::decode_request(&topic(sample), again.clone().freeze()).expect("our own bytes are read");
            check_request(sample, &second, verb, headers, body);
        }
        Start::Status(status) => {
            assert_eq!(naive.start, NaiveStart::Status(*status));
            let code = http::StatusCode::from_u16(*status).expect("a status code");
            assert_eq!(frame.start(), frame::Start::Response { status: code });
            assert!(!frame::is_request(&sample.payload));
            frame::decode_request(&topic(sample), payload.clone()).expect_err("a response is no request");

            let response = frame::decode_response(payload).expect("decode accepts it");
            check_response(sample, &response, *status, headers, body);
            frame::encode_response(&response, &mut again);
            let second = frame::decode_response(again.clone().freeze()).expect("our own bytes are read");
            check_response(sample, &second, *status, headers, body);
        }
    }
    if sample.canonical {
        assert_eq!(again.escape_ascii().to_string(), sample.payload.escape_ascii().to_string(), "byte for byte");
    }
}

fn check_request(sample: &Sample, request: &Request<Bytes>, verb: &str, headers: &[(String, Vec<u8>)], body: &[u8]) {
    assert_eq!(request.method().as_str(), verb);
    let path = topic(sample).path_of_any_call().expect("a call's topic").to_owned();
    assert_eq!(request.uri().to_string(), path);
    check_headers(sample, request.headers(), headers);
    assert_eq!(request.body(), body);
}

fn check_response(
    sample: &Sample,
    response: &Response<Bytes>,
    status: u16,
    headers: &[(String, Vec<u8>)],
    body: &[u8],
) {
    assert_eq!(response.status().as_u16(), status);
    check_headers(sample, response.headers(), headers);
    assert_eq!(response.body(), body);
}

/// Of each name the last value, without those that the sample says are dropped; nothing else.
fn check_headers(sample: &Sample, seen: &HeaderMap, headers: &[(String, Vec<u8>)]) {
    let kept = |name: &str| !sample.dropped.iter().any(|d| d.eq_ignore_ascii_case(name));
    let mut expected: Vec<(String, &[u8])> = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| kept(name)) {
        let name = name.to_lowercase();
        match expected.iter_mut().find(|(n, _)| *n == name) {
            Some((_, earlier)) => *earlier = value,
            None => expected.push((name, value)),
        }
    }
    let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes())).collect();
    assert_eq!(seen, expected);
}

/// The sample's topic; requests that do not care get one.
fn topic(sample: &Sample) -> Topic {
    Topic::new(sample.topic.as_deref().unwrap_or("p/someone/thing-if")).expect("a valid topic")
}

/// `HeaderName` as `header-name`.
fn kebab(error: FrameError) -> String {
    let mut kebab = String::new();
    for c in format!("{:?}", error.kind()).chars() {
        if c.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}
