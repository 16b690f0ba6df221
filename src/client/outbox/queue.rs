//! What waits, in the order in which it came, within its bounds.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::entry::Entry;
use super::{Keep, OutboxError, WhenFull};

/// The bounds of an outbox.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) max_bytes: usize,
    pub(super) max_age: Duration,
    pub(super) keep: Keep,
    pub(super) when_full: WhenFull,
}

/// Entries by the number that they were given when they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    /// The newest entry of each path, if it may be replaced.
    newest: HashMap<String, u64>,
    bytes: usize,
    last: u64,
    /// On its way: it is neither replaced nor dropped.
    sending: Option<u64>,
}

/// What is to happen for a new entry to come in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) replaced: Option<u64>,
    /// Older ones that make room.
    pub(super) dropped: Vec<u64>,
}

impl Queue {
    /// Decides what `entry` needs to come in; changes nothing.
    pub(super) fn plan(&self, entry: &Entry, rules: &Rules) -> Result<Plan, OutboxError> {
        let needed = entry.bytes();
        if needed > rules.max_bytes {
            return Err(OutboxError::TooLarge { len: needed, max: rules.max_bytes });
        }
        let replaced = match rules.keep {
            Keep::Newest if entry.replaces() => self.newest.get(entry.path()).copied(),
            _ => None,
        };
        let replaced = replaced.filter(|number| self.sending != Some(*number));
        let mut free = rules.max_bytes.saturating_sub(self.bytes) + replaced.map_or(0, |number| self.size(number));
        let mut dropped = Vec::new();
        if rules.when_full == WhenFull::DropOldest {
            let others = self.entries.keys().copied();
            for older in others.filter(|number| Some(*number) != self.sending && Some(*number) != replaced) {
                if free >= needed {
                    break;
                }
                free += self.size(older);
                dropped.push(older);
            }
        }
        if free < needed {
            return Err(OutboxError::Full);
        }
        Ok(Plan { number: self.last + 1, replaced, dropped })
    }

    fn size(&self, number: u64) -> usize {
        self.entries.get(&number).map_or(0, Entry::bytes)
    }

    /// Adds an entry under `number`, which is greater than any before.
    pub(super) fn insert(&mut self, number: u64, entry: Entry) {
        self.last = self.last.max(number);
        self.bytes += entry.bytes();
        // What is not replaced, as it says only a part, must not be overtaken by what would replace what was before it.
        if entry.replaces() {
            self.newest.insert(entry.path().to_owned(), number);
        } else {
            self.newest.remove(entry.path());
        }
        self.entries.insert(number, entry);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.bytes -= entry.bytes();
        if self.newest.get(entry.path()) == Some(&number) {
            self.newest.remove(entry.path());
        }
        if self.sending == Some(number) {
            self.sending = None;
        }
        Some(entry)
    }

    /// The oldest, which is on its way from now on.
    pub(super) fn begin(&mut self) -> Option<(u64, Entry)> {
        let (number, entry) = self.entries.first_key_value()?;
        self.sending = Some(*number);
        Some((*number, entry.clone()))
    }

    /// The one that was on its way was not taken: it waits again, as the others do.
    pub(super) fn postpone(&mut self) {
        self.sending = None;
    }

