//! What a run has found.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::scenario::End;

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Verdict {
    /// Everything that was promised was seen.
    Passed,
    /// Something was not.
    Failed(Failure),
    /// It could not be played here.
    Skipped {
        /// What is missing.
        because: String,
    },
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its number, from 1; inside a part or a repetition with those of the steps around it, such as `2.3`; 0 before
    /// the first, `end` after the last.
    pub step: String,
    /// What it shows.
    pub says: String,
    /// The section of [`wire`](crate::wire) that says so.
    pub wire: String,
    /// What was waited for.
    pub expected: String,
    /// What came instead.
    pub came: String,
}

/// A scenario and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub scenario: String,
    /// What it grades.
    pub about: String,
    /// Faults it is there to catch.
    pub catches: Vec<String>,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

impl Outcome {
    /// Whether something that was promised was not seen.
    pub fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

/// The outcomes as JUnit's XML, one test case a scenario.
///
/// # Errors
/// Text that XML cannot hold.
pub fn to_junit(end: End, outcomes: &[Outcome]) -> Result<String, quick_junit::SerializeError> {
    let name = match end {
        End::Client => "thingif conformance client",
        End::Server => "thingif conformance server",
    };
    let mut suite = TestSuite::new(name);
    for outcome in outcomes {
        let status = match &outcome.verdict {
            Verdict::Passed => TestCaseStatus::success(),
            Verdict::Skipped { because } => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(because.as_str());
                status
            }
            Verdict::Failed(failure) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(format!("wire {}", failure.wire)).set_message(failure.says.as_str());
                status.set_description(failure.to_string());
                status
            }
        };
        let mut case = TestCase::new(outcome.scenario.as_str(), status);
        case.set_classname(name).set_time(Duration::from_millis(outcome.ms));
        suite.add_test_case(case);
    }
    let mut report = Report::new(name);
    report.add_test_suite(suite);
    report.to_string()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, says, wire, expected, came } = self;
        write!(f, "step {step}: {says} (wire {wire})\nexpected: {expected}\ncame: {came}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_has_a_case_for_each_scenario() {
        let failure = Failure {
            step: String::from("2.3"),
            says: String::from("ids <differ>"),
            wire: String::from("§8"),
            expected: String::from("a & b"),
            came: String::from("nothing"),
        };
        let outcome = |scenario: &str, verdict| Outcome {
            scenario: scenario.to_owned(),
            about: String::new(),
            catches: Vec::new(),
            verdict,
            ms: 7,
        };
        let outcomes = [
            outcome("one", Verdict::Passed),
            outcome("two", Verdict::Failed(failure)),
            outcome("three", Verdict::Skipped { because: String::from("no second app") }),
        ];
        let xml = to_junit(End::Client, &outcomes).expect("valid");
        assert!(xml.contains(r#"tests="3""#) && xml.contains(r#"failures="1""#), "{xml}");
        assert!(xml.contains("ids &lt;differ&gt;") && xml.contains("a &amp; b") && xml.contains("<skipped"), "{xml}");
        assert!(xml.contains(r#"time="0.007""#), "{xml}");
    }

    #[test]
    fn junit_is_well_formed_whatever_a_subject_has_said() {
        // Of these XML 1.0 has only tab, line feed and carriage return (§2.2).
        let hostile: String = (0..0x20).chain([0x7f, 0x85, 0xfffe, 0xffff]).filter_map(char::from_u32).collect();
        let hostile = format!("before{hostile}\x1b[31mred\x1b[0m ]]> <!-- & \" ' after");
        let failure = Failure {
            step: hostile.clone(),
            says: hostile.clone(),
            wire: hostile.clone(),
            expected: hostile.clone(),
            came: hostile.clone(),
        };
        let verdicts = [Verdict::Failed(failure), Verdict::Skipped { because: hostile.clone() }, Verdict::Passed];
        let outcomes = verdicts.map(|verdict| Outcome {
            scenario: hostile.clone(),
            about: hostile.clone(),
            catches: vec![hostile.clone()],
            verdict,
            ms: 1,
        });
        let xml = to_junit(End::Server, &outcomes).expect("written");
        let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        let wrong: Vec<char> = xml.chars().filter(|c| !is_char(*c)).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {xml}");
        let read = Report::deserialize_from_str(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
        assert_eq!((read.tests, read.failures), (3, 1));
        let cases = &read.test_suites[0].test_cases;
        assert_eq!(cases.len(), 3);
        let TestCaseStatus::NonSuccess { message: Some(message), description: Some(description), .. } =
            &cases[0].status
        else {
            panic!("{:?}", cases[0].status)
        };
        for text in [message, description] {
            assert!(text.contains("before") && text.contains("]]> <!-- & \" ' after"), "{text:?}");
        }
    }
}
