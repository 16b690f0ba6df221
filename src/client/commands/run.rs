//! The loop: pushes in, one command at a time carried out, results reported beside it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::event::trace;
use super::queue::{Queue, Waiting};
use super::reports::{Ended, Report, Reports};
use super::service::{Failure, Listed, Missed, Service, clock};
use super::{Actuator, CommandEvent, Input, Inputs, Journal, ReceivedCommand, Rules, Unsettled};
use crate::client::causes::with_causes;
use crate::ids::CommandId;
use crate::thing_if::ActionResults;
use crate::transport::BoxFuture;

/// After so long what the service did not take or tell is tried again, if no connect comes first.
const AGAIN: Duration = Duration::from_secs(60);

/// Something under way; none of it is waited for by the others.
type Lane<T> = Option<BoxFuture<'static, T>>;

/// The end of what is under way; pending while nothing is. Cancel-safe.
pub(in crate::client) async fn end_of<T>(lane: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = lane else { return std::future::pending().await };
    let end = running.await;
    *lane = None;
    end
}

/// Who is told.
#[derive(Clone)]
pub(in crate::client) struct Events(Arc<dyn Fn(CommandEvent) + Send + Sync>);

impl Events {
    pub(in crate::client) fn to(tell: impl Fn(CommandEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    fn tell(&self, event: CommandEvent) {
        trace(&event);
        (self.0)(event);
    }
}

/// The commands of one thing.
pub(in crate::client) struct Run {
    service: Service,
    actuator: Arc<dyn Actuator>,
    journal: Arc<dyn Journal>,
    rules: Rules,
    events: Events,
    queue: Queue,
    running: Lane<(CommandId, Option<Report>)>,
    reports: Reports,
    reporting: Lane<(Report, Result<(), Failure>)>,
    /// The list of missed commands is to be asked for.
    is_behind: bool,
    /// It is to be asked for when those at hand are done: there was no room for all. What is pushed meanwhile comes later.
    dropped_some: bool,
    /// One has been carried out since the list was asked for.
    has_progressed: bool,
    listing: Lane<Result<Listed, Failure>>,
    list_failed: bool,
    again: Lane<()>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("waiting", &self.queue.len())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Run {
    pub(in crate::client) fn new(
        service: Service,
        actuator: Arc<dyn Actuator>,
        journal: Arc<dyn Journal>,
        rules: Rules,
        events: Events,
    ) -> Self {
        Self {
            service,
            actuator,
            journal,
            rules,
            events,
            queue: Queue::new(),
            running: None,
            reports: Reports::default(),
            reporting: None,
            // What was there before this began.
            is_behind: true,
            dropped_some: false,
            has_progressed: false,
            listing: None,
            list_failed: false,
            again: None,
        }
    }

    /// Carries commands out until there are no more inputs.
    pub(in crate::client) async fn until_the_end(mut self, mut inputs: impl Inputs) {
        self.recover().await;
        loop {
            self.proceed();
            let (_, own) = self.service.own();
            let held_until = self.queue.held_until(Instant::now());
            tokio::select! {
                input = inputs.next(&own) => match input {
                    Some(Input::Command(command, age)) => self.pushed(*command, age),
                    Some(Input::Behind) => self.is_behind = true,
                    Some(Input::Connected) => self.connected(),
                    None => break,
                },
                (command, report) = end_of(&mut self.running) => {
                    self.queue.ended(&command);
                    if let Some(report) = report {
                        self.has_progressed = true;
                        self.reports.push(report);
                    }
                }
                (report, result) = end_of(&mut self.reporting) => self.reported(report, result).await,
                listed = end_of(&mut self.listing) => self.listed(listed),
                () = end_of(&mut self.again) => self.try_again(),
                () = until(held_until) => {}
            }
        }
        if let Some(running) = self.running.take() {
            running.await;
        }
    }

    /// Takes up what an earlier run left.
    async fn recover(&mut self) {
        let unsettled = match self.journal.unsettled().await {
            Ok(unsettled) => unsettled,
            Err(error) => return tracing::error!(%error, "the journal of commands cannot be read"),
        };
        let rules = self.rules.clone();
        for Unsettled { command, results } in unsettled.into_iter().filter(|entry| rules.is_ours(entry)) {
            match results {
                Some(results) => self.reports.push(Report::of(&command, results)),
                None if self.rules.run_again => {
                    let age = u64::try_from(clock().saturating_sub(command.received_at)).unwrap_or(0);
                    self.wait(command, Duration::from_millis(age), true);
                }
                None => {
                    let results = command.failed("interrupted by a restart of the device");
                    self.events.tell(CommandEvent::Interrupted(command.command_id.clone()));
                    finish(self.journal.as_ref(), &command.command_id, &results).await;
                    self.reports.push(Report::of(&command, results));
                }
            }
        }
    }

    /// A command has arrived.
    fn pushed(&mut self, command: ReceivedCommand, age: Duration) {
        // One for which there was no room comes before it.
        if self.dropped_some && !self.queue.has(&command.command_id) {
            return self.events.tell(CommandEvent::Dropped(command.command_id));
        }
        self.wait(command, age, false);
        self.make_room();
    }

    /// Lets a command of this age wait for its turn, unless it is at hand or has been.
    fn wait(&mut self, command: ReceivedCommand, age: Duration, has_begun: bool) {
        if self.queue.has(&command.command_id) || self.reports.has(&command.command_id) {
            return;
        }
        let expires = Instant::now().checked_add(self.rules.max_age.saturating_sub(age));
        self.queue.push(command, expires, has_begun);
    }

    /// Drops those for which there is no room, the newest.
    fn make_room(&mut self) {
        for command in self.queue.truncate(self.rules.max_waiting) {
            self.dropped_some = true;
            self.events.tell(CommandEvent::Dropped(command));
        }
    }

    fn connected(&mut self) {
        self.is_behind = true;
        self.try_again();
    }

    fn try_again(&mut self) {
        self.again = None;
        self.reports.try_again();
        self.is_behind |= std::mem::take(&mut self.list_failed);
    }

    /// Begins what can begin.
    fn proceed(&mut self) {
        let now = Instant::now();
        if self.is_behind && self.listing.is_none() {
            self.queue.hold(now);
        }
        // Results that nobody takes hold commands up, rather than pile up.
        if self.running.is_none()
            && self.reports.len() < self.rules.max_waiting
            && let Some(next) = self.queue.begin(now)
        {
            let (journal, actuator, events) = (self.journal.clone(), self.actuator.clone(), self.events.clone());
            self.running = Some(Box::pin(carry_out(next, journal, actuator, events)));
        }
        if self.reporting.is_none()
            && let Some(report) = self.reports.begin()
        {
            let mut service = self.service.clone();
            self.reporting = Some(Box::pin(async move {
                let result = service.report(&report.thing, &report.command, report.results.clone()).await;
                (report, result)
            }));
        }
        if self.queue.len() == 0 && self.running.is_none() && std::mem::take(&mut self.dropped_some) {
            // A list of which nothing could be carried out would be the same the next time.
            let has_progressed = std::mem::take(&mut self.has_progressed);
            self.is_behind |= has_progressed;
            self.list_failed |= !has_progressed;
        }
        if self.listing.is_none() && std::mem::take(&mut self.is_behind) {
            self.queue.hold(now);
            let (mut service, limit) = (self.service.clone(), self.rules.max_missed);
            self.listing = Some(Box::pin(async move {
                let (_, own) = service.own();
                service.missed(&own, limit).await
            }));
        }
        if self.again.is_none() && (self.list_failed || self.reports.has_postponed()) {
            self.again = Some(Box::pin(sleep(AGAIN)));
        }
    }

    async fn reported(&mut self, report: Report, result: Result<(), Failure>) {
        let command = report.command.clone();
        let event = match self.reports.ended(report, result) {
            Ended::Taken => CommandEvent::Reported(command.clone()),
            Ended::Refused(status) => CommandEvent::ReportRefused(command.clone(), status),
            Ended::Impossible(failure) => CommandEvent::ReportImpossible(command.clone(), with_causes(&failure)),
            Ended::Postponed(failure) => {
                return self.events.tell(CommandEvent::ReportPostponed(command, with_causes(&failure)));
            }
        };
        if let Err(error) = self.journal.settle(&command).await {
            tracing::warn!(%error, %command, "the journal of commands cannot be written");
        }
        self.events.tell(event);
    }

    fn listed(&mut self, listed: Result<Listed, Failure>) {
        self.queue.release();
        match listed {
            Ok(Listed { missed, newest_first, more }) => {
                for Missed { command, age } in missed {
                    self.wait(command, age, false);
                }
                self.queue.order(&newest_first);
                self.make_room();
                if more {
                    self.events.tell(CommandEvent::TooManyMissed);
                }
            }
            Err(failure) => {
                self.list_failed = true;
                self.events.tell(CommandEvent::ListFailed(with_causes(&failure)));
            }
        }
    }
}

/// Pending without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Writes the command down, carries it out unless it is too old, and writes down what became of it.
async fn carry_out(
    Waiting { command, expires, has_begun, is_superseded }: Waiting,
    journal: Arc<dyn Journal>,
    actuator: Arc<dyn Actuator>,
    events: Events,
) -> (CommandId, Option<Report>) {
    let id = command.command_id.clone();
    if !has_begun {
        match journal.begin(&command).await {
            Ok(true) => {}
            Ok(false) => return (id, None),
            Err(error) => {
                // It might be carried out twice.
                events.tell(CommandEvent::NotJournalled(id.clone(), error.to_string()));
                let results = command.failed("the device cannot write its journal of commands");
                return (id, Some(Report::of(&command, results)));
            }
        }
    }
    let results = if is_superseded {
        events.tell(CommandEvent::Superseded(id.clone()));
        command.failed("the command reached the device after a newer one had been carried out")
    } else if expires.is_some_and(|time| time <= Instant::now()) {
        events.tell(CommandEvent::TooOld(id.clone()));
        command.failed("the command was too old when it reached the device")
    } else {
        events.tell(CommandEvent::Began(id.clone()));
        let results = guarded(actuator, &command).await;
        let succeeded = results.iter().all(|(_, result)| result.succeeded);
        events.tell(CommandEvent::Finished(id.clone(), succeeded));
        results
    };
    finish(journal.as_ref(), &id, &results).await;
    (id, Some(Report::of(&command, results)))
}

/// A panic of the program's own code is a failed command, not the end of all commands.
async fn guarded(actuator: Arc<dyn Actuator>, command: &Arc<ReceivedCommand>) -> ActionResults {
    let mut task = JoinSet::new();
    let running = command.clone();
    task.spawn(async move { actuator.carry_out(&running).await });
    match task.join_next().await {
        Some(Ok(results)) => results,
        Some(Err(_)) | None => command.failed("the device's program panicked"),
    }
}

async fn finish(journal: &dyn Journal, command: &CommandId, results: &ActionResults) {
    if let Err(error) = journal.finish(command, results).await {
        tracing::warn!(%error, %command, "the journal of commands cannot be written");
    }
}
