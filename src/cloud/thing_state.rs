//! The whole state of a thing, in either of its shapes.

use serde_json::Value;

use crate::thing_if::{State, TraitStates};

/// The state of a thing. Which shape it has is settled by what was put first, and stays. (`wire` §5)
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ThingState {
    /// Without traits: one object.
    Flat(State),
    /// With traits: an object for each alias.
    Traits(TraitStates),
}

impl ThingState {
    /// A field at the top of the state, or of the state of `alias`. A thing without traits has no alias, and of one with
    /// traits nothing can be named without.
    pub(crate) fn field(&self, alias: Option<&str>, field: &str) -> Option<&Value> {
        match (self, alias) {
            (Self::Flat(State(state)), None) => state.get(field),
            (Self::Traits(states), Some(alias)) => states.get(alias)?.get(field),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_named_in_the_way_of_its_shape() {
        let flat = ThingState::Flat(State::from_json(br#"{"on":true,"Lamp":{"on":false}}"#).expect("an object"));
        assert_eq!(flat.field(None, "on"), Some(&json!(true)));
        assert_eq!(flat.field(None, "Lamp"), Some(&json!({ "on": false })));
        assert_eq!(flat.field(Some("Lamp"), "on"), None);
        let traits = ThingState::Traits(TraitStates::from_json(br#"{"Lamp":{"on":false}}"#).expect("objects"));
        assert_eq!(traits.field(Some("Lamp"), "on"), Some(&json!(false)));
        assert_eq!(traits.field(Some("Fan"), "on"), None);
        assert_eq!(traits.field(Some("Lamp"), "off"), None);
        assert_eq!(traits.field(None, "Lamp"), None);
    }
}
