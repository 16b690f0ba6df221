//! What a device client is told: where the default broker is, who the device is, and every limit.

mod error;
mod identity;
mod values;

use std::time::Duration;

use error::{duration, number, text};

pub use error::ConfigError;
pub use identity::Identity;

use crate::ids::AppId;
use crate::mqtt::{Endpoint, Scheme, SpkiPin};
use crate::secret::Secret;
use crate::thing_if::Credential;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything a device client needs to know. Required things in [`new`](Config::new), each knob in a `with_…` method
/// that checks its range, so that a `Config` that exists is a valid one.
///
/// ```
/// use std::time::Duration;
/// use thingif::config::{Config, Identity};
/// use thingif::ids::{AppId, VendorThingId};
///
/// let identity = Identity::vendor_thing(VendorThingId::new("thermostat-17")?, "the thing's password".into());
/// let config = Config::new("mqtts://mqtt-jp.kii.com".parse()?, AppId::new("c1k9abcdef12")?, "app key".into(), identity)?
///     .with_call_deadline(Duration::from_secs(5))?
///     .with_max_in_flight(32)?;
/// assert_eq!(config.max_in_flight(), 32);
/// assert!(config.with_max_in_flight(0).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    broker: Endpoint,
    app_id: AppId,
    app_key: Secret<String>,
    identity: Identity,
    assigned_scheme: Scheme,
    call_deadline: Duration,
    connect_timeout: Duration,
    detect_dead_peer: Duration,
    max_in_flight: usize,
    max_frame: usize,
    backoff: (Duration, Duration),
    pushes: bool,
    response_filter: bool,
    push_queue: usize,
    quarantine: usize,
    late_answer_window: Duration,
    connect_attempts: usize,
    reonboard_after: usize,
    onboarding_budget: (usize, Duration),
    refusals: usize,
    refusal_pause: Duration,
    rest_after_refusal: Option<Duration>,
    seed: Option<u64>,
    resume: Option<Credential>,
    spki_pins: Vec<SpkiPin>,
    pipelined_connect: bool,
}

impl Config {
    /// A device `identity` of application `app_id`, which onboards at the default `broker`; every knob at its default.
    ///
    /// # Errors
    /// [`ConfigError::Text`] when a text cannot be sent: the app key or the thing's password, each at most
    /// 65,000 bytes without NUL.
    pub fn new(
        broker: Endpoint,
        app_id: AppId,
        app_key: Secret<String>,
        identity: Identity,
    ) -> Result<Self, ConfigError> {
        text("app key", app_key.expose(), 65_000)?;
        text("thing password", identity.password().expose(), 65_000)?;
        Ok(Self {
            assigned_scheme: broker.scheme,
            broker,
            app_id,
            app_key,
            identity,
            call_deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            detect_dead_peer: Duration::from_secs(90),
            max_in_flight: 256,
            max_frame: 64 * 1024,
            backoff: (SECOND, Duration::from_secs(60)),
            pushes: true,
            response_filter: false,
            push_queue: 256,
            quarantine: 1024,
            late_answer_window: Duration::from_secs(30),
            connect_attempts: 1,
            reonboard_after: 5,
            onboarding_budget: (5, HOUR),
            refusals: 3,
            refusal_pause: Duration::from_secs(60),
            rest_after_refusal: None,
            seed: None,
            resume: None,
            spki_pins: Vec::new(),
            pipelined_connect: true,
        })
    }

