//! What is to be done with a PUBLISH: ignored, refused, or handed to the service.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::lanes::{Job, LaneKey, Queued};
use super::metrics::Counters;
use super::{Paths, Peer, Role, answer};
use crate::frame::{self, FrameErrorKind, REQUEST_ID};
use crate::thing_if::ErrorCode;
use crate::topic::Topic;

/// The judgement on a PUBLISH.
pub(super) enum Verdict {
    /// Outside `p/{own client id}/`: no answer. (`wire` §8)
    Foreign,
    /// To be answered by the edge itself.
    Refused(Response<Bytes>, Option<HeaderValue>),
    /// For the service.
    Accepted(Job, LaneKey),
}

impl Verdict {
    /// What an answer to it echoes.
    pub(super) fn into_request_id(self) -> Option<HeaderValue> {
        match self {
            Verdict::Foreign => None,
            Verdict::Refused(_, request_id) => request_id,
            Verdict::Accepted(job, _) => job.request_id,
        }
    }
}

/// Judges a PUBLISH of `peer`.
pub(super) fn judge(peer: &Peer, paths: Paths, topic: Topic, payload: Bytes, counters: &Counters) -> Verdict {
    let Some(path_and_query) = topic.path_of_call(&peer.client_id) else {
        counters.foreign_publishes.add();
        return Verdict::Foreign;
    };
    let path = memchr::memchr(b'?', path_and_query.as_bytes()).map_or(path_and_query, |query| &path_and_query[..query]);
    if let Err((code, message)) = check_path(peer, paths, path) {
        counters.misdirected_requests.add();
        return Verdict::Refused(answer::error(code, message), frame::request_id(&payload));
    }
    let lane = lane(path);
    // A slice would keep the whole buffer that it was read into for as long as the request waits.
    let payload = Bytes::copy_from_slice(&payload);
    match frame::decode_request(&topic, payload.clone()) {
        Ok(mut request) => {
            // Before a `Connection` could name it: it is between the two ends.
            let request_id = request.headers().get(REQUEST_ID).cloned();
            frame::remove_hop_by_hop(request.headers_mut());
            request.extensions_mut().insert(peer.clone());
            let size = memory(&topic, payload.len(), request.headers());
            Verdict::Accepted(Job { topic, request_id, request, size }, lane)
        }
        Err(error) if matches!(error.kind(), FrameErrorKind::TooManyHeaders | FrameErrorKind::HeadTooLarge) => {
            counters.oversize_heads.add();
            let response =
                answer::error(ErrorCode::HeaderFieldsTooLarge, format!("The frame's head is too large: {error}."));
            Verdict::Refused(response, frame::request_id(&payload))
        }
        Err(error) => {
            counters.malformed_frames.add();
            let response = answer::error(ErrorCode::InvalidInputData, format!("The frame is malformed: {error}."));
            Verdict::Refused(response, frame::request_id(&payload))
        }
    }
}

/// About how many bytes a request holds while it waits. Its headers may hold far more than they say: each has a place of
/// some 100 bytes in the map, however short it is, and a name that is nobody's own a copy.
fn memory(topic: &Topic, payload: usize, headers: &HeaderMap) -> usize {
    let places = headers.capacity() * HEADER_PLACE;
    let names: usize = headers.keys().map(|name| name.as_str().len() + ALLOCATION).sum();
    // The URI is a second copy of the topic.
    size_of::<Queued>() + size_of::<Peer>() + 4 * ALLOCATION + payload + 2 * topic.as_str().len() + places + names
}

/// A header's place in the map: name, value, and the map's own account of them.
const HEADER_PLACE: usize = size_of::<HeaderName>() + size_of::<HeaderValue>() + 40;
/// What the allocator, and whoever counts references, need for themselves.
const ALLOCATION: usize = 48;

