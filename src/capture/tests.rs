use std::io;

use proptest::prelude::*;

use super::*;
use crate::mqtt::{LinkErrorKind, Qos, RefusedReason};
use crate::topic::Topic;

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("a topic")
}

fn entry(us: u64, event: Event) -> Entry {
    Entry { at: Duration::from_micros(us), link: 1, event }
}

fn all_kinds() -> Vec<Entry> {
    let filter = TopicFilter::new("me").expect("a filter");
    let refused = LinkErrorKind::Refused(RefusedReason::NotAuthorised);
    vec![
        entry(
            0,
            Event::Connect {
                endpoint: "wss://h.example:12473/mqtt".parse().expect("an endpoint"),
                client_id: ClientId::anonymous(),
                username: "type=oauth2&client_id=a1".into(),
                protocol: Some(Protocol::V31),
            },
        ),
        entry(1, Event::Connected),
        entry(2, Event::Subscribe(filter.clone())),
        entry(3, Event::Subscribed { filter, granted: false }),
        entry(4, Event::Publish(Publish::new(topic("p/me/x"), "GET\r\n\r\n"))),
        entry(
            5,
            Event::Received(Publish {
                topic: topic("p/me/x"),
                payload: b"200\r\n\r\n\xFF".as_slice().into(),
                qos: Qos::AtLeastOnce,
            }),
        ),
        entry(6, Event::Lost(LinkErrorKind::KeepAlive.into())),
        entry(7, Event::Refused(LinkError::new(refused, "in its own words"))),
        entry(8, Event::Close),
        entry(9, Event::Dropped),
        entry(10, Event::Unsubscribe(TopicFilter::new("me/#").expect("a filter"))),
        entry(11, Event::Stopped("enough".into())),
    ]
}

fn written(entries: &[Entry]) -> String {
    let header = Header { note: "a remark".into(), ..Header::new("hand-made") };
    let mut writer = Writer::new(Vec::new(), &header).expect("memory");
    for entry in entries {
        writer.write(entry).expect("memory");
    }
    String::from_utf8(writer.into_inner()).expect("JSON")
}

#[test]
fn the_format_is_written_so() {
    let expected = [
        r#"{"capture":1,"source":"hand-made","note":"a remark","redacted":true}"#,
        r#"{"us":0,"link":1,"direction":"out","kind":"connect","endpoint":"wss://h.example:12473/mqtt","client_id":"anonymous","username":"type=oauth2&client_id=a1","protocol":"3.1"}"#,
        r#"{"us":1,"link":1,"direction":"in","kind":"connected"}"#,
        r#"{"us":2,"link":1,"direction":"out","kind":"subscribe","filter":"me"}"#,
        r#"{"us":3,"link":1,"direction":"in","kind":"subscribed","filter":"me","granted":false}"#,
        r#"{"us":4,"link":1,"direction":"out","kind":"publish","topic":"p/me/x","qos":0,"payload":"GET\r\n\r\n"}"#,
        r#"{"us":5,"link":1,"direction":"in","kind":"received","topic":"p/me/x","qos":1,"payload":{"hex":"3230300d0a0d0aff"}}"#,
        r#"{"us":6,"link":1,"kind":"lost","error":"keep-alive"}"#,
        r#"{"us":7,"link":1,"kind":"refused","error":"refused-5","detail":"in its own words"}"#,
        r#"{"us":8,"link":1,"direction":"out","kind":"close"}"#,
        r#"{"us":9,"link":1,"kind":"dropped"}"#,
        r#"{"us":10,"link":1,"direction":"out","kind":"unsubscribe","filter":"me/#"}"#,
        r#"{"us":11,"link":1,"kind":"stopped","detail":"enough"}"#,
    ];
    let written = written(&all_kinds());
    assert_eq!(written.lines().collect::<Vec<_>>(), expected);
    assert!(written.ends_with('\n'));
}

#[test]
fn what_is_written_is_read_again() {
    let text = written(&all_kinds());
    let reader = Reader::new(text.as_bytes()).expect("a header");
    assert_eq!((reader.header().source.as_str(), reader.header().redacted), ("hand-made", true));
    let read: Result<Vec<_>, _> = reader.collect();
    assert_eq!(read.expect("well-formed"), all_kinds());
}

