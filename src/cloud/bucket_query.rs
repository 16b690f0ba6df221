//! Which objects of a bucket a query means, and in which order: Kii's `bucketQuery`. (`wire` §5)
//!
//! Leaves look at fields at the top of an object, the service's own (`_created`, `_owner`, …) among them. A field that is
//! not there, or is of another type than the clause asks for, meets no leaf; so it meets every `not` around one.

use std::cmp::Ordering;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::clause::{Bounds, InvalidClause, check_comparable, compare, equals};

/// Values in one `in` clause, at most.
const MAX_VALUES: usize = 200;
/// Characters of a text that count when objects are put in order, as with the late Kii service, which indexed no more.
const SORTED_CHARS: usize = 190;
/// What an answer adds to an object.
const CALCULATED: &str = "_calculated";
/// Metres.
const EARTH_RADIUS: f64 = 6_371_008.8;

/// A condition on objects.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum ObjectClause {
    All,
    Eq {
        field: String,
        value: Value,
    },
    Not {
        clause: Box<ObjectClause>,
    },
    And {
        clauses: Vec<ObjectClause>,
    },
    Or {
        clauses: Vec<ObjectClause>,
    },
    Range(Range),
    In {
        field: String,
        values: Vec<Value>,
    },
    Prefix {
        field: String,
        prefix: String,
    },
    #[serde(rename_all = "camelCase")]
    HasField {
        field: String,
        field_type: FieldType,
    },
    #[serde(rename = "geobox")]
    GeoBox {
        field: String,
        r#box: GeoBox,
    },
    #[serde(rename = "geodistance", rename_all = "camelCase")]
    GeoDistance {
        field: String,
        center: Point,
        /// In metres.
        radius: f64,
        #[serde(default)]
        put_distance_into: Option<String>,
    },
}

/// Numbers or texts between limits, of which either may be absent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    field: String,
    #[serde(default)]
    upper_limit: Option<Value>,
    #[serde(default)]
    upper_included: Option<bool>,
    #[serde(default)]
    lower_limit: Option<Value>,
    #[serde(default)]
    lower_included: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum FieldType {
    String,
    Integer,
    Decimal,
    Boolean,
}

/// A place on the earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Point {
    lat: f64,
    lon: f64,
}

/// From the south-west corner to the north-east one; it may cross the date line.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct GeoBox {
    ne: Point,
    sw: Point,
}

impl ObjectClause {
    /// Checks that the condition is bounded, and that what it compares with can be compared.
    pub(crate) fn check(&self) -> Result<(), InvalidClause> {
        self.visit(1, &mut Bounds::default())
    }

    fn visit(&self, depth: usize, bounds: &mut Bounds) -> Result<(), InvalidClause> {
        bounds.enter(depth)?;
        match self {
            ObjectClause::Eq { value, .. } => check_comparable(value),
            ObjectClause::In { values, .. } if values.len() > MAX_VALUES => Err(InvalidClause::TooMany),
            ObjectClause::In { values, .. } => values.iter().try_for_each(check_comparable),
            ObjectClause::Range(range) => {
                [&range.upper_limit, &range.lower_limit].into_iter().flatten().try_for_each(check_comparable)
            }
            ObjectClause::Not { clause } => clause.visit(depth + 1, bounds),
            ObjectClause::And { clauses } | ObjectClause::Or { clauses } => {
                clauses.iter().try_for_each(|clause| clause.visit(depth + 1, bounds))
            }
            _ => Ok(()),
        }
    }

    /// Whether `object` meets it. Without clauses `and` holds and `or` does not.
    pub(crate) fn holds(&self, object: &Map<String, Value>) -> bool {
        match self {
            ObjectClause::All => true,
            ObjectClause::Eq { field, value } => equals(object.get(field), value),
            ObjectClause::Not { clause } => !clause.holds(object),
            ObjectClause::And { clauses } => clauses.iter().all(|clause| clause.holds(object)),
            ObjectClause::Or { clauses } => clauses.iter().any(|clause| clause.holds(object)),
            ObjectClause::Range(range) => range.has(object.get(&range.field)),
            ObjectClause::In { field, values } => values.iter().any(|value| equals(object.get(field), value)),
            ObjectClause::Prefix { field, prefix } => {
                object.get(field).and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix))
            }
            ObjectClause::HasField { field, field_type } => object.get(field).is_some_and(|value| field_type.is(value)),
            ObjectClause::GeoBox { field, r#box } => point(object.get(field)).is_some_and(|point| r#box.has(point)),
            ObjectClause::GeoDistance { field, center, radius, .. } => {
                point(object.get(field)).is_some_and(|point| center.distance(point) <= *radius)
            }
        }
    }

    /// Adds the distances that the query wants to see of `object`, which has met it.
    pub(crate) fn calculate(&self, object: &mut Map<String, Value>) {
        let mut distances = Map::new();
        self.distances(object, &mut distances);
        if !distances.is_empty() {
            object.insert(CALCULATED.to_owned(), distances.into());
        }
    }

    fn distances(&self, object: &Map<String, Value>, distances: &mut Map<String, Value>) {
        match self {
            ObjectClause::And { clauses } | ObjectClause::Or { clauses } => {
                clauses.iter().for_each(|clause| clause.distances(object, distances));
            }
            ObjectClause::GeoDistance { field, center, put_distance_into: Some(name), .. } => {
                if let Some(point) = point(object.get(field)) {
                    distances.insert(name.clone(), center.distance(point).into());
                }
            }
            _ => {}
        }
    }
}

