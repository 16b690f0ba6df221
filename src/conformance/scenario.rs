//! Scenarios as they stand in their files. The chapter [`format`](super::format) is the specification.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

/// Which end is graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// A device: the runner plays the service.
    Client,
    /// A service: the runner plays devices.
    Server,
}

/// A file of scenarios.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Which end its scenarios grade.
    pub grades: End,
    /// What they have in common.
    pub about: String,
    /// Steps that scenarios play by name.
    #[serde(default)]
    pub parts: BTreeMap<String, Vec<Step>>,
    /// The scenarios.
    #[serde(default)]
    pub scenarios: Vec<Scenario>,
}

/// One scenario: what is done, and what must follow.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Unique among all of its end.
    pub name: String,
    /// What is graded, in a sentence.
    pub about: String,
    /// The section of [`wire`](crate::wire) that says so, such as `§2.2`.
    pub wire: String,
    /// Faults that fail it, such as `constant-ids`: a client known to have one is expected to fail here.
    #[serde(default)]
    pub catches: Vec<String>,
    /// What the run must offer; without it the scenario is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What the runner does by itself.
    #[serde(default)]
    pub habits: Habits,
    /// Values beside those that the runner gives.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// In their order.
    pub steps: Vec<Step>,
}

/// What the runner answers without a step that says so.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    /// SUBSCRIBE with SUBACK: 0 for the connection's own topics, 0x80 for others.
    pub suback: bool,
    /// PINGREQ with PINGRESP.
    pub ping: bool,
    /// PUBLISH at QoS 1 with PUBACK, at QoS 2 with PUBREC; PUBREC with PUBREL; PUBREL with PUBCOMP.
    pub acknowledge: bool,
    /// A login as `anonymous` with CONNACK 0, and whatever it asks with 200 and this body.
    pub onboard: Option<Value>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { suback: true, ping: true, acknowledge: true, onboard: None }
    }
}

/// A step: one action, and why.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it shows if it fails, in words.
    pub says: Option<String>,
    /// Where that is written, if elsewhere than the scenario's own section.
    pub wire: Option<String>,
    /// What is done.
    pub action: Action,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut members = Map::deserialize(from)?;
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(D::Error::custom(format_args!("{name} is not a text"))),
        };
        let (says, wire) = (text("says")?, text("wire")?);
        let action = Action::deserialize(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { says, wire, action })
    }
}

/// What a step does.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Waits for an event.
    Expect(Expect),
    /// Waits, and fails if an event comes.
    Absent(Absent),
    /// Compares values that are there already.
    Check(Check),
    /// Sends a packet.
    Send(Send),
    /// Sends an answer to a request.
    Answer(Answer),
    /// Ends a connection without a word.
    Cut(On),
    /// Neither reads nor writes on a connection any more, and keeps it.
    Mute(On),
    /// Closes new connections at once, or no longer.
    Door(Door),
    /// Opens a connection to the service.
    Open(Open),
    /// Has other habits from now on; those that are not named are the usual ones.
    Habits(Habits),
    /// Tells the client under test to make a call.
    Call(Call),
    /// Closes the standard input of the client under test.
    Leave(Nothing),
    /// Seconds in which nothing is done but what is habit.
    Wait(f64),
    /// Gives values names.
    Set(Map<String, Value>),
    /// Plays the part of that name.
    Play(String),
    /// Plays steps several times.
    Repeat(Repeat),
}

/// An object without members.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// See [`Action::Expect`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Its kind.
    pub event: String,
    /// The connection, by its name; else whichever was named last, and for `connect` any.
    pub on: Option<String>,
    /// Which event of that kind is meant.
    #[serde(default, rename = "where")]
    pub which: Map<String, Value>,
    /// What it must look like.
    #[serde(default)]
    pub must: Map<String, Value>,
    /// The name it is remembered by.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// How long it is waited for, in seconds before the run's own factor.
    #[serde(default = "usual_window")]
    pub within: f64,
}

/// Far above what anybody needs: what is graded is what comes, and not when.
fn usual_window() -> f64 {
    10.0
}

/// See [`Action::Absent`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// As in [`Expect`].
    pub event: String,
    /// As in [`Expect`].
    pub on: Option<String>,
    /// As in [`Expect`].
    #[serde(default, rename = "where")]
    pub which: Map<String, Value>,
    /// For how many seconds.
    #[serde(rename = "for")]
    pub time: f64,
    /// How many may come nevertheless.
    #[serde(default)]
    pub but: usize,
}

/// See [`Action::Check`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Usually the name of a value.
    pub value: Value,
    /// What it must look like.
    pub must: Value,
}

/// See [`Action::Send`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The connection; else whichever was named last.
    pub on: Option<String>,
    /// The packet, with the members of the event of that kind.
    pub packet: String,
    /// Its members.
    #[serde(default)]
    pub with: Map<String, Value>,
    /// Bytes of each write, with a pause after it; else all at once.
    pub cut: Option<usize>,
}

/// See [`Action::Answer`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The name of the request.
    pub to: String,
    /// 100 to 999.
    pub status: u16,
    /// `X-Kii-RequestID`: absent, that of the request; `null`, none; a text, that.
    #[serde(default = "echo")]
    pub id: Value,
    /// Further header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// JSON, written as the service writes it; a text stands as it is.
    pub body: Option<Value>,
    /// The topic, if not that of the request.
    pub topic: Option<String>,
    /// As in [`Send`].
    pub cut: Option<usize>,
}

fn echo() -> Value {
    Value::Bool(true)
}

/// A connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct On {
    /// Its name; else whichever was named last.
    pub on: Option<String>,
}

/// See [`Action::Door`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// New connections are taken.
    Open,
    /// New connections are closed before a byte is read.
    Closed,
}

/// See [`Action::Open`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The name of the connection.
    #[serde(rename = "as")]
    pub name: String,
    /// Where, if not at the default broker.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<Value>,
}

/// See [`Action::Call`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// One word, by which its result is known.
    pub name: String,
    /// Such as `PUT`.
    pub verb: String,
    /// Below `/thing-if/apps/{app}/`.
    pub path: String,
    /// JSON on one line.
    pub body: Option<Value>,
}

/// See [`Action::Repeat`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How many times.
    pub times: usize,
    /// The name of the number of the turn, from 0.
    #[serde(rename = "as")]
    pub name: String,
    /// What is played.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// Whether the client must take calls and tell their results. Without, any client can be graded.
    pub fn has_calls(&self, parts: &BTreeMap<String, Vec<Step>>) -> bool {
        let is_of_the_program = |event: &str| OF_THE_PROGRAM.contains(&event);
        any(&self.steps, parts, &mut BTreeSet::new(), &|action| match action {
            Action::Call(_) | Action::Leave(_) => true,
            Action::Expect(expect) => is_of_the_program(&expect.event),
            Action::Absent(absent) => is_of_the_program(&absent.event),
            _ => false,
        })
    }
}

/// Events that only a client that keeps to the contract makes.
const OF_THE_PROGRAM: [&str; 3] = ["result", "push", "exited"];

/// Looks into each part once.
fn any<'a>(
    steps: &'a [Step],
    parts: &'a BTreeMap<String, Vec<Step>>,
    looked: &mut BTreeSet<&'a str>,
    is: &dyn Fn(&Action) -> bool,
) -> bool {
    steps.iter().any(|step| match &step.action {
        Action::Play(name) if !looked.insert(name) => false,
        Action::Play(name) => parts.get(name).is_some_and(|steps| any(steps, parts, looked, is)),
        Action::Repeat(repeat) => any(&repeat.steps, parts, looked, is),
        action => is(action),
    })
}
