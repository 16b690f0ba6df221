//! One schedule: a device's whole life between two brokers, a network and callers, none of which is kind.

mod brokers;
mod device;
mod network;
mod trouble;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use thingif::mqtt::{LinkErrorKind, Publish};
use thingif::proto::{CallId, Event, Instant, Lifecycle, LinkId, NotSent, RequestError};
use thingif::topic::TopicFilter;

use crate::book::Book;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::service::{self, Service};
use crate::tally::{Kind, Tally};
use crate::watch::Watch;

const SECOND: Duration = Duration::from_secs(1);
/// Far more than any schedule needs, unless it turns in circles.
const MAX_INPUTS: u64 = 60_000;
const HOUR: Duration = Duration::from_secs(3600);
/// After the last fault, so many calls are made until one is accepted.
const PROBES: usize = 8;
const PATHS: [&str; 3] = ["states", "commands", "triggers"];

/// Whether a schedule is told step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    Off,
    Print,
    Keep,
}

/// What is due at some time.
#[derive(Debug)]
enum Due {
    /// An event reaches the device, if its link still stands.
    ToDevice(Event),
    /// An event of a link that is long gone reaches the device all the same.
    Stale(Event),
    ToBroker(LinkId, Publish),
    /// What the store says; it needs no link.
    Stored(Event),
    /// From an ordinary broker, to whoever is subscribed by then.
    ToSubscriber(Publish),
    Subscribe(LinkId, TopicFilter),
    /// The link ends in the broker's eyes, and in the device's when it hears of it.
    End(LinkId, LinkErrorKind),
    Trouble(Fault),
    Submit(Wish),
    Cancel(CallId),
    Close,
    Calm,
}

/// What a caller is about to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// As the plan has it.
    Drawn,
    /// Nothing unusual.
    Plain,
}

/// A link as the network and the brokers see it.
#[derive(Debug)]
struct Link {
    /// `None` at the default broker.
    generation: Option<usize>,
    standing: Standing,
    /// Whether the broker takes what follows CONNECT.
    admitted: bool,
    filters: Vec<TopicFilter>,
    /// When the last message in each direction arrives: a connection keeps the order.
    last_to_broker: Instant,
    last_to_device: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Connecting,
    Open,
    /// Nothing passes any more, and nobody knows it yet.
    HalfOpen,
    Ended,
}

/// How the brokers are while they restart.
#[derive(Debug, Clone, Copy)]
enum Down {
    Refuses,
    Silent,
    Unavailable,
}

