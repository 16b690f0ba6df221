//! Failures by key, bounded in number and in time.

use std::collections::HashMap;
use std::hash::Hash;

/// A key without a failure for so long starts anew.
pub(super) const FORGET_AFTER_MS: i64 = 10 * 60 * 1000;
/// How often those are looked for that start anew.
const SWEEP_EVERY_MS: i64 = 60 * 1000;

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    failures: u32,
    /// Attempts under way, where they are counted.
    pending: u32,
    last: i64,
    /// Until when the failures have decayed.
    decayed: i64,
}

/// How failures are forgiven in time, one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decay {
    /// Milliseconds.
    pub(super) every: i64,
    /// The most failures that are counted.
    pub(super) most: u32,
}

impl Entry {
    /// With what time has forgiven.
    fn at(mut self, now: i64, decay: Option<Decay>) -> Self {
        let Some(Decay { every, .. }) = decay else { return self };
        let steps = now.saturating_sub(self.decayed).max(0) / every;
        self.failures = self.failures.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        self.decayed = self.decayed.saturating_add(steps.saturating_mul(every));
        self
    }

    fn is_over(&self, now: i64) -> bool {
        self.pending == 0 && (self.failures == 0 || now.saturating_sub(self.last) > FORGET_AFTER_MS)
    }
}

/// An entry leaves when its attempts have ended without a failure that counts, when ten minutes have passed since the last
/// one, or when the table is full.
#[derive(Debug)]
pub(super) struct Table<K> {
    entries: HashMap<K, Entry>,
    limit: usize,
    next_sweep: i64,
    forgotten: u64,
    decay: Option<Decay>,
}

