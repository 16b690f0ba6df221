//! Queries of the history of an alias. (`wire` §5)

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::InvalidBody;
use super::fields::Fields;

/// The body of `POST …/states/aliases/{alias}/query`.
#[derive(Debug, Clone, PartialEq)]
pub struct StateQuery {
    /// `query.clause`: which states are meant.
    pub clause: QueryClause,
    /// `query.grouped`: whether the states are grouped by time; absent means no.
    pub grouped: bool,
    /// `query.aggregations`: what is asked of each group instead of its states.
    pub aggregations: Vec<Aggregation>,
    /// `firmwareVersion`: only states of this version.
    pub firmware_version: Option<String>,
    /// `bestEffortLimit`: how many results a page has at most.
    pub best_effort_limit: Option<i64>,
    /// `paginationKey`: where the page before ended.
    pub pagination_key: Option<String>,
}

/// A comparison with a state of the history. Its leaves name no alias: the path does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum QueryClause {
    /// Any state.
    All,
    /// The field has this value: a text, a number, or true or false.
    Eq {
        /// A field at the top of the state.
        field: String,
        /// What it is compared with.
        value: Value,
    },
    /// The clause does not hold.
    Not {
        /// What is negated.
        clause: Box<QueryClause>,
    },
    /// The field is a number within limits, of which either may be absent.
    #[serde(rename_all = "camelCase")]
    Range {
        /// A field at the top of the state.
        field: String,
        /// The largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper_limit: Option<Number>,
        /// Whether `upper_limit` itself is within; absent means yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper_included: Option<bool>,
        /// The smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower_limit: Option<Number>,
        /// Whether `lower_limit` itself is within; absent means yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower_included: Option<bool>,
    },
    /// Every clause holds.
    And {
        /// Clauses of any kind.
        clauses: Vec<QueryClause>,
    },
    /// Some clause holds.
    Or {
        /// Clauses of any kind.
        clauses: Vec<QueryClause>,
    },
    /// The state is of this time, limits included; either may be absent.
    #[serde(rename_all = "camelCase")]
    WithinTimeRange {
        /// Milliseconds since 1970, UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower_limit: Option<Number>,
        /// Milliseconds since 1970, UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper_limit: Option<Number>,
    },
}

/// What is computed of a field in each group.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// `type`.
    pub function: AggregationFunction,
    /// `field`: one at the top of the state. COUNT without it counts states.
    pub field: Option<String>,
    /// `fieldType`: values of other types are passed over. Absent means any type for COUNT, else DECIMAL.
    pub field_type: Option<FieldType>,
    /// `putAggregationInto`, in one SDK `responseField`: the name of the result, at most 100 characters. Absent means the
    /// function in lower case.
    pub name: String,
}

/// `type` of an [`Aggregation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregationFunction {
    /// `COUNT`: how many values there are; `null` is none.
    Count,
    /// `SUM`.
    Sum,
    /// `MAX`: the largest value, and the first state that has it.
    Max,
    /// `MIN`: the smallest value, and the first state that has it.
    Min,
    /// `MEAN`.
    Mean,
}

impl AggregationFunction {
    fn from_wire(text: &str) -> Option<Self> {
        Some(match text {
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "MAX" => Self::Max,
            "MIN" => Self::Min,
            "MEAN" => Self::Mean,
            _ => return None,
        })
    }

    /// As the SDKs name the result.
    fn default_name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Mean => "mean",
        }
    }
}

/// `fieldType` of an [`Aggregation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// `INTEGER`: a whole number, also one that is written `1.0`.
    Integer,
    /// `DECIMAL`: any number.
    Decimal,
    /// `BOOLEAN`.
    Boolean,
    /// `STRING`.
    String,
    /// `OBJECT`.
    Object,
    /// `ARRAY`.
    Array,
}

impl FieldType {
    fn from_wire(text: &str) -> Option<Self> {
        Some(match text {
            "INTEGER" => Self::Integer,
            "DECIMAL" => Self::Decimal,
            "BOOLEAN" => Self::Boolean,
            "STRING" => Self::String,
            "OBJECT" => Self::Object,
            "ARRAY" => Self::Array,
            _ => return None,
        })
    }

