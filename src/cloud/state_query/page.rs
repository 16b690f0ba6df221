//! One page of an answer: bounded in results and in bytes, and it may end early.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::aggregate::Accumulator;
use crate::cloud::answer::{self, MAX_LEN};
use crate::cloud::store::state_history::Place;
use crate::thing_if::{GroupedStates, HistoryStates, StateGroup, StateQuery, TimeRange};

/// The most states on a page that are not grouped, and how many there are when the request does not say.
const MAX_PAGE: i64 = 200;
const DEFAULT_PAGE: i64 = 50;
/// States that are looked at for one page. A page of which so few are meant ends early, and the next goes on.
const MAX_SCANNED: usize = 10_000;
/// What stands around a result or a group, in bytes.
const AROUND: usize = 160;

/// Whether a state was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// The page ends before it.
    Full,
}

/// A page while it is filled.
#[derive(Debug)]
pub(crate) struct Collector<'q> {
    query: &'q StateQuery,
    interval: i64,
    max_results: usize,
    results: usize,
    scanned: usize,
    /// Bytes of what is on the page.
    len: usize,
    /// Where the next page goes on.
    last: Place,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Plain(Vec<Map<String, Value>>),
    Grouped(Vec<StateGroup>),
    Aggregated { done: Vec<StateGroup>, open: Option<Open> },
}

/// The group whose states are being read.
#[derive(Debug)]
struct Open {
    from: i64,
    states: usize,
    accumulators: Vec<Accumulator>,
    last: Place,
}

impl<'q> Collector<'q> {
    /// A page that goes on after `last`; groups are `interval` milliseconds long.
    pub(crate) fn new(query: &'q StateQuery, interval: i64, last: Place) -> Self {
        let form = match (query.grouped, query.aggregations.is_empty()) {
            (false, _) => Form::Plain(Vec::new()),
            (true, true) => Form::Grouped(Vec::new()),
            (true, false) => Form::Aggregated { done: Vec::new(), open: None },
        };
        let max_results = match (query.best_effort_limit, query.grouped) {
            (None, false) => DEFAULT_PAGE,
            (Some(limit), false) => limit.min(MAX_PAGE),
            // SDKs neither limit groups nor ask for more of them.
            (limit, true) => limit.unwrap_or(i64::MAX),
        };
        let max_results = usize::try_from(max_results).unwrap_or(usize::MAX);
        Self { query, interval, max_results, results: 0, scanned: 0, len: 0, last, form }
    }

    /// The next state in the order of places; `None` stands for one that is not meant.
    pub(crate) fn take(&mut self, place: Place, state: Option<Map<String, Value>>) -> Taken {
        let state = state.map(|mut state| {
            state.insert("_created".into(), place.generated_at.into());
            state
        });
        let from = place.generated_at.div_euclid(self.interval) * self.interval;
        if let Form::Aggregated { open, .. } = &mut self.form {
            if open.as_ref().is_some_and(|open| open.from != from)
                && (self.close_group() == Taken::Full
                    || self.scanned >= MAX_SCANNED
                    || self.results == self.max_results)
            {
                return Taken::Full;
            }
            self.scanned += 1;
            self.aggregate(from, place, state);
            return Taken::Yes;
        }
        if self.scanned >= MAX_SCANNED {
            return Taken::Full;
        }
        self.scanned += 1;
        if let Some(state) = state {
            let depth = if self.query.grouped { 2 } else { 1 };
            let len = answer::printed_len(&state, depth) + AROUND;
            if self.results == self.max_results || self.results > 0 && self.len + len > MAX_LEN {
                return Taken::Full;
            }
            self.len += len;
            self.results += 1;
            match &mut self.form {
                Form::Plain(states) => states.push(state),
                Form::Grouped(groups) => match groups.last_mut().filter(|group| group.range.from == from) {
                    Some(group) => group.objects.get_or_insert_default().push(state),
                    None => {
                        let range = TimeRange { from, to: from + self.interval - 1 };
                        groups.push(StateGroup { range, objects: Some(vec![state]), aggregations: None });
                    }
                },
                Form::Aggregated { .. } => {}
            }
        }
        self.last = place;
        Taken::Yes
    }

    fn aggregate(&mut self, from: i64, place: Place, state: Option<Map<String, Value>>) {
        let Form::Aggregated { open, .. } = &mut self.form else { return };
        let aggregations = &self.query.aggregations;
        let open = open.get_or_insert_with(|| Open {
            from,
            states: 0,
            accumulators: aggregations.iter().map(|_| Accumulator::new()).collect(),
            last: place,
        });
        open.last = place;
        if let Some(state) = state {
            open.states += 1;
            for (accumulator, aggregation) in open.accumulators.iter_mut().zip(aggregations) {
                accumulator.add(aggregation, &state);
            }
        }
    }

