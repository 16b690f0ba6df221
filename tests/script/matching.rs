//! Comparing what a script expects with what the device did, and the names that stand for request ids.

use std::collections::BTreeMap;

use serde_json::Value;

use super::steps::ASIDE;
use crate::samples;

/// What `${name}` stands for. The first time a script expects one in a payload of the device, it takes what the device
/// wrote there; from then on it means that.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Vec<u8>>);

impl Names {
    /// Whether the device did what the line says: the same members with the same values.
    pub(super) fn matches(&mut self, line: &Value, did: &Value) -> bool {
        let (Some(line), Some(did)) = (line.as_object(), did.as_object()) else { return false };
        let expected = line.iter().filter(|(key, _)| !ASIDE.contains(&key.as_str()));
        expected.clone().count() == did.len()
            && expected.into_iter().all(|(key, expected)| match (key.as_str(), did.get(key)) {
                (_, None) => false,
                ("payload" | "body", Some(did)) => self.bytes_match(&samples::bytes(expected), &samples::bytes(did)),
                (_, Some(did)) => expected == did,
            })
    }

    /// The bytes that `value` describes, every `${name}` filled in.
    pub(super) fn fill(&self, value: &Value) -> Result<Vec<u8>, String> {
        let mut filled = Vec::new();
        for part in parts(&samples::bytes(value)) {
            match part {
                Part::Literal(bytes) => filled.extend(bytes),
                Part::Name(name) => {
                    filled.extend(self.0.get(&name).ok_or(format!("${{{name}}} stands for nothing yet"))?);
                }
            }
        }
        Ok(filled)
    }

    fn bytes_match(&mut self, expected: &[u8], mut did: &[u8]) -> bool {
        let parts = parts(expected);
        for (at, part) in parts.iter().enumerate() {
            let matched = match part {
                Part::Literal(bytes) => bytes.clone(),
                Part::Name(name) => match self.0.get(name) {
                    Some(known) => known.clone(),
                    None => {
                        // An id ends where the script goes on.
                        let stop = match parts.get(at + 1) {
                            Some(Part::Literal(bytes)) => bytes.first().copied(),
                            _ => None,
                        };
                        let id: Vec<_> = did.iter().copied().take_while(|b| Some(*b) != stop).collect();
                        let is_id = (1..=64).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
                        if !is_id || self.0.values().any(|other| *other == id) {
                            return false;
                        }
                        self.0.insert(name.clone(), id.clone());
                        id
                    }
                },
            };
            match did.strip_prefix(matched.as_slice()) {
                Some(rest) => did = rest,
                None => return false,
            }
        }
        did.is_empty()
    }
}

enum Part {
    Literal(Vec<u8>),
    Name(String),
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut parts = vec![Part::Literal(Vec::new())];
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let name = rest.strip_prefix(b"${").and_then(|inner| {
            let end = inner.iter().position(|b| *b == b'}')?;
            Some((String::from_utf8(inner[..end].to_vec()).ok()?, &inner[end + 1..]))
        });
        if let Some((name, after)) = name {
            parts.push(Part::Name(name));
            parts.push(Part::Literal(Vec::new()));
            rest = after;
        } else {
            if let Some(Part::Literal(literal)) = parts.last_mut() {
                literal.push(*first);
            }
            rest = after;
        }
    }
    parts
}
