//! The upgrade request and its answer.

use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{Response, create_response, write_response};
use tokio_tungstenite::tungstenite::{self, Error};

use crate::edge::ending::Ending;

/// Sub-protocols: of MQTT 3.1.1, and of 3.1. Either is echoed, and what CONNECT says later counts. (`wire` §8)
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// The largest head of a request, and the most header fields in it: browsers' cookies fit.
const MAX_HEAD: usize = 8 * 1024;
const MAX_FIELDS: usize = 64;

type Refusal = (StatusCode, &'static str);

/// Reads an upgrade request and answers it, in one write. Gives what came after it.
pub(super) async fn answer<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut T) -> Result<Vec<u8>, Ending> {
    let mut read = Vec::new();
    let judged = loop {
        match parse(&read) {
            Ok(Some((request, len))) => break agree(&request).map(|response| (response, len)),
            Ok(None) => {}
            Err(refusal) => break Err(refusal),
        }
        if read.len() >= MAX_HEAD {
            break Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large."));
        }
        if (&mut *stream).take((MAX_HEAD - read.len()) as u64).read_buf(&mut read).await? == 0 {
            return Err(Ending::Closed);
        }
    };
    match judged {
        Ok((response, len)) => {
            let mut head = Vec::new();
            write_response(&mut head, &response).map_err(|_| Ending::WebSocket)?;
            stream.write_all(&head).await?;
            stream.flush().await?;
            Ok(read.split_off(len))
        }
        Err((status, why)) => {
            stream.write_all(refusal(status, why).as_bytes()).await?;
            stream.shutdown().await?;
            Err(Ending::WebSocket)
        }
    }
}

/// The request and the length of its head, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Request<()>, usize)>, Refusal> {
    let malformed = (StatusCode::BAD_REQUEST, "This is no HTTP request.");
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many header fields."));
        }
        Err(_) => return Err(malformed),
    };
    let mut request = Request::new(());
    *request.method_mut() = parsed.method.and_then(|method| method.parse::<Method>().ok()).ok_or(malformed)?;
    *request.uri_mut() = parsed.path.and_then(|path| path.parse().ok()).ok_or(malformed)?;
    *request.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).map_err(|_| malformed)?);
    }
    Ok(Some((request, len)))
}

/// Judges an upgrade request: paths `/mqtt` and `/`, and the first sub-protocol that is known, if any.
fn agree(request: &Request<()>) -> Result<Response, Refusal> {
    if !matches!(request.uri().path(), "/mqtt" | "/") {
        return Err((StatusCode::NOT_FOUND, "MQTT is at /mqtt."));
    }
    let mut response = create_response(request).map_err(refused)?;
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let known = offered
        .flat_map(|value| value.split(','))
        .find_map(|offer| PROTOCOLS.into_iter().find(|known| offer.trim().eq_ignore_ascii_case(known)));
    if let Some(protocol) = known {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

fn refused(error: tungstenite::Error) -> Refusal {
    match error {
        Error::Protocol(ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey) => {
            (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or wrong.")
        }
        _ => (StatusCode::UPGRADE_REQUIRED, "This port speaks MQTT over WebSocket (RFC 6455) and nothing else."),
    }
}

fn refusal(status: StatusCode, why: &str) -> String {
    let upgrade = if status == StatusCode::UPGRADE_REQUIRED {
        "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    } else {
        "Connection: close\r\n"
    };
    let length = why.len() + 1;
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{upgrade}\r\n{why}\n")
}
