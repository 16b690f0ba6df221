//! Ways through the lifecycle that end well, or where they must, told event by event: nothing answers by itself but the
//! subscriptions, the onboarding and the store.

mod device;

use std::time::Duration;

use thingif::config::Config;
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{Action, Event, EventKind, Instant, Lifecycle, LinkId, Notice};

use device::{config, credential, onboarding_body};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DEFAULT: &str = "default.invalid";
const ASSIGNED: &str = "assigned.invalid";

struct Device {
    life: Lifecycle,
    now: Instant,
    link: LinkId,
    /// Where the newest link leads.
    host: String,
    notices: Vec<Notice>,
    is_closed: bool,
    /// What an onboarding answers, in seconds.
    ttl: i32,
}

impl Device {
    fn new(config: Config, seed: u64) -> Self {
        let now = Instant::ORIGIN;
        let life = Lifecycle::new(now, config, seed);
        let mut device = Self {
            life,
            now,
            link: LinkId(0),
            host: String::new(),
            notices: Vec::new(),
            is_closed: false,
            ttl: i32::MAX,
        };
        device.drain();
        device
    }

    /// One that has onboarded and is ready.
    fn ready(config: Config, seed: u64, ttl: i32) -> Self {
        let mut device = Self::new(config, seed);
        device.ttl = ttl;
        device.happen(EventKind::Connected);
        assert_eq!(device.host, ASSIGNED);
        device.happen(EventKind::Connected);
        assert!(device.life.is_ready());
        device
    }

    fn happen(&mut self, kind: EventKind) {
        self.life.handle_event(self.now, Event { link: self.link, kind });
        self.drain();
    }

    /// The newest link fails so; then time passes until there is another, or `end`.
    fn fail(&mut self, error: LinkErrorKind, end: Instant) {
        let failed = self.link;
        self.happen(EventKind::Lost(error.into()));
        while self.link == failed && !self.is_closed {
            let Some(next) = self.life.next_deadline().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.life.handle_timeout(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.life.poll_action() {
            let (link, kind) = match action {
                Action::Connect { link, endpoint, .. } => {
                    (self.link, self.host) = (link, endpoint.host);
                    continue;
                }
                Action::Notice(notice) => {
                    self.notices.push(notice);
                    continue;
                }
                Action::Closed(_) => {
                    self.is_closed = true;
                    continue;
                }
                Action::Subscribe { link, filter } => (link, EventKind::Subscribed { filter, granted: true }),
                Action::Store { link, .. } => (link, EventKind::Stored(Ok(()))),
                Action::Publish { link, publish, .. } if publish.topic.as_str().ends_with("/onboardings") => {
                    let body = onboarding_body(0).replace("2147483647", &self.ttl.to_string());
                    (link, EventKind::Received(Publish::new(publish.topic, format!("200\r\n\r\n{body}"))))
                }
                _ => continue,
            };
            self.life.handle_event(self.now, Event { link, kind });
        }
    }

    fn was_held_off(&self) -> bool {
        self.notices.iter().any(|notice| matches!(notice, Notice::OnboardingHeldOff { .. }))
    }
}

#[test]
fn a_device_whose_broker_moved_while_it_was_off_asks_where_to_go_before_it_gives_up() {
    for attempts in [1, 2, 4] {
        let config = config().with_resume(credential(0)).with_connect_attempts(attempts).expect("in range");
        let mut device = Device::new(config, 1);
        for _ in 0..attempts {
            assert_eq!(device.host, ASSIGNED);
            device.fail(LinkErrorKind::Tcp, device.now + HOUR);
        }
        assert_eq!(device.host, DEFAULT, "{:?}", device.notices);
        // It has answered: the new broker gets the attempt that is left.
        device.happen(EventKind::Connected);
        assert_eq!(device.host, ASSIGNED);
        device.happen(EventKind::Connected);
        assert!(device.life.is_ready());
    }
    let mut device = Device::new(config().with_resume(credential(0)), 1);
    device.fail(LinkErrorKind::Tcp, device.now + HOUR);
    device.fail(LinkErrorKind::Tcp, device.now + HOUR);
    assert!(device.is_closed, "where neither can be reached somebody is waiting to be told");
}

#[test]
fn a_service_that_refuses_everybody_for_two_minutes_ends_nobody() {
    for seed in 0..20 {
        let mut device = Device::ready(config(), seed, i32::MAX);
        device.now = device.now + HOUR;
        let end = device.now + 120 * SECOND;
        device.fail(LinkErrorKind::Closed, end);
        while device.now < end && !device.is_closed {
            device.fail(LinkErrorKind::Refused(RefusedReason::NotAuthorised), end);
        }
        assert!(!device.is_closed, "seed {seed}: {:?}", device.notices);
    }
}

#[test]
fn one_that_is_refused_for_good_ends_after_minutes() {
    let mut device = Device::ready(config(), 1, i32::MAX);
    let began = device.now;
    device.fail(LinkErrorKind::Closed, began + HOUR);
    while !device.is_closed && device.now < began + HOUR {
        device.fail(LinkErrorKind::Refused(RefusedReason::NotAuthorised), began + HOUR);
    }
    assert!(device.is_closed);
    let took = device.now.since(began);
    assert!((180 * SECOND..600 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn attempts_are_counted_when_fresh_credentials_are_refused() {
    let config =
        config().with_connect_attempts(4).and_then(|c| c.with_onboarding_budget(1, 24 * HOUR)).expect("in range");
    let mut device = Device::new(config, 1);
    let (mut attempts, end) = (0, device.now + HOUR);
    while !device.is_closed && device.now < end {
        if device.host == DEFAULT {
            device.happen(EventKind::Connected);
        } else {
            attempts += 1;
            device.fail(LinkErrorKind::Refused(RefusedReason::NotAuthorised), end);
        }
    }
    assert!(device.is_closed);
    assert_eq!(attempts, 4);
}

#[test]
fn a_hold_off_is_told_only_where_a_new_credential_is_wanted() {
    let config = || config().with_onboarding_budget(1, 24 * HOUR).expect("in range");
    let mut device = Device::ready(config(), 1, i32::MAX);
    device.now = device.now + 60 * SECOND;
    device.fail(LinkErrorKind::Closed, device.now + HOUR);
    assert!(!device.was_held_off(), "{:?}", device.notices);
    device.fail(LinkErrorKind::Refused(RefusedReason::NotAuthorised), device.now + HOUR);
    assert!(device.was_held_off(), "{:?}", device.notices);
    assert_eq!(device.host, ASSIGNED, "tried with the old one meanwhile");
}

#[test]
fn waiting_says_where_the_next_attempt_begins_also_after_the_ttl() {
    let mut device = Device::ready(config(), 1, 60);
    let over = device.now + 60 * SECOND;
    device.now = device.now + 50 * SECOND;
    let (mut at_assigned, end) = (0, device.now + 2 * HOUR);
    let mut error = LinkErrorKind::Closed;
    while device.now < end {
        let told = device.notices.len();
        let before = device.link;
        device.fail(std::mem::replace(&mut error, LinkErrorKind::Tcp), end);
        let said = device.notices[told..].iter().find_map(|notice| match notice {
            Notice::Waiting { onboarding, .. } => Some(*onboarding),
            _ => None,
        });
        if device.link != before {
            assert_eq!(said, Some(device.host == DEFAULT), "{:?}", &device.notices[told..]);
            at_assigned += usize::from(device.host == ASSIGNED && device.now > over);
        }
    }
    assert!(at_assigned > 10, "nobody gives another endpoint, and the old one may still be good");
}
