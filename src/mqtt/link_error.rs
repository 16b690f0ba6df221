//! Why a link could not be made, or was lost.

use std::fmt;

/// The five refusals of an MQTT 3.1 or 3.1.1 CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusedReason {
    /// CONNACK 1.
    #[error("unacceptable protocol version")]
    ProtocolVersion,
    /// CONNACK 2.
    #[error("client identifier rejected")]
    Identifier,
    /// CONNACK 3.
    #[error("server unavailable")]
    ServerUnavailable,
    /// CONNACK 4.
    #[error("bad user name or password")]
    BadUserNameOrPassword,
    /// CONNACK 5.
    #[error("not authorised")]
    NotAuthorised,
}

impl RefusedReason {
    /// The return code on the wire, 1 to 5.
    pub fn code(self) -> u8 {
        match self {
            RefusedReason::ProtocolVersion => 1,
            RefusedReason::Identifier => 2,
            RefusedReason::ServerUnavailable => 3,
            RefusedReason::BadUserNameOrPassword => 4,
            RefusedReason::NotAuthorised => 5,
        }
    }

    /// The reason for a return code; `None` for 0 and for what no version defines.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => RefusedReason::ProtocolVersion,
            2 => RefusedReason::Identifier,
            3 => RefusedReason::ServerUnavailable,
            4 => RefusedReason::BadUserNameOrPassword,
            5 => RefusedReason::NotAuthorised,
            _ => return None,
        })
    }
}

/// What went wrong on a link, told apart as far as the transport can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// The host name could not be resolved.
    NameNotResolved,
    /// No TCP connection: refused, unreachable.
    Tcp,
    /// The HTTP proxy on the way to the broker is not there, wants another login, or allows no tunnel.
    Proxy,
    /// TLS failed: certificate, host name, version.
    Tls,
    /// The WebSocket upgrade was refused.
    WebSocket,
    /// CONNACK with a refusal.
    Refused(RefusedReason),
    /// Nobody answered within the time given for connecting.
    ConnectTimedOut,
    /// The peer answered nothing for longer than the keep-alive allows.
    KeepAlive,
    /// The peer closed or reset the connection.
    Closed,
    /// The peer broke the MQTT protocol.
    Protocol,
    /// This side could not queue more: the transport's own bound.
    Overloaded,
    /// This side asked for something that cannot be: bad option, unreadable certificate file.
    Config,
}

/// Why a link failed. `Display` says what and, where it is known, the transport's own words; never a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkError {
    kind: LinkErrorKind,
    detail: String,
}

impl LinkError {
    /// An error of `kind` with the transport's words, which may be empty.
    pub fn new(kind: LinkErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What went wrong.
    pub fn kind(&self) -> LinkErrorKind {
        self.kind
    }

    /// The transport's own words; may be empty.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<LinkErrorKind> for LinkError {
    fn from(kind: LinkErrorKind) -> Self {
        Self::new(kind, "")
    }
}

impl fmt::Display for LinkErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkErrorKind::NameNotResolved => f.write_str("host name not resolved"),
            LinkErrorKind::Tcp => f.write_str("no TCP connection"),
            LinkErrorKind::Proxy => f.write_str("no way through the proxy"),
            LinkErrorKind::Tls => f.write_str("TLS failed"),
            LinkErrorKind::WebSocket => f.write_str("WebSocket upgrade failed"),
            LinkErrorKind::Refused(reason) => write!(f, "CONNECT refused with code {}: {reason}", reason.code()),
            LinkErrorKind::ConnectTimedOut => f.write_str("connecting timed out"),
            LinkErrorKind::KeepAlive => f.write_str("the broker no longer answers"),
            LinkErrorKind::Closed => f.write_str("the broker closed the connection"),
            LinkErrorKind::Protocol => f.write_str("the broker broke the MQTT protocol"),
            LinkErrorKind::Overloaded => f.write_str("too much queued for the broker"),
            LinkErrorKind::Config => f.write_str("the link is configured wrongly"),
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { write!(f, "{}", self.kind) } else { write!(f, "{}: {}", self.kind, self.detail) }
    }
}

impl std::error::Error for LinkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_inverse() {
        for code in 0..=255 {
            match RefusedReason::from_code(code) {
                Some(reason) => assert_eq!(reason.code(), code),
                None => assert!(!(1..=5).contains(&code)),
            }
        }
    }

    #[test]
    fn an_error_says_what_and_in_whose_words() {
        assert_eq!(LinkError::from(LinkErrorKind::Tcp).to_string(), "no TCP connection");
        let refused = LinkErrorKind::Refused(RefusedReason::NotAuthorised);
        assert_eq!(LinkError::new(refused, "x").to_string(), "CONNECT refused with code 5: not authorised: x");
    }
}
