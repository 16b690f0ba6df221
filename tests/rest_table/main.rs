//! The REST surface: one table of requests with their answers. Every one is sent over HTTP, and every one below `/thing-if/`
//! over MQTT too, each in a world of its own: status, headers and body are what was promised, and the same on both roads.
//!
//! The rows are in `rows/`, a file for each resource; `case.rs` says how to read them.
#![cfg(feature = "cloud")]

mod case;
#[path = "../cloud_support/mod.rs"]
mod cloud_support;
mod errors;
#[path = "../support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "../support/routes.rs"]
mod routes;
mod rows;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use case::{Case, Place, Request, Told, check};
use rows::{DIFFERING, Differing, Group, TABLE};
use thingif::thing_if::ErrorCode;
use world::World;

/// What became of one or many groups.
#[derive(Default)]
struct Report {
    /// Cases that were sent.
    http: usize,
    mqtt: usize,
    /// Cases of Kii Cloud's own paths, which MQTT does not have.
    refused: usize,
    failures: Vec<String>,
    /// Every answer over HTTP, by route: method, path and status.
    answered: BTreeSet<(String, String, u16)>,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.http += other.http;
        self.mqtt += other.mqtt;
        self.refused += other.refused;
        self.failures.extend(other.failures);
        self.answered.extend(other.answered);
    }

    fn note(&mut self, world: &World) {
        for operation in world.served.cloud.operations() {
            let all = operation.answers.keys();
            self.answered.extend(all.map(|status| (operation.method.to_owned(), operation.path.clone(), *status)));
        }
    }
}

async fn set_up(world: &mut World, group: &Group) {
    for case in group.setup {
        let request = Request::of(case, &world.names);
        let answer = world.over_http(&request).await;
        check(case, &request, &answer, &mut world.names).unwrap_or_else(|wrong| panic!("{}: {wrong}", group.name));
    }
    world.turn(group.place).await;
}

async fn http(world: &mut World, case: &Case) -> Result<Told, String> {
    let request = Request::of(case, &world.names);
    let answer = world.over_http(&request).await;
    check(case, &request, &answer, &mut world.names).map_err(|wrong| format!("over HTTP: {wrong}"))
}

/// Over MQTT what is below `/thing-if/`; of everything else that there is nothing.
async fn mqtt(world: &mut World, case: &Case) -> Result<Option<Told>, String> {
    let request = Request::of(case, &world.names);
    let answer = world.over_mqtt(&request).await;
    if request.is_thing_if() {
        return check(case, &request, &answer, &mut world.names)
            .map(Some)
            .map_err(|wrong| format!("over MQTT: {wrong}"));
    }
    // What is asked next builds on it.
    let expected = (404, "PATH_NOT_FOUND".to_owned());
    if (answer.status, answer.code()) != expected {
        return Err(format!("{} over MQTT: {answer:?}", case.0));
    }
    http(world, case).await.map(|_| None)
}

