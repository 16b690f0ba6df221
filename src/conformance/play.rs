//! Plays the steps of a scenario.

use std::collections::BTreeMap;
use std::pin::Pin;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::event;
use super::matching::{self, Mismatch};
use super::report::Failure;
use super::scenario::{Absent, Action, Answer, Call, Door, Expect, Habits, Repeat, Scenario, Send, Step};
use super::shown;
use super::stage::Stage;
use crate::secret::Redacted;

/// More steps than this no scenario takes, parts and repetitions counted.
const MAX_STEPS: usize = 100_000;

/// Plays them all.
///
/// # Errors
/// The first step that failed.
pub(super) async fn play(
    stage: &mut Stage,
    scenario: &Scenario,
    parts: &BTreeMap<String, Vec<Step>>,
) -> Result<(), Box<Failure>> {
    Player { stage, scenario, parts, taken: 0 }.steps(&scenario.steps, "").await
}

struct Player<'a> {
    stage: &'a mut Stage,
    scenario: &'a Scenario,
    parts: &'a BTreeMap<String, Vec<Step>>,
    taken: usize,
}

/// Why a step failed, before it is known which one.
struct Fault {
    expected: String,
    came: String,
}

/// What a scenario says cannot be done: its own fault.
impl From<String> for Fault {
    fn from(error: String) -> Self {
        Fault { expected: String::from("a step that can be played"), came: error }
    }
}

