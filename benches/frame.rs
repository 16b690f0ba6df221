//! Parse, decode and encode, beside `httparse` alone and a splitter on `str::lines` that checks nothing.

use bytes::{Bytes, BytesMut};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use thingif::frame::{self, Frame};
use thingif::topic::Topic;

#[path = "../tests/samples/mod.rs"]
mod samples;

/// File, sample, number of headers.
const INPUTS: [(&str, &str, usize); 4] = [
    ("answer-300-bytes.jsonl", "300 bytes", 5),
    ("f02-onboarding-answer.jsonl", "documented", 6),
    ("f03-put-states-lf.jsonl", "PUT states", 3),
    ("responses-strict-receivers.jsonl", "states stored", 1),
];

/// Which of [`INPUTS`]; shown as its file and sample.
#[derive(Clone, Copy)]
struct Input(usize);

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, name, _) = INPUTS[self.0];
        write!(f, "{}: {name}", file.trim_end_matches(".jsonl"))
    }
}

const ALL: [Input; 4] = [Input(0), Input(1), Input(2), Input(3)];

impl Input {
    fn payload(self) -> Vec<u8> {
        samples::payload(INPUTS[self.0].0, INPUTS[self.0].1)
    }

    fn headers(self) -> usize {
        INPUTS[self.0].2
    }

    fn is_request(self) -> bool {
        frame::is_request(&self.payload())
    }
}

fn main() {
    divan::main();
}

fn topic() -> Topic {
    Topic::new("p/someone/thing-if/apps/a/targets/thing:th.1/states").expect("a valid topic")
}

#[divan::bench(args = ALL)]
fn parse_frame(bencher: Bencher<'_, '_>, input: Input) {
    let payload = input.payload();
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        let frame = Frame::parse(black_box(&payload)).expect("a frame");
        assert_eq!(frame.header_count(), input.headers());
        frame
    });
}

/// Peer: the headers alone, without first line and body.
#[divan::bench(args = ALL)]
fn parse_httparse_alone(bencher: Bencher<'_, '_>, input: Input) {
    let payload = input.payload();
    let section = &payload[payload.iter().position(|&b| b == b'\n').expect("a first line") + 1..];
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let (length, fields) = httparse::parse_headers(black_box(section), &mut fields).expect("headers").unwrap();
        assert_eq!(fields.len(), input.headers());
        length
    });
}

/// Peer: what a short program would do.
#[divan::bench(args = ALL)]
fn parse_str_lines(bencher: Bencher<'_, '_>, input: Input) {
    let payload = input.payload();
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        let text = str::from_utf8(black_box(&payload)).expect("text");
        let mut lines = text.lines();
        let start = lines.next().expect("a first line");
        let fields = lines.by_ref().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name, black_box(value.trim()))).filter(|(name, _)| !name.is_empty());
        assert_eq!(fields.count(), input.headers());
        start.len()
    });
}

#[divan::bench(args = ALL)]
fn look_up_the_request_id(bencher: Bencher<'_, '_>, input: Input) {
    let payload = input.payload();
    let frame = Frame::parse(&payload).expect("a frame");
    let expected = frame::request_id(&payload);
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        let id = black_box(frame).header("X-Kii-RequestID");
        assert_eq!(id, expected.as_ref().map(|id| id.as_bytes()));
        id
    });
}

#[divan::bench(args = ALL)]
fn decode(bencher: Bencher<'_, '_>, input: Input) {
    let payload = Bytes::from(input.payload());
    let (topic, is_request) = (topic(), input.is_request());
    bencher.counter(BytesCount::of_slice(&payload)).with_inputs(|| payload.clone()).bench_local_values(|payload| {
        let headers = if is_request {
            frame::decode_request(&topic, payload).expect("a request").into_parts().0.headers
        } else {
            frame::decode_response(payload).expect("a response").into_parts().0.headers
        };
        assert_eq!(headers.len(), input.headers());
        headers
    });
}

#[divan::bench(args = ALL)]
fn encode(bencher: Bencher<'_, '_>, input: Input) {
    let payload = Bytes::from(input.payload());
    let mut dst = BytesMut::with_capacity(4096);
    let bencher = bencher.counter(BytesCount::of_slice(&payload));
    if input.is_request() {
        let request = frame::decode_request(&topic(), payload).expect("a request");
        bencher.bench_local(|| {
            dst.clear();
            frame::encode_request(black_box(&request), &mut dst);
            assert!(dst.ends_with(request.body()));
            dst.len()
        });
    } else {
        let response = frame::decode_response(payload.clone()).expect("a response");
        bencher.bench_local(|| {
            dst.clear();
            frame::encode_response(black_box(&response), &mut dst);
            assert_eq!(dst, payload);
            dst.len()
        });
    }
}
