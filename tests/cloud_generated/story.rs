//! Requests one after the other, each with what earlier answers told.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::case::Case;
use crate::change::{Known, change};
use crate::cloud_support::basic;
use crate::cloud_support::names::Names;
use crate::rows::{Group, TABLE};
use crate::world::{ADMIN, ADMIN_SECRET};

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    fn of((line, authorization, content_type, body, ..): &Case, names: &Names) -> Self {
        let (method, path) = line.split_once(' ').expect("method and path");
        let path = names.fill(&path.replace("{tgt}", "/thing-if/apps/{APP}/targets/thing:{TH}"));
        // What nothing has named yet.
        let path = path.replace(['{', '}'], "_");
        let mut asked =
            Self { method: method.to_owned(), path, headers: Vec::new(), body: names.fill(body).into_bytes() };
        asked.set("Authorization", (*authorization != "-").then(|| names.fill(authorization)));
        for (number, line) in content_type.lines().enumerate() {
            match line.split_once(": ") {
                Some((name, value)) => asked.set(name, Some(names.fill(value))),
                None => asked.set("Content-Type", (number == 0 && line != "-").then(|| line.to_owned())),
            }
        }
        asked
    }

    /// The header of that name is this, or not there.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// For whoever wants to send it again.
    pub(crate) fn shown(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(4_000).collect();
        format!("{} {}{headers}\n\n{body}", self.method, self.path)
    }
}

/// A part of the table, told in an application of its own, with changes.
pub(crate) struct Story {
    group: &'static Group,
    pub(crate) names: Names,
    /// What comes next, last first.
    left: Vec<&'static Case>,
    /// How many of a hundred requests are changed, and how many come from elsewhere: a quiet story gets to its end, a wild
    /// one to where nobody has been.
    wildness: u8,
}

/// A request, and what its answer may name.
#[derive(Clone)]
pub(crate) struct Next {
    pub(crate) asked: Asked,
    says: &'static str,
}

/// Ann, Bob, an administrator and anybody, who are there before the group's own setup.
#[rustfmt::skip]
const PEOPLE: &[Case] = &[
    ("POST /api/apps/{APP}/users", "$key", "application/json", r#"{"loginName":"ann","password":"secret of ann"}"#, 201, r#"{"userID":"={ann}"}"#),
    ("POST /api/apps/{APP}/users", "$key", "application/json", r#"{"loginName":"bob","password":"secret of bob"}"#, 201, r#"{"userID":"={bob}"}"#),
    ("POST /api/apps/{APP}/oauth2/token", "-", "application/json", r#"{"username":"ann","password":"secret of ann"}"#, 200, r#"{"access_token":"=$ann"}"#),
    ("POST /api/apps/{APP}/oauth2/token", "-", "application/json", r#"{"username":"bob","password":"secret of bob"}"#, 200, r#"{"access_token":"=$bob"}"#),
    ("POST /api/apps/{APP}/oauth2/token", "-", "application/json", r#"{"client_id":"{ADMIN}","client_secret":"{SECRET}"}"#, 200, r#"{"access_token":"=$admin"}"#),
    ("POST /api/apps/{APP}/oauth2/token", "-", "application/json", r#"{"client_id":"{APP}","client_secret":"{KEY}"}"#, 200, r#"{"access_token":"=$anybody"}"#),
];

impl Story {
    /// The story number `number`, in `app`. Every other one is quiet, of each group in turn.
    pub(crate) fn new(number: usize, app: &str, other: &str, key: &str, rng: &mut Rng) -> Self {
        let groups: Vec<_> = TABLE.iter().filter(|group| group.place == crate::case::Place::Usual).collect();
        let is_quiet = number.is_multiple_of(2);
        let group = groups[if is_quiet { number / 2 % groups.len() } else { rng.usize(..groups.len()) }];
        let mut names = Names::default();
        for (name, value) in
            [("{APP}", app), ("{OTHER}", other), ("{ADMIN}", ADMIN), ("{SECRET}", ADMIN_SECRET), ("{KEY}", key)]
        {
            names.add(name, value);
        }
        names.add("{FOREIGN}", "th.elsewhere");
        names.add("{70 KB}", "x".repeat(70_000));
        names.add("$stranger", "nonsense");
        names.add("$foreign", "nonsense");
        names.add("$key", basic(app, key));
        names.add("$wrongkey", basic(app, "wrong"));
        names.add("$otherkey", basic(other, key));
        let mut left: Vec<_> = group.cases.iter().copied().flatten().collect();
        left.reverse();
        let wildness = if is_quiet { 0 } else { [10, 30, 60, 80][rng.usize(..4)] };
        Self { group, names, left, wildness }
    }

    /// What must have happened first, as it is.
    pub(crate) fn setup(&self) -> impl Iterator<Item = &'static Case> + use<> {
        PEOPLE.iter().chain(self.group.setup)
    }

    pub(crate) fn exactly(&self, case: &'static Case) -> Next {
        Next { asked: Asked::of(case, &self.names), says: case.5 }
    }

    /// Whether it goes as it stands in the table.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wildness == 0
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The next request: of the group in its order, sometimes of another place in the table; as it is, or changed.
    pub(crate) fn next(&mut self, known: &Known, tokens: &[String], rng: &mut Rng) -> Next {
        let is_elsewhere = rng.u8(..200) < self.wildness;
        let case = match rng.u8(..10) {
            0..=5 if is_elsewhere => {
                let group = &TABLE[rng.usize(..TABLE.len())];
                let cases = group.cases[rng.usize(..group.cases.len())];
                &cases[rng.usize(..cases.len())]
            }
            6..=8 if is_elsewhere && !self.left.is_empty() => self.left[rng.usize(..self.left.len())],
            _ => match self.left.pop() {
                Some(case) => case,
                None => &self.group.setup[0],
            },
        };
        let mut next = self.exactly(case);
        if rng.u8(..100) < self.wildness {
            for _ in 0..1 + rng.usize(..3).min(rng.usize(..3)) {
                change(&mut next.asked, known, tokens, rng);
            }
        }
        next
    }

    /// Takes the names that an answer gives.
    pub(crate) fn learn(&mut self, next: &Next, told: &Value) {
        if let Ok(says) = serde_json::from_str::<Value>(next.says) {
            self.take(&says, told);
        }
    }

    fn take(&mut self, says: &Value, told: &Value) {
        match (says, told) {
            (Value::String(name), Value::String(value)) if name.starts_with('=') => self.names.add(&name[1..], value),
            (Value::Object(all), _) => all.iter().for_each(|(key, says)| self.take(says, &told[key])),
            _ => {}
        }
    }

    /// Every token that somebody of the story has, and one of nobody.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let names = ["$ann", "$bob", "$admin", "$anybody", "$lamp", "$thing", "$gw", "$en", "$kettle", "$free"];
        names.iter().map(|name| self.names.fill(name)).filter(|token| !token.starts_with('$')).collect()
    }
}

/// The first members of an answer to a login are a token.
pub(crate) fn token_of(told: &Value) -> Option<String> {
    let names = json!(["access_token", "accessToken", "_accessToken"]);
    names.as_array()?.iter().find_map(|name| told[name.as_str()?].as_str().map(str::to_owned))
}
