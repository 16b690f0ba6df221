//! `--app ID:KEY`, and the ways that keep the key out of the process list.

use std::fs::File;
use std::path::Path;
use std::str::FromStr;

use crate::cli::exit::Failure;
use crate::cli::request_args::read_input;
use crate::cli::{secret_input, settings};
use crate::ids::AppId;
use crate::secret::Secret;

/// The environment variable that holds the key of an `--app` that names none.
pub(crate) const KEY_VARIABLE: &str = "THINGIF_APP_KEY";

/// An application, with its key if that was given with it.
#[derive(Debug, Clone)]
pub(crate) struct AppArg {
    pub(crate) id: AppId,
    key: Option<Secret<String>>,
}

impl FromStr for AppArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, key) = match text.split_once(':') {
            Some((_, "")) => return Err(String::from("the key after the colon is empty")),
            Some((id, key)) => (id, Some(Secret::from(key))),
            None => (text, None),
        };
        Ok(Self { id: id.parse().map_err(|error| format!("{error}"))?, key })
    }
}

impl AppArg {
    /// The key that was given with the id.
    pub(crate) fn own_key(&self) -> Option<Secret<String>> {
        self.key.clone()
    }

    /// Whether the environment names the same application for every verb.
    pub(crate) fn is_the_environments(&self) -> bool {
        let named = std::env::var(settings::variable("app")).ok();
        named.and_then(|text| text.parse().ok()).is_some_and(|named: Self| named.id == self.id)
    }

    /// The key: what was given with the id, else the file, else the environment.
    pub(crate) fn key(&self, file: Option<&Path>) -> Result<Secret<String>, Failure> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        if let Some(file) = file {
            return secret_input::read("app key", file);
        }
        secret_input::from_environment(KEY_VARIABLE).ok_or_else(|| {
            Failure::usage(format_args!("the key of app {} is missing", self.id)).advise(format_args!(
                "Give --app {}:KEY, or --app {} with the key in {KEY_VARIABLE} or in a file (see --help).",
                self.id, self.id
            ))
        })
    }
}

/// Those that were named, and those of a file. None may be there twice.
pub(crate) fn read_all(named: &[AppArg], file: Option<&Path>) -> Result<Vec<(AppId, Secret<String>)>, Failure> {
    let mut apps = match file {
        Some(file) => read_file(file)?,
        None => Vec::new(),
    };
    for app in named {
        apps.push((app.id.clone(), app.key(None)?));
    }
    let mut ids: Vec<_> = apps.iter().map(|(id, _)| id).collect();
    ids.sort();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format_args!("app {} is given twice", pair[0]))),
        None => Ok(apps),
    }
}

/// Applications from a file: one `ID:KEY` a line; empty lines and lines that begin with `#` are skipped.
pub(crate) fn read_file(path: &Path) -> Result<Vec<(AppId, Secret<String>)>, Failure> {
    let shown = path.display().to_string();
    let bytes = read_input(&shown, File::open(path), 1024 * 1024)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format_args!("{shown} is not text")))?;
    let mut apps = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'))
    {
        let wrong = |why: &str| Failure::usage(format_args!("{shown} line {}: {why}", number + 1));
        let app: AppArg = line.parse().map_err(|error: String| wrong(&error))?;
        apps.push((app.id, app.key.ok_or_else(|| wrong("expected ID:KEY"))?));
    }
    Ok(apps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_an_id_and_perhaps_a_key() {
        let app: AppArg = "app:k:e y".parse().expect("valid");
        assert_eq!((app.id.as_str(), app.key(None).expect("given").expose().as_str()), ("app", "k:e y"));
        assert!(!format!("{app:?}").contains("k:e y"));
        let app: AppArg = "app".parse().expect("valid");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "from-file\n").expect("written");
        assert_eq!(app.key(Some(file.path())).expect("read").expose(), "from-file");
        for text in ["", ":key", "app:", "a b:key"] {
            text.parse::<AppArg>().expect_err(text);
        }
    }

    #[test]
    fn a_file_of_apps() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "# two\n\na:1\r\n b:2 \n").expect("written");
        let apps = read_file(file.path()).expect("read");
        let shown: Vec<_> = apps.iter().map(|(id, key)| (id.as_str(), key.expose().as_str())).collect();
        assert_eq!(shown, [("a", "1"), ("b", "2")]);
        std::fs::write(file.path(), "a:hunter2\nb").expect("written");
        let error = read_file(file.path()).expect_err("no key").to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
