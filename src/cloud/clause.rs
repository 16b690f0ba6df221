//! Whether a state meets a condition: the clauses of triggers, and the leaves of queries. (`wire` §5)
//!
//! Only fields at the top of a state are compared. A field that is not there, or is of another type than the clause asks
//! for, meets no `eq` and no `range`; so it meets every `not` around one. Numbers are compared by their value, exactly:
//! `1` is `1.0`, and neighbouring integers beyond 2^53 stay two numbers.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::thing_state::ThingState;
use crate::thing_if::Clause;

/// Clauses in one condition, at most, of any kind.
pub(crate) const MAX_CLAUSES: usize = 100;
/// Clauses inside each other, at most.
pub(crate) const MAX_DEPTH: usize = 16;

/// Why a condition is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidClause {
    #[error("the condition has more than {MAX_CLAUSES} clauses")]
    TooMany,
    #[error("the condition has clauses more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("an `eq` clause compares with something that is no text, no number, and neither true nor false")]
    Incomparable,
}

/// Checks that `clause` is bounded, and that what it compares with can be compared.
pub(crate) fn check(clause: &Clause) -> Result<(), InvalidClause> {
    let mut bounds = Bounds::default();
    visit(clause, 1, &mut bounds)
}

/// Counts the clauses of a condition, of a trigger or of a query.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    clauses: usize,
}

impl Bounds {
    /// One more clause, at `depth` from 1.
    pub(crate) fn enter(&mut self, depth: usize) -> Result<(), InvalidClause> {
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(InvalidClause::TooMany);
        }
        if depth > MAX_DEPTH { Err(InvalidClause::TooDeep) } else { Ok(()) }
    }
}

/// Checks what an `eq` clause compares with.
pub(crate) fn check_comparable(value: &Value) -> Result<(), InvalidClause> {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(InvalidClause::Incomparable),
    }
}

fn visit(clause: &Clause, depth: usize, bounds: &mut Bounds) -> Result<(), InvalidClause> {
    bounds.enter(depth)?;
    match clause {
        Clause::Eq { value, .. } => check_comparable(value),
        Clause::Range { .. } => Ok(()),
        Clause::Not { clause } => visit(clause, depth + 1, bounds),
        Clause::And { clauses } | Clause::Or { clauses } => {
            clauses.iter().try_for_each(|clause| visit(clause, depth + 1, bounds))
        }
    }
}

/// Whether `state` meets `clause`. Without clauses `and` holds and `or` does not.
pub(crate) fn holds(clause: &Clause, state: &ThingState) -> bool {
    match clause {
        Clause::Eq { alias, field, value } => equals(state.field(alias.as_deref(), field), value),
        Clause::Range { alias, field, upper_limit, upper_included, lower_limit, lower_included } => {
            let lower = Limit::new(lower_limit.as_ref(), *lower_included);
            let upper = Limit::new(upper_limit.as_ref(), *upper_included);
            within(state.field(alias.as_deref(), field), lower, upper)
        }
        Clause::Not { clause } => !holds(clause, state),
        Clause::And { clauses } => clauses.iter().all(|clause| holds(clause, state)),
        Clause::Or { clauses } => clauses.iter().any(|clause| holds(clause, state)),
    }
}

/// Whether `found` is the text, the number or the truth value `wanted`.
pub(crate) fn equals(found: Option<&Value>, wanted: &Value) -> bool {
    match (found, wanted) {
        (Some(Value::Number(found)), Value::Number(wanted)) => compare(found, wanted) == Ordering::Equal,
        (Some(Value::String(found)), Value::String(wanted)) => found == wanted,
        (Some(Value::Bool(found)), Value::Bool(wanted)) => found == wanted,
        _ => false,
    }
}

/// One end of a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit<'a> {
    number: &'a Number,
    included: bool,
}

impl<'a> Limit<'a> {
    /// `None` when there is no limit. It is within the range when nothing is said of it.
    pub(crate) fn new(number: Option<&'a Number>, included: Option<bool>) -> Option<Self> {
        number.map(|number| Self { number, included: included.unwrap_or(true) })
    }
}

/// Whether `found` is a number between the limits; without any, whether it is a number.
pub(crate) fn within(found: Option<&Value>, lower: Option<Limit<'_>>, upper: Option<Limit<'_>>) -> bool {
    let Some(Value::Number(found)) = found else { return false };
    let is_within = |limit: Option<Limit<'_>>, outside: Ordering| {
        limit.is_none_or(|limit| match compare(found, limit.number) {
            Ordering::Equal => limit.included,
            other => other != outside,
        })
    };
    is_within(lower, Ordering::Less) && is_within(upper, Ordering::Greater)
}

