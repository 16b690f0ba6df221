//! What a trigger is made of: from a request to a row, and from a row to an answer.

use super::schedule::Schedule;
use crate::cloud::command::{NewCommand, len_in_list, stored};
use crate::cloud::failure::Failure;
use crate::cloud::store::triggers::Trigger as Row;
use crate::cloud::{Cloud, answer, clause};
use crate::ids::{ThingId, TriggerId};
use crate::thing_if::{ErrorCode, Predicate, Principal, Trigger, TriggerTarget};

/// A predicate that can be stored.
#[derive(Debug)]
pub(crate) struct NewPredicate {
    event_source: &'static str,
    json: String,
    due_at: Option<i64>,
}

impl NewPredicate {
    /// Checks `predicate`. A schedule that never comes takes some milliseconds to be found out.
    ///
    /// # Errors
    /// 400 WRONG_PREDICATE.
    pub(crate) fn new(predicate: &Predicate, now: i64) -> Result<Self, Failure> {
        if let Predicate::States { condition, .. } = predicate {
            clause::check(condition).map_err(wrong_predicate)?;
        }
        Ok(Self {
            event_source: match predicate {
                Predicate::States { .. } => "STATES",
                Predicate::Schedule { .. } => "SCHEDULE",
                Predicate::ScheduleOnce { .. } => "SCHEDULE_ONCE",
            },
            json: serde_json::to_string(predicate).map_err(Failure::internal)?,
            due_at: due_at(predicate, now)?,
        })
    }

    /// Makes it the predicate of `row`, which waits for it if it is enabled.
    pub(crate) fn apply(self, row: &mut Row) {
        self.event_source.clone_into(&mut row.event_source);
        row.predicate = self.json;
        row.due_at = self.due_at.filter(|_| !row.disabled);
    }
}

fn wrong_predicate(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::WrongPredicate, format!("The predicate is not one: {error}"))
}

/// When `predicate` comes next after `now`, if it is a schedule.
fn due_at(predicate: &Predicate, now: i64) -> Result<Option<i64>, Failure> {
    match predicate {
        Predicate::States { .. } => Ok(None),
        Predicate::Schedule { schedule } => Ok(Schedule::parse(schedule, now).map_err(wrong_predicate)?.after(now)),
        Predicate::ScheduleOnce { schedule_at } if *schedule_at <= now => {
            Err(wrong_predicate("`scheduleAt` has passed"))
        }
        Predicate::ScheduleOnce { schedule_at } => Ok(Some(*schedule_at)),
    }
}

/// A command or a server code that can be stored.
#[derive(Debug)]
pub(crate) struct NewTarget {
    command: Option<String>,
    server_code: Option<String>,
    /// Of a command: to whom, and in whose name.
    pub(crate) rights: Option<(ThingId, Principal)>,
}

impl NewTarget {
    /// Checks `target`, of a trigger of `thing`. The token of a server code is not kept: the code is never executed.
    ///
    /// # Errors
    /// 400 WRONG_TRIGGER when no push can carry the command, 404 TARGET_NOT_FOUND when it is for somebody who is no thing.
    pub(crate) fn new(
        cloud: &Cloud,
        id: &TriggerId,
        thing: &ThingId,
        target: TriggerTarget,
        now: i64,
    ) -> Result<Self, Failure> {
        match target {
            TriggerTarget::Command { mut command } => {
                let target = match command.target.take() {
                    None => thing.clone(),
                    Some(Principal::Thing(target)) => target,
                    Some(other) => return Err(Failure::target_not_found(&other.to_string())),
                };
                // As it will be when it fires.
                let example = cloud.new_command_id();
                let names_target = cloud.names_push_target();
                NewCommand::new(
                    ErrorCode::WrongTrigger,
                    &example,
                    &target,
                    command.to_request(),
                    Some(id),
                    names_target,
                    now,
                )?;
                command.target = Some(Principal::Thing(target.clone()));
                let json = serde_json::to_string(&command).map_err(Failure::internal)?;
                Ok(Self { command: Some(json), server_code: None, rights: Some((target, command.issuer)) })
            }
            TriggerTarget::ServerCode { mut server_code } => {
                server_code.executor_access_token = None;
                let json = serde_json::to_string(&server_code).map_err(Failure::internal)?;
                Ok(Self { command: None, server_code: Some(json), rights: None })
            }
        }
    }

    /// Makes it what `row` sets off.
    pub(crate) fn apply(self, row: &mut Row) {
        row.command = self.command;
        row.server_code = self.server_code;
    }
}

/// Switches `row` on. It begins with the state and the time as they are; what it missed, it missed.
///
/// # Errors
/// 400 WRONG_PREDICATE when its only time has passed.
pub(crate) fn switch_on(row: &mut Row, now: i64) -> Result<(), Failure> {
    if row.disabled {
        row.due_at = due_at(&stored(&row.predicate)?, now)?;
        row.disabled = false;
        row.disabled_reason = None;
        row.modified_at = now;
    }
    Ok(())
}

/// Switches `row` off; it was the service that did if there is a reason.
pub(crate) fn switch_off(row: &mut Row, reason: Option<&str>, now: i64) {
    if !row.disabled {
        row.disabled = true;
        row.disabled_reason = reason.map(str::to_owned);
        row.due_at = None;
        row.modified_at = now;
    }
}

/// A row as answers show it.
pub(crate) fn answered(row: &Row) -> Result<Trigger, Failure> {
    Ok(Trigger {
        trigger_id: TriggerId::new(&row.trigger_id).map_err(Failure::internal)?,
        predicate: stored(&row.predicate)?,
        disabled: row.disabled,
        disabled_reason: row.disabled_reason.clone(),
        command: row.command.as_deref().map(stored).transpose()?,
        server_code: row.server_code.as_deref().map(stored).transpose()?,
        title: row.title.clone(),
        description: row.description.clone(),
        metadata: row.metadata.as_deref().map(stored).transpose()?,
    })
}

/// Room in an answer for the reason why a trigger was switched off.
const REASON_LEN: usize = 512;

/// Checks that a page of an answer can show `row`.
///
/// # Errors
/// 400 WRONG_TRIGGER.
pub(crate) fn check_len(row: &Row) -> Result<(), Failure> {
    let (printed, max) = (len_in_list(&answered(row)?), answer::MAX_LEN - REASON_LEN);
    if printed > max {
        let message = format!("The trigger takes {printed} bytes in an answer, more than {max}");
        return Err(Failure::new(ErrorCode::WrongTrigger, message));
    }
    Ok(())
}
