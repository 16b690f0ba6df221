//! curl's flags for the content of a message: `-H` and `-d`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cli::exit::Failure;
use crate::cli::secret_input::Unquoted;

/// The largest body read, in bytes: far above what any service accepts (64 KiB by default), and not the whole memory.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Header fields and body of a message.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RequestArgs {
    /// Add a header field, as `Name: value`. Repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = Unquoted::<HeaderArg>::default())]
    headers: Vec<HeaderArg>,
    /// The body: TEXT, or @FILE, or @- for standard input. Its Content-Type is application/json unless -H says otherwise.
    #[arg(short = 'd', long = "data", value_name = "TEXT|@FILE")]
    data: Option<DataArg>,
}

impl RequestArgs {
    /// Reads the body, if it is elsewhere, and gives both.
    pub(crate) fn read(&self) -> Result<(HeaderMap, Bytes), Failure> {
        let mut headers = HeaderMap::new();
        for HeaderArg(name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let body = match &self.data {
            None => return Ok((headers, Bytes::new())),
            Some(data) => data.read()?,
        };
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        Ok((headers, body))
    }
}

/// The value of `-H`.
#[derive(Debug, Clone)]
struct HeaderArg(HeaderName, HeaderValue);

impl FromStr for HeaderArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
        let name = name.trim().parse().map_err(|_| "what is before the colon is not a header name")?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "a header value has no control characters")?;
        value.set_sensitive(matches!(name, header::AUTHORIZATION) || name == "x-kii-appkey");
        Ok(Self(name, value))
    }
}

/// The value of `-d`.
#[derive(Debug, Clone)]
enum DataArg {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl FromStr for DataArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some("-") => Self::StandardInput,
            Some(path) => Self::File(path.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

impl DataArg {
    fn read(&self) -> Result<Bytes, Failure> {
        match self {
            Self::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::File(path) => read_input(&path.display().to_string(), File::open(path), MAX_BODY),
            Self::StandardInput => read_input("standard input", Ok(io::stdin().lock()), MAX_BODY),
        }
    }
}

/// Everything in `input`, which is called `name`, or an error that says what is wrong with it.
pub(crate) fn read_input(name: &str, input: io::Result<impl Read>, max: u64) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let read = input.and_then(|input| input.take(max + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format_args!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > max {
        return Err(Failure::usage(format_args!("{name} has more than {max} bytes")));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_curl_reads_them() {
        for (text, name, value) in [("A: b", "a", "b"), ("A:b", "a", "b"), ("A: b: c ", "a", "b: c"), ("A:", "a", "")] {
            let HeaderArg(got, shown) = text.parse().expect(text);
            assert_eq!((got.as_str(), shown.to_str().expect("ASCII")), (name, value), "{text}");
        }
        for text in ["", "A", ": b", "A b: c", "A: b\nC: d"] {
            text.parse::<HeaderArg>().expect_err(text);
        }
    }

    #[test]
    fn a_token_in_a_header_is_not_shown() {
        let arg: HeaderArg = "Authorization: Bearer t0k3n".parse().expect("valid");
        assert!(!format!("{arg:?}").contains("t0k3n"));
    }

    #[test]
    fn a_body_is_json_unless_said_otherwise() {
        let args = |headers: &[&str]| RequestArgs {
            headers: headers.iter().map(|h| h.parse().expect("valid")).collect(),
            data: Some(DataArg::Text("{}".into())),
        };
        let (headers, body) = args(&[]).read().expect("read");
        assert_eq!((headers[header::CONTENT_TYPE].as_bytes(), &body[..]), (&b"application/json"[..], &b"{}"[..]));
        let (headers, _) = args(&["content-type: text/plain"]).read().expect("read");
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain");
    }

    #[test]
    fn too_much_is_refused() {
        let error = read_input("it", Ok(&b"12345"[..]), 4).expect_err("too long").to_string();
        assert!(error.contains("it has more than 4 bytes"), "{error}");
        assert_eq!(&read_input("it", Ok(&b"1234"[..]), 4).expect("fits")[..], b"1234");
    }
}
