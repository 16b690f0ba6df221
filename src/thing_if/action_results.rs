//! What became of the actions of a command.

use std::collections::HashMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::actions::{self, EXPECTED};
use super::{Actions, CommandState, InvalidBody, json};

/// What became of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionResult {
    /// Name of the action.
    pub action: String,
    /// `succeeded`
    pub succeeded: bool,
    /// `errorMessage`: why it did not, for people.
    pub error_message: Option<String>,
    /// `data`: whatever the device wants to add.
    pub data: Option<Value>,
}

impl ActionResult {
    /// `action` was done.
    pub fn succeeded(action: impl Into<String>) -> Self {
        Self { action: action.into(), succeeded: true, error_message: None, data: None }
    }

    /// `action` was not done, and why.
    pub fn failed(action: impl Into<String>, error_message: impl Into<String>) -> Self {
        Self { action: action.into(), succeeded: false, error_message: Some(error_message.into()), data: None }
    }

    fn of(action: String, value: Value) -> Option<Self> {
        let Value::Object(mut fields) = value else { return None };
        let Some(Value::Bool(succeeded)) = fields.swap_remove("succeeded") else { return None };
        let error_message = match fields.swap_remove("errorMessage") {
            None | Some(Value::Null) => None,
            Some(Value::String(message)) => Some(message),
            Some(_) => return None,
        };
        let data = fields.swap_remove("data").filter(|data| !data.is_null());
        Some(Self { action, succeeded, error_message, data })
    }

    fn to_pair(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("succeeded".into(), self.succeeded.into());
        if let Some(message) = &self.error_message {
            fields.insert("errorMessage".into(), message.as_str().into());
        }
        if let Some(data) = &self.data {
            fields.insert("data".into(), data.clone());
        }
        actions::pair(&self.action, Value::Object(fields))
    }
}

/// What became of the actions for one alias.
#[derive(Debug, Clone, PartialEq)]
pub struct AliasResults {
    /// The alias.
    pub alias: String,
    /// Its results, in the order of the actions.
    pub results: Vec<ActionResult>,
}

/// What became of the actions of a command, in the same order and with the same names. (`wire` §5, §6)
#[derive(Debug, Clone, PartialEq)]
pub enum ActionResults {
    /// Without traits: `[{action:{succeeded, errorMessage?, data?}}]`.
    Flat(Vec<ActionResult>),
    /// With traits: `[{alias:[{action:{…}}]}]`.
    Traits(Vec<AliasResults>),
}

/// The body of `PUT …/commands/{CID}/action-results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionResultsUpdate {
    /// The results.
    #[serde(rename = "actionResults")]
    pub action_results: ActionResults,
}

impl ActionResultsUpdate {
    /// Reads the body.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not JSON, or its results are in neither form.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }
}

impl ActionResults {
    /// The report on `actions`, in their form and order: `execute` is called once for each and says how it went.
    ///
    /// ```
    /// use thingif::thing_if::{ActionResult, ActionResults, Actions};
    /// let actions: Actions = serde_json::from_str(r#"[{"turnPower":{"power":true}}]"#)?;
    /// let results = ActionResults::of(&actions, |_alias, action| ActionResult::succeeded(&action.name));
    /// assert_eq!(serde_json::to_string(&results)?, r#"[{"turnPower":{"succeeded":true}}]"#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn of(actions: &Actions, mut execute: impl FnMut(Option<&str>, &super::Action) -> ActionResult) -> Self {
        match actions {
            Actions::Flat(list) => Self::Flat(list.iter().map(|action| execute(None, action)).collect()),
            Actions::Traits(aliases) => Self::Traits(
                aliases
                    .iter()
                    .map(|of| AliasResults {
                        alias: of.alias.clone(),
                        results: of.actions.iter().map(|action| execute(Some(&of.alias), action)).collect(),
                    })
                    .collect(),
            ),
        }
    }

    /// The same without `data`, and with every `errorMessage` cut to 200 characters: what succeeded and what did not.
    #[must_use]
    pub fn without_data(mut self) -> Self {
        let shorten = |result: &mut ActionResult| {
            result.data = None;
            result.error_message = result.error_message.take().map(|text| text.chars().take(200).collect());
        };
        match &mut self {
            Self::Flat(results) => results.iter_mut().for_each(shorten),
            Self::Traits(aliases) => aliases.iter_mut().flat_map(|of| &mut of.results).for_each(shorten),
        }
        self
    }

    /// Every single result with its alias, if there are traits.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &ActionResult)> {
        let (flat, traits): (&[ActionResult], &[AliasResults]) = match self {
            Self::Flat(results) => (results, &[]),
            Self::Traits(aliases) => (&[], aliases),
        };
        let with_alias = |alias| move |result| (alias, result);
        flat.iter()
            .map(with_alias(None))
            .chain(traits.iter().flat_map(move |of| of.results.iter().map(with_alias(Some(of.alias.as_str())))))
    }

    /// The state of a command with `actions` after these results: [`CommandState::Done`] when every action has one,
    /// [`CommandState::Incomplete`] when some have. `None` when a result is for an action that the command does not
    /// have, which the service refuses. (`wire` §5, §8)
    pub fn state_after(&self, actions: &Actions) -> Option<CommandState> {
        let mut open: HashMap<(Option<&str>, &str), usize> = HashMap::new();
        for (alias, action) in actions.iter() {
            *open.entry((alias, &action.name)).or_default() += 1;
        }
        let mut left = actions.len();
        for (alias, result) in self.iter() {
            let count = open.get_mut(&(alias, result.action.as_str())).filter(|count| **count > 0)?;
            *count -= 1;
            left -= 1;
        }
        Some(if left == 0 { CommandState::Done } else { CommandState::Incomplete })
    }

    fn flat(value: Value) -> Option<Vec<ActionResult>> {
        actions::pairs(value)?.map(|pair| pair.and_then(|(name, value)| ActionResult::of(name, value))).collect()
    }

    fn read(value: Value) -> Option<Self> {
        if !actions::has_traits(&value) {
            return Self::flat(value).map(Self::Flat);
        }
        let of = |(alias, value)| Some(AliasResults { alias, results: Self::flat(value)? });
        actions::pairs(value)?.map(|pair| pair.and_then(of)).collect::<Option<_>>().map(Self::Traits)
    }
}

