//! Failed logins make the next ones wait: by address, and by the name that is tried. They never make one fail, or
//! anybody could lock anybody out.

mod table;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::edge::SHORTEST_ADMISSION;
use crate::ids::{AppId, ThingId, UserId, VendorThingId};
use table::{Decay, Table};

/// Addresses, and as many names, that are remembered at once. Each costs about 64 bytes.
const MAX_ENTRIES: usize = 10_000;
/// The longest delay. Devices give a call 10 s.
const MAX_DELAY: Duration = Duration::from_secs(4);
const _: () = assert!(MAX_DELAY.as_millis() < SHORTEST_ADMISSION.as_millis(), "a delay must not refuse a CONNECT");
/// The first delay; it doubles with every further failure.
const FIRST_DELAY: Duration = Duration::from_millis(125);
/// Failures without any delay: somebody mistypes.
const FREE_BY_NAME: u32 = 3;
/// The same for an address, behind which there may be a whole site.
const FREE_BY_ADDRESS: u32 = 20;
/// An address loses a failure in so many milliseconds, and never has more than make the longest delay: one device that
/// cannot log in slows its site down while it tries, and not for good.
const ADDRESS_DECAY: Decay = Decay { every: 30_000, most: FREE_BY_ADDRESS + 5 };

/// A thing, user or endpoint: the SHA-256 of what it is called, which may be as long as whoever tries it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name([u8; 32]);

impl Name {
    /// A thing, by the name that its maker gave it.
    pub(crate) fn thing(app: &AppId, vendor: &VendorThingId) -> Self {
        Name::new("thing", app.as_str(), vendor.as_str())
    }

    /// A thing, by the name that the service gave it.
    pub(crate) fn thing_id(app: &AppId, thing: &ThingId) -> Self {
        Name::new("thing id", app.as_str(), thing.as_str())
    }

    /// Nobody, who was asked for as a user by this name.
    pub(crate) fn user(app: &AppId, name: &str) -> Self {
        Name::new("user", app.as_str(), name)
    }

    /// A user, by the name that the service gave them: there are three to log in with.
    pub(crate) fn user_id(app: &AppId, user: &UserId) -> Self {
        Name::new("user id", app.as_str(), user.as_str())
    }

    /// An endpoint; its user name is unique among all applications.
    pub(crate) fn endpoint(username: &str) -> Self {
        Name::new("endpoint", "", username)
    }

    /// A client that administers an application.
    pub(crate) fn client(app: &AppId, client_id: &str) -> Self {
        Name::new("client", app.as_str(), client_id)
    }

    fn new(kind: &str, app: &str, name: &str) -> Self {
        let mut hash = Sha256::new();
        // A NUL ends the first two parts, and neither has one.
        for part in [kind, "\0", app, "\0", name] {
            hash.update(part);
        }
        Name(hash.finalize().into())
    }
}

/// One IPv4 address, or the /64 that an IPv6 host picks its addresses from.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// What became of logins, since the cloud was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Logins {
    /// Logins whose password or key was wrong, over HTTP and MQTT.
    pub failed: u64,
    /// Logins that waited because others had failed before.
    pub delayed: u64,
    /// Addresses and names whose failures were forgotten before their time, because there were too many.
    pub forgotten: u64,
    /// Addresses and names that have failed and are remembered now.
    pub remembered: usize,
}

/// The failures of a cloud: one table for its roads over HTTP and MQTT.
#[derive(Debug, Clone)]
pub(crate) struct Throttle(Arc<Mutex<Failures>>);

#[derive(Debug)]
struct Failures {
    addresses: Table<IpAddr>,
    /// Attempts under way count as well, or many at once would get by unseen. Those of an address do not: behind it there may
    /// be a site whose things all come back at once.
    names: Table<Name>,
    failed: u64,
    delayed: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        let (addresses, names) = (Table::decaying(MAX_ENTRIES, ADDRESS_DECAY), Table::new(MAX_ENTRIES));
        Self(Arc::new(Mutex::new(Failures { addresses, names, failed: 0, delayed: 0 })))
    }
}

impl Throttle {
    /// Begins a login. The caller waits [`Attempt::delay`] before it looks at the password. `now` is in milliseconds.
    pub(crate) fn begin(&self, address: Option<IpAddr>, name: Option<Name>, now: i64) -> Attempt {
        let address = address.map(host);
        let mut failures = self.failures();
        failures.addresses.sweep(now);
        failures.names.sweep(now);
        let by_address = address.map_or(0, |address| failures.addresses.count(&address, now));
        let by_name = name.map_or(0, |name| failures.names.count(&name, now));
        let delay = delay_after(by_address, FREE_BY_ADDRESS).max(delay_after(by_name, FREE_BY_NAME));
        if let Some(name) = &name {
            failures.names.begin(name, now);
        }
        failures.delayed += u64::from(!delay.is_zero());
        drop(failures);
        Attempt { throttle: Some(self.clone()), address, name, now, delay, outcome: None }
    }

    /// What has been counted.
    pub(crate) fn logins(&self) -> Logins {
        let failures = self.failures();
        Logins {
            failed: failures.failed,
            delayed: failures.delayed,
            forgotten: failures.addresses.forgotten() + failures.names.forgotten(),
            remembered: failures.addresses.len() + failures.names.len(),
        }
    }

    // No operation on the tables panics half-way, so a poisoned lock holds whole tables.
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delay_after(failures: u32, free: u32) -> Duration {
    match failures.checked_sub(free) {
        None => Duration::ZERO,
        Some(beyond) => FIRST_DELAY.saturating_mul(1 << beyond.min(16)).min(MAX_DELAY),
    }
}

/// A login under way. Without a verdict, because the service itself failed, it counts as neither.
#[derive(Debug)]
pub(crate) struct Attempt {
    throttle: Option<Throttle>,
    address: Option<IpAddr>,
    name: Option<Name>,
    now: i64,
    delay: Duration,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Succeeded,
    Failed { now: i64 },
}

impl Attempt {
    /// A login that nothing delays and that counts for nothing.
    pub(crate) fn unthrottled() -> Self {
        Self { throttle: None, address: None, name: None, now: 0, delay: Duration::ZERO, outcome: None }
    }

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
        let Some(throttle) = &self.throttle else { return };
        let mut failures = throttle.failures();
        let now = match self.outcome {
            Some(Outcome::Failed { now }) => {
                failures.failed += 1;
                if let Some(address) = &self.address {
                    failures.addresses.fail(address, now);
                }
                if let Some(name) = &self.name {
                    failures.names.fail(name, now);
                }
                now
            }
            Some(Outcome::Succeeded) => {
                if let Some(name) = &self.name {
                    failures.names.forgive(name);
                }
                self.now
            }
            None => self.now,
        };
        if let Some(name) = &self.name {
            failures.names.end(name, now);
        }
    }
}
