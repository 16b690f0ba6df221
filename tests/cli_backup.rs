//! `thingif backup`: of a server that is running and written to.
#![cfg(feature = "cli")]

mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use program::{APP, BASIC, Server, Thing, http, run, thingif};
use serde_json::{Value, json};

const BY_THING: &str = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";

/// Onboards by HTTP; the answer.
fn onboard(address: &str, vendor: &str) -> Value {
    let body = json!({"vendorThingID": vendor, "thingPassword": "thing-password"});
    let path = format!("/thing-if/apps/{APP}/onboardings");
    let (status, answer) = http(address, "POST", &path, BASIC, BY_THING, &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

/// One thing and how far its state has been answered for.
struct Writer {
    states: String,
    token: String,
    answered: AtomicU64,
}

#[test]
fn a_backup_has_everything_that_was_answered_before_it_began() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let data = data.to_str().expect("text");
    let server = Server::start_with(&["--data", data]);
    let address = server.address("http").to_owned();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtts");

    let writers: Vec<_> = (0..3)
        .map(|number| {
            let onboarded = onboard(&address, &format!("lamp-{number}"));
            let text = |field: &str| onboarded[field].as_str().expect("a text").to_owned();
            Arc::new(Writer {
                states: format!("/thing-if/apps/{APP}/targets/thing:{}/states", text("thingID")),
                token: format!("Bearer {}", text("accessToken")),
                answered: AtomicU64::new(0),
            })
        })
        .collect();
    let enough = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = writers
        .iter()
        .map(|writer| {
            let (writer, address, enough) = (Arc::clone(writer), address.clone(), Arc::clone(&enough));
            std::thread::spawn(move || {
                let mut count = 0;
                while !enough.load(Ordering::SeqCst) {
                    count += 1;
                    let state = json!({"count": count, "padding": "x".repeat(2_000)});
                    let (status, answer) =
                        http(&address, "PUT", &writer.states, &writer.token, "application/json", &state);
                    assert!(matches!(status, 201 | 204), "{status} {answer}");
                    writer.answered.store(count, Ordering::SeqCst);
                }
            })
        })
        .collect();
    while writers.iter().any(|writer| writer.answered.load(Ordering::SeqCst) < 10) {
        std::thread::yield_now();
    }

    // Several, each while it is written to.
    let mut backups = Vec::new();
    for round in 0..3 {
        let to = dir.path().join(format!("copy-{round}"));
        let before: Vec<_> = writers.iter().map(|writer| writer.answered.load(Ordering::SeqCst)).collect();
        let mut backup = thingif();
        backup.args(["backup", "--json", "--data", data, "--to"]).arg(&to);
        let made = run(&mut backup).expect(0).json();
        assert_eq!(made["databaseBytes"], std::fs::metadata(to.join("thingif.db")).expect("there").len());
        let asked: Vec<_> = writers.iter().map(|writer| writer.answered.load(Ordering::SeqCst) + 1).collect();
        backups.push((to, before, asked));
        run(&mut backup).expect(1).stderr.lines().find(|line| line.contains("is there already")).expect("named");
    }
    enough.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("every write was answered");
    }
    let endpoint = onboard(&address, "lamp-0")["mqttEndpoint"].clone();
    let authority = std::fs::read(server.ready["ca"].as_str().expect("a local authority")).expect("readable");
    drop(server);

    for (to, before, asked) in backups {
        let restored = Server::start_with(&["--data", to.to_str().expect("text")]);
        let address = restored.address("http").to_owned();
        for ((writer, before), asked) in writers.iter().zip(before).zip(asked) {
            let (status, state) =
                http(&address, "GET", &writer.states, &writer.token, "application/json", &Value::Null);
            assert_eq!(status, 200, "{state}");
            let count = state["count"].as_u64().expect("a number");
            assert!((before..=asked).contains(&count), "{before} <= {count} <= {asked}");
        }
        // The things come back with what they have: endpoint, password, and the authority that they trust.
        let again = &onboard(&address, "lamp-0")["mqttEndpoint"];
        for field in ["username", "password", "mqttTopic"] {
            assert_eq!(again[field], endpoint[field], "{field}");
        }
        let restored_authority = restored.ready["ca"].as_str().expect("a local authority");
        assert_eq!(std::fs::read(restored_authority).expect("readable"), authority);
    }
}

#[test]
fn what_is_no_data_directory_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = dir.path().join("copy");
    let refused = run(thingif().args(["backup", "--data"]).arg(dir.path()).arg("--to").arg(&to)).expect(1);
    assert!(refused.stderr.contains("it has no thingif.db") && refused.stderr.contains("--data"), "{}", refused.stderr);
    assert!(refused.stdout.is_empty() && !to.exists());
    run(thingif().args(["backup", "--data"]).arg(dir.path())).expect(2);
}
