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
                let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
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
                all.parts.extend(pack.parts);
                all.scenarios.extend(pack.scenarios);
            }
        }
        all.check()?;
        Ok(all)
    }

    fn check(&self) -> Result<(), InvalidPack> {
        let mut names = BTreeSet::new();
        for scenario in &self.scenarios {
            if !names.insert(&scenario.name) {
                return Err(InvalidPack::Name(format!("two scenarios are named {}", scenario.name)));
            }
            self.check_steps(&scenario.steps, &scenario.name)?;
        }
        self.parts.iter().try_for_each(|(name, steps)| self.check_steps(steps, name))
    }

    fn check_steps(&self, steps: &[Step], inside: &str) -> Result<(), InvalidPack> {
        steps.iter().try_for_each(|step| match &step.action {
            Action::Play(name) if !self.parts.contains_key(name) => {
                Err(InvalidPack::Name(format!("{inside}: there is no part {name}")))
            }
            Action::Repeat(repeat) => self.check_steps(&repeat.steps, inside),
            _ => Ok(()),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

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
        Scenarios::of(End::Client, []).expect("empty").named(&[String::from("x")]).expect_err("unknown");
    }
}
