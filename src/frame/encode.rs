//! `http` types to frames, in the one dialect that every known reader understands. (`wire` §2.2, §2.3)

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::header_name;
use super::peek::trim_blanks;

const CRLF: &[u8] = b"\r\n";

/// Appends a request: the verb in upper case, `Name: value` lines, a blank line, the body. Lines end in CRLF.
///
/// The URI is not written: the topic carries it ([`Topic::for_call`](crate::topic::Topic::for_call)). Header order is kept.
/// A method that has other than letters and hyphens, or more than 32 of them, is written, and refused by the receiver.
/// The bounds of this module are the receiver's: a head beyond them is written, and refused there.
/// `dst` is reserved once; with enough room in it nothing is allocated.
pub fn encode_request<B: AsRef<[u8]>>(request: &Request<B>, dst: &mut BytesMut) {
    let verb = request.method().as_str().as_bytes();
    let body = request.body().as_ref();
    dst.reserve(verb.len() + head_len(request.headers(), ": ") + body.len());
    let start = dst.len();
    dst.extend_from_slice(verb);
    dst[start..].make_ascii_uppercase();
    write_rest(request.headers(), ": ", body, dst);
}

/// Appends a response: the status code alone, `Name:value` lines, a blank line, the body. Lines end in CRLF.
///
/// There is neither a reason phrase nor a space after the colon, because known receivers fail on either (`wire` §2.3).
/// Header order is kept. `dst` is reserved once; with enough room in it nothing is allocated.
pub fn encode_response<B: AsRef<[u8]>>(response: &Response<B>, dst: &mut BytesMut) {
    let body = response.body().as_ref();
    dst.reserve(3 + head_len(response.headers(), ":") + body.len());
    dst.extend_from_slice(response.status().as_str().as_bytes());
    write_rest(response.headers(), ":", body, dst);
}

/// Bytes that [`write_rest`] writes before the body, or a few more.
fn head_len(headers: &HeaderMap, separator: &str) -> usize {
    let fields = headers.iter().map(|(name, value)| CRLF.len() + name.as_str().len() + separator.len() + value.len());
    fields.sum::<usize>() + 2 * CRLF.len()
}

fn write_rest(headers: &HeaderMap, separator: &str, body: &[u8], dst: &mut BytesMut) {
    write_fields(headers, separator, dst);
    dst.extend_from_slice(b"\r\n\r\n");
    dst.extend_from_slice(body);
}

/// Appends the lines of some of a response's headers, each with the line end before it, for who writes the others itself.
#[cfg(feature = "edge")]
pub(crate) fn write_response_fields<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    dst: &mut BytesMut,
) {
    write_fields(fields, ":", dst);
}

#[inline]
fn write_fields<'a>(
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    separator: &str,
    dst: &mut BytesMut,
) {
    let mut last: Option<&HeaderName> = None;
    let mut is_written = false;
    for (name, value) in fields {
        // Several values of one name follow each other. Readers keep the last of several lines, so the values share one
        // (RFC 9110 §5.3).
        if !last.is_some_and(|last| std::ptr::eq(last, name)) {
            is_written = header_name::write(name, separator, dst);
            last = Some(name);
        } else if is_written {
            dst.extend_from_slice(b", ");
        }
        // A `HeaderValue` has no CR, LF or NUL. Blanks around it are not part of it, and after the colon of an answer's
        // X-Kii-RequestID they would break a known receiver.
        if is_written {
            dst.extend_from_slice(trim_blanks(value.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(build: http::response::Builder, body: &str) -> String {
        let mut dst = BytesMut::new();
        encode_response(&build.body(body).expect("valid"), &mut dst);
        String::from_utf8(dst.to_vec()).expect("ASCII")
    }

    #[test]
    fn a_request_is_written_with_a_space_after_the_colon() {
        let request = Request::put("/never/written")
            .header("authorization", "Bearer t")
            .header("x-kii-requestid", "17")
            .header("content-length", "2")
            .header("host", "h")
            .body("{}")
            .expect("valid");
        let mut dst = BytesMut::new();
        encode_request(&request, &mut dst);
        assert_eq!(dst, "PUT\r\nAuthorization: Bearer t\r\nX-Kii-RequestID: 17\r\n\r\n{}");
    }

    #[test]
    fn a_response_is_written_without_one_and_without_a_reason() {
        let build = Response::builder()
            .status(200)
            .header("content-type", "application/json")
            .header("connection", "keep-alive")
            .header("transfer-encoding", "chunked")
            .header("x-kii-requestid", " v1 onboardings ");
        let expected = "200\r\nContent-Type:application/json\r\nConnection:keep-alive\r\nX-Kii-RequestID:v1 onboardings\r\n\r\n{\n}";
        assert_eq!(response(build, "{\n}"), expected);
        assert_eq!(response(Response::builder().status(204), ""), "204\r\n\r\n");
    }

    #[test]
    fn several_values_of_a_name_share_a_line() {
        let build = Response::builder().header("vary", "a").header("age", "0").header("vary", "b");
        assert_eq!(response(build, ""), "200\r\nVary:a, b\r\nAge:0\r\n\r\n");
    }

    #[test]
    fn an_extension_method_is_written_in_upper_case() {
        let request = Request::builder().method("m-search").body("").expect("valid");
        let mut dst = BytesMut::from("kept ");
        encode_request(&request, &mut dst);
        assert_eq!(dst, "kept M-SEARCH\r\n\r\n");
    }

    #[test]
    fn the_reserved_room_is_enough() {
        let request = Request::post("/").header("a", "b").header("vary", "c").header("vary", "d").body("body");
        let request = request.expect("valid");
        let mut dst = BytesMut::new();
        encode_request(&request, &mut dst);
        let reserved = "POST".len() + head_len(request.headers(), ": ") + "body".len();
        assert!(dst.len() <= reserved, "{} of {reserved}", dst.len());
    }
}
