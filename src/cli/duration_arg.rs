//! Times on the command line: seconds, as curl takes them, with a fraction if need be.

use std::time::Duration;

/// A time of at least a millisecond and at most a day.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(time))
        .ok_or_else(|| String::from("expected seconds from 0.001 to 86400"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "-1", "x", "1s", "inf", "NaN", "86401", "1e300"] {
            seconds(text).expect_err(text);
        }
    }
}