#[test]
fn all_link_errors_have_a_word() {
    let refusals = (1..=5).filter_map(RefusedReason::from_code).map(LinkErrorKind::Refused);
    let others = [
        LinkErrorKind::NameNotResolved,
        LinkErrorKind::Tcp,
        LinkErrorKind::Tls,
        LinkErrorKind::WebSocket,
        LinkErrorKind::ConnectTimedOut,
        LinkErrorKind::KeepAlive,
        LinkErrorKind::Closed,
        LinkErrorKind::Protocol,
        LinkErrorKind::Overloaded,
        LinkErrorKind::Config,
        LinkErrorKind::Proxy,
    ];
    for kind in refusals.chain(others) {
        assert_eq!(code::error_kind(code::error(kind)), Some(kind));
    }
    assert_eq!(code::error_kind("refused-6"), None);
}

#[test]
fn secrets_are_written_only_on_demand() {
    let answer = "200\r\n\r\n{\n  \"accessToken\" : \"T0k3n\",\n  \"password\" : \"pw\"\n}";
    let received = entry(0, Event::Received(Publish::new(topic("p/a/x"), answer)));
    assert_eq!(
        written(std::slice::from_ref(&received)).lines().nth(1),
        Some(
            r#"{"us":0,"link":1,"direction":"in","kind":"received","topic":"p/a/x","qos":0,"payload":"200\r\n\r\n{\n  \"accessToken\" : \"xxxxx\",\n  \"password\" : \"xx\"\n}"}"#
        )
    );
    let mut writer = Writer::danger_with_secrets(Vec::new(), &Header::new("live")).expect("memory");
    writer.write(&received).expect("memory");
    let text = writer.into_inner();
    let mut reader = Reader::new(&text[..]).expect("a header");
    assert!(!reader.header().redacted);
    assert_eq!(reader.next().expect("an entry").expect("well-formed"), received);
}

#[test]
fn a_secret_in_a_query_is_not_written() {
    let call = topic("p/me/thing-if/apps/a1/things/th.1/end-nodes?access_token=T0k3n&bestEffortLimit=5");
    let text = written(&[entry(0, Event::Publish(Publish::new(call, "GET\r\n\r\n")))]);
    assert!(
        text.contains("\"p/me/thing-if/apps/a1/things/th.1/end-nodes?access_token=xxxxx&bestEffortLimit=5\""),
        "{text}"
    );
}

#[test]
fn a_secret_in_a_filter_or_in_the_words_of_a_peer_is_not_written() {
    let filter = TopicFilter::new("p/me/x?access_token=T0k3n").expect("a filter");
    let said = LinkError::new(LinkErrorKind::Proxy, "http://ann:T0k3n@proxy:3128 refused");
    let text = written(&[
        entry(0, Event::Subscribe(filter.clone())),
        entry(0, Event::Subscribed { filter: filter.clone(), granted: true }),
        entry(0, Event::Unsubscribe(filter)),
        entry(0, Event::Refused(said.clone())),
        entry(0, Event::Lost(said)),
    ]);
    assert!(!text.contains("T0k3n"), "{text}");
    assert_eq!(text.matches("access_token=xxxxx").count(), 3);
}

#[test]
fn reading_is_lenient_where_nothing_is_lost() {
    let text = "\n{\"capture\":1,\"later\":[1]}\n\n  \n{\"kind\":\"publish\",\"topic\":\"t\",\"payload\":\"\",\"later\":{},\"us\":7,\"link\":0}\r\n{\"kind\":\"close\",\"us\":8,\"link\":0}";
    let read: Vec<_> = Reader::new(text.as_bytes()).expect("a header").map(|e| e.expect("well-formed")).collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].event, Event::Publish(Publish::new(topic("t"), "")));
}

