//! Does one piece of work a given number of times, to be counted by callgrind: `frame_instructions WORK TIMES`.
//!
//! `frame_instructions.sh` runs it and compares. Without arguments each piece is done once, which checks that it works.

use std::hint::black_box;

use thingif::frame::Frame;

#[path = "../tests/samples/mod.rs"]
mod samples;

/// Every header field of the answer fits.
const FIELDS: usize = 16;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let work = arguments.next();
    let times = arguments.next().map_or(1, |n| n.parse().expect("a number"));
    let answer = samples::payload("answer-300-bytes.jsonl", "300 bytes");
    let section = &answer[answer.iter().position(|&b| b == b'\n').expect("a status line") + 1..];

    match work.as_deref() {
        Some("frame") => parse_frame(&answer, times),
        Some("httparse") => parse_headers(section, times),
        Some("httparse-with-array") => parse_headers_with_array(section, times),
        Some(other) => panic!("unknown work {other:?}"),
        None => {
            parse_frame(&answer, 1);
            parse_headers(section, 1);
            parse_headers_with_array(section, 1);
        }
    }
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
