//! What the tests of the device's side share: a configuration, a credential, and the peer's half of a call.
#![allow(dead_code)] // each test file uses its own part

#[cfg(feature = "client")]
pub(crate) mod brokers;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use thingif::config::{Config, Identity};
use thingif::frame;
use thingif::ids::{AppId, VendorThingId};
use thingif::mqtt::Publish;
use thingif::thing_if::Credential;

pub(crate) const APP: &str = "c1k9abcdef12";
pub(crate) const CLIENT_ID: &str = "AbCdEfGhIjKlMnOpQrStUvW";

pub(crate) fn config() -> Config {
    let identity = Identity::vendor_thing(VendorThingId::new("thermostat-17").expect("valid"), "thing-pw".into());
    let broker = "mqtt://default.invalid".parse().expect("a broker URL");
    Config::new(broker, AppId::new(APP).expect("valid"), "app-key".into(), identity).expect("valid").with_seed(1)
}

/// The onboarding answer's body; `generation` is part of client id, user and token, so that credentials can be told
/// apart.
pub(crate) fn onboarding_body(generation: u32) -> String {
    format!(
        r#"{{"accessToken":"token-{generation}","thingID":"th.1","mqttEndpoint":{{"installationID":"i","username":"user-{generation}",
        "password":"pw-{generation}","mqttTopic":"{CLIENT_ID}","host":"assigned.invalid","portTCP":1883,"ttl":2147483647}}}}"#
    )
}

pub(crate) fn credential(generation: u32) -> Credential {
    let body: String = onboarding_body(generation);
    Credential::from_json(body.replacen('{', &format!(r#"{{"appID":"{APP}","#), 1)).expect("complete")
}

pub(crate) fn path(name: &str) -> String {
    format!("/thing-if/apps/{APP}/{name}")
}

/// A call whose body is `nonce`, by which its answer is known.
pub(crate) fn call(name: &str, nonce: &str) -> Request<Bytes> {
    Request::put(path(name)).body(Bytes::copy_from_slice(nonce.as_bytes())).expect("a request")
}

/// The answer of a peer that repeats the request's body, with the request's id or without.
pub(crate) fn answer_to(request: &Publish, with_id: bool) -> Publish {
    let decoded = frame::decode_request(&request.topic, request.payload.clone()).expect("a request frame");
    let mut response = Response::new(decoded.body().clone());
    if let Some(id) = decoded.headers().get(frame::REQUEST_ID).filter(|_| with_id) {
        response.headers_mut().insert(frame::REQUEST_ID, id.clone());
    }
    answer(request, &response)
}

pub(crate) fn answer(request: &Publish, response: &Response<Bytes>) -> Publish {
    let mut payload = BytesMut::new();
    frame::encode_response(response, &mut payload);
    Publish::new(request.topic.clone(), payload.freeze())
}

/// The body of a request frame.
pub(crate) fn body_of(request: &Publish) -> String {
    let decoded = frame::decode_request(&request.topic, request.payload.clone()).expect("a request frame");
    String::from_utf8(decoded.body().to_vec()).expect("UTF-8")
}
