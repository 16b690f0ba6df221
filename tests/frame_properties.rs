//! What holds for every frame, and for every payload that is none.

mod naive;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use naive::NaiveStart;
use proptest::prelude::*;
use proptest::sample::select;
use thingif::frame::{self, Frame, Start};
use thingif::ids::ClientId;
use thingif::topic::Topic;

/// The names that no frame carries to its `http` type.
const TRANSPORT: [&str; 3] = ["content-length", "transfer-encoding", "host"];

fn method() -> impl Strategy<Value = Method> {
    let known = select(vec![Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE, Method::HEAD]);
    let unknown = "[A-Z][A-Z-]{0,31}".prop_map(|m| Method::from_bytes(m.as_bytes()).expect("a token"));
    prop_oneof![4 => known, 1 => unknown]
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    let known = select(vec![
        frame::REQUEST_ID,
        frame::APP_ID,
        frame::APP_KEY,
        frame::MQTT_TTL,
        http::header::AUTHORIZATION,
        http::header::CONTENT_TYPE,
        http::header::DATE,
        http::header::ETAG,
        http::header::WWW_AUTHENTICATE,
    ]);
    let unknown = "[a-z0-9!#$%&'*+.^_`|~-]{1,80}".prop_map(|n| HeaderName::from_bytes(n.as_bytes()).expect("a token"));
    prop_oneof![known, unknown].prop_filter("a header of HTTP's transport", |name| !TRANSPORT.contains(&name.as_str()))
}

/// A value without blanks around it: those are not part of a value.
fn header_value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![8 => b' '..=b'~', 1 => 0x80u8..=0xff, 1 => Just(b'\t')];
    prop::collection::vec(byte, 0..60).prop_map(|bytes| {
        let trimmed = bytes.trim_ascii();
        HeaderValue::from_bytes(trimmed).expect("no control byte")
    })
}

fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    prop::collection::vec((header_name(), header_value()), 0..20).prop_map(|headers| {
        let mut unique: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in headers {
            if unique.iter().all(|(n, _)| *n != name) {
                unique.push((name, value));
            }
        }
        unique
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "\\{\n  \"a\" : [0-9]{1,9}\r?\n\\}[\r\n]{0,3}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Payloads near the border between frames and others: frames in which a few bytes are changed, added or missing.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        select(vec![
            "GET",
            "put",
            " Post ",
            "M-SEARCH",
            "200",
            "404 Not Found",
            "200 ",
            "99",
            "1000",
            "200OK",
            "",
            "A B"
        ])
        .prop_map(str::to_owned),
        "[A-Za-z-]{0,34}",
        "[0-9]{1,4}( [ -~]{0,8})?",
    ];
    let line = prop_oneof![
        6 => ("[A-Za-z-]{1,12}", "[ \t]{0,2}", "[ -~]{0,20}").prop_map(|(n, ows, v)| format!("{n}:{ows}{v}")),
        1 => "[ -~]{0,10}",
    ];
    let eol = || select(vec!["\r\n", "\n"]);
    let frame = (start, prop::collection::vec((eol(), line), 0..6), eol(), eol(), body());
    let payload = frame.prop_map(|(start, lines, eol, blank, body)| {
        let mut payload = start.into_bytes();
        for (eol, line) in lines {
            payload.extend_from_slice(eol.as_bytes());
            payload.extend_from_slice(line.as_bytes());
        }
        payload.extend_from_slice(eol.as_bytes());
        payload.extend_from_slice(blank.as_bytes());
        payload.extend_from_slice(&body);
        payload
    });
    let interesting = select(b"\r\n \t:\0\x7f\x80\xffA0-{\"".to_vec());
    let edits = prop::collection::vec((any::<prop::sample::Index>(), interesting, 0..3u8), 0..4);
    (payload, edits, any::<prop::sample::Index>(), prop::bool::weighted(0.2)).prop_map(
        |(mut payload, edits, cut, short)| {
            for (at, byte, edit) in edits {
                let at = at.index(payload.len() + 1);
                match edit {
                    0 => payload.insert(at, byte),
                    1 if at < payload.len() => payload[at] = byte,
                    _ if at < payload.len() => drop(payload.remove(at)),
                    _ => {}
                }
            }
            if short {
                payload.truncate(cut.index(payload.len() + 1));
            }
            payload
        },
    )
}