/// Judges a PUBLISH of which only the first bytes of the payload were kept.
pub(super) fn judge_oversize(
    peer: &Peer,
    topic: &Topic,
    first: &[u8],
    len: usize,
    max: usize,
    counters: &Counters,
) -> Verdict {
    if topic.path_of_call(&peer.client_id).is_none() {
        counters.foreign_publishes.add();
        return Verdict::Foreign;
    }
    counters.oversize_frames.add();
    let message = format!("The frame has {len} bytes where {max} are allowed.");
    Verdict::Refused(answer::error(ErrorCode::PayloadTooLarge, message), frame::request_id(first))
}

/// Whether this connection may call `path`: `/thing-if/apps/{its own app}/…`, on the default broker only
/// `…/onboardings`. (`wire` §1.1, §3)
fn check_path(peer: &Peer, paths: Paths, path: &str) -> Result<(), (ErrorCode, &'static str)> {
    if has_dot_segments(path) {
        return Err((ErrorCode::PathNotFound, "The path has `.` or `..` in it."));
    }
    if paths == Paths::Any && peer.role == Role::Assigned && !is_thing_if(path) {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix("/thing-if/apps/") else {
        return Err((ErrorCode::PathNotFound, "Only /thing-if/apps/{APP_ID}/ is served over MQTT."));
    };
    let (app, operation) = rest.split_once('/').unwrap_or((rest, ""));
    if app != peer.app_id.as_str() {
        return Err((ErrorCode::OperationNotSupported, "The connection belongs to another application."));
    }
    match peer.role {
        Role::Onboarding if operation != "onboardings" => {
            Err((ErrorCode::OperationNotSupported, "The default broker accepts onboarding requests only."))
        }
        Role::Onboarding | Role::Assigned => Ok(()),
    }
}

/// Whether something behind the edge could take `path` for one below `/thing-if`, however it is written.
fn is_thing_if(path: &str) -> bool {
    let mut segments = Unescaped(path.as_bytes()).map(|byte| if byte == b'\\' { b'/' } else { byte }).peekable();
    while segments.next_if_eq(&b'/').is_some() {}
    let first: Vec<u8> = segments.take_while(|byte| !matches!(byte, b'/' | b';')).collect();
    first == b"thing-if"
}

/// `.` or `..` between slashes, with dots and slashes percent-encoded or not and slashes forward or backward, and with or
/// without parameters (`..;x`, RFC 3986 §3.3), which some servers cut off first: something behind the edge could resolve
/// them after the application was checked.
fn has_dot_segments(path: &str) -> bool {
    may_have_dot_segments(path.as_bytes()) && any_dot_segment(path)
}

/// Whether it is worth a closer look: nearly no path has an escape, or a dot where a segment begins.
fn may_have_dot_segments(path: &[u8]) -> bool {
    memchr::memchr2_iter(b'.', b'%', path)
        .any(|at| path[at] == b'%' || at.checked_sub(1).is_none_or(|before| matches!(path[before], b'/' | b'\\')))
}

fn any_dot_segment(path: &str) -> bool {
    let (mut segment, mut has_parameters) = (Segment::Dots(0), false);
    for byte in Unescaped(path.as_bytes()).chain([b'/']) {
        match byte {
            b'/' | b'\\' if matches!(segment, Segment::Dots(1 | 2)) => return true,
            b'/' | b'\\' => (segment, has_parameters) = (Segment::Dots(0), false),
            b';' => has_parameters = true,
            _ if has_parameters => {}
            b'.' => segment = segment.and_a_dot(),
            _ => segment = Segment::Other,
        }
    }
    false
}

/// What a segment of a path is so far.
#[derive(Clone, Copy)]
enum Segment {
    /// So many dots, and nothing else.
    Dots(u8),
    Other,
}

impl Segment {
    fn and_a_dot(self) -> Self {
        match self {
            Segment::Dots(dots @ 0..=1) => Segment::Dots(dots + 1),
            Segment::Dots(_) | Segment::Other => Segment::Other,
        }
    }
}

/// Requests with one path are executed in the order they came. Neither letter case nor percent-encoding makes a path
/// another one, because `thing:`, `THING:` and `thing%3A` are the same target. (`wire` §3)
/// Who makes paths collide makes own requests wait for each other.
fn lane(path: &str) -> LaneKey {
    let path = path.as_bytes();
    match memchr::memchr(b'%', path) {
        None => digest(path),
        Some(_) => digest(&Unescaped(path).collect::<Vec<u8>>()),
    }
}

/// Eight bytes at a time. Texts of one length that differ within one such word, as the ids of things do that are counted up,
/// never have the same digest, because each step can be undone.
fn digest(text: &[u8]) -> u64 {
    /// As in rustc's own hash of short keys.
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    /// Makes capital letters small. It makes other pairs the same too, such as `@` and the backtick, which is harmless.
    const SMALL: u64 = u64::from_ne_bytes([0x20; 8]);
    let (words, rest) = text.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let step = |digest: u64, word: &[u8; 8]| {
        (digest.rotate_left(5) ^ (u64::from_le_bytes(*word) | SMALL)).wrapping_mul(FACTOR)
    };
    step(words.iter().fold(text.len() as u64, step), &last)
}

/// The bytes of a path, percent-decoded once, their letters in lower case.
struct Unescaped<'a>(&'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (first, after) = self.0.split_first()?;
        self.0 = after;
        let byte = if *first == b'%' { self.escaped() } else { *first };
        Some(byte.to_ascii_lowercase())
    }
}