    /// Those that are too old at `now` (milliseconds since 1970), the one on its way excepted. One from the future, left
    /// by a clock that was wrong, is as good as new.
    pub(super) fn too_old(&self, now: i64, max_age: Duration) -> Vec<u64> {
        let max_age = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let old = |entry: &Entry| now.saturating_sub(entry.accepted_at) > max_age;
        let waiting = self.entries.iter().filter(|(number, _)| self.sending != Some(**number));
        waiting.filter(|(_, entry)| old(entry)).map(|(number, _)| *number).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn entry(method: &str, path: &str, len: usize) -> Entry {
        let request = Request::builder().method(method).uri(path).body(Bytes::from(vec![b'x'; len])).expect("valid");
        Entry::of(request, 1_000).expect("kept")
    }

    fn rules(keep: Keep, when_full: WhenFull) -> Rules {
        Rules { max_bytes: 100, max_age: Duration::from_secs(1), keep, when_full }
    }

    fn push(queue: &mut Queue, new: Entry, rules: &Rules) -> Result<Plan, OutboxError> {
        let plan = queue.plan(&new, rules)?;
        for number in plan.replaced.iter().chain(&plan.dropped) {
            queue.remove(*number).expect("there");
        }
        queue.insert(plan.number, new);
        assert!(queue.bytes() <= rules.max_bytes);
        assert_eq!(queue.bytes(), queue.iter().map(|(_, entry)| entry.bytes()).sum::<usize>());
        Ok(plan)
    }

    fn order(queue: &Queue) -> Vec<u64> {
        queue.iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn the_newest_of_a_path_replaces_those_that_say_everything() {
        let (mut queue, rules) = (Queue::default(), rules(Keep::Newest, WhenFull::Refuse));
        push(&mut queue, entry("PUT", "/a", 1), &rules).expect("in");
        push(&mut queue, entry("PUT", "/b", 1), &rules).expect("in");
        assert_eq!(push(&mut queue, entry("PUT", "/a", 1), &rules).expect("in").replaced, Some(1));
        push(&mut queue, entry("PATCH", "/a", 1), &rules).expect("in");
        assert_eq!(push(&mut queue, entry("PUT", "/a", 1), &rules).expect("in").replaced, None, "a PATCH is between");
        assert_eq!(order(&queue), [2, 3, 4, 5]);
        queue.begin().expect("one");
        assert_eq!(push(&mut queue, entry("PUT", "/b", 1), &rules).expect("in").replaced, None, "it is on its way");
        assert_eq!(push(&mut queue, entry("PUT", "/b", 1), &rules).expect("in").replaced, Some(6));
    }

    #[test]
    fn everything_is_kept_in_order_if_asked() {
        let (mut queue, rules) = (Queue::default(), rules(Keep::All, WhenFull::Refuse));
        for _ in 0..3 {
            assert_eq!(push(&mut queue, entry("PUT", "/a", 1), &rules).expect("in").replaced, None);
        }
        assert_eq!(order(&queue), [1, 2, 3]);
    }

    #[test]
    fn a_full_one_refuses_or_drops_the_oldest() {
        let (mut queue, refuse) = (Queue::default(), rules(Keep::All, WhenFull::Refuse));
        assert_eq!(
            queue.plan(&entry("PUT", "/a", 99), &refuse).expect_err("too large"),
            OutboxError::TooLarge { len: 101, max: 100 }
        );
        for _ in 0..4 {
            push(&mut queue, entry("PUT", "/a", 23), &refuse).expect("in");
        }
        assert_eq!(push(&mut queue, entry("PUT", "/a", 1), &refuse).expect_err("full"), OutboxError::Full);
        assert_eq!(order(&queue), [1, 2, 3, 4]);
        let drop_oldest = rules(Keep::All, WhenFull::DropOldest);
        queue.begin().expect("one");
        let plan = push(&mut queue, entry("PUT", "/a", 40), &drop_oldest).expect("in");
        assert_eq!(plan.dropped, [2, 3], "never the one on its way");
        assert_eq!(push(&mut queue, entry("PUT", "/a", 90), &drop_oldest).expect_err("full"), OutboxError::Full);
        assert_eq!(order(&queue), [1, 4, 5]);
    }

    #[test]
    fn age_is_counted_from_the_past_only() {
        let (mut queue, rules) = (Queue::default(), rules(Keep::All, WhenFull::Refuse));
        push(&mut queue, entry("PUT", "/a", 1), &rules).expect("in");
        push(&mut queue, entry("PUT", "/b", 1), &rules).expect("in");
        assert!(queue.too_old(2_000, rules.max_age).is_empty());
        assert_eq!(queue.too_old(2_001, rules.max_age), [1, 2]);
        assert!(queue.too_old(0, rules.max_age).is_empty(), "a clock that went back makes nothing old");
        queue.begin().expect("one");
        assert_eq!(queue.too_old(2_001, rules.max_age), [2], "the one on its way is not dropped");
        queue.postpone();
        assert_eq!(queue.too_old(2_001, rules.max_age), [1, 2], "one that was tried in vain is");
    }
}
