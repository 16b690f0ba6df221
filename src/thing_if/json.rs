//! The JSON dialect of the service: Jackson's default pretty-printing.
//!
//! ```text
//! {
//!   "installations" : [ {
//!     "deviceType" : "MQTT",
//!     "filters" : [ "a", "b" ],
//!     "none" : { }
//!   } ]
//! }
//! ```
//!
//! Two spaces a level, a space on either side of the colon, LF, arrays on the line of their brackets. A body's first
//! line is exactly `{`: one known client finds the body by that line alone and loses it otherwise. (`wire` §2.1, §2.3)

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::Formatter;

use super::InvalidBody;

/// Writes `body` in the service's dialect.
///
/// An empty object is `{ }`, but as a whole body it is `{` LF `}`, so that its first line too is `{`.
///
/// # Panics
/// If `T`'s own `Serialize` fails or it has a map whose keys are not strings or numbers. No type of
/// [`thing_if`](super) does, nor does `serde_json::Value`.
pub fn to_pretty<T: Serialize + ?Sized>(body: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Pretty::default());
    body.serialize(&mut serializer).expect("writing to memory does not fail, and a body's keys are strings");
    out.into()
}

/// Reads a body. White space after it is ignored, as the service must. (`wire` §2.1)
///
/// # Errors
/// [`InvalidBody`] with line and column; what the type itself refuses is shown in serde's words, and those may quote
/// the value, so this is not for bodies whose fields are secret other than as [`Secret`](crate::secret::Secret).
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidBody> {
    serde_json::from_slice(body).map_err(InvalidBody::from)
}

#[derive(Default)]
struct Pretty {
    /// Objects around the next byte; arrays do not indent.
    depth: usize,
    /// Whether the object or array that ends next had a value.
    has_value: bool,
}

impl Pretty {
    fn new_line<W: io::Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(b"\n")?;
        for _ in 0..self.depth {
            out.write_all(b"  ")?;
        }
        Ok(())
    }
}

impl Formatter for Pretty {
    fn begin_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.has_value = false;
        out.write_all(b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b" ]")
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b" " } else { b", " })
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        out.write_all(b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value || self.depth == 0 {
            self.new_line(out)?;
        } else {
            out.write_all(b" ")?;
        }
        out.write_all(b"}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.new_line(out)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b" : ")
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_pretty(value).into()).expect("JSON is UTF-8")
    }

    /// The list of installations as the documentation prints it.
    #[test]
    fn a_list_is_printed_as_the_documentation_prints_it() {
        let body = json!({ "installations": [
            { "installationID": "{INSTALLATION_ID_1}", "development": true, "deviceType": "MQTT" },
            { "installationID": "{INSTALLATION_ID_2}", "development": true, "deviceType": "MQTT" },
        ] });
        let printed = r#"{
  "installations" : [ {
    "installationID" : "{INSTALLATION_ID_1}",
    "development" : true,
    "deviceType" : "MQTT"
  }, {
    "installationID" : "{INSTALLATION_ID_2}",
    "development" : true,
    "deviceType" : "MQTT"
  } ]
}"#;
        assert_eq!(text(&body), printed);
    }

    #[test]
    fn empty_and_nested_values_follow_jackson() {
        let body = json!({ "a": {}, "b": [], "c": [1, [2, []], "x"], "d": { "e": [{}] } });
        let printed = "{\n  \"a\" : { },\n  \"b\" : [ ],\n  \"c\" : [ 1, [ 2, [ ] ], \"x\" ],\n  \"d\" : {\n    \"e\" : [ { } ]\n  }\n}";
        assert_eq!(text(&body), printed);
    }

    #[test]
    fn a_whole_body_that_is_empty_keeps_its_first_line() {
        assert_eq!(text(&json!({})), "{\n}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..6).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_has_no_cr(value in any_json()) {
            let written = to_pretty(&value);
            prop_assert!(!written.contains(&b'\r'));
            prop_assert_eq!(from_slice::<Value>(&written), Ok(value));
        }

        #[test]
        fn the_first_line_of_an_object_is_its_brace(pairs in prop::collection::vec((".{0,6}", any_json()), 0..4)) {
            let object: Value = pairs.into_iter().collect();
            let first_line = to_pretty(&object).split(|b| *b == b'\n').next().map(<[u8]>::len);
            prop_assert_eq!(first_line, Some(1));
        }
    }
}
