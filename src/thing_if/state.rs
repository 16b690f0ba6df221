//! States of a thing. (`wire` §5)

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{InvalidBody, json};

/// The most that a state may take as JSON, in bytes: 10 KB. (`wire` §5)
pub const MAX_STATE_LEN: usize = 10 * 1024;

/// The state of a thing without traits: any object. Its fields keep their order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct State(pub Map<String, Value>);

impl State {
    /// Reads the body of `PUT …/states`, or the answer of `GET …/states`.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not a JSON object.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }
}

/// The state of a thing with traits: an object for each alias.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct TraitStates(Map<String, Value>);

impl TraitStates {
    /// Reads the body of `PUT …/states` or `PATCH …/states` with traits.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not a JSON object of objects.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }

    /// The state of `alias`.
    pub fn get(&self, alias: &str) -> Option<&Map<String, Value>> {
        self.0.get(alias).and_then(Value::as_object)
    }

    /// Sets the state of `alias`.
    pub fn insert(&mut self, alias: impl Into<String>, state: Map<String, Value>) {
        self.0.insert(alias.into(), Value::Object(state));
    }

    /// Every alias with its state, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.0.iter().filter_map(|(alias, state)| Some((alias.as_str(), state.as_object()?)))
    }
}

impl<'de> Deserialize<'de> for TraitStates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        match map.iter().find(|(_, state)| !state.is_object()) {
            Some((alias, _)) => Err(D::Error::custom(format_args!("the state of alias `{alias}` is not an object"))),
            None => Ok(Self(map)),
        }
    }
}

/// The body of `POST …/states-bulk`: states with the times at which they were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkStates {
    /// In the order given.
    pub states: Vec<TimedState>,
}

impl BulkStates {
    /// Reads a body.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not an object with an array of states.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }
}

/// One state of [`BulkStates`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedState {
    /// Milliseconds since 1970, UTC, by the device's clock.
    #[serde(rename = "generatedAt")]
    pub generated_at: i64,
    /// The state.
    pub payload: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let body = br#"{"power":true,"presetTemperature":25,"fanspeed":5,"currentTemperature":28,"a":null}"#;
        let state = State::from_json(body).expect("an object");
        assert_eq!(serde_json::to_vec(&state).expect("plain"), body);
        assert!(State::from_json(b"[1]").is_err());
        assert!(State::from_json(b"{} x").is_err());
        assert!(State::from_json(b"{}\r\n").is_ok());
    }

    #[test]
    fn every_alias_holds_an_object() {
        let states = TraitStates::from_json(br#"{"Lamp":{"on":true},"Fan":{}}"#).expect("valid");
        assert_eq!(states.iter().map(|(alias, _)| alias).collect::<Vec<_>>(), ["Lamp", "Fan"]);
        assert_eq!(states.get("Lamp").and_then(|lamp| lamp.get("on")), Some(&Value::Bool(true)));
        let error = TraitStates::from_json(br#"{"Lamp":1}"#).expect_err("refused");
        assert!(error.to_string().contains("alias `Lamp`"), "{error}");
    }

    #[test]
    fn an_inserted_alias_is_written() {
        let mut states = TraitStates::default();
        states.insert("Lamp", Map::new());
        assert_eq!(serde_json::to_string(&states).expect("plain"), r#"{"Lamp":{}}"#);
    }

    #[test]
    fn bulk_states_survive_the_wire() {
        let body = r#"{"states":[{"generatedAt":1469102511270,"payload":{"on":true}}]}"#;
        let bulk: BulkStates = serde_json::from_str(body).expect("valid");
        assert_eq!(serde_json::to_string(&bulk).expect("plain"), body);
    }
}
