//! The upgrade request and its answer (RFC 6455 §4.1), read leniently.
//!
//! tungstenite's own reader refuses servers that leave out the sub-protocol or say `Connection: keep-alive, Upgrade`, which
//! proxies do. What proves that the peer understood, the status and `Sec-WebSocket-Accept`, is demanded here as well.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::mqtt::{Endpoint, LinkError, LinkErrorKind};
use crate::transport::native::failure;

/// The largest head of an answer, and the most header fields in it.
const MAX_HEAD: usize = 8 * 1024;
const MAX_FIELDS: usize = 64;

/// Asks for the upgrade in one write and reads the answer. Gives what came after it.
pub(super) async fn ask<T>(stream: &mut T, endpoint: &Endpoint) -> Result<Vec<u8>, LinkError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let key = generate_key();
    let (path, host) = (endpoint.path.as_str(), endpoint.authority());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(failure::io)?;
    stream.flush().await.map_err(failure::io)?;
    let mut read = Vec::new();
    loop {
        if let Some(len) = judge(&read, &derive_accept_key(key.as_bytes()))? {
            return Ok(read.split_off(len));
        }
        if read.len() >= MAX_HEAD {
            return Err(refused("the head of the answer does not end"));
        }
        let room = (MAX_HEAD - read.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut read).await.map_err(failure::io)? == 0 {
            return Err(LinkErrorKind::Closed.into());
        }
    }
}

/// The length of the head that agrees to the upgrade, once all of it is there.
fn judge(bytes: &[u8], accept: &str) -> Result<Option<usize>, LinkError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let len = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(refused("what answers is no HTTP server")),
    };
    let status = answer.code.unwrap_or_default();
    if status != 101 {
        return Err(refused(format!("status {status}")));
    }
    let field = |name: &str| answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    if field("Sec-WebSocket-Accept").is_none_or(|field| field.value.trim_ascii() != accept.as_bytes()) {
        return Err(refused("Sec-WebSocket-Accept is missing or wrong"));
    }
    match field("Sec-WebSocket-Protocol") {
        Some(field) if !is_mqtt(field.value) => Err(refused("the peer chose a sub-protocol that is not MQTT")),
        _ => Ok(Some(len)),
    }
}

/// Names of MQTT's sub-protocol, of 3.1.1 and of 3.1.
fn is_mqtt(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    name.eq_ignore_ascii_case(b"mqtt") || name.eq_ignore_ascii_case(b"mqttv3.1")
}

fn refused(why: impl Into<String>) -> LinkError {
    LinkError::new(LinkErrorKind::WebSocket, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged() {
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";
        for (rest, expected) in [
            ("sec-websocket-accept: yes\r\n\r\nmore", Ok(true)),
            ("Sec-WebSocket-Accept: yes \r\nSec-WebSocket-Protocol: MQTT\r\n\r\n", Ok(true)),
            ("Sec-WebSocket-Accept: yes\r\nSec-WebSocket-Protocol: mqttv3.1\r\n\r\n", Ok(true)),
            ("Sec-WebSocket-Accept: yes\r\n", Ok(false)),
            ("Sec-WebSocket-Accept: no\r\n\r\n", Err(())),
            ("\r\n", Err(())),
            ("Sec-WebSocket-Accept: yes\r\nSec-WebSocket-Protocol: chat\r\n\r\n", Err(())),
        ] {
            let answer = format!("{good}{rest}");
            let judged = judge(answer.as_bytes(), "yes");
            let whole = answer.find("\r\n\r\n").map(|at| at + 4);
            match (judged, expected) {
                (Ok(len), Ok(complete)) => assert_eq!(len, whole.filter(|_| complete), "{rest}"),
                (Err(error), Err(())) => assert_eq!(error.kind(), LinkErrorKind::WebSocket, "{error}"),
                (judged, _) => panic!("{rest}: {judged:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_names_the_status() {
        let error = judge(b"HTTP/1.1 404 Not Found\r\n\r\n", "yes").expect_err("refused");
        assert_eq!(error.to_string(), "WebSocket upgrade failed: status 404");
        assert!(judge(b"\x16\x03\x01\x00\x00\x00", "yes").is_err(), "a TLS record");
    }
}
