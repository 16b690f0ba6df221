//! What a request makes of the state of a thing. (`wire` §5)
//!
//! A thing is with traits or without by what was first put, for as long as it exists. Without, its state is one object.
//! With traits each alias has a state of its own, and comes into being when that is first put; to put some aliases leaves
//! the others as they are. The states of aliases are kept as history, too.
//!
//! States that come in bulk belong to the times that they bring, the earliest first: one that is older than what is known
//! already becomes history and nothing else. A time that is still to come is the mistake of a clock, and taken for now. A
//! patch in bulk changes what the state was at its time.

use serde::Serialize;
use serde_json::{Map, Value};

use super::answer;
use super::failure::Failure;
use super::options::StateHistory;
use super::state_change::StateChange;
use super::store::alias_states::{self, AliasState};
use super::store::state_history::{self, PastState, Place};
use super::store::{Sql, StoreError, states, things};
use super::thing_state::ThingState;
use crate::ids::{AppId, ThingId};
use crate::thing_if::{ErrorCode, MAX_STATE_LEN, State, TimedState, TraitStates};

/// States in one bulk, at most; with traits each alias of each counts.
const MAX_BULK_STATES: usize = 1_000;
/// Aliases of a thing, at most.
const MAX_ALIASES: usize = 100;
/// Characters of an alias, at most.
const MAX_ALIAS_LEN: usize = 64;

/// What a request wants.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// The whole state of a thing without traits.
    Flat(Map<String, Value>),
    /// The whole state of each alias that is named.
    Traits(TraitStates),
    /// Some fields of the state, in the shape that the thing has.
    Patch(Map<String, Value>),
    /// Some fields of the state of each alias that is named.
    PatchTraits(TraitStates),
    /// Whole states with their times, in the shape that the thing has.
    Bulk(Vec<TimedState>),
    /// Patches with their times, in the shape that the thing has.
    BulkPatch(Vec<TimedState>),
}

/// What has become of it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Whether the thing had no state before.
    pub(crate) is_first: bool,
    /// Whether an alias had no state before.
    pub(crate) has_new_alias: bool,
    /// `None` when all that came was older than what was known.
    pub(crate) change: Option<StateChange>,
}

/// Where the states of one thing are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) app: &'a AppId,
    pub(crate) thing: &'a ThingId,
    pub(crate) history: StateHistory,
    /// When the request came, in milliseconds since 1970.
    pub(crate) now: i64,
}

