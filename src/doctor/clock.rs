//! This machine's clock against the service's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use super::probe::{Fault, Finding};

/// Nobody minds less: the field itself counts whole seconds.
const FINE: Duration = Duration::from_secs(10);

/// More makes states and commands look older or newer than they are, and triggers and tokens end at the wrong time.
const BAD: Duration = Duration::from_secs(300);

/// What a `Date` field says, and when it was asked for and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    theirs: SystemTime,
    sent: SystemTime,
    heard: SystemTime,
}

/// The `Date` of an answer. (`wire` §2.1)
pub(super) fn reading(headers: &HeaderMap, sent: SystemTime, heard: SystemTime) -> Option<Reading> {
    let theirs = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(Reading { theirs, sent, heard })
}

/// How far this machine is from the service: ahead or behind. Zero if both can be right.
fn offset(reading: Reading) -> (bool, Duration) {
    // The field was written at some time between, and is rounded down to a second.
    let latest = reading.theirs + Duration::from_secs(1);
    match (reading.sent.duration_since(latest), reading.theirs.duration_since(reading.heard)) {
        (Ok(ahead), _) => (true, ahead),
        (_, Ok(behind)) if !behind.is_zero() => (false, behind),
        _ => (true, Duration::ZERO),
    }
}

/// What the answers, and the certificates, say of the clock.
pub(super) fn judge(readings: &[Reading], doubt: Option<&str>) -> Finding {
    let remedy = "Set the clock (NTP, or the real-time clock and its battery). If this machine's is right, the broker's is wrong: \
                  tell its operator.";
    let Some(last) = readings.last() else {
        return match doubt {
            Some(doubt) => Finding::warning(doubt, remedy),
            None => Finding::skipped("no answer had a Date to compare with"),
        };
    };
    let (ahead, off) = offset(*last);
    let said = format!("this machine is {} {} the service", spell(off), if ahead { "ahead of" } else { "behind" });
    if off <= FINE {
        Finding::ok(format!("within {} s of the service's", off.as_secs().max(1)))
    } else if off <= BAD {
        Finding::warning(said, remedy)
    } else {
        Finding::failed(Fault::Other, said, remedy)
    }
}

/// In the largest unit of which there are two.
fn spell(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::probe::Verdict;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_that_an_answer_takes_is_nobodys_fault() {
        for (theirs, sent, heard, expected) in [
            (1000, 1000, 1000, (true, 0)),
            (1000, 990, 1010, (true, 0)),
            (1000, 1001, 1001, (true, 0)),
            (1000, 1100, 1103, (true, 99)),
            (1000, 900, 903, (false, 97)),
        ] {
            let (ahead, off) = offset(Reading { theirs: at(theirs), sent: at(sent), heard: at(heard) });
            assert_eq!((ahead, off.as_secs()), expected, "{theirs} {sent} {heard}");
        }
    }

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let judged = |sent| judge(&[Reading { theirs: at(1_000_000), sent: at(sent), heard: at(sent) }], None);
        assert_eq!(judged(1_000_005).verdict, Verdict::Ok);
        assert_eq!(judged(1_000_121).said, "this machine is 2 min ahead of the service");
        assert_eq!(judged(1_000_121).verdict, Verdict::Warning);
        assert_eq!(judged(0).said, "this machine is 11 days behind the service");
        assert_eq!(judged(0).verdict, Verdict::Failed(Fault::Other));
        assert_eq!(judge(&[], None).verdict, Verdict::Skipped);
        assert_eq!(judge(&[], Some("the certificate is of tomorrow")).verdict, Verdict::Warning);
    }

    #[test]
    fn a_date_is_read_as_http_writes_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(reading(&headers, at(0), at(1)), None);
        headers.insert(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("a value"));
        let read = reading(&headers, at(0), at(1)).expect("a date");
        assert_eq!(read.theirs, at(784_111_777));
    }
}
