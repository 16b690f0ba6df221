//! The actions of a command, in the two forms that exist.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// One action: a name and what it is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Name of the action, such as `turnPower`.
    pub name: String,
    /// Without traits an object of parameters, with traits any value.
    pub value: Value,
}

/// The actions for one alias of a thing with traits.
#[derive(Debug, Clone, PartialEq)]
pub struct AliasActions {
    /// The alias.
    pub alias: String,
    /// Its actions, in the order of execution.
    pub actions: Vec<Action>,
}

/// What a command asks for, in the order of execution. (`wire` §5, §6)
///
/// Deserializing tells the forms apart by their shape: in a list with traits every element holds an array of objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Actions {
    /// Without traits: `[{name:{…}}]`.
    Flat(Vec<Action>),
    /// With traits: `[{alias:[{name:value}]}]`.
    Traits(Vec<AliasActions>),
}

/// What is wrong with a list of actions.
pub(super) const EXPECTED: &str = "an array of objects with one name each";

impl Actions {
    /// Reads the form without traits, whatever the parameters look like. `None` if it is not an array of objects with
    /// one name each.
    pub fn flat(value: Value) -> Option<Self> {
        pairs(value)?
            .map(|pair| pair.map(|(name, value)| Action { name, value }))
            .collect::<Option<_>>()
            .map(Self::Flat)
    }

    /// Reads the form with traits. `None` if it is not an array of objects with one alias each, with such an array in
    /// them.
    pub fn traits(value: Value) -> Option<Self> {
        let alias_actions = |(alias, value)| match Self::flat(value)? {
            Self::Flat(actions) => Some(AliasActions { alias, actions }),
            Self::Traits(_) => None,
        };
        pairs(value)?.map(|pair| pair.and_then(alias_actions)).collect::<Option<_>>().map(Self::Traits)
    }

    /// Number of single actions.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether nothing is asked for; the service refuses such a command.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every single action with its alias, if there are traits, in the order of execution.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &Action)> {
        let (flat, traits): (&[Action], &[AliasActions]) = match self {
            Self::Flat(actions) => (actions, &[]),
            Self::Traits(aliases) => (&[], aliases),
        };
        let with_alias = |alias| move |action| (alias, action);
        flat.iter()
            .map(with_alias(None))
            .chain(traits.iter().flat_map(move |of| of.actions.iter().map(with_alias(Some(of.alias.as_str())))))
    }
}

/// The name and value of each element of an array of one-field objects; `None` inside where an element is none.
pub(super) fn pairs(value: Value) -> Option<impl Iterator<Item = Option<(String, Value)>>> {
    let Value::Array(elements) = value else { return None };
    Some(elements.into_iter().map(|element| match element {
        Value::Object(map) if map.len() == 1 => map.into_iter().next(),
        _ => None,
    }))
}

/// Whether a list of one-field objects has an array of objects in every element, as lists with traits do.
pub(super) fn has_traits(value: &Value) -> bool {
    let holds_objects = |value: &Value| value.as_array().is_some_and(|inner| inner.iter().all(Value::is_object));
    let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let every = elements.iter().all(|e| e.as_object().is_some_and(|o| o.values().all(holds_objects)));
    every && !elements.is_empty()
}

/// `{name: value}`
pub(super) fn pair(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

impl Serialize for Actions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = |actions: &[Action]| actions.iter().map(|a| pair(&a.name, a.value.clone())).collect::<Vec<_>>();
        match self {
            Self::Flat(actions) => list(actions).serialize(serializer),
            Self::Traits(aliases) => {
                serializer.collect_seq(aliases.iter().map(|of| pair(&of.alias, list(&of.actions).into())))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let actions = if has_traits(&value) { Self::traits(value) } else { Self::flat(value) };
        actions.ok_or_else(|| D::Error::custom(format_args!("`actions` is not {EXPECTED}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_told_apart_by_shape_and_survive_the_wire() {
        let flat = json!([{ "turnPower": { "power": true } }, { "setFanSpeed": { "fanSpeed": 5 } }]);
        let traits = json!([{ "Panel": [{ "turnPower": true }, { "setFanSpeed": 5 }] }, { "Lamp": [{ "dim": {} }] }]);
        for (given, aliases) in
            [(flat, [None, None].as_slice()), (traits, &[Some("Panel"), Some("Panel"), Some("Lamp")])]
        {
            let actions: Actions = serde_json::from_value(given.clone()).expect("valid");
            assert_eq!(actions.iter().map(|(alias, _)| alias).collect::<Vec<_>>(), aliases);
            assert_eq!(serde_json::to_value(&actions).expect("plain"), given);
        }
    }

    #[test]
    fn a_list_of_numbers_is_a_parameter_not_a_trait() {
        let given = json!([{ "setColours": [1, 2, 3] }]);
        let actions: Actions = serde_json::from_value(given).expect("valid");
        assert!(matches!(actions, Actions::Flat(_)));
        assert_eq!(Actions::traits(json!([{ "setColours": [1, 2, 3] }])), None);
    }

    #[test]
    fn what_is_no_list_of_actions_is_refused() {
        for given in [json!({}), json!("x"), json!([1]), json!([{}]), json!([{ "a": {}, "b": {} }])] {
            assert_eq!(Actions::flat(given.clone()), None, "{given}");
            assert!(serde_json::from_value::<Actions>(given).is_err());
        }
        assert!(Actions::flat(json!([])).is_some_and(|actions| actions.is_empty()));
        assert_eq!(Actions::traits(json!([{ "a": {} }])), None);
    }

    proptest! {
        #[test]
        fn any_flat_list_survives_the_wire(names in prop::collection::vec(("[a-zA-Z]{1,8}", any::<i32>()), 0..6)) {
            let list = names.iter().map(|(name, n)| Action { name: name.clone(), value: json!({ "n": n }) });
            let actions = Actions::Flat(list.collect());
            let written = serde_json::to_value(&actions).expect("plain");
            prop_assert_eq!(serde_json::from_value::<Actions>(written).ok(), Some(actions));
        }

        #[test]
        fn any_list_with_traits_survives_the_wire(
            aliases in prop::collection::vec(("[A-Z]{1,4}", prop::collection::vec(("[a-z]{1,4}", any::<i32>()), 0..4)), 1..4)
        ) {
            let of = |(alias, actions): (String, Vec<(String, i32)>)| AliasActions {
                alias,
                actions: actions.into_iter().map(|(name, n)| Action { name, value: n.into() }).collect(),
            };
            let actions = Actions::Traits(aliases.into_iter().map(of).collect());
            let written = serde_json::to_value(&actions).expect("plain");
            prop_assert_eq!(serde_json::from_value::<Actions>(written).ok(), Some(actions));
        }
    }
}
