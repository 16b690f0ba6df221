//! Answers of queries of the history: which states are meant, in groups or not, and what is computed of them. (`wire` §5)

mod aggregate;
mod page;

use std::ops::RangeInclusive;

use serde_json::{Map, Number, Value};

use super::clause::{self, Bounds, InvalidClause, Limit};
use crate::thing_if::{DataGroupingInterval, QueryClause};

pub(crate) use page::{Collector, Taken, read_key};

/// Checks that `clause` is bounded, and that what it compares with can be compared.
pub(crate) fn check(clause: &QueryClause) -> Result<(), InvalidClause> {
    visit(clause, 1, &mut Bounds::default())
}

fn visit(clause: &QueryClause, depth: usize, bounds: &mut Bounds) -> Result<(), InvalidClause> {
    bounds.enter(depth)?;
    match clause {
        QueryClause::All | QueryClause::Range { .. } | QueryClause::WithinTimeRange { .. } => Ok(()),
        QueryClause::Eq { value, .. } => clause::check_comparable(value),
        QueryClause::Not { clause } => visit(clause, depth + 1, bounds),
        QueryClause::And { clauses } | QueryClause::Or { clauses } => {
            clauses.iter().try_for_each(|clause| visit(clause, depth + 1, bounds))
        }
    }
}

/// Whether `state`, which is of the time `at`, is meant by `clause`.
pub(crate) fn holds(clause: &QueryClause, at: i64, state: &Map<String, Value>) -> bool {
    match clause {
        QueryClause::All => true,
        QueryClause::Eq { field, value } => clause::equals(state.get(field), value),
        QueryClause::Not { clause } => !holds(clause, at, state),
        QueryClause::Range { field, upper_limit, upper_included, lower_limit, lower_included } => {
            let lower = Limit::new(lower_limit.as_ref(), *lower_included);
            let upper = Limit::new(upper_limit.as_ref(), *upper_included);
            clause::within(state.get(field), lower, upper)
        }
        QueryClause::And { clauses } => clauses.iter().all(|clause| holds(clause, at, state)),
        QueryClause::Or { clauses } => clauses.iter().any(|clause| holds(clause, at, state)),
        QueryClause::WithinTimeRange { lower_limit, upper_limit } => {
            let limit = |number| Limit::new(number, None);
            clause::within(Some(&at.into()), limit(lower_limit.as_ref()), limit(upper_limit.as_ref()))
        }
    }
}

/// Times outside of which no state is meant, so that they need not be read.
pub(crate) fn times(clause: &QueryClause) -> RangeInclusive<i64> {
    match clause {
        QueryClause::WithinTimeRange { lower_limit, upper_limit } => {
            let lower = lower_limit.as_ref().map_or(0, |limit| millis(limit, f64::ceil));
            lower.max(0)..=upper_limit.as_ref().map_or(i64::MAX, |limit| millis(limit, f64::floor))
        }
        QueryClause::And { clauses } => clauses
            .iter()
            .map(times)
            .fold(0..=i64::MAX, |all, one| *all.start().max(one.start())..=*all.end().min(one.end())),
        _ => 0..=i64::MAX,
    }
}

fn millis(limit: &Number, round: fn(f64) -> f64) -> i64 {
    match (limit.as_i64(), limit.as_f64()) {
        (Some(millis), _) => millis,
        // Saturates at times that no state has.
        (None, Some(float)) => round(float) as i64,
        (None, None) => i64::MAX,
    }
}

/// The interval of groups of a thing whose onboarding has said none: that of the documentation's example.
const DEFAULT_INTERVAL: i64 = 15;