impl Range {
    fn has(&self, found: Option<&Value>) -> bool {
        let Some(found) = found.filter(|found| found.is_number() || found.is_string()) else { return false };
        let is_within = |limit: &Option<Value>, included: Option<bool>, outside: Ordering| match limit {
            None => true,
            Some(limit) => match ordering(found, limit) {
                None => false,
                Some(Ordering::Equal) => included.unwrap_or(true),
                Some(other) => other != outside,
            },
        };
        is_within(&self.lower_limit, self.lower_included, Ordering::Less)
            && is_within(&self.upper_limit, self.upper_included, Ordering::Greater)
    }
}

/// How two numbers or two texts compare.
fn ordering(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Some(compare(left, right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

impl FieldType {
    fn is(self, value: &Value) -> bool {
        match self {
            FieldType::String => value.is_string(),
            FieldType::Integer => value.is_i64() || value.is_u64(),
            FieldType::Decimal => value.is_f64(),
            FieldType::Boolean => value.is_boolean(),
        }
    }
}

fn point(value: Option<&Value>) -> Option<Point> {
    let value = value.filter(|value| value.get("_type").and_then(Value::as_str) == Some("point"))?;
    Some(Point { lat: value.get("lat")?.as_f64()?, lon: value.get("lon")?.as_f64()? })
}

impl Point {
    /// In metres, along the surface of a sphere (haversine).
    fn distance(self, other: Point) -> f64 {
        let (lat, other_lat) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = ((other.lat - self.lat).to_radians() / 2.0).sin();
        let half_lon = ((other.lon - self.lon).to_radians() / 2.0).sin();
        let a = half_lat * half_lat + lat.cos() * other_lat.cos() * half_lon * half_lon;
        2.0 * EARTH_RADIUS * a.sqrt().min(1.0).asin()
    }
}

impl GeoBox {
    fn has(self, point: Point) -> bool {
        let Self { ne, sw } = self;
        let lon = if sw.lon <= ne.lon {
            (sw.lon..=ne.lon).contains(&point.lon)
        } else {
            point.lon >= sw.lon || point.lon <= ne.lon
        };
        lon && (sw.lat..=ne.lat).contains(&point.lat)
    }
}

/// As answers describe a query: in words like SQL's.
impl fmt::Display for ObjectClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, clauses: &[ObjectClause], word: &str| {
            clauses
                .iter()
                .enumerate()
                .try_for_each(|(n, clause)| write!(f, "{}( {clause} )", if n == 0 { "" } else { word }))
        };
        match self {
            ObjectClause::All => f.write_str("1 = 1"),
            ObjectClause::Eq { field, value } => write!(f, "{field} = {value}"),
            ObjectClause::Not { clause } => write!(f, "NOT ( {clause} )"),
            ObjectClause::And { clauses } => list(f, clauses, " AND "),
            ObjectClause::Or { clauses } => list(f, clauses, " OR "),
            ObjectClause::Range(range) => {
                let lower = range
                    .lower_limit
                    .iter()
                    .map(|limit| (if range.lower_included == Some(false) { ">" } else { ">=" }, limit));
                let upper = range
                    .upper_limit
                    .iter()
                    .map(|limit| (if range.upper_included == Some(false) { "<" } else { "<=" }, limit));
                lower.chain(upper).enumerate().try_for_each(|(n, (sign, limit))| {
                    write!(f, "{}{} {sign} {limit}", if n == 0 { "" } else { " AND " }, range.field)
                })
            }
            ObjectClause::In { field, values } => write!(f, "{field} IN {}", Value::from(values.clone())),
            ObjectClause::Prefix { field, prefix } => write!(f, "{field} LIKE {}", Value::from(format!("{prefix}%"))),
            ObjectClause::HasField { field, field_type } => write!(f, "{field} IS {field_type:?}"),
            ObjectClause::GeoBox { field, .. } => write!(f, "{field} IN A BOX"),
            ObjectClause::GeoDistance { field, radius, .. } => write!(f, "{field} WITHIN {radius}"),
        }
    }
}

/// What objects are put in order by: numbers, then texts, then truth values, then the rest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortKey {
    Number(Number),
    Text(String),
    Bool(bool),
    Rest,
}