/// Frames around the bounds: many fields, long heads.
fn large() -> impl Strategy<Value = Vec<u8>> {
    let end = select(vec!["", "\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\r\n\r", "\n\nbody", "\r\n\r\nbody"]);
    let many = (60..70usize, end.clone()).prop_map(|(n, end)| format!("GET{}{end}", "\nA: b".repeat(n)));
    let long = (8150..8210usize, end.clone()).prop_map(|(n, end)| format!("200\r\nA:{}{end}", "x".repeat(n)));
    let reason = (8150..8210usize, end).prop_map(|(n, end)| format!("200 {}{end}", "x".repeat(n)));
    prop_oneof![many, long, reason].prop_map(String::into_bytes)
}

/// Reads a payload in every way there is, which must not panic, and compares with the naive reader.
fn compare(payload: &[u8]) -> Result<(), TestCaseError> {
    let parsed = Frame::parse(payload);
    let naive = naive::read(payload);
    let id = frame::request_id(payload);
    let topic = Topic::new("p/c/thing-if").expect("valid");
    let request = frame::decode_request(&topic, Bytes::copy_from_slice(payload));
    let response = frame::decode_response(Bytes::copy_from_slice(payload));
    let (frame, naive) = match (parsed, naive) {
        (Ok(frame), Some(naive)) => (frame, naive),
        (Err(error), None) => {
            prop_assert!(error.offset() <= payload.len(), "{error}");
            prop_assert_eq!(request.expect_err("refused"), error);
            prop_assert_eq!(response.expect_err("refused"), error);
            return Ok(());
        }
        (parsed, naive) => return Err(TestCaseError::fail(format!("{parsed:?} but {naive:?}"))),
    };
    let seen: Vec<_> = frame.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    prop_assert_eq!(frame.header_count(), seen.len());
    prop_assert_eq!(seen, &naive.headers[..]);
    prop_assert_eq!(frame.body(), naive.body);
    prop_assert_eq!(frame::is_request(payload), matches!(naive.start, NaiveStart::Verb(_)));
    prop_assert_eq!(id.as_ref().map(|id| id.as_bytes()), frame.header("x-kii-requestid"));
    let decoded = match naive.start {
        NaiveStart::Verb(verb) => {
            let request = request.expect("a request");
            prop_assert_eq!(request.method().as_str(), verb);
            prop_assert!(response.is_err());
            request.into_parts().0.headers
        }
        NaiveStart::Status(status) => {
            let response = response.expect("a response");
            prop_assert_eq!(response.status().as_u16(), status);
            prop_assert!(request.is_err());
            response.into_parts().0.headers
        }
    };
    for (name, _) in &naive.headers {
        let last = naive.headers.iter().rfind(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &v[..]);
        prop_assert_eq!(frame.header(name), last);
        let kept = !TRANSPORT.contains(&name.to_lowercase().as_str());
        prop_assert_eq!(decoded.get(name).map(|v| v.as_bytes()), last.filter(|_| kept));
    }
    Ok(())
}

