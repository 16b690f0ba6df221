//! An edge with many clients, bare or with the cloud behind it, that does what it is told on its standard input.

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use thingif::cloud::{Cloud, CloudService, Location, Options, PasswordCost};
use thingif::edge::{Edge, Listeners, PushOutcome, Pusher as _, Registry};
use tokio::task::JoinSet;
use tower_service::Service as _;

use super::fixed::{APP, Everybody, Fixed, listen, unlimited};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Onboardings at once.
const AT_ONCE: usize = 256;

/// What a client needs to know: client identifier, user name, password, thing, token; separated by spaces.
pub(crate) type Account = String;

enum Store {
    None,
    Cloud(Cloud, tempfile::TempDir),
}

/// Serves until the bench ends.
pub(crate) async fn serve(is_cloud: bool) {
    let (registry, config) = (Registry::new(), unlimited());
    let listeners = Listeners { mqtt: Some(listen().await), ..Listeners::default() };
    let store = if is_cloud {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut options = Options::default();
        options.store = Location::Dir(directory.path().join("data"));
        options.apps = vec![(APP.parse().expect("valid"), KEY.into())];
        // What a password costs is not what is measured.
        options.password_cost = PasswordCost { memory_kib: 8, passes: 1 };
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry.clone(), config);
        tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
        Store::Cloud(cloud, directory)
    } else {
        let edge = Edge::new(Fixed, Everybody, registry.clone(), config);
        tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
        Store::None
    };
    let mut accounts: Vec<Account> = Vec::new();
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
        let Some(Ok(line)) = line.await.expect("no panic") else { return };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // Until there are so many things; who they are is written to a file.
            ["things", count, file] => {
                let count = count.parse().expect("a number");
                accounts.extend(match &store {
                    Store::None => (accounts.len()..count).map(anybody).collect(),
                    Store::Cloud(cloud, _) => onboard(&cloud.service(), accounts.len()..count).await,
                });
                std::fs::write(file, accounts.join("\n")).expect("written");
                println!("done");
            }
            ["push", from, to] => {
                let [from, to] = [from, to].map(|number| number.parse::<usize>().expect("a number"));
                let padding = "x".repeat(280);
                for account in &accounts[from..to] {
                    let client = account.split(' ').next().expect("its first word").parse().expect("valid");
                    let payload = Bytes::from(format!("{} {padding}", micros()));
                    assert_eq!(registry.push(&client, payload).await, PushOutcome::Queued);
                }
                println!("done");
            }
            _ => panic!("{line}"),
        }
    }
}

/// Since 1970: two processes compare them.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970");
    u64::try_from(since.as_micros()).expect("not that late")
}

fn anybody(number: usize) -> Account {
    format!("client-{number} u p th.{number} 0123456789abcdef0123456789abcdef01234567")
}

async fn onboard(service: &CloudService, numbers: std::ops::Range<usize>) -> Vec<Account> {
    let mut left: VecDeque<usize> = numbers.collect();
    let (mut tasks, mut accounts) = (JoinSet::new(), Vec::new());
    loop {
        while tasks.len() < AT_ONCE
            && let Some(number) = left.pop_front()
        {
            tasks.spawn(onboard_one(service.clone(), number));
        }
        match tasks.join_next().await {
            Some(account) => accounts.push(account.expect("no panic")),
            None => return accounts,
        }
    }
}

async fn onboard_one(mut service: CloudService, number: usize) -> Account {
    let request = http::Request::post(format!("/thing-if/apps/{APP}/onboardings"))
        .header("X-Kii-AppID", APP)
        .header("X-Kii-AppKey", KEY)
        .header("Content-Type", "application/vnd.kii.OnboardingWithVendorThingIDByThing+json")
        .body(Bytes::from(format!(r#"{{"vendorThingID":"thing{number}","thingPassword":"secret"}}"#)))
        .expect("valid");
    let answer = service.call(request).await.unwrap_or_else(|never| match never {});
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let endpoint = &answer["mqttEndpoint"];
    let words = [
        &endpoint["mqttTopic"],
        &endpoint["username"],
        &endpoint["password"],
        &answer["thingID"],
        &answer["accessToken"],
    ];
    words.map(|word| word.as_str().expect("a text")).join(" ")
}
