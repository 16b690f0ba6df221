//! What the service has told this run, which a masked capture does not hold.

use std::collections::HashMap;

use crate::frame::{Frame, Start};
use crate::ids::AccessToken;
use crate::mqtt::Publish;
use crate::secret::Secret;
use crate::thing_if::{EndNodeOnboardingAnswer, MqttEndpoint, OnboardingAnswer};

#[derive(Default)]
pub(super) struct Known {
    /// By client id: the broker with its login, and the token.
    endpoints: HashMap<String, (MqttEndpoint, Secret<String>)>,
    /// By the thing's id.
    tokens: HashMap<String, Secret<String>>,
}

impl Known {
    /// Keeps the secrets of an onboarding for the connections and calls after it.
    pub(super) fn learn(&mut self, answer: &Publish) {
        if !answer.topic.as_str().ends_with("/onboardings") {
            return;
        }
        let Ok(frame) = Frame::parse(&answer.payload) else { return };
        if !matches!(frame.start(), Start::Response { status } if status.is_success()) {
            return;
        }
        if let Ok(onboarded) = OnboardingAnswer::from_json(frame.body()) {
            let token = text(&onboarded.access_token);
            self.tokens.insert(onboarded.thing_id.to_string(), token.clone());
            self.endpoints.insert(onboarded.endpoint.mqtt_topic.to_string(), (onboarded.endpoint, token));
        } else if let Ok(onboarded) = EndNodeOnboardingAnswer::from_json(frame.body()) {
            self.tokens.insert(onboarded.end_node_thing_id.to_string(), text(&onboarded.access_token));
        }
    }

    /// The broker that `client_id` was assigned to.
    pub(super) fn endpoint(&self, client_id: &str) -> Option<&MqttEndpoint> {
        self.endpoints.get(client_id).map(|(endpoint, _)| endpoint)
    }

    /// Of the thing that the path names, else of the thing that is connected.
    pub(super) fn token(&self, topic: &str, client_id: &str) -> Option<&Secret<String>> {
        let ids = topic.split('/').filter_map(|part| part.split(':').next_back());
        let named = ids.filter_map(|id| self.tokens.get(id)).next_back();
        named.or(self.endpoints.get(client_id).map(|(_, token)| token))
    }
}

fn text(token: &Secret<AccessToken>) -> Secret<String> {
    Secret::new(token.expose().as_str().to_owned())
}
