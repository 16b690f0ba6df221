//! Lists in pages: `bestEffortLimit` and `paginationKey` in, `nextPaginationKey` out. (`wire` §5)

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::answer;
use super::call::Call;
use super::command::len_in_list;
use super::failure::Failure;

/// The most elements on a page, and how many there are when the request does not say.
const MAX_PAGE: i64 = 200;
const DEFAULT_PAGE: i64 = 50;

/// Which page of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// Elements at most: 1 to 200.
    limit: i64,
    /// The place of the last element of the page before.
    pub(crate) after: Option<i64>,
}

impl PageRequest {
    /// Reads the query of `call`.
    pub(crate) fn of(call: &Call) -> Result<Self, Failure> {
        let limit = limit(call.query("bestEffortLimit"))?;
        let after = match call.query("paginationKey") {
            None => None,
            Some(key) => {
                Some(read_key(key).ok_or_else(|| Failure::invalid("`paginationKey` is not one that was given out"))?)
            }
        };
        Ok(Self { limit, after })
    }

    /// How many rows to read: one more than is shown tells whether there is another page.
    pub(crate) fn rows(&self) -> i64 {
        self.limit + 1
    }

    /// The elements of the page and the key of the next one, if there is one. A page ends early rather than grow beyond
    /// [`answer::MAX_LEN`], but has one element at least. Each element comes with its place in the list.
    pub(crate) fn fill<T: Serialize>(
        &self,
        rows: impl IntoIterator<Item = Result<(i64, T), Failure>>,
    ) -> Result<(Vec<T>, Option<String>), Failure> {
        let mut shown = Vec::new();
        let (mut len, mut last) = (0, 0);
        for row in rows {
            let (place, element) = row?;
            len += len_in_list(&element);
            let is_full = shown.len() as i64 == self.limit || (len > answer::MAX_LEN && !shown.is_empty());
            if is_full {
                return Ok((shown, Some(write_key(last))));
            }
            shown.push(element);
            last = place;
        }
        Ok((shown, None))
    }
}

/// How many elements `bestEffortLimit` asks for: 1 to 200.
pub(crate) fn limit(given: Option<&str>) -> Result<i64, Failure> {
    match given.map(str::parse::<i64>) {
        None => Ok(DEFAULT_PAGE),
        Some(Ok(limit)) if limit > 0 => Ok(limit.min(MAX_PAGE)),
        Some(_) => Err(Failure::invalid("`bestEffortLimit` is not a number above 0")),
    }
}

/// Keys are `[A-Za-z0-9_-]` alone, so that they can stand in a topic. (`wire` §3)
pub(crate) fn write_key(place: i64) -> String {
    URL_SAFE_NO_PAD.encode(place.to_be_bytes())
}

pub(crate) fn read_key(key: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(key).ok()?;
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|place| *place > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thing_if::json;

    fn request(limit: i64) -> PageRequest {
        PageRequest { limit, after: None }
    }

    fn rows(lengths: &[usize]) -> Vec<Result<(i64, String), Failure>> {
        (1..=lengths.len() as i64).rev().zip(lengths).map(|(place, len)| Ok((place, "x".repeat(*len)))).collect()
    }

    #[test]
    fn keys_are_safe_in_a_topic_and_checked() {
        for place in [1, 62, 63, 255, 1 << 40, i64::MAX] {
            let key = write_key(place);
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
            assert_eq!(read_key(&key), Some(place));
        }
        for wrong in ["", "x", "AAAAAAAAAAA", "__________8", "AAAAAAAAAAE=", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(read_key(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_ends_at_its_limit_in_elements() {
        let (shown, key) = request(2).fill(rows(&[1, 1, 1])).expect("readable");
        assert_eq!((shown.len(), key.as_deref().and_then(read_key)), (2, Some(2)));
        assert_eq!(request(3).fill(rows(&[1, 1, 1])).expect("readable").1, None);
    }

    #[test]
    fn a_page_ends_early_at_its_limit_in_bytes_but_shows_one_at_least() {
        let (shown, key) = request(50).fill(rows(&[answer::MAX_LEN, 20_000, 20_000])).expect("readable");
        assert_eq!((shown.len(), key.as_deref().and_then(read_key)), (1, Some(3)));
        let (shown, key) = request(50).fill(rows(&[20_000, 20_000])).expect("readable");
        assert_eq!((shown.len(), key), (2, None));
        assert!(json::to_pretty(&shown).len() < answer::MAX_LEN);
    }
}
