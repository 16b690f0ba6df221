//! A capture in memory, with the lines of its file.

use std::io::BufRead;

use crate::capture::{CaptureError, CaptureErrorKind, Entry, Event, Header, Reader};

/// An entry and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line of the file, counted from 1.
    pub line: usize,
    /// What happened.
    pub entry: Entry,
}

/// A capture to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its header.
    pub header: Header,
    /// Its entries, up to a `stopped`.
    pub steps: Vec<Step>,
    /// Why it ends before what it recorded did, if it says so.
    pub stopped: Option<String>,
}

impl Script {
    /// Reads a capture to its end, into memory.
    ///
    /// # Errors
    /// [`CaptureError`]. Half a last line is none: it is left out, and [`stopped`](Self::stopped) says so.
    pub fn read(source: impl BufRead) -> Result<Self, CaptureError> {
        let mut reader = Reader::new(source)?;
        let mut script = Self { header: reader.header().clone(), steps: Vec::new(), stopped: None };
        while let Some(entry) = reader.next() {
            match entry {
                Ok(Entry { event: Event::Stopped(why), .. }) => {
                    script.stopped = Some(why);
                    break;
                }
                Ok(entry) => script.steps.push(Step { line: reader.line(), entry }),
                Err(error) if matches!(error.kind(), CaptureErrorKind::Torn) => {
                    script.stopped = Some("the last line is incomplete".into());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(script)
    }

    /// What follows on `link` after the step `index`.
    pub(super) fn next_on(&self, link: u64, index: usize) -> Option<&Event> {
        self.steps[index + 1..].iter().find(|step| step.entry.link == link).map(|step| &step.entry.event)
    }
}
