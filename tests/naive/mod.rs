//! A second reader of frames, slow and obvious, written from the grammar (`wire` §2.2) and not from the crate's parser.
//!
//! It cuts the payload at each LF and looks at one line after the other.

/// What a frame says.
#[derive(Debug, PartialEq)]
pub(crate) struct Naive {
    pub start: NaiveStart,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum NaiveStart {
    Verb(String),
    Status(u16),
}

/// Reads a frame, or refuses without a reason.
pub(crate) fn read(payload: &[u8]) -> Option<Naive> {
    let mut lines = Vec::new();
    let mut offset = 0;
    let mut closed = false;
    while offset < payload.len() && !closed {
        let line_end = payload[offset..].iter().position(|b| *b == b'\n').map(|n| offset + n);
        let mut line = payload[offset..line_end.unwrap_or(payload.len())].to_vec();
        offset = line_end.map_or(payload.len(), |n| n + 1);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        closed = line.is_empty();
        lines.push(line);
    }
    if offset > 8192 {
        return None;
    }
    let mut lines = lines.into_iter();
    let start = start(lines.next()?)?;
    let mut headers = Vec::new();
    for line in lines {
        if !line.is_empty() {
            headers.push(header(line)?);
        }
    }
    if headers.len() > 64 {
        return None;
    }
    Some(Naive { start, headers, body: payload[offset..].to_vec() })
}

fn start(line: Vec<u8>) -> Option<NaiveStart> {
    let line = String::from_utf8_lossy(&line).into_owned();
    if line.chars().any(|c| c != '\t' && c.is_ascii_control()) {
        return None;
    }
    let line = line.trim_matches([' ', '\t']);
    if let Some(code) = line.get(..3)
        && code.bytes().all(|b| b.is_ascii_digit())
    {
        let reason = &line[3..];
        let status: u16 = code.parse().ok()?;
        return (status >= 100 && (reason.is_empty() || reason.starts_with([' ', '\t'])))
            .then_some(NaiveStart::Status(status));
    }
    let verb = line.to_ascii_uppercase();
    let is_verb = verb.starts_with(|c: char| c.is_ascii_uppercase())
        && verb.len() <= 32
        && verb.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    is_verb.then_some(NaiveStart::Verb(verb))
}

fn header(line: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut halves = line.splitn(2, |b| *b == b':');
    let name = String::from_utf8(halves.next()?.to_vec()).ok()?;
    let mut value = halves.next()?.to_vec();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(allowed) {
        return None;
    }
    if value.iter().any(|b| *b != b'\t' && b.is_ascii_control()) {
        return None;
    }
    while matches!(value.first(), Some(b' ' | b'\t')) {
        value.remove(0);
    }
    while matches!(value.last(), Some(b' ' | b'\t')) {
        value.pop();
    }
    Some((name, value))
}