pub(crate) struct World {
    plan: Plan,
    lifecycle: Lifecycle,
    service: Service,
    book: Book,
    watch: Watch,
    rng: fastrand::Rng,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Due>,
    entries: u64,
    links: HashMap<LinkId, Link>,
    down: Option<(Instant, Down)>,
    /// Until when another device with this client id connects whenever this one does.
    rival_until: Instant,
    nonces: u32,
    tally: Tally,
    trace: Trace,
    kept: RefCell<Vec<String>>,
    was_closed: bool,
    last_resolved: Option<CallId>,
    /// The link that said that it had ended, before its end was reported.
    dying: Option<LinkId>,
    /// Calls that the service accepted, in the eyes of their callers.
    accepted: u64,
    messages: Vec<Event>,
    /// What the transport reports at once.
    not_taken: Vec<Event>,
    /// The deadline that the timer was set for, and when it goes off.
    timer: (Instant, Instant),
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::drawn(&mut rng, seed);
        let begins = if trace == Trace::Off { String::new() } else { format!("{plan:#?}") };
        let watch = Watch::new(&plan.config, plan.lateness);
        let mut world = Self {
            lifecycle: Lifecycle::new(Instant::ORIGIN, plan.config.clone(), seed),
            service: Service::new(),
            book: Book::default(),
            watch,
            rng,
            now: Instant::ORIGIN,
            agenda: BTreeMap::new(),
            entries: 0,
            links: HashMap::new(),
            down: None,
            rival_until: Instant::ORIGIN,
            nonces: 0,
            tally: Tally { schedules: 1, ..Tally::default() },
            trace,
            kept: RefCell::default(),
            was_closed: false,
            last_resolved: None,
            dying: None,
            accepted: 0,
            messages: Vec::new(),
            not_taken: Vec::new(),
            timer: (Instant::ORIGIN, Instant::ORIGIN),
            plan,
        };
        world.say(begins);
        world.note_resume();
        world.arrange();
        world.drain();
        world
    }

    fn note_resume(&mut self) {
        let Some(stored) = self.plan.config.resume() else { return };
        let fault = match self.service.generation(&stored.endpoint.username) {
            _ if stored.app_id != *self.plan.config.app_id() => Fault::ForeignCredential,
            service::STALE => Fault::StaleCredential,
            _ => return,
        };
        self.saw(fault);
    }

    /// Puts on the agenda what happens at times of its own.
    fn arrange(&mut self) {
        let faulty = self.plan.faulty_for;
        for (fault, most) in Fault::ALL {
            let timed = *most > 1.0 || matches!(fault, Fault::EndpointExpires);
            if timed && !matches!(fault, Fault::EndpointExpires) {
                let times = self.plan.rates.of(*fault).round() as usize;
                for _ in 0..times {
                    let when = faulty.mul_f64(self.rng.f64());
                    self.after(when, Due::Trouble(*fault));
                }
            }
        }
        let mut when = Duration::ZERO;
        for _ in 0..self.plan.calls {
            if !self.happens(Fault::Burst) {
                when = faulty.mul_f64(self.rng.f64());
            }
            self.after(when, Due::Submit(Wish::Drawn));
        }
        if let Some(when) = self.plan.close_at {
            self.saw(Fault::CloseEarly);
            self.after(when, Due::Close);
        }
        self.after(faulty, Due::Calm);
    }

    /// Lives it through, and checks the end. Gives what was kept of it, too.
    pub(crate) fn run(mut self) -> (Tally, Vec<String>) {
        while !self.is_calm() && self.watch.closed.is_none() {
            self.step(None);
        }
        if self.watch.closed.is_none() {
            self.recover();
        }
        if self.watch.closed.is_none() {
            self.finish();
        }
        self.check_end();
        (self.tally, self.kept.into_inner())
    }

    fn is_calm(&self) -> bool {
        self.now >= Instant::ORIGIN + self.plan.faulty_for
    }

    /// The faults have ceased: it must become ready, and calls must be answered.
    fn recover(&mut self) {
        self.notice_silence();
        for _ in 0..PROBES {
            let since = self.now;
            // It may grow: a fault may have become known to the device only after the last one.
            while !self.watch.ready && self.watch.closed.is_none() && self.now < since + self.bound() {
                self.step(Some(since + self.bound()));
            }
            if self.watch.closed.is_some() {
                return;
            }
            assert!(self.watch.ready, "not ready {:?} after the last fault: {:?}", self.bound(), self.lifecycle);
            // A token that was revoked, or a thing that was deleted, is noticed by a call.
            let before = self.accepted;
            self.submit(Wish::Plain);
            let by = self.now + self.plan.config.call_deadline() + self.plan.lateness;
            while self.book.open() > 0 && self.now <= by {
                self.step(Some(by + Duration::from_millis(1)));
            }
            if self.accepted > before && self.watch.ready {
                return;
            }
            // To a peer that omits ids nothing may be sent before what is owed can no longer come; and the service is
            // not asked more than once a minute whether it still knows the token.
            let by = self.now + self.plan.config.late_answer_window().max(61 * SECOND);
            while self.now < by && self.watch.closed.is_none() {
                self.step(Some(by));
            }
        }
        panic!("{PROBES} calls after the last fault and none was accepted: {:?}", self.lifecycle);
    }

    /// What nobody has noticed yet is a fault that has not ceased. A transport that notices nothing leaves it to calls.
    fn notice_silence(&mut self) {
        let config = &self.plan.config;
        let patience = HOUR.max(2 * config.detect_dead_peer()) + 3 * (config.call_deadline() + self.plan.lateness);
        let (deadline, latest) = (config.call_deadline() + self.plan.lateness, self.now + patience);
        let is_silent = |world: &Self| {
            let link = world.watch.link();
            world.watch.closed.is_none() && link.is_some_and(|link| world.links[&link].standing == Standing::HalfOpen)
        };
        while is_silent(self) {
            assert!(self.now < latest, "never noticed: {:?}", self.lifecycle);
            self.submit(Wish::Plain);
            let by = self.now + deadline;
            while is_silent(self) && self.now < by {
                self.step(Some(by));
            }
        }
    }

    /// The longest that recovery may take: every attempt that it needs, and every hold-off that is legitimate.
    fn bound(&self) -> Duration {
        let config = &self.plan.config;
        let attempt = 2 * config.connect_timeout() + 2 * config.call_deadline() + config.backoff_max() + SECOND;
        let attempts = u32::try_from(config.reonboard_after()).expect("a small number") + 5;
        let (_, window) = config.onboarding_budget();
        let rest = config.rest_after_refusal().unwrap_or_default();
        let seen = |name| self.tally.count(Kind::Notice, name).times > 0;
        // A contested client identifier, and a refusal for good while the old credential is tried, are rested on.
        let contested = if seen("DuplicateClientId") { HOUR } else { Duration::ZERO };
        let refused = if seen("OnboardingHeldOff") { HOUR } else { Duration::ZERO };
        attempts * attempt + window + rest + contested + refused
    }

    /// Waits until nothing is left, and closes.
    fn finish(&mut self) {
        let by = self.now + 3 * self.plan.config.late_answer_window() + self.plan.config.call_deadline();
        while self.watch.closed.is_none() && !self.lifecycle.is_idle() && self.now < by {
            self.step(Some(by));
        }
        if self.watch.closed.is_none() {
            assert!(self.lifecycle.is_idle(), "not idle: {:?}", self.lifecycle);
            self.close();
        }
    }

    fn check_end(&mut self) {
        assert!(self.lifecycle.is_closed() && self.lifecycle.is_idle(), "{:?}", self.lifecycle);
        assert_eq!(self.lifecycle.next_deadline(), None, "a deadline after the end");
        self.book.check_closed();
        let closed = self.watch.closed.clone().expect("it has ended");
        match closed {
            None => {
                assert!(self.was_closed, "nobody closed it");
                self.tally.saw(Kind::End, &if self.plan.close_at.is_some() { End::ClosedEarly } else { End::Closed });
            }
            Some(cause) => {
                self.watch.check_gave_up(&cause, &self.plan.config);
                self.tally.saw(Kind::End, &End::GaveUp);
            }
        }
        // What is still on its way finds nobody, and a call is refused.
        for event in std::mem::take(&mut self.messages) {
            self.lifecycle.handle_event(self.now, event);
        }
        let late = self.submit_late();
        assert_eq!(late, Err(RequestError::NotSent(NotSent::Closed)));
        self.lifecycle.close(self.now);
        self.lifecycle.handle_timeout(self.now + SECOND);
        assert!(self.lifecycle.poll_action().is_none(), "it does something after its end");
        self.tally.calls = self.book.len() as u64;
    }

    /// Lets the next thing happen, or time pass until `by`.
    fn step(&mut self, by: Option<Instant>) {
        let due = self.agenda.first_key_value().map(|((due, _), _)| *due);
        let timer = self.timer();
        let Some(next) = due.into_iter().chain(timer).min() else {
            self.now = by.expect("there is always something to do before calm");
            return;
        };
        if let Some(by) = by.filter(|by| *by < next) {
            self.now = by;
            return;
        }
        self.now = self.now.max(next);
        let timer_first = timer == Some(next) && (due != Some(next) || self.rng.bool());
        if timer_first {
            let was_due = self.lifecycle.next_deadline().is_some_and(|deadline| deadline < self.now);
            if was_due {
                self.saw(Fault::LateTimer);
            }
            self.timeout();
        } else if let Some((_, due)) = self.agenda.pop_first() {
            self.happen(due);
        }
    }

    /// When the device's machine notices its next deadline: at most so much too late as the plan says.
    fn timer(&mut self) -> Option<Instant> {
        let deadline = self.lifecycle.next_deadline()?;
        let late = self.plan.lateness > Duration::ZERO && !self.is_calm();
        let (known, fires) = self.timer;
        if known != deadline {
            let lateness = if late { self.plan.lateness.mul_f64(self.rng.f64()) } else { Duration::ZERO };
            self.timer = (deadline, deadline + lateness);
            return Some(self.timer.1.max(self.now));
        }
        Some(fires.max(self.now))
    }

    fn timeout(&mut self) {
        self.count_input();
        self.tell(|| "timeout".to_owned());
        self.lifecycle.handle_timeout(self.now);
        self.drain();
        let next = self.lifecycle.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "still due after handle_timeout: {next:?} at {:?}", self.now);
    }

    fn count_input(&mut self) {
        self.tally.inputs += 1;
        assert!(self.tally.inputs < MAX_INPUTS, "it never comes to rest");
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace != Trace::Off {
            self.say(format!("{:>12.6}  {}", self.now.since_origin().as_secs_f64(), what()));
        }
    }

    fn say(&self, line: String) {
        match self.trace {
            Trace::Off => {}
            Trace::Print => println!("{line}"),
            Trace::Keep => self.kept.borrow_mut().push(line),
        }
    }

    fn saw(&mut self, fault: Fault) {
        self.tally.saw(Kind::Fault, &fault);
        self.tell(|| format!("! {fault:?}"));
    }

    fn happens(&mut self, fault: Fault) -> bool {
        let happens = self.rng.chance(self.plan.rates.of(fault));
        if happens {
            self.saw(fault);
        }
        happens
    }

    fn after(&mut self, later: Duration, due: Due) {
        self.at(self.now + later, due);
    }

    fn at(&mut self, when: Instant, due: Due) {
        self.entries += 1;
        self.agenda.insert((when, self.entries), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::ToDevice(event) => self.deliver(event),
            Due::Stale(event) | Due::Stored(event) => self.feed(event),
            Due::ToBroker(link, publish) => self.arrive(link, publish),
            Due::ToSubscriber(publish) => self.deliver_to_subscriber(publish),
            Due::Subscribe(link, filter) => self.subscribe(link, filter),
            Due::End(link, kind) => self.end(link, kind),
            Due::Trouble(fault) => self.trouble(fault),
            Due::Submit(wish) => self.submit(wish),
            Due::Cancel(call) => self.cancel(call),
            Due::Close => self.close(),
            Due::Calm => {
                self.tell(|| "the faults cease".to_owned());
                self.plan.rates.cease();
                self.down = None;
                self.rival_until = self.now;
            }
        }
    }
}

/// How a schedule ended.
#[derive(Debug)]
enum End {
    Closed,
    ClosedEarly,
    GaveUp,
}

trait Chance {
    fn chance(&mut self, rate: f64) -> bool;
}

impl Chance for fastrand::Rng {
    fn chance(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.f64() < rate
    }
}