async fn run(group: &'static Group) -> Report {
    let mut report = Report::default();
    let (mut first, mut second) = (World::start(group.place).await, World::start(group.place).await);
    set_up(&mut first, group).await;
    set_up(&mut second, group).await;
    for case in group.cases.iter().copied().flatten() {
        let outcome = async {
            report.http += 1;
            let over_http = http(&mut first, case).await?;
            match mqtt(&mut second, case).await? {
                None => report.refused += 1,
                Some(over_mqtt) if over_mqtt == over_http => report.mqtt += 1,
                Some(over_mqtt) => {
                    return Err(format!("{}: {over_http:#?} over HTTP, {over_mqtt:#?} over MQTT", case.0));
                }
            }
            Ok(())
        };
        if let Err(failure) = outcome.await {
            report.failures.push(format!("{}: {failure}", group.name));
        }
    }
    report.note(&first);
    first.stop().await;
    second.stop().await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_its_answer_over_http_and_every_thing_if_case_the_same_over_mqtt() {
    let mut report = Report::default();
    for group in TABLE {
        report.add(run(group).await);
    }
    let Report { http, mqtt, refused, failures, answered } = report;
    println!("{http} cases over HTTP, {mqtt} of them over MQTT too; {refused} are not there over MQTT");
    assert!(failures.is_empty(), "{} of {http} cases\n{}", failures.len(), failures.join("\n"));
    assert_eq!(http, mqtt + refused);
    assert!(http >= 600, "{http} cases over HTTP");
    assert!(mqtt >= 300, "{mqtt} cases over MQTT");

    // Nothing that the router has is left out.
    let mut missing = Vec::new();
    for (method, path) in routes::routes() {
        let statuses: Vec<_> = answered
            .iter()
            .filter(|(by, to, _)| (*by == method || method == "ANY") && *to == path)
            .map(|(_, _, status)| *status)
            .collect();
        let succeeds = method == "ANY" || statuses.iter().any(|status| *status < 300);
        if !succeeds || !statuses.iter().any(|status| *status >= 400) {
            missing.push(format!("{method} {path}: {statuses:?}"));
        }
    }
    assert!(missing.is_empty(), "routes without a case that succeeds and one that fails:\n{}", missing.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mqtt_answers_otherwise_is_in_a_list_of_its_own() {
    let mut failures = Vec::new();
    for Differing { place, case, over_mqtt: (status, says) } in DIFFERING {
        let group = Group { name: "differing", place: *place, setup: &[rows::LAMP], cases: &[] };
        let mut world = World::start(*place).await;
        set_up(&mut world, &group).await;
        failures.extend(http(&mut world, case).await.err());
        let request = Request::of(case, &world.names);
        if *place == Place::Hurried {
            world.over_mqtt(&request).await;
        }
        let answer = world.over_mqtt(&request).await;
        let (line, authorization, content_type, body, ..) = *case;
        let case = (line, authorization, content_type, body, *status, *says);
        failures
            .extend(check(&case, &request, &answer, &mut world.names).err().map(|wrong| format!("over MQTT: {wrong}")));
        world.stop().await;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every route, whether or not the table has a case of it.
#[tokio::test]
async fn no_path_of_kii_cloud_is_there_over_mqtt() {
    let mut world = World::start(Place::Usual).await;
    let mut count = 0;
    for (method, path) in routes::routes().into_iter().filter(|(_, path)| path.starts_with("/api/")) {
        let path = path.replace("{*rest}", "buckets/bb").replace("{app}", "{APP}").replace("{user}", "me");
        let path = path.replace("{", "").replace("}", "").replace("/APP/", &format!("/{}/", cloud_support::APP));
        for authorization in ["-", "$key", "Bearer $ann", "Bearer $admin"] {
            let mut headers = Vec::new();
            if authorization != "-" {
                headers.push(("Authorization".to_owned(), world.names.fill(authorization)));
            }
            let method = method.clone().replace("ANY", "POST").leak();
            let request = Request { method, path: path.clone(), headers, body: "{}".to_owned() };
            let answer = world.over_mqtt(&request).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "PATH_NOT_FOUND"), "{method} {path}");
            count += 1;
        }
    }
    assert!(count >= 4 * 60, "{count}");
    let nothing = world.served.cloud.operations().into_iter().filter(|o| o.road == thingif::cloud::Road::Mqtt).count();
    assert_eq!(nothing, 0, "the router was not even asked");
    world.stop().await;
}

/// What the crate knows, what is written of it, and what has a case are the same.
#[test]
fn every_error_row_has_a_case() {
    let account = errors::account();
    let known: BTreeMap<_, _> =
        ErrorCode::KNOWN.iter().map(|code| (code.as_str().to_owned(), code.status().as_u16())).collect();
    assert_eq!(account.statuses, known, "`wire` §5 and the crate");

    let mut seen = BTreeMap::<&str, BTreeSet<u16>>::new();
    for (_, _, _, _, status, says) in TABLE.iter().flat_map(|group| group.cases.iter().copied().flatten()) {
        if *status >= 400 && !says.is_empty() {
            seen.entry(says).or_default().insert(*status);
        }
    }
    for Differing { over_mqtt: (status, says), .. } in DIFFERING.iter().filter(|case| case.over_mqtt.0 >= 400) {
        seen.entry(says).or_default().insert(*status);
    }
    for (code, status) in &account.statuses {
        let cases = seen.get(code.as_str());
        match account.never.get(code) {
            Some(why) => assert_eq!(cases, None, "{code} is given after all: {why}"),
            None => assert_eq!(cases, Some(&BTreeSet::from([*status])), "{code}: no case, or one with another status"),
        }
    }
    let unknown: Vec<_> = seen.keys().filter(|code| !account.statuses.contains_key(**code)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