/// Reads the whole state of a thing.
pub(crate) fn read(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Option<ThingState>, StoreError> {
    Ok(Current::load(sql, app, thing)?.whole())
}

/// Stores what `write` wants.
///
/// # Errors
/// 400 when something in it is not what it must be, 404 when it patches what is not there or names aliases of a thing
/// without traits, 409 when it puts a state without traits to a thing with traits.
pub(crate) fn write(sql: &mut dyn Sql, target: &Target<'_>, write: Write) -> Result<Written, Failure> {
    let mut current = Current::load(sql, target.app, target.thing)?;
    let before = current.whole();
    let mut past = Vec::new();
    for step in current.steps(write, target.now)? {
        past.extend(current.take(sql, target, step)?);
    }
    current.check_len()?;
    let mut change = None;
    let mut has_new_alias = false;
    if current.parts.iter().any(|part| part.to_store.is_some()) {
        current.store(sql, target)?;
        has_new_alias = current.parts.iter().any(|part| part.is_new_alias);
        change = current.whole().map(|after| StateChange {
            app: target.app.clone(),
            thing: target.thing.clone(),
            before: before.clone(),
            after,
            now: target.now,
        });
    }
    remember(sql, target, past)?;
    Ok(Written { is_first: before.is_none(), has_new_alias, change })
}

/// Stores past states, and drops what is too much or too old.
fn remember(sql: &mut dyn Sql, target: &Target<'_>, past: Vec<(String, i64, String)>) -> Result<(), StoreError> {
    let Target { app, thing, history, now } = target;
    if past.is_empty() || history.states == 0 {
        return Ok(());
    }
    let (firmware_version, _) = things::version_and_interval(sql, app, thing)?;
    let mut seq = state_history::last_seq(sql, app, thing)?;
    let oldest = history.oldest(*now);
    let mut touched: Vec<String> = Vec::new();
    for (alias, generated_at, state) in past {
        if generated_at >= oldest {
            seq += 1;
            let firmware_version = firmware_version.clone();
            let past = PastState { place: Place { generated_at, seq }, state, firmware_version };
            state_history::insert(sql, app, thing, &alias, &past)?;
        }
        if !touched.contains(&alias) {
            touched.push(alias);
        }
    }
    state_history::drop_up_to(sql, app, thing, seq.saturating_sub(i64::from(history.states)))?;
    for alias in touched {
        state_history::drop_before(sql, app, thing, &alias, oldest)?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Flat,
    Traits,
}

/// The states of a thing while they are written. Without traits it has one part, whose alias is empty.
#[derive(Debug)]
struct Current {
    shape: Option<Shape>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    alias: String,
    state: Map<String, Value>,
    generated_at: i64,
    /// The state as text, when it is to be stored.
    to_store: Option<String>,
    is_new_alias: bool,
}

/// One state, whole or in part.
#[derive(Debug)]
struct Step {
    alias: String,
    /// `None`: of now, whatever the clock says of the state before.
    generated_at: Option<i64>,
    fields: Map<String, Value>,
    is_patch: bool,
}

impl Current {
    fn load(sql: &mut dyn Sql, app: &AppId, thing: &ThingId) -> Result<Self, StoreError> {
        let part = |alias, state: &str, generated_at| {
            let state = serde_json::from_str(state).map_err(|_| StoreError::column(0, "a JSON object"))?;
            Ok::<_, StoreError>(Part { alias, state, generated_at, to_store: None, is_new_alias: false })
        };
        if let Some((state, generated_at)) = states::get(sql, app, thing)? {
            return Ok(Self { shape: Some(Shape::Flat), parts: vec![part(String::new(), &state, generated_at)?] });
        }
        let rows = alias_states::all(sql, app, thing)?;
        let parts = rows.into_iter().map(|row| part(row.alias, &row.state, row.generated_at));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shape: (!parts.is_empty()).then_some(Shape::Traits), parts })
    }

    fn whole(&self) -> Option<ThingState> {
        match self.shape? {
            Shape::Flat => Some(ThingState::Flat(State(self.parts.first()?.state.clone()))),
            Shape::Traits if self.parts.is_empty() => None,
            Shape::Traits => {
                let mut states = TraitStates::default();
                for part in &self.parts {
                    states.insert(part.alias.as_str(), part.state.clone());
                }
                Some(ThingState::Traits(states))
            }
        }
    }

    /// What is to be done, in order; settles the shape of a thing that has none yet.
    fn steps(&mut self, write: Write, now: i64) -> Result<Vec<Step>, Failure> {
        let flat = |fields, is_patch| Step { alias: String::new(), generated_at: None, fields, is_patch };
        match (write, self.shape) {
            (Write::Flat(_), Some(Shape::Traits)) => Err(Failure::new(
                ErrorCode::OperationNotAllowed,
                "The thing has traits: its state is put as application/vnd.kii.MultipleTraitState+json",
            )),
            (Write::Flat(fields), None | Some(Shape::Flat)) => {
                self.shape = Some(Shape::Flat);
                Ok(vec![flat(fields, false)])
            }
            (Write::Traits(states), None | Some(Shape::Traits)) => {
                self.shape = Some(Shape::Traits);
                let steps: Vec<_> = alias_steps(&states, None, false).collect();
                if steps.is_empty() {
                    return Err(Failure::invalid("There is no alias whose state is to be put"));
                }
                Ok(steps)
            }
            (Write::PatchTraits(states), Some(Shape::Traits)) => Ok(alias_steps(&states, None, true).collect()),
            (Write::Traits(states) | Write::PatchTraits(states), _) => {
                Err(alias_not_found(states.iter().next().map_or("", |(alias, _)| alias)))
            }
            (Write::Patch(_) | Write::BulkPatch(_), None) => Err(Failure::state_not_found()),
            (Write::Patch(fields), Some(Shape::Flat)) => Ok(vec![flat(fields, true)]),
            (Write::Patch(fields), Some(Shape::Traits)) => Ok(alias_steps(&read_traits(fields)?, None, true).collect()),
            (Write::Bulk(states), shape) => self.bulk_steps(states, shape, false, now),
            (Write::BulkPatch(states), shape) => self.bulk_steps(states, shape, true, now),
        }
    }

    fn bulk_steps(
        &mut self,
        mut states: Vec<TimedState>,
        shape: Option<Shape>,
        is_patch: bool,
        now: i64,
    ) -> Result<Vec<Step>, Failure> {
        let too_many = || Failure::invalid(format!("There are more than {MAX_BULK_STATES} states"));
        if states.len() > MAX_BULK_STATES {
            return Err(too_many());
        }
        if let Some(state) = states.iter().find(|state| state.generated_at < 0) {
            return Err(Failure::invalid(format!("`generatedAt` is {}, before 1970", state.generated_at)));
        }
        if states.is_empty() {
            return Ok(Vec::new());
        }
        let shape = shape.unwrap_or_else(|| shape_of(&states));
        self.shape = Some(shape);
        for state in &mut states {
            state.generated_at = state.generated_at.min(now);
        }
        // Stable: of two states of one millisecond the later one in the body is the later one.
        states.sort_by_key(|state| state.generated_at);
        let mut steps = Vec::new();
        for TimedState { generated_at, payload } in states {
            let generated_at = Some(generated_at);
            match shape {
                Shape::Flat => steps.push(Step { alias: String::new(), generated_at, fields: payload, is_patch }),
                Shape::Traits => steps.extend(alias_steps(&read_traits(payload)?, generated_at, is_patch)),
            }
            if steps.len() > MAX_BULK_STATES {
                return Err(too_many());
            }
        }
        Ok(steps)
    }

    /// Takes one state. Returns what becomes history of it: alias, time, state.
    fn take(
        &mut self,
        sql: &mut dyn Sql,
        target: &Target<'_>,
        step: Step,
    ) -> Result<Option<(String, i64, String)>, Failure> {
        let Step { alias, generated_at, fields, is_patch } = step;
        let index = self.parts.iter().position(|part| part.alias == alias);
        let known = index.map(|index| &self.parts[index]);
        let known_at = known.map_or(0, |part| part.generated_at);
        let generated_at = generated_at.unwrap_or(target.now.max(known_at));
        let is_latest = generated_at >= known_at;
        let state = match known {
            None if is_patch => return Err(alias_not_found(&alias)),
            _ if !is_patch => fields,
            Some(part) if is_latest => merged(part.state.clone(), fields),
            _ if self.shape == Some(Shape::Flat) => return Ok(None),
            _ => {
                let then = state_history::at(sql, target.app, target.thing, &alias, generated_at)?;
                let then = then.and_then(|then| serde_json::from_str(&then.state).ok()).unwrap_or_default();
                merged(then, fields)
            }
        };
        let text = check_part(&alias, &state)?;
        let past = (self.shape == Some(Shape::Traits)).then(|| (alias.clone(), generated_at, text.clone()));
        match index {
            Some(index) if is_latest => {
                let part = &mut self.parts[index];
                (part.state, part.generated_at, part.to_store) = (state, generated_at, Some(text));
            }
            Some(_) => {}
            None => {
                check_alias(self.shape, &alias)?;
                if self.parts.len() == MAX_ALIASES {
                    return Err(Failure::invalid(format!("A thing has at most {MAX_ALIASES} aliases")));
                }
                self.parts.push(Part { alias, state, generated_at, to_store: Some(text), is_new_alias: true });
            }
        }
        Ok(past)
    }

    /// All aliases together are one state in `GET …/states`.
    fn check_len(&self) -> Result<(), Failure> {
        match (self.shape, self.whole()) {
            (Some(Shape::Traits), Some(ThingState::Traits(states))) => check(&states, 0).map(drop),
            _ => Ok(()),
        }
    }

    fn store(&self, sql: &mut dyn Sql, target: &Target<'_>) -> Result<(), StoreError> {
        for part in &self.parts {
            let Some(state) = &part.to_store else { continue };
            if self.shape == Some(Shape::Flat) {
                states::put(sql, target.app, target.thing, state, part.generated_at)?;
            } else {
                let (alias, state) = (part.alias.clone(), state.clone());
                let row = AliasState { alias, state, generated_at: part.generated_at };
                alias_states::put(sql, target.app, target.thing, &row)?;
            }
        }
        Ok(())
    }
}

