//! Reading the fields of an object by hand: the last duplicate wins, errors name the field and never show its value.

use serde_json::{Map, Value};

/// Why bytes are not the body they should be. It names the place and never shows the value found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBody {
    /// Not JSON at all.
    #[error("body is not JSON at line {line}, column {column}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// JSON that the type refuses.
    #[error("body is wrong: {0}")]
    Shape(String),
    /// A required field is absent or `null`.
    #[error("body has no `{field}`")]
    Missing {
        /// Path of the field, such as `mqttEndpoint.host`.
        field: String,
    },
    /// A field holds what it cannot hold.
    #[error("`{field}` is not {expected}")]
    Field {
        /// Path of the field.
        field: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The content type is not one that this operation takes.
    #[error("content type is not one that this operation takes")]
    MediaType,
}

impl From<serde_json::Error> for InvalidBody {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() {
            InvalidBody::Shape(without_value(&error.to_string()))
        } else {
            InvalidBody::Syntax { line: error.line(), column: error.column() }
        }
    }
}

/// What serde says of a value that is none of those expected, without the value: it may be a password that stands where
/// something else should.
fn without_value(said: &str) -> String {
    let Some(at) = said.rfind(", expected ") else { return said.to_owned() };
    let (found, expected) = said.split_at(at);
    let quoted = found.find(['"', '`']).unwrap_or(found.len());
    format!("{}{expected}", found[..quoted].trim_end())
}

/// An object and the path at which it was found.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, InvalidBody> {
        let value = serde_json::from_slice::<Value>(body)
            .map_err(|error| InvalidBody::Syntax { line: error.line(), column: error.column() })?;
        Self::of(value)
    }

    pub(super) fn of(value: Value) -> Result<Self, InvalidBody> {
        match value {
            Value::Object(map) => Ok(Self { path: String::new(), map }),
            _ => Err(InvalidBody::Field { field: String::from("body"), expected: "an object" }),
        }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub(super) fn missing(&self, field: &str) -> InvalidBody {
        InvalidBody::Missing { field: self.name(field) }
    }

    pub(super) fn wrong(&self, field: &str, expected: &'static str) -> InvalidBody {
        InvalidBody::Field { field: self.name(field), expected }
    }

    /// The value of `field`; `null` counts as absent.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.shift_remove(field).filter(|value| !value.is_null())
    }

    /// The value of `field`, which stays where it is.
    pub(super) fn peek(&self, field: &str) -> Option<&Value> {
        self.map.get(field)
    }

    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, InvalidBody> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "a string")),
        }
    }

    pub(super) fn required_text(&mut self, field: &str) -> Result<String, InvalidBody> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    /// A required text that becomes a `T`.
    pub(super) fn required<T: TryFrom<String>>(
        &mut self,
        field: &str,
        expected: &'static str,
    ) -> Result<T, InvalidBody> {
        let text = self.required_text(field)?;
        T::try_from(text).map_err(|_| self.wrong(field, expected))
    }

    /// A text that becomes a `T`, or is absent.
    pub(super) fn optional<T: TryFrom<String>>(
        &mut self,
        field: &str,
        expected: &'static str,
    ) -> Result<Option<T>, InvalidBody> {
        match self.text(field)? {
            None => Ok(None),
            Some(text) => T::try_from(text).map(Some).map_err(|_| self.wrong(field, expected)),
        }
    }

    /// A whole number, written as a number or as digits in a string.
    pub(super) fn integer(&mut self, field: &str) -> Result<Option<i64>, InvalidBody> {
        let number = match self.take(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(field, "a whole number"))
    }

    /// A text of at most `max` characters.
    pub(super) fn text_up_to(
        &mut self,
        field: &str,
        max: usize,
        expected: &'static str,
    ) -> Result<Option<String>, InvalidBody> {
        match self.text(field)? {
            Some(text) if text.chars().count() > max => Err(self.wrong(field, expected)),
            text => Ok(text),
        }
    }

    /// An object as it stands.
    pub(super) fn map(&mut self, field: &str) -> Result<Option<Map<String, Value>>, InvalidBody> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.wrong(field, "an object")),
        }
    }

    /// The fields that were not taken, in their order.
    pub(super) fn into_rest(self) -> Map<String, Value> {
        self.map
    }

    pub(super) fn object(&mut self, field: &str) -> Result<Option<Fields>, InvalidBody> {
        Ok(self.map(field)?.map(|map| Fields { path: self.name(field), map }))
    }

    pub(super) fn required_object(&mut self, field: &str) -> Result<Fields, InvalidBody> {
        self.object(field)?.ok_or_else(|| self.missing(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_repeat_the_value() {
        for (said, expected) in [
            ("invalid type: string \"pw\", expected a map at line 1", "invalid type: string, expected a map at line 1"),
            ("invalid type: string \"a, expected b\", expected c", "invalid type: string, expected c"),
            ("invalid value: integer `4711`, expected u16", "invalid value: integer, expected u16"),
            ("unknown variant `pw`, expected `A` or `B`", "unknown variant, expected `A` or `B`"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            ("missing field `actions`", "missing field `actions`"),
        ] {
            assert_eq!(without_value(said), expected);
        }
    }

    #[test]
    fn errors_name_the_path_and_not_the_value() {
        let mut fields = Fields::parse(br#"{"a":{"b":"hunter2"},"n":null}"#).expect("an object");
        let mut inner = fields.object("a").expect("an object").expect("present");
        let error = inner.integer("b").expect_err("not a number");
        assert_eq!(error.to_string(), "`a.b` is not a whole number");
        assert_eq!(fields.required_text("n"), Err(InvalidBody::Missing { field: "n".into() }));
    }

    #[test]
    fn what_is_no_object_says_where() {
        assert_eq!(Fields::parse(b"{\n  x").err(), Some(InvalidBody::Syntax { line: 2, column: 3 }));
        assert_eq!(Fields::parse(b"[]").err().map(|e| e.to_string()).as_deref(), Some("`body` is not an object"));
        assert!(Fields::parse(b"").is_err());
    }

    #[test]
    fn the_last_duplicate_wins() {
        let mut fields = Fields::parse(br#"{"a":"1","a":" 2 "}"#).expect("an object");
        assert_eq!(fields.integer("a"), Ok(Some(2)));
    }
}
