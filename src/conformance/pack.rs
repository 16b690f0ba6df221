//! The scenarios that come with the program, and those in a directory of the user's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::matching;
use super::scenario::{Action, End, Pack, Scenario, Step};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../proto-samples/scenarios/", $path)))),*]
    };
}

/// The files that come with the program.
const FILES: &[(&str, &str)] = files![
    "client/parts.json",
    "client/onboarding.json",
    "client/connack.json",
    "client/frames.json",
    "client/correlation.json",
    "client/pushes.json",
    "client/lifecycle.json",
    "server/parts.json",
    "server/connect.json",
    "server/frames.json",
    "server/requests.json",
    "server/order.json",
    "server/isolation.json",
    "server/pushes.json",
];

/// What a step can wait for.
const EVENTS: [&str; 20] = [
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "malformed",
    "oversize",
    "closed",
    "result",
    "push",
    "exited",
];

/// Larger files are not read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Parts are not played deeper in each other.
const MAX_DEPTH: usize = 64;

/// The scenarios of one end, with the parts that they play.
#[derive(Debug, Clone)]
pub struct Scenarios {
    /// By name.
    pub parts: BTreeMap<String, Vec<Step>>,
    /// In the order of their files.
    pub scenarios: Vec<Scenario>,
}

/// Why scenarios cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPack {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Io {
        /// Which one.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file is not JSON of this format.
    #[error("{file}: {error}")]
    Json {
        /// Which one.
        file: String,
        /// Why.
        error: serde_json::Error,
    },
    /// Something is named twice, or mentioned and not there.
    #[error("{0}")]
    Name(String),
}

