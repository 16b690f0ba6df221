//! Failed logins make the next ones wait: by address, and by the name that is tried. They never make one fail, or
//! anybody could lock anybody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::ids::{AppId, ThingId, VendorThingId};

/// Keys that are remembered at once; when there are more, the one whose last failure is oldest is forgotten.
const MAX_ENTRIES: usize = 10_000;
/// A key without a failure for so long starts anew.
const FORGET_AFTER_MS: i64 = 10 * 60 * 1000;
/// The longest delay. Devices give a call 10 s.
const MAX_DELAY: Duration = Duration::from_secs(4);
/// The first delay; it doubles with every further failure.
const FIRST_DELAY: Duration = Duration::from_millis(125);
/// Failures without any delay: somebody mistypes.
const FREE_BY_NAME: u32 = 3;
/// The same for an address, behind which there may be a whole site.
const FREE_BY_ADDRESS: u32 = 20;

/// What failures are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// One IPv4 address, or the /64 that an IPv6 host picks its addresses from.
    Address(IpAddr),
    /// A thing, user or endpoint: the SHA-256 of what it is called, which may be as long as whoever tries it likes.
    Name([u8; 32]),
}

impl Key {
    pub(crate) fn address(address: IpAddr) -> Self {
        Key::Address(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        })
    }

    /// A thing, by the name that its maker gave it.
    pub(crate) fn thing(app: &AppId, vendor: &VendorThingId) -> Self {
        Key::name("thing", app.as_str(), vendor.as_str())
    }

    /// A thing, by the name that the service gave it.
    pub(crate) fn thing_id(app: &AppId, thing: &ThingId) -> Self {
        Key::name("thing id", app.as_str(), thing.as_str())
    }

    /// A user, by a name to log in with.
    pub(crate) fn user(app: &AppId, name: &str) -> Self {
        Key::name("user", app.as_str(), name)
    }

    /// An endpoint; its user name is unique among all applications.
    pub(crate) fn endpoint(username: &str) -> Self {
        Key::name("endpoint", "", username)
    }

    /// A client that administers an application.
    pub(crate) fn client(app: &AppId, client_id: &str) -> Self {
        Key::name("client", app.as_str(), client_id)
    }

    fn name(kind: &str, app: &str, name: &str) -> Self {
        let mut hash = Sha256::new();
        // A NUL ends the first two parts, and neither has one.
        for part in [kind, "\0", app, "\0", name] {
            hash.update(part);
        }
        Key::Name(hash.finalize().into())
    }

    fn free(&self) -> u32 {
        match self {
            Key::Address(_) => FREE_BY_ADDRESS,
            Key::Name(..) => FREE_BY_NAME,
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    failures: u32,
    /// Attempts on a name that are under way. They count like failures, or many at once would get by unseen.
    pending: u32,
    last: i64,
}

/// The table of failures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Throttle(Arc<Mutex<HashMap<Key, Entry>>>);

impl Throttle {
    /// Begins a login. The caller waits [`Attempt::delay`] before it looks at the password. `now` is in milliseconds.
    pub(crate) fn begin(&self, address: Option<IpAddr>, name: Option<Key>, now: i64) -> Attempt {
        let keys: Vec<Key> = address.map(Key::address).into_iter().chain(name).collect();
        let mut entries = self.entries();
        let mut delay = Duration::ZERO;
        for key in &keys {
            let counted = match entries.get_mut(key) {
                Some(entry) if entry.pending == 0 && now.saturating_sub(entry.last) > FORGET_AFTER_MS => {
                    entry.failures = 0;
                    0
                }
                Some(entry) => entry.failures.saturating_add(entry.pending),
                None => 0,
            };
            delay = delay.max(delay_after(counted, key.free()));
            if matches!(key, Key::Name(..)) {
                make_room(&mut entries, key);
                entries.entry(key.clone()).or_default().pending += 1;
            }
        }
        Attempt { throttle: self.clone(), keys, delay, outcome: None }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn delay_after(failures: u32, free: u32) -> Duration {
    match failures.checked_sub(free) {
        None => Duration::ZERO,
        Some(beyond) => FIRST_DELAY.saturating_mul(1 << beyond.min(16)).min(MAX_DELAY),
    }
}

/// Forgets the key with the oldest failure when `key` would be one too many. Keys under way stay.
fn make_room(entries: &mut HashMap<Key, Entry>, key: &Key) {
    if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
        let idle = entries.iter().filter(|(_, entry)| entry.pending == 0);
        let oldest = idle.min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            entries.remove(&oldest);
        }
    }
}

/// A login under way. Without a verdict, because the service itself failed, it counts as neither.
#[derive(Debug)]
pub(crate) struct Attempt {
    throttle: Throttle,
    keys: Vec<Key>,
    delay: Duration,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Succeeded,
    Failed { now: i64 },
}

impl Attempt {
    /// How long to wait before the password is looked at: 0 to 4 s.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// The password was right: the name starts anew. The address does not, or one good login would hide any number of
    /// bad ones.
    pub(crate) fn succeeded(mut self) {
        self.outcome = Some(Outcome::Succeeded);
    }

    /// The password was wrong.
    pub(crate) fn failed(mut self, now: i64) {
        self.outcome = Some(Outcome::Failed { now });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut entries = self.throttle.entries();
        for key in &self.keys {
            let is_name = matches!(key, Key::Name(..));
            if let (true, Some(entry)) = (is_name, entries.get_mut(key)) {
                entry.pending = entry.pending.saturating_sub(1);
            }
            match self.outcome {
                Some(Outcome::Failed { now }) => {
                    make_room(&mut entries, key);
                    let entry = entries.entry(key.clone()).or_default();
                    entry.failures = entry.failures.saturating_add(1);
                    entry.last = now;
                }
                Some(Outcome::Succeeded) if is_name => {
                    if let Some(entry) = entries.get_mut(key) {
                        entry.failures = 0;
                    }
                }
                Some(Outcome::Succeeded) | None => {}
            }
            if entries.get(key).is_some_and(|entry| entry.failures == 0 && entry.pending == 0) {
                entries.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Key> {
        Some(Key::user(&AppId::new("app").expect("valid"), text))
    }

    fn delays(throttle: &Throttle, address: Option<IpAddr>, key: &Option<Key>, failures: usize) -> Vec<u128> {
        let mut seen = Vec::new();
        for _ in 0..failures {
            let attempt = throttle.begin(address, key.clone(), 0);
            seen.push(attempt.delay().as_millis());
            attempt.failed(0);
        }
        seen
    }

    #[test]
    fn a_name_waits_longer_after_each_failure_and_never_too_long() {
        let throttle = Throttle::default();
        let seen = delays(&throttle, None, &name("a"), 11);
        assert_eq!(seen, [0, 0, 0, 125, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(throttle.begin(None, name("b"), 0).delay(), Duration::ZERO);
    }

    #[test]
    fn success_forgives_the_name_but_not_the_address() {
        let throttle = Throttle::default();
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        delays(&throttle, address, &name("a"), 21);
        throttle.begin(address, name("a"), 0).succeeded();
        assert_eq!(throttle.begin(None, name("a"), 0).delay(), Duration::ZERO);
        assert_eq!(throttle.begin(address, name("other"), 0).delay(), Duration::from_millis(250));
    }

    #[test]
    fn attempts_at_the_same_time_count_for_the_name() {
        let throttle = Throttle::default();
        let at_once: Vec<Attempt> = (0..5).map(|_| throttle.begin(None, name("a"), 0)).collect();
        let waits: Vec<u128> = at_once.iter().map(|attempt| attempt.delay().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 125, 250]);
        drop(at_once);
        assert_eq!(throttle.begin(None, name("a"), 0).delay(), Duration::ZERO, "no verdict, no failure");
    }

    #[test]
    fn failures_are_forgotten_after_ten_quiet_minutes() {
        let throttle = Throttle::default();
        delays(&throttle, None, &name("a"), 8);
        assert!(throttle.begin(None, name("a"), FORGET_AFTER_MS).delay() > Duration::ZERO);
        assert_eq!(throttle.begin(None, name("a"), FORGET_AFTER_MS + 1).delay(), Duration::ZERO);
    }

    #[test]
    fn an_ipv6_host_cannot_hide_in_its_prefix() {
        let [a, b, other]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().expect("an address"));
        assert_eq!(Key::address(a), Key::address(b));
        assert_ne!(Key::address(a), Key::address(other));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(Key::address(mapped), Key::Address(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn a_key_is_small_however_long_the_name_that_was_tried() {
        let long = Key::user(&AppId::new("app").expect("valid"), &"x".repeat(60_000));
        assert!(format!("{long:?}").len() < 500);
    }

    #[test]
    fn the_table_is_bounded_and_empties_itself() {
        let throttle = Throttle::default();
        for (i, now) in (0..MAX_ENTRIES + 10).zip(0..) {
            throttle.begin(None, name(&format!("n{i}")), now).failed(now);
        }
        assert_eq!(throttle.entries().len(), MAX_ENTRIES);
        assert!(!throttle.entries().contains_key(&name("n0").expect("a key")), "the oldest is gone");
        let clean = Throttle::default();
        clean.begin(Some(IpAddr::from([192, 0, 2, 1])), name("a"), 0).succeeded();
        assert!(clean.entries().is_empty());
    }
}
