//! Which header fields of a request go to the upstream, and what it is told of the device.

use std::fmt::Display;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bridge::rules;
use crate::edge::Peer;

/// The client identifier with which the device has logged in.
pub const CLIENT_ID: HeaderName = HeaderName::from_static("x-thingif-client-id");
/// The application that it was admitted to.
pub const CLIENT_APP: HeaderName = HeaderName::from_static("x-thingif-app-id");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What only whoever stands before a service may tell it.
const NOT_FOR_DEVICES: [HeaderName; 5] =
    [CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderName::from_static("x-real-ip")];
/// The same, by the beginning of its name.
const PREFIXES_NOT_FOR_DEVICES: [&str; 2] = ["x-forwarded-", "x-thingif-"];
/// Names with which some frameworks let a request be another one than it says, after it was looked at here.
const OVERRIDES: [&str; 6] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
];

/// Makes the headers of a device those of a request to the upstream.
///
/// Gone are: what is about one connection, and what `Connection` names; `Host`, `Content-Length` and `Expect`, which are
/// HTTP's own business with the upstream; what a device could pretend to be with, in whatever spelling a gateway interface
/// takes for the same (`X_Forwarded_For`); and what would turn the request into another. All else stays, `traceparent` and
/// `Authorization` included.
pub(super) fn prepare(headers: &mut HeaderMap, peer: &Peer, host: &str, authorization: Option<&HeaderValue>) {
    rules::remove_hop_by_hop(headers);
    let gone: Vec<HeaderName> = headers.keys().filter(|name| !may_pass(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    let proto = if peer.scheme.is_tls() { "https" } else { "http" };
    set(headers, FORWARDED_FOR, peer.remote.ip().to_canonical());
    set(headers, FORWARDED_PROTO, proto);
    set(headers, FORWARDED_HOST, host);
    set(headers, CLIENT_ID, &peer.client_id);
    set(headers, CLIENT_APP, &peer.app_id);
    if let Some(authorization) = authorization
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
}

fn may_pass(name: &HeaderName) -> bool {
    // CGI and its heirs make `-` and `_` the same.
    let spelled = name.as_str().replace('_', "-");
    !NOT_FOR_DEVICES.iter().any(|other| *other == spelled.as_str())
        && !PREFIXES_NOT_FOR_DEVICES.iter().any(|prefix| spelled.starts_with(prefix))
        && !OVERRIDES.contains(&spelled.as_str())
}

/// What cannot stand in a header is left out: only a host that somebody has made up could.
fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::upstream::tests::peer;

    fn prepared(given: &[(&'static str, &'static str)], authorization: Option<&'static str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let authorization = authorization.map(HeaderValue::from_static);
        prepare(&mut headers, &peer(), "iot.example.org", authorization.as_ref());
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect();
        lines.sort();
        lines
    }

    const TOLD: [&str; 5] = [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: iot.example.org",
        "x-forwarded-proto: https",
        "x-thingif-app-id: app1",
        "x-thingif-client-id: device",
    ];

    #[test]
    fn the_upstream_is_told_who_asks_and_nobody_else_can_tell_it() {
        let smuggled = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x_forwarded_for", "10.0.0.3"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x_thingif_client_id", "another"),
            ("x-thingif-client-id", "another"),
            ("connection", "x-thingif-client-id, x-forwarded-for, x-named"),
            ("x-named", "1"),
            ("host", "internal"),
            ("content-length", "5"),
            ("content_length", "5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-http-method-override", "DELETE"),
            ("x_original_url", "/admin"),
            ("proxy-authorization", "Basic x"),
        ];
        assert_eq!(prepared(&smuggled, None), TOLD);
    }

    #[test]
    fn what_is_from_end_to_end_passes() {
        let given = [
            ("authorization", "Bearer t"),
            ("content-type", "application/json"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=1"),
            ("x-kii-requestid", "7"),
        ];
        let mut expected: Vec<_> = given.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        expected.extend(TOLD.map(String::from));
        expected.sort();
        assert_eq!(prepared(&given, Some("Basic key")), expected, "the device's own Authorization counts");
    }

    #[test]
    fn who_brings_no_authorization_gets_the_applications() {
        assert!(prepared(&[], Some("Basic key")).contains(&String::from("authorization: Basic key")));
    }
}