    /// Ends the group that is being read. One without states is not shown; one that has no room waits for the next page.
    fn close_group(&mut self) -> Taken {
        let Form::Aggregated { done, open } = &mut self.form else { return Taken::Yes };
        let Some(open) = open.take() else { return Taken::Yes };
        if open.states > 0 {
            let range = TimeRange { from: open.from, to: open.from + self.interval - 1 };
            let accumulators = open.accumulators.into_iter().zip(&self.query.aggregations);
            let mut values: Vec<_> = accumulators.filter_map(|(all, aggregation)| all.finish(aggregation)).collect();
            let len = |values: &[_]| answer::printed_len(values, 2) + AROUND;
            // A group has room on a page of its own; for that, states that have the values are left out.
            let mut objects = values.len();
            while len(&values) > MAX_LEN && objects > 0 {
                objects -= 1;
                values[objects].object = None;
            }
            let len = len(&values);
            if !done.is_empty() && self.len + len > MAX_LEN {
                return Taken::Full;
            }
            self.len += len;
            self.results += 1;
            done.push(StateGroup { range, objects: None, aggregations: Some(values) });
        }
        self.last = open.last;
        Taken::Yes
    }

    /// The page, when there are no more states.
    pub(crate) fn finish(mut self) -> Value {
        let has_more = self.close_group() == Taken::Full;
        self.body(has_more)
    }

    /// The page, when the last state was not taken: one that says where the next goes on.
    pub(crate) fn finish_full(self) -> Value {
        self.body(true)
    }

    fn body(self, has_more: bool) -> Value {
        let next_pagination_key = has_more.then(|| write_key(self.last));
        let body = match self.form {
            Form::Plain(results) => serde_json::to_value(HistoryStates { results, next_pagination_key }),
            Form::Grouped(grouped_results) | Form::Aggregated { done: grouped_results, .. } => {
                serde_json::to_value(GroupedStates { grouped_results, next_pagination_key })
            }
        };
        body.expect("JSON values, texts and numbers become JSON")
    }
}

/// Keys are `[A-Za-z0-9_-]` alone, so that they can stand in a topic. (`wire` §3)
fn write_key(place: Place) -> String {
    URL_SAFE_NO_PAD.encode([place.generated_at.to_be_bytes(), place.seq.to_be_bytes()].concat())
}