    /// Whether the type has numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Decimal)
    }
}

/// Aggregations in one query, at most.
pub const MAX_AGGREGATIONS: usize = 10;
/// The longest name of a result, in characters: every group repeats it.
const MAX_NAME: usize = 100;

impl StateQuery {
    /// Reads a body.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(body)?;
        let mut query = fields.required_object("query")?;
        let clause = query.take("clause").ok_or_else(|| query.missing("clause"))?;
        let clause = serde_json::from_value(clause).map_err(InvalidBody::from)?;
        let grouped = match query.take("grouped") {
            None => false,
            Some(Value::Bool(grouped)) => grouped,
            Some(_) => return Err(query.wrong("grouped", "true or false")),
        };
        let aggregations = match query.take("aggregations") {
            None => Vec::new(),
            Some(Value::Array(all)) if all.len() <= MAX_AGGREGATIONS => {
                all.into_iter().map(Aggregation::read).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(query.wrong("aggregations", "an array of at most 10")),
        };
        if !grouped && !aggregations.is_empty() {
            return Err(query.wrong("grouped", "true, as aggregations need it"));
        }
        let best_effort_limit = fields.integer("bestEffortLimit")?;
        if best_effort_limit.is_some_and(|limit| limit < 1) {
            return Err(fields.wrong("bestEffortLimit", "a number above 0"));
        }
        Ok(Self {
            clause,
            grouped,
            aggregations,
            firmware_version: fields.text("firmwareVersion")?,
            best_effort_limit,
            pagination_key: fields.text("paginationKey")?,
        })
    }
}

impl Aggregation {
    fn read(value: Value) -> Result<Self, InvalidBody> {
        let mut fields = Fields::of(value)?;
        let function = AggregationFunction::from_wire(&fields.required_text("type")?)
            .ok_or_else(|| fields.wrong("type", "COUNT, SUM, MAX, MIN or MEAN"))?;
        let field_type = match fields.text("fieldType")? {
            None => None,
            Some(text) => Some(FieldType::from_wire(&text).ok_or_else(|| fields.wrong("fieldType", "a known type"))?),
        };
        let field = fields.text("field")?;
        if function != AggregationFunction::Count {
            if field.is_none() {
                return Err(fields.missing("field"));
            }
            if field_type.is_some_and(|field_type| !field_type.is_number()) {
                return Err(fields.wrong("fieldType", "INTEGER or DECIMAL"));
            }
        }
        let mut name = |field| fields.text_up_to(field, MAX_NAME, "a text of at most 100 characters");
        let name = match name("putAggregationInto")? {
            Some(name) => name,
            None => name("responseField")?.unwrap_or_else(|| function.default_name().to_owned()),
        };
        Ok(Self { function, field, field_type, name })
    }
}

/// The answer of a query that groups nothing: states in the order of their times, each with that time as `_created`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HistoryStates {
    /// `results`.
    pub results: Vec<Map<String, Value>>,
    /// `nextPaginationKey`; absent on the last page.
    #[serde(rename = "nextPaginationKey", skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

/// The answer of a query that groups.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GroupedStates {
    /// `groupedResults`, in the order of their times.
    #[serde(rename = "groupedResults")]
    pub grouped_results: Vec<StateGroup>,
    /// `nextPaginationKey`; absent on the last page.
    #[serde(rename = "nextPaginationKey", skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

/// States of one range of time, or what was computed of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateGroup {
    /// Which range.
    pub range: TimeRange,
    /// The states, as in [`HistoryStates`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<Map<String, Value>>>,
    /// What was asked for and has a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregations: Option<Vec<Aggregated>>,
}

/// Milliseconds since 1970, UTC; both ends are within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeRange {
    /// The first millisecond.
    pub from: i64,
    /// The last millisecond.
    pub to: i64,
}

