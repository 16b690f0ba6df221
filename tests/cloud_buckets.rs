//! Buckets, their objects, and what is pushed of them: statuses, codes, headers and bodies over HTTP.
#![cfg(feature = "cloud")]

mod cloud_push;
mod cloud_support;

use cloud_push::{NOW, World, code};
use cloud_support::{APP, Answer, KEY, basic, onboard_by_owner};
use serde_json::{Value, json};

const TYPE: &str = "application/vnd.c1k9abcdef12.mydata+json";

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn an_object_lives_in_each_scope_with_answers_to_the_letter() {
    let world = World::start().await;
    let lamp = &world.lamp;
    for (scope, path, owner) in [
        ("users/me/", format!("users/{}/", world.ann.id), &world.ann),
        ("", String::new(), &world.ann),
        (&format!("things/{}/", lamp.id), format!("things/{}/", lamp.id), lamp),
        ("things/VENDOR_THING_ID:lamp/", format!("things/{}/", lamp.id), lamp),
    ] {
        let objects = format!("{scope}buckets/test/objects");
        let made =
            world.send("POST", &objects, owner, &[("Content-Type", TYPE)], r#"{"score":"1800","name":"game1"}"#).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.headers["content-type"], "application/vnd.kii.ObjectCreationResponse+json");
        let id = made.text("objectID");
        let expected =
            format!("{{\n  \"objectID\" : \"{id}\",\n  \"createdAt\" : {NOW},\n  \"dataType\" : \"{TYPE}\"\n}}");
        assert_eq!(made.body, expected);
        assert_eq!(made.headers["location"], format!("/api/apps/{APP}/{path}buckets/test/objects/{id}"));
        let first = etag(&made);

        let object = format!("{objects}/{id}");
        let read = world.call("GET", &object, owner, "").await;
        let version = first.trim_matches('"');
        let expected = format!(
            "{{\n  \"score\" : \"1800\",\n  \"name\" : \"game1\",\n  \"_id\" : \"{id}\",\n  \"_version\" : \"{version}\",\n  \
             \"_owner\" : \"{}\",\n  \"_dataType\" : \"{TYPE}\",\n  \"_created\" : {NOW},\n  \"_modified\" : {NOW}\n}}",
            owner.id
        );
        assert_eq!((read.status, read.body.clone()), (200, expected.into()));
        assert_eq!(
            (&read.headers["content-type"], etag(&read)),
            (&http::HeaderValue::from_static(TYPE), first.clone())
        );
        let known = world.send("GET", &object, owner, &[("If-None-Match", &first)], "").await;
        assert_eq!((known.status, known.body.len(), etag(&known)), (304, 0, first.clone()));
        let head = world.call("HEAD", &object, owner, "").await;
        assert_eq!((head.status, head.body.len(), etag(&head)), (200, 0, first.clone()));

        world.set_now(NOW + 5);
        let patched =
            world.send("PATCH", &object, owner, &[("If-Match", &first)], r#"{"name":"game2","_id":"x"}"#).await;
        assert_eq!(patched.status, 200, "{patched:?}");
        assert_eq!(patched.headers["content-type"], "application/vnd.kii.ObjectUpdateResponse+json");
        let version = etag(&patched).trim_matches('"').to_owned();
        let expected =
            json!({"modifiedAt": NOW + 5, "_id": id, "_version": version, "_created": NOW, "_modified": NOW + 5});
        assert_eq!(patched.json(), expected);
        assert_ne!(etag(&patched), first);
        let read = world.call("GET", &object, owner, "").await.json();
        assert_eq!((&read["score"], &read["name"], &read["_id"]), (&json!("1800"), &json!("game2"), &json!(id)));
        assert_eq!((&read["_created"], &read["_modified"]), (&json!(NOW), &json!(NOW + 5)));

        let overridden = [("X-HTTP-Method-Override", "PATCH"), ("If-Match", first.as_str())];
        let stale = world.send("POST", &object, owner, &overridden, r#"{"name":"game3"}"#).await;
        assert_eq!(code(&stale), "409 OBJECT_VERSION_IS_STALE");
        let overridden = world.send("POST", &object, owner, &overridden[..1], r#"{"n":1}"#).await;
        assert_eq!(code(&overridden), "200");

        let put = world.send("PUT", &object, owner, &[("Content-Type", "application/json")], r#"{"a":1}"#).await;
        assert_eq!((code(&put), put.body), ("200".into(), format!("{{\n  \"modifiedAt\" : {}\n}}", NOW + 5).into()));
        let read = world.call("GET", &object, owner, "").await;
        assert_eq!(read.headers["content-type"], "application/json");
        assert!(read.json().get("score").is_none());
        let stale = world.send("DELETE", &object, owner, &[("If-Match", &first)], "").await;
        assert_eq!(code(&stale), "409 OBJECT_VERSION_IS_STALE");
        let deleted = world.send("DELETE", &object, owner, &[("If-None-Match", "*")], "").await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
        let gone = world.call("GET", &object, owner, "").await;
        assert_eq!(code(&gone), "404 OBJECT_NOT_FOUND");
        assert_eq!((gone.text("objectID"), gone.text("bucketID")), (id, "test".to_owned()));

        // A bucket that is dropped takes its objects along, and no version comes twice.
        let named = format!("{objects}/a.named-one_1");
        let made = world.send("PUT", &named, owner, &[("If-None-Match", "*")], "{}").await;
        assert_eq!(code(&made), "201");
        assert_eq!(
            code(&world.send("PUT", &named, owner, &[("If-None-Match", "*")], "{}").await),
            "409 OBJECT_ALREADY_EXISTS"
        );
        assert_eq!(world.call("DELETE", &format!("{scope}buckets/test"), owner, "").await.status, 204);
        let again = world.call("DELETE", &format!("{scope}buckets/test"), owner, "").await;
        assert_eq!(code(&again), "404 BUCKET_NOT_FOUND");
        assert_eq!(again.json()["objectScope"]["appID"], APP);
        world.set_now(NOW + 6);
        let remade = world.send("PUT", &named, owner, &[], "{}").await;
        assert_eq!(code(&remade), "201");
        assert_ne!(etag(&remade), etag(&made));
        assert_eq!(world.call("DELETE", &format!("{scope}buckets/test"), owner, "").await.status, 204);
        world.set_now(NOW);
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_too_long_is_told_with_its_code() {
    let world = World::start().await;
    let ann = &world.ann;
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(49_000));
    let too_long = "b".repeat(65);
    let long_id = "o".repeat(101);
    for (method, path, body, expected) in [
        ("POST", format!("buckets/{too_long}/objects"), "{}", "400 INVALID_BUCKET"),
        ("POST", "buckets/bb/objects".to_owned(), long.as_str(), "400 INVALID_INPUT_DATA"),
        ("PUT", format!("buckets/bb/objects/{long_id}"), "{}", "400 INVALID_OBJECT_ID"),
    ] {
        let answer = world.send(method, &path, ann, &[], body).await;
        assert_eq!(code(&answer), expected, "{method} {path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn who_may_what_in_which_scope() {
    let world = World::start().await;
    let World { ann, bob, lamp, admin, anybody, .. } = &world;
    let in_lamp = format!("things/{}/buckets/bb/objects/oo", lamp.id);
    let in_ann = format!("users/{}/buckets/bb/objects/oo", ann.id);
    for (who, app, user, thing) in [
        (ann, "200", "200", "200"),
        (lamp, "200", "401 UNAUTHORIZED", "200"),
        (bob, "200", "401 UNAUTHORIZED", "401 UNAUTHORIZED"),
        (admin, "200", "200", "200"),
        (anybody, "401 UNAUTHORIZED", "401 UNAUTHORIZED", "401 UNAUTHORIZED"),
    ] {
        for (path, expected) in [("buckets/bb/objects/oo", app), (&in_ann, user), (&in_lamp, thing)] {
            let put = world.send("PUT", path, who, &[], "{}").await;
            let expected = if put.status == 201 { "201" } else { expected };
            assert_eq!(code(&put), expected, "{path} as {}", who.name);
        }
    }
    // Reading in the application's scope takes no more than its key.
    for path in ["buckets/bb/objects/oo", "users/me/buckets/bb/objects/oo"] {
        let expected = if path.starts_with("buckets") { "200" } else { "401 UNAUTHORIZED" };
        assert_eq!(code(&world.call("GET", path, anybody, "").await), expected);
        let headers = [("Authorization", basic(APP, KEY))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = world.served.http.send("GET", &format!("/api/apps/{APP}/{path}"), &headers, "").await;
        assert_eq!(code(&answer), expected);
    }
    assert_eq!(code(&world.call("POST", "buckets/bb/query", anybody, "{}").await), "200");
    assert_eq!(code(&world.call("GET", "users/me/buckets/bb/objects/oo", lamp, "").await), "401 UNAUTHORIZED");
    world.stop().await;
}

/// Every one of many writers at once says which version it has seen.
#[tokio::test]
async fn of_racing_writers_one_wins_and_the_others_are_told() {
    let world = World::start().await;
    let race = async |method: &'static str, header: &'static str, value: &str| {
        let writers = (0..16).map(|n| {
            let (http, token, value) = (world.served.http.clone(), world.ann.token.clone(), value.to_owned());
            tokio::spawn(async move {
                let bearer = format!("Bearer {token}");
                let headers = [
                    ("Authorization", bearer.as_str()),
                    ("Content-Type", "application/json"),
                    (header, value.as_str()),
                ];
                let path = format!("/api/apps/{APP}/buckets/bb/objects/oo");
                code(&http.send(method, &path, &headers, &format!(r#"{{"n":{n}}}"#)).await)
            })
        });
        let mut told = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            told.push(writer.await.expect("no panic"));
        }
        told.sort();
        told
    };
    let told = race("PUT", "If-None-Match", "*").await;
    assert_eq!(told[0], "201");
    assert!(told[1..].iter().all(|told| told == "409 OBJECT_ALREADY_EXISTS"), "{told:?}");
    for method in ["PUT", "PATCH"] {
        let version = etag(&world.call("GET", "buckets/bb/objects/oo", &world.ann, "").await);
        let told = race(method, "If-Match", &version).await;
        assert_eq!(told[0], "200", "{method}");
        assert!(told[1..].iter().all(|told| told == "409 OBJECT_VERSION_IS_STALE"), "{method}: {told:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn changes_are_pushed_to_every_installation_of_every_subscriber() {
    let world = World::start().await;
    let World { ann, lamp, .. } = &world;
    // The lamp has the installation of its onboarding and another one; Ann has one; Bob has one and does not subscribe.
    for who in [lamp, ann, &world.bob] {
        assert_eq!(world.call("POST", "installations", who, r#"{"deviceType":"MQTT"}"#).await.status, 201);
    }
    let bucket = format!("things/{}/buckets/test", lamp.id);
    let subscriptions = format!("{bucket}/filters/all/push/subscriptions");
    for (who, path) in [(lamp, format!("{subscriptions}/things/{}", lamp.id)), (ann, format!("{subscriptions}/users"))]
    {
        assert_eq!(code(&world.call("PUT", &path, who, "").await), "204");
    }
    let subscribed = [world.topics(lamp).await, world.topics(ann).await].concat();
    assert_eq!(subscribed.len(), 3);

    let event = |what: &str, object: &str, sender: &str, at: u64| {
        json!({
            "appID": APP, "sender": sender, "when": at, "origin": "EVENT", "type": what, "objectScopeAppID": APP,
            "objectScopeThingID": lamp.id, "objectScopeType": "APP_AND_THING", "bucketID": "test", "bucketType": "rw",
            "objectID": object, "modifiedAt": at, "sourceURI": format!("kiicloud://{bucket}/objects/{object}"),
        })
    };
    let object = format!("{bucket}/objects/oo");
    for (at, method, body, who, what) in [
        (NOW, "PUT", "{}", lamp, "DATA_OBJECT_CREATED"),
        (NOW + 1, "PUT", r#"{"a":1}"#, ann, "DATA_OBJECT_UPDATED"),
        (NOW + 2, "PATCH", r#"{"a":2}"#, lamp, "DATA_OBJECT_UPDATED"),
        (NOW + 3, "DELETE", "", ann, "DATA_OBJECT_DELETED"),
    ] {
        world.set_now(at);
        assert!(world.send(method, &object, who, &[], body).await.status < 300);
        let pushed = world.pushed(3).await;
        assert_eq!(World::receivers(&pushed), World::sorted(&subscribed), "{what}");
        for (_, payload) in &pushed {
            assert!(payload.len() <= 4_096);
            let payload: Value = serde_json::from_slice(payload).expect("JSON");
            assert_eq!(payload, event(what, "oo", &who.id, at));
        }
    }
    // One who leaves hears no more; those who stay hear of the end.
    assert_eq!(code(&world.call("DELETE", &format!("{subscriptions}/users/{}", ann.id), ann, "").await), "204");
    assert_eq!(world.call("DELETE", &bucket, &world.admin, "").await.status, 204);
    let pushed = world.pushed(2).await;
    assert_eq!(World::receivers(&pushed), World::sorted(&world.topics(lamp).await));
    let payload: Value = serde_json::from_slice(&pushed[0].1).expect("JSON");
    assert_eq!((&payload["type"], &payload["bucketID"]), (&json!("BUCKET_DELETED"), &json!("test")));
    assert!(payload.get("objectID").is_none() && payload.get("sender").is_none());
    // With the bucket its subscriptions went.
    let look = world.call("GET", &format!("{subscriptions}/things/{}", lamp.id), lamp, "").await;
    assert_eq!(code(&look), "404 FILTER_NOT_FOUND");
    // What is refused is not told.
    assert_eq!(world.send("PUT", &object, &world.bob, &[], "{}").await.status, 401);
    assert_eq!(world.call("PUT", &format!("{subscriptions}/things/{}", lamp.id), lamp, "").await.status, 204);
    assert_eq!(world.send("PUT", &object, lamp, &[("If-Match", "*")], "{}").await.status, 404);
    assert_eq!(world.send("PUT", &object, lamp, &[], "{}").await.status, 201);
    assert_eq!(world.pushed(2).await.len(), 2, "and no other before it");
    let counted = world.served.cloud.pushes();
    assert_eq!((counted.queued, counted.publications_dropped), (4 * 3 + 2 + 2, 0));
    world.stop().await;
}

#[tokio::test]
async fn subscriptions_of_each_kind() {
    let world = World::start().await;
    let World { ann, bob, lamp, admin, .. } = &world;
    let in_app = "buckets/bb/filters/all/push/subscriptions";
    let thing = format!("{in_app}/things/{}", lamp.id);
    let user = format!("{in_app}/users/{}", ann.id);
    let by = |method: &'static str, path: &str, who: &'static str, expected: &'static str| {
        (method, path.to_owned(), who, expected)
    };
    let table = [
        // By this code SDKs tell that nobody has subscribed.
        by("GET", &thing, "lamp", "404 FILTER_NOT_FOUND"),
        by("DELETE", &thing, "lamp", "404 FILTER_NOT_FOUND"),
        by("PUT", &thing.replace("/all/", "/some/"), "lamp", "404 FILTER_NOT_FOUND"),
        by("PUT", &thing.replace("buckets/bb", "buckets/b"), "lamp", "400 INVALID_BUCKET"),
        by("PUT", &thing, "lamp", "204"),
        by("PUT", &thing, "lamp", "409 PUSH_SUBSCRIPTION_ALREADY_EXISTS"),
        by("POST", &format!("{in_app}/things"), "lamp", "409 PUSH_SUBSCRIPTION_ALREADY_EXISTS"),
        by("PUT", &thing, "ann", "409 PUSH_SUBSCRIPTION_ALREADY_EXISTS"), // its owner
        by("GET", &thing, "lamp", "204"),
        by("HEAD", &thing, "lamp", "204"),
        by("GET", &thing, "ann", "204"),
        by("GET", &thing, "bob", "401 UNAUTHORIZED"),
        by("GET", &thing.replace("/all/", "/some/"), "lamp", "404 FILTER_NOT_FOUND"),
        by("GET", &user, "ann", "404 PUSH_SUBSCRIPTION_NOT_FOUND"),
        by("DELETE", &user, "ann", "404 PUSH_SUBSCRIPTION_NOT_FOUND"),
        by("DELETE", &thing, "bob", "401 UNAUTHORIZED"),
        by("DELETE", &thing, "lamp", "204"),
        by("DELETE", &thing, "lamp", "404 PUSH_SUBSCRIPTION_NOT_FOUND"),
        by("POST", &format!("{in_app}/things"), "lamp", "204"),
        by("POST", &format!("{in_app}/users"), "lamp", "401 UNAUTHORIZED"),
        by("POST", &format!("{in_app}/things"), "ann", "401 UNAUTHORIZED"),
        by("POST", &format!("{in_app}/users"), "ann", "204"),
        by("PUT", &format!("{in_app}/users"), "bob", "204"),
        by("PUT", &user, "bob", "401 UNAUTHORIZED"),
        by("PUT", &user, "lamp", "401 UNAUTHORIZED"),
        by("PUT", &user, "anybody", "401 UNAUTHORIZED"),
        by("DELETE", &user, "admin", "204"),
        by("PUT", &user, "admin", "204"),
        by("PUT", &format!("{in_app}/users/nobody"), "admin", "404 USER_NOT_FOUND"),
        by("PUT", &format!("{in_app}/things/th.nowhere"), "admin", "404 THING_NOT_FOUND"),
        by("PUT", &format!("{in_app}/dogs/rex"), "admin", "404 PATH_NOT_FOUND"),
        by("POST", &format!("{in_app}/dogs"), "ann", "404 PATH_NOT_FOUND"),
    ];
    for (method, path, who, expected) in table {
        let caller = match who {
            "ann" => ann,
            "bob" => bob,
            "lamp" => lamp,
            "anybody" => &world.anybody,
            _ => admin,
        };
        let answer = world.call(method, &path, caller, "").await;
        assert_eq!(code(&answer), expected, "{method} {path} as {who}");
    }
    // One SDK writes two slashes in a row.
    assert_eq!(code(&world.call("GET", &format!("/{user}"), admin, "").await), "204");
    // curl's `-d ""` says that the body is a form.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("users/me/{in_app}/users/{}", ann.id);
    assert_eq!(code(&world.send("PUT", &path, ann, &form, "").await), "204");
    world.stop().await;
}

#[tokio::test]
async fn a_bucket_has_a_thousand_subscribers_at_most() {
    let world = World::start().await;
    let path = |id: &str| format!("buckets/bb/filters/all/push/subscriptions/users/{id}");
    for n in 0..1_001 {
        let body = json!({"loginName": format!("user{n}"), "password": "long enough"}).to_string();
        let headers = [("X-Kii-AppID", APP), ("X-Kii-AppKey", KEY), ("Content-Type", "application/json")];
        let made = world.served.http.send("POST", &format!("/api/apps/{APP}/users"), &headers, &body).await;
        let answer = world.call("PUT", &path(&made.text("userID")), &world.admin, "").await;
        assert_eq!(code(&answer), if n < 1_000 { "204" } else { "409 OPERATION_NOT_ALLOWED" }, "{n}");
    }
    world.stop().await;
}

#[tokio::test]
async fn who_owns_a_thing_no_more_hears_no_more_of_it() {
    let world = World::start().await;
    let World { ann, bob, lamp, admin, .. } = &world;
    let of_bob = onboard_by_owner(&world.served.http, APP, "bobs", &bob.id, &bob.token).await.text("thingID");
    let bobs = format!("user:{}", bob.id);
    assert_eq!(world.call("PUT", &format!("things/{}/ownership/{bobs}", lamp.id), admin, "").await.status, 204);
    let in_scope =
        |scope: &str, subscriber: &str| format!("{scope}buckets/bb/filters/all/push/subscriptions/{subscriber}");
    let (lamps, of_lamp) = (format!("things/{}/", lamp.id), format!("things/{}", lamp.id));
    let between = [
        in_scope(&lamps, &format!("users/{}", bob.id)),
        in_scope(&lamps, &format!("things/{of_bob}")),
        in_scope(&format!("users/{}/", bob.id), &of_lamp),
        in_scope(&format!("things/{of_bob}/"), &of_lamp),
        format!("things/{}/topics/news/push/subscriptions/users/{}", lamp.id, bob.id),
    ];
    let others = [
        in_scope(&lamps, &format!("users/{}", ann.id)),
        in_scope(&lamps, &of_lamp),
        in_scope("", &format!("users/{}", bob.id)),
        in_scope("", &of_lamp),
        in_scope(&format!("users/{}/", bob.id), &format!("things/{of_bob}")),
    ];
    assert_eq!(world.call("PUT", &format!("things/{}/topics/news", lamp.id), lamp, "").await.status, 204);
    for path in between.iter().chain(&others) {
        assert_eq!(code(&world.call("PUT", path, admin, "").await), "204", "{path}");
    }
    let disown = format!("things/{}/ownership/{bobs}", lamp.id);
    assert_eq!(world.call("DELETE", &disown, admin, "").await.status, 204);
    for path in &between {
        assert_eq!(code(&world.call("GET", path, admin, "").await), "404 PUSH_SUBSCRIPTION_NOT_FOUND", "{path}");
    }
    for path in &others {
        assert_eq!(code(&world.call("GET", path, admin, "").await), "204", "{path}");
    }

    // The same when the owner is deleted.
    assert_eq!(world.call("PUT", &format!("things/{}/ownership/{bobs}", lamp.id), admin, "").await.status, 204);
    let (of_his_thing, of_ann) = (&between[1], &others[0]);
    assert_eq!(code(&world.call("PUT", of_his_thing, admin, "").await), "204");
    assert_eq!(world.call("DELETE", &format!("users/{}", bob.id), admin, "").await.status, 204);
    assert_eq!(code(&world.call("GET", of_his_thing, admin, "").await), "404 PUSH_SUBSCRIPTION_NOT_FOUND");
    assert_eq!(code(&world.call("GET", of_ann, admin, "").await), "204");
    world.stop().await;
}

#[tokio::test]
async fn what_was_a_things_goes_with_it() {
    let world = World::start().await;
    let World { ann, lamp, .. } = &world;
    let objects = format!("things/{}/buckets/bb/objects/oo", lamp.id);
    assert_eq!(world.send("PUT", &objects, lamp, &[], "{}").await.status, 201);
    let subscription = format!("buckets/bb/filters/all/push/subscriptions/things/{}", lamp.id);
    assert_eq!(world.call("PUT", &subscription, lamp, "").await.status, 204);
    assert_eq!(world.call("DELETE", &format!("things/{}", lamp.id), ann, "").await.status, 204);
    assert_eq!(code(&world.call("GET", &objects, ann, "").await), "404 THING_NOT_FOUND");
    assert_eq!(world.send("POST", "buckets/bb/objects", ann, &[], "{}").await.status, 201);
    assert_eq!(code(&world.call("GET", &subscription, &world.admin, "").await), "404 THING_NOT_FOUND");
    world.stop().await;
}

#[tokio::test]
async fn a_query_finds_orders_counts_and_pages() {
    let world = World::start().await;
    let ann = &world.ann;
    for n in 0..25 {
        let body = json!({"n": n, "even": n % 2 == 0, "name": format!("name {:02}", 24 - n), "long": "x".repeat(20)});
        let path = format!("buckets/bb/objects/object-{n}");
        assert_eq!(world.send("PUT", &path, ann, &[], &body.to_string()).await.status, 201);
    }
    let query = async |body: Value| {
        let headers = [("Content-Type", "application/vnd.kii.QueryRequest+json")];
        world.send("POST", "buckets/bb/query", ann, &headers, &body.to_string()).await
    };
    let numbers = |answer: &Answer| -> Vec<i64> {
        let answer = answer.json();
        answer["results"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|object| object["n"].as_i64().expect("a number"))
            .collect()
    };
    let all = query(json!({})).await;
    assert_eq!(numbers(&all), (0..25).collect::<Vec<_>>());
    let first = &all.json()["results"][0];
    for field in ["_id", "_version", "_owner", "_dataType", "_created", "_modified"] {
        assert!(first.get(field).is_some(), "{field}");
    }
    assert_eq!(all.text("queryDescription"), "WHERE ( 1 = 1 )");

    let even = json!({"type": "eq", "field": "even", "value": true});
    for (given, expected) in [
        (json!({"clause": even}), (0..25).filter(|n| n % 2 == 0).collect::<Vec<_>>()),
        (json!({"clause": even, "orderBy": "n", "descending": true}), (0..25).rev().filter(|n| n % 2 == 0).collect()),
        (json!({"clause": {"type": "all"}, "orderBy": "name"}), (0..25).rev().collect()),
        (json!({"clause": {"type": "in", "field": "n", "values": [3, 1, 77]}}), vec![1, 3]),
        (json!({"clause": {"type": "prefix", "field": "name", "prefix": "name 2"}}), (0..5).collect()),
        (json!({"clause": {"type": "range", "field": "n", "lowerLimit": 22, "lowerIncluded": false}}), vec![23, 24]),
    ] {
        // In one go, and page by page: the same, whatever the page's size.
        for limit in [1, 7, 200] {
            let (mut found, mut key, mut pages) = (Vec::new(), Value::Null, 0);
            loop {
                let answer = query(json!({"bucketQuery": given, "bestEffortLimit": limit, "paginationKey": key})).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let page = numbers(&answer);
                assert!(page.len() <= limit);
                found.extend(page);
                pages += 1;
                match answer.json().get("nextPaginationKey") {
                    Some(next) => key = next.clone(),
                    None => break,
                }
                assert!(key.as_str().expect("text").bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
            }
            assert_eq!(found, expected, "{given} by {limit}");
            assert!(pages <= expected.len() + 1, "{given} by {limit}: {pages} pages");
        }
    }
    let counted = json!({"clause": even, "aggregations": [{"type": "COUNT", "putAggregationInto": "even"}]});
    assert_eq!(query(json!({"bucketQuery": counted})).await.json(), json!({"aggregations": {"even": 13}}));

    // A page ends where an answer would be too long, but has one object at least.
    for n in 0..4 {
        let body = json!({"text": "x".repeat(30_000), "n": n}).to_string();
        assert_eq!(world.send("PUT", &format!("buckets/big/objects/{n}{n}"), ann, &[], &body).await.status, 201);
    }
    let (mut key, mut found) = (Value::Null, Vec::new());
    for _ in 0..4 {
        let answer = world.call("POST", "buckets/big/query", ann, &json!({"paginationKey": key}).to_string()).await;
        assert!(answer.body.len() <= 48 * 1_024 + 200, "{}", answer.body.len());
        found.extend(numbers(&answer));
        key = answer.json()["nextPaginationKey"].clone();
    }
    assert_eq!((found, key), (vec![0, 1, 2, 3], Value::Null));

    // By distance, which is told as well.
    for (n, lat) in [35.0, 33.0, 34.0].into_iter().enumerate() {
        let body = json!({"n": n, "place": {"_type": "point", "lat": lat, "lon": 135.0}}).to_string();
        assert_eq!(world.send("PUT", &format!("buckets/places/objects/p{n}"), ann, &[], &body).await.status, 201);
    }
    let near = json!({"type": "geodistance", "field": "place", "center": {"_type": "point", "lat": 33.0, "lon": 135.0},
        "radius": 150_000, "putDistanceInto": "away"});
    let body = json!({"bucketQuery": {"clause": near, "orderBy": "_calculated.away", "descending": false}}).to_string();
    let answer = world.call("POST", "buckets/places/query", ann, &body).await;
    assert_eq!(numbers(&answer), [1, 2]);
    let away = answer.json()["results"][1]["_calculated"]["away"].as_f64().expect("a number");
    assert!((111_000.0..111_500.0).contains(&away), "a degree of latitude: {away}");

    for (wrong, expected) in [
        (json!({"bestEffortLimit": -1}), "400 INVALID_INPUT_DATA"),
        (json!({"bestEffortLimit": "many"}), "400 INVALID_INPUT_DATA"),
        (json!({"bestEffortLimit": "3"}), "200"),
        (json!({"paginationKey": "?"}), "400 INVALID_INPUT_DATA"),
        // The 10,001st, in an order: refused, where an empty page would say that there is nothing.
        (json!({"paginationKey": "AAAAAAAAJxE", "bucketQuery": {"orderBy": "n"}}), "400 INVALID_INPUT_DATA"),
        (json!({"paginationKey": "AAAAAAAAJxA", "bucketQuery": {"orderBy": "n"}}), "200"),
        (json!({"bucketQuery": {"clause": {"type": "like", "field": "n"}}}), "400 INVALID_INPUT_DATA"),
        (json!({"bucketQuery": {"clause": {"type": "eq", "field": "n", "value": null}}}), "400 INVALID_INPUT_DATA"),
        (
            json!({"bucketQuery": {"clause": {"type": "in", "field": "n", "values": vec![1; 201]}}}),
            "400 INVALID_INPUT_DATA",
        ),
        (
            json!({"bucketQuery": {"clause": {"type": "or", "clauses": vec![json!({"type": "all"}); 100]}}}),
            "400 INVALID_INPUT_DATA",
        ),
        (
            json!({"bucketQuery": {"aggregations": [{"type": "SUM", "putAggregationInto": "x"}]}}),
            "400 INVALID_INPUT_DATA",
        ),
    ] {
        assert_eq!(code(&query(wrong.clone()).await), expected, "{wrong}");
    }
    world.stop().await;
}