impl Serialize for ActionResults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = |results: &[ActionResult]| results.iter().map(ActionResult::to_pair).collect::<Vec<_>>();
        match self {
            Self::Flat(results) => list(results).serialize(serializer),
            Self::Traits(aliases) => {
                serializer.collect_seq(aliases.iter().map(|of| actions::pair(&of.alias, list(&of.results).into())))
            }
        }
    }
}

impl<'de> Deserialize<'de> for ActionResults {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Value::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom(format_args!("`actionResults` is not {EXPECTED} and `succeeded` in each")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn both_forms_survive_the_wire() {
        for given in [
            json!({ "actionResults": [{ "a": { "succeeded": true } },
                { "b": { "succeeded": false, "errorMessage": "stuck", "data": { "n": 1 } } }] }),
            json!({ "actionResults": [{ "Lamp": [{ "a": { "succeeded": true } }] }, { "Fan": [] }] }),
            json!({ "actionResults": [] }),
        ] {
            let update = ActionResultsUpdate::from_json(given.to_string().as_bytes()).expect("valid");
            assert_eq!(serde_json::to_value(&update).expect("plain"), given);
        }
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for given in [
            json!([{ "a": {} }]),
            json!([{ "a": { "succeeded": "yes" } }]),
            json!([{ "a": { "succeeded": true, "errorMessage": 1 } }]),
            json!([{ "Lamp": [{ "a": true }] }]),
            json!({ "a": { "succeeded": true } }),
        ] {
            assert!(serde_json::from_value::<ActionResults>(given.clone()).is_err(), "{given}");
        }
    }

    /// One client writes `[,{` for the second alias; that is not JSON and must be refused, not crash. (`wire` §5)
    #[test]
    fn a_stray_comma_is_refused_with_its_place() {
        let body = br#"{"actionResults":[{"Lamp":[{"a":{"succeeded":true}}]},{"Fan":[,{"b":{"succeeded":true}}]}]}"#;
        let error = ActionResultsUpdate::from_json(body).expect_err("not JSON");
        assert!(matches!(error, InvalidBody::Syntax { line: 1, .. }), "{error:?}");
    }

    #[test]
    fn a_report_has_the_form_and_order_of_the_actions() {
        let actions: Actions = read(json!([{ "Lamp": [{ "on": true }, { "dim": 3 }] }, { "Fan": [{ "on": true }] }]));
        let mut calls = 0;
        let results = ActionResults::of(&actions, |alias, action| {
            calls += 1;
            match alias {
                Some("Fan") => ActionResult::failed(&action.name, "no fan"),
                _ => ActionResult::succeeded(&action.name),
            }
        });
        assert_eq!(calls, 3);
        let written = serde_json::to_value(&results).expect("plain");
        let expected = json!([
            { "Lamp": [{ "on": { "succeeded": true } }, { "dim": { "succeeded": true } }] },
            { "Fan": [{ "on": { "succeeded": false, "errorMessage": "no fan" } }] }
        ]);
        assert_eq!(written, expected);
        assert_eq!(results.state_after(&actions), Some(CommandState::Done));
    }

    #[test]
    fn some_results_leave_the_command_incomplete_and_foreign_ones_are_told() {
        let actions: Actions = read(json!([{ "a": {} }, { "a": {} }, { "b": {} }]));
        let done = |name: &str| json!({ name: { "succeeded": true } });
        let state = |results: Value| read::<ActionResults>(results).state_after(&actions);
        assert_eq!(state(json!([done("a"), done("b")])), Some(CommandState::Incomplete));
        assert_eq!(state(json!([done("a"), done("b"), done("a")])), Some(CommandState::Done));
        assert_eq!(state(json!([done("b"), done("b")])), None);
        assert_eq!(state(json!([done("c")])), None);
        assert_eq!(state(json!([{ "Lamp": [done("a")] }])), None);
        assert_eq!(state(json!([])), Some(CommandState::Incomplete));
    }
}
