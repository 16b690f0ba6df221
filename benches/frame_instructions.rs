//! Does one piece of work a given number of times, to be counted by callgrind: `frame_instructions --count WORK TIMES`.
//!
//! `frame_instructions.sh` runs it and compares. Started in any other way it does each piece once, to see that it works.

use std::hint::black_box;

use thingif::frame::Frame;

#[path = "../tests/samples/mod.rs"]
mod samples;

/// Every header field of the answer fits.
const FIELDS: usize = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let answer = samples::payload("answer-300-bytes.jsonl", "300 bytes");
    let section = &answer[answer.iter().position(|&b| b == b'\n').expect("a status line") + 1..];

    let [flag, work, times] = &arguments[..] else { return each_once(&answer, section) };
    if flag != "--count" {
        return each_once(&answer, section);
    }
    let times = times.parse().expect("TIMES is a number");
    match work.as_str() {
        "frame" => parse_frame(&answer, times),
        "httparse" => parse_headers(section, times),
        "httparse-with-array" => parse_headers_with_array(section, times),
        other => panic!("unknown work {other:?}"),
    }
}

fn each_once(answer: &[u8], section: &[u8]) {
    parse_frame(answer, 1);
    parse_headers(section, 1);
    parse_headers_with_array(section, 1);
}

/// What is measured: status line, headers, body.
fn parse_frame(answer: &[u8], times: usize) {
    for _ in 0..times {
        let frame = Frame::parse(black_box(answer)).expect("a frame");
        assert_eq!(black_box(&frame).header_count(), 5);
    }
}

/// The measure: `httparse` alone, its array made once and used again.
fn parse_headers(section: &[u8], times: usize) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    for _ in 0..times {
        let parsed = httparse::parse_headers(black_box(section), &mut fields).expect("headers");
        assert_eq!(black_box(parsed).unwrap().1.len(), 5);
    }
}

/// The same with a new array each time, as a parser without state has it.
fn parse_headers_with_array(section: &[u8], times: usize) {
    for _ in 0..times {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let parsed = httparse::parse_headers(black_box(section), &mut fields).expect("headers");
        assert_eq!(black_box(parsed).unwrap().1.len(), 5);
    }
}
