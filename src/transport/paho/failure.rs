//! What paho's few words mean, given what is known besides: the scheme, and that the port answered a moment ago.

use paho_mqtt::{ConnectReturnCode, Error};

use crate::mqtt::{LinkError, LinkErrorKind, RefusedReason, Scheme};

/// Whether a connect failed in the way in which it may fail through no fault of its own.
///
/// Paho's receiving thread closes a socket, lets go of the lock, takes it again and charges "socket error" to whichever
/// client has that descriptor number then. A client that connects in between gets the number and the error.
pub(super) fn is_stray(error: &Error) -> bool {
    matches!(error, Error::SocketError(_))
}

/// Why a connect failed that came as far as paho.
pub(super) fn connect(error: &Error, scheme: Scheme) -> LinkError {
    match error {
        Error::ConnectReturn(code) => refused(*code),
        Error::TcpConnectTimeout | Error::Timeout => {
            LinkError::new(LinkErrorKind::ConnectTimedOut, "TCP answered, no CONNACK came")
        }
        // Paho says so of TCP and of TLS alike, while neither CONNECT nor a WebSocket upgrade has been sent.
        Error::TcpTlsConnectFailure | Error::Failure if scheme.is_tls() => {
            LinkError::new(LinkErrorKind::Tls, "handshake or certificate refused")
        }
        Error::TcpTlsConnectFailure | Error::Failure => LinkError::new(LinkErrorKind::Tcp, error.to_string()),
        // Said while the upgrade is under way. TLS 1.3 tells a client that its certificate is wanted only after that has begun.
        Error::SocketError(_) if scheme == Scheme::Wss => LinkError::new(
            LinkErrorKind::WebSocket,
            "the upgrade was refused or broken off; a client certificate that is missing or refused looks like this",
        ),
        Error::SocketError(_) if scheme.is_websocket() => {
            LinkError::new(LinkErrorKind::WebSocket, "the upgrade was refused or broken off")
        }
        // CONNECT has been sent. TLS 1.3 tells a client that its certificate is wanted only after that.
        Error::TcpConnectCompletionFailure | Error::SocketError(_) if scheme.is_tls() => LinkError::new(
            LinkErrorKind::Tls,
            "closed before CONNACK; a client certificate that is missing or refused looks like this",
        ),
        Error::TcpConnectCompletionFailure | Error::SocketError(_) | Error::OperationIncomplete => {
            LinkError::new(LinkErrorKind::Closed, "before CONNACK")
        }
        other => LinkError::new(LinkErrorKind::Config, other.to_string()),
    }
}

fn refused(code: ConnectReturnCode) -> LinkError {
    let reason = match code {
        ConnectReturnCode::UnacceptableProtocolVersion => RefusedReason::ProtocolVersion,
        ConnectReturnCode::IdentifierRejected => RefusedReason::Identifier,
        ConnectReturnCode::ServerUnavailable => RefusedReason::ServerUnavailable,
        ConnectReturnCode::BadUserNameOrPassword => RefusedReason::BadUserNameOrPassword,
        ConnectReturnCode::NotAuthorized => RefusedReason::NotAuthorised,
        ConnectReturnCode::Accepted => return LinkError::new(LinkErrorKind::Protocol, "a failure with CONNACK 0"),
    };
    LinkErrorKind::Refused(reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_tells_apart_what_paho_does_not() {
        for (error, scheme, kind) in [
            (Error::TcpTlsConnectFailure, Scheme::Mqtt, LinkErrorKind::Tcp),
            (Error::TcpTlsConnectFailure, Scheme::Mqtts, LinkErrorKind::Tls),
            (Error::TcpTlsConnectFailure, Scheme::Wss, LinkErrorKind::Tls),
            (Error::SocketError(-1), Scheme::Ws, LinkErrorKind::WebSocket),
            (Error::SocketError(-1), Scheme::Wss, LinkErrorKind::WebSocket),
            (Error::TcpConnectCompletionFailure, Scheme::Mqtt, LinkErrorKind::Closed),
            (Error::TcpConnectCompletionFailure, Scheme::Mqtts, LinkErrorKind::Tls),
            (Error::TcpConnectTimeout, Scheme::Wss, LinkErrorKind::ConnectTimedOut),
        ] {
            assert_eq!(connect(&error, scheme).kind(), kind, "{error} over {scheme}");
        }
    }

    #[test]
    fn every_refusal_keeps_its_code() {
        for code in 1..=5 {
            let error = Error::from_connect_return_code(code);
            let reason = RefusedReason::from_code(code).expect("1 to 5 are refusals");
            assert_eq!(connect(&error, Scheme::Mqtt).kind(), LinkErrorKind::Refused(reason));
        }
    }
}
