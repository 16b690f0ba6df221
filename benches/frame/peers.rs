//! What the codec is measured beside. Each says what it does not do.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use httparse::{EMPTY_HEADER, Status};

/// Fields for which the usual frame needs room.
pub(crate) const USUAL: usize = 16;
/// As many as a frame may have.
pub(crate) const MOST: usize = 64;

/// `httparse` alone on the header lines: neither the first line nor the body, and its array is made once, by the caller.
/// A head without a blank line is not read to its end, but called partial.
pub(crate) fn httparse_alone<'b>(section: &'b [u8], fields: &mut [httparse::Header<'b>]) -> Option<usize> {
    match httparse::parse_headers(section, fields) {
        Ok(Status::Complete((len, _))) => Some(len),
        _ => None,
    }
}

/// The least: finds the line ends of the head, and copies the frame. Looks at no byte but those.
pub(crate) fn find_lines_and_copy(payload: &[u8], dst: &mut [u8]) -> usize {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &payload[at..]) {
        let is_blank = matches!(&payload[at..at + end], [] | [b'\r']);
        at += end + 1;
        if is_blank {
            break;
        }
    }
    dst[..payload.len()].copy_from_slice(payload);
    at
}

/// What a short program does: lines of a text. It checks that all of the payload is UTF-8, which a frame need not be, and
/// neither names nor values nor bounds. `None` if it is not UTF-8.
pub(crate) fn str_lines(payload: &[u8]) -> Option<usize> {
    let mut lines = str::from_utf8(payload).ok()?.lines();
    let start = lines.next()?;
    let fields = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    Some(fields.map(|(name, value)| name.len() + value.trim().len()).sum::<usize>() + start.len())
}

/// The head by hand: what `httparse` finds, and all of it checked as the types check it. Values are slices of the payload,
/// as nobody would copy them. Of duplicates the last one counts.
///
/// It keeps headers of HTTP's own transport, marks no credential, knows no names but those of the `http` crate, refuses a
/// head without a blank line, and does not say where a fault is. Fields beyond [`USUAL`] cost it a second pass.
fn head_by_hand(payload: &Bytes) -> Option<(&[u8], HeaderMap, Bytes)> {
    let end = memchr::memchr(b'\n', payload)?;
    let section = &payload[end + 1..];
    let (headers, len) = match fields_by_hand::<USUAL>(payload, section) {
        Err(httparse::Error::TooManyHeaders) => fields_by_hand::<MOST>(payload, section),
        done => done,
    }
    .ok()??;
    Some((payload[..end].trim_ascii(), headers, payload.slice(end + 1 + len..)))
}

fn fields_by_hand<const N: usize>(
    payload: &Bytes,
    section: &[u8],
) -> Result<Option<(HeaderMap, usize)>, httparse::Error> {
    let mut fields = [EMPTY_HEADER; N];
    let Status::Complete((len, fields)) = httparse::parse_headers(section, &mut fields)? else { return Ok(None) };
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("httparse has checked it");
        let value = HeaderValue::from_maybe_shared(payload.slice_ref(field.value)).expect("httparse has checked it");
        headers.insert(name, value);
    }
    Ok(Some((headers, len)))
}

/// `http::Request` by hand; the path is what follows the topic's second slash. A verb in lower case stays one.
pub(crate) fn decode_request(topic: &str, payload: &Bytes) -> Option<Request<Bytes>> {
    let (verb, headers, body) = head_by_hand(payload)?;
    let path = topic.strip_prefix("p/")?;
    let path = &path[path.find('/')?..];
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(verb).ok()?;
    *request.uri_mut() = Uri::try_from(path).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// `http::Response` by hand. A reason phrase is read over.
pub(crate) fn decode_response(payload: &Bytes) -> Option<Response<Bytes>> {
    let (status, headers, body) = head_by_hand(payload)?;
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_bytes(status.get(..3)?).ok()?;
    *response.headers_mut() = headers;
    Some(response)
}

/// A loop of `put_slice` over the same map, into a buffer that has room. It writes names as the map has them, in lower case,
/// on which known receivers fail; it writes every header, blanks around values, and a line for each value of a name.
pub(crate) fn put_slice_loop(start: &[u8], headers: &HeaderMap, separator: &[u8], body: &[u8], dst: &mut BytesMut) {
    dst.put_slice(start);
    dst.put_slice(b"\r\n");
    for (name, value) in headers {
        dst.put_slice(name.as_str().as_bytes());
        dst.put_slice(separator);
        dst.put_slice(value.as_bytes());
        dst.put_slice(b"\r\n");
    }
    dst.put_slice(b"\r\n");
    dst.put_slice(body);
}

/// The same without a map: every name is spelled already, with its line end before it and its separator after it. What a
/// program does that writes one frame, always with the same headers.
pub(crate) fn put_spelled(start: &[u8], fields: &[(Vec<u8>, HeaderValue)], body: &[u8], dst: &mut BytesMut) {
    dst.put_slice(start);
    for (name, value) in fields {
        dst.put_slice(name);
        dst.put_slice(value.as_bytes());
    }
    dst.put_slice(b"\r\n\r\n");
    dst.put_slice(body);
}
