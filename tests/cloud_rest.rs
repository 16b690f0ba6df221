//! The REST surface: the flows that need more than one request. Single requests are in `rest_table`.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::time::{Duration, SystemTime};

use cloud_support::*;
use serde_json::{Value, json};
use thingif::cloud::{Clock, Cloud};
use thingif::edge::PushOutcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the cases may name.
struct World {
    service: Road,
    served: Served,
    /// Text in a case, and what stands for it.
    names: Vec<(&'static str, String)>,
}

impl World {
    async fn new() -> Self {
        let mut options = options();
        // The table has more wrong passwords than one address would get away with.
        options.throttle_logins = false;
        let cloud = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens");
        let service = Road::Service(cloud.service());
        let served = Served::start(cloud).await;
        let http = served.http.clone();
        let (ann, ann_token) = user(&http, APP, KEY, "ann").await;
        let (bob, bob_token) = user(&http, APP, KEY, "bob").await;
        let (_, stranger) = user(&http, OTHER_APP, OTHER_KEY, "ann").await;
        let mine = onboard_by_owner(&http, APP, "lamp", &ann, &ann_token).await;
        let free = onboard(&http, APP, KEY, "free").await;
        let foreign = onboard(&http, OTHER_APP, OTHER_KEY, "lamp").await;
        let thing = mine.text("thingID");
        let posted = format!(
            r#"{{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{{"on":{{}}}},{{"dim":{{"to":1}}}}]}}"#
        );
        let commands = format!("/thing-if/apps/{APP}/targets/thing:{thing}/commands");
        let command = http.call("POST", &commands, &ann_token, &posted).await.text("commandID");
        let names = vec![
            ("{APP}", APP.to_owned()),
            ("{OTHER}", OTHER_APP.to_owned()),
            ("{TH}", thing),
            ("{FREE}", free.text("thingID")),
            ("{FOREIGN}", foreign.text("thingID")),
            ("{CID}", command),
            ("{ann}", ann),
            ("{bob}", bob),
            ("$thing", mine.text("accessToken")),
            ("$free", free.text("accessToken")),
            ("$foreign", foreign.text("accessToken")),
            ("$ann", ann_token),
            ("$bob", bob_token),
            ("$stranger", stranger),
            ("$key", basic(APP, KEY)),
            ("$wrongkey", basic(APP, "wrong")),
            ("$otherkey", basic(OTHER_APP, OTHER_KEY)),
        ];
        Self { service, served, names }
    }

    fn fill(&self, text: &str) -> String {
        // Longer names first: `$free` is not `$fr` followed by something.
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

const J: &str = "application/json";
const STATES: &str = "/thing-if/apps/{APP}/targets/thing:{TH}/states";

const USERS: &str = "/api/apps/{APP}/users";

#[tokio::test]
async fn an_onboarding_answer_is_the_documented_one_and_small() {
    let world = World::new().await;
    let answer = onboard(&world.service, APP, KEY, "fresh").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&body), ["accessToken", "thingID", "mqttEndpoint"]);
    let endpoint = &body["mqttEndpoint"];
    let expected = [
        "installationID",
        "username",
        "password",
        "mqttTopic",
        "host",
        "portTCP",
        "portSSL",
        "portWS",
        "portWSS",
        "ttl",
    ];
    assert_eq!(keys(endpoint), expected);
    assert_eq!(endpoint["host"], "broker.example");
    assert_eq!(endpoint["portTCP"], 1883);
    assert_eq!(endpoint["ttl"], 2_147_483_647);
    let len = |value: &Value| value.as_str().expect("a string").len();
    assert_eq!(len(&body["accessToken"]), 43);
    assert_eq!(len(&body["thingID"]), "th.".len() + 36);
    assert_eq!(len(&endpoint["installationID"]), 25);
    assert_eq!(len(&endpoint["mqttTopic"]), 23);
    assert_eq!(len(&endpoint["username"]), APP.len() + 1 + 23);
    assert_eq!(len(&endpoint["password"]), 64);
    assert!(!answer.body.contains(&b'%'), "one SDK percent-decodes endpoints");
    assert!(answer.body.len() < 700, "one sketch has 1000 bytes for all of it: {}", answer.body.len());
    world.served.stop().await;
}

#[tokio::test]
async fn a_repeated_onboarding_keeps_everything_but_the_token_and_the_newest_eight_stay_valid() {
    let world = World::new().await;
    let mut tokens = Vec::new();
    let mut first = None;
    for _ in 0..10 {
        let answer = onboard(&world.service, APP, KEY, "again").await.json();
        tokens.push(answer["accessToken"].as_str().expect("a token").to_owned());
        let kept = (answer["thingID"].clone(), answer["mqttEndpoint"].clone());
        assert_eq!(*first.get_or_insert_with(|| kept.clone()), kept);
    }
    let thing = first.expect("ten").0.as_str().expect("an id").to_owned();
    let path = format!("/thing-if/apps/{APP}/targets/thing:{thing}/states");
    let mut valid = Vec::new();
    for token in &tokens {
        valid.push(world.service.call("GET", &path, token, "").await.status);
    }
    assert_eq!(valid, [[403; 2].as_slice(), &[404; 8]].concat(), "403 WRONG_TOKEN, 404 STATE_NOT_FOUND");
    world.served.stop().await;
}

#[tokio::test]
async fn onboarding_at_the_same_time_makes_one_thing() {
    let world = World::new().await;
    let calls = (0..16).map(|_| {
        let service = world.service.clone();
        tokio::spawn(async move { onboard(&service, APP, KEY, "crowd").await })
    });
    let mut things = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.expect("no panic");
        assert_eq!(answer.status, 200, "{answer:?}");
        things.push((answer.text("thingID"), answer.json()["mqttEndpoint"].clone()));
    }
    things.dedup();
    assert_eq!(things.len(), 1, "{things:?}");
    world.served.stop().await;
}

