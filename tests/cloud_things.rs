//! Things over Kii Cloud's REST: registration, fields, maker's ids, owners, and the list of what somebody owns.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::table::{Case, Names};
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
const VENDOR: &str = "application/vnd.kii.VendorThingIDUpdateRequest+json";
const OWN: &str = "application/vnd.kii.ThingOwnershipRequest+json";

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

#[rustfmt::skip]
const CASES: &[Case<'_>] = &[
    // Registration: who may, and what.
    (THINGS, "-", REG, r#"{"_vendorThingID":"v","_password":"p"}"#, 401, "UNAUTHORIZED"),
    (THINGS, "$wrongkey", REG, r#"{"_vendorThingID":"v","_password":"p"}"#, 401, "UNAUTHORIZED"),
    (THINGS, "$otherkey", REG, r#"{"_vendorThingID":"v","_password":"p"}"#, 401, "UNAUTHORIZED"),
    (THINGS, "Bearer nonsense", REG, r#"{"_vendorThingID":"v","_password":"p"}"#, 403, "WRONG_TOKEN"),
    (THINGS, "Bearer $stranger", REG, r#"{"_vendorThingID":"v","_password":"p"}"#, 403, "WRONG_TOKEN"),
    (THINGS, "$key", REG, "{", 400, "INVALID_JSON"),
    (THINGS, "$key", REG, "[]", 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v","_password":""}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"a b","_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":1,"_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v","_password":"p","_thingType":"a b"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v","_password":"p","_layoutPosition":"ATTIC"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v","_password":"p","_numberField1":"x"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", "text/plain", r#"{"_vendorThingID":"v","_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"lamp","_password":"p"}"#, 409, "THING_ALREADY_EXISTS"),
    (THINGS, "$key", REG, r#"{"_vendorThingID":"v1","_password":"p"}"#, 201, r#"{"_thingID":"*","_vendorThingID":"v1","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    (THINGS, "Bearer $anybody", J, r#"{"_vendorThingID":"v2","_password":"p"}"#, 201, r#"{"_thingID":"*","_vendorThingID":"v2","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    (THINGS, "Bearer $ann", "-", r#"{"_vendorThingID":"v3","_password":"p"}"#, 201, r#"{"_thingID":"*","_vendorThingID":"v3","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    (THINGS, "Bearer $admin", "application/vnd.kii.thingregistrationandauthorizationrequest+JSON;charset=UTF-8", r#"{"_vendorThingID":"v4","_password":"p","_thingType":"CAMERA","freeFormField1":"freeFormValue1","_layoutPosition":"GATEWAY","_other":1}"#, 201, r#"{"_thingID":"*","_accessToken":"*","_vendorThingID":"v4","_thingType":"CAMERA","_layoutPosition":"GATEWAY","_created":"*","_disabled":false,"freeFormField1":"freeFormValue1"}"#),
    ("GET /api/apps/{APP}/things", "$key", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("POST /api/apps/nosuchapp/things", "-", REG, "{}", 404, "APP_NOT_FOUND"),
    // Reading.
    (GET, "-", "-", "", 401, "UNAUTHORIZED"),
    (GET, "$key", "-", "", 401, "UNAUTHORIZED"),
    (GET, "Bearer nonsense", "-", "", 403, "WRONG_TOKEN"),
    (GET, "Bearer $stranger", "-", "", 403, "WRONG_TOKEN"),
    (GET, "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    (GET, "Bearer $kettle", "-", "", 401, "UNAUTHORIZED"),
    (GET, "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    ("GET /api/apps/{APP}/things/th.nosuch", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{FOREIGN}", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/a%20b", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/VENDOR_THING_ID:nosuch", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    (GET, "Bearer $ann", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    (GET, "Bearer $lamp", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    ("GET /api/apps/{APP}/things/vendor_thing_id:lamp", "Bearer $admin", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp","_layoutPosition":"STANDALONE","_created":"*","_disabled":false}"#),
    // Changing.
    (PATCH, "-", UPDATE, "{}", 401, "UNAUTHORIZED"),
    (PATCH, "Bearer $bob", UPDATE, "{}", 401, "UNAUTHORIZED"),
    (PATCH, "Bearer $kettle", UPDATE, "{}", 401, "UNAUTHORIZED"),
    (PATCH, "Bearer $stranger", UPDATE, "{}", 403, "WRONG_TOKEN"),
    (PATCH, "Bearer $ann", UPDATE, "", 400, "INVALID_JSON"),
    (PATCH, "Bearer $ann", UPDATE, r#"{"_firmwareVersion":"a/b"}"#, 400, "INVALID_INPUT_DATA"),
    (PATCH, "Bearer $ann", REG, "{}", 400, "INVALID_INPUT_DATA"),
    ("PATCH /api/apps/{APP}/things/th.nosuch", "Bearer $ann", UPDATE, "{}", 404, "THING_NOT_FOUND"),
    (PATCH, "Bearer $ann", UPDATE, r#"{"_vendor":"acme","room":{"floor":2},"gone":true}"#, 204, ""),
    (PATCH, "Bearer $lamp", J, r#"{"_firmwareVersion":"v1","_stringField1":"any text","_numberField1":7,"gone":null,"_vendorThingID":"another","_thingID":"th.1","_password":"q","_created":1,"_disabled":true}"#, 204, ""),
    (GET, "Bearer $ann", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp","_firmwareVersion":"v1","_layoutPosition":"STANDALONE","_created":"*","_disabled":false,"_vendor":"acme","room":{"floor":2},"_stringField1":"any text","_numberField1":7}"#),
    // The maker's id.
    ("GET /api/apps/{APP}/things/{TH}/vendor-thing-id", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET /api/apps/{APP}/things/th.nosuch/vendor-thing-id", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", "-", "", 200, r#"{"_vendorThingID":"lamp"}"#),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $bob", VENDOR, r#"{"_vendorThingID":"x","_password":"p"}"#, 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"x"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"x","_password":""}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"x y","_password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"kettle","_password":"p"}"#, 409, "THING_ALREADY_EXISTS"),
    ("PUT /api/apps/{APP}/things/th.nosuch/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"x","_password":"p"}"#, 404, "THING_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/VENDOR_THING_ID:lamp/vendor-thing-id", "Bearer $ann", VENDOR, r#"{"_vendorThingID":"lamp-2","_password":"new"}"#, 204, ""),
    ("GET /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $lamp", "-", "", 200, r#"{"_vendorThingID":"lamp-2"}"#),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"secret of lamp"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"VENDOR_THING_ID:lamp-2","password":"secret of lamp"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"VENDOR_THING_ID:lamp-2","password":"new"}"#, 200, r#"{"id":"{TH}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    ("PUT /api/apps/{APP}/things/{TH}/vendor-thing-id", "Bearer $lamp", VENDOR, r#"{"_vendorThingID":"lamp-2","_password":"secret of lamp"}"#, 204, ""),
    // Owners.
    ("GET /api/apps/{APP}/things/{TH}/ownership/user:{ann}", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/user:{ann}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET /api/apps/{APP}/things/th.nosuch/ownership/user:{ann}", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $ann", "-", "", 404, "THING_OWNERSHIP_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/group:g", "Bearer $ann", "-", "", 404, "THING_OWNERSHIP_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/{ann}", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/thing:{TH}", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET /api/apps/{APP}/things/{TH}/ownership/USER:{ann}", "Bearer $ann", "-", "", 204, ""),
    ("HEAD /api/apps/{APP}/things/{TH}/ownership/user:{ann}", "Bearer $lamp", "-", "", 204, ""),
    ("HEAD /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $lamp", "-", "", 404, ""),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $ann", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/user:nobody", "Bearer $admin", "-", "", 404, "USER_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/group:g", "Bearer $admin", "-", "", 404, "GROUP_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/th.nosuch/ownership/user:{bob}", "Bearer $admin", "-", "", 404, "THING_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/{TH}/ownership/user:{ann}", "Bearer $admin", "-", "", 409, "THING_OWNERSHIP_ALREADY_EXISTS"),
    ("PUT /api/apps/{APP}/things/VENDOR_THING_ID:lamp-2/ownership/user:{bob}", "Bearer $admin", "-", "", 204, ""),
    (GET, "Bearer $bob", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp-2","_firmwareVersion":"v1","_layoutPosition":"STANDALONE","_created":"*","_disabled":false,"_vendor":"acme","room":{"floor":2},"_stringField1":"any text","_numberField1":7}"#),
    ("DELETE /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $kettle", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $lamp", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $ann", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/things/{TH}/ownership/user:{bob}", "Bearer $ann", "-", "", 404, "THING_OWNERSHIP_NOT_FOUND"),
    (GET, "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "-", OWN, r#"{"userID":"{bob}","thingPassword":"p"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $ann", OWN, r#"{"userID":"{bob}","thingPassword":"secret of lamp"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}","thingPassword":"wrong"}"#, 401, "WRONG_PASSWORD"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"thingPassword":"secret of lamp"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}","groupID":"g","thingPassword":"secret of lamp"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"groupID":"g","thingPassword":"secret of lamp"}"#, 404, "GROUP_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/th.nosuch/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}","thingPassword":"secret of lamp"}"#, 404, "THING_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $admin", OWN, r#"{"userID":"nobody"}"#, 404, "USER_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}","thingPassword":"secret of lamp"}"#, 204, ""),
    ("POST /api/apps/{APP}/things/{TH}/ownership", "Bearer $bob", OWN, r#"{"userID":"{bob}","thingPassword":"secret of lamp"}"#, 409, "THING_OWNERSHIP_ALREADY_EXISTS"),
    ("POST /api/apps/{APP}/things/VENDOR_THING_ID:kettle/ownership", "Bearer $admin", OWN, r#"{"userID":"{ann}"}"#, 204, ""),
    // What somebody owns.
    ("POST /api/apps/{APP}/things/query", "-", QUERY, r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/query", "Bearer $bob", QUERY, r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/query", "Bearer $lamp", QUERY, r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, "{}", 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"thingQuery":{"clause":{"type":"all"}}}"#, 400, "QUERY_NOT_SUPPORTED"),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"bestEffortLimit":-1,"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"paginationKey":"_","thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"thingQuery":{"clause":{"type":"contains","field":"groupOwners","value":"g"}}}"#, 200, r#"{"results":[]}"#),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"bestEffortLimit":1,"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 200, r#"{"results":["*"],"nextPaginationKey":"*"}"#),
    ("POST /api/apps/{APP}/things/query", "Bearer $admin", QUERY, r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{ann}"}}}"#, 200, r#"{"results":["*","*"]}"#),
    ("POST /api/apps/{APP}/things/query", "Bearer $ann", QUERY, r#"{"thingQuery":{"clause":{"type":"and","clauses":[{"type":"eq","field":"_thingType","value":"none"},{"type":"contains","field":"userOwners","value":"{ann}"}]}}}"#, 200, r#"{"results":[]}"#),
];

#[tokio::test]
async fn every_case_has_its_answer() {
    let world = World::start().await;
    world.names.run(world.http(), CASES).await;
    world.served.stop().await;
}

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
