//! What a request makes of the state of a thing. (`wire` §5)
//!
//! A thing is with traits or without by what was first put, for as long as it exists. Without, its state is one object.
//! With traits each alias has a state of its own, and comes into being when that is first put; to put some aliases leaves
//! the others as they are. The states of aliases are kept as history, too.
//!
//! States that come in bulk belong to the times that they bring, the earliest first: one that is older than what is known
//! already becomes history and nothing else. A time that is still to come is the mistake of a clock, and taken for now. A
//! patch in bulk changes what the state was at its time.

mod limits;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::options::StateHistory;
use super::state_change::StateChange;
use super::store::alias_states::{self, AliasState};
use super::store::state_history::{self, Alias, PastState, Place};
use super::store::{Sql, StoreError, states, things};
use super::thing_state::ThingState;
use crate::ids::{AppId, ThingId};
use crate::thing_if::{ErrorCode, State, TimedState, TraitStates};

/// States in one bulk, at most; with traits each alias of each counts.
const MAX_BULK_STATES: usize = 1_000;
/// Past states that one request drops, at most: others want to write too. More than one brings, so that no more of them
/// stay than a setting that was lowered or a thing that was silent for long have left.
const MAX_DROPPED: i64 = 2_000;
/// How far ahead of a request the state that is known may be. Requests are not executed in the order of their times; one
/// further ahead has the time of a clock that has been put right since, which says nothing.
const MAX_AHEAD: i64 = 60_000;

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
        current.take(sql, target, step, &mut past)?;
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
fn remember(sql: &mut dyn Sql, target: &Target<'_>, past: Vec<Past>) -> Result<(), StoreError> {
    let Target { app, thing, history, now } = target;
    if past.is_empty() || history.states == 0 {
        return Ok(());
    }
    let (firmware_version, _) = things::version_and_interval(sql, app, thing)?;
    let mut seq = state_history::last_seq(sql, app, thing)?;
    let oldest = history.oldest(*now);
    let mut touched: Vec<String> = Vec::new();
    for Past { alias, generated_at, state } in past {
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
    let mut left = MAX_DROPPED;
    left -= state_history::drop_up_to(sql, app, thing, seq.saturating_sub(i64::from(history.states)), left)? as i64;
    for alias in touched {
        let alias = Alias { app: app.to_string(), thing: thing.to_string(), alias };
        left -= state_history::drop_before(sql, &alias, oldest, left)? as i64;
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

/// A state of an alias that becomes history.
#[derive(Debug)]
struct Past {
    alias: String,
    generated_at: i64,
    /// A JSON object.
    state: String,
}

/// What the state of `alias` was at the time `at`, with what this request has brought of earlier times.
fn then(
    sql: &mut dyn Sql,
    target: &Target<'_>,
    past: &[Past],
    alias: &str,
    at: i64,
) -> Result<Map<String, Value>, StoreError> {
    let stored = state_history::at(sql, target.app, target.thing, alias, at)?;
    let stored_at = stored.as_ref().map_or(i64::MIN, |stored| stored.place.generated_at);
    let brought = past.iter().rev().find(|past| past.alias == alias && past.generated_at >= stored_at);
    let state = brought.map(|past| past.state.as_str()).or(stored.as_ref().map(|stored| stored.state.as_str()));
    let Some(state) = state else { return Ok(Map::new()) };
    serde_json::from_str(state).map_err(|_| StoreError::column(3, "a JSON object"))
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

    /// Takes one state, and adds what becomes history of it to `past`, in the order of the times.
    fn take(
        &mut self,
        sql: &mut dyn Sql,
        target: &Target<'_>,
        step: Step,
        past: &mut Vec<Past>,
    ) -> Result<(), Failure> {
        let Step { alias, generated_at, fields, is_patch } = step;
        let index = self.parts.iter().position(|part| part.alias == alias);
        let known = index.map(|index| &self.parts[index]);
        let known_at = known.map_or(0, |part| part.generated_at);
        let known_at = if known_at > target.now.saturating_add(MAX_AHEAD) { 0 } else { known_at };
        let generated_at = generated_at.unwrap_or(target.now.max(known_at));
        let is_latest = generated_at >= known_at;
        let state = match known {
            None if is_patch => return Err(alias_not_found(&alias)),
            _ if !is_patch => fields,
            Some(part) if is_latest => merged(part.state.clone(), fields),
            _ if self.shape == Some(Shape::Flat) => return Ok(()),
            _ => merged(then(sql, target, past, &alias, generated_at)?, fields),
        };
        let text = limits::check_part(&alias, &state)?;
        if self.shape == Some(Shape::Traits) {
            past.push(Past { alias: alias.clone(), generated_at, state: text.clone() });
        }
        match index {
            Some(index) if is_latest => {
                let part = &mut self.parts[index];
                (part.state, part.generated_at, part.to_store) = (state, generated_at, Some(text));
            }
            Some(_) => {}
            None => {
                if self.shape == Some(Shape::Traits) {
                    limits::check_new_alias(&alias, self.parts.len())?;
                }
                self.parts.push(Part { alias, state, generated_at, to_store: Some(text), is_new_alias: true });
            }
        }
        Ok(())
    }

    /// All aliases together are one state in `GET …/states`.
    fn check_len(&self) -> Result<(), Failure> {
        match (self.shape, self.whole()) {
            (Some(Shape::Traits), Some(ThingState::Traits(states))) => limits::check(&states, 0).map(drop),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::cloud::store::{Bounds, SqliteStore, Store};

    const ALIASES: [&str; 2] = ["Lamp", "Fan"];

    /// One request: whether it is in bulk, whether it patches, and states: alias, time, a field, its value.
    #[derive(Debug, Clone)]
    struct Request {
        is_bulk: bool,
        is_patch: bool,
        states: Vec<(usize, i64, char, u8)>,
    }

    fn request() -> impl Strategy<Value = Request> {
        let state = (0..ALIASES.len(), 0..12_i64, prop_oneof![Just('a'), Just('b')], any::<u8>());
        (any::<bool>(), any::<bool>(), prop::collection::vec(state, 1..5))
            .prop_map(|(is_bulk, is_patch, states)| Request { is_bulk, is_patch, states })
    }

    fn fields(field: char, value: u8) -> Map<String, Value> {
        [(field.to_string(), value.into())].into_iter().collect()
    }

    impl Request {
        fn write(&self) -> Write {
            if self.is_bulk {
                let states = self.states.iter().map(|(alias, at, field, value)| TimedState {
                    generated_at: *at,
                    payload: [(ALIASES[*alias].to_owned(), fields(*field, *value).into())].into_iter().collect(),
                });
                return if self.is_patch { Write::BulkPatch(states.collect()) } else { Write::Bulk(states.collect()) };
            }
            let mut states = TraitStates::default();
            for (alias, _, field, value) in &self.states[..1] {
                states.insert(ALIASES[*alias], fields(*field, *value));
            }
            if self.is_patch { Write::PatchTraits(states) } else { Write::Traits(states) }
        }
    }

    /// Every state of every alias, in the order in which they came, and no thought for cost.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Naive([Vec<(i64, Map<String, Value>)>; 2]);

    impl Naive {
        /// The state at `at`: of the latest of the times up to then the one that came last.
        fn at(&self, alias: usize, at: i64) -> Option<(i64, Map<String, Value>)> {
            let mut found = None::<&(i64, Map<String, Value>)>;
            for one in self.0[alias].iter().filter(|(when, _)| *when <= at) {
                if found.is_none_or(|(when, _)| one.0 >= *when) {
                    found = Some(one);
                }
            }
            found.cloned()
        }

        fn with(mut self, request: &Request, now: i64) -> Option<Self> {
            let mut states = request.states.clone();
            if request.is_bulk {
                states.sort_by_key(|state| state.1.min(now));
            } else {
                states.truncate(1);
            }
            for (alias, at, field, value) in states {
                let at = if request.is_bulk { at.min(now) } else { now };
                let mut state = if request.is_patch {
                    if self.0[alias].is_empty() {
                        return None;
                    }
                    self.at(alias, at).map(|(_, state)| state).unwrap_or_default()
                } else {
                    Map::new()
                };
                state.insert(field.to_string(), value.into());
                self.0[alias].push((at, state));
            }
            Some(self)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn states_are_what_a_naive_account_of_all_of_them_says(requests in prop::collection::vec(request(), 1..8)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let bounds = Bounds { queue: 10, writes_per_commit: 10 };
            let store: Box<dyn Store> = Box::new(SqliteStore::in_memory(bounds, 0).expect("opens"));
            let (app, thing) = (AppId::new("app").expect("valid"), ThingId::new("th.1").expect("valid"));
            let mut naive = Naive::default();
            for (request, now) in requests.iter().zip(4..) {
                let (wanted, app, thing) = (request.write(), app.clone(), thing.clone());
                let write = move |sql: &mut dyn Sql| {
                    let target = Target { app: &app, thing: &thing, history: StateHistory::default(), now };
                    write(sql, &target, wanted)
                };
                let written = runtime.block_on(store.write(write));
                match naive.clone().with(request, now) {
                    Some(after) => {
                        prop_assert_eq!(written.map(|written| written.is_first).ok(), Some(naive == Naive::default()));
                        naive = after;
                    }
                    None => prop_assert!(written.is_err(), "{:?}", written),
                }
            }
            let found = runtime.block_on(store.read(move |sql: &mut dyn Sql| {
                let begin = Place { generated_at: 0, seq: 0 };
                let mut history = Vec::new();
                for alias in ALIASES {
                    history.push(state_history::page(sql, &app, &thing, alias, begin, i64::MAX, 1_000)?);
                }
                Ok::<_, StoreError>((read(sql, &app, &thing)?, history))
            }));
            let (state, history) = found.expect("readable");
            let mut expected = serde_json::Map::new();
            for (index, alias) in ALIASES.iter().enumerate() {
                if let Some((_, state)) = naive.at(index, i64::MAX) {
                    expected.insert((*alias).to_owned(), state.into());
                }
                let mut in_order = naive.0[index].clone();
                in_order.sort_by_key(|(at, _)| *at);
                let shown: Vec<_> = history[index]
                    .iter()
                    .map(|past| (past.place.generated_at, serde_json::from_str(&past.state).expect("an object")))
                    .collect();
                prop_assert_eq!(&shown, &in_order, "{}", alias);
            }
            let state = match state {
                None => json!({}),
                Some(ThingState::Traits(states)) => serde_json::to_value(states).expect("plain"),
                Some(ThingState::Flat(state)) => panic!("{state:?}"),
            };
            prop_assert_eq!(state, Value::Object(expected));
            store.close();
        }
    }
}
