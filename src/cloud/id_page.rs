//! Lists of things in pages, in the order of their ids. (`wire` §5)

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::call::Call;
use super::command::len_in_list;
use super::failure::Failure;
use super::{answer, page};
use crate::ids::ThingId;

/// The part of a list that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdPage {
    /// From 1 to 200.
    pub(crate) limit: i64,
    /// The id of the last row of the page before; empty before the first.
    pub(crate) after: String,
}

impl IdPage {
    /// As the query says it: `bestEffortLimit`, and `paginationKey`, which one client sends under the name that it came
    /// with.
    ///
    /// # Errors
    /// 400 for a limit that is no number above 0, and for a key that was not given out.
    pub(crate) fn of(call: &Call) -> Result<Self, Failure> {
        let key = call.query("paginationKey").or(call.query("nextPaginationKey"));
        Self::read(call.query("bestEffortLimit"), key)
    }

    /// As [`of`](Self::of), wherever the two are said.
    pub(crate) fn read(limit: Option<&str>, key: Option<&str>) -> Result<Self, Failure> {
        let limit = page::limit(limit)?;
        let after = match key {
            None => String::new(),
            Some(key) => {
                read_key(key).ok_or_else(|| Failure::invalid("`paginationKey` is not one that was given out"))?
            }
        };
        Ok(Self { limit, after })
    }

    /// The rows that the page shows, of `rows`, which are one more than [`limit`](Self::limit) where there are so many, each
    /// with its id; and the key of the page behind them. A page ends early rather than grow beyond
    /// [`answer::MAX_LEN`], but shows one row at least.
    pub(crate) fn cut(&self, rows: impl IntoIterator<Item = (String, Value)>) -> (Vec<Value>, Option<String>) {
        let (mut shown, mut len, mut last) = (Vec::new(), 0, None);
        for (id, row) in rows {
            len += len_in_list(&row);
            let is_full = shown.len() as i64 == self.limit || (len > answer::MAX_LEN && !shown.is_empty());
            if is_full {
                return (shown, last.as_deref().map(write_key));
            }
            shown.push(row);
            last = Some(id);
        }
        (shown, None)
    }
}

/// Keys are `[A-Za-z0-9_-]` alone, so that they can stand in a topic. (`wire` §3)
fn write_key(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

fn read_key(key: &str) -> Option<String> {
    let id = String::from_utf8(URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
    ThingId::new(&id).is_ok().then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::thing_if::json as dialect;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn keys_are_safe_in_a_topic_and_lead_back(id in "[A-Za-z0-9._-]{1,200}") {
            prop_assume!(id != "." && id != "..");
            let key = write_key(&id);
            prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
            prop_assert_eq!(read_key(&key), Some(id));
        }

        #[test]
        fn a_key_that_was_not_given_out_is_refused_or_means_an_id(key in ".{0,40}") {
            if let Some(id) = read_key(&key) {
                prop_assert_eq!(write_key(&id), key);
            }
        }

        /// IdPage after page, every row is shown once, in order, and no page is too long.
        #[test]
        fn every_row_is_on_one_page(lengths in prop::collection::vec(1_usize..30_000, 0..40), limit in 1_i64..20) {
            let all: Vec<(String, Value)> = lengths.iter().enumerate()
                .map(|(n, len)| (format!("th.{n:04}"), json!({ "thingID": format!("th.{n:04}"), "x": "y".repeat(*len) })))
                .collect();
            let (mut page, mut seen) = (IdPage { limit, after: String::new() }, Vec::new());
            for _ in 0..=all.len() {
                let rows = all.iter().filter(|(id, _)| *id > page.after).take(limit as usize + 1).cloned();
                let (shown, key) = page.cut(rows);
                prop_assert!(shown.len() as i64 <= limit);
                let body = dialect::to_pretty(&json!({ "results": shown, "nextPaginationKey": key }));
                prop_assert!(body.len() <= answer::MAX_LEN + 400 || shown.len() == 1, "{}", body.len());
                seen.extend(shown);
                match key {
                    Some(key) => page = IdPage::read(None, Some(&key)).map(|next| IdPage { limit, ..next }).expect("given out"),
                    None => break,
                }
            }
            prop_assert_eq!(seen, all.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
        }
    }

    #[test]
    fn limits_are_checked_and_capped() {
        for (given, limit) in [(None, 50), (Some("1"), 1), (Some("200"), 200), (Some("9999"), 200)] {
            assert_eq!(IdPage::read(given, None).expect("a page").limit, limit);
        }
        for given in ["", "0", "-1", "x", "1.5", "99999999999999999999"] {
            assert!(IdPage::read(Some(given), None).is_err(), "{given}");
        }
    }
}