/// Of a thing that has no state yet: one whose states hold objects and nothing else has traits.
fn shape_of(states: &[TimedState]) -> Shape {
    let mut values = states.iter().flat_map(|state| state.payload.values()).peekable();
    if values.peek().is_some() && values.all(Value::is_object) { Shape::Traits } else { Shape::Flat }
}

fn read_traits(fields: Map<String, Value>) -> Result<TraitStates, Failure> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| Failure::invalid(format!("The state is wrong: {error}")))
}

fn alias_steps(
    states: &TraitStates,
    generated_at: Option<i64>,
    is_patch: bool,
) -> impl Iterator<Item = Step> + use<'_> {
    states.iter().map(move |(alias, fields)| Step {
        alias: alias.to_owned(),
        generated_at,
        fields: fields.clone(),
        is_patch,
    })
}

/// Fields at the top are set, one by one; `null` is a value like any other.
fn merged(mut state: Map<String, Value>, fields: Map<String, Value>) -> Map<String, Value> {
    state.extend(fields);
    state
}

pub(crate) fn alias_not_found(alias: &str) -> Failure {
    Failure::new(ErrorCode::TraitAliasNotFound, format!("Trait alias {alias} not found"))
}

fn check_alias(shape: Option<Shape>, alias: &str) -> Result<(), Failure> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if shape == Some(Shape::Flat) || (1..=MAX_ALIAS_LEN).contains(&alias.len()) && alias.bytes().all(is_fine) {
        return Ok(());
    }
    Err(Failure::invalid(format!("An alias is 1 to {MAX_ALIAS_LEN} letters, digits, `_`, `-` or `.`")))
}

/// Checks one state, and writes it as text. That of an alias stands deeper in an answer: in a group of the history.
fn check_part(alias: &str, state: &Map<String, Value>) -> Result<String, Failure> {
    check(state, if alias.is_empty() { 0 } else { 2 })
}

fn check(state: &impl Serialize, depth: usize) -> Result<String, Failure> {
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
