//! The words of the format: kinds of events, directions, kinds of link errors.

use super::{Direction, Event};
use crate::mqtt::packet::Protocol;
use crate::mqtt::{LinkErrorKind, RefusedReason};

pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Connect { .. } => "connect",
        Event::Connected => "connected",
        Event::Refused(_) => "refused",
        Event::Subscribe(_) => "subscribe",
        Event::Subscribed { .. } => "subscribed",
        Event::Unsubscribe(_) => "unsubscribe",
        Event::Publish(_) => "publish",
        Event::Received(_) => "received",
        Event::Lost(_) => "lost",
        Event::Close => "close",
        Event::Dropped => "dropped",
        Event::Stopped(_) => "stopped",
    }
}

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V31 => "3.1",
        Protocol::V311 => "3.1.1",
    }
}

pub(super) fn protocol_version(word: &str) -> Option<Protocol> {
    [Protocol::V31, Protocol::V311].into_iter().find(|version| protocol(*version) == word)
}

pub(super) fn error(kind: LinkErrorKind) -> &'static str {
    match kind {
        LinkErrorKind::NameNotResolved => "name-not-resolved",
        LinkErrorKind::Tcp => "tcp",
        LinkErrorKind::Proxy => "proxy",
        LinkErrorKind::Tls => "tls",
        LinkErrorKind::WebSocket => "websocket",
        LinkErrorKind::Refused(RefusedReason::ProtocolVersion) => "refused-1",
        LinkErrorKind::Refused(RefusedReason::Identifier) => "refused-2",
        LinkErrorKind::Refused(RefusedReason::ServerUnavailable) => "refused-3",
        LinkErrorKind::Refused(RefusedReason::BadUserNameOrPassword) => "refused-4",
        LinkErrorKind::Refused(RefusedReason::NotAuthorised) => "refused-5",
        LinkErrorKind::ConnectTimedOut => "connect-timed-out",
        LinkErrorKind::KeepAlive => "keep-alive",
        LinkErrorKind::Closed => "closed",
        LinkErrorKind::Protocol => "protocol",
        LinkErrorKind::Overloaded => "overloaded",
        LinkErrorKind::Config => "config",
    }
}

pub(super) fn error_kind(word: &str) -> Option<LinkErrorKind> {
    if let Some(code) = word.strip_prefix("refused-") {
        return RefusedReason::from_code(code.parse().ok()?).map(LinkErrorKind::Refused);
    }
    Some(match word {
        "name-not-resolved" => LinkErrorKind::NameNotResolved,
        "tcp" => LinkErrorKind::Tcp,
        "proxy" => LinkErrorKind::Proxy,
        "tls" => LinkErrorKind::Tls,
        "websocket" => LinkErrorKind::WebSocket,
        "connect-timed-out" => LinkErrorKind::ConnectTimedOut,
        "keep-alive" => LinkErrorKind::KeepAlive,
        "closed" => LinkErrorKind::Closed,
        "protocol" => LinkErrorKind::Protocol,
        "overloaded" => LinkErrorKind::Overloaded,
        "config" => LinkErrorKind::Config,
        _ => return None,
    })
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// `None` when a character is not a hexadecimal digit or one is missing.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