/// The place that a key names, if it is one that was given out.
pub(crate) fn read_key(key: &str) -> Option<Place> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()?;
    let (generated_at, seq) = bytes.split_at(8);
    let place = Place {
        generated_at: i64::from_be_bytes(generated_at.try_into().ok()?),
        seq: i64::from_be_bytes(seq.try_into().ok()?),
    };
    Some(place).filter(|place| place.generated_at >= 0 && place.seq >= 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const INTERVAL: i64 = 10;
    const BEGIN: Place = Place { generated_at: 0, seq: 0 };

    fn query(rest: &Value, limit: Option<i64>) -> StateQuery {
        let mut body = json!({ "query": { "clause": { "type": "all" } }, "bestEffortLimit": limit });
        for (name, value) in rest.as_object().expect("an object") {
            body["query"][name] = value.clone();
        }
        StateQuery::from_json(body.to_string().as_bytes()).expect("valid")
    }

    /// A time, how long the state is, and whether it is meant.
    type Row = (i64, usize, bool);

    fn state(number: usize, len: usize) -> Map<String, Value> {
        let state = json!({ "n": number, "text": "x".repeat(len) });
        state.as_object().expect("an object").clone()
    }

    /// Every page, in order, as whoever follows the keys gets them.
    fn pages(query: &StateQuery, rows: &[Row]) -> Vec<Value> {
        let mut in_order: Vec<_> = rows
            .iter()
            .zip(1..)
            .zip(0..)
            .map(|((row, seq), number)| (Place { generated_at: row.0, seq }, row.2.then(|| state(number, row.1))))
            .collect();
        in_order.sort_by_key(|(place, _)| *place);
        let mut after = BEGIN;
        let mut pages = Vec::new();
        loop {
            let mut collector = Collector::new(query, INTERVAL, after);
            let mut rest = in_order.iter().filter(|(place, _)| *place > after);
            let is_full = rest.any(|(place, state)| collector.take(*place, state.clone()) == Taken::Full);
            let page = if is_full { collector.finish_full() } else { collector.finish() };
            let key = page["nextPaginationKey"].as_str().map(str::to_owned);
            pages.push(page);
            let Some(key) = key else { return pages };
            let next = read_key(&key).expect("a key");
            assert!(next > after, "{after:?}, then {next:?}");
            after = next;
        }
    }

    fn numbers(states: &Value) -> Vec<u64> {
        states.as_array().expect("states").iter().map(|state| state["n"].as_u64().expect("a number")).collect()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let len = prop_oneof![4 => 0..20_usize, 1 => 8_000..9_900_usize];
        prop::collection::vec((0..50_i64, len, prop::bool::weighted(0.8)), 0..40)
    }

    proptest! {
        #[test]
        fn all_pages_together_have_every_state_once(rows in rows(), limit in prop::option::of(1..10_i64)) {
            let mut expected: Vec<_> = rows.iter().zip(0_u64..).filter(|(row, _)| row.2).map(|(row, n)| (row.0, n)).collect();
            expected.sort_unstable();

            let plain = query(&json!({}), limit);
            let mut found = Vec::new();
            for page in pages(&plain, &rows) {
                prop_assert!(answer::printed_len(&page, 0) <= MAX_LEN);
                let on_page = numbers(&page["results"]);
                prop_assert!(on_page.len() <= usize::try_from(limit.unwrap_or(DEFAULT_PAGE)).expect("small"));
                found.extend(on_page);
            }
            prop_assert_eq!(found, expected.iter().map(|(_, n)| *n).collect::<Vec<_>>());

            let grouped = query(&json!({ "grouped": true }), limit);
            let mut found = Vec::new();
            for page in pages(&grouped, &rows) {
                prop_assert!(answer::printed_len(&page, 0) <= MAX_LEN);
                for group in page["groupedResults"].as_array().expect("groups") {
                    let [from, to] = ["from", "to"].map(|end| group["range"][end].as_i64().expect("a time"));
                    prop_assert_eq!((from % INTERVAL, to - from), (0, INTERVAL - 1));
                    found.extend(numbers(&group["objects"]).into_iter().map(|n| (from, n)));
                }
            }
            let in_groups: Vec<_> = expected.iter().map(|(at, n)| (at / INTERVAL * INTERVAL, *n)).collect();
            prop_assert_eq!(found, in_groups);

            let max = json!({ "type": "MAX", "field": "n" });
            let aggregated = query(&json!({ "grouped": true, "aggregations": [{ "type": "COUNT" }, max] }), limit);
            let mut found = Vec::new();
            for page in pages(&aggregated, &rows) {
                prop_assert!(answer::printed_len(&page, 0) <= MAX_LEN);
                let groups = page["groupedResults"].as_array().expect("groups");
                prop_assert!(limit.is_none_or(|limit| groups.len() as i64 <= limit));
                for group in groups {
                    let value = |index: usize| group["aggregations"][index]["value"].as_u64().expect("a number");
                    found.push((group["range"]["from"].as_i64().expect("a time"), (value(0), value(1))));
                }
            }
            let mut naive = BTreeMap::new();
            for (at, n) in expected {
                let group = naive.entry(at / INTERVAL * INTERVAL).or_insert((0_u64, 0_u64));
                *group = (group.0 + 1, group.1.max(n));
            }
            prop_assert_eq!(found, naive.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_page_ends_after_so_many_states_that_are_not_meant() {
        let count = MAX_SCANNED + 1;
        // Two groups, so that a page of groups can end between them.
        let rows: Vec<Row> = (0..count).map(|n| (if n + 1 < count { 1 } else { 11 }, 0, n + 1 == count)).collect();
        for rest in
            [json!({}), json!({ "grouped": true }), json!({ "grouped": true, "aggregations": [{ "type": "COUNT" }] })]
        {
            let pages = pages(&query(&rest, None), &rows);
            let results = if rest == json!({}) { "results" } else { "groupedResults" };
            let sizes: Vec<_> = pages.iter().map(|page| page[results].as_array().expect("an array").len()).collect();
            assert_eq!(sizes, [0, 1], "{rest}");
        }
    }

    #[test]
    fn keys_are_safe_in_a_topic_and_checked() {
        for place in [BEGIN, Place { generated_at: i64::MAX, seq: 1 }, Place { generated_at: 62, seq: 63 << 40 }] {
            let key = write_key(place);
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
            assert_eq!(read_key(&key), Some(place));
        }
        for wrong in
            ["", "x", "AAAAAAAAAAA", "__________8AAAAAAAAAAA", "AAAAAAAAAAD__________w", "AAAAAAAAAAAAAAAAAAAAAA=="]
        {
            assert_eq!(read_key(wrong), None, "{wrong}");
        }
    }
}
