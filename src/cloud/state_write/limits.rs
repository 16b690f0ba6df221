//! How long a state may be, and what an alias may be called.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cloud::answer;
use crate::cloud::failure::Failure;
use crate::thing_if::MAX_STATE_LEN;

/// Aliases of a thing, at most.
const MAX_ALIASES: usize = 100;
/// Characters of an alias, at most.
const MAX_ALIAS_LEN: usize = 64;

/// Checks the name of an alias that comes into being beside `others`.
pub(super) fn check_new_alias(alias: &str, others: usize) -> Result<(), Failure> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !(1..=MAX_ALIAS_LEN).contains(&alias.len()) || !alias.bytes().all(is_fine) {
        let message = format!("An alias is 1 to {MAX_ALIAS_LEN} letters, digits, `_`, `-` or `.`");
        return Err(Failure::invalid(message));
    }
    if others >= MAX_ALIASES {
        return Err(Failure::invalid(format!("A thing has at most {MAX_ALIASES} aliases")));
    }
    Ok(())
}

/// Checks one state, and writes it as text. That of an alias stands deeper in an answer: in a group of the history.
pub(super) fn check_part(alias: &str, state: &Map<String, Value>) -> Result<String, Failure> {
    check(state, if alias.is_empty() { 0 } else { 2 })
}

/// Checks a state that stands inside of `depth` objects of an answer, and writes it as text.
pub(super) fn check(state: &impl Serialize, depth: usize) -> Result<String, Failure> {
    let text = serde_json::to_string(state).map_err(Failure::internal)?;
    if text.len() > MAX_STATE_LEN {
        return Err(Failure::invalid(format!("The state is longer than {MAX_STATE_LEN} bytes")));
    }
    let (printed, max) = (answer::printed_len(state, depth), answer::MAX_LEN - 256 * depth);
    if printed > max {
        return Err(Failure::invalid(format!("The state takes {printed} bytes in an answer, more than {max}")));
    }
    Ok(text)
}