impl Scenarios {
    /// Those that come with the program.
    ///
    /// # Errors
    /// [`InvalidPack`] cannot happen unless a file was edited and its tests not run.
    pub fn built_in(end: End) -> Result<Self, InvalidPack> {
        Self::of(end, FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
    }

    /// Those in the files `*.json` of a directory, in alphabetical order; files for the other end are passed over.
    ///
    /// # Errors
    /// [`InvalidPack`] says which file and why.
    pub fn in_directory(end: End, directory: &Path) -> Result<Self, InvalidPack> {
        let failed = |file: &Path, error| InvalidPack::Io { file: file.display().to_string(), error };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|error| failed(directory, error))? {
            let path = entry.map_err(|error| failed(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = read(&path).map_err(|error| failed(&path, error))?;
                files.push((path.display().to_string(), text));
            }
        }
        files.sort();
        Self::of(end, files)
    }

    fn of(end: End, files: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidPack> {
        let mut all = Self { parts: BTreeMap::new(), scenarios: Vec::new() };
        for (file, text) in files {
            let rule = |value: Value| matching::unknown_rule(&value).map(str::to_owned);
            let json = |error| InvalidPack::Json { file: file.clone(), error };
            if let Some(rule) = rule(serde_json::from_str(&text).map_err(json)?) {
                return Err(InvalidPack::Name(format!("{file}: there is no rule {rule}")));
            }
            let pack: Pack = serde_json::from_str(&text).map_err(json)?;
            if pack.grades == end {
                for (name, steps) in pack.parts {
                    if all.parts.contains_key(&name) {
                        return Err(InvalidPack::Name(format!("{file}: there is another part {name}")));
                    }
                    all.parts.insert(name, steps);
                }
                all.scenarios.extend(pack.scenarios);
            }
        }
        all.check()?;
        Ok(all)
    }

    fn check(&self) -> Result<(), InvalidPack> {
        let mut names = BTreeSet::new();
        for scenario in &self.scenarios {
            let name = &scenario.name;
            if !is_name(name) {
                let what = "is not a name: 1 to 64 letters of ASCII, digits, -, . and _";
                return Err(InvalidPack::Name(format!("{name:?} {what}")));
            }
            if !names.insert(name) {
                return Err(InvalidPack::Name(format!("two scenarios are named {name}")));
            }
            self.check_steps(&scenario.steps, name)?;
        }
        self.parts.iter().try_for_each(|(name, steps)| self.check_steps(steps, name))?;
        let mut done = BTreeSet::new();
        self.parts.keys().try_for_each(|name| self.check_end(name, &mut Vec::new(), &mut done))
    }

    fn check_steps(&self, steps: &[Step], inside: &str) -> Result<(), InvalidPack> {
        let known = |event: &str| match EVENTS.contains(&event) {
            true => Ok(()),
            false => Err(InvalidPack::Name(format!("{inside}: there is no event {event}"))),
        };
        steps.iter().try_for_each(|step| match &step.action {
            Action::Play(name) if !self.parts.contains_key(name) => {
                Err(InvalidPack::Name(format!("{inside}: there is no part {name}")))
            }
            Action::Repeat(repeat) => self.check_steps(&repeat.steps, inside),
            Action::Expect(expect) => known(&expect.event),
            Action::Absent(absent) => known(&absent.event),
            _ => Ok(()),
        })
    }

    /// That a part does not play itself, not by way of others either.
    fn check_end<'a>(
        &'a self,
        name: &'a str,
        above: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Result<(), InvalidPack> {
        if above.contains(&name) {
            return Err(InvalidPack::Name(format!("the part {name} plays itself")));
        }
        if above.len() > MAX_DEPTH {
            return Err(InvalidPack::Name(format!("{name}: parts are played more than {MAX_DEPTH} deep")));
        }
        if done.contains(name) {
            return Ok(());
        }
        above.push(name);
        let steps = self.parts.get(name).map_or(&[][..], Vec::as_slice);
        played(steps).into_iter().try_for_each(|part| self.check_end(part, above, done))?;
        above.pop();
        done.insert(name);
        Ok(())
    }

    /// Those with these names; all, if none is named.
    ///
    /// # Errors
    /// A name that no scenario has.
    pub fn named(mut self, names: &[String]) -> Result<Self, InvalidPack> {
        if let Some(unknown) = names.iter().find(|name| !self.scenarios.iter().any(|scenario| scenario.name == **name))
        {
            return Err(InvalidPack::Name(format!("there is no scenario {unknown}")));
        }
        if !names.is_empty() {
            self.scenarios.retain(|scenario| names.contains(&scenario.name));
        }
        Ok(self)
    }
}

/// The parts that these steps name.
fn played(steps: &[Step]) -> Vec<&str> {
    let mut names = Vec::new();
    for step in steps {
        match &step.action {
            Action::Play(name) => names.push(name.as_str()),
            Action::Repeat(repeat) => names.extend(played(&repeat.steps)),
            _ => {}
        }
    }
    names
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Reads a file that is one, and no larger than a scenario's file may be.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, Read as _};
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::other("not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= MAX_FILE => Ok(text),
        _ => Err(Error::other(format!("larger than {MAX_FILE} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_double_and_files_that_are_none_are_taken_in_stride() {
        let mut parts = String::from(r#""p0":[]"#);
        for n in 1..50 {
            let below = n - 1;
            parts.push_str(&format!(r#","p{n}":[{{"play":"p{below}"}},{{"play":"p{below}"}}]"#));
        }
        let text = format!(
            r#"{{"grades":"client","about":"a","parts":{{{parts}}},"scenarios":[{{"name":"s","about":"a","wire":"§1","steps":[{{"play":"p49"}}]}}]}}"#
        );
        let all = Scenarios::of(End::Client, [(String::from("f.json"), text)]).expect("valid");
        assert!(!all.scenarios[0].has_calls(&all.parts));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.json");
        std::fs::create_dir(&path).expect("made");
        let error = Scenarios::in_directory(End::Client, directory.path()).expect_err("a directory").to_string();
        assert!(error.contains("not a file"), "{error}");
        std::fs::remove_dir(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("made");
        Scenarios::in_directory(End::Client, directory.path()).expect_err("a device");
        std::fs::remove_file(&path).expect("removed");
        std::fs::File::create(&path).and_then(|file| file.set_len(MAX_FILE + 1)).expect("made");
        let error = Scenarios::in_directory(End::Client, directory.path()).expect_err("too large").to_string();
        assert!(error.contains("larger than"), "{error}");
    }

    #[test]
    fn what_comes_with_the_program_can_be_played() {
        let client = Scenarios::built_in(End::Client).expect("valid");
        let server = Scenarios::built_in(End::Server).expect("valid");
        let count = client.scenarios.len() + server.scenarios.len();
        assert!(count >= 60, "{} + {}", client.scenarios.len(), server.scenarios.len());
    }

    #[test]
    fn every_file_of_the_folder_comes_with_the_program() {
        for end in ["client", "server"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-samples/scenarios").join(end);
            for entry in std::fs::read_dir(folder).expect("there") {
                let name = entry.expect("read").file_name().into_string().expect("text");
                let path = format!("{end}/{name}");
                assert!(FILES.iter().any(|(file, _)| *file == path), "{path} is not in FILES");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let of = |text: &str| Scenarios::of(End::Client, [(String::from("f.json"), text.to_owned())]);
        let scenario = |steps: &str| {
            format!(
                r#"{{"grades":"client","about":"a","scenarios":[{{"name":"s","about":"a","wire":"§1","steps":[{steps}]}}]}}"#
            )
        };
        of(&scenario("")).expect("valid");
        for (steps, said) in [
            (r#"{"play":"x"}"#, "no part x"),
            (r#"{"expect":{"event":"publish","must":{"a":{"$what":1}}}}"#, "no rule $what"),
            (r#"{"expect":{"event":"publish","wen":1}}"#, "wen"),
            (r#"{"hop":{}}"#, "hop"),
            (r#"{"wait":1,"cut":{}}"#, "map"),
        ] {
            let error = of(&scenario(steps)).expect_err(steps).to_string();
            assert!(error.contains("f.json") || error.contains("s:"), "{error}");
            assert!(error.contains(said), "{error}");
        }
        for (parts, said) in [
            (r#""a":[{"play":"a"}]"#, "plays itself"),
            (r#""a":[{"play":"b"}],"b":[{"repeat":{"times":2,"as":"n","steps":[{"play":"a"}]}}]"#, "plays itself"),
            (r#""a":[{"absent":{"event":"pubish","for":1}}]"#, "no event pubish"),
        ] {
            let text = format!(r#"{{"grades":"client","about":"a","parts":{{{parts}}}}}"#);
            let error = of(&text).expect_err(parts).to_string();
            assert!(error.contains(said), "{error}");
        }
        let part = String::from(r#"{"grades":"client","about":"a","parts":{"a":[]}}"#);
        let twice = [(String::from("f.json"), part.clone()), (String::from("g.json"), part)];
        let error = Scenarios::of(End::Client, twice).expect_err("two parts of one name").to_string();
        assert!(error.contains("g.json") && error.contains("another part a"), "{error}");
        for name in ["", "../x", "a b", "\\u001b[2J", &"x".repeat(65)] {
            let text = scenario("").replace(r#""name":"s""#, &format!(r#""name":"{name}""#));
            let error = of(&text).expect_err(name).to_string();
            assert!(error.contains("is not a name") && !error.contains('\u{1b}'), "{error}");
        }
        Scenarios::of(End::Client, []).expect("empty").named(&[String::from("x")]).expect_err("unknown");
    }
}
