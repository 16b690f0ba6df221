//! `thingif encode`: flags or JSON in, one payload out.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use clap::Args;
use http::{Request, Response, StatusCode};

use crate::cli::exit::Failure;
use crate::cli::message::{Message, read_method};
use crate::cli::output;
use crate::cli::request_args::{RequestArgs, read_input};
use crate::frame;

/// Write the payload of a request or a response.
///
/// The path of a request is in the topic, not in the payload: p/{client id}/thing-if/apps/{app id}/…
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif encode PUT -H 'Authorization: Bearer TOKEN' -d '{\"power\":true}' | mosquitto_pub -s -t TOPIC …
  thingif encode 204 -H 'X-Kii-RequestID: 17'
  thingif decode --json --secrets frame.bin | jq -c '.status = 500' | thingif encode --from -")]
pub(crate) struct Encode {
    /// The verb of a request, or the status code of a response.
    #[arg(value_name = "VERB|STATUS", required_unless_present = "from")]
    start: Option<String>,
    #[command(flatten)]
    content: RequestArgs,
    /// Read the message as JSON, as `thingif decode --json` writes it, from FILE or from standard input (-).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["start", "headers", "data"])]
    from: Option<PathBuf>,
}

impl Encode {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let payload = match (&self.from, &self.start) {
            (Some(path), _) => json_as_payload(path)?,
            (None, Some(start)) => self.flags_as_payload(start)?,
            (None, None) => return Err(Failure::usage("give a verb, a status, or --from")),
        };
        output::bytes(&payload)
    }

    fn flags_as_payload(&self, start: &str) -> Result<BytesMut, Failure> {
        let (headers, body) = self.content.read()?;
        let mut payload = BytesMut::new();
        if start.starts_with(|c: char| c.is_ascii_digit()) {
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_bytes(start.as_bytes())
                .map_err(|_| Failure::usage(format_args!("{start:?} is not a status code from 100 to 999")))?;
            *response.headers_mut() = headers;
            frame::encode_response(&response, &mut payload);
        } else {
            let mut request = Request::new(body);
            *request.method_mut() = read_method(start)?;
            *request.headers_mut() = headers;
            frame::encode_request(&request, &mut payload);
        }
        Ok(payload)
    }
}

fn json_as_payload(path: &Path) -> Result<BytesMut, Failure> {
    let json = if path == Path::new("-") {
        read_input("standard input", Ok(io::stdin().lock()), super::MAX_INPUT)?
    } else {
        read_input(&path.display().to_string(), File::open(path), super::MAX_INPUT)?
    };
    let message: Message = serde_json::from_slice(&json).map_err(|error| {
        Failure::usage(format_args!("the message is not what decode --json writes: {error}")).advise(
            r#"Such as: {"kind":"request","method":"PUT","headers":[["Content-Type","application/json"]],"body":"{}"}"#,
        )
    })?;
    message.write()
}