/// The value of an [`Aggregation`] in one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aggregated {
    /// The value.
    pub value: Number,
    /// As the aggregation was named.
    pub name: String,
    /// Of MAX and MIN: the state that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Map<String, Value>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<StateQuery, InvalidBody> {
        StateQuery::from_json(body.to_string().as_bytes())
    }

    /// As the JavaScript SDK sends them.
    #[test]
    fn what_sdks_send_is_read() {
        let plain = read(json!({
            "query": { "clause": { "type": "all" } }, "bestEffortLimit": 2, "firmwareVersion": "v1", "paginationKey": "k"
        }));
        let plain = plain.expect("valid");
        assert_eq!(plain.clause, QueryClause::All);
        assert_eq!((plain.grouped, plain.best_effort_limit), (false, Some(2)));
        assert_eq!((plain.firmware_version.as_deref(), plain.pagination_key.as_deref()), (Some("v1"), Some("k")));
        let grouped = read(json!({ "query": {
            "grouped": true,
            "clause": { "type": "and", "clauses": [
                { "type": "eq", "field": "field1", "value": 23 },
                { "type": "withinTimeRange", "lowerLimit": 10, "upperLimit": 100 },
            ] },
            "aggregations": [
                { "type": "MAX", "field": "field1", "fieldType": "INTEGER", "putAggregationInto": "max" },
                { "type": "MEAN", "field": "field1", "fieldType": "DECIMAL", "responseField": "average" },
                { "type": "COUNT" },
            ]
        } }));
        let grouped = grouped.expect("valid");
        let names: Vec<_> = grouped.aggregations.iter().map(|a| (a.function, a.name.as_str())).collect();
        use AggregationFunction::{Count, Max, Mean};
        assert_eq!(names, [(Max, "max"), (Mean, "average"), (Count, "count")]);
        let QueryClause::And { clauses } = &grouped.clause else { panic!("{:?}", grouped.clause) };
        assert_eq!(
            serde_json::to_value(&clauses[1]).expect("plain"),
            json!({ "type": "withinTimeRange", "lowerLimit": 10, "upperLimit": 100 })
        );
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let all = json!({ "type": "all" });
        let aggregation =
            |value: Value| json!({ "query": { "clause": all, "grouped": true, "aggregations": [value] } });
        for (body, says) in [
            (json!({}), "no `query`"),
            (json!({ "query": {} }), "no `query.clause`"),
            (json!({ "query": { "clause": { "type": "xor" } } }), "unknown variant"),
            (json!({ "query": { "clause": { "type": "eq", "field": "x" } } }), "missing field `value`"),
            (json!({ "query": { "clause": all, "grouped": "yes" } }), "`query.grouped`"),
            (json!({ "query": { "clause": all, "aggregations": [{ "type": "COUNT" }] } }), "`query.grouped`"),
            (json!({ "query": { "clause": all, "aggregations": {} } }), "`query.aggregations`"),
            (json!({ "query": { "clause": all }, "bestEffortLimit": 0 }), "`bestEffortLimit`"),
            (json!({ "query": { "clause": all }, "paginationKey": 1 }), "`paginationKey`"),
            (aggregation(json!({})), "no `type`"),
            (aggregation(json!({ "type": "MEDIAN", "field": "x" })), "`type`"),
            (aggregation(json!({ "type": "MAX" })), "no `field`"),
            (aggregation(json!({ "type": "SUM", "field": "x", "fieldType": "BOOLEAN" })), "`fieldType`"),
            (aggregation(json!({ "type": "COUNT", "field": "x", "fieldType": "COLOUR" })), "`fieldType`"),
            (aggregation(json!({ "type": "COUNT", "putAggregationInto": "x".repeat(101) })), "`putAggregationInto`"),
            (aggregation(json!({ "type": "COUNT", "responseField": "x".repeat(101) })), "`responseField`"),
        ] {
            let error = read(body.clone()).expect_err("refused").to_string();
            assert!(error.contains(says), "{body}: {error}");
        }
        let many = vec![json!({ "type": "COUNT" }); MAX_AGGREGATIONS + 1];
        assert!(read(json!({ "query": { "clause": all, "grouped": true, "aggregations": many } })).is_err());
    }
}
