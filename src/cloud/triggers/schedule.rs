//! Cron expressions: five fields, in UTC. (`wire` §5, §8)

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The longest expression, in bytes.
const MAX_LEN: usize = 200;

/// The last value of each field: minute, hour, day of month, month, day of week.
const LAST: [u8; 5] = [59, 23, 31, 12, 6];

/// A cron expression that comes round again.
#[derive(Debug, Clone)]
pub(crate) struct Schedule(Cron);

/// Why an expression is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSchedule {
    #[error("`schedule` is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("`schedule` is no cron expression of five fields: minute, hour, day of month, month, day of week")]
    Syntax,
    #[error("`schedule` names a time that never comes")]
    Never,
}

impl Schedule {
    /// Reads an expression. Beside what UNIX has, `a/n` is every `n`th from `a` on, as Kii's documentation uses it.
    ///
    /// # Errors
    /// Also when no time after `now`, in milliseconds, is one of the schedule; to find that out takes some milliseconds.
    pub(crate) fn parse(text: &str, now: i64) -> Result<Self, InvalidSchedule> {
        if text.len() > MAX_LEN {
            return Err(InvalidSchedule::TooLong);
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let schedule = parser.parse(&open_steps(text)).map(Self).map_err(|_| InvalidSchedule::Syntax)?;
        if schedule.after(now).is_none() { Err(InvalidSchedule::Never) } else { Ok(schedule) }
    }

    /// The first time of the schedule after `now`; both in milliseconds since 1970.
    pub(crate) fn after(&self, now: i64) -> Option<i64> {
        let now = DateTime::<Utc>::from_timestamp_millis(now)?;
        Some(self.0.find_next_occurrence(&now, false).ok()?.timestamp_millis())
    }
}

/// Writes `a/n` as `a-{last}/n`, which is how the parser knows it.
fn open_steps(text: &str) -> String {
    let fields = text.split_ascii_whitespace().enumerate().map(|(place, field)| {
        let parts = field.split(',').map(|part| match (part.split_once('/'), LAST.get(place)) {
            (Some((first, step)), Some(last)) if is_number(first) => format!("{first}-{last}/{step}"),
            _ => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join(",")
    });
    fields.collect::<Vec<_>>().join(" ")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Tuesday, 2023-11-14 22:13:20.5 UTC.
    const NOW: i64 = 1_700_000_000_500;

    fn next(text: &str) -> String {
        let schedule = Schedule::parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}"));
        let next = schedule.after(NOW).expect("there is one");
        DateTime::<Utc>::from_timestamp_millis(next).expect("a time").to_string()
    }

    #[test]
    fn expressions_mean_what_unix_and_kii_say() {
        for (text, expected) in [
            ("* * * * *", "2023-11-14 22:14:00"),
            ("1 * * * *", "2023-11-14 23:01:00"),
            ("00 12 1 * *", "2023-12-01 12:00:00"),
            ("0/10 * * * *", "2023-11-14 22:20:00"),
            ("15/20 * * * *", "2023-11-14 22:15:00"),
            ("*/10 * * * *", "2023-11-14 22:20:00"),
            ("0 0/2 * * *", "2023-11-15 00:00:00"),
            ("0 5 * * MON-FRI", "2023-11-15 05:00:00"),
            ("0 5 * * mon,sun", "2023-11-19 05:00:00"),
            ("0 0 * * 0", "2023-11-19 00:00:00"),
            ("0 0 * * 7", "2023-11-19 00:00:00"),
            // Either, where both days are named.
            ("0 0 13 * 5", "2023-11-17 00:00:00"),
            ("0 0 29 2 *", "2024-02-29 00:00:00"),
            (" 30  22 14 NOV * ", "2023-11-14 22:30:00"),
        ] {
            assert_eq!(next(text), format!("{expected} UTC"), "{text}");
        }
    }

    #[test]
    fn a_time_of_the_schedule_is_not_after_itself() {
        let schedule = Schedule::parse("* * * * *", NOW).expect("valid");
        let first = schedule.after(NOW).expect("one");
        assert_eq!(schedule.after(first), Some(first + 60_000));
        assert_eq!(schedule.after(first - 1), Some(first));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let long = "0,".repeat(200);
        for (text, expected) in [
            ("", InvalidSchedule::Syntax),
            ("*", InvalidSchedule::Syntax),
            ("* * * *", InvalidSchedule::Syntax),
            ("0 * * * * *", InvalidSchedule::Syntax),
            ("60 * * * *", InvalidSchedule::Syntax),
            ("5-1 * * * *", InvalidSchedule::Syntax),
            ("0/0 * * * *", InvalidSchedule::Syntax),
            ("/5 * * * *", InvalidSchedule::Syntax),
            ("99999999999999999999/1 * * * *", InvalidSchedule::Syntax),
            ("a b c d e", InvalidSchedule::Syntax),
            ("0 0 30 2 *", InvalidSchedule::Never),
            (long.as_str(), InvalidSchedule::TooLong),
        ] {
            assert_eq!(Schedule::parse(text, NOW).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        use proptest::prelude::*;
        proptest!(|(text in "[0-9*/,LW#?@A-Za-z -]{0,30}", now in 0_i64..4_000_000_000_000)| {
            if let Ok(schedule) = Schedule::parse(&text, now) {
                let next = schedule.after(now).expect("checked");
                prop_assert!(next > now && next % 60_000 == 0);
            }
        });
    }
}