/// 500 cases of each; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(500), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_request_survives_its_frame(method in method(), headers in headers(), body in body(), path in "/[a-z:./?=-]{0,30}") {
        let mut request = Request::builder().method(&method).body(body.clone()).expect("valid");
        request.headers_mut().extend(headers.clone());
        let mut payload = BytesMut::new();
        frame::encode_request(&request, &mut payload);
        let topic = Topic::for_call(&ClientId::new("c").expect("valid"), &path).expect("fits");
        let read = frame::decode_request(&topic, payload.freeze()).expect("our own bytes are read");
        prop_assert_eq!(read.method(), method);
        prop_assert_eq!(read.uri().to_string(), path);
        prop_assert_eq!(read.headers().iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>(), headers);
        prop_assert_eq!(read.body(), &body);
    }

    #[test]
    fn a_response_survives_its_frame(status in 100..=999u16, headers in headers(), body in body()) {
        let mut response = Response::builder().status(status).body(body.clone()).expect("valid");
        response.headers_mut().extend(headers.clone());
        let mut payload = BytesMut::new();
        frame::encode_response(&response, &mut payload);
        let read = frame::decode_response(payload.freeze()).expect("our own bytes are read");
        prop_assert_eq!(read.status().as_u16(), status);
        prop_assert_eq!(read.headers().iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>(), headers);
        prop_assert_eq!(read.body(), &body);
    }

    /// Whatever a value holds, the frame has exactly the lines that were asked for.
    #[test]
    fn a_value_cannot_add_a_line(value in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let response = Response::builder().header("x-a", value).header("age", "0").body("body").expect("valid");
            let mut payload = BytesMut::new();
            frame::encode_response(&response, &mut payload);
            prop_assert_eq!(payload.iter().filter(|&&b| b == b'\n').count(), 4);
            let frame = Frame::parse(&payload).expect("our own bytes are read");
            prop_assert_eq!(frame.headers().map(|(name, _)| name).collect::<Vec<_>>(), ["X-A", "Age"]);
            prop_assert_eq!(frame.body(), b"body");
        }
    }

    #[test]
    fn line_ends_do_not_matter(
        start in select(vec!["GET", "200", "404 no such thing"]),
        headers in headers(),
        body in body(),
        crlf in prop::collection::vec(any::<bool>(), 22),
    ) {
        let write = |crlf: &dyn Fn(usize) -> bool| {
            let mut payload = Vec::new();
            let mut line = 0;
            let mut end = |payload: &mut Vec<u8>| {
                payload.extend_from_slice(if crlf(line) { b"\r\n" } else { b"\n" });
                line += 1;
            };
            payload.extend_from_slice(start.as_bytes());
            end(&mut payload);
            for (name, value) in &headers {
                payload.extend_from_slice(name.as_str().as_bytes());
                payload.push(b':');
                payload.extend_from_slice(value.as_bytes());
                end(&mut payload);
            }
            end(&mut payload);
            payload.extend_from_slice(&body);
            payload
        };
        let (all_crlf, all_lf, mixed) = (write(&|_| true), write(&|_| false), write(&|n| crlf[n]));
        let reference = Frame::parse(&all_crlf).expect("a frame");
        prop_assert_eq!(reference.header_count(), headers.len());
        for other in [&all_lf, &mixed] {
            let frame = Frame::parse(other).expect("a frame");
            prop_assert_eq!(frame.start(), reference.start());
            prop_assert!(frame.headers().eq(reference.headers()));
            prop_assert_eq!(frame.body(), &body);
        }
    }

    #[test]
    fn both_readers_agree_near_the_border(payload in damaged()) {
        compare(&payload)?;
    }

    #[test]
    fn both_readers_agree_on_any_bytes(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        compare(&payload)?;
    }

    #[test]
    fn both_readers_agree_on_any_text(payload in "[A-Z0-9a-z: \t\r\n\\{-]{0,60}") {
        compare(payload.as_bytes())?;
    }

    #[test]
    fn both_readers_agree_at_the_bounds(payload in large()) {
        compare(&payload)?;
    }
}

/// The generators reach both sides, or the comparisons above would prove little.
#[test]
fn the_generators_make_frames_and_others() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for strategy in [damaged().boxed(), large().boxed()] {
        let parsed: Vec<_> = (0..500)
            .map(|_| {
                let payload = strategy.new_tree(&mut runner).expect("no rejection").current();
                Frame::parse(&payload)
                    .map(|frame| matches!(frame.start(), Start::Request { .. }))
                    .map_err(|error| error.kind())
            })
            .collect();
        let mut kinds: Vec<_> = parsed.iter().filter_map(|p| p.err()).collect();
        kinds.dedup();
        let share = parsed.iter().filter(|p| p.is_ok()).count();
        assert!((100..400).contains(&share), "{share} of 500 are frames");
        assert!(parsed.contains(&Ok(true)) && parsed.contains(&Ok(false)));
        assert!(kinds.len() > 1, "{kinds:?}");
    }
}