impl Unescaped<'_> {
    /// After a `%`: what it and two digits stand for, or the `%` itself.
    fn escaped(&mut self) -> u8 {
        if let [high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return high << 4 | low;
        }
        b'%'
    }
}

/// A hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::ConnectionId;
    use crate::ids::{AppId, ClientId};
    use crate::mqtt::Scheme;

    fn peer(role: Role, client: &str) -> Peer {
        let address = ([127, 0, 0, 1], 1).into();
        Peer {
            role,
            app_id: AppId::new("app1").expect("valid"),
            client_id: ClientId::new(client).expect("valid"),
            connection: ConnectionId(1),
            scheme: Scheme::Mqtt,
            remote: address,
            local: address,
        }
    }

    fn status(role: Role, client: &str, topic: &str, payload: &'static [u8]) -> Option<u16> {
        let topic = Topic::new(topic).expect("valid");
        match judge(&peer(role, client), Paths::ThingIf, topic, Bytes::from_static(payload), &Counters::default()) {
            Verdict::Foreign => None,
            Verdict::Refused(response, _) => Some(response.status().as_u16()),
            Verdict::Accepted(..) => Some(200),
        }
    }

    #[test]
    fn each_role_may_call_its_own_paths_and_no_others() {
        let assigned = |topic: &str| status(Role::Assigned, "me", topic, b"GET\r\n\r\n");
        assert_eq!(assigned("p/me/thing-if/apps/app1/targets/thing:th.1/states"), Some(200));
        assert_eq!(assigned("p/me/thing-if/apps/app1/onboardings"), Some(200));
        assert_eq!(assigned("p/me/thing-if/apps/app2/targets/thing:th.1/states"), Some(403));
        assert_eq!(assigned("p/me/thing-if/apps/app1/../app2/onboardings"), Some(404));
        for encoded in [
            "%2E./app2",
            "..%2Fapp2",
            "x%2f.%2e%2Fapp2",
            "..\\app2",
            "x%5C..\\..",
            "x/..",
            "..;/app2",
            "x/%2E%2e%3Ba=1;b/..",
            ".;",
        ] {
            assert_eq!(assigned(&format!("p/me/thing-if/apps/app1/{encoded}")), Some(404), "{encoded}");
        }
        assert_eq!(assigned("p/me/thing-if/apps/app1/targets/a..b"), Some(200));
        assert_eq!(assigned("p/me/thing-if/apps/app1/targets/a;..;b"), Some(200), "a parameter is no segment");
        assert_eq!(assigned("p/me/api/apps/app1/things"), Some(404));
        assert_eq!(assigned("p/you/thing-if/apps/app1/onboardings"), None);
        assert_eq!(assigned("me"), None);
        let anonymous = |topic| status(Role::Onboarding, "anonymous", topic, b"POST\n\n{}");
        assert_eq!(anonymous("p/anonymous/thing-if/apps/app1/onboardings"), Some(200));
        assert_eq!(anonymous("p/anonymous/thing-if/apps/app1/onboardings?x=1"), Some(200));
        assert_eq!(anonymous("p/anonymous/thing-if/apps/app1/targets/thing:th.1/states"), Some(403));
        assert_eq!(anonymous("p/anonymous/thing-if/apps/app2/onboardings"), Some(403));
    }

    #[test]
    fn where_every_path_is_served_those_of_applications_stay_theirs() {
        let check = |role, path| check_path(&peer(role, "me"), Paths::Any, path).err().map(|(code, _)| code.status());
        let assigned = |path| check(Role::Assigned, path).map(|status| status.as_u16());
        for served in ["/v1/things", "/", "/api/apps/app2/x", "/thing-iff", "/x/thing-if/apps/app2/y"] {
            assert_eq!(assigned(served), None, "{served}");
        }
        assert_eq!(assigned("/thing-if/apps/app1/x"), None);
        assert_eq!(assigned("/thing-if/apps/app2/x"), Some(403));
        for disguised in [
            "/thing%2Dif/apps/app2/x",
            "/THING-IF/apps/app2/x",
            "//thing-if/apps/app2/x",
            "/%74hing-if%2Fapps/app2/x",
            "\\/thing-if/apps",
            "/thing-if;a/apps/app2",
            "/thing-if",
            "/v1/..",
        ] {
            assert_eq!(assigned(disguised), Some(404), "{disguised}");
        }
        assert_eq!(check(Role::Onboarding, "/v1/things").map(|status| status.as_u16()), Some(404));
        assert_eq!(check(Role::Onboarding, "/thing-if/apps/app1/onboardings"), None);
    }

    #[test]
    fn a_request_holds_what_it_says_and_no_buffer_besides() {
        let frame = b"PUT\nX-Kii-RequestID: 1\n\n{}";
        let buffer = Bytes::from([&frame[..], &[b' '; 100_000]].concat());
        let topic = Topic::new("p/me/thing-if/apps/app1/x").expect("valid");
        let payload = buffer.slice(..frame.len());
        let Verdict::Accepted(job, _) =
            judge(&peer(Role::Assigned, "me"), Paths::ThingIf, topic.clone(), payload, &Counters::default())
        else {
            panic!("refused")
        };
        assert!(buffer.is_unique(), "the request keeps the buffer");
        assert_eq!(job.request.body(), "{}");
        assert!((frame.len()..2048).contains(&job.size), "{}", job.size);
    }

    #[test]
    fn headers_count_for_what_they_hold_and_not_for_what_they_say() {
        let size = |frame: String| {
            let topic = Topic::new("p/me/thing-if/apps/app1/x").expect("valid");
            match judge(&peer(Role::Assigned, "me"), Paths::ThingIf, topic, Bytes::from(frame), &Counters::default()) {
                Verdict::Accepted(job, _) => job.size,
                _ => panic!("refused"),
            }
        };
        let none = size("GET\n\n".to_owned());
        let many = size((0..64).fold("GET\n".to_owned(), |frame, i| frame + &format!("{i}:\n")) + "\n");
        // A `HeaderName` and a `HeaderValue` alone have 72 bytes.
        assert!(many - none >= 64 * (72 + 32), "{many} with 64 headers, {none} without");
        let repeated = size("GET\n".to_owned() + &"a:\n".repeat(64) + "\n");
        assert!(repeated - none >= 64 * 72, "{repeated}: the map has room for 64, though one is left");
    }

    #[test]
    fn what_is_of_the_hop_stays_at_the_edge_and_the_id_does_not_depend_on_it() {
        let topic = Topic::new("p/me/thing-if/apps/app1/x").expect("valid");
        let frame = "GET\nConnection: keep-alive, X-Kii-RequestID, X-Hop\nX-Hop: 1\nTE: trailers\nX-Kii-RequestID: 7\nETag: 1\n\n";
        match judge(
            &peer(Role::Assigned, "me"),
            Paths::ThingIf,
            topic,
            Bytes::from_static(frame.as_bytes()),
            &Counters::default(),
        ) {
            Verdict::Accepted(job, _) => {
                let left: Vec<_> = job.request.headers().keys().map(|name| name.as_str()).collect();
                assert_eq!((left, job.request_id), (vec!["etag"], Some(HeaderValue::from_static("7"))));
            }
            _ => panic!("refused"),
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_refused_as_such_with_its_id() {
        let topic = Topic::new("p/me/thing-if/apps/app1/x").expect("valid");
        let many: String = (0..100).map(|i| format!("H{i}: 1\r\n")).collect();
        let long = format!("X-Long: {}\r\n", "x".repeat(10_000));
        for fields in [many, long] {
            let frame = format!("GET\r\nX-Kii-RequestID: 7\r\n{fields}\r\n");
            let counters = Counters::default();
            match judge(&peer(Role::Assigned, "me"), Paths::ThingIf, topic.clone(), Bytes::from(frame), &counters) {
                Verdict::Refused(response, id) => {
                    assert_eq!(response.status(), 431);
                    assert_eq!(id, Some(HeaderValue::from_static("7")));
                }
                _ => panic!("accepted"),
            }
            assert_eq!(counters.snapshot().oversize_heads, 1);
        }
    }

    #[test]
    fn a_malformed_frame_is_refused_with_its_id() {
        let topic = Topic::new("p/me/thing-if/apps/app1/onboardings").expect("valid");
        let payload = Bytes::from_static(b"{\"not\": \"a verb\"}\nX-Kii-RequestID: r 1\n\n");
        match judge(&peer(Role::Assigned, "me"), Paths::ThingIf, topic, payload, &Counters::default()) {
            Verdict::Refused(response, id) => {
                assert_eq!(response.status(), 400);
                assert_eq!(id, Some(HeaderValue::from_static("r 1")));
            }
            _ => panic!("accepted"),
        }
    }

    #[test]
    fn no_path_with_a_dot_segment_is_passed_over_at_the_first_look() {
        let bytes = ['.', '/', '\\', ';', 'x', '%', '2', 'e', 'F'];
        let mut paths = vec![String::new()];
        for _ in 0..5 {
            paths = paths.iter().flat_map(|path| bytes.map(|byte| format!("{path}{byte}"))).collect();
            for path in &paths {
                assert!(may_have_dot_segments(path.as_bytes()) || !any_dot_segment(path), "{path}");
            }
        }
        assert!(!may_have_dot_segments(b"/thing-if/apps/a1/targets/thing:th.1/states"));
    }

    #[test]
    fn a_lane_is_a_path_however_it_is_written() {
        let plain = lane("/targets/thing:th.1/states");
        for same in ["/targets/thing%3Ath.1/states", "/targets/thing%3ath%2e1/states", "/%74argets/THING:th.1/state%53"]
        {
            assert_eq!(lane(same), plain, "{same}");
        }
        for other in ["/targets/thing%3th.1/states", "/targets/thing%253Ath.1/states", "/targets/thing:th.1/states%"] {
            assert_ne!(lane(other), plain, "{other}");
        }
        assert_ne!(lane("/%"), lane("/%2"));
        assert_ne!(lane("/%zz"), lane("/%z"));
        assert_eq!(lane("/targets/THING:th.1/states"), lane("/targets/thing:th.1/states"));
        assert_ne!(lane("/targets/thing:th.1/states"), lane("/targets/thing:th.2/states"));
        let text = "/targets/thing:th.1/states";
        for len in 1..text.len() {
            assert_ne!(lane(&text[..len]), lane(&text[..len - 1]), "{len}");
            let escaped: String = text[..len].bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(lane(&escaped), lane(&text[..len].to_uppercase()), "{len}");
        }
    }
}