impl Player<'_> {
    fn steps<'b>(
        &'b mut self,
        steps: &'b [Step],
        before: &'b str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<Failure>>> + std::marker::Send + 'b>> {
        Box::pin(async move {
            for (index, step) in steps.iter().enumerate() {
                let number = format!("{before}{}", index + 1);
                self.taken += 1;
                if self.taken > MAX_STEPS {
                    return Err(self.failure(step, number, format!("these are more than {MAX_STEPS} steps").into()));
                }
                match &step.action {
                    Action::Play(name) => match self.parts.get(name) {
                        Some(part) => self.steps(part, &format!("{number}.")).await?,
                        None => return Err(self.failure(step, number, format!("there is no part {name}").into())),
                    },
                    Action::Repeat(repeat) => self.repeat(repeat, &number).await?,
                    action => {
                        let done = self.act(action).await;
                        // Silence after a flood is none.
                        let done = if self.stage.is_flooded() { Err(self.flood()) } else { done };
                        if let Err(fault) = done {
                            return Err(self.failure(step, number, fault));
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn failure(&self, step: &Step, number: String, fault: Fault) -> Box<Failure> {
        Box::new(Failure {
            step: number,
            says: step.says.clone().unwrap_or_else(|| self.scenario.about.clone()),
            wire: step.wire.clone().unwrap_or_else(|| self.scenario.wire.clone()),
            expected: fault.expected,
            came: fault.came,
        })
    }

    fn flood(&self) -> Fault {
        Fault {
            expected: String::from("as much as a scenario has use for"),
            came: format!("{} events, or many bytes in them", self.stage.seen.len()),
        }
    }

    async fn repeat(&mut self, repeat: &Repeat, number: &str) -> Result<(), Box<Failure>> {
        for turn in 0..repeat.times {
            self.stage.values.set(repeat.name.clone(), turn);
            self.steps(&repeat.steps, &format!("{number}[{turn}].")).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::Expect(expect) => self.expect(expect).await,
            Action::Absent(absent) => self.absent(absent).await,
            Action::Check(check) => {
                let (value, must) = (self.stage.values.resolve(&check.value)?, self.stage.values.resolve(&check.must)?);
                matching::matches(&must, Some(&value)).map_err(|mismatch| fault(&check.value, &mismatch))
            }
            Action::Send(send) => Ok(self.send(send)?),
            Action::Answer(answer) => Ok(self.answer(answer)?),
            Action::Cut(on) => {
                let number = self.stage.number(on.on.as_deref())?;
                self.stage.cut(number).await;
                Ok(())
            }
            Action::Mute(on) => {
                let number = self.stage.number(on.on.as_deref())?;
                self.stage.mute(number);
                Ok(())
            }
            Action::Door(door) => {
                self.stage.open_door(*door == Door::Open);
                Ok(())
            }
            Action::Open(open) => {
                let place = match (&open.host, &open.port) {
                    (Some(host), Some(port)) => Some((self.stage.values.text(host)?, self.stage.values.resolve(port)?)),
                    _ => None,
                };
                let opened = self.stage.open(&open.name, place).await;
                opened.map_err(|came| Fault { expected: String::from("a connection"), came })
            }
            Action::Habits(habits) => {
                let onboard = habits.onboard.as_ref().map(|body| self.stage.values.resolve(body)).transpose()?;
                self.stage.habits = Habits { onboard, ..habits.clone() };
                Ok(())
            }
            Action::Call(call) => Ok(self.call(call)?),
            Action::Leave(_) => {
                if let Some(subject) = &mut self.stage.subject {
                    subject.leave();
                }
                Ok(())
            }
            Action::Wait(seconds) => {
                let deadline = Instant::now() + self.stage.window(*seconds);
                while self.stage.pump(deadline).await {}
                Ok(())
            }
            Action::Set(values) => {
                for (name, value) in values {
                    let value = self.stage.values.resolve(value)?;
                    self.stage.values.set(name.clone(), value);
                }
                Ok(())
            }
            Action::Play(_) | Action::Repeat(_) => Ok(()),
        }
    }

    async fn expect(&mut self, expect: &Expect) -> Result<(), Fault> {
        let which = self.stage.values.members(&expect.which)?;
        let must = self.stage.values.members(&expect.must)?;
        let on = self.connection(&expect.event, expect.on.as_deref())?;
        let deadline = Instant::now() + self.stage.window(expect.within);
        let mut looked = 0;
        let found = loop {
            let found = self.find(looked, &expect.event, on, &which);
            looked = self.stage.seen.len();
            match found {
                Some(index) => break index,
                None if self.stage.pump(deadline).await => {}
                None => {
                    let seconds = self.stage.window(expect.within).as_secs_f64();
                    return Err(Fault {
                        expected: format!("within {seconds} s {}", described(&expect.event, &which)),
                        came: self.stage.left_over(),
                    });
                }
            }
        };
        let seen = &mut self.stage.seen[found];
        seen.is_taken = true;
        let (members, on) = (seen.members.clone(), seen.on);
        if let Some(name) = expect.name.as_ref().map(|name| self.stage.values.text(name)).transpose()? {
            if let (Some(number), "connect") = (on, expect.event.as_str()) {
                self.stage.name(&name, number);
            }
            let mut remembered = members.clone();
            if let (Some(number), Some(remembered)) = (on, remembered.as_object_mut()) {
                remembered.insert(String::from("connection"), number.into());
            }
            self.stage.values.set(name, remembered);
        }
        matching::matches_all(&must, &members).map_err(|mismatch| Fault {
            expected: format!("a {} whose {mismatch}", expect.event),
            came: format!("{}{}", expect.event, shown::members(&expect.event, &members)),
        })
    }

    async fn absent(&mut self, absent: &Absent) -> Result<(), Fault> {
        let which = self.stage.values.members(&absent.which)?;
        let on = self.connection(&absent.event, absent.on.as_deref())?;
        // A longer wait would be a stricter demand, so patience does not count.
        let deadline = Instant::now() + std::time::Duration::from_secs_f64(absent.time.clamp(0.0, 3_600.0));
        let (mut looked, mut came) = (0, 0);
        loop {
            while let Some(index) = self.find(looked, &absent.event, on, &which) {
                looked = index + 1;
                came += 1;
                if came > absent.but {
                    return Err(Fault {
                        expected: format!(
                            "at most {} times in {} s {}",
                            absent.but,
                            absent.time,
                            described(&absent.event, &which)
                        ),
                        came: format!(
                            "{}{}",
                            absent.event,
                            shown::members(&absent.event, &self.stage.seen[index].members)
                        ),
                    });
                }
            }
            looked = self.stage.seen.len();
            if !self.stage.pump(deadline).await {
                return Ok(());
            }
        }
    }

    /// The connection that is meant: any for a CONNECT, none for what the program says.
    fn connection(&self, event: &str, on: Option<&str>) -> Result<Option<usize>, String> {
        match (event, on) {
            ("result" | "push" | "exited", _) | ("connect", None) => Ok(None),
            (_, on) => self.stage.number(on).map(Some),
        }
    }

    fn find(&self, from: usize, event: &str, on: Option<usize>, which: &Map<String, Value>) -> Option<usize> {
        let seen = self.stage.seen.iter().enumerate().skip(from);
        let mut fitting = seen.filter(|(_, seen)| {
            !seen.is_taken
                && seen.kind == event
                && (on.is_none() || seen.on == on)
                && matching::matches_all(which, &seen.members).is_ok()
        });
        fitting.next().map(|(index, _)| index)
    }

    fn send(&mut self, send: &Send) -> Result<(), String> {
        let number = self.stage.number(send.on.as_deref())?;
        let members = self.stage.values.members(&send.with)?;
        self.stage.send(number, &send.packet, &members, send.cut.unwrap_or(0))
    }

    /// In the dialect of the service. (`wire` §2.2)
    fn answer(&mut self, answer: &Answer) -> Result<(), String> {
        let values = &self.stage.values;
        let to = values.text(&answer.to)?;
        let of = |member: &str| values.get(&format!("{to}.{member}"));
        let number = of("connection").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        let number = number.ok_or_else(|| format!("no request is named {to}"))?;
        let topic = match &answer.topic {
            Some(topic) => values.text(topic)?,
            None => of("topic").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        let id = match &answer.id {
            Value::Bool(true) => of("frame.headers.x-kii-requestid").and_then(Value::as_str).map(str::to_owned),
            Value::String(text) => Some(values.text(text)?),
            _ => None,
        };
        let mut headers = Vec::new();
        for (name, value) in &answer.headers {
            headers.push((name.as_str(), values.text(value)?));
        }
        headers.extend(id.map(|id| ("X-Kii-RequestID", id)));
        let body = answer.body.as_ref().map(|body| values.resolve(body)).transpose()?;
        let payload = event::answer(answer.status, &headers, body.as_ref());
        let members =
            Map::from_iter([(String::from("topic"), topic.into()), (String::from("payload"), payload.into())]);
        self.stage.send(number, "publish", &members, answer.cut.unwrap_or(0))
    }

    fn call(&mut self, call: &Call) -> Result<(), String> {
        let (name, path) = (self.stage.values.text(&call.name)?, self.stage.values.text(&call.path)?);
        if [&name, &call.verb, &path].iter().any(|word| word.is_empty() || word.contains(char::is_whitespace)) {
            return Err(format!("{name:?}, {:?} and {path:?} are not a word each", call.verb));
        }
        let mut line = format!("call {name} {} {path}", call.verb);
        if let Some(body) = &call.body {
            line.push(' ');
            line.push_str(&self.stage.values.resolve(body)?.to_string());
        }
        match &self.stage.subject {
            Some(subject) => subject.say(&line),
            None => return Err(String::from("calls need a client that is run by --exec")),
        }
        Ok(())
    }
}

/// The mismatch is inside `value`, whose name says whether it may be shown.
fn fault(value: &Value, mismatch: &Mismatch) -> Fault {
    let name = value.as_str().unwrap_or_default().trim_start_matches("${").trim_end_matches('}');
    let path = [name, &mismatch.path].join(".");
    let mismatch = Mismatch { path: path.trim_matches('.').to_owned(), ..mismatch.clone() };
    Fault { expected: mismatch.to_string(), came: String::from("the value that is there") }
}

fn described(event: &str, which: &Map<String, Value>) -> String {
    match which.is_empty() {
        true => format!("a {event}"),
        false => format!("a {event} where {}", Redacted::new(&Value::Object(which.clone()).to_string())),
    }
}
