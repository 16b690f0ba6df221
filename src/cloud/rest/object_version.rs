//! `ETag`, `If-Match` and `If-None-Match`: which version of an object is meant.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cloud::failure::Failure;
use crate::cloud::store::objects::Object;
use crate::thing_if::ErrorCode;

/// The version of `object` as a header has it.
pub(super) fn etag(object: &Object) -> Result<HeaderValue, Failure> {
    HeaderValue::try_from(format!("\"{}\"", object.version)).map_err(Failure::internal)
}

/// What a request says of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    /// One of these, or any.
    Match(Versions),
    /// None of these, or none at all.
    NoneMatch(Versions),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Versions {
    /// `*`
    Any,
    These(Vec<String>),
}

impl Versions {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Failure> {
        let mut these = Vec::new();
        for value in headers.get_all(name) {
            let value = value.to_str().map_err(|_| Failure::invalid(format!("`{name}` is not text")))?;
            for version in value.split(',').map(str::trim).filter(|version| !version.is_empty()) {
                if version == "*" {
                    return Ok(Some(Versions::Any));
                }
                // Some clients send it without the quotation marks.
                let version = version.strip_prefix("W/").unwrap_or(version);
                these.push(version.trim_matches('"').to_owned());
            }
        }
        Ok(if these.is_empty() { None } else { Some(Versions::These(these)) })
    }

    fn has(&self, object: &Object) -> bool {
        match self {
            Versions::Any => true,
            Versions::These(these) => these.iter().any(|version| *version == object.version.to_string()),
        }
    }
}

impl Condition {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        match (Versions::read(headers, &IF_MATCH)?, Versions::read(headers, &IF_NONE_MATCH)?) {
            (None, None) => Ok(Condition::None),
            (Some(versions), None) => Ok(Condition::Match(versions)),
            (None, Some(versions)) => Ok(Condition::NoneMatch(versions)),
            (Some(_), Some(_)) => Err(Failure::invalid("`If-Match` and `If-None-Match` exclude one another")),
        }
    }

    /// Whether a reader has this version of `object` already: 304.
    pub(super) fn is_known(&self, object: &Object) -> bool {
        matches!(self, Condition::NoneMatch(versions) if versions.has(object))
    }

    /// Checks that `object`, as it is, may be written over or deleted.
    ///
    /// # Errors
    /// 409 OBJECT_VERSION_IS_STALE or OBJECT_ALREADY_EXISTS.
    pub(super) fn allows(&self, object: &Object) -> Result<(), Failure> {
        let id = &object.object_id;
        match self {
            Condition::Match(versions) if !versions.has(object) => {
                let message = format!("Object {id} has another version meanwhile");
                Err(Failure::new(ErrorCode::ObjectVersionIsStale, message).with("objectID", id.as_str()))
            }
            Condition::NoneMatch(versions) if versions.has(object) => {
                let message = format!("Object {id} already exists");
                Err(Failure::new(ErrorCode::ObjectAlreadyExists, message).with("objectID", id.as_str()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the request wants an object that is there already.
    pub(super) fn needs_object(&self) -> bool {
        matches!(self, Condition::Match(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: i64) -> Object {
        Object {
            seq: 1,
            object_id: "o".into(),
            version,
            owner: "u".into(),
            data_type: "application/json".into(),
            fields: "{}".into(),
            created_at: 0,
            modified_at: 0,
        }
    }

    fn condition(name: &'static str, value: &str) -> Condition {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("printable"));
        Condition::read(&headers).expect("readable")
    }

    #[test]
    fn versions_are_compared_with_and_without_quotation_marks() {
        for value in ["\"7\"", "7", "\"6\", \"7\"", "*", "W/\"7\""] {
            assert!(condition("if-match", value).allows(&object(7)).is_ok(), "{value}");
            assert!(condition("if-none-match", value).allows(&object(7)).is_err(), "{value}");
            assert!(condition("if-none-match", value).is_known(&object(7)), "{value}");
        }
        for value in ["\"8\"", "8", "\"77\"", "x"] {
            assert!(condition("if-match", value).allows(&object(7)).is_err(), "{value}");
            assert!(condition("if-none-match", value).allows(&object(7)).is_ok(), "{value}");
        }
        assert_eq!(condition("if-match", ""), Condition::None);
        assert!(condition("if-match", "*").needs_object() && !condition("if-none-match", "*").needs_object());
    }

    #[test]
    fn both_at_once_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_static("1"));
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(Condition::read(&headers).is_err());
    }
}
