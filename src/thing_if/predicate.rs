//! When a trigger fires. (`wire` §5)

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `predicate` of a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "eventSource")]
pub enum Predicate {
    /// The thing's state meets a condition.
    #[serde(rename = "STATES", alias = "states")]
    States {
        /// What is compared.
        condition: Clause,
        /// Which change of the comparison counts.
        #[serde(rename = "triggersWhen")]
        triggers_when: TriggersWhen,
    },
    /// Again and again.
    #[serde(rename = "SCHEDULE", alias = "schedule")]
    Schedule {
        /// A cron expression.
        schedule: String,
    },
    /// Once.
    #[serde(rename = "SCHEDULE_ONCE", alias = "schedule_once")]
    ScheduleOnce {
        /// Milliseconds since 1970, UTC.
        #[serde(rename = "scheduleAt")]
        schedule_at: i64,
    },
}

/// Which change of a condition fires the trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TriggersWhen {
    /// It is true after a state was put.
    #[serde(rename = "CONDITION_TRUE")]
    ConditionTrue,
    /// It became true.
    #[serde(rename = "CONDITION_FALSE_TO_TRUE")]
    ConditionFalseToTrue,
    /// It became true or false.
    #[serde(rename = "CONDITION_CHANGED")]
    ConditionChanged,
}

/// A comparison with a thing's state. `alias` stands in every leaf of a thing with traits and in none without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Clause {
    /// The field has this value: a text, a whole number, or true or false.
    Eq {
        /// Alias of the trait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<String>,
        /// A field at the top of the state.
        field: String,
        /// What it is compared with.
        value: Value,
    },
    /// The clause does not hold.
    Not {
        /// What is negated.
        clause: Box<Clause>,
    },
    /// The field is a number within limits, of which either may be absent.
    #[serde(rename_all = "camelCase")]
    Range {
        /// Alias of the trait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<String>,
        /// A field at the top of the state.
        field: String,
        /// The largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper_limit: Option<serde_json::Number>,
        /// Whether `upper_limit` itself is within; absent means yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper_included: Option<bool>,
        /// The smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower_limit: Option<serde_json::Number>,
        /// Whether `lower_limit` itself is within; absent means yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower_included: Option<bool>,
    },
    /// Every clause holds.
    And {
        /// Clauses of any kind.
        clauses: Vec<Clause>,
    },
    /// Some clause holds.
    Or {
        /// Clauses of any kind.
        clauses: Vec<Clause>,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        let eq = json!({ "type": "eq", "alias": "Lamp", "field": "power", "value": true });
        let range = json!({ "type": "range", "field": "t", "upperLimit": 90, "upperIncluded": true, "lowerLimit": 1.5,
            "lowerIncluded": false });
        for given in [
            json!({ "eventSource": "STATES", "condition": eq, "triggersWhen": "CONDITION_TRUE" }),
            json!({ "eventSource": "STATES", "triggersWhen": "CONDITION_FALSE_TO_TRUE", "condition":
                { "type": "and", "clauses": [range, { "type": "not", "clause": eq }] } }),
            json!({ "eventSource": "STATES", "triggersWhen": "CONDITION_CHANGED", "condition":
                { "type": "or", "clauses": [] } }),
            json!({ "eventSource": "SCHEDULE", "schedule": "0 12 1 * *" }),
            json!({ "eventSource": "SCHEDULE_ONCE", "scheduleAt": 1_469_102_511_270_i64 }),
        ] {
            let predicate: Predicate = serde_json::from_value(given.clone()).expect("valid");
            assert_eq!(serde_json::to_value(&predicate).expect("plain"), given);
        }
    }

    #[test]
    fn what_is_no_predicate_is_refused() {
        for given in [
            json!({}),
            json!({ "eventSource": "MOON" }),
            json!({ "eventSource": "SCHEDULE" }),
            json!({ "eventSource": "STATES", "condition": { "type": "eq", "field": "x" }, "triggersWhen": "NEVER" }),
            json!({ "eventSource": "STATES", "condition": { "type": "xor" }, "triggersWhen": "CONDITION_TRUE" }),
        ] {
            assert!(serde_json::from_value::<Predicate>(given.clone()).is_err(), "{given}");
        }
    }

    #[test]
    fn a_deeply_nested_condition_is_an_error_and_no_stack_overflow() {
        let depth = 100_000;
        let mut body = String::from(r#"{"eventSource":"STATES","triggersWhen":"CONDITION_TRUE","condition":"#);
        body.push_str(&r#"{"type":"not","clause":"#.repeat(depth));
        body.push_str(&"}".repeat(depth));
        assert!(serde_json::from_str::<Predicate>(&body).is_err());
    }
}
