//! Reads `proto-samples/frames/*.jsonl`; the format is in `proto-samples/README.md`.
#![allow(dead_code, reason = "each test and bench that includes this file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where a file's bytes may come from.
const SOURCES: [&str; 5] = ["documentation", "third-party client", "edge", "hand-made", "live"];

/// One payload and what it means.
pub(crate) struct Sample {
    pub name: String,
    pub topic: Option<String>,
    pub payload: Vec<u8>,
    pub meaning: Meaning,
    pub request_id: Option<Vec<u8>>,
    pub dropped: Vec<String>,
    pub canonical: bool,
}

pub(crate) enum Meaning {
    Accepted { start: Start, headers: Vec<(String, Vec<u8>)>, body: Vec<u8> },
    Refused { kind: String, offset: usize },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Start {
    Verb(String),
    Status(u16),
}

/// The files of `proto-samples/frames`, sorted. At least one.
pub(crate) fn files() -> Vec<PathBuf> {
    files_in("proto-samples/frames")
}

/// The `.jsonl` files of a folder of the project, sorted. At least one.
pub(crate) fn files_in(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|e| e.expect("a readable folder").path());
    let mut files: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no .jsonl file", folder.display());
    files
}

/// The samples of one file.
pub(crate) fn read(file: &Path) -> Vec<Sample> {
    let (_, lines) = read_lines(file);
    let samples: Vec<_> = lines.iter().map(|(_, line)| sample(line)).collect();
    assert!(!samples.is_empty(), "{} has no samples", file.display());
    for (n, sample) in samples.iter().enumerate() {
        assert!(samples[..n].iter().all(|s| s.name != sample.name), "two samples are called {:?}", sample.name);
    }
    samples
}

/// The first line of a file, which says what it is, and the others with their numbers.
pub(crate) fn read_lines(file: &Path) -> (Value, Vec<(usize, Value)>) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut lines = text.lines().enumerate().map(|(n, line)| {
        let value = serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{}:{}: {e}", file.display(), n + 1));
        (n + 1, value)
    });
    let (_, head) = lines.next().unwrap_or_else(|| panic!("{} is empty", file.display()));
    let source = head["source"].as_str().expect("source: a string");
    assert!(SOURCES.contains(&source), "{}: unknown source {source:?}", file.display());
    assert!(head["about"].is_string(), "{}: about is missing", file.display());
    (head, lines.collect())
}

/// The payload of one sample, for benches.
pub(crate) fn payload(file: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-samples/frames").join(file);
    let sample = read(&path).into_iter().find(|s| s.name == name);
    sample.unwrap_or_else(|| panic!("{file} has no sample {name:?}")).payload
}

fn sample(line: &Value) -> Sample {
    const MEMBERS: [&str; 9] =
        ["name", "note", "topic", "payload", "accepted", "refused", "request_id", "dropped", "canonical"];
    let object = line.as_object().expect("a sample is an object");
    let name = text(&line["name"]);
    for member in object.keys() {
        assert!(MEMBERS.contains(&member.as_str()), "{name}: unknown member {member:?}");
    }
    let meaning = match (object.get("accepted"), object.get("refused")) {
        (Some(accepted), None) => Meaning::Accepted {
            start: match &accepted["start"] {
                Value::String(verb) => Start::Verb(verb.clone()),
                status => Start::Status(status.as_u64().expect("a status").try_into().expect("three digits")),
            },
            headers: list(&accepted["headers"]).iter().map(|h| (text(&h[0]), bytes(&h[1]))).collect(),
            body: bytes(&accepted["body"]),
        },
        (None, Some(refused)) => Meaning::Refused {
            kind: text(&refused["kind"]),
            offset: refused["offset"].as_u64().expect("an offset").try_into().expect("it fits"),
        },
        _ => panic!("{name}: exactly one of accepted and refused"),
    };
    Sample {
        topic: object.get("topic").map(text),
        payload: bytes(&line["payload"]),
        meaning,
        request_id: object.get("request_id").map(bytes),
        dropped: object.get("dropped").map(|d| list(d).iter().map(text).collect()).unwrap_or_default(),
        canonical: object.get("canonical").is_some_and(|c| c.as_bool().expect("canonical: true or false")),
        name,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list, not {value}"))
}

/// Bytes in one of the forms that README.md lists.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(parts) => parts.iter().flat_map(bytes).collect(),
        Value::Object(form) if form.contains_key("hex") => {
            let hex = text(&form["hex"]);
            let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
            digits.map(|pair| u8::from_str_radix(pair, 16).expect("two hexadecimal digits")).collect()
        }
        Value::Object(form) => {
            text(&form["repeat"]).repeat(form["times"].as_u64().expect("times: a number") as usize).into_bytes()
        }
        other => panic!("bytes, not {other}"),
    }
}