/// Compares by value, exactly, whole or not.
pub(crate) fn compare(left: &Number, right: &Number) -> Ordering {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => compare_with_float(left, float(right)),
        (None, Some(right)) => compare_with_float(right, float(left)).reverse(),
        // JSON has no NaN.
        (None, None) => float(left).partial_cmp(&float(right)).unwrap_or(Ordering::Equal),
    }
}

/// A number that was written without a fraction or exponent, and fits 64 bits.
fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// `left` comes of 64 bits, so a float that the cast saturates is beyond it all the same.
fn compare_with_float(left: i128, right: f64) -> Ordering {
    let floor = right.floor();
    match left.cmp(&(floor as i128)) {
        Ordering::Equal if right > floor => Ordering::Less,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::thing_if::{State, TraitStates};

    fn clause(value: Value) -> Clause {
        serde_json::from_value(value).expect("a clause")
    }

    fn flat(value: Value) -> ThingState {
        ThingState::Flat(serde_json::from_value::<State>(value).expect("an object"))
    }

    fn traits(value: Value) -> ThingState {
        ThingState::Traits(serde_json::from_value::<TraitStates>(value).expect("an object of objects"))
    }

    #[test]
    fn a_table_of_leaves() {
        let state = json!({
            "on": true, "mode": "cool", "t": 21, "half": 0.5, "none": null, "list": [1], "inner": { "t": 21 },
            "big": 18_446_744_073_709_551_615_u64, "odd": 9_007_199_254_740_993_i64, "tiny": -1e300,
        });
        for (given, expected) in [
            (json!({ "type": "eq", "field": "on", "value": true }), true),
            (json!({ "type": "eq", "field": "on", "value": false }), false),
            (json!({ "type": "eq", "field": "on", "value": "true" }), false),
            (json!({ "type": "eq", "field": "on", "value": 1 }), false),
            (json!({ "type": "eq", "field": "mode", "value": "cool" }), true),
            (json!({ "type": "eq", "field": "mode", "value": "COOL" }), false),
            (json!({ "type": "eq", "field": "t", "value": 21 }), true),
            (json!({ "type": "eq", "field": "t", "value": 21.0 }), true),
            (json!({ "type": "eq", "field": "t", "value": 21.5 }), false),
            (json!({ "type": "eq", "field": "t", "value": "21" }), false),
            (json!({ "type": "eq", "field": "nothing", "value": 21 }), false),
            (json!({ "type": "eq", "field": "none", "value": null }), false),
            (json!({ "type": "eq", "field": "list", "value": [1] }), false),
            (json!({ "type": "eq", "field": "inner.t", "value": 21 }), false),
            (json!({ "type": "eq", "alias": "inner", "field": "t", "value": 21 }), false),
            (json!({ "type": "eq", "field": "odd", "value": 9_007_199_254_740_992_i64 }), false),
            (json!({ "type": "eq", "field": "odd", "value": 9_007_199_254_740_992.0 }), false),
            (json!({ "type": "eq", "field": "odd", "value": 9_007_199_254_740_993_i64 }), true),
            (json!({ "type": "eq", "field": "big", "value": 18_446_744_073_709_551_615_u64 }), true),
            (json!({ "type": "eq", "field": "big", "value": 18_446_744_073_709_551_616.0 }), false),
            (json!({ "type": "not", "clause": { "type": "eq", "field": "nothing", "value": 1 } }), true),
            (json!({ "type": "range", "field": "t" }), true),
            (json!({ "type": "range", "field": "mode" }), false),
            (json!({ "type": "range", "field": "nothing" }), false),
            (json!({ "type": "range", "field": "t", "lowerLimit": 21 }), true),
            (json!({ "type": "range", "field": "t", "lowerLimit": 21, "lowerIncluded": true }), true),
            (json!({ "type": "range", "field": "t", "lowerLimit": 21, "lowerIncluded": false }), false),
            (json!({ "type": "range", "field": "t", "lowerLimit": 20.999, "lowerIncluded": false }), true),
            (json!({ "type": "range", "field": "t", "upperLimit": 21 }), true),
            (json!({ "type": "range", "field": "t", "upperLimit": 21.0, "upperIncluded": false }), false),
            (json!({ "type": "range", "field": "t", "upperLimit": 20 }), false),
            (json!({ "type": "range", "field": "t", "lowerLimit": 0, "upperLimit": 21 }), true),
            (json!({ "type": "range", "field": "t", "lowerLimit": 22, "upperLimit": 20 }), false),
            (json!({ "type": "range", "field": "half", "lowerLimit": 0, "upperLimit": 1 }), true),
            (json!({ "type": "range", "field": "half", "lowerLimit": 1 }), false),
            (json!({ "type": "range", "field": "big", "lowerLimit": 18_446_744_073_709_551_616.0 }), false),
            (json!({ "type": "range", "field": "big", "upperLimit": 1e300 }), true),
            (json!({ "type": "range", "field": "tiny", "upperLimit": i64::MIN, "upperIncluded": false }), true),
            (json!({ "type": "and", "clauses": [] }), true),
            (json!({ "type": "or", "clauses": [] }), false),
        ] {
            assert_eq!(holds(&clause(given.clone()), &flat(state.clone())), expected, "{given}");
        }
    }

    #[test]
    fn each_leaf_names_its_alias() {
        let state = traits(json!({ "Lamp": { "on": true }, "Fan": { "speed": 3 } }));
        for (given, expected) in [
            (json!({ "type": "eq", "alias": "Lamp", "field": "on", "value": true }), true),
            (json!({ "type": "eq", "alias": "Fan", "field": "on", "value": true }), false),
            (json!({ "type": "eq", "alias": "Door", "field": "on", "value": true }), false),
            (json!({ "type": "eq", "field": "on", "value": true }), false),
            (json!({ "type": "range", "alias": "Fan", "field": "speed", "lowerLimit": 3 }), true),
            (json!({ "type": "range", "field": "speed", "lowerLimit": 3 }), false),
        ] {
            assert_eq!(holds(&clause(given.clone()), &state), expected, "{given}");
        }
    }

    #[test]
    fn what_has_no_bounds_is_refused() {
        let leaf = json!({ "type": "eq", "field": "on", "value": true });
        let nested = |depth| (1..depth).fold(leaf.clone(), |inner, _| json!({ "type": "not", "clause": inner }));
        assert_eq!(check(&clause(nested(MAX_DEPTH))), Ok(()));
        assert_eq!(check(&clause(nested(MAX_DEPTH + 1))), Err(InvalidClause::TooDeep));
        let wide = |leaves: usize| json!({ "type": "or", "clauses": vec![leaf.clone(); leaves] });
        assert_eq!(check(&clause(wide(MAX_CLAUSES - 1))), Ok(()));
        assert_eq!(check(&clause(wide(MAX_CLAUSES))), Err(InvalidClause::TooMany));
        for value in [json!(null), json!([]), json!({})] {
            let given = json!({ "type": "not", "clause": { "type": "eq", "field": "on", "value": value } });
            assert_eq!(check(&clause(given)), Err(InvalidClause::Incomparable), "{value}");
        }
    }

    /// A number as a naive reader has it: a sign, a whole part, and a fraction in sixteenths.
    #[derive(Debug, Clone, Copy)]
    struct Plain {
        sixteenths: i128,
    }

    impl Plain {
        fn json(self) -> Value {
            // Below 2^49 a float has all sixteenths.
            if self.sixteenths % 16 == 0 {
                i64::try_from(self.sixteenths / 16).map_or(Value::Null, Value::from)
            } else {
                Value::from(self.sixteenths as f64 / 16.0)
            }
        }
    }

    fn plain() -> impl Strategy<Value = Plain> {
        prop_oneof![
            (-48_i128..48).prop_map(|sixteenths| Plain { sixteenths }),
            (-(1_i128 << 52)..1 << 52).prop_map(|sixteenths| Plain { sixteenths }),
            any::<i64>().prop_map(|whole| Plain { sixteenths: i128::from(whole) * 16 }),
        ]
    }

    #[derive(Debug, Clone)]
    enum Naive {
        Text(String),
        Truth(bool),
        Number(Plain),
    }

    impl Naive {
        fn json(&self) -> Value {
            match self {
                Naive::Text(text) => text.as_str().into(),
                Naive::Truth(truth) => (*truth).into(),
                Naive::Number(plain) => plain.json(),
            }
        }

        fn is(&self, other: &Naive) -> bool {
            match (self, other) {
                (Naive::Text(a), Naive::Text(b)) => a == b,
                (Naive::Truth(a), Naive::Truth(b)) => a == b,
                (Naive::Number(a), Naive::Number(b)) => a.sixteenths == b.sixteenths,
                _ => false,
            }
        }
    }

    fn naive() -> impl Strategy<Value = Naive> {
        prop_oneof![
            "[ab]{0,1}".prop_map(Naive::Text),
            any::<bool>().prop_map(Naive::Truth),
            plain().prop_map(Naive::Number)
        ]
    }

    const FIELDS: [&str; 3] = ["x", "y", "z"];

    #[derive(Debug, Clone)]
    enum Condition {
        Is(usize, Naive),
        Between(usize, Option<(Plain, bool)>, Option<(Plain, bool)>),
        Not(Box<Condition>),
        All(Vec<Condition>),
        Any(Vec<Condition>),
    }

    impl Condition {
        fn json(&self, alias: Option<&str>) -> Value {
            let mut leaf = json!({});
            match self {
                Condition::Is(field, value) => {
                    leaf = json!({ "type": "eq", "field": FIELDS[*field], "value": value.json() });
                }
                Condition::Between(field, lower, upper) => {
                    leaf["type"] = "range".into();
                    leaf["field"] = FIELDS[*field].into();
                    for (name, included, limit) in
                        [("lowerLimit", "lowerIncluded", lower), ("upperLimit", "upperIncluded", upper)]
                    {
                        if let Some((number, is_included)) = limit {
                            leaf[name] = number.json();
                            leaf[included] = (*is_included).into();
                        }
                    }
                }
                Condition::Not(inner) => return json!({ "type": "not", "clause": inner.json(alias) }),
                Condition::All(all) => {
                    return json!({ "type": "and", "clauses": all.iter().map(|c| c.json(alias)).collect::<Vec<_>>() });
                }
                Condition::Any(any) => {
                    return json!({ "type": "or", "clauses": any.iter().map(|c| c.json(alias)).collect::<Vec<_>>() });
                }
            }
            if let Some(alias) = alias {
                leaf["alias"] = alias.into();
            }
            leaf
        }

        fn is_met(&self, state: &[Option<Naive>; 3]) -> bool {
            match self {
                Condition::Is(field, value) => state[*field].as_ref().is_some_and(|found| found.is(value)),
                Condition::Between(field, lower, upper) => {
                    let Some(Naive::Number(found)) = &state[*field] else { return false };
                    let mut is_met = true;
                    if let Some((limit, included)) = lower {
                        is_met &=
                            found.sixteenths > limit.sixteenths || *included && found.sixteenths == limit.sixteenths;
                    }
                    if let Some((limit, included)) = upper {
                        is_met &=
                            found.sixteenths < limit.sixteenths || *included && found.sixteenths == limit.sixteenths;
                    }
                    is_met
                }
                Condition::Not(inner) => !inner.is_met(state),
                Condition::All(all) => all.iter().filter(|c| !c.is_met(state)).count() == 0,
                Condition::Any(any) => any.iter().filter(|c| c.is_met(state)).count() > 0,
            }
        }
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let limit = || prop::option::of((plain(), any::<bool>()));
        let leaf = prop_oneof![
            (0..3_usize, naive()).prop_map(|(field, value)| Condition::Is(field, value)),
            (0..3_usize, limit(), limit()).prop_map(|(field, lower, upper)| Condition::Between(field, lower, upper)),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
                prop::collection::vec(inner, 0..4).prop_map(Condition::Any),
            ]
        })
    }

    fn object(state: &[Option<Naive>; 3]) -> Value {
        let fields =
            FIELDS.iter().zip(state).filter_map(|(name, value)| Some(((*name).into(), value.as_ref()?.json())));
        Value::Object(fields.collect())
    }

    proptest! {
        #[test]
        fn the_evaluator_agrees_with_a_naive_one(
            condition in condition(),
            state in prop::array::uniform3(prop::option::of(naive())),
        ) {
            let expected = condition.is_met(&state);
            let without = clause(condition.json(None));
            prop_assert_eq!(check(&without), Ok(()));
            prop_assert_eq!(holds(&without, &flat(object(&state))), expected);
            let with = clause(condition.json(Some("A")));
            prop_assert_eq!(holds(&with, &traits(json!({ "B": { "x": true }, "A": object(&state) }))), expected);
        }

        #[test]
        fn numbers_have_one_order(a in plain(), b in plain()) {
            let number = |plain: Plain| plain.json().as_number().cloned().expect("a number");
            prop_assert_eq!(compare(&number(a), &number(b)), a.sixteenths.cmp(&b.sixteenths));
        }

        /// Whole numbers of 64 bits against floats of every size, by their exact decimal values.
        #[test]
        fn whole_numbers_and_floats_are_compared_exactly(whole in any::<i64>(), by in -3_i32..=3) {
            let float = whole as f64;
            let near = match by {
                0 => float,
                up if up > 0 => (0..up).fold(float, |f, _| f.next_up()),
                down => (0..-down).fold(float, |f, _| f.next_down()),
            };
            let expected = if near.fract() == 0.0 {
                i128::from(whole).cmp(&(near as i128))
            } else {
                (whole as f64).partial_cmp(&near).expect("finite")
            };
            let near = Number::from_f64(near).expect("finite");
            prop_assert_eq!(compare(&whole.into(), &near), expected);
            prop_assert_eq!(compare(&near, &whole.into()), expected.reverse());
        }
    }
}
