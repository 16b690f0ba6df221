//! Topics: `{scope}/topics`. They are not those of MQTT: a message to one is pushed to every subscriber. Kii Cloud's, HTTPS
//! only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::scope::{Access, Scope, is_name};
use crate::cloud::call::Call;
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::cloud::store::subscriptions::{Source, SourceKind};
use crate::cloud::store::topics as rows;
use crate::cloud::{Cloud, answer};
use crate::thing_if::ErrorCode;

/// Topics on a page.
const PAGE: usize = 50;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/topics", get(list))
        .route("/api/apps/{app}/users/{user}/topics", get(list))
        .route("/api/apps/{app}/things/{thing}/topics", get(list))
        .route("/api/apps/{app}/topics/{topic}", get(is_there).put(create).delete(delete))
        .route("/api/apps/{app}/users/{user}/topics/{topic}", get(is_there).put(create).delete(delete))
        .route("/api/apps/{app}/things/{thing}/topics/{topic}", get(is_there).put(create).delete(delete))
}

/// 204; 409 when it is there already.
async fn create(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let create = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Topics)?;
        let topic = named(&call, &scope);
        if !is_name(&topic.name, 1..=64, b"") {
            let message = "A topic is named by 1 to 64 letters, digits, hyphens and underscores";
            return Err(Failure::invalid(message).with("topicID", topic.name));
        }
        if rows::insert(sql, &topic, &caller, call.now)? {
            return Ok(());
        }
        let message = format!("Topic {} already exists", topic.name);
        Err(Failure::new(ErrorCode::TopicAlreadyExists, message)
            .with("topicID", topic.name)
            .with("objectScope", scope.json(&call.app)))
    };
    cloud.store().write(create).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204 once the topic and its subscriptions are gone.
async fn delete(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let (scope, _) = Scope::of(sql, &call, Access::Topics)?;
        let topic = existing(sql, &call, &scope)?;
        rows::delete(sql, &topic)?;
        Ok::<_, Failure>(())
    };
    cloud.store().write(delete).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn is_there(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let look = move |sql: &mut dyn Sql| {
        let (scope, _) = Scope::of(sql, &call, Access::Subscribe)?;
        existing(sql, &call, &scope)
    };
    cloud.store().read(look).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 50 a page, by name; `paginationKey` in the answer leads to the next.
async fn list(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let after = match call.query("paginationKey") {
        None => String::new(),
        Some(key) => URL_SAFE_NO_PAD
            .decode(key)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Failure::invalid("`paginationKey` is not one that was given out"))?,
    };
    let list = move |sql: &mut dyn Sql| {
        let (scope, _) = Scope::of(sql, &call, Access::Subscribe)?;
        // One more than is shown tells whether there is another page.
        rows::list(sql, &call.app, &scope.to_string(), &after, PAGE as i64 + 1).map_err(Failure::from)
    };
    let mut names = cloud.store().read(list).await?;
    let has_more = names.len() > PAGE;
    names.truncate(PAGE);
    let mut answered = Map::new();
    answered.insert("topics".into(), names.iter().map(|name| json!({"topicID": name})).collect::<Vec<Value>>().into());
    if let Some(last) = names.last().filter(|_| has_more) {
        answered.insert("paginationKey".into(), URL_SAFE_NO_PAD.encode(last).into());
    }
    Ok(answer::json(StatusCode::OK, &answered))
}

fn named(call: &Call, scope: &Scope) -> Source {
    let name = call.param("topic").to_owned();
    Source { app_id: call.app.clone(), scope: scope.to_string(), kind: SourceKind::Topic, name }
}

/// The topic that the path names.
///
/// # Errors
/// 404 when it is not there.
pub(super) fn existing(sql: &mut dyn Sql, call: &Call, scope: &Scope) -> Result<Source, Failure> {
    let topic = named(call, scope);
    if rows::exists(sql, &topic)? {
        return Ok(topic);
    }
    Err(Failure::new(ErrorCode::TopicNotFound, format!("Topic {} not found", topic.name))
        .with("topicID", topic.name)
        .with("objectScope", scope.json(&call.app)))
}