impl SortKey {
    /// By a field at the top of `object`, or by one of its `_calculated` distances.
    pub(crate) fn of(object: &Map<String, Value>, field: &str) -> Self {
        let found = match field.strip_prefix(CALCULATED).and_then(|rest| rest.strip_prefix('.')) {
            Some(name) => object.get(CALCULATED).and_then(|distances| distances.get(name)),
            None => object.get(field),
        };
        match found {
            Some(Value::Number(number)) => SortKey::Number(number.clone()),
            Some(Value::String(text)) => SortKey::Text(text.chars().take(SORTED_CHARS).collect()),
            Some(Value::Bool(value)) => SortKey::Bool(*value),
            _ => SortKey::Rest,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            SortKey::Number(_) => 0,
            SortKey::Text(_) => 1,
            SortKey::Bool(_) => 2,
            SortKey::Rest => 3,
        }
    }

    /// Objects without the field come last in either direction.
    pub(crate) fn order(&self, other: &Self, descending: bool) -> Ordering {
        let within = match (self, other) {
            (SortKey::Number(left), SortKey::Number(right)) => compare(left, right),
            (SortKey::Text(left), SortKey::Text(right)) => left.cmp(right),
            (SortKey::Bool(left), SortKey::Bool(right)) => left.cmp(right),
            (SortKey::Rest, _) | (_, SortKey::Rest) => return self.rank().cmp(&other.rank()),
            _ => self.rank().cmp(&other.rank()),
        };
        if descending { within.reverse() } else { within }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Map<String, Value> {
        let tokyo = json!({"_type": "point", "lat": 35.681, "lon": 139.767});
        let object = json!({
            "name": "John", "age": 18, "half": 0.5, "on": true, "none": null, "list": [1], "place": tokyo,
            "fiji": {"_type": "point", "lat": -18.0, "lon": 179.5}, "other": {"lat": 1, "lon": 1}, "_created": 5,
        });
        object.as_object().expect("an object").clone()
    }

    fn clause(value: Value) -> ObjectClause {
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
    }

    #[test]
    fn a_table_of_clauses() {
        let point = |lat: f64, lon: f64| json!({"_type": "point", "lat": lat, "lon": lon});
        let osaka = point(34.702, 135.495);
        for (given, expected) in [
            (json!({"type": "all"}), true),
            (json!({"type": "eq", "field": "name", "value": "John"}), true),
            (json!({"type": "eq", "field": "age", "value": 18.0}), true),
            (json!({"type": "eq", "field": "age", "value": "18"}), false),
            (json!({"type": "eq", "field": "_created", "value": 5}), true),
            (json!({"type": "eq", "field": "nothing", "value": 5}), false),
            (json!({"type": "not", "clause": {"type": "eq", "field": "nothing", "value": 5}}), true),
            (json!({"type": "and", "clauses": []}), true),
            (json!({"type": "or", "clauses": []}), false),
            (
                json!({"type": "and", "clauses": [{"type": "all"}, {"type": "eq", "field": "on", "value": false}]}),
                false,
            ),
            (json!({"type": "or", "clauses": [{"type": "all"}, {"type": "eq", "field": "on", "value": false}]}), true),
            (json!({"type": "range", "field": "age", "upperLimit": 18, "upperIncluded": true}), true),
            (json!({"type": "range", "field": "age", "upperLimit": 18, "upperIncluded": false}), false),
            (json!({"type": "range", "field": "age", "lowerLimit": 17.5, "upperLimit": 18}), true),
            (json!({"type": "range", "field": "name", "lowerLimit": "Jo", "upperLimit": "Jp"}), true),
            (json!({"type": "range", "field": "name", "lowerLimit": 1}), false),
            (json!({"type": "range", "field": "on"}), false),
            (json!({"type": "in", "field": "name", "values": ["Ann", "John"]}), true),
            (json!({"type": "in", "field": "age", "values": ["18", 19]}), false),
            (json!({"type": "in", "field": "age", "values": []}), false),
            (json!({"type": "prefix", "field": "name", "prefix": "Jo"}), true),
            (json!({"type": "prefix", "field": "name", "prefix": "jo"}), false),
            (json!({"type": "prefix", "field": "age", "prefix": "1"}), false),
            (json!({"type": "hasField", "field": "name", "fieldType": "STRING"}), true),
            (json!({"type": "hasField", "field": "age", "fieldType": "INTEGER"}), true),
            (json!({"type": "hasField", "field": "age", "fieldType": "DECIMAL"}), false),
            (json!({"type": "hasField", "field": "half", "fieldType": "DECIMAL"}), true),
            (json!({"type": "hasField", "field": "on", "fieldType": "BOOLEAN"}), true),
            (json!({"type": "hasField", "field": "none", "fieldType": "BOOLEAN"}), false),
            (
                json!({"type": "geobox", "field": "place", "box": {"ne": point(36.0, 140.0), "sw": point(35.0, 139.0)}}),
                true,
            ),
            (
                json!({"type": "geobox", "field": "place", "box": {"ne": point(36.0, 139.7), "sw": point(35.0, 139.0)}}),
                false,
            ),
            (
                json!({"type": "geobox", "field": "fiji", "box": {"ne": point(-10.0, -170.0), "sw": point(-20.0, 170.0)}}),
                true,
            ),
            (json!({"type": "geobox", "field": "other", "box": {"ne": point(9.0, 9.0), "sw": point(0.0, 0.0)}}), false),
            // Tokyo is 403 km from Osaka.
            (json!({"type": "geodistance", "field": "place", "center": osaka, "radius": 410_000}), true),
            (json!({"type": "geodistance", "field": "place", "center": osaka, "radius": 390_000}), false),
        ] {
            assert_eq!(clause(given.clone()).holds(&object()), expected, "{given}");
            clause(given).check().expect("bounded");
        }
    }

    #[test]
    fn distances_are_told_where_they_are_wanted() {
        let near = json!({"type": "geodistance", "field": "place", "center": {"lat": 35.681, "lon": 139.767}, "radius": 1,
            "putDistanceInto": "d"});
        let mut shown = object();
        clause(json!({"type": "and", "clauses": [near]})).calculate(&mut shown);
        assert_eq!(shown["_calculated"]["d"].as_f64(), Some(0.0));
        assert!(matches!(SortKey::of(&shown, "_calculated.d"), SortKey::Number(_)));
        assert_eq!(SortKey::of(&shown, "_calculated.e"), SortKey::Rest);
        clause(json!({"type": "all"})).calculate(&mut object());
    }

    #[test]
    fn what_has_no_bounds_or_no_meaning_is_refused() {
        let leaf = json!({"type": "all"});
        let deep = (0..16).fold(leaf.clone(), |inner, _| json!({"type": "not", "clause": inner}));
        assert_eq!(clause(deep).check(), Err(InvalidClause::TooDeep));
        assert_eq!(clause(json!({"type": "or", "clauses": vec![leaf; 100]})).check(), Err(InvalidClause::TooMany));
        assert_eq!(
            clause(json!({"type": "in", "field": "f", "values": vec![1; 201]})).check(),
            Err(InvalidClause::TooMany)
        );
        for wrong in [
            json!({"type": "eq", "field": "f", "value": null}),
            json!({"type": "range", "field": "f", "upperLimit": []}),
        ] {
            assert_eq!(clause(wrong).check(), Err(InvalidClause::Incomparable));
        }
        for wrong in [
            json!({"type": "eq", "field": "f"}),
            json!({"type": "like", "field": "f"}),
            json!({"type": "geodistance", "field": "f", "center": {"lat": 1}, "radius": 1}),
            json!({"type": "hasField", "field": "f", "fieldType": "POINT"}),
            json!({}),
        ] {
            serde_json::from_value::<ObjectClause>(wrong.clone()).expect_err(&wrong.to_string());
        }
    }

    #[test]
    fn objects_without_the_field_come_last_in_either_direction() {
        let objects =
            [json!({"f": 2}), json!({}), json!({"f": 10}), json!({"f": "a"}), json!({"f": null}), json!({"f": -1.5})];
        let keys = objects.map(|object| SortKey::of(object.as_object().expect("an object"), "f"));
        for (descending, expected) in [(false, [-1.5, 2.0, 10.0]), (true, [10.0, 2.0, -1.5])] {
            let mut sorted = keys.to_vec();
            sorted.sort_by(|left, right| left.order(right, descending));
            assert_eq!(sorted[4..], [SortKey::Rest, SortKey::Rest]);
            let numbers: Vec<_> = sorted
                .iter()
                .filter_map(|key| if let SortKey::Number(number) = key { number.as_f64() } else { None })
                .collect();
            assert_eq!(numbers, expected);
        }
    }

    #[test]
    fn a_query_is_described() {
        let given = json!({"type": "and", "clauses": [{"type": "or", "clauses": [
            {"type": "range", "field": "age", "upperLimit": 18, "upperIncluded": true},
            {"type": "range", "field": "age", "lowerLimit": 65, "lowerIncluded": false}]},
            {"type": "eq", "field": "gender", "value": "Female"}]});
        assert_eq!(clause(given).to_string(), "( ( age <= 18 ) OR ( age > 65 ) ) AND ( gender = \"Female\" )");
    }
}
