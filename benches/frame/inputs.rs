//! The frames that are measured: six sizes, each as a request and as an answer, and every sample of `proto-samples/frames`.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use thingif::frame::{self, Frame};
use thingif::topic::Topic;

use crate::samples;

const SIZES: [usize; 6] = [60, 300, 1024, 4096, 16 * 1024, 64 * 1024];

/// The least that an answer and a request have.
const SMALL_ANSWER: &str = "200\r\nContent-Type:application/json\r\nX-Kii-RequestID:17\r\n\r\n";
const SMALL_REQUEST: &str = "GET\r\nAuthorization: Bearer t0k3n-17\r\nX-Kii-RequestID: 17\r\n\r\n";
/// What they usually have.
const ANSWER: &str = "200\r\nCache-Control:max-age=0, no-cache, no-store\r\nContent-Type:application/json\r\n\
    Date:Sat, 21 Nov 2026 08:15:30 GMT\r\nConnection:keep-alive\r\nX-Kii-RequestID:b7f0-000000000017\r\n\r\n";
const REQUEST: &str = "PUT\r\nAuthorization: Bearer Vm5-Qx8rTz2LpK0cVm5-Qx8rTz2LpK0cVm5-Qx8rTz2\r\n\
    X-Kii-RequestID: b7f0-000000000017\r\nContent-Type: application/json\r\n\r\n";

/// One payload.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) payload: Bytes,
    pub(crate) topic: Topic,
    /// What it says, if it is a frame.
    pub(crate) message: Option<Message>,
    /// Whether it is what a known client or service sends, and not made to be broken, odd or at a bound.
    pub(crate) is_usual: bool,
}

/// What a frame says.
pub(crate) enum Message {
    Request(Request<Bytes>),
    Answer(Response<Bytes>),
}

impl Message {
    pub(crate) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Request(request) => request.headers(),
            Self::Answer(answer) => answer.headers(),
        }
    }

    pub(crate) fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => request.body(),
            Self::Answer(answer) => answer.body(),
        }
    }
}

impl Input {
    fn new(name: String, payload: Vec<u8>, topic: Option<&str>, is_usual: bool) -> Self {
        // Shared memory, as what a transport reads into.
        let payload = Bytes::from(payload);
        let topic =
            topic.unwrap_or("p/q7Wm2xZc9LrT4vBn1KdYs8a/thing-if/apps/c1k9abcdef12/targets/thing:th.4b7e/states");
        let topic = Topic::new(topic).expect("a valid topic");
        let message = Frame::parse(&payload).ok().map(|frame| match frame.start().method() {
            Some(_) => Message::Request(frame::decode_request(&topic, payload.clone()).expect("a request")),
            None => Message::Answer(frame::decode_response(payload.clone()).expect("an answer")),
        });
        Self { name, payload, topic, message, is_usual }
    }
}

/// Each size as a request and as an answer.
pub(crate) fn sizes() -> Vec<Input> {
    let of_size = |size: usize| {
        let is_small = size == SIZES[0];
        let heads = if is_small { [SMALL_REQUEST, SMALL_ANSWER] } else { [REQUEST, ANSWER] };
        ["request", "answer"].into_iter().zip(heads).map(move |(kind, head)| {
            let mut payload = head.as_bytes().to_vec();
            // Pretty-printed JSON, as the service writes it.
            if payload.len() < size {
                let rest = size - payload.len();
                payload.push(b'{');
                while payload.len() + 1 < size {
                    payload.extend_from_slice(b"\n  \"presetTemperature\" : 25,");
                    payload.truncate(size - 1);
                }
                payload.extend_from_slice(&b"}"[..rest.min(2) - 1]);
            }
            assert_eq!(payload.len(), size);
            let name = if size < 1024 { format!("{kind}, {size} B") } else { format!("{kind}, {} KiB", size / 1024) };
            Input::new(name, payload, None, true)
        })
    };
    SIZES.into_iter().flat_map(of_size).collect()
}

/// Every sample, those that are refused too.
pub(crate) fn samples() -> Vec<Input> {
    let mut inputs = Vec::new();
    for file in samples::files() {
        let stem = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let is_usual = !["lenient", "limits", "hostile-headers", "hostile-start-line"].contains(&&*stem);
        for sample in samples::read(&file) {
            let name = format!("{stem}: {}", sample.name);
            inputs.push(Input::new(name, sample.payload, sample.topic.as_deref(), is_usual));
        }
    }
    inputs
}