/// How long a group is, in milliseconds.
pub(crate) fn interval(stored: Option<&str>) -> i64 {
    let minutes = match stored.map(DataGroupingInterval::from) {
        Some(DataGroupingInterval::OneMinute) => 1,
        Some(DataGroupingInterval::ThirtyMinutes) => 30,
        Some(DataGroupingInterval::OneHour) => 60,
        Some(DataGroupingInterval::TwelveHours) => 12 * 60,
        Some(DataGroupingInterval::FifteenMinutes | DataGroupingInterval::Other(_)) | None => DEFAULT_INTERVAL,
    };
    minutes * 60_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn clause(value: Value) -> QueryClause {
        serde_json::from_value(value).expect("a clause")
    }

    #[test]
    fn a_table_of_clauses() {
        let state = json!({ "t": 21, "on": true });
        let state = state.as_object().expect("an object");
        let time =
            |lower: Value, upper: Value| json!({ "type": "withinTimeRange", "lowerLimit": lower, "upperLimit": upper });
        for (given, expected) in [
            (json!({ "type": "all" }), true),
            (json!({ "type": "not", "clause": { "type": "all" } }), false),
            (json!({ "type": "eq", "field": "t", "value": 21.0 }), true),
            (json!({ "type": "eq", "field": "off", "value": 21 }), false),
            (json!({ "type": "range", "field": "t", "lowerLimit": 21, "lowerIncluded": false }), false),
            (json!({ "type": "range", "field": "t", "lowerLimit": 21 }), true),
            (time(json!(1000), json!(1000)), true),
            (time(json!(1001), json!(2000)), false),
            (time(json!(999.5), json!(1000.5)), true),
            (time(json!(null), json!(999)), false),
            (time(json!(null), json!(null)), true),
            (
                json!({ "type": "or", "clauses": [time(json!(5), json!(6)), { "type": "eq", "field": "on", "value": true }] }),
                true,
            ),
            (json!({ "type": "and", "clauses": [time(json!(5), json!(6)), { "type": "all" }] }), false),
        ] {
            assert_eq!(holds(&clause(given.clone()), 1000, state), expected, "{given}");
        }
    }

    #[test]
    fn bounds_are_those_of_every_condition() {
        let all = json!({ "type": "all" });
        let deep = (0..clause::MAX_DEPTH).fold(all.clone(), |inner, _| json!({ "type": "not", "clause": inner }));
        assert_eq!(check(&clause(deep)), Err(InvalidClause::TooDeep));
        let wide = json!({ "type": "and", "clauses": vec![all; clause::MAX_CLAUSES] });
        assert_eq!(check(&clause(wide)), Err(InvalidClause::TooMany));
        let list = json!({ "type": "eq", "field": "x", "value": [] });
        assert_eq!(check(&clause(list)), Err(InvalidClause::Incomparable));
    }

    #[test]
    fn intervals_are_those_of_onboarding() {
        for (stored, minutes) in [
            (None, 15),
            (Some("1_MINUTE"), 1),
            (Some("15_MINUTES"), 15),
            (Some("30_MINUTES"), 30),
            (Some("1_HOUR"), 60),
            (Some("12_HOURS"), 720),
            (Some("2_WEEKS"), 15),
        ] {
            assert_eq!(interval(stored), minutes * 60_000, "{stored:?}");
        }
    }

    fn any_clause() -> impl Strategy<Value = QueryClause> {
        let limit = || {
            prop::option::of(prop_oneof![
                (-3_i64..30).prop_map(Number::from),
                (-3..30).prop_map(|half| { Number::from_f64(f64::from(half) / 2.0).expect("finite") })
            ])
        };
        let leaf = prop_oneof![
            Just(QueryClause::All),
            Just(QueryClause::Eq { field: "x".into(), value: 1.into() }),
            (limit(), limit())
                .prop_map(|(lower_limit, upper_limit)| QueryClause::WithinTimeRange { lower_limit, upper_limit }),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| QueryClause::Not { clause: Box::new(inner) }),
                prop::collection::vec(inner.clone(), 0..3).prop_map(|clauses| QueryClause::And { clauses }),
                prop::collection::vec(inner, 0..3).prop_map(|clauses| QueryClause::Or { clauses }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_state_that_is_meant_is_left_unread(clause in any_clause(), at in 0_i64..30, x in 0..3) {
            let state = json!({ "x": x });
            if holds(&clause, at, state.as_object().expect("an object")) {
                prop_assert!(times(&clause).contains(&at));
            }
        }
    }
}
