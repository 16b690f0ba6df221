//! Headers about the way that a message took, which is not the way that it goes on.

use http::header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName};

/// Those that everybody knows. `Content-Length` is left out by the codec.
const KNOWN: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out the headers that are about one connection: `Connection` and what it names, and those that everybody knows to be
/// such ([RFC 9110 §7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)). Whoever passes a message on does this
/// before it adds headers of its own, so that no message can name them away.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none of them: to see that costs less than to look for each.
    if !headers.keys().any(is_known) {
        return;
    }
    // Those that have a `Connection` say `keep-alive`.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        // As bytes: what is not ASCII in it hides no name beside.
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&KNOWN) {
        headers.remove(name);
    }
}

/// Whether it is among [`KNOWN`].
fn is_known(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut map);
        map.iter().map(|(name, value)| format!("{name}:{}", value.to_str().expect("ASCII"))).collect()
    }

    #[test]
    fn those_that_are_known_are_known_in_both_places() {
        assert!(KNOWN.iter().all(is_known));
        for name in KNOWN {
            let mut map = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
            remove_hop_by_hop(&mut map);
            assert!(map.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_is_named_goes_and_all_else_stays() {
        assert_eq!(left(&[("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("etag", "7")]), ["etag:7"]);
        let named = [
            ("connection", "X-One , ,close,, bad name"),
            ("x-one", "1"),
            ("x-one", "2"),
            ("connection", "x-TWO"),
            ("x-two", "1"),
            ("x-three", "1"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("close", "a header may be called that"),
        ];
        assert_eq!(left(&named), ["x-three:1"]);
        assert_eq!(left(&[("authorization", "Bearer x")]), ["authorization:Bearer x"]);
        let mut map = HeaderMap::new();
        map.insert("connection", HeaderValue::from_bytes(b"\xe4, x-one").expect("opaque"));
        map.insert("x-one", HeaderValue::from_static("1"));
        remove_hop_by_hop(&mut map);
        assert!(map.is_empty(), "{map:?}");
    }
}
