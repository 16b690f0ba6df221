//! What goes into a machine and what comes out of it.

use std::fmt;

use bytes::Bytes;
use http::Response;

use super::{CallId, ConnectError, LinkId, Notice, RequestError};
use crate::mqtt::{Credentials, Endpoint, LinkError, Publish};
use crate::thing_if::Credential;
use crate::topic::TopicFilter;

/// Something that happened on a link. One that is not the machine's current link is counted and ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub link: LinkId,
    /// What.
    pub kind: EventKind,
}

/// What happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The connection stands and CONNECT is on its way: what is written from now on follows it. Only after an
    /// [`Action::Connect`] that asks for it, and not from every link; [`EventKind::Connected`] or [`EventKind::Lost`] follows.
    Opened,
    /// CONNACK 0: answer to [`Action::Connect`].
    Connected,
    /// A PUBLISH arrived.
    Received(Publish),
    /// A SUBACK: answer to [`Action::Subscribe`].
    Subscribed {
        /// The filter asked for.
        filter: TopicFilter,
        /// Whether it was granted.
        granted: bool,
    },
    /// The link did not take an [`Action::Publish`]: it was certainly not written.
    NotSent {
        /// As in the action.
        call: Option<CallId>,
        /// Why.
        error: LinkError,
    },
    /// The credential of [`Action::Store`] is stored, or why it could not be.
    Stored(Result<(), String>),
    /// The connection could not be made, or has ended. Nothing but [`EventKind::Stored`] follows on this link.
    Lost(LinkError),
}

/// What the caller is to do, in this order.
#[non_exhaustive]
pub enum Action {
    /// Make a connection; report [`EventKind::Connected`] or [`EventKind::Lost`], and before that, with `pipeline` and where the
    /// transport can, [`EventKind::Opened`].
    Connect {
        /// The link, new.
        link: LinkId,
        /// Where to.
        endpoint: Endpoint,
        /// As whom.
        credentials: Credentials,
        /// Whether packets may follow CONNECT before CONNACK has come.
        pipeline: bool,
    },
    /// Send a SUBSCRIBE at QoS 0; report [`EventKind::Subscribed`].
    Subscribe {
        /// The link.
        link: LinkId,
        /// What to.
        filter: TopicFilter,
    },
    /// Send a PUBLISH; report [`EventKind::NotSent`] when the link does not take it.
    Publish {
        /// The link.
        link: LinkId,
        /// The call that it carries, if it is one.
        call: Option<CallId>,
        /// The message.
        publish: Publish,
    },
    /// End the connection with a DISCONNECT after what is queued. Nothing is to be reported of this link any more.
    Disconnect {
        /// The link.
        link: LinkId,
    },
    /// Give the connection, or the attempt at one, up at once. Nothing is to be reported of this link any more.
    Abort {
        /// The link.
        link: LinkId,
    },
    /// Hand a call its end. Each call that was accepted and not cancelled gets exactly one.
    Resolve {
        /// The call.
        call: CallId,
        /// The answer, with the caller's own `X-Kii-RequestID` or none, or why there is none.
        result: Result<Response<Bytes>, RequestError>,
    },
    /// Hand a push to the program.
    Push(Bytes),
    /// Store a new credential in place of the old one; report [`EventKind::Stored`]. The default broker is left only
    /// then.
    Store {
        /// The link that it came by.
        link: LinkId,
        /// The credential.
        credential: Credential,
    },
    /// Tell whoever wants to know.
    Notice(Notice),
    /// The end; nothing follows. `None` after a `close`.
    Closed(Option<ConnectError>),
}

/// Shows no payload, no body and no secret.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Connect { link, endpoint, credentials, .. } => {
                write!(f, "Connect({link}, {endpoint}, {})", credentials.client_id)
            }
            Action::Subscribe { link, filter } => write!(f, "Subscribe({link}, {filter})"),
            Action::Publish { link, call, publish } => write!(f, "Publish({link}, {call:?}, {publish:?})"),
            Action::Disconnect { link } => write!(f, "Disconnect({link})"),
            Action::Abort { link } => write!(f, "Abort({link})"),
            Action::Resolve { call, result: Ok(response) } => write!(f, "Resolve({call:?}, {})", response.status()),
            Action::Resolve { call, result: Err(error) } => write!(f, "Resolve({call:?}, {error:?})"),
            Action::Push(payload) => write!(f, "Push({} bytes)", payload.len()),
            Action::Store { link, credential } => write!(f, "Store({link}, {})", credential.thing_id),
            Action::Notice(notice) => write!(f, "Notice({notice:?})"),
            Action::Closed(failure) => write!(f, "Closed({failure:?})"),
        }
    }
}
