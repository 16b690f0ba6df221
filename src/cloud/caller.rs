//! Whose token came with a request.

use std::fmt;
use std::str::FromStr;

use crate::thing_if::Principal;

/// What an access token stands for. (`wire` §5)
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Somebody who knows the application's key: may sign up, and onboard things.
    Anonymous,
    /// The administrator of the application: may do what any of its owners may.
    Admin,
    /// A user or a thing.
    Principal(Principal),
}

impl Caller {
    /// Whether this is `principal`, or somebody who may do all that it may.
    pub(crate) fn may_act_as(&self, principal: &Principal) -> bool {
        match self {
            Caller::Anonymous => false,
            Caller::Admin => true,
            Caller::Principal(own) => own == principal,
        }
    }

    /// As error bodies name it: an id without its kind.
    pub(crate) fn id(&self) -> &str {
        match self {
            Caller::Anonymous => "ANONYMOUS",
            Caller::Admin => "ADMIN",
            Caller::Principal(principal) => principal.id(),
        }
    }
}

impl From<Principal> for Caller {
    fn from(principal: Principal) -> Self {
        Caller::Principal(principal)
    }
}

/// As the store keeps it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Anonymous => f.write_str("anonymous"),
            Caller::Admin => f.write_str("admin"),
            Caller::Principal(principal) => principal.fmt(f),
        }
    }
}

impl FromStr for Caller {
    type Err = <Principal as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "anonymous" => Ok(Caller::Anonymous),
            "admin" => Ok(Caller::Admin),
            principal => principal.parse().map(Caller::Principal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        let thing: Principal = "thing:th.1".parse().expect("valid");
        for caller in [Caller::Anonymous, Caller::Admin, Caller::Principal(thing.clone())] {
            assert_eq!(caller.to_string().parse(), Ok(caller));
        }
        assert!(Caller::Admin.may_act_as(&thing) && Caller::Principal(thing.clone()).may_act_as(&thing));
        let user: Principal = "user:u".parse().expect("valid");
        assert!(!Caller::Anonymous.may_act_as(&thing) && !Caller::Principal(user).may_act_as(&thing));
    }
}
