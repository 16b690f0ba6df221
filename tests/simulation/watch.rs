//! What holds of everything that the device does, whatever happens to it.

use thingif::mqtt::Credentials;
use thingif::proto::{Action, ConnectError, EventKind, Instant, LinkId, Notice};

/// The link that the device has, in its own eyes.
#[derive(Debug)]
struct Current {
    id: LinkId,
    anonymous: bool,
    connected: bool,
    username: String,
    stored: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    last: LinkId,
    current: Option<Current>,
    /// User names that it may use: of the stored credential, and of those that it handed out to be stored.
    usernames: Vec<String>,
    /// When it asked for a new credential.
    pub(crate) asked: Vec<Instant>,
    pub(crate) connects: u32,
    /// Attempts in a row that did not become ready.
    failures: usize,
    pub(crate) ready: bool,
    pub(crate) ever_ready: bool,
    pub(crate) closed: Option<Option<ConnectError>>,
}

impl Watch {
    pub(crate) fn new(stored: Option<String>) -> Self {
        Self {
            last: LinkId(0),
            current: None,
            usernames: stored.into_iter().collect(),
            asked: Vec::new(),
            connects: 0,
            failures: 0,
            ready: false,
            ever_ready: false,
            closed: None,
        }
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.current.as_ref().map(|current| current.id)
    }

    /// Whether calls can be written: CONNACK 0 of the assigned broker has been seen.
    pub(crate) fn is_connected(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.connected && !current.anonymous)
    }

    /// Before the device hears of it.
    pub(crate) fn event(&mut self, link: LinkId, kind: &EventKind) {
        let Some(current) = self.current.as_mut().filter(|current| current.id == link) else { return };
        match kind {
            EventKind::Connected => current.connected = true,
            EventKind::Lost(_) => {
                self.current = None;
                self.ready = false;
            }
            _ => {}
        }
    }

    pub(crate) fn action(&mut self, now: Instant, action: &Action) {
        assert!(self.closed.is_none(), "after the end: {action:?}");
        match action {
            Action::Connect { link, credentials, .. } => self.connect(*link, credentials),
            Action::Subscribe { link, .. } => assert!(self.on(*link).connected, "{action:?} before CONNACK"),
            Action::Publish { link, call, .. } => {
                let current = self.on(*link);
                assert!(current.connected, "{action:?} before CONNACK");
                assert!(call.is_none() || !current.anonymous, "a call at the default broker");
                if current.anonymous {
                    self.asked.push(now);
                }
            }
            Action::Disconnect { link } | Action::Abort { link } => {
                let current = self.on(*link);
                assert!(current.connected || matches!(action, Action::Abort { .. }), "{action:?} before CONNACK");
                self.current = None;
                self.ready = false;
            }
            Action::Store { credential, .. } => {
                let current = self.current.as_mut().expect("the default broker is not left yet");
                assert!(current.anonymous && current.connected && !current.stored, "{action:?}");
                current.stored = true;
                self.usernames.push(credential.endpoint.username.clone());
            }
            Action::Notice(notice) => self.notice(notice),
            Action::Closed(failure) => {
                assert!(self.current.is_none(), "it ended with a link");
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

    fn connect(&mut self, link: LinkId, credentials: &Credentials) {
        assert!(self.current.is_none(), "two links at once");
        assert!(link > self.last, "{link} is not new");
        let anonymous = credentials.client_id.is_anonymous();
        let username = credentials.username.clone();
        assert!(anonymous || self.usernames.contains(&username), "{username} was never stored");
        self.last = link;
        self.connects += 1;
        self.current = Some(Current { id: link, anonymous, connected: false, username, stored: false });
    }

    /// As whom the device is connected, or connects.
    pub(crate) fn username(&self) -> Option<&str> {
        self.current.as_ref().filter(|current| !current.anonymous).map(|current| current.username.as_str())
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Ready { link } => {
                assert!(self.on(*link).connected, "ready without a connection");
                self.ready = true;
                self.ever_ready = true;
                self.failures = 0;
            }
            Notice::Waiting { .. } => {
                assert!(self.current.is_none(), "it waits with a link");
                self.failures += 1;
            }
            _ => {}
        }
    }

    /// It has given up: that must have had its reason.
    pub(crate) fn check_gave_up(&self, cause: &ConnectError, attempts: usize) {
        let out_of_attempts = !self.ever_ready && self.failures + 1 >= attempts;
        let permanent = matches!(cause, ConnectError::Onboarding(error) if error.is_permanent());
        assert!(out_of_attempts || permanent, "it gave up after {} failures: {cause:?}", self.failures);
    }
}
