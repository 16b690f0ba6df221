//! The player is shown scripts that do not fit and must say where.

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use super::play;

pub(crate) fn trials() -> Vec<Trial> {
    type Spoil = fn(&mut Vec<Value>);
    let bad: [(&str, Spoil, &str); 9] = [
        ("another byte", |lines| replace(lines, "thingPassword", "thingpassword"), "3: first difference"),
        (
            "a byte more",
            |lines| lines[2]["payload"] = json!(format!("{} ", lines[2]["payload"].as_str().expect("text"))),
            "3: first difference",
        ),
        ("another topic", |lines| replace(lines, "onboardings", "onboarding"), "3: first difference"),
        ("another moment", |lines| lines[2]["after_us"] = json!(1), "3: first difference"),
        ("too late", |lines| lines[0]["us"] = json!(9), "1: first difference"),
        (
            "a member less",
            |lines| _ = lines[0].as_object_mut().expect("object").shift_remove("password"),
            "1: first difference",
        ),
        ("an unknown member", |lines| lines[1]["qos"] = json!(1), "2: \"connected\" has no member \"qos\""),
        ("something left out", |lines| _ = lines.remove(2), "3: first difference"),
        ("something too much", |lines| lines.push(json!({ "kind": "close", "link": 1 })), "8: first difference"),
    ];
    let mut trials =
        vec![Trial::test("proof::a script that fits is played to its end", || run(&lines()).map_err(Failed::from))];
    trials.extend(bad.map(|(what, spoil, expected)| {
        Trial::test(format!("proof::{what} is a difference"), move || {
            let mut lines = lines();
            spoil(&mut lines);
            match run(&lines) {
                Err(difference) if difference.starts_with(expected) => Ok(()),
                Err(difference) => Err(format!("wanted {expected:?}, got {difference}").into()),
                Ok(()) => Err("no difference was found".into()),
            }
        })
    }));
    trials
}

fn run(lines: &[Value]) -> Result<(), String> {
    let head = json!({
        "config": { "broker": "mqtt://h", "app_id": "a", "app_key": "k", "vendor_thing_id": "v", "thing_password": "p",
            "seed": 1 },
        "ends": { "idle": true, "closed": true, "ignored": { "foreign_messages": 1 } },
    });
    let numbered: Vec<_> = lines.iter().cloned().enumerate().map(|(n, line)| (n + 1, line)).collect();
    play(&head, &numbered)
}

fn lines() -> Vec<Value> {
    vec![
        json!({ "us": 0, "kind": "connect", "link": 1, "endpoint": "mqtt://h:1883", "client_id": "anonymous",
            "username": "type=oauth2&client_id=a", "password": "client_secret=k" }),
        json!({ "us": 9, "kind": "connected", "link": 1 }),
        json!({ "kind": "publish", "link": 1, "topic": "p/anonymous/thing-if/apps/a/onboardings",
            "payload": "POST\r\nContent-Type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json\r\n\r\n\
                {\"vendorThingID\":\"v\",\"thingPassword\":\"p\"}" }),
        json!({ "after_us": 5, "kind": "received", "link": 1, "topic": "elsewhere", "payload": "x" }),
        json!({ "after_us": 5, "kind": "stop" }),
        json!({ "kind": "close", "link": 1 }),
        json!({ "kind": "end" }),
    ]
}

fn replace(lines: &mut [Value], from: &str, to: &str) {
    let changed = lines[2].to_string().replacen(from, to, 1);
    lines[2] = serde_json::from_str(&changed).expect("still JSON");
}
