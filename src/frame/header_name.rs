//! The header names of this protocol, and how every name is spelled on the wire.

use bytes::BytesMut;
use http::HeaderName;

/// `X-Kii-RequestID`: correlates an answer with its request; echoed byte for byte. (`wire` §2.2)
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-kii-requestid");
/// `X-Kii-AppID`: sent by some devices, not needed. (`wire` §2.1)
pub const APP_ID: HeaderName = HeaderName::from_static("x-kii-appid");
/// `X-Kii-AppKey`: sent by some devices, not needed; a credential. (`wire` §2.1)
pub const APP_KEY: HeaderName = HeaderName::from_static("x-kii-appkey");
/// `X-MQTT-TTL`: how long an endpoint is valid, in seconds. (`wire` §7)
pub const MQTT_TTL: HeaderName = HeaderName::from_static("x-mqtt-ttl");

const STATUS_CODE: HeaderName = HeaderName::from_static("x-http-status-code");

/// Names that are not spelled by the rule "capital letter first and after each hyphen". Peers search for these bytes.
static SPELLINGS: [(HeaderName, &str); 8] = [
    (REQUEST_ID, "X-Kii-RequestID"),
    (APP_ID, "X-Kii-AppID"),
    (APP_KEY, "X-Kii-AppKey"),
    (MQTT_TTL, "X-MQTT-TTL"),
    (STATUS_CODE, "X-HTTP-Status-Code"),
    (http::header::ETAG, "ETag"),
    (http::header::WWW_AUTHENTICATE, "WWW-Authenticate"),
    (http::header::TE, "TE"),
];

/// The name that `text` spells, in any letter case. Known ones cost no allocation: the protocol's own come from the
/// table above, those of HTTP from the `http` crate's.
///
/// `text` has been checked to be a header name.
pub(super) fn read(text: &str) -> HeaderName {
    if text.as_bytes().first().is_some_and(|b| b.eq_ignore_ascii_case(&b'x')) {
        for (name, spelling) in &SPELLINGS {
            if spelling.eq_ignore_ascii_case(text) {
                return name.clone();
            }
        }
    }
    HeaderName::from_bytes(text.as_bytes()).expect("a frame's header names were checked when it was parsed")
}

/// Appends the name in its spelling.
pub(super) fn write(name: &HeaderName, dst: &mut BytesMut) {
    if let Some((_, spelling)) = SPELLINGS.iter().find(|(known, _)| known == name) {
        dst.extend_from_slice(spelling.as_bytes());
        return;
    }
    let start = dst.len();
    dst.extend_from_slice(name.as_str().as_bytes());
    let mut first = true;
    for byte in &mut dst[start..] {
        if first {
            byte.make_ascii_uppercase();
        }
        first = *byte == b'-';
    }
}

/// Whether the header speaks of HTTP's own transport, so that it neither enters nor leaves a frame.
pub(super) fn is_of_http_transport(name: &HeaderName) -> bool {
    *name == http::header::CONTENT_LENGTH || *name == http::header::TRANSFER_ENCODING || *name == http::header::HOST
}

/// Whether the header's value is a credential, which `Debug` must not show.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    *name == http::header::AUTHORIZATION || *name == APP_KEY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> String {
        let mut dst = BytesMut::new();
        write(&read(name), &mut dst);
        String::from_utf8(dst.to_vec()).expect("ASCII")
    }

    #[test]
    fn names_are_spelled_as_peers_search_for_them() {
        for spelling in [
            "X-Kii-RequestID",
            "X-Kii-AppID",
            "X-Kii-AppKey",
            "X-MQTT-TTL",
            "X-HTTP-Status-Code",
            "Content-Type",
            "Authorization",
            "Accept-Ranges",
            "Age",
            "Cache-Control",
            "Date",
            "Connection",
            "Retry-After",
            "Location",
            "ETag",
            "WWW-Authenticate",
            "X-Custom-Thing",
        ] {
            assert_eq!(written(spelling), spelling);
            assert_eq!(written(&spelling.to_lowercase()), spelling);
            assert_eq!(written(&spelling.to_uppercase()), spelling);
        }
    }
}