#[test]
fn errors_name_line_and_member() {
    let header = "{\"capture\":1}\n";
    for (line, message) in [
        ("{", "line 2 is not a JSON object: EOF while parsing an object at line 1 column 1"),
        ("[]", "line 2 is not a JSON object: invalid type: sequence, expected a map at line 1 column 0"),
        (r#"{"us":0,"link":1}"#, "line 2 has no member `kind`"),
        (r#"{"us":0,"link":1,"kind":"shout"}"#, "line 2 has a wrong value in `kind`: unknown kind \"shout\""),
        (r#"{"us":-1,"link":1,"kind":"close"}"#, "line 2 has a wrong value in `us`: not a whole number from 0 on"),
        (r#"{"us":0,"kind":"close"}"#, "line 2 has no member `link`"),
        (
            r#"{"us":0,"link":1,"kind":"publish","topic":"","payload":""}"#,
            "line 2 has a wrong value in `topic`: topic is empty",
        ),
        (r#"{"us":0,"link":1,"kind":"publish","topic":"a"}"#, "line 2 has no member `payload`"),
        (
            r#"{"us":0,"link":1,"kind":"publish","topic":"a","payload":{"hex":"0"}}"#,
            "line 2 has a wrong value in `payload`: not hexadecimal",
        ),
        (
            r#"{"us":0,"link":1,"kind":"publish","topic":"a","payload":"","qos":3}"#,
            "line 2 has a wrong value in `qos`: not 0, 1 or 2",
        ),
        (r#"{"us":0,"link":1,"kind":"lost","error":"x"}"#, "line 2 has a wrong value in `error`: unknown error \"x\""),
        (
            r#"{"us":0,"link":1,"kind":"subscribe","filter":"a#"}"#,
            "line 2 has a wrong value in `filter`: topic has a misplaced wildcard at byte 1",
        ),
    ] {
        let text = format!("{header}{line}\n{{\"us\":1,\"link\":1,\"kind\":\"close\"}}\n");
        let mut reader = Reader::new(text.as_bytes()).expect("a header");
        let error = reader.next().expect("a line").expect_err("malformed");
        assert_eq!(error.to_string(), message);
        assert_eq!(reader.next().expect("a line").expect("the next line is good").event, Event::Close);
        assert!(reader.next().is_none());
    }
}

#[test]
fn half_a_last_line_is_told_from_a_wrong_one() {
    let whole = written(&all_kinds());
    let cut = whole.len() - 20;
    let mut reader = Reader::new(&whole.as_bytes()[..cut]).expect("a header");
    let read: Vec<_> = reader.by_ref().collect();
    let (last, before) = read.split_last().expect("lines");
    assert!(before.iter().all(Result::is_ok) && before.len() == all_kinds().len() - 1);
    let error = last.as_ref().expect_err("half a line");
    assert!(matches!(error.kind(), CaptureErrorKind::Torn), "{error}");
    assert_eq!(reader.line(), all_kinds().len() + 1);
}

#[test]
fn a_capture_ends_visibly_at_its_bound() {
    let entry = entry(5, Event::Publish(Publish::new(topic("p/me/x"), "x".repeat(100))));
    let mut writer = Writer::new(Vec::new(), &Header::new("edge")).expect("memory").with_max_len(2_000);
    let mut written = 0;
    let refused = loop {
        match writer.write(&entry) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "no bound");
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(writer.is_full());
    writer.write(&entry).expect_err("still full");
    let text = writer.into_inner();
    assert!((1_000..=2_000).contains(&text.len()), "{}", text.len());
    let read: Result<Vec<_>, _> = Reader::new(&text[..]).expect("a header").collect();
    let read = read.expect("well-formed");
    assert_eq!(read.len(), written + 1);
    assert!(matches!(read.last().expect("entries").event, Event::Stopped(_)));
}

#[test]
fn a_file_that_is_no_capture_says_so() {
    for (text, message) in [
        ("", "line 1 is not the header of a capture"),
        ("{\"us\":0}\n", "line 1 is not the header of a capture"),
        ("{\"capture\":2}\n", "line 1 has version 2 of the format, newer than 1"),
        ("{\"capture\":\"1\"}\n", "line 1 has a wrong value in `capture`: not a version number"),
    ] {
        assert_eq!(Reader::new(text.as_bytes()).expect_err("no capture").to_string(), message);
    }
}

#[test]
fn a_line_without_end_is_not_collected() {
    let endless = io::repeat(b' ').take(MAX_LINE_LEN as u64 * 4);
    let text = io::Read::chain(&b"{\"capture\":1}\n"[..], endless);
    let mut reader = Reader::new(io::BufReader::new(text)).expect("a header");
    let error = reader.next().expect("a line").expect_err("too long");
    assert!(matches!(error.kind(), CaptureErrorKind::LineTooLong));
    assert_eq!(error.line(), 2);
    assert!(reader.next().is_none());
}

use io::Read as _;

proptest! {
    #[test]
    fn any_payload_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..200), us in any::<u64>()) {
        let entry = Entry {
            at: Duration::from_micros(us),
            link: us,
            event: Event::Publish(Publish::new(topic("t"), payload)),
        };
        let mut writer = Writer::danger_with_secrets(Vec::new(), &Header::new("")).expect("memory");
        writer.write(&entry).expect("memory");
        let text = writer.into_inner();
        let read = Reader::new(&text[..]).expect("a header").next().expect("a line").expect("well-formed");
        prop_assert_eq!(read, entry);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}") {
        if let Ok(reader) = Reader::new(text.as_bytes()) {
            prop_assert!(reader.count() <= text.len());
        }
    }
}
