//! What holds of everything that the device does, whatever happens to it.

use std::collections::VecDeque;
use std::time::Duration;

use thingif::config::Config;
use thingif::mqtt::{Credentials, LinkErrorKind};
use thingif::proto::{Action, ConnectError, EventKind, Instant, LinkId, Notice};
use thingif::topic::TopicFilter;

/// A session that was ready for so long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// The limit of a pause has long reached its longest by half as many, and their sum is far from small.
const STREAK: usize = 40;

/// The link that the device has, in its own eyes.
#[derive(Debug)]
struct Current {
    id: LinkId,
    anonymous: bool,
    /// CONNECT is written, and more may follow it.
    opened: bool,
    connected: bool,
    username: String,
    subscribed: Vec<TopicFilter>,
    /// The default broker was asked for a credential.
    asked: bool,
}

impl Current {
    fn may_write(&self) -> bool {
        self.opened || self.connected
    }
}

/// A credential on its way to the store.
#[derive(Debug)]
struct Storing {
    link: LinkId,
    since: Instant,
    /// What the store said, once it did.
    result: Option<bool>,
    /// The device said that it could not be stored.
    reported: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    last: LinkId,
    current: Option<Current>,
    storing: Option<Storing>,
    /// User names that it may use: of the stored credential, and of those that it handed out to be stored.
    usernames: Vec<String>,
    /// When it was given a new credential.
    granted: Vec<Instant>,
    budget: (usize, Duration),
    store_timeout: Duration,
    lateness: Duration,
    /// The last connects in a row that did not come to a good session.
    streak: VecDeque<Instant>,
    ready_since: Instant,
    backoff_max: Duration,
    /// Attempts in a row that did not become ready.
    failures: usize,
    /// Refusals for good in a row.
    refusals: usize,
    gave_up: Option<ConnectError>,
    was_connected: bool,
    may_pipeline: bool,
    /// A broker that was there did not answer CONNECT, with more behind it.
    pipelined_in_vain: bool,
    pub(crate) ready: bool,
    pub(crate) ever_ready: bool,
    pub(crate) closing: bool,
    pub(crate) closed: Option<Option<ConnectError>>,
}

impl Watch {
    pub(crate) fn new(config: &Config, lateness: Duration) -> Self {
        let resume = config.resume().filter(|stored| stored.app_id == *config.app_id());
        Self {
            last: LinkId(0),
            current: None,
            storing: None,
            usernames: resume.map(|stored| stored.endpoint.username.clone()).into_iter().collect(),
            granted: Vec::new(),
            budget: config.onboarding_budget(),
            store_timeout: config.connect_timeout(),
            lateness,
            streak: VecDeque::new(),
            ready_since: Instant::ORIGIN,
            backoff_max: config.backoff_max(),
            failures: 0,
            refusals: 0,
            gave_up: None,
            was_connected: false,
            may_pipeline: config.pipelined_connect(),
            pipelined_in_vain: false,
            ready: false,
            ever_ready: false,
            closing: false,
            closed: None,
        }
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.current.as_ref().map(|current| current.id)
    }

