//! Messages: `{scope}/topics/{T}/push/messages` to every subscriber of a topic, `users/{id}/push/messages` and
//! `things/{id}/push/messages` to one user or thing. Kii Cloud's, HTTPS only. (`wire` §5, §6)
//!
//! Of a message this service delivers what is for MQTT: the section `mqtt` switches it on and may carry `data` of its own;
//! `qos` and `retain` are taken and change nothing, because pushes are QoS 0 and never retained. Sections for other
//! networks (`gcm`, `fcm`, `apns`, `jpush`) are taken and reach nobody.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::scope::{Access, Scope};
use super::topics;
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::fan_out::{Audience, Publication};
use crate::cloud::identifiers::Identifiers;
use crate::cloud::store::Sql;
use crate::cloud::{Cloud, answer};
use crate::thing_if::{MAX_PUSH_LEN, Principal, json as dialect};

const REQUEST: &str = "application/vnd.kii.SendPushMessageRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/topics/{topic}/push/messages", post(send))
        .route("/api/apps/{app}/users/{user}/topics/{topic}/push/messages", post(send))
        .route("/api/apps/{app}/things/{thing}/topics/{topic}/push/messages", post(send))
        .route("/api/apps/{app}/users/{user}/push/messages", post(send))
        .route("/api/apps/{app}/things/{thing}/push/messages", post(send))
}

/// The request. (`wire` §5)
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    data: Option<Map<String, Value>>,
    #[serde(default = "yes")]
    send_to_development: bool,
    #[serde(default = "yes")]
    send_to_production: bool,
    #[serde(default)]
    push_message_type: Option<String>,
    #[serde(default, rename = "sendAppID")]
    send_app_id: bool,
    #[serde(default = "yes")]
    send_sender: bool,
    #[serde(default)]
    send_when: bool,
    #[serde(default)]
    send_origin: bool,
    #[serde(default = "yes")]
    send_object_scope: bool,
    #[serde(default = "yes", rename = "sendTopicID")]
    send_topic_id: bool,
    #[serde(default)]
    mqtt: Option<MqttSection>,
    #[serde(default)]
    gcm: Option<OtherSection>,
    #[serde(default)]
    fcm: Option<OtherSection>,
    #[serde(default)]
    apns: Option<OtherSection>,
    #[serde(default)]
    jpush: Option<OtherSection>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MqttSection {
    enabled: bool,
    #[serde(default)]
    data: Option<Map<String, Value>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    retain: Option<bool>,
    #[serde(default)]
    qos: Option<u8>,
}

/// A section for another network.
#[derive(Debug, Deserialize)]
struct OtherSection {
    #[serde(rename = "enabled")]
    _enabled: bool,
}

fn yes() -> bool {
    true
}

/// 200 with `pushMessageID`; the pushes follow.
async fn send(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_one_of(&[REQUEST])?;
    let message = Message::read(&body.bytes)?;
    let judge = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Topics)?;
        let (to, topic) = if call.param("topic").is_empty() {
            (Audience::Principal(call.app.clone(), addressee(&call, &caller, &scope)?), None)
        } else {
            let topic = topics::existing(sql, &call, &scope)?;
            let name = topic.name.clone();
            (Audience::Subscribers(topic), Some(name))
        };
        let payload = message.payload(&call, &scope, &caller, topic)?;
        let (development, production) = (message.send_to_development, message.send_to_production);
        let is_sent = message.mqtt.as_ref().is_some_and(|mqtt| mqtt.enabled && !mqtt.dry_run);
        Ok::<_, Failure>(is_sent.then_some(Publication { to, payload, development, production }))
    };
    if let Some(publication) = cloud.store().read(judge).await? {
        cloud.publish(publication);
    }
    Ok(answer::json(StatusCode::OK, &json!({"pushMessageID": Identifiers::push_message_id()})))
}

/// Whose scope it is: the one user or thing that a direct message is for.
fn addressee(call: &Call, caller: &Caller, scope: &Scope) -> Result<Principal, Failure> {
    match scope {
        Scope::User(user) => Ok(Principal::User(user.clone())),
        Scope::Thing(thing) => Ok(Principal::Thing(thing.clone())),
        Scope::App => Err(Failure::not_permitted(&call.app, caller)),
    }
}

impl Message {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let message: Self = dialect::from_slice(body)?;
        let others = [&message.gcm, &message.fcm, &message.apns, &message.jpush];
        if message.mqtt.is_none() && others.into_iter().all(Option::is_none) {
            return Err(Failure::invalid("One of `mqtt`, `gcm`, `fcm`, `apns` and `jpush` is needed"));
        }
        if message.mqtt.as_ref().and_then(|mqtt| mqtt.qos).is_some_and(|qos| qos > 2) {
            return Err(Failure::invalid("`mqtt.qos` is not 0, 1 or 2").with("field", "mqtt.qos"));
        }
        // It is a truth value or is not there, and changes nothing.
        let _ = message.mqtt.as_ref().and_then(|mqtt| mqtt.retain);
        let data = [message.data.as_ref(), message.mqtt.as_ref().and_then(|mqtt| mqtt.data.as_ref())];
        if data.into_iter().flatten().flat_map(Map::values).any(|value| value.is_array() || value.is_object()) {
            return Err(Failure::invalid("`data` has an array or an object in it").with("field", "data"));
        }
        Ok(message)
    }

    /// What a receiver sees: the sender's fields, then the service's, which win. (`wire` §6)
    fn payload(&self, call: &Call, scope: &Scope, caller: &Caller, topic: Option<String>) -> Result<Bytes, Failure> {
        let own = self.mqtt.as_ref().and_then(|mqtt| mqtt.data.as_ref());
        let mut fields = own.or(self.data.as_ref()).cloned().unwrap_or_default();
        let app = call.app.as_str();
        if self.send_object_scope && topic.is_some() {
            fields.insert("objectScopeAppID".into(), app.into());
            fields.insert("objectScopeType".into(), scope.kind().into());
            match scope {
                Scope::User(user) => drop(fields.insert("objectScopeUserID".into(), user.as_str().into())),
                Scope::Thing(thing) => drop(fields.insert("objectScopeThingID".into(), thing.as_str().into())),
                Scope::App => {}
            }
        }
        if let Some(topic) = topic.filter(|_| self.send_topic_id) {
            fields.insert("topic".into(), topic.into());
        }
        if let Caller::Principal(sender) = caller
            && self.send_sender
        {
            fields.insert("sender".into(), sender.id().into());
        }
        if self.send_app_id {
            fields.insert("appID".into(), app.into());
        }
        if self.send_origin {
            fields.insert("origin".into(), "EXPLICIT".into());
        }
        if self.send_when {
            fields.insert("when".into(), call.now.into());
        }
        if let Some(kind) = &self.push_message_type {
            fields.insert("type".into(), kind.as_str().into());
        }
        let payload = serde_json::to_vec(&fields).map_err(Failure::internal)?;
        if payload.len() > MAX_PUSH_LEN {
            let message = format!("The message takes {} bytes as a push, more than {MAX_PUSH_LEN}", payload.len());
            return Err(Failure::invalid(message));
        }
        Ok(payload.into())
    }
}
