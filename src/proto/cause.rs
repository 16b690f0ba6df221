//! What kind of failure it was, told apart as far as the transport can.

use std::fmt;

use crate::mqtt::{LinkErrorKind, RefusedReason};

/// What kind of failure ended an onboarding or a session. What follows each is the table in
/// [the module's documentation](crate::proto#what-follows-a-failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The host name could not be resolved.
    NameNotResolved,
    /// No TCP connection: refused, unreachable.
    Tcp,
    /// TLS failed: certificate, host name, version.
    Tls,
    /// The WebSocket upgrade was refused.
    WebSocket,
    /// Nobody answered within the connect timeout.
    ConnectTimedOut,
    /// CONNACK 1 to 5.
    Refused(RefusedReason),
    /// The peer answered nothing for longer than the keep-alive allows.
    KeepAlive,
    /// The peer closed or reset the connection.
    Closed,
    /// The peer closed the connection within 5 s of its being ready, as when another connection takes over.
    Kicked,
    /// The peer broke the MQTT protocol.
    Protocol,
    /// The transport's own bound was reached.
    Overloaded,
    /// The link was asked for something that cannot be, such as a certificate file that cannot be read.
    Config,
    /// The broker refused a subscription.
    SubscriptionRefused,
    /// The broker did not answer a SUBSCRIBE in time.
    SubscribeTimedOut,
    /// The service refuses the session's token: 401, or 403 `WRONG_TOKEN`, confirmed by a GET of the client's own.
    TokenRefused,
    /// The service no longer knows the thing: 404 or 410, confirmed likewise.
    TargetGone,
    /// Calls are not answered, and nothing else is heard, on a connection that is said to stand.
    Unanswered,
    /// The endpoint's `ttl` has passed.
    EndpointExpired,
    /// The default broker answered the onboarding with a status that asking again does not change.
    OnboardingRefused,
    /// The default broker answered the onboarding with 5xx, 408 or 429.
    OnboardingPostponed,
    /// The default broker did not answer the onboarding.
    OnboardingUnanswered,
    /// The answer of the default broker cannot be read.
    OnboardingUnreadable,
    /// The assigned broker does not offer the wanted scheme.
    SchemeNotOffered,
}

impl Cause {
    /// Every cause, in the order of the table.
    pub const ALL: [Cause; 27] = [
        Cause::NameNotResolved,
        Cause::Tcp,
        Cause::Tls,
        Cause::WebSocket,
        Cause::ConnectTimedOut,
        Cause::Refused(RefusedReason::ProtocolVersion),
        Cause::Refused(RefusedReason::Identifier),
        Cause::Refused(RefusedReason::ServerUnavailable),
        Cause::Refused(RefusedReason::BadUserNameOrPassword),
        Cause::Refused(RefusedReason::NotAuthorised),
        Cause::KeepAlive,
        Cause::Closed,
        Cause::Kicked,
        Cause::Protocol,
        Cause::Overloaded,
        Cause::Config,
        Cause::SubscriptionRefused,
        Cause::SubscribeTimedOut,
        Cause::TokenRefused,
        Cause::TargetGone,
        Cause::Unanswered,
        Cause::EndpointExpired,
        Cause::OnboardingRefused,
        Cause::OnboardingPostponed,
        Cause::OnboardingUnanswered,
        Cause::OnboardingUnreadable,
        Cause::SchemeNotOffered,
    ];

    /// The cause of a link's failure.
    pub(super) fn of_link(kind: LinkErrorKind) -> Self {
        match kind {
            LinkErrorKind::NameNotResolved => Cause::NameNotResolved,
            // The broker cannot be reached, whoever is in the way.
            LinkErrorKind::Tcp | LinkErrorKind::Proxy => Cause::Tcp,
            LinkErrorKind::Tls => Cause::Tls,
            LinkErrorKind::WebSocket => Cause::WebSocket,
            LinkErrorKind::Refused(reason) => Cause::Refused(reason),
            LinkErrorKind::ConnectTimedOut => Cause::ConnectTimedOut,
            LinkErrorKind::KeepAlive => Cause::KeepAlive,
            LinkErrorKind::Closed => Cause::Closed,
            LinkErrorKind::Protocol => Cause::Protocol,
            LinkErrorKind::Overloaded => Cause::Overloaded,
            LinkErrorKind::Config => Cause::Config,
        }
    }

    /// CONNACK 4 or 5: the broker knows that these credentials are wrong. (`wire` §8)
    pub(super) fn is_login_refused(self) -> bool {
        matches!(self, Cause::Refused(RefusedReason::BadUserNameOrPassword | RefusedReason::NotAuthorised))
    }

    /// Whether there may be another broker by now: this one cannot be found, or is something else.
    pub(super) fn may_be_elsewhere(self) -> bool {
        matches!(
            self,
            Cause::NameNotResolved
                | Cause::Tcp
                | Cause::Tls
                | Cause::WebSocket
                | Cause::ConnectTimedOut
                | Cause::Refused(_)
        )
    }

    /// Whether, at the default broker, asking again with the same configuration will fail in the same way.
    pub(super) fn is_refusal(self) -> bool {
        match self {
            Cause::Refused(reason) => reason != RefusedReason::ServerUnavailable,
            Cause::Config | Cause::OnboardingRefused | Cause::SchemeNotOffered => true,
            _ => false,
        }
    }
}

/// As in the table.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::NameNotResolved => "name not resolved",
            Cause::Tcp => "no TCP connection",
            Cause::Tls => "TLS failed",
            Cause::WebSocket => "WebSocket upgrade failed",
            Cause::ConnectTimedOut => "connecting timed out",
            Cause::Refused(reason) => return write!(f, "CONNACK {}", reason.code()),
            Cause::KeepAlive => "keep-alive lost",
            Cause::Closed => "closed by the peer",
            Cause::Kicked => "closed as soon as ready",
            Cause::Protocol => "MQTT broken by the peer",
            Cause::Overloaded => "transport overloaded",
            Cause::Config => "link configured wrongly",
            Cause::SubscriptionRefused => "subscription refused",
            Cause::SubscribeTimedOut => "SUBSCRIBE unanswered",
            Cause::TokenRefused => "own token refused",
            Cause::TargetGone => "own thing gone",
            Cause::Unanswered => "calls unanswered",
            Cause::EndpointExpired => "ttl over",
            Cause::OnboardingRefused => "onboarding refused (4xx)",
            Cause::OnboardingPostponed => "onboarding postponed (5xx, 408, 429)",
            Cause::OnboardingUnanswered => "onboarding unanswered",
            Cause::OnboardingUnreadable => "onboarding answer unreadable",
            Cause::SchemeNotOffered => "scheme not offered",
        })
    }
}
