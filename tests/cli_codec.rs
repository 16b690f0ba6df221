//! `thingif encode` and `thingif decode` on files and pipes.
#![cfg(feature = "cli")]

mod program;

use program::{run, run_with_input, thingif};
use serde_json::json;

#[test]
fn a_request_is_written_as_devices_write_it() {
    let written =
        run(thingif().args(["encode", "put", "-H", "X-Kii-RequestID: 17", "-d", r#"{"power":true}"#])).expect(0);
    assert_eq!(written.text(), "PUT\r\nX-Kii-RequestID: 17\r\nContent-Type: application/json\r\n\r\n{\"power\":true}");
}

#[test]
fn a_response_is_written_as_the_service_writes_it() {
    let written = run(thingif().args(["encode", "204", "-H", "X-Kii-RequestID: 17"])).expect(0);
    assert_eq!(written.text(), "204\r\nX-Kii-RequestID:17\r\n\r\n");
}

#[test]
fn a_body_comes_from_a_file_or_a_pipe() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("body");
    std::fs::write(&file, b"\xff\x00 bytes").expect("written");
    let from_file = run(thingif().args(["encode", "PUT", "-d", &format!("@{}", file.display())])).expect(0);
    let from_pipe = run_with_input(thingif().args(["encode", "PUT", "-d", "@-"]), b"\xff\x00 bytes").expect(0);
    assert!(from_file.stdout.ends_with(b"\r\n\r\n\xff\x00 bytes"));
    assert_eq!(from_file.stdout, from_pipe.stdout);
}

#[test]
fn decode_tells_the_three_kinds_apart() {
    for (payload, first) in [
        ("PUT\nA: b\n\nbody", "request PUT (path in the topic)"),
        ("200\r\nA:b\r\n\r\nbody", "response 200 OK"),
        ("{\"commandID\":\"c\"}", "push"),
    ] {
        let shown = run_with_input(thingif().arg("decode"), payload.as_bytes()).expect(0).text();
        assert_eq!(shown.lines().next(), Some(first));
    }
}

#[test]
fn decode_takes_the_path_from_the_topic() {
    let topic = "p/me/thing-if/apps/a/targets/thing:t/states";
    let shown = run_with_input(thingif().args(["decode", "--json", "--topic", topic]), b"GET\n\n").expect(0);
    assert_eq!(
        shown.json_lines(),
        [
            json!({"kind": "request", "method": "GET", "path": "/thing-if/apps/a/targets/thing:t/states", "headers": [], "body": ""})
        ]
    );
}

#[test]
fn json_is_the_way_back() {
    for payload in [&b"PUT\r\nA: b\r\n\r\n{}"[..], b"500\r\nX-Kii-RequestID:1\r\n\r\nno JSON", b"200\r\n\r\n\xfe\xff"] {
        let json = run_with_input(thingif().args(["decode", "--json"]), payload).expect(0);
        let again = run_with_input(thingif().args(["encode", "--from", "-"]), &json.stdout).expect(0);
        assert_eq!(again.stdout.escape_ascii().to_string(), payload.escape_ascii().to_string());
    }
}

#[test]
fn what_is_no_frame_is_shown_where() {
    let refused = run_with_input(thingif().arg("decode"), b"PUT\r\nno colon\r\n\r\n").expect(1);
    assert!(refused.stdout.is_empty());
    let lines: Vec<_> = refused.stderr.lines().collect();
    let [what, bytes, mark] = lines[..] else { panic!("three lines: {lines:?}") };
    assert!(what.contains("at byte 7"), "{what}");
    let column = mark.find('^').expect("a mark");
    assert_eq!(&bytes[column..], r" colon\r\n\r\n");
}

#[test]
fn usage_is_two() {
    for args in [
        &["encode"][..],
        &["encode", "99"],
        &["encode", "P UT"],
        &["encode", "PUT", "-H", "no colon"],
        &["encode", "PUT", "-d", "@/nonexistent/file"],
        &["decode", "/nonexistent/file"],
        &["decode", "--topic", "a/#"],
        &["no-such-verb"],
        &[],
    ] {
        let refused = run(thingif().args(args)).expect(2);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn every_verb_has_an_example() {
    let help = run(thingif().arg("--help")).expect(0).text();
    let verbs: Vec<_> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.contains(&"encode") && verbs.contains(&"decode"), "{verbs:?}");
    for verb in verbs {
        let help = run(thingif().args([verb, "--help"])).expect(0).text();
        let example = help.lines().skip_while(|line| !line.starts_with("Example")).nth(1);
        assert!(example.is_some_and(|line| line.contains(&format!("thingif {verb}"))), "{verb}: {help}");
    }
}
