//! What scripts of web pages may do (CORS): preflights, and what they may read of an answer.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::{APP, Answer, KEY, Recorder, Road, Served, options, user};
use http::HeaderValue;
use thingif::cloud::{AllowedOrigins, Cloud, OpenError};
use thingif::edge::PushOutcome;

async fn start(allowed: AllowedOrigins) -> Served {
    let mut options = options();
    options.allowed_origins = allowed;
    Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await
}

async fn preflight(http: &Road, path: &str, origin: &str, method: &str) -> Answer {
    let asked = "authorization,content-type,x-kii-appid,x-kii-appkey,x-kii-sdk,if-match,if-none-match";
    let headers =
        [("Origin", origin), ("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", asked)];
    http.send("OPTIONS", path, &headers, "").await
}

fn list(answer: &Answer, name: &str) -> Vec<String> {
    let value = answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    let mut list: Vec<_> = value.to_str().expect("text").split(',').map(|part| part.trim().to_lowercase()).collect();
    list.sort();
    list
}

#[tokio::test]
async fn any_page_may_send_every_documented_method_and_header() {
    let served = start(AllowedOrigins::Any).await;
    for path in ["/api/apps/a/installations", "/thing-if/apps/a/onboardings", "/api/oauth2/token", "/nowhere"] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = preflight(&served.http, path, "https://app.example", method).await;
            assert_eq!(answer.status, 200, "{path} {method}: {answer:?}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            assert_eq!(
                list(&answer, "access-control-allow-methods"),
                ["delete", "get", "head", "patch", "post", "put"]
            );
            let allowed = list(&answer, "access-control-allow-headers");
            for header in ["authorization", "content-type", "x-kii-appid", "x-kii-appkey", "if-match", "if-none-match"]
            {
                assert!(allowed.iter().any(|name| name == header), "{header}: {allowed:?}");
            }
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_page_may_read_answers_and_errors_and_their_headers() {
    let served = start(AllowedOrigins::Any).await;
    let (_, token) = user(&served.http, APP, KEY, "ann").await;
    let bearer = format!("Bearer {token}");
    for (method, path, status) in [
        ("GET", format!("/api/apps/{APP}/installations"), 200),
        ("GET", format!("/api/apps/{APP}/installations/nowhere"), 404),
        ("PUT", format!("/api/apps/{APP}/installations"), 405),
        ("GET", "/nowhere".to_owned(), 404),
    ] {
        let headers = [("Authorization", bearer.as_str()), ("Origin", "https://app.example")];
        let answer = served.http.send(method, &path, &headers, "").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
        let exposed = list(&answer, "access-control-expose-headers");
        for header in ["etag", "location", "retry-after", "x-mqtt-ttl"] {
            assert!(exposed.iter().any(|name| name == header), "{header}: {exposed:?}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn only_the_pages_that_are_named_may_where_some_are_named() {
    let origins =
        vec![HeaderValue::from_static("https://app.example"), HeaderValue::from_static("http://localhost:3000")];
    let served = start(AllowedOrigins::Only(origins)).await;
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://app.example.evil", false),
        ("http://app.example", false),
    ] {
        let answer = preflight(&served.http, "/nowhere", origin, "PUT").await;
        let told = answer.headers.get("access-control-allow-origin");
        assert_eq!(told.and_then(|told| told.to_str().ok()), allowed.then_some(origin));
    }
    served.stop().await;

    let mut options = options();
    for wrong in ["*", "app.example", "https://", "https://app.example/"] {
        options.allowed_origins = AllowedOrigins::Only(vec![HeaderValue::from_str(wrong).expect("printable")]);
        let refused = Cloud::open(options.clone(), Recorder::new(PushOutcome::Queued)).expect_err(wrong);
        assert!(matches!(refused, OpenError::Option { name: "allowed_origins", .. }), "{refused}");
    }
}

#[tokio::test]
async fn devices_are_told_nothing_of_origins() {
    let served = start(AllowedOrigins::Any).await;
    let road = Road::Service(served.cloud.service());
    let answer = road.send("GET", &format!("/thing-if/apps/{APP}/targets/thing:x/states"), &[], "").await;
    assert_eq!(answer.status, 401);
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{answer:?}");
    served.stop().await;
}
