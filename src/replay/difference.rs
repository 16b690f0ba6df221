//! Where a replay is no longer like the recording.

use std::fmt;

use crate::mqtt::Publish;
use crate::secret::Redacted;

/// The first difference between a capture and what happens in its replay. Shown with both sides next to each other, without
/// secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The line of the capture.
    pub line: usize,
    /// The connection's number in the capture.
    pub link: u64,
    /// What differs.
    pub what: String,
    /// What was recorded, line by line.
    pub recorded: Vec<String>,
    /// What is there instead.
    pub seen: Vec<String>,
}

/// Characters of one side.
const WIDTH: usize = 58;

/// Lines that are shown before the first one that differs, and of it and after it.
const BEFORE: usize = 12;
const AFTER: usize = 12;

pub(super) fn lines_of(publish: &Publish) -> Vec<String> {
    let topic = format!("on {}", Redacted::new(publish.topic.as_str()));
    let payload = Redacted::new(&publish.payload).to_string();
    std::iter::once(topic).chain(payload.split('\n').map(str::to_owned)).collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first difference: line {} of the capture, link {}: {}", self.line, self.link, self.what)?;
        writeln!(f, "    {:WIDTH$} │ this time", "recorded")?;
        let rows = self.recorded.len().max(self.seen.len());
        let row = |side: &[String], at: usize| side.get(at).cloned().unwrap_or_default();
        let first = (0..rows).find(|at| self.recorded.get(*at) != self.seen.get(*at)).unwrap_or(0);
        let shown = first.saturating_sub(BEFORE)..rows.min(first + AFTER);
        if shown.start > 0 {
            writeln!(f, "    … {} lines that are the same", shown.start)?;
        }
        for at in shown.clone() {
            let (mut left, mut right) = (row(&self.recorded, at), row(&self.seen, at));
            let mark = if self.recorded.get(at) == self.seen.get(at) { ' ' } else { '≠' };
            loop {
                let (ours, theirs) = (cut(&mut left), cut(&mut right));
                writeln!(f, "  {mark} {ours:WIDTH$} │ {theirs}")?;
                if left.is_empty() && right.is_empty() {
                    break;
                }
            }
        }
        if shown.end < rows {
            writeln!(f, "    … {} more lines", rows - shown.end)?;
        }
        Ok(())
    }
}

/// Takes what fits into one line.
fn cut(text: &mut String) -> String {
    let end = text.char_indices().nth(WIDTH).map_or(text.len(), |(at, _)| at);
    let rest = text.split_off(end);
    std::mem::replace(text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_next_to_each_other() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let difference = Difference {
            line: 7,
            link: 2,
            what: "status".into(),
            recorded: lines("on p/x\n204"),
            seen: lines(&format!("on p/x\n404\n{}", "y".repeat(WIDTH + 2))),
        };
        let shown = difference.to_string();
        let blank = " ".repeat(WIDTH);
        let expected = [
            String::from("first difference: line 7 of the capture, link 2: status"),
            format!("    {:WIDTH$} │ this time", "recorded"),
            format!("    {:WIDTH$} │ on p/x", "on p/x"),
            format!("  ≠ {:WIDTH$} │ 404", "204"),
            format!("  ≠ {blank} │ {}", "y".repeat(WIDTH)),
            format!("  ≠ {blank} │ yy"),
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }
}
