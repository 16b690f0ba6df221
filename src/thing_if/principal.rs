//! `user:{id}`, `group:{id}`, `thing:{id}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, InvalidId, ThingId, UserId};

/// An owner, an issuer or a target: a kind and an id.
///
/// The kind is read in any letter case, because clients write `thing:` and `THING:`, and written in lower case.
/// (`wire` §3, §4)
///
/// ```
/// use thingif::thing_if::Principal;
/// let owner: Principal = "USER:8c3b".parse()?;
/// assert_eq!(owner.to_string(), "user:8c3b");
/// # Ok::<(), thingif::thing_if::InvalidPrincipal>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// `user:{id}`
    User(UserId),
    /// `group:{id}`
    Group(GroupId),
    /// `thing:{id}`
    Thing(ThingId),
}

/// Why a text is not a [`Principal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrincipal {
    /// It does not begin with a known kind and a colon.
    #[error("does not begin with `user:`, `group:` or `thing:`")]
    Kind,
    /// What follows the colon is no id.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl Principal {
    /// The id without its kind.
    pub fn id(&self) -> &str {
        match self {
            Principal::User(id) => id.as_str(),
            Principal::Group(id) => id.as_str(),
            Principal::Thing(id) => id.as_str(),
        }
    }
}

impl FromStr for Principal {
    type Err = InvalidPrincipal;

    fn from_str(text: &str) -> Result<Self, InvalidPrincipal> {
        let (kind, id) = text.split_once(':').ok_or(InvalidPrincipal::Kind)?;
        if kind.eq_ignore_ascii_case("user") {
            Ok(Principal::User(UserId::new(id)?))
        } else if kind.eq_ignore_ascii_case("group") {
            Ok(Principal::Group(GroupId::new(id)?))
        } else if kind.eq_ignore_ascii_case("thing") {
            Ok(Principal::Thing(ThingId::new(id)?))
        } else {
            Err(InvalidPrincipal::Kind)
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = InvalidPrincipal;

    fn try_from(text: String) -> Result<Self, InvalidPrincipal> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::User(id) => write!(f, "user:{id}"),
            Principal::Group(id) => write!(f, "group:{id}"),
            Principal::Thing(id) => write!(f, "thing:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_is_read_and_lower_case_is_written() {
        for (given, written) in [("THING:th.1", "thing:th.1"), ("Group:g", "group:g"), ("user:U", "user:U")] {
            assert_eq!(given.parse::<Principal>().map(|p| p.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for text in ["", "th.1", "app:x", ":x", "thing:", "thing:a/b"] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
