//! `thingif decode`: one payload in, what it says out.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::decode_capture;
use crate::cli::exit::Failure;
use crate::cli::message::{Message, excerpt};
use crate::cli::output;
use crate::cli::request_args::read_input;
use crate::frame::FrameErrorKind;
use crate::secret::redact;
use crate::topic::{InvalidTopic, Topic};

/// Show what a payload says: request, response or push. Or all of a capture, entry by entry.
///
/// Tokens and passwords are masked, in their length and shape, unless --secrets is given. A payload that is no frame ends with
/// status 1 and shows where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif decode frame.bin
  thingif decode session.jsonl      # a capture, as `thingif record` writes it
  mosquitto_sub -C 1 -t 'p/#' … | thingif decode --json
  printf '200\\r\\nX-Kii-RequestID:17\\r\\n\\r\\n{}' | thingif decode")]
pub(crate) struct Decode {
    /// The file with the payload; standard input if it is - or absent.
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// The topic it came on: it says whether this is a frame or a push, and has the path of a request.
    #[arg(long, value_name = "TOPIC", value_parser = read_topic)]
    topic: Option<Topic>,
    /// One JSON object on one line, as `thingif encode --from` reads it.
    #[arg(long)]
    json: bool,
    /// Show tokens and passwords as they are.
    #[arg(long)]
    secrets: bool,
}

fn read_topic(text: &str) -> Result<Topic, InvalidTopic> {
    Topic::new(text)
}

impl Decode {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = self.file.display().to_string();
        let (name, source): (&str, io::Result<Box<dyn BufRead>>) = match self.file == Path::new("-") {
            true => ("standard input", Ok(Box::new(io::stdin().lock()))),
            false => (&name, File::open(&self.file).map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>)),
        };
        let payload = match source {
            Ok(mut source) => {
                if decode_capture::is_one(&mut source) {
                    return decode_capture::show(source, self.json, self.secrets);
                }
                read_input(name, Ok(source), super::MAX_INPUT)?
            }
            Err(error) => read_input(name, Err::<io::Empty, _>(error), super::MAX_INPUT)?,
        };
        // Masking changes no length, so a fault stays where it is.
        let payload = if self.secrets { payload } else { redact(&payload).into_owned().into() };
        let topic = self
            .topic
            .clone()
            .map(|topic| if self.secrets { Ok(topic) } else { Topic::from_bytes(&redact(topic.as_str().as_bytes())) });
        let topic = topic.transpose().map_err(Failure::usage)?;
        let message = Message::read(topic.as_ref(), &payload).map_err(|error| {
            let around = match (error.kind(), &self.topic) {
                (FrameErrorKind::Topic, Some(topic)) => excerpt(&redact(topic.as_str().as_bytes()), error.offset()),
                _ => excerpt(&payload, error.offset()),
            };
            Failure::other(error).advise(around)
        })?;
        if self.json { output::json_line(&message) } else { output::line(&message.shown()) }
    }
}
