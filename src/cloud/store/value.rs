//! Parameters and rows, in the types that both SQL dialects have.

use std::borrow::Cow;

use super::StoreError;

/// One parameter or one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Blob(Cow::Borrowed(bytes))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// One row of a result; columns are taken out by their place in the SELECT.
#[derive(Debug)]
pub(crate) struct Row(Vec<Value<'static>>);

impl Row {
    pub(super) fn new(columns: Vec<Value<'static>>) -> Self {
        Self(columns)
    }

    fn take(&mut self, index: usize) -> Value<'static> {
        self.0.get_mut(index).map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
    }

    /// A TEXT column that is never NULL. Takes it out of the row.
    pub(crate) fn text(&mut self, index: usize) -> Result<String, StoreError> {
        match self.take(index) {
            Value::Text(text) => Ok(text.into_owned()),
            _ => Err(StoreError::column(index, "TEXT")),
        }
    }

    /// A TEXT column that may be NULL. Takes it out of the row.
    pub(crate) fn optional_text(&mut self, index: usize) -> Result<Option<String>, StoreError> {
        match self.take(index) {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text.into_owned())),
            _ => Err(StoreError::column(index, "TEXT or NULL")),
        }
    }

    /// A BYTEA column that is never NULL. Takes it out of the row.
    pub(crate) fn blob(&mut self, index: usize) -> Result<Vec<u8>, StoreError> {
        match self.take(index) {
            Value::Blob(bytes) => Ok(bytes.into_owned()),
            _ => Err(StoreError::column(index, "BYTEA")),
        }
    }

    /// A BIGINT column that is never NULL.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, StoreError> {
        match self.0.get(index) {
            Some(Value::Integer(number)) => Ok(*number),
            _ => Err(StoreError::column(index, "BIGINT")),
        }
    }
    /// A BIGINT column that may be NULL.
    pub(crate) fn optional_integer(&self, index: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(index) {
            Some(Value::Null) => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(*number)),
            _ => Err(StoreError::column(index, "BIGINT or NULL")),
        }
    }
}
