//! The WebSocket upgrade. (`wire` §1.2)

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};

use super::clock::{self, Reading};
use super::probe::{Fault, Finding};
use super::wire::{Stream, Wire};
use crate::mqtt::Endpoint;

/// Asks for the upgrade. `readings` is given the answer's date.
pub(super) async fn upgrade(
    endpoint: &Endpoint,
    stream: Stream,
    readings: &mut Vec<Reading>,
) -> Result<(Wire, Finding), Finding> {
    let port =
        "Check that the port speaks WebSocket: Kii's brokers do on 12470 (ws://), and over TLS on 12473 (wss://).";
    // Whether TLS is below is no matter any more.
    let url = format!("ws://{}{}", endpoint.authority(), endpoint.path);
    let request = url.into_client_request().map_err(|error| {
        Finding::failed(Fault::Other, format!("no upgrade can be asked for: {error}"), "Check the path of the URL.")
    })?;
    let mut request = request;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    let sent = SystemTime::now();
    let refused = |said: String, remedy: &str| Err(Finding::failed(Fault::Connect, said, remedy));
    match client_async(request, stream).await {
        Ok((socket, answer)) => {
            note(answer.headers(), sent, readings);
            Ok((Wire::WebSocket(Box::new(socket)), Finding::ok(format!("upgraded at {}", endpoint.path))))
        }
        Err(Error::Http(answer)) => {
            note(answer.headers(), sent, readings);
            let status = answer.status();
            let remedy = match status.as_u16() {
                404 => "The path is wrong: name it in the URL, ws://HOST:PORT/PATH; Kii's is /mqtt.",
                401 | 403 => {
                    "Something before the broker wants a login or refuses us: ask whoever runs the web server there."
                }
                502..=504 => {
                    "The web server before the broker does not reach it: ask its operator whether the broker runs."
                }
                _ => {
                    "What answers is a web server that makes no WebSocket there: check port and path (/mqtt by default)."
                }
            };
            refused(format!("the upgrade at {} was answered with {status}", endpoint.path), remedy)
        }
        Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol | SubProtocolError::InvalidSubProtocol,
        ))) => refused(
            "there is a WebSocket, but it does not speak the sub-protocol mqtt".to_owned(),
            "It is another service's WebSocket: check the path (/mqtt by default) and the port.",
        ),
        Err(Error::Io(error)) => refused(format!("the connection ended in the upgrade: {error}"), port),
        Err(error) => refused(format!("what answers is no WebSocket: {error}"), port),
    }
}

fn note(headers: &HeaderMap, sent: SystemTime, readings: &mut Vec<Reading>) {
    readings.extend(clock::reading(headers, sent, SystemTime::now()));
}
