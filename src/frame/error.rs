use std::fmt;

/// Why a payload is not a frame, and where.
///
/// The fault is always the sender's. It shows no byte of the payload, so it can be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    kind: FrameErrorKind,
    offset: usize,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// No bytes, or a first line with nothing in it.
    Empty,
    /// The first line is neither a verb alone nor a status code. JSON, as pushes have it, ends here.
    StartLine,
    /// The first line begins with a digit but not with a status code from 100 to 999.
    Status,
    /// A request was expected and this is a response.
    NotARequest,
    /// A response was expected and this is a request.
    NotAResponse,
    /// A header line has no colon, no name, or a byte that a name cannot have before its colon.
    HeaderName,
    /// A control byte, such as NUL, in a header value or in the reason phrase.
    HeaderValue,
    /// A header line begins with a blank: a continuation line, which this protocol does not have.
    Folded,
    /// A CR that no LF follows.
    LineEnd,
    /// More than [`MAX_HEADERS`](super::MAX_HEADERS) header fields.
    TooManyHeaders,
    /// The head does not end within [`MAX_HEAD_LEN`](super::MAX_HEAD_LEN) bytes.
    HeadTooLarge,
    /// The topic of a request is not `p/{client}/…`, or its path cannot be a URI. The offset counts in the topic.
    Topic,
}

impl FrameError {
    pub(crate) fn new(kind: FrameErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// What is wrong.
    pub fn kind(&self) -> FrameErrorKind {
        self.kind
    }

    /// Offset in bytes from the start of the payload of the first byte that does not fit; its length if bytes are
    /// missing at its end. For [`FrameErrorKind::Topic`] the same, in the topic.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl FrameErrorKind {
    fn describe(self) -> &'static str {
        match self {
            Self::Empty => "frame has no first line",
            Self::StartLine => "first line is neither a verb nor a status code",
            Self::Status => "status code is not three digits from 100 to 999",
            Self::NotARequest => "frame is a response, not a request",
            Self::NotAResponse => "frame is a request, not a response",
            Self::HeaderName => "header line has no valid name before a colon",
            Self::HeaderValue => "control byte in a line of the head",
            Self::Folded => "header line begins with a blank",
            Self::LineEnd => "CR without LF in the head",
            Self::TooManyHeaders => "more than 64 header fields",
            Self::HeadTooLarge => "head does not end within 8192 bytes",
            Self::Topic => "topic has no usable path",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.kind == FrameErrorKind::Topic { "topic" } else { "frame" };
        write!(f, "{} at byte {} of the {of}", self.kind.describe(), self.offset)
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_and_where() {
        let error = FrameError::new(FrameErrorKind::HeaderName, 17);
        assert_eq!(error.to_string(), "header line has no valid name before a colon at byte 17 of the frame");
        let error = FrameError::new(FrameErrorKind::Topic, 0);
        assert_eq!(error.to_string(), "topic has no usable path at byte 0 of the topic");
    }

    #[test]
    fn the_bounds_in_the_texts_are_the_bounds() {
        assert!(FrameErrorKind::TooManyHeaders.describe().contains(&super::super::MAX_HEADERS.to_string()));
        assert!(FrameErrorKind::HeadTooLarge.describe().contains(&super::super::MAX_HEAD_LEN.to_string()));
    }
}
