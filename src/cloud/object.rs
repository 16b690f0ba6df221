//! A JSON object in a request, field by field.

use serde_json::{Map, Value};

use super::failure::Failure;

/// The fields that have not been taken yet.
#[derive(Debug, Default)]
pub(crate) struct Object(pub(crate) Map<String, Value>);

impl Object {
    /// The value of `field`; `null` counts as absent.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.0.shift_remove(field).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(field, "a string")),
        }
    }

    pub(crate) fn required_text(&mut self, field: &str) -> Result<String, Failure> {
        self.text(field)?.ok_or_else(|| missing(field))
    }

    /// A text that becomes a `T`, an identifier.
    pub(crate) fn id<T: TryFrom<String>>(&mut self, field: &str) -> Result<Option<T>, Failure> {
        match self.text(field)? {
            None => Ok(None),
            Some(text) => T::try_from(text).map(Some).map_err(|_| wrong(field, IDENTIFIER)),
        }
    }

    pub(crate) fn required_id<T: TryFrom<String>>(&mut self, field: &str) -> Result<T, Failure> {
        self.id(field)?.ok_or_else(|| missing(field))
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(wrong(field, "true or false")),
        }
    }

    /// A whole number, written as a number or as digits in a string.
    pub(crate) fn integer(&mut self, field: &str) -> Result<Option<i64>, Failure> {
        let number = match self.take(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| wrong(field, "a whole number"))
    }
}

const IDENTIFIER: &str = "of A-Z a-z 0-9 . _ - alone, or is longer than it may be";

/// 400: `field` is needed.
pub(crate) fn missing(field: &str) -> Failure {
    Failure::invalid(format!("`{field}` is missing")).with("field", field)
}

/// 400: `field` is something else. What it is is not repeated: it may be a password.
pub(crate) fn wrong(field: &str, expected: &str) -> Failure {
    Failure::invalid(format!("`{field}` is not {expected}")).with("field", field)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::ThingType;

    fn object(value: Value) -> Object {
        Object(value.as_object().expect("an object").clone())
    }

    #[test]
    fn what_is_there_is_read_and_what_is_wrong_is_named_and_not_shown() {
        let mut fields =
            object(json!({ "t": "x", "n": null, "i": "12", "b": true, "w": 31337, "long": "y".repeat(101) }));
        assert_eq!(fields.text("t").expect("a text").as_deref(), Some("x"));
        assert_eq!(fields.text("n").expect("absent"), None);
        assert_eq!(fields.integer("i").expect("a number"), Some(12));
        assert_eq!(fields.boolean("b").expect("a boolean"), Some(true));
        for failure in [
            fields.text("w").expect_err("a number"),
            fields.id::<ThingType>("long").expect_err("too long"),
            fields.required_text("nothing").expect_err("absent"),
        ] {
            let shown = format!("{failure:?}");
            assert!(!shown.contains("31337") && !shown.contains("yyy"), "{shown}");
        }
        assert!(object(json!({ "i": 1.5 })).integer("i").is_err());
        assert!(object(json!({ "b": "true" })).boolean("b").is_err());
    }
}
