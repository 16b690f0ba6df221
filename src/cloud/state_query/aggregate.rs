//! What is computed of the states of one group.

use serde_json::{Map, Number, Value};

use super::clause::compare;
use crate::thing_if::{Aggregated, Aggregation, AggregationFunction, FieldType};

/// One aggregation over the states that it has seen.
#[derive(Debug)]
pub(super) struct Accumulator {
    count: u64,
    /// Of whole numbers, exactly.
    whole: i128,
    /// Of all numbers.
    sum: f64,
    best: Option<(Number, Map<String, Value>)>,
}

impl Accumulator {
    pub(super) fn new() -> Self {
        Self { count: 0, whole: 0, sum: 0.0, best: None }
    }

    pub(super) fn add(&mut self, aggregation: &Aggregation, state: &Map<String, Value>) {
        let Some(field) = &aggregation.field else {
            self.count += 1;
            return;
        };
        let Some(value) = state.get(field).filter(|value| is_of(value, aggregation)) else { return };
        self.count += 1;
        let Value::Number(number) = value else { return };
        self.whole = self.whole.saturating_add(to_whole(number).unwrap_or(0));
        self.sum += number.as_f64().unwrap_or(0.0);
        let is_better = |best: &Number| match aggregation.function {
            AggregationFunction::Max => compare(number, best).is_gt(),
            AggregationFunction::Min => compare(number, best).is_lt(),
            _ => false,
        };
        let keeps = matches!(aggregation.function, AggregationFunction::Max | AggregationFunction::Min);
        if keeps && self.best.as_ref().is_none_or(|(best, _)| is_better(best)) {
            self.best = Some((number.clone(), state.clone()));
        }
    }

    /// `None` when there is no value: nothing was counted, or a sum is beyond what JSON can say.
    pub(super) fn finish(self, aggregation: &Aggregation) -> Option<Aggregated> {
        let name = aggregation.name.clone();
        let is_whole = aggregation.field_type == Some(FieldType::Integer);
        if aggregation.function != AggregationFunction::Count && self.count == 0 {
            return None;
        }
        let value = match aggregation.function {
            AggregationFunction::Count => self.count.into(),
            AggregationFunction::Sum if is_whole => from_whole(self.whole)?,
            AggregationFunction::Sum => Number::from_f64(self.sum)?,
            AggregationFunction::Mean if is_whole => Number::from_f64(self.whole as f64 / self.count as f64)?,
            AggregationFunction::Mean => Number::from_f64(self.sum / self.count as f64)?,
            AggregationFunction::Max | AggregationFunction::Min => {
                return self.best.map(|(value, object)| Aggregated { value, name, object: Some(object) });
            }
        };
        Some(Aggregated { value, name, object: None })
    }
}

fn is_of(value: &Value, aggregation: &Aggregation) -> bool {
    let any = match aggregation.function {
        AggregationFunction::Count => None,
        _ => Some(FieldType::Decimal),
    };
    match (aggregation.field_type.or(any), value) {
        (None, value) => !value.is_null(),
        (Some(FieldType::Integer), Value::Number(number)) => to_whole(number).is_some(),
        (Some(FieldType::Decimal), value) => value.is_number(),
        (Some(FieldType::Boolean), value) => value.is_boolean(),
        (Some(FieldType::String), value) => value.is_string(),
        (Some(FieldType::Object), value) => value.is_object(),
        (Some(FieldType::Array), value) => value.is_array(),
        (Some(FieldType::Integer), _) => false,
    }
}

fn to_whole(number: &Number) -> Option<i128> {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    whole.or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i128))
}