impl<K: Eq + Hash + Clone> Table<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), limit, next_sweep: i64::MIN, forgotten: 0, decay: None }
    }

    pub(super) fn decaying(limit: usize, decay: Decay) -> Self {
        Self { decay: Some(decay), ..Self::new(limit) }
    }

    /// Takes out what starts anew, once a minute.
    pub(super) fn sweep(&mut self, now: i64) {
        // A clock that was set back must not keep everything for ever.
        if now >= self.next_sweep || self.next_sweep.saturating_sub(now) > SWEEP_EVERY_MS {
            let decay = self.decay;
            self.entries.retain(|_, entry| !entry.at(now, decay).is_over(now));
            self.next_sweep = now.saturating_add(SWEEP_EVERY_MS);
        }
    }

    /// Failures of `key`, and attempts under way.
    pub(super) fn count(&self, key: &K, now: i64) -> u32 {
        match self.entries.get(key).map(|entry| entry.at(now, self.decay)) {
            Some(entry) if entry.is_over(now) => 0,
            Some(entry) => entry.failures.saturating_add(entry.pending),
            None => 0,
        }
    }

    /// An attempt is under way.
    pub(super) fn begin(&mut self, key: &K, now: i64) {
        self.entry(key, now).pending += 1;
    }

    /// One that was under way has ended, in whatever way.
    pub(super) fn end(&mut self, key: &K, now: i64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.pending = entry.pending.saturating_sub(1);
            if entry.is_over(now) {
                self.entries.remove(key);
            }
        }
    }

    pub(super) fn fail(&mut self, key: &K, now: i64) {
        let (decay, most) = (self.decay, self.decay.map_or(u32::MAX, |decay| decay.most));
        let entry = self.entry(key, now);
        *entry = entry.at(now, decay);
        if entry.failures == 0 || entry.decayed > now {
            entry.decayed = now;
        }
        entry.failures = entry.failures.saturating_add(1).min(most);
        entry.last = now;
    }

    /// All failures of `key` are forgiven.
    pub(super) fn forgive(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failures = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys that were forgotten before their time because the table was full.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn entry(&mut self, key: &K, now: i64) -> &mut Entry {
        if self.entries.len() >= self.limit && !self.entries.contains_key(key) {
            self.make_room();
        }
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.is_over(now) {
            entry.failures = 0;
        }
        entry
    }

    /// Forgets a sixteenth of the keys: those with the fewest failures, the oldest first. A flood of names that are tried
    /// once thus hides no name that is tried again and again. Keys under way stay.
    fn make_room(&mut self) {
        let idle = self.entries.iter().filter(|(_, entry)| entry.pending == 0);
        let mut idle: Vec<_> = idle.map(|(key, entry)| (entry.failures, entry.last, key.clone())).collect();
        if idle.is_empty() {
            return;
        }
        let surplus = (self.limit / 16).clamp(1, idle.len());
        idle.select_nth_unstable_by_key(surplus - 1, |(failures, last, _)| (*failures, *last));
        for (_, _, key) in &idle[..surplus] {
            self.entries.remove(key);
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_end() {
        let mut table = Table::new(100);
        table.begin(&1, 0);
        table.end(&1, 0);
        assert_eq!(table.len(), 0, "without a verdict");
        table.begin(&1, 0);
        table.fail(&1, 0);
        table.end(&1, 0);
        assert_eq!((table.len(), table.count(&1, 0)), (1, 1));
        table.begin(&1, 0);
        table.forgive(&1);
        table.end(&1, 0);
        assert_eq!(table.len(), 0, "forgiven");
        table.fail(&1, 0);
        table.fail(&2, FORGET_AFTER_MS);
        assert_eq!(table.len(), 2);
        table.fail(&2, FORGET_AFTER_MS + 1);
        table.sweep(FORGET_AFTER_MS + 1);
        assert_eq!(table.len(), 1, "time has passed");
        assert_eq!((table.count(&1, 0), table.count(&2, FORGET_AFTER_MS + 1)), (0, 2));
        assert_eq!(table.forgotten(), 0);
    }

    #[test]
    fn failures_decay_one_by_one_and_are_bounded_where_they_do() {
        let mut table = Table::decaying(100, Decay { every: 30_000, most: 25 });
        for _ in 0..1_000 {
            table.fail(&1, 0);
        }
        let counts = [0, 29_999, 30_000, 59_999, 60_000].map(|now| table.count(&1, now));
        assert_eq!(counts, [25, 25, 24, 24, 23]);
        table.fail(&1, 45_000);
        assert_eq!((table.count(&1, 59_999), table.count(&1, 60_000)), (25, 24), "it goes on where it was");
        table.sweep(30_000 * 30);
        assert_eq!(table.len(), 0, "nothing is left");
        table.fail(&1, i64::MAX / 2);
        table.fail(&1, 0);
        assert_eq!((table.count(&1, 0), table.count(&1, 30_000)), (2, 1), "a clock that was set back");
        // One device that fails each minute delays nobody.
        assert!((1..1_000).all(|minute| {
            table.fail(&2, minute * 60_000);
            table.count(&2, minute * 60_000) == 1
        }));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_for_ever() {
        let mut table = Table::new(100);
        table.fail(&1, i64::MAX / 2);
        table.sweep(i64::MAX / 2);
        table.fail(&2, 0);
        table.sweep(0);
        table.sweep(2 * FORGET_AFTER_MS);
        assert_eq!(table.len(), 1, "one of the future, which the bound on their number ends");
    }

    #[test]
    fn a_full_table_forgets_who_failed_least_and_longest_ago() {
        let mut table = Table::new(1_600);
        for _ in 0..5 {
            table.fail(&"victim".to_owned(), 0);
        }
        table.begin(&"under way".to_owned(), 0);
        for i in 0..100_000 {
            table.fail(&format!("{i}"), i);
            assert!(table.len() <= 1_600);
        }
        assert_eq!(table.count(&"victim".to_owned(), 0), 5);
        assert_eq!(table.count(&"under way".to_owned(), 0), 1);
        assert_eq!(table.count(&"99999".to_owned(), 99_999), 1);
        assert_eq!(table.count(&"0".to_owned(), 99_999), 0);
        assert_eq!(usize::try_from(table.forgotten()).expect("few") + table.len(), 100_002);
    }
}