    /// Whether calls can be written: CONNECT to the assigned broker is, or its CONNACK 0 has been seen.
    pub(crate) fn takes_calls(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.may_write() && !current.anonymous)
    }

    /// As whom the device is connected, or connects.
    pub(crate) fn username(&self) -> Option<&str> {
        self.current.as_ref().filter(|current| !current.anonymous).map(|current| current.username.as_str())
    }

    /// Before the device hears of it.
    pub(crate) fn event(&mut self, now: Instant, link: LinkId, kind: &EventKind) {
        if let (Some(storing), EventKind::Stored(result)) = (&mut self.storing, kind)
            && storing.link == link
        {
            storing.result = Some(result.is_ok());
        }
        let Some(current) = self.current.as_mut().filter(|current| current.id == link) else { return };
        match kind {
            EventKind::Opened => current.opened = true,
            EventKind::Connected => {
                current.connected = true;
                self.was_connected = true;
            }
            EventKind::Lost(error) => {
                if current.opened && !current.connected {
                    self.pipelined_in_vain |= matches!(
                        error.kind(),
                        LinkErrorKind::Closed | LinkErrorKind::Protocol | LinkErrorKind::ConnectTimedOut
                    );
                }
                self.current = None;
                self.no_longer_ready(now);
            }
            _ => {}
        }
    }

    fn no_longer_ready(&mut self, now: Instant) {
        if self.ready && now.since(self.ready_since) >= GOOD {
            self.streak.clear();
        }
        self.ready = false;
    }

    pub(crate) fn action(&mut self, now: Instant, action: &Action) {
        assert!(self.closed.is_none(), "after the end: {action:?}");
        match action {
            Action::Connect { link, credentials, pipeline, .. } => {
                assert!(!pipeline || self.may_pipeline, "nobody wants it to write before CONNACK");
                assert!(!pipeline || !self.pipelined_in_vain, "a broker did not bear it, and it is done again");
                self.connect(now, *link, credentials);
            }
            Action::Subscribe { link, filter } => {
                assert!(self.on(*link).may_write(), "{action:?} before CONNECT");
                let subscribed = &mut self.current.as_mut().expect("a link").subscribed;
                assert!(!subscribed.contains(filter), "{filter} is subscribed to twice");
                subscribed.push(filter.clone());
            }
            Action::Publish { link, call, .. } => {
                let current = self.on(*link);
                assert!(current.may_write(), "{action:?} before CONNECT");
                assert_eq!(call.is_none(), current.anonymous, "a call at the default broker");
                if current.anonymous {
                    let current = self.current.as_mut().expect("a link");
                    assert!(!std::mem::replace(&mut current.asked, true), "it onboards twice over one link");
                    self.check_budget(now);
                }
            }
            Action::Disconnect { link } | Action::Abort { link } => {
                let current = self.on(*link);
                let aborts = matches!(action, Action::Abort { .. });
                assert!(current.may_write() || aborts, "{action:?} before CONNECT");
                let in_vain = aborts && current.opened && !current.connected && !self.closing;
                let leaves_early = current.anonymous && !self.is_stored();
                assert!(!leaves_early || self.closing, "the default broker is left before the credential is stored");
                self.pipelined_in_vain |= in_vain;
                self.current = None;
                self.no_longer_ready(now);
            }
            Action::Store { link, credential } => {
                let current = self.on(*link);
                assert!(current.anonymous && current.connected, "{action:?}");
                assert!(self.storing.is_none(), "it stores twice");
                self.storing = Some(Storing { link: *link, since: now, result: None, reported: false });
                self.usernames.push(credential.endpoint.username.clone());
            }
            Action::Notice(notice) => self.notice(now, notice),
            Action::Closed(failure) => {
                assert!(self.current.is_none(), "it ended with a link");
                assert_eq!(*failure, self.gave_up, "it says why");
                self.closed = Some(failure.clone());
            }
            _ => {}
        }
    }

    fn on(&self, link: LinkId) -> &Current {
        let current = self.current.as_ref().unwrap_or_else(|| panic!("{link} has ended"));
        assert_eq!(current.id, link, "not the current link");
        current
    }

    /// Whether no credential waits for the store.
    fn is_stored(&self) -> bool {
        self.storing.as_ref().is_none_or(|storing| storing.result == Some(true) || storing.reported)
    }

    /// Asks for a new credential: there must be one to be had.
    fn check_budget(&self, now: Instant) {
        let (count, window) = self.budget;
        let recent = self.granted.iter().filter(|granted| now.since(**granted) <= window).count();
        assert!(recent < count, "{recent} credentials within {window:?}, and it asks for one more");
    }

    fn connect(&mut self, now: Instant, link: LinkId, credentials: &Credentials) {
        assert!(self.current.is_none(), "two links at once");
        assert!(link > self.last, "{link} is not new");
        assert!(self.is_stored(), "it moves on before the credential is stored");
        let anonymous = credentials.client_id.is_anonymous();
        let username = credentials.username.clone();
        assert!(anonymous || self.usernames.contains(&username), "{username} was never stored");
        self.storing = None;
        self.last = link;
        self.pace(now);
        self.was_connected = false;
        self.current = Some(Current {
            id: link,
            anonymous,
            opened: false,
            connected: false,
            username,
            subscribed: Vec::new(),
            asked: false,
        });
    }

    /// Attempts that fail are paced: so many in a row take several of the longest pauses, however they are drawn.
    fn pace(&mut self, now: Instant) {
        self.streak.push_back(now);
        if self.streak.len() > STREAK {
            let took = self.streak.pop_front().map_or(Duration::ZERO, |first| now.since(first));
            assert!(took >= 4 * self.backoff_max, "{STREAK} attempts within {took:?}");
        }
    }

    fn notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::Ready { link } => {
                assert!(self.on(*link).connected, "ready without a connection");
                self.ready = true;
                self.ready_since = now;
                self.ever_ready = true;
                self.failures = 0;
            }
            Notice::Onboarded { .. } => {
                assert!(self.storing.is_some() && self.is_stored(), "onboarded before the credential is stored");
                self.granted.push(now);
                self.streak.clear();
                self.refusals = 0;
            }
            Notice::StoreFailed { .. } => {
                let storing = self.storing.as_mut().expect("something is being stored");
                let overdue = now.since(storing.since) >= self.store_timeout;
                assert!(storing.result == Some(false) || overdue, "the store has not failed: {storing:?}");
                let most = self.store_timeout + self.lateness;
                assert!(now.since(storing.since) <= most, "it waits too long for the store");
                storing.reported = true;
            }
            Notice::Lost { link, .. } => {
                assert_eq!(*link, self.last);
                assert!(self.was_connected && self.current.is_none(), "{link} was lost");
            }
            Notice::Waiting { cause, .. } => {
                assert!(self.current.is_none(), "it waits with a link");
                self.failed(cause);
            }
            Notice::GaveUp { cause } => {
                self.failed(cause);
                self.gave_up = Some(ConnectError::clone(cause));
            }
            _ => {}
        }
    }

    fn failed(&mut self, cause: &ConnectError) {
        self.failures += 1;
        self.refusals += usize::from(is_refusal(cause));
    }

    /// It has given up: that must have had its reason.
    pub(crate) fn check_gave_up(&self, cause: &ConnectError, config: &Config) {
        let out_of_attempts = !self.ever_ready && self.failures >= config.connect_attempts();
        let refused = is_refusal(cause) && (!self.ever_ready || self.refusals >= config.refusals());
        assert!(out_of_attempts || refused, "it gave up after {} failures: {cause:?}", self.failures);
        let rests = self.ever_ready && config.rest_after_refusal().is_some();
        assert!(!rests, "it was to rest, and gave up: {cause:?}");
    }
}

/// Whether the default broker refused for good.
fn is_refusal(cause: &ConnectError) -> bool {
    matches!(cause, ConnectError::Onboarding(error) if error.is_permanent())
}