fn from_whole(whole: i128) -> Option<Number> {
    if let Ok(small) = i64::try_from(whole) {
        return Some(small.into());
    }
    u64::try_from(whole).map(Number::from).ok().or_else(|| Number::from_f64(whole as f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::thing_if::StateQuery;

    fn aggregate(aggregation: Value, states: &[Value]) -> Value {
        let body = json!({ "query": { "clause": { "type": "all" }, "grouped": true, "aggregations": [aggregation] } });
        let query = StateQuery::from_json(body.to_string().as_bytes()).expect("valid");
        let aggregation = &query.aggregations[0];
        let mut accumulator = Accumulator::new();
        for state in states {
            accumulator.add(aggregation, state.as_object().expect("an object"));
        }
        serde_json::to_value(accumulator.finish(aggregation)).expect("plain")
    }

    #[test]
    fn a_table_of_aggregations() {
        let states = [
            json!({ "t": 12, "on": true }),
            json!({ "t": 20.5, "n": 1 }),
            json!({ "t": null, "list": [1] }),
            json!({ "t": "hot" }),
            json!({ "t": 12.0, "n": 2 }),
        ];
        for (aggregation, expected) in [
            (json!({ "type": "COUNT" }), json!({ "value": 5, "name": "count" })),
            (json!({ "type": "COUNT", "field": "t" }), json!({ "value": 4, "name": "count" })),
            (json!({ "type": "COUNT", "field": "t", "fieldType": "INTEGER" }), json!({ "value": 2, "name": "count" })),
            (json!({ "type": "COUNT", "field": "t", "fieldType": "DECIMAL" }), json!({ "value": 3, "name": "count" })),
            (json!({ "type": "COUNT", "field": "t", "fieldType": "STRING" }), json!({ "value": 1, "name": "count" })),
            (json!({ "type": "COUNT", "field": "on", "fieldType": "BOOLEAN" }), json!({ "value": 1, "name": "count" })),
            (json!({ "type": "COUNT", "field": "list", "fieldType": "ARRAY" }), json!({ "value": 1, "name": "count" })),
            (
                json!({ "type": "COUNT", "field": "list", "fieldType": "OBJECT" }),
                json!({ "value": 0, "name": "count" }),
            ),
            (json!({ "type": "SUM", "field": "t", "fieldType": "INTEGER" }), json!({ "value": 24, "name": "sum" })),
            (json!({ "type": "SUM", "field": "t", "fieldType": "DECIMAL" }), json!({ "value": 44.5, "name": "sum" })),
            (json!({ "type": "SUM", "field": "t" }), json!({ "value": 44.5, "name": "sum" })),
            (json!({ "type": "SUM", "field": "nothing" }), json!(null)),
            (json!({ "type": "MEAN", "field": "n", "fieldType": "INTEGER" }), json!({ "value": 1.5, "name": "mean" })),
            (
                json!({ "type": "MAX", "field": "t", "putAggregationInto": "hottest" }),
                json!({ "value": 20.5, "name": "hottest", "object": { "t": 20.5, "n": 1 } }),
            ),
            (
                json!({ "type": "MIN", "field": "t", "fieldType": "DECIMAL" }),
                json!({ "value": 12, "name": "min", "object": { "t": 12, "on": true } }),
            ),
            (json!({ "type": "MIN", "field": "on", "fieldType": "DECIMAL" }), json!(null)),
        ] {
            assert_eq!(aggregate(aggregation.clone(), &states), expected, "{aggregation}");
        }
    }

    #[test]
    fn sums_of_whole_numbers_are_exact_and_those_beyond_json_are_left_out() {
        let big = [json!({ "n": i64::MAX }), json!({ "n": i64::MAX }), json!({ "n": 1 })];
        let sum = json!({ "type": "SUM", "field": "n", "fieldType": "INTEGER" });
        assert_eq!(aggregate(sum, &big)["value"], json!(u64::MAX));
        let huge = [json!({ "n": f64::MAX }), json!({ "n": f64::MAX })];
        assert_eq!(aggregate(json!({ "type": "SUM", "field": "n" }), &huge), json!(null));
        assert_eq!(aggregate(json!({ "type": "MAX", "field": "n" }), &huge)["value"], json!(f64::MAX));
    }
}
