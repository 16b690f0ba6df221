//! What waits, on disk.

use std::collections::HashMap;
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
pub(super) struct Spool(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    log: LineLog,
    /// How long the lines are that are still of use, by number, and together.
    lengths: HashMap<u64, u64>,
    live: u64,
}

impl Inner {
    fn added(&mut self, number: u64, len: usize) {
        self.lengths.insert(number, len as u64);
        self.live += len as u64;
    }

    fn gone(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.live -= self.lengths.remove(number).unwrap_or(0);
        }
    }
}

impl Spool {
    pub(super) fn open(path: &Path) -> io::Result<(Self, Queue)> {
        let (mut queue, mut lengths) = (Queue::default(), HashMap::new());
        let log = LineLog::open(path, HEAD, MAX_LEN, |line| {
            match serde_json::from_str(line).map_err(|error| error.to_string())? {
                Line::Add(number, stored) => {
                    queue.insert(number, Entry::try_from(stored)?);
                    lengths.insert(number, line.len() as u64);
                }
                Line::Gone(numbers) => {
                    for number in numbers {
                        queue.remove(number);
                        lengths.remove(&number);
                    }
                }
            }
            Ok(())
        })?;
        let live = lengths.values().sum();
        Ok((Self(Arc::new(Mutex::new(Inner { log, lengths, live }))), queue))
    }

    /// Does `work` where blocking is allowed.
    async fn run(&self, work: impl FnOnce(&mut Inner) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let inner = self.0.clone();
        let work = move || work(&mut inner.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Writes down that `entry` came in, and what is gone for it: both, or neither.
    pub(super) async fn add(&self, number: u64, entry: &Entry, gone: &[u64]) -> io::Result<()> {
        let mut lines = vec![serde_json::to_string(&Line::Add(number, Stored::from(entry)))?];
        if !gone.is_empty() {
            lines.push(serde_json::to_string(&Line::Gone(gone.to_vec()))?);
        }
        let gone = gone.to_vec();
        self.run(move |inner| {
            inner.log.append(&lines)?;
            inner.added(number, lines[0].len());
            inner.gone(&gone);
            Ok(())
        })
        .await
    }

    pub(super) async fn remove(&self, numbers: &[u64]) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let line = serde_json::to_string(&Line::Gone(numbers.to_vec()))?;
        let numbers = numbers.to_vec();
        self.run(move |inner| {
            inner.log.append(&[line])?;
            inner.gone(&numbers);
            Ok(())
        })
        .await
    }

    /// Writes the file anew when more than half of it is of no more use, so that this costs no more than what was appended.
    pub(super) async fn compact_if_worth_it(&self, queue: &Queue) -> io::Result<()> {
        let seen = {
            let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.log.len() <= SMALL || inner.log.len() / 2 <= inner.live {
                return Ok(());
            }
            inner.log.len()
        };
        let line = |(number, entry): (u64, &Entry)| serde_json::to_string(&Line::Add(number, Stored::from(entry)));
        let lines: Vec<String> = queue.iter().map(line).collect::<Result<_, _>>()?;
        self.run(move |inner| {
            // Whoever asked may have been dropped meanwhile, and something else been appended: it must not be lost.
            if inner.log.len() == seen { inner.log.rewrite(&lines) } else { Ok(()) }
        })
        .await
    }
}