#[tokio::test]
async fn a_state_comes_back_as_it_was_sent_and_has_a_limit() {
    let world = World::new().await;
    let token = world.fill("$thing");
    let path = world.fill(STATES);
    let sent = r#"{"z":1,"a":[1.5,31.245270191439438,null,{"deep":"ü"}],"power":true,"n":18446744073709551615}"#;
    assert_eq!(world.service.call("PUT", &path, &token, sent).await.status, 201);
    let answer = world.service.call("GET", &path, &token, "").await;
    assert_eq!(serde_json::to_string(&answer.json()).expect("JSON"), sent, "keys in their order");
    let state = |len: usize| format!(r#"{{"s":"{}"}}"#, "x".repeat(len - r#"{"s":""}"#.len()));
    assert_eq!(world.service.call("PUT", &path, &token, &state(10 * 1024)).await.status, 204);
    let refused = world.service.call("PUT", &path, &token, &state(10 * 1024 + 1)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_INPUT_DATA"));
    let refused = world.service.call("PUT", &path, &token, &state(65_537)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    world.served.stop().await;
}

/// Asks until `commandState` is `wanted`: outcomes of pushes are recorded after the answer.
async fn wait_for_state(road: &Road, path: &str, token: &str, wanted: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..1_000 {
        last = road.call("GET", path, token, "").await.json();
        if last["commandState"] == wanted {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} did not become {wanted}: {last}");
}

#[tokio::test]
async fn a_command_is_pushed_reported_and_done() {
    let pusher = Recorder::new(PushOutcome::Queued);
    let mut options = options();
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_464_327_857_123);
    options.clock = Clock::new(move || time);
    let served = Served::start(Cloud::open(options, pusher.clone()).expect("opens")).await;
    let http = served.http.clone();
    let (ann, owner) = user(&http, APP, KEY, "ann").await;
    let onboarded = onboard_by_owner(&http, APP, "lamp", &ann, &owner).await.json();
    let thing_id = onboarded["thingID"].as_str().expect("an id");
    let thing = onboarded["accessToken"].as_str().expect("a token");
    let commands = format!("/thing-if/apps/{APP}/targets/thing:{thing_id}/commands");
    let request = json!({
        "actions": [{"turnPower": {"power": true}}, {"setTemperature": {"to": 21}}],
        "issuer": format!("USER:{ann}"), "schema": "AirConditioner", "schemaVersion": 1,
        "title": "t".repeat(50), "description": "d", "metadata": {"k": [1]},
    });
    let answer = http.call("POST", &commands, &owner, &request.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.text("commandID");

    let pushed = pusher.take();
    assert_eq!(pushed.len(), 1);
    assert_eq!(pushed[0].0.as_str(), onboarded["mqttEndpoint"]["mqttTopic"]);
    let push: Value = serde_json::from_slice(&pushed[0].1).expect("JSON");
    let fields: Vec<_> = push.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(fields, ["schema", "schemaVersion", "commandID", "actions", "issuer"]);
    assert_eq!(push["commandID"], id);
    assert_eq!(push["actions"], request["actions"]);
    assert_eq!(push["issuer"], format!("user:{ann}"));

    let path = format!("{commands}/{id}");
    let read = wait_for_state(&http, &path, &owner, "DELIVERED").await;
    assert_eq!(
        read,
        json!({
            "commandID": id, "target": format!("thing:{thing_id}"), "issuer": format!("user:{ann}"),
            "actions": request["actions"], "commandState": "DELIVERED", "title": request["title"],
            "description": "d", "metadata": {"k": [1]}, "schema": "AirConditioner", "schemaVersion": 1,
            "createdAt": 1_464_327_857_123_i64, "modifiedAt": 1_464_327_857_123_i64,
        })
    );

    let results = format!("{path}/action-results");
    let some = r#"{"actionResults":[{"turnPower":{"succeeded":false,"errorMessage":"no power"}}]}"#;
    assert_eq!(http.call("PUT", &results, thing, some).await.status, 204);
    assert_eq!(http.call("GET", &path, &owner, "").await.json()["commandState"], "INCOMPLETE");
    let all =
        r#"{"actionResults":[{"turnPower":{"succeeded":true,"data":{"x":1}}},{"setTemperature":{"succeeded":true}}]}"#;
    assert_eq!(http.call("PUT", &results, thing, all).await.status, 204, "a repeated report replaces the first");
    let done = http.call("GET", &path, &owner, "").await.json();
    assert_eq!(done["commandState"], "DONE");
    assert_eq!(done["actionResults"], serde_json::from_str::<Value>(all).expect("JSON")["actionResults"]);
    let unknown = r#"{"actionResults":[{"explode":{"succeeded":true}}]}"#;
    assert_eq!(http.call("PUT", &results, thing, unknown).await.code(), "INVALID_INPUT_DATA");
    assert_eq!(http.call("GET", &path, &owner, "").await.json(), done, "a refused report changes nothing");

    pusher.set(PushOutcome::NotConnected);
    let id = http.call("POST", &commands, &owner, &request.to_string()).await.text("commandID");
    wait_for_state(&http, &format!("{commands}/{id}"), &owner, "SEND_FAILED").await;
    served.stop().await;
}

#[tokio::test]
async fn a_command_that_no_push_can_carry_is_refused() {
    let world = World::new().await;
    let path = world.fill("/thing-if/apps/{APP}/targets/thing:{TH}/commands");
    let body = |len: usize| {
        let text = format!(
            r#"{{"issuer":"user:{{ann}}","schema":"S","schemaVersion":1,"actions":[{{"say":{{"t":"{}"}}}}]}}"#,
            "x".repeat(len)
        );
        world.fill(&text)
    };
    let refused = world.service.call("POST", &path, &world.fill("$ann"), &body(4096)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "WRONG_COMMAND"), "{refused:?}");
    assert_eq!(world.service.call("POST", &path, &world.fill("$ann"), &body(3800)).await.status, 201);
    world.served.stop().await;
}

/// An object of at most `len` bytes that takes many times as many once it is printed with a line for each field, each
/// indented by 90 levels.
fn deep(len: usize) -> String {
    let fields: Vec<String> = (0..(len - 800) / 9).map(|i| format!(r#""{i:04}":1"#)).collect();
    format!("{}{{{}}}{}", r#"{"a":"#.repeat(90), fields.join(","), "}".repeat(90))
}

#[tokio::test]
async fn whatever_is_stored_fits_a_frame_when_it_is_read() {
    let world = World::new().await;
    let (owner, thing) = (world.fill("$ann"), world.fill("$thing"));
    let service = &world.service;
    let states = world.fill(STATES);
    assert_eq!(service.call("PUT", &states, &thing, &deep(1_200)).await.status, 201);
    let refused = service.call("PUT", &states, &thing, &deep(10 * 1024)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_INPUT_DATA"), "{refused:?}");

    let commands = world.fill("/thing-if/apps/{APP}/targets/thing:{TH}/commands");
    let request = |metadata: &str| {
        let text =
            r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}],"metadata":{metadata}}"#;
        world.fill(text).replace("{metadata}", metadata)
    };
    for metadata in [deep(4 * 1024), deep(60 * 1024), format!(r#"{{"k":"{}"}}"#, "x".repeat(60 * 1024))] {
        let refused = service.call("POST", &commands, &owner, &request(&metadata)).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "WRONG_COMMAND"), "{}", metadata.len());
    }
    let metadata = format!(r#"{{"k":"{}"}}"#, "x".repeat(20 * 1024));
    let id = service.call("POST", &commands, &owner, &request(&metadata)).await.text("commandID");
    let results = format!("{commands}/{id}/action-results");
    let report = |data: &str| format!(r#"{{"actionResults":[{{"on":{{"succeeded":true,"data":{data}}}}}]}}"#);
    let refused = service.call("PUT", &results, &thing, &report(&deep(30 * 1024))).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_INPUT_DATA"), "{refused:?}");
    let data = format!(r#""{}""#, "x".repeat(20 * 1024));
    assert_eq!(service.call("PUT", &results, &thing, &report(&data)).await.status, 204);
    for path in [states, commands.clone(), format!("{commands}/{id}")] {
        let read = service.call("GET", &path, &owner, "").await;
        assert!(read.status == 200 && read.body.len() < 60 * 1024, "{path}: {} {}", read.status, read.body.len());
    }
    world.served.stop().await;
}

#[tokio::test]
async fn commands_are_listed_newest_first_page_by_page() {
    let world = World::new().await;
    let token = world.fill("$ann");
    let path = world.fill("/thing-if/apps/{APP}/targets/thing:{TH}/commands");
    let mut posted = vec![world.fill("{CID}")];
    for i in 0..6 {
        let body = world.fill(r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#);
        let answer = world.service.call("POST", &path, &token, &body.replace("\"S\"", &format!("\"S{i}\""))).await;
        posted.push(answer.text("commandID"));
    }
    posted.reverse();
    let mut listed = Vec::new();
    let mut pages = Vec::new();
    let mut key = None::<String>;
    loop {
        let query = key.map_or_else(String::new, |key| format!("&paginationKey={key}"));
        let page = world.service.call("GET", &format!("{path}?bestEffortLimit=3{query}"), &token, "").await.json();
        let commands = page["commands"].as_array().expect("a list");
        pages.push(commands.len());
        listed.extend(commands.iter().map(|command| command["commandID"].as_str().expect("an id").to_owned()));
        key = page["nextPaginationKey"].as_str().map(str::to_owned);
        match &key {
            Some(key) => assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{key}"),
            None => break,
        }
    }
    assert_eq!((pages, listed), (vec![3, 3, 1], posted));
    world.served.stop().await;
}

#[tokio::test]
async fn sign_up_answers_as_its_content_type_asks() {
    let world = World::new().await;
    let http = &world.served.http;
    let path = world.fill(USERS);
    let key = basic(APP, KEY);
    let plain = [("Authorization", key.as_str()), ("Content-Type", J)];
    let answer = http.send("POST", &path, &plain, r#"{"loginName":"dora","password":"secret"}"#).await;
    let id = answer.text("userID");
    assert_eq!(answer.json(), json!({ "userID": id }));
    assert_eq!(answer.headers["location"], format!("/api/apps/{APP}/users/{id}").as_str());
    let with_token = "application/vnd.kii.RegistrationAndAuthorizationRequest+json";
    let headers = [("Authorization", key.as_str()), ("Content-Type", with_token)];
    let body = r#"{"loginName":"emil","password":"hunter22","displayName":"Emil","_hidden":1,"userID":"mine"}"#;
    let answer = http.send("POST", &path, &headers, body).await;
    assert!(answer.headers["location"].as_bytes().ends_with(answer.text("userID").as_bytes()), "{answer:?}");
    let token = answer.text("_accessToken");
    assert_eq!((answer.text("loginName"), answer.text("displayName")), ("emil".into(), "Emil".into()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("hunter22"));
    assert!(answer.json().get("_hidden").is_none());
    let owned = onboard_by_owner(http, APP, "emils", &answer.text("userID"), &token).await;
    assert_eq!(owned.status, 200, "the token is that user's");
    world.served.stop().await;
}

#[tokio::test]
async fn a_token_expires_when_its_login_asked_for_it() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let offset = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut options = options();
    let seconds = offset.clone();
    options.clock = Clock::new(move || start + Duration::from_secs(seconds.load(std::sync::atomic::Ordering::SeqCst)));
    let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
    let http = served.http.clone();
    user(&http, APP, KEY, "ann").await;
    let body = json!({ "username": "ann", "password": "secret of ann", "expiresAt": 1_700_000_060_000_i64 });
    let answer = http.send("POST", &format!("/api/apps/{APP}/oauth2/token"), &[], &body.to_string()).await;
    assert_eq!(answer.json()["expires_in"], 60);
    assert_eq!(answer.json()["token_type"], "bearer");
    let path = format!("/thing-if/apps/{APP}/targets/thing:none/states");
    assert_eq!(http.call("GET", &path, &answer.text("access_token"), "").await.code(), "TARGET_NOT_FOUND");
    offset.store(60, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(http.call("GET", &path, &answer.text("access_token"), "").await.code(), "WRONG_TOKEN");
    served.stop().await;
}

#[tokio::test]
async fn any_app_key_opens_when_the_option_says_so() {
    let mut options = options();
    options.accept_any_app_key = true;
    let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
    assert_eq!(onboard(&served.http, APP, "whatever", "lamp").await.status, 200);
    assert_eq!(onboard(&served.http, "nosuchapp", "whatever", "lamp").await.code(), "APP_NOT_FOUND");
    served.stop().await;
}

#[tokio::test]
async fn without_an_advertised_host_the_accepted_address_is_told_and_closed_listeners_are_left_out() {
    let mut options = options();
    options.advertise = thingif::cloud::Advertise { tcp: Some(1883), ..Default::default() };
    let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
    let endpoint = onboard(&served.http, APP, KEY, "lamp").await.json()["mqttEndpoint"].clone();
    assert_eq!(endpoint["host"], "127.0.0.1");
    assert_eq!(endpoint["portTCP"], 1883);
    for port in ["portSSL", "portWS", "portWSS"] {
        assert!(endpoint.get(port).is_none(), "{endpoint}");
    }
    served.stop().await;
}

#[tokio::test]
async fn request_lines_in_absolute_form_are_taken() {
    let world = World::new().await;
    let line = world.fill("http://api.example:443/thing-if/apps/{APP}/targets/thing:{TH}/states?x=1");
    let answer = world.served.http.call("PUT", &line, &world.fill("$thing"), "{}").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    world.served.stop().await;
}

#[tokio::test]
async fn application_headers_beside_a_token_are_not_looked_at() {
    let world = World::new().await;
    let bearer = world.fill("Bearer $thing");
    let headers = [("Authorization", bearer.as_str()), ("X-Kii-AppID", "another"), ("X-Kii-AppKey", "wrong")];
    for road in [&world.service, &world.served.http] {
        let answer = road.send("PUT", &world.fill(STATES), &headers, "{}").await;
        assert!(matches!(answer.status, 201 | 204), "{answer:?}");
    }
    world.served.stop().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_is_closed_at_shutdown() {
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.served.address).await.expect("listening");
    let path = world.fill(STATES);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", world.fill("$thing"));
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            assert!(stream.read_buf(&mut seen).await.expect("read") > 0, "still open");
        }
        assert_eq!(parse(&seen).code(), "STATE_NOT_FOUND");
    }
    world.served.stop().await;
    assert_eq!(stream.read(&mut [0; 16]).await.expect("closed in order"), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_take_its_write_back() {
    let world = World::new().await;
    let path = world.fill(STATES);
    let token = world.fill("$thing");
    let mut stream = tokio::net::TcpStream::connect(world.served.address).await.expect("listening");
    let body = r#"{"last":"words"}"#;
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    drop(stream);
    for _ in 0..1_000 {
        let answer = world.service.call("GET", &path, &token, "").await;
        if answer.status == 200 {
            assert_eq!(answer.json(), json!({ "last": "words" }));
            world.served.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the state never came");
}

#[tokio::test]
async fn a_closed_cloud_says_so_and_promises_nothing() {
    let world = World::new().await;
    let (service, path, token) = (world.service.clone(), world.fill(STATES), world.fill("$thing"));
    world.served.stop().await;
    let answer = service.call("PUT", &path, &token, "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "RESOURCE_TEMPORARILY_UNAVAILABLE"));
    assert_eq!(answer.headers["retry-after"], "1");
}
