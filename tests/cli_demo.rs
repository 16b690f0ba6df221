//! `thingif demo` ends well and tells the whole story, over each transport.
#![cfg(feature = "cli")]

mod program;

use program::{run, thingif};
use serde_json::Value;

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn it_tells_the_story_to_people() {
    let told = run(thingif().arg("demo")).expect(0);
    let text = told.text();
    for part in [
        "connected to the default broker",
        "> p/anonymous/thing-if/apps/demo/onboardings",
        "connected to the assigned broker",
        "POST /thing-if/apps/demo/targets/thing:",
        "\"commandID\"",
        "/action-results",
        " is DONE: ",
        "all of it",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert_eq!(told.stderr, "", "nothing to complain about");
}

fn tells_it_to_programs(over: &str) {
    let lines = run(thingif().args(["demo", "--json", "--over", over])).expect(0).json_lines();

    let connected: Vec<_> = of(&lines, "connected").iter().map(|c| c["broker"].as_str().expect("text")).collect();
    assert_eq!(connected, ["default", "assigned"], "{over}");
    let frames = of(&lines, "frame");
    let about = |frame: &Value| {
        let topic = frame["topic"].as_str().expect("text");
        let last = topic.rsplit('/').next().expect("never empty").to_owned();
        let first = frame["payload"].as_str().expect("text").lines().next().expect("never empty").to_owned();
        (frame["direction"].as_str().expect("text").to_owned(), last, first)
    };
    let told: Vec<_> = frames.iter().map(|frame| about(frame)).collect();
    let (sent, received) = (
        |v: &str, p: &str| ("sent".into(), p.into(), v.into()),
        |v: &str, p: &str| ("received".into(), p.into(), v.into()),
    );
    assert_eq!(told[0], sent("POST", "onboardings"), "{over}");
    assert_eq!(told[1], received("200", "onboardings"));
    assert_eq!(
        told[2..8],
        [
            sent("PUT", "states"),
            received("201", "states"),
            sent("PUT", "states"),
            received("204", "states"),
            sent("GET", "states"),
            received("200", "states"),
        ]
    );
    let client_id = of(&lines, "connected")[1]["clientID"].as_str().expect("text");
    let push = frames.iter().find(|frame| frame["topic"] == client_id).expect("the push");
    let push: Value = serde_json::from_str(push["payload"].as_str().expect("text")).expect("a push is JSON");
    assert_eq!(told[told.len() - 2..], [sent("PUT", "action-results"), received("204", "action-results")]);

    let command = of(&lines, "command")[0];
    assert_eq!((&command["commandState"], &command["commandID"]), (&"DONE".into(), &push["commandID"]));
    let steps: Vec<_> = of(&lines, "timing").iter().map(|timing| timing["step"].as_str().expect("text")).collect();
    assert!(steps.contains(&"onboarding answered") && steps.contains(&"command posted to DONE read"), "{steps:?}");
    let done = of(&lines, "done")[0];
    assert_eq!(done["frames"], frames.len());
    assert_eq!(lines.last(), Some(done));

    let texts =
        frames.iter().map(|frame| &frame["payload"]).chain(of(&lines, "http").into_iter().map(|call| &call["body"]));
    let mut secrets = 0;
    for line in texts.flat_map(|text| text.as_str().expect("text").lines()) {
        for name in ["Authorization", "accessToken", "access_token", "password", "thingPassword"] {
            let Some((_, value)) = line
                .split_once(&format!("{name}:"))
                .or(line.split_once(&format!("\"{name}\" :")))
                .or(line.split_once(&format!("\"{name}\":")))
            else {
                continue;
            };
            let value = value.trim().trim_start_matches("Bearer ").trim_start_matches('"');
            let value = value.split('"').next().expect("never empty");
            assert!(!value.is_empty() && value.chars().all(|c| "x-_.=".contains(c)), "{line}");
            secrets += 1;
        }
    }
    assert!(secrets >= 10, "only {secrets} credentials were there to be masked");
}

#[test]
fn it_tells_it_to_programs_over_tcp() {
    tells_it_to_programs("mqtt");
}

#[test]
fn it_tells_it_to_programs_over_tls() {
    tells_it_to_programs("mqtts");
}

#[test]
fn it_tells_it_to_programs_over_websocket() {
    tells_it_to_programs("ws");
}

#[test]
fn it_tells_it_to_programs_over_websocket_and_tls() {
    tells_it_to_programs("wss");
}