    /// How long a call may take that names no time of its own, from the call to its answer, queueing included.
    /// Default 10 s; 1 ms to 24 h. A longer one keeps its place in flight longer.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_call_deadline(mut self, given: Duration) -> Result<Self, ConfigError> {
        self.call_deadline = duration("call deadline", given, MILLISECOND, DAY)?;
        Ok(self)
    }

    /// Time for one connect: name, TCP, TLS, WebSocket and CONNACK together. Default 10 s; 1 ms to 1 h.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_connect_timeout(mut self, given: Duration) -> Result<Self, ConfigError> {
        self.connect_timeout = duration("connect timeout", given, MILLISECOND, HOUR)?;
        Ok(self)
    }

    /// A broker that answers nothing is noticed within this time; the transport chooses its keep-alive from it.
    /// Default 90 s; 3 s to 12 h. A shorter one costs more PINGREQs.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_detect_dead_peer(mut self, given: Duration) -> Result<Self, ConfigError> {
        self.detect_dead_peer = duration("dead peer detection", given, 3 * SECOND, 12 * HOUR)?;
        Ok(self)
    }

    /// Calls that may wait for their answer at once; beyond it a call fails at once as `Overloaded`. Default 256; 1 to
    /// 65,535. Worst-case memory is this many frames.
    ///
    /// # Errors
    /// [`ConfigError::Number`] outside that range.
    pub fn with_max_in_flight(mut self, given: usize) -> Result<Self, ConfigError> {
        self.max_in_flight = number("calls in flight", given, 1, 65_535)?;
        Ok(self)
    }

    /// The largest request frame, in bytes, head included; a larger one is refused before it is sent. Default 64 KiB,
    /// which is what a service accepts without settings (`wire` §8); 256 B to 16 MiB.
    ///
    /// # Errors
    /// [`ConfigError::Number`] outside that range.
    pub fn with_max_frame(mut self, given: usize) -> Result<Self, ConfigError> {
        self.max_frame = number("largest frame", given, 256, 16 * 1024 * 1024)?;
        Ok(self)
    }

    /// Pause before reconnecting: drawn between zero and a limit that begins at `min` and doubles up to `max` with
    /// every failure. Default 1 s and 60 s; 1 ms to 24 h, `min` not above `max`. (`wire` §7)
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_backoff(mut self, min: Duration, max: Duration) -> Result<Self, ConfigError> {
        let max = duration("longest back-off", max, MILLISECOND, DAY)?;
        self.backoff = (duration("shortest back-off", min, MILLISECOND, max)?, max);
        Ok(self)
    }

    /// Whether to subscribe to the device's own topic, on which commands and other pushes arrive. Default on. Off
    /// saves a SUBSCRIBE and means that no push ever arrives. (`wire` §1.4)
    pub fn with_pushes(mut self, on: bool) -> Self {
        self.pushes = on;
        self
    }

    /// Whether to subscribe to `p/{client id}/#` as well. Default off: a Thing-IF broker delivers answers unasked
    /// (`wire` §1.4). Ordinary brokers need it, and then echo each request to its sender, who ignores it; answers to
    /// calls of an earlier connection may arrive on a later one. Calls wait for its SUBACK.
    pub fn with_response_filter(mut self, on: bool) -> Self {
        self.response_filter = on;
        self
    }

    /// Whether packets may follow CONNECT at once, without waiting for CONNACK, where the transport can: SUBSCRIBE and the first
    /// calls then cost no round trip of their own, and neither does the onboarding. Default on: MQTT 3.1.1 §3.1.4 allows it. A
    /// broker that was there and did not accept such a connection is given no other. It costs nothing if CONNECT is refused:
    /// the broker looks at nothing of it then, and calls fail or wait as if there had been no connection.
    pub fn with_pipelined_connect(mut self, on: bool) -> Self {
        self.pipelined_connect = on;
        self
    }

    /// Pushes kept for a program that is slow to read them; beyond it the oldest are dropped and reported as
    /// `Lagged`. Default 256; 1 to 65,536. A push has at most 4096 bytes by the documentation. (`wire` §6)
    ///
    /// # Errors
    /// [`ConfigError::Number`] outside that range.
    pub fn with_push_queue(mut self, given: usize) -> Result<Self, ConfigError> {
        self.push_queue = number("push queue", given, 1, 65_536)?;
        Ok(self)
    }

    /// How many timed-out and cancelled calls are remembered, so that a late answer is recognised. Default 1024; 1 to
    /// 65,536; about 200 bytes each. Beyond it the oldest are forgotten, which is counted and reported, and until their
    /// window has passed an answer without `X-Kii-RequestID` is believed on no topic.
    ///
    /// # Errors
    /// [`ConfigError::Number`] outside that range.
    pub fn with_quarantine(mut self, given: usize) -> Result<Self, ConfigError> {
        self.quarantine = number("quarantine", given, 1, 65_536)?;
        Ok(self)
    }

    /// How long after its deadline or cancellation a call may still be answered, as far as this client is concerned.
    /// Default 30 s; 1 ms to 24 h. With a peer that echoes no `X-Kii-RequestID`, the next call on the same topic waits
    /// that long, because nothing else could tell its answer from the late one.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_late_answer_window(mut self, given: Duration) -> Result<Self, ConfigError> {
        self.late_answer_window = duration("late answer window", given, MILLISECOND, DAY)?;
        Ok(self)
    }

    /// How many failed attempts in a row `connect` bears before the connection was ready for the first time; then it
    /// returns the last cause. Later losses are followed by new attempts without limit. Default 1; 1 to `usize::MAX`.
    ///
    /// # Errors
    /// [`ConfigError::Number`] when it is 0.
    pub fn with_connect_attempts(mut self, given: usize) -> Result<Self, ConfigError> {
        self.connect_attempts = number("connect attempts", given, 1, usize::MAX)?;
        Ok(self)
    }

    /// After how many failed connects in a row to the assigned broker the device asks the default broker again.
    /// Default 5; 1 to `usize::MAX`. A CONNACK 4 or 5 does not wait for that.
    ///
    /// # Errors
    /// [`ConfigError::Number`] when it is 0.
    pub fn with_reonboard_after(mut self, given: usize) -> Result<Self, ConfigError> {
        self.reonboard_after = number("failed connects before onboarding again", given, 1, usize::MAX)?;
        Ok(self)
    }

    /// How many new credentials the device may be given within any `window`. Default 5 in 1 h; 1 to 1000, 1 s to 24 h.
    /// An onboarding that fails costs nothing, and so does every failure of the network. When the budget is used up the
    /// device keeps to the credential it has, and without a usable one waits until the window has passed
    /// ([`OnboardingHeldOff`](crate::proto::Notice::OnboardingHeldOff)). A service keeps only the newest tokens of a
    /// thing valid, so a device that onboards in circles harms itself. (`wire` §7)
    ///
    /// # Errors
    /// [`ConfigError`] outside those ranges.
    pub fn with_onboarding_budget(mut self, count: usize, window: Duration) -> Result<Self, ConfigError> {
        let count = number("onboarding budget", count, 1, 1000)?;
        self.onboarding_budget = (count, duration("onboarding budget's window", window, SECOND, DAY)?);
        Ok(self)
    }

    /// How many times in a row the default broker must refuse a device for good (a wrong password, an unknown
    /// application) that was ready before and has no usable credential, until it gives up. Default 3; 1 to 1000. Before the
    /// device was ready for the first time a single refusal ends it: somebody is waiting to be told.
    ///
    /// # Errors
    /// [`ConfigError::Number`] outside that range.
    pub fn with_refusals(mut self, given: usize) -> Result<Self, ConfigError> {
        self.refusals = number("refusals", given, 1, 1000)?;
        Ok(self)
    }

    /// For how long a device that was ready before asks for no new credential after the default broker refused it for good:
    /// the service may refuse everybody for a minute. Doubles with each refusal in a row, to an hour. A credential that
    /// there is is tried meanwhile. Default 60 s; 1 s to 1 h.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_refusal_pause(mut self, given: Duration) -> Result<Self, ConfigError> {
        self.refusal_pause = duration("pause after a refusal", given, SECOND, HOUR)?;
        Ok(self)
    }

    /// What follows after [so many](Config::with_refusals) refusals: with `None`, the default, the connection ends and
    /// says why; with a time, 1 s to 24 h, the device rests for so long and asks once more, again and again.
    ///
    /// # Errors
    /// [`ConfigError::Duration`] outside that range.
    pub fn with_rest_after_refusal(mut self, given: Option<Duration>) -> Result<Self, ConfigError> {
        self.rest_after_refusal = given.map(|rest| duration("rest after refusals", rest, SECOND, DAY)).transpose()?;
        Ok(self)
    }

    /// Seed of request ids and jitter, for tests that must repeat. Default: drawn from the operating system. Two
    /// processes with one seed use the same request ids.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A credential of an earlier onboarding: the device goes straight to its assigned broker, and onboards only when
    /// that refuses it. Default: none. One of another application, or whose broker does not offer the
    /// [assigned scheme](Config::with_assigned_scheme), is not used.
    pub fn with_resume(mut self, credential: Credential) -> Self {
        self.resume = Some(credential);
        self
    }

    /// Each broker must have the key of one of these, besides a certificate that is accepted: give the pins of both brokers,
    /// and of the keys that will replace theirs. Default none. Up to 64.
    ///
    /// Only a transport whose `capabilities()` have `spki_pins` can check them, and only over TLS; with any other, connecting fails at once, before anything is sent. Paho cannot.
    ///
    /// # Errors
    /// [`ConfigError::Number`] when there are more than 64.
    pub fn with_spki_pins(mut self, pins: impl IntoIterator<Item = SpkiPin>) -> Result<Self, ConfigError> {
        let pins: Vec<_> = pins.into_iter().collect();
        number("SPKI pins", pins.len(), 0, 64)?;
        self.spki_pins = pins;
        Ok(self)
    }

    /// Whether these settings can be carried out by a transport that checks SPKI pins, or by one that does not.
    ///
    /// # Errors
    /// [`ConfigError::PinsNotChecked`] and [`ConfigError::PinsWithoutTls`].
    pub fn check_pins(&self, transport_checks: bool) -> Result<(), ConfigError> {
        if self.spki_pins.is_empty() {
            return Ok(());
        }
        if !transport_checks {
            return Err(ConfigError::PinsNotChecked);
        }
        match [self.broker.scheme, self.assigned_scheme].into_iter().find(|scheme| !scheme.is_tls()) {
            Some(scheme) => Err(ConfigError::PinsWithoutTls(scheme)),
            None => Ok(()),
        }
    }

    /// How MQTT travels to the assigned broker. Default: as to the default broker. The port is the one that the
    /// onboarding answer names for this scheme.
    pub fn with_assigned_scheme(mut self, scheme: Scheme) -> Self {
        self.assigned_scheme = scheme;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ThingId, VendorThingId};

    fn config() -> Config {
        let identity = Identity::vendor_thing(VendorThingId::new("v1").expect("valid"), "thing-pw".into());
        let app = AppId::new("app").expect("valid");
        Config::new("mqtt://h".parse().expect("valid"), app, "the-key".into(), identity).expect("valid")
    }

    #[test]
    fn each_range_has_its_ends() {
        let second = Duration::from_secs(1);
        assert!(config().with_call_deadline(Duration::from_micros(999)).is_err());
        assert!(config().with_call_deadline(MILLISECOND).is_ok());
        assert!(config().with_detect_dead_peer(2 * second).is_err());
        assert!(config().with_max_in_flight(65_536).is_err());
        assert!(config().with_max_frame(255).is_err());
        assert!(config().with_quarantine(0).is_err());
        assert!(config().with_connect_attempts(0).is_err());
        assert_eq!(
            config().with_backoff(2 * second, second).expect_err("shortest above longest"),
            ConfigError::Duration { knob: "shortest back-off", given: 2 * second, min: MILLISECOND, max: second }
        );
    }

    #[test]
    fn an_app_key_that_no_connect_can_carry_is_refused() {
        let app = AppId::new("app").expect("valid");
        let identity = Identity::thing(ThingId::new("th.1").expect("valid"), "pw".into());
        let error = Config::new("mqtt://h".parse().expect("valid"), app, "a\0b".into(), identity).expect_err("NUL");
        assert_eq!(error, ConfigError::Text { knob: "app key", len: 3, max: 65_000 });
        assert!(!error.to_string().contains("a\0b"));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", config());
        assert!(!shown.contains("thing-pw") && !shown.contains("the-key"), "{shown}");
    }

    #[test]
    fn the_assigned_scheme_follows_the_default_broker() {
        assert_eq!(config().assigned_scheme(), Scheme::Mqtt);
        assert_eq!(config().with_assigned_scheme(Scheme::Wss).assigned_scheme(), Scheme::Wss);
    }
}
