//! Things over Kii Cloud's REST: registration, fields, maker's ids, owners, and the list of what somebody owns.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::names::Names;
use cloud_support::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use thingif::cloud::{AdminClient, Cloud, Options};
use thingif::edge::PushOutcome;

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";

const J: &str = "application/json";
const REG: &str = "application/vnd.kii.ThingRegistrationRequest+json";
const REG_AUTH: &str = "application/vnd.kii.ThingRegistrationAndAuthorizationRequest+json";
const UPDATE: &str = "application/vnd.kii.ThingUpdateRequest+json";
const QUERY: &str = "application/vnd.kii.ThingQueryRequest+json";

fn with_admin() -> Options {
    let mut options = options();
    options.throttle_logins = false;
    options.admins = vec![AdminClient {
        app: APP.parse().expect("valid"),
        client_id: ADMIN.to_owned(),
        client_secret: ADMIN_SECRET.into(),
    }];
    options
}

/// Ann owns the lamp, Bob the kettle.
struct World {
    served: Served,
    names: Names,
}

impl World {
    async fn start() -> Self {
        let cloud = Cloud::open(with_admin(), Recorder::new(PushOutcome::Queued)).expect("opens");
        let served = Served::start(cloud).await;
        let http = &served.http;
        let mut names = Names::default();
        let (ann, ann_token) = user(http, APP, KEY, "ann").await;
        let (bob, bob_token) = user(http, APP, KEY, "bob").await;
        let (_, stranger) = user(http, OTHER_APP, OTHER_KEY, "ann").await;
        let lamp = onboard_by_owner(http, APP, "lamp", &ann, &ann_token).await;
        let kettle = onboard_by_owner(http, APP, "kettle", &bob, &bob_token).await;
        let foreign = onboard(http, OTHER_APP, OTHER_KEY, "lamp").await;
        for (token, client, secret) in [("$admin", ADMIN, ADMIN_SECRET), ("$anybody", APP, KEY)] {
            let body = json!({"client_id": client, "client_secret": secret}).to_string();
            let path = format!("/api/apps/{APP}/oauth2/token");
            names.add(token, http.send("POST", &path, &[("Content-Type", J)], &body).await.text("access_token"));
        }
        names.add("{APP}", APP);
        names.add("{TH}", lamp.text("thingID"));
        names.add("{KETTLE}", kettle.text("thingID"));
        names.add("{FOREIGN}", foreign.text("thingID"));
        names.add("$lamp", lamp.text("accessToken"));
        names.add("$kettle", kettle.text("accessToken"));
        names.add("{ann}", ann);
        names.add("{bob}", bob);
        names.add("$ann", ann_token);
        names.add("$bob", bob_token);
        names.add("$stranger", stranger);
        names.add("$key", basic(APP, KEY));
        names.add("$wrongkey", basic(APP, "wrong"));
        names.add("$otherkey", basic(OTHER_APP, OTHER_KEY));
        Self { served, names }
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn send(&self, line: &str, authorization: &str, content_type: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let authorization = self.names.fill(authorization);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
        self.http().send(method, &self.names.fill(path), &headers, &self.names.fill(body)).await
    }
}

const THINGS: &str = "POST /api/apps/{APP}/things";
const GET: &str = "GET /api/apps/{APP}/things/{TH}";
const PATCH: &str = "PATCH /api/apps/{APP}/things/{TH}";

#[tokio::test]
async fn a_registered_thing_is_where_its_location_says_and_its_token_is_its_own() {
    let world = World::start().await;
    let body = r#"{"_vendorThingID":"camera","_password":"123456","_thingType":"CAMERA"}"#;
    // As one SDK of gateways says which application it means.
    let headers = [("X-Kii-AppID", APP), ("X-Kii-AppKey", KEY), ("Content-Type", REG_AUTH)];
    let made = world.http().send("POST", &format!("/api/apps/{APP}/things"), &headers, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let location = made.headers["location"].to_str().expect("text").to_owned();
    assert_eq!(location, format!("/api/apps/{APP}/things/{}", made.text("_thingID")));
    let read = world.http().call("GET", &location, &made.text("_accessToken"), "").await;
    assert_eq!(read.text("_vendorThingID"), "camera");
    let states = format!("/thing-if/apps/{APP}/targets/thing:{}/states", made.text("_thingID"));
    assert_eq!(world.http().call("PUT", &states, &made.text("_accessToken"), "{}").await.status, 201);

    // It can be onboarded with the password that it was registered with, and with no other.
    for (password, status) in [("123456", 200), ("wrong", 401)] {
        let body = json!({"vendorThingID": "camera", "thingPassword": password}).to_string();
        let answer = world.send(&format!("POST /thing-if/apps/{APP}/onboardings"), "$key", BY_THING, &body).await;
        assert_eq!(answer.status, status);
    }
    world.served.stop().await;
}

#[tokio::test]
async fn custom_fields_of_63_kilobytes_are_taken_and_a_byte_more_is_not() {
    let world = World::start().await;
    let custom = |len: usize| json!({ "a": "x".repeat(len - r#"{"a":""}"#.len()) }).to_string();
    for (len, status) in [(63 * 1024, 204), (63 * 1024 + 1, 400)] {
        assert_eq!(world.send(PATCH, "Bearer $ann", UPDATE, &custom(len)).await.status, status, "{len}");
    }
    let read = world.send(GET, "Bearer $ann", J, "").await;
    assert_eq!(read.text("a").len(), 63 * 1024 - r#"{"a":""}"#.len());
    world.served.stop().await;
}

/// One SDK decodes the text of these answers as if it were a URI.
#[tokio::test]
async fn no_answer_about_a_thing_has_a_percent_sign_in_it() {
    let world = World::start().await;
    let fields = json!({"humidity": "50%", "%": "%zz"});
    assert_eq!(world.send(PATCH, "Bearer $ann", UPDATE, &fields.to_string()).await.status, 204);
    let query = r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#;
    let registration = r#"{"_vendorThingID":"v","_password":"p","humidity":"50%","%":"%zz"}"#;
    let read = world.send(GET, "Bearer $ann", J, "").await;
    let listed = world.send("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, query).await;
    let registered = world.send(THINGS, "$key", REG, registration).await;
    for (answer, thing) in
        [(&read, read.json()), (&listed, listed.json()["results"][0].clone()), (&registered, registered.json())]
    {
        assert!(!answer.body.contains(&b'%'), "{:?}", answer.body);
        assert_eq!((&thing["humidity"], &thing["%"]), (&fields["humidity"], &fields["%"]));
    }
    world.served.stop().await;
}

#[tokio::test]
async fn the_things_of_a_user_are_whole_page_by_page() {
    let world = World::start().await;
    let (ann, token) = (world.names.fill("{ann}"), world.names.fill("$ann"));
    let mut all = vec![world.names.fill("{TH}")];
    for n in 0..5 {
        all.push(onboard_by_owner(world.http(), APP, &format!("thing-{n}"), &ann, &token).await.text("thingID"));
    }
    all.sort();
    let (mut seen, mut key) = (Vec::new(), Value::Null);
    loop {
        let clause = json!({"type": "contains", "field": "userOwners", "value": ann});
        let query = json!({"bestEffortLimit": 2, "paginationKey": key, "thingQuery": {"clause": clause}}).to_string();
        let page = world.send("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, &query).await.json();
        seen.extend(page["results"].as_array().expect("a list").iter().map(|thing| thing["_thingID"].clone()));
        key = page["nextPaginationKey"].clone();
        if key.is_null() {
            break;
        }
    }
    assert_eq!(seen, all);
    world.served.stop().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever maker's id is allowed registers, and is found under exactly that name; whatever is not allowed is 400, and
    /// finds nothing.
    #[test]
    fn an_id_is_allowed_or_refused_and_never_taken_for_another(
        good in prop::collection::hash_set("[A-Za-z0-9._-]{1,200}", 1..8),
        bad in prop::collection::vec("\\PC{0,12}", 1..8),
    ) {
        runtime().block_on(async {
            let world = World::start().await;
            let mut made = Vec::new();
            for vendor in good.iter().filter(|id| !matches!(id.as_str(), "." | ".." | "lamp" | "kettle")) {
                let body = json!({"_vendorThingID": vendor, "_password": "p"}).to_string();
                let answer = world.send(THINGS, "Bearer $admin", REG, &body).await;
                assert_eq!(answer.status, 201, "{vendor}: {answer:?}");
                made.push((vendor, answer.text("_thingID")));
            }
            for (vendor, id) in &made {
                let path = format!("GET /api/apps/{APP}/things/VENDOR_THING_ID:{vendor}");
                let read = world.send(&path, "Bearer $admin", J, "").await;
                assert_eq!(&read.text("_thingID"), id, "{vendor}");
            }
            for vendor in &bad {
                let is_id = vendor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
                if is_id && !vendor.is_empty() && vendor != "." && vendor != ".." {
                    continue;
                }
                let body = json!({"_vendorThingID": vendor, "_password": "p"}).to_string();
                let answer = world.send(THINGS, "Bearer $admin", REG, &body).await;
                assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT_DATA".to_owned()), "{vendor:?}");
                let encoded: String = vendor.bytes().map(|b| format!("%{b:02X}")).collect();
                let path = format!("GET /api/apps/{APP}/things/VENDOR_THING_ID:{encoded}");
                let read = world.send(&path, "Bearer $admin", J, "").await;
                assert_eq!((read.status, read.code()), (404, "THING_NOT_FOUND".to_owned()), "{vendor:?}");
            }
            world.served.stop().await;
        });
    }
}
