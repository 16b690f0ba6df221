//! The header names of this protocol, and how every name is spelled on the wire.

use bytes::BytesMut;
use http::{HeaderName, header};

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

/// The name that `text` spells, in any letter case; `None` if it [is of HTTP's own transport](is_of_http_transport). Known
/// ones cost no allocation: the protocol's own come from the table above, those of HTTP from the `http` crate's.
///
/// `text` has been checked to be a header name.
pub(super) fn read(text: &[u8]) -> Option<HeaderName> {
    // As nearly all peers spell what nearly all frames have. Everything else is found below, with ten times the work.
    let usual = match text {
        b"X-Kii-RequestID" => REQUEST_ID,
        b"Content-Type" | b"Content-type" => header::CONTENT_TYPE,
        b"Authorization" => header::AUTHORIZATION,
        b"Date" => header::DATE,
        b"Connection" => header::CONNECTION,
        b"Cache-Control" => header::CACHE_CONTROL,
        b"Accept-Ranges" => header::ACCEPT_RANGES,
        b"Age" => header::AGE,
        b"Server" => header::SERVER,
        b"Location" => header::LOCATION,
        b"X-Kii-AppID" => APP_ID,
        b"X-Kii-AppKey" => APP_KEY,
        b"X-MQTT-TTL" => MQTT_TTL,
        b"Retry-After" => header::RETRY_AFTER,
        b"ETag" => header::ETAG,
        _ => return read_any(text),
    };
    Some(usual)
}

fn read_any(text: &[u8]) -> Option<HeaderName> {
    if text.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'x')) {
        for (name, spelling) in &SPELLINGS {
            if spelling.as_bytes().eq_ignore_ascii_case(text) {
                return Some(name.clone());
            }
        }
    }
    let name = HeaderName::from_bytes(text).expect("a frame's header names were checked when it was parsed");
    (!is_of_http_transport(&name)).then_some(name)
}

/// A line end, the name in its spelling, a colon and a blank, for the names that nearly all frames have.
fn usual_line(name: &str) -> Option<&'static str> {
    Some(match name {
        "x-kii-requestid" => "\r\nX-Kii-RequestID: ",
        "content-type" => "\r\nContent-Type: ",
        "authorization" => "\r\nAuthorization: ",
        "date" => "\r\nDate: ",
        "connection" => "\r\nConnection: ",
        "cache-control" => "\r\nCache-Control: ",
        "accept-ranges" => "\r\nAccept-Ranges: ",
        "age" => "\r\nAge: ",
        "server" => "\r\nServer: ",
        "location" => "\r\nLocation: ",
        "x-kii-appid" => "\r\nX-Kii-AppID: ",
        "x-kii-appkey" => "\r\nX-Kii-AppKey: ",
        "x-mqtt-ttl" => "\r\nX-MQTT-TTL: ",
        "retry-after" => "\r\nRetry-After: ",
        "etag" => "\r\nETag: ",
        _ => return None,
    })
}

/// Appends a line end, the name in its spelling, and the separator, which is `:` or `: `. Appends nothing and says `false`
/// if the name is of HTTP's own transport.
#[inline]
pub(super) fn write(name: &HeaderName, separator: &str, dst: &mut BytesMut) -> bool {
    let Some(line) = usual_line(name.as_str()) else { return write_any(name, separator, dst) };
    dst.extend_from_slice(&line.as_bytes()[..line.len() - ": ".len() + separator.len()]);
    true
}

fn write_any(name: &HeaderName, separator: &str, dst: &mut BytesMut) -> bool {
    if is_of_http_transport(name) {
        return false;
    }
    dst.extend_from_slice(b"\r\n");
    if let Some((_, spelling)) = SPELLINGS.iter().find(|(known, _)| known == name) {
        dst.extend_from_slice(spelling.as_bytes());
    } else {
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
    dst.extend_from_slice(separator.as_bytes());
    true
}

/// Whether the header speaks of HTTP's own transport, so that it neither enters nor leaves a frame.
fn is_of_http_transport(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING || *name == header::HOST
}

/// Whether the header's value is a credential, which `Debug` must not show.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == APP_KEY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> String {
        let name = read(name.as_bytes()).expect("not of HTTP's own transport");
        let [long, short] = [": ", ":"].map(|separator| {
            let mut dst = BytesMut::new();
            assert!(write(&name, separator, &mut dst));
            let text = String::from_utf8(dst.to_vec()).expect("ASCII");
            text.strip_prefix("\r\n").and_then(|line| line.strip_suffix(separator)).expect("a line").to_owned()
        });
        assert_eq!(long, short);
        long
    }

    #[test]
    fn names_of_the_transport_are_neither_read_nor_written() {
        for name in ["Content-Length", "content-length", "TRANSFER-ENCODING", "Host"] {
            assert_eq!(read(name.as_bytes()), None);
            let mut dst = BytesMut::new();
            assert!(!write(&HeaderName::from_bytes(name.as_bytes()).expect("a name"), ":", &mut dst));
            assert!(dst.is_empty());
        }
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
            "Server",
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
