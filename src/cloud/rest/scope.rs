//! To whom a bucket or a topic belongs, and who may what in it. (`wire` §5)
//!
//! There are no access lists to edit; what holds is what the late Kii service gave each scope at first:
//!
//! | scope | read, query | write, create, drop | make topics, send messages | subscribe |
//! |---|---|---|---|---|
//! | application | anybody with its key | any user or thing | the administrator | any user or thing |
//! | user | the user | the user | the user | the user |
//! | thing | the thing, its owners | the thing, its owners | the thing, its owners | the thing, its owners |
//!
//! The administrator may everything.

use std::fmt;

use serde_json::{Value, json};

use super::{things, user};
use crate::cloud::call::Call;
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::ids::{AppId, ThingId, UserId};
use crate::thing_if::Principal;

/// Where a bucket or a topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    App,
    User(UserId),
    Thing(ThingId),
}

/// What somebody wants in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Subscribe,
    /// Making and removing topics, and sending messages to them.
    Topics,
}

impl Scope {
    /// The scope that the path names by `{thing}`, by `{user}`, or by neither; and who calls, who may
    /// have `access` to it.
    ///
    /// # Errors
    /// As [`Call::caller`]; 404 when there is no such thing or user; 401 when the caller may not.
    pub(super) fn of(sql: &mut dyn Sql, call: &Call, access: Access) -> Result<(Self, Caller), Failure> {
        let caller = if access == Access::Read { call.caller_or_anybody(sql)? } else { call.caller(sql)? };
        let scope = if !call.param("thing").is_empty() {
            Scope::Thing(things::find(sql, call, "thing")?)
        } else if !call.param("user").is_empty() {
            Scope::User(user::find(sql, call)?.0.user_id)
        } else {
            Scope::App
        };
        let may = match &scope {
            Scope::User(user) => caller.may_act_as(&Principal::User(user.clone())),
            Scope::Thing(thing) => call.may_use(sql, &caller, thing)?,
            Scope::App => match access {
                Access::Read => true,
                Access::Write | Access::Subscribe => caller != Caller::Anonymous,
                Access::Topics => caller == Caller::Admin,
            },
        };
        if may { Ok((scope, caller)) } else { Err(Failure::not_permitted(&call.app, &caller)) }
    }

    /// As pushes and errors name its kind. (`wire` §6)
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Scope::App => "APP",
            Scope::User(_) => "APP_AND_USER",
            Scope::Thing(_) => "APP_AND_THING",
        }
    }

    /// As errors name it.
    pub(super) fn json(&self, app: &AppId) -> Value {
        match self {
            Scope::App => json!({"appID": app.as_str(), "type": self.kind()}),
            Scope::User(user) => json!({"appID": app.as_str(), "userID": user.as_str(), "type": self.kind()}),
            Scope::Thing(thing) => json!({"appID": app.as_str(), "thingID": thing.as_str(), "type": self.kind()}),
        }
    }

    /// What stands in paths before `buckets` and `topics`: empty, or a segment or two with a slash at the end.
    pub(super) fn path(&self) -> String {
        match self {
            Scope::App => String::new(),
            Scope::User(user) => format!("users/{user}/"),
            Scope::Thing(thing) => format!("things/{thing}/"),
        }
    }
}

/// As the store keeps it: `app`, or the principal.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::App => f.write_str("app"),
            Scope::User(user) => write!(f, "user:{user}"),
            Scope::Thing(thing) => write!(f, "thing:{thing}"),
        }
    }
}

/// Whether `name` has `len` characters of letters, digits, `_`, `-` and those of `more`.
pub(super) fn is_name(name: &str, len: std::ops::RangeInclusive<usize>, more: &[u8]) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || more.contains(&b);
    len.contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_kept_as_the_principal_whose_it_is() {
        let thing = ThingId::new("th.1").expect("valid");
        let user = UserId::new("u-1").expect("valid");
        assert_eq!(Scope::Thing(thing.clone()).to_string(), Principal::Thing(thing).to_string());
        assert_eq!(Scope::User(user.clone()).to_string(), Principal::User(user).to_string());
        assert_eq!(Scope::App.to_string(), "app");
    }

    #[test]
    fn names_have_a_length_and_an_alphabet() {
        for (name, expected) in
            [("ab", true), ("a_B-9", true), ("a", false), ("a.b", false), ("a b", false), ("é2", false)]
        {
            assert_eq!(is_name(name, 2..=64, b""), expected, "{name}");
        }
        assert!(is_name("a.b", 2..=64, b"."));
        assert!(is_name(&"a".repeat(64), 2..=64, b"") && !is_name(&"a".repeat(65), 2..=64, b""));
    }
}
