//! Parsing and encoding allocate nothing; decoding allocates what its documentation says.

#[path = "support/allocations.rs"]
mod allocations;
mod samples;

use allocations::allocations;
use bytes::{Bytes, BytesMut};
use thingif::frame::{self, Frame};
use thingif::topic::Topic;

fn answer() -> Vec<u8> {
    let answer = samples::payload("answer-300-bytes.jsonl", "300 bytes");
    assert_eq!(answer.len(), 300);
    answer
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| Box::new(1)), 1);
    assert_eq!(allocations(|| Vec::<u8>::with_capacity(10)), 1);
    assert_eq!(allocations(|| 1), 0);
}

#[test]
fn parsing_and_looking_at_everything_allocates_nothing() {
    let answer = answer();
    let mut seen = 0;
    let count = allocations(|| {
        let frame = Frame::parse(&answer).expect("a frame");
        seen = frame.headers().map(|(name, value)| name.len() + value.len()).sum::<usize>() + frame.body().len();
        assert!(frame.header("x-kii-requestid").is_some());
    });
    assert!(seen > 200, "{seen}");
    assert_eq!(count, 0);
}

#[test]
fn no_payload_makes_parsing_allocate() {
    for file in samples::files() {
        for sample in samples::read(&file) {
            assert_eq!(
                allocations(|| Frame::parse(&sample.payload).is_ok()),
                0,
                "{} in {}",
                sample.name,
                file.display()
            );
        }
    }
}

#[test]
fn encoding_into_a_buffer_with_room_allocates_nothing() {
    let response = frame::decode_response(Bytes::from(answer())).expect("a response");
    let mut dst = BytesMut::with_capacity(1024);
    assert_eq!(allocations(|| frame::encode_response(&response, &mut dst)), 0);
    assert_eq!(dst, answer());

    let put = samples::payload("requests-canonical.jsonl", "states replaced in part");
    let topic = Topic::new("p/c/thing-if").expect("valid");
    let request = frame::decode_request(&topic, Bytes::from(put.clone())).expect("a request");
    let mut dst = BytesMut::with_capacity(1024);
    assert_eq!(allocations(|| frame::encode_request(&request, &mut dst)), 0);
    assert_eq!(dst, put);
}

#[test]
fn encoding_into_an_empty_buffer_allocates_once() {
    let response = frame::decode_response(Bytes::from(answer())).expect("a response");
    let mut dst = BytesMut::new();
    assert_eq!(allocations(|| frame::encode_response(&response, &mut dst)), 1);
}

#[test]
fn decoding_allocates_for_the_header_map_and_for_sharing_a_vec() {
    let from_vec = Bytes::from(answer());
    assert_eq!(allocations(|| frame::decode_response(from_vec).expect("a response")), 3);
    let shared = BytesMut::from(&answer()[..]).freeze();
    let _keep = shared.clone();
    assert_eq!(allocations(|| frame::decode_response(shared).expect("a response")), 2);
    let bare = Bytes::from_static(b"204\r\n\r\n");
    assert_eq!(allocations(|| frame::decode_response(bare).expect("a response")), 0);
}

#[test]
fn this_protocols_own_header_names_cost_nothing_and_others_one_allocation() {
    let map = 2;
    let own = b"200\r\nx-kii-requestid:1\r\nX-Kii-AppID:a\r\nX-KII-APPKEY:k\r\nX-MQTT-TTL:1\r\nX-HTTP-Status-Code:200\r\n\r\n";
    assert_eq!(allocations(|| frame::decode_response(Bytes::from_static(own)).expect("a response")), map);
    let other = b"200\r\nX-Unknown-Thing:1\r\n\r\n";
    assert_eq!(allocations(|| frame::decode_response(Bytes::from_static(other)).expect("a response")), map + 1);
}
