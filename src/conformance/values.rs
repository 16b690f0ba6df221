//! Names of values in a scenario, and texts that mention them as `${name.member}`.

use serde_json::{Map, Value};

/// Longer no text becomes by the values in it.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// What has a name.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(Map<String, Value>);

impl Values {
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        let (name, mut rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let mut value = self.0.get(name)?;
        while let Some(path) = rest {
            let (name, after) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
            value = match value {
                Value::Array(list) => list.get(name.parse::<usize>().ok()?)?,
                other => other.get(name)?,
            };
            rest = after;
        }
        Some(value)
    }

    /// `value` with every name replaced, in texts and in names of members. A text that is one name alone becomes its
    /// value, of whatever type.
    ///
    /// # Errors
    /// The name that nothing has.
    pub(super) fn resolve(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => {
                let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                match whole.filter(|name| !name.contains('}')) {
                    Some(name) => self.get(name).cloned().ok_or_else(|| unknown(name))?,
                    None => Value::String(self.text(text)?),
                }
            }
            Value::Array(list) => Value::Array(list.iter().map(|value| self.resolve(value)).collect::<Result<_, _>>()?),
            Value::Object(members) => Value::Object(self.members(members)?),
            other => other.clone(),
        })
    }

    /// As [`resolve`](Self::resolve), of each member.
    pub(super) fn members(&self, members: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        members.iter().map(|(name, value)| Ok((self.text(name)?, self.resolve(value)?))).collect()
    }

    /// `text` with every name replaced by its value; numbers and JSON as they are written.
    pub(super) fn text(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
            out.push_str(before);
            match self.get(name).ok_or_else(|| unknown(name))? {
                Value::String(text) => out.push_str(text),
                other => out.push_str(&other.to_string()),
            }
            if out.len() > MAX_TEXT {
                return Err(format!("a text of more than {MAX_TEXT} bytes"));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn unknown(name: &str) -> String {
    format!("nothing is named {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_replaced_by_their_values() {
        let mut values = Values::default();
        values.set("a", json!({"b": [1, {"x-y": "z"}], "n": null}));
        values.set("t", "text");
        let resolved = values.resolve(&json!(["${a.b.0}", "<${a.b.1.x-y}> ${a.b.0}", {"${t}": "${a.n}"}, 7]));
        assert_eq!(resolved, Ok(json!([1, "<z> 1", {"text": null}, 7])));
        assert_eq!(values.resolve(&json!("${t}${t}")), Ok(json!("texttext")));
        values.resolve(&json!("${u}")).expect_err("unknown");
        values.resolve(&json!("x${t")).expect_err("no end");
    }
}
