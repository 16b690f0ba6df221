//! What waits, on disk.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Stored};
use super::queue::Queue;
use crate::client::line_log::LineLog;

/// The first line, with the version of what follows.
const HEAD: &str = "thingif outbox 1\n";
/// A larger file is none of ours.
const MAX_LEN: u64 = 1024 * 1024 * 1024;
/// A file is not written anew before it has so many bytes.
const SMALL: u64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Add(u64, Stored),
    Gone(Vec<u64>),
}

/// A log of what came in and what has its end.
#[derive(Debug)]
pub(super) struct Spool(Arc<Mutex<LineLog>>);

impl Spool {
    pub(super) fn open(path: &Path) -> io::Result<(Self, Queue)> {
        let mut queue = Queue::default();
        let log = LineLog::open(path, HEAD, MAX_LEN, |line| {
            match serde_json::from_str(line).map_err(|error| error.to_string())? {
                Line::Add(number, stored) => queue.insert(number, Entry::try_from(stored)?),
                Line::Gone(numbers) => numbers.into_iter().for_each(|number| drop(queue.remove(number))),
            }
            Ok(())
        })?;
        Ok((Self(Arc::new(Mutex::new(log))), queue))
    }

    /// Does `work` where blocking is allowed.
    async fn run(&self, work: impl FnOnce(&mut LineLog) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let log = self.0.clone();
        let work = move || work(&mut log.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Writes down that `entry` came in, and what is gone for it. The new one first: a crash in between keeps one too many.
    pub(super) async fn add(&self, number: u64, entry: &Entry, gone: &[u64]) -> io::Result<()> {
        let mut lines = vec![serde_json::to_string(&Line::Add(number, Stored::from(entry)))?];
        if !gone.is_empty() {
            lines.push(serde_json::to_string(&Line::Gone(gone.to_vec()))?);
        }
        self.run(move |log| log.append(&lines)).await
    }

    pub(super) async fn remove(&self, numbers: &[u64]) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let line = serde_json::to_string(&Line::Gone(numbers.to_vec()))?;
        self.run(move |log| log.append(&[line])).await
    }

    pub(super) async fn compact_if_worth_it(&self, queue: &Queue, max_bytes: usize) -> io::Result<()> {
        let len = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        let bound = (2 * max_bytes as u64).max(SMALL);
        // What is written anew must be much smaller, or it would be written anew each time.
        if len <= bound || 2 * (queue.bytes() as u64) > len {
            return Ok(());
        }
        let line = |(number, entry): (u64, &Entry)| serde_json::to_string(&Line::Add(number, Stored::from(entry)));
        let lines: Vec<String> = queue.iter().map(line).collect::<Result<_, _>>()?;
        self.run(move |log| log.rewrite(&lines)).await
    }
}
