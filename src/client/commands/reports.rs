//! Results on their way to the service.

use std::collections::VecDeque;

use http::StatusCode;

use super::ReceivedCommand;
use super::service::Failure;
use crate::client::RequestError;
use crate::ids::{CommandId, ThingId};
use crate::proto::NotSent;
use crate::thing_if::ActionResults;

/// So often a report may be answered with 401 or 403, a minute and more apart, before it is given up: the token was
/// replaced long ago if it could be.
const FORBIDDEN: u32 = 10;
/// Commands whose report was refused are remembered up to this many: the list goes on to show them.
const REMEMBERED: usize = 1024;

/// Results that the service does not have yet.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) thing: ThingId,
    pub(super) command: CommandId,
    pub(super) results: ActionResults,
    /// How often it was answered with 401 or 403.
    forbidden: u32,
    is_without_data: bool,
}

impl Report {
    pub(super) fn of(command: &ReceivedCommand, results: ActionResults) -> Self {
        let (thing, command) = (command.thing_id.clone(), command.command_id.clone());
        Self { thing, command, results, forbidden: 0, is_without_data: false }
    }
}

/// What became of one attempt.
#[derive(Debug)]
pub(super) enum Ended {
    /// The service has it.
    Taken,
    /// It will never take it.
    Refused(StatusCode),
    /// It cannot be sent.
    Impossible(Failure),
    /// It is tried again.
    Postponed(Failure),
}

/// Reports by what is to be done with them.
#[derive(Debug, Default)]
pub(super) struct Reports {
    next: VecDeque<Report>,
    sending: Option<CommandId>,
    postponed: Vec<Report>,
    refused: VecDeque<CommandId>,
}

impl Reports {
    pub(super) fn push(&mut self, report: Report) {
        self.next.push_back(report);
    }

    /// How many the service has yet to take.
    pub(super) fn len(&self) -> usize {
        self.next.len() + self.postponed.len() + usize::from(self.sending.is_some())
    }

    /// Whether there are results of this command, which the service does not have or does not want.
    pub(super) fn has(&self, command: &CommandId) -> bool {
        let mut waiting = self.next.iter().chain(&self.postponed).map(|report| &report.command);
        waiting.any(|waiting| waiting == command)
            || self.sending.as_ref() == Some(command)
            || self.refused.contains(command)
    }

    pub(super) fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// The next one to be sent, while none is.
    pub(super) fn begin(&mut self) -> Option<Report> {
        if self.sending.is_some() {
            return None;
        }
        let report = self.next.pop_front()?;
        self.sending = Some(report.command.clone());
        Some(report)
    }

    /// Those that were postponed are tried again.
    pub(super) fn try_again(&mut self) {
        self.next.extend(self.postponed.drain(..));
    }

    /// The attempt to send `report` has ended.
    pub(super) fn ended(&mut self, mut report: Report, result: Result<(), Failure>) -> Ended {
        self.sending = None;
        let failure = match result {
            Ok(()) => return Ended::Taken,
            Err(failure) => failure,
        };
        match &failure {
            Failure::Status(status) if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(status) => {
                report.forbidden += 1;
                if report.forbidden >= FORBIDDEN {
                    return self.give_up(report, Ended::Refused(*status));
                }
            }
            Failure::Status(status) if is_final(*status) => return self.give_up(report, Ended::Refused(*status)),
            Failure::NoAnswer(RequestError::NotSent(
                NotSent::TooLarge { .. } | NotSent::InvalidPath(_) | NotSent::InvalidFrame(_),
            )) => {
                if report.is_without_data {
                    return self.give_up(report, Ended::Impossible(failure));
                }
                // What an action gave back may be too much for a frame; whether it succeeded is not.
                report.results = report.results.without_data();
                report.is_without_data = true;
                self.next.push_front(report);
                return Ended::Postponed(failure);
            }
            _ => {}
        }
        self.postponed.push(report);
        Ended::Postponed(failure)
    }

    fn give_up(&mut self, report: Report, why: Ended) -> Ended {
        if self.refused.len() == REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back(report.command);
        why
    }
}

/// Whether the service will never want these results. A service in trouble recovers.
fn is_final(status: StatusCode) -> bool {
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !may_pass.contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thing_if::{ActionResult, CommandPush};

    fn report(data: &str) -> Report {
        let push = CommandPush::from_json(br#"{"commandID":"c","actions":[{"a":{}}]}"#).expect("a command");
        let command = ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), 0);
        let results = ActionResults::of(&command.actions, |_, action| {
            let mut result = ActionResult::succeeded(&action.name);
            result.data = Some(data.into());
            result
        });
        Report::of(&command, results)
    }

    fn attempt(reports: &mut Reports, failure: Failure) -> Ended {
        reports.try_again();
        let report = reports.begin().expect("one is to be sent");
        assert!(reports.has(&report.command) && reports.begin().is_none());
        reports.ended(report, Err(failure))
    }

    #[test]
    fn one_that_is_forbidden_for_ever_has_an_end() {
        let mut reports = Reports::default();
        reports.push(report("x"));
        for _ in 1..FORBIDDEN {
            let ended = attempt(&mut reports, Failure::Status(StatusCode::FORBIDDEN));
            assert!(matches!(ended, Ended::Postponed(_)), "{ended:?}");
            let ended = attempt(&mut reports, Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
            assert!(matches!(ended, Ended::Postponed(_)), "{ended:?}");
        }
        let ended = attempt(&mut reports, Failure::Status(StatusCode::FORBIDDEN));
        assert!(matches!(ended, Ended::Refused(StatusCode::FORBIDDEN)), "{ended:?}");
        assert_eq!(reports.len(), 0);
        assert!(reports.has(&CommandId::new("c").expect("valid")), "it is not run again when the list shows it");
    }

    #[test]
    fn one_that_is_too_large_is_sent_without_its_data() {
        let mut reports = Reports::default();
        reports.push(report("x"));
        let too_large = || Failure::NoAnswer(RequestError::NotSent(NotSent::TooLarge { len: 2, max: 1 }));
        assert!(matches!(attempt(&mut reports, too_large()), Ended::Postponed(_)));
        let smaller = reports.begin().expect("at once");
        assert!(smaller.results.iter().all(|(_, result)| result.data.is_none() && result.succeeded));
        assert!(matches!(reports.ended(smaller, Err(too_large())), Ended::Impossible(_)));
    }
}
