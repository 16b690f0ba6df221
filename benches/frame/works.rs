//! Every piece of work on one input: the codec's, and its peers'.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use httparse::EMPTY_HEADER;
use thingif::frame::{self, Frame};

use super::allocations::allocations as allocated;
use super::inputs::{Input, Message};
use super::measure::meter::Meter;
use super::peers;

pub(crate) const PARSE: &str = "parse";
pub(crate) const HTTPARSE: &str = "httparse";
pub(crate) const LINES: &str = "lines, copy";
pub(crate) const STR_LINES: &str = "str::lines";
pub(crate) const DECODE: &str = "decode";
pub(crate) const DECODE_BY_HAND: &str = "by hand";
pub(crate) const ENCODE: &str = "encode";
pub(crate) const PUT_SLICE: &str = "put_slice";
pub(crate) const PUT_SPELLED: &str = "spelled";
pub(crate) const MEMCPY: &str = "memcpy";

/// In the order in which they are shown.
pub(crate) const ALL: [&str; 10] =
    [PARSE, HTTPARSE, STR_LINES, LINES, DECODE, DECODE_BY_HAND, ENCODE, PUT_SLICE, PUT_SPELLED, MEMCPY];

/// What each work cost; those that an input does not have are missing.
pub(crate) type Costs = Vec<(&'static str, f64)>;

pub(crate) fn measure(input: &Input, meter: &mut impl Meter) -> Costs {
    let mut costs = parse(input, meter);
    if let Some(message) = &input.message {
        decode(input, message, meter, &mut costs);
        encode(message, meter, &mut costs);
    }
    costs
}

fn parse(input: &Input, meter: &mut impl Meter) -> Costs {
    let payload = &input.payload[..];
    let mut costs = vec![(PARSE, meter.measure(|| Frame::parse(black_box(payload)).is_ok()))];
    let section = memchr::memchr(b'\n', payload).map_or(&[][..], |end| &payload[end + 1..]);
    let fields = input.message.as_ref().map_or(0, |_| Frame::parse(payload).expect("a frame").header_count());
    let mut array = [EMPTY_HEADER; peers::MOST];
    let array = &mut array[..if fields > peers::USUAL { peers::MOST } else { peers::USUAL }];
    costs.push((HTTPARSE, meter.measure(|| peers::httparse_alone(black_box(section), array))));
    if str::from_utf8(payload).is_ok() {
        costs.push((STR_LINES, meter.measure(|| peers::str_lines(black_box(payload)))));
    }
    let mut dst = vec![0; payload.len()];
    costs.push((LINES, meter.measure(|| peers::find_lines_and_copy(black_box(payload), black_box(&mut dst)))));
    costs
}

/// The results are dropped in the time that is measured.
fn decode(input: &Input, message: &Message, meter: &mut impl Meter, costs: &mut Costs) {
    let (topic, payload) = (&input.topic, &input.payload);
    match message {
        Message::Request(request) => {
            let own = || frame::decode_request(black_box(topic), black_box(payload).clone());
            costs.push((DECODE, meter.measure(own)));
            let by_hand = || peers::decode_request(black_box(topic).as_str(), black_box(payload));
            if let Some(theirs) = by_hand() {
                assert_eq!((theirs.uri(), theirs.body()), (request.uri(), request.body()));
                costs.push((DECODE_BY_HAND, meter.measure(by_hand)));
            }
        }
        Message::Answer(answer) => {
            let own = || frame::decode_response(black_box(payload).clone());
            costs.push((DECODE, meter.measure(own)));
            let by_hand = || peers::decode_response(black_box(payload));
            if let Some(theirs) = by_hand() {
                assert_eq!((theirs.status(), theirs.body()), (answer.status(), answer.body()));
                costs.push((DECODE_BY_HAND, meter.measure(by_hand)));
            }
        }
    }
}

/// Into a buffer that has room.
fn encode(message: &Message, meter: &mut impl Meter, costs: &mut Costs) {
    let mut dst = BytesMut::new();
    let (start, separator) = match message {
        Message::Request(request) => (request.method().to_string(), ": "),
        Message::Answer(answer) => (answer.status().as_str().to_owned(), ":"),
    };
    // Twice, because reserving is generous by a few bytes.
    for _ in 0..2 {
        encode_once(message, &mut dst);
        dst.reserve(64);
    }
    costs.push((ENCODE, meter.measure(|| encode_once(black_box(message), black_box(&mut dst)))));
    let written = dst.clone().freeze();

    let (start, headers, body) = (start.as_bytes(), message.headers(), &message.body()[..]);
    costs.push((
        PUT_SLICE,
        meter.measure(|| {
            dst.clear();
            peers::put_slice_loop(black_box(start), black_box(headers), separator.as_bytes(), body, &mut dst);
        }),
    ));
    let fields = spelled(&written, separator);
    if let Some(fields) = fields {
        costs.push((
            PUT_SPELLED,
            meter.measure(|| {
                dst.clear();
                peers::put_spelled(black_box(start), black_box(&fields), body, &mut dst);
            }),
        ));
        assert_eq!(dst, written, "the same bytes");
    }
    let mut copy = vec![0; written.len()];
    costs.push((MEMCPY, meter.measure(|| black_box(&mut copy[..]).copy_from_slice(black_box(&written)))));
}

/// How often parse, decode and encode allocate.
pub(crate) fn allocations(input: &Input, message: &Message) -> [usize; 3] {
    let payload = match message {
        // A part of what the edge has read from its socket, which the parts share.
        Message::Request(_) => BytesMut::from(&input.payload[..]).split().freeze(),
        // What Paho hands over, and nobody shares yet.
        Message::Answer(_) => Bytes::from(input.payload.to_vec()),
    };
    let mut dst = BytesMut::with_capacity(payload.len() + 256);
    let parse = allocated(|| Frame::parse(&payload).is_ok());
    let decode = allocated(|| match message {
        Message::Request(_) => frame::decode_request(&input.topic, payload).is_ok(),
        Message::Answer(_) => frame::decode_response(payload).is_ok(),
    });
    let encode = allocated(|| encode_once(message, &mut dst));
    [parse, decode, encode]
}

fn encode_once(message: &Message, dst: &mut BytesMut) {
    dst.clear();
    match message {
        Message::Request(request) => frame::encode_request(request, dst),
        Message::Answer(answer) => frame::encode_response(answer, dst),
    }
}

/// What was written, as names with all that is around them, and values.
fn spelled(written: &[u8], separator: &str) -> Option<Vec<(Vec<u8>, HeaderValue)>> {
    let frame = Frame::parse(written).ok()?;
    let field = |(name, value): (&str, &[u8])| {
        Some((format!("\r\n{name}{separator}").into_bytes(), HeaderValue::from_bytes(value).ok()?))
    };
    frame.headers().map(field).collect()
}
