//! The text frames inside MQTT payloads: `http` requests and responses without a request line's path or a version.
//!
//! ```text
//! request    VERB                     response   200
//!            Name: value                         Name:value
//!            …                                   …
//!            (empty line)                        (empty line)
//!            body                                body
//! ```
//!
//! The path of a request is in the topic ([`Topic::path_of_any_call`](crate::topic::Topic::path_of_any_call)); the body is
//! the rest of the payload, so there is no length, no chunking and no trailer. (`wire` §2)
//!
//! Frames are read leniently and written in one dialect:
//!
//! | | read | written |
//! |---|---|---|
//! | line end | CRLF, LF, or a mixture; the last line may lack one | CRLF |
//! | blank line | may be missing: then there is no body | always |
//! | verb | any letter case, blanks around it | upper case |
//! | status | three digits from `100` to `999`, with or without a reason phrase | three digits, nothing more |
//! | header | `name:value`, blanks around the value | `Name: value` in requests, `Name:value` in responses |
//! | a name twice | the last one counts | one line, values joined by `, ` |
//! | bytes above 127 in a value | kept as they are, UTF-8 or not | as they are |
//! | folded lines, control bytes, a CR alone | refused | never |
//!
//! `Content-Length`, `Transfer-Encoding` and `Host` speak of HTTP's own transport, where they can only contradict the
//! payload's length and the topic. [`Frame`] shows them if a peer sends them; the owned types are made without them, and
//! they are never written, so no forwarded frame can smuggle a length upstream. `Connection` is written, because the
//! documented answer has it (`wire` §2.1).
//!
//! Two bounds keep a hostile head cheap: it ends within [`MAX_HEAD_LEN`] bytes and has at most [`MAX_HEADERS`] fields.

mod block;
mod decode;
mod encode;
mod error;
mod fault;
mod header_name;
mod hop_by_hop;
mod parse;
mod peek;
mod retry_after;
mod scan;
mod start;

pub use decode::{decode_request, decode_response};
#[cfg(feature = "edge")]
pub(crate) use encode::write_response_fields;
pub use encode::{encode_request, encode_response};
pub use error::{FrameError, FrameErrorKind};
pub use header_name::{APP_ID, APP_KEY, MQTT_TTL, REQUEST_ID};
pub use hop_by_hop::remove_hop_by_hop;
pub use parse::{Frame, Headers};
#[cfg(feature = "edge")]
pub(crate) use peek::trim_blanks;
pub use peek::{is_request, request_id};
pub use retry_after::retry_after;
pub use start::Start;

/// The head (first line, header fields and blank line) ends within this many bytes; a body may follow. 8 KiB.
pub const MAX_HEAD_LEN: usize = 8 * 1024;

/// The most header fields that a frame may have, duplicates counted.
pub const MAX_HEADERS: usize = 64;

/// The longest verb that is read, in bytes. The longest registered HTTP method has 17.
pub const MAX_VERB_LEN: usize = 32;
