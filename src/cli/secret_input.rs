//! Where secrets come from: a file, standard input (`-`), or the environment.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::secret::Secret;

/// The longest secret read, in bytes: more is not a password but the wrong file.
const MAX_LEN: u64 = 4096;

/// Reads a secret from `path`, or from standard input for `-`. One line end at its end is not part of it.
pub(crate) fn read(what: &str, path: &Path) -> Result<Secret<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_LEN + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_string(&mut text))
    };
    let shown = path.display();
    read.map_err(|error| Failure::usage(format_args!("cannot read the {what} from {shown}: {error}")))?;
    if text.len() as u64 > MAX_LEN {
        return Err(Failure::usage(format_args!(
            "{shown} is longer than {MAX_LEN} bytes: it does not look like a {what}"
        )));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(Failure::usage(format_args!("the {what} in {shown} is empty"))),
        _ if line.contains(['\n', '\r', '\0']) => {
            Err(Failure::usage(format_args!("the {what} in {shown} has more than one line")))
        }
        _ => Ok(Secret::new(line.to_owned())),
    }
}

/// Reads a secret from the environment variable `name`; `None` when it is unset or empty.
pub(crate) fn from_environment(name: &str) -> Option<Secret<String>> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::new)
}

/// Reads an argument that may hold a secret: what is wrong with it is said without quoting it, as clap otherwise does.
pub(crate) struct Unquoted<T>(PhantomData<fn() -> T>);

impl<T> Default for Unquoted<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Unquoted<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err = String> + Clone + Send + Sync + 'static> TypedValueParser for Unquoted<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let read = value.to_str().ok_or_else(|| String::from("it is not UTF-8")).and_then(str::parse);
        read.map_err(|why| {
            let argument = argument.map(ToString::to_string).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("invalid value for '{argument}': {why}\n"))
                .with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn one_line_end_is_not_part_of_a_secret() {
        for text in ["hunter2", "hunter2\n", "hunter2\r\n"] {
            let secret = read("password", file_with(text.as_bytes()).path()).expect(text);
            assert_eq!(secret.expose(), "hunter2", "{text:?}");
        }
        assert_eq!(read("password", file_with(b" a b \n").path()).expect("blanks stay").expose(), " a b ");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        for text in [&b""[..], b"\n", b"hunter2\nswordfish\n", &[b'x'; 4097], b"\xff\xfe"] {
            let error = read("password", file_with(text).path()).expect_err("refused").to_string();
            assert!(!error.contains("hunter2") && !error.contains("swordfish"), "{error}");
        }
    }
}
