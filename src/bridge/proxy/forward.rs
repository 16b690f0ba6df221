//! A local request as it goes on, and an answer as it comes back.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::fate::{FATE, Fate, Refusal};
use super::guard::TOKEN;
use crate::bridge::rules::remove_hop_by_hop;
use crate::thing_if::ErrorCode;

/// Bounds a call, in milliseconds.
pub(crate) const MAX_TIME: HeaderName = HeaderName::from_static("x-thingif-max-time");
/// A local program that does not finish its body within this time is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes out what concerns this connection, and the proxy, alone.
pub(crate) fn onward(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT, TOKEN] {
        headers.remove(name);
    }
}

/// The request as it goes on, and how long it may take if it says so. A body of more than `max_body` bytes fits no frame.
pub(super) async fn take(
    mut head: Parts,
    body: Incoming,
    max_body: usize,
) -> Result<(Request<Bytes>, Option<Duration>), Refusal> {
    let invalid = |message: &str| Refusal::invalid(ErrorCode::InvalidInputData, message);
    let limit = match head.headers.remove(MAX_TIME) {
        None => None,
        Some(value) => {
            let millis = value.to_str().ok().and_then(|text| text.parse().ok());
            let millis = millis.ok_or_else(|| invalid("X-Thingif-Max-Time is not a number of milliseconds."))?;
            Some(Duration::from_millis(millis))
        }
    };
    onward(&mut head.headers);
    head.uri = target(&head.uri).ok_or_else(|| invalid("The path cannot be sent."))?;
    head.extensions = http::Extensions::new();
    Ok((Request::from_parts(head, whole(body, max_body).await?), limit))
}

/// The body, of at most `max_body` bytes.
pub(crate) async fn whole(body: Incoming, max_body: usize) -> Result<Bytes, Refusal> {
    let invalid = |message: &str| Refusal::invalid(ErrorCode::InvalidInputData, message);
    let too_large = || {
        let message = format!("The body is longer than the {max_body} bytes of the largest frame");
        Refusal::invalid(ErrorCode::PayloadTooLarge, message)
    };
    // Before anything is read: whoever expects a 100 is spared the sending.
    if body.size_hint().lower() > max_body as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, max_body).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(invalid("The body broke off.")),
        Err(_) => Err(Refusal::invalid(ErrorCode::RequestTimeout, "The body did not come in time.")),
    }
}

/// Path and query alone, whatever form they came in. A `+` in the query stands for a blank there, as in every form; a topic
/// cannot hold it, and left to the client it would become a `+` that means itself. (`wire` §3)
fn target(uri: &Uri) -> Option<Uri> {
    let given = uri.path_and_query()?;
    let given = match given.query() {
        Some(query) if query.contains('+') => {
            let text = format!("{}?{}", given.path(), query.replace('+', "%20"));
            PathAndQuery::try_from(text).ok()?
        }
        _ => given.clone(),
    };
    Some(Uri::from(given))
}

/// The service's answer as local programs get it.
pub(super) fn back(mut response: Response<Bytes>) -> Response<Bytes> {
    let status = response.status();
    if status.is_informational() {
        // No HTTP/1.1 server may end an exchange with it.
        let message = format!("The service answered with status {status}, which is no answer");
        let code = ErrorCode::BadGateway;
        return Refusal { fate: Fate::Disconnected, code, message, retry_after: None }.into_response();
    }
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    for name in [CONTENT_LENGTH, FATE] {
        headers.remove(name);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_path_and_query_and_keeps_its_escapes() {
        for (given, expected) in [
            ("/thing-if/apps/a/x", "/thing-if/apps/a/x"),
            ("http://localhost:8090/thing-if/x?y=1", "/thing-if/x?y=1"),
            ("/a+b/%2F%2B%23?q=c+d%2B+e", "/a+b/%2F%2B%23?q=c%20d%2B%20e"),
            ("/a?b=http://x/?", "/a?b=http://x/?"),
        ] {
            let found = target(&given.parse().expect("a URI")).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_concerns_this_connection_stays_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "localhost"),
            ("content-length", "2"),
            ("expect", "100-continue"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("x-thingif-token", "t0k3n"),
            ("authorization", "Bearer x"),
            ("x-kii-requestid", "7"),
        ] {
            headers.append(name, value.parse().expect("valid"));
        }
        onward(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-kii-requestid"]);
    }

    #[test]
    fn an_answer_comes_back_whole_but_for_its_connection() {
        let response = Response::builder()
            .status(404)
            .header("connection", "keep-alive")
            .header("x-thingif-fate", "not-sent")
            .header("etag", "\"7\"")
            .body(Bytes::from_static(b"{}"))
            .expect("valid");
        let response = back(response);
        assert_eq!((response.status().as_u16(), &response.body()[..]), (404, &b"{}"[..]));
        assert_eq!(response.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
        let odd = Response::builder().status(101).body(Bytes::new()).expect("valid");
        let odd = back(odd);
        assert_eq!(
            (odd.status().as_u16(), &odd.headers()[FATE]),
            (502, &http::HeaderValue::from_static("disconnected"))
        );
    }
}
