//! What is asked of the service: the list of commands, and to take results.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tower::Layer as _;
use tower_service::Service as _;

use super::ReceivedCommand;
use super::caller::{AnyCaller, Caller};
use crate::client::retry::{Idempotent, Retry, Retrying};
use crate::client::{RequestError, TimeLimit, WaitForLink};
use crate::ids::{AppId, CommandId, ThingId};
use crate::thing_if::{ActionResults, ActionResultsUpdate, Actions, CommandState, Principal, json, media_type};

/// Commands asked for at once.
const PAGE: usize = 50;
/// How long the service may take to say whose a command is: others wait for it.
pub(in crate::client) const FIND_LIMIT: Duration = Duration::from_secs(5);

/// Milliseconds since 1970 by the device's clock.
pub(in crate::client) fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The caller, patient: both of these are worth waiting for, and doing either twice does no harm.
#[derive(Clone)]
pub(in crate::client) struct Service {
    caller: AnyCaller,
    patient: Retrying<AnyCaller>,
}

/// Why the service was asked in vain.
#[derive(Debug, thiserror::Error)]
pub(in crate::client) enum Failure {
    #[error("the service answered with status {0}")]
    Status(StatusCode),
    #[error("no answer")]
    NoAnswer(#[source] RequestError),
    #[error("the answer is no list of commands")]
    NoList,
    #[error("the answer is no command")]
    NoCommand,
}

/// A command from the list that has no results.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) command: ReceivedCommand,
    /// By the service's clock, if it says what it shows.
    pub(super) age: Duration,
}

/// A command as the service shows it, read as leniently as one that is pushed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(rename = "commandID")]
    command_id: CommandId,
    #[serde(default)]
    target: Option<String>,
    actions: Actions,
    #[serde(default)]
    action_results: Option<IgnoredAny>,
    #[serde(default)]
    command_state: Option<CommandState>,
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    created_at: i64,
}

impl Shown {
    /// `None` when somebody has reported something. What is INCOMPLETE was carried out in part, and is not begun again.
    fn open(self, thing: &ThingId) -> Option<ReceivedCommand> {
        let is_over = matches!(self.command_state, Some(CommandState::Done | CommandState::Incomplete));
        if is_over || self.action_results.is_some() {
            return None;
        }
        Some(ReceivedCommand {
            command_id: self.command_id,
            thing_id: thing.clone(),
            actions: self.actions,
            issuer: self.issuer,
            schema: self.schema,
            schema_version: self.schema_version,
            title: self.title,
            description: self.description,
            metadata: self.metadata,
            created_at: Some(self.created_at),
            received_at: clock(),
        })
    }
}

/// A page of the list. Each command is read by itself: one that cannot be must not hide the others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    commands: Vec<&'a RawValue>,
    #[serde(default)]
    next_pagination_key: Option<String>,
}

/// Only enough to tell whose a command is, and where it stands among the others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(rename = "commandID")]
    command_id: CommandId,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    created_at: i64,
}

impl Named {
    /// Whether it says that it is for another thing. What it says otherwise is left to the service, which has listed it.
    fn is_of_other(&self, thing: &ThingId) -> bool {
        let target = self.target.as_deref().and_then(|target| target.parse().ok());
        matches!(target, Some(Principal::Thing(target)) if target != *thing)
    }
}

/// What the service lists.
#[derive(Debug)]
pub(super) struct Listed {
    /// The commands without results, oldest first.
    pub(super) missed: Vec<Missed>,
    /// All that were looked at, newest first.
    pub(super) newest_first: Vec<CommandId>,
    /// There are more than were asked for.
    pub(super) more: bool,
}

/// What the service says of a command.
#[derive(Debug)]
pub(in crate::client) enum Found {
    /// The caller has no such command.
    NotThere,
    /// It is for this thing; `None` when it is over.
    At(ThingId, Option<Box<ReceivedCommand>>),
}

impl Service {
    pub(in crate::client) fn new(caller: Arc<dyn Caller>) -> Self {
        let retry = Retry::new().with_tries(8).with_time_limit(Duration::from_secs(120)).with_budget(10, 1.0);
        let caller = AnyCaller(caller);
        Self { patient: retry.layer(caller.clone()), caller }
    }

    pub(super) fn own(&self) -> (AppId, ThingId) {
        self.caller.0.own()
    }

    async fn ask(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        request.extensions_mut().insert(WaitForLink);
        request.extensions_mut().insert(Idempotent);
        // Always ready until it is closed, and then the call says so.
        let answer = self.patient.call(request).await.map_err(Failure::NoAnswer)?;
        if answer.status().is_success() { Ok(answer) } else { Err(Failure::Status(answer.status())) }
    }

    /// Reports `results`. (`wire` §5)
    pub(super) async fn report(
        &mut self,
        thing: &ThingId,
        command: &CommandId,
        results: ActionResults,
    ) -> Result<(), Failure> {
        let media_type = match results {
            ActionResults::Flat(_) => media_type::JSON,
            ActionResults::Traits(_) => media_type::COMMAND_RESULTS_UPDATE_REQUEST,
        };
        let path = format!("/thing-if/apps/{}/targets/thing:{thing}/commands/{command}/action-results", self.own().0);
        let mut request = get(&path);
        *request.method_mut() = Method::PUT;
        *request.body_mut() = json::to_pretty(&ActionResultsUpdate { action_results: results });
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.ask(request).await.map(drop)
    }

    /// The commands of `thing` that have no results yet, among the first `limit` that the service lists. (`wire` §5)
    pub(super) async fn missed(&mut self, thing: &ThingId, limit: usize) -> Result<Listed, Failure> {
        let path = format!("/thing-if/apps/{}/targets/thing:{thing}/commands", self.own().0);
        let (mut missed, mut newest_first, mut seen, mut key) = (Vec::new(), Vec::new(), 0, String::new());
        let more = loop {
            let page = PAGE.min(limit - seen);
            let answer = self.ask(get(&format!("{path}?bestEffortLimit={page}{key}"))).await?;
            let now = service_clock(&answer);
            let Page { commands, next_pagination_key } =
                serde_json::from_slice(answer.body()).map_err(|_| Failure::NoList)?;
            // An empty page with a key of the next would go round in circles.
            seen += commands.len().max(1);
            for shown in commands {
                let named = serde_json::from_str::<Named>(shown.get()).ok();
                if named.as_ref().is_some_and(|named| named.is_of_other(thing)) {
                    tracing::warn!(%thing, "a command that is listed is another thing's");
                    continue;
                }
                newest_first.extend(named);
                match serde_json::from_str::<Shown>(shown.get()) {
                    Ok(shown) => {
                        let age = u64::try_from(now.saturating_sub(shown.created_at)).unwrap_or(0);
                        let age = Duration::from_millis(age);
                        missed.extend(shown.open(thing).map(|command| Missed { command, age }));
                    }
                    // Not what it says: that may repeat a parameter of an action.
                    Err(error) => {
                        tracing::warn!(%thing, line = error.line(), column = error.column(), "a listed command cannot be read");
                    }
                }
            }
            match next_pagination_key {
                Some(_) if seen >= limit => break true,
                Some(next) => key = format!("&paginationKey={}", encoded(&next)),
                None => break false,
            }
        };
        // As the service lists them, newest first, unless their times say otherwise.
        newest_first.sort_by_key(|named: &Named| Reverse(named.created_at));
        missed.reverse();
        missed.sort_by_key(|missed: &Missed| missed.command.created_at);
        Ok(Listed { missed, newest_first: newest_first.into_iter().map(|named| named.command_id).collect(), more })
    }
}

/// Asks once whether `command` is one of the caller's. (`wire` §5)
pub(in crate::client) async fn find(caller: &dyn Caller, command: &CommandId) -> Result<Found, Failure> {
    let (app, thing) = caller.own();
    let mut request = get(&format!("/thing-if/apps/{app}/targets/thing:{thing}/commands/{command}"));
    request.extensions_mut().insert(TimeLimit(FIND_LIMIT));
    let answer = caller.call(request).await.map_err(Failure::NoAnswer)?;
    match answer.status() {
        StatusCode::NOT_FOUND => return Ok(Found::NotThere),
        status if !status.is_success() => return Err(Failure::Status(status)),
        _ => {}
    }
    let found: Shown = serde_json::from_slice(answer.body()).map_err(|_| Failure::NoCommand)?;
    if found.command_id != *command {
        return Err(Failure::NoCommand);
    }
    // The service's own word, which may be about another thing than the one in the path.
    let target = found.target.as_deref().and_then(|target| target.parse().ok());
    let Some(Principal::Thing(target)) = target else { return Err(Failure::NoCommand) };
    Ok(Found::At(target.clone(), found.open(&target).map(Box::new)))
}

fn get(path: &str) -> Request<Bytes> {
    let mut request = Request::default();
    // Ids are made of letters that stand in a path as they are, and the key is encoded.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Milliseconds since 1970 by the service's clock; by the device's where the answer has no `Date`.
fn service_clock(answer: &Response<Bytes>) -> i64 {
    let date = answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(since) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else { return clock() };
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A pagination key as it stands in a query. (`wire` §5)
pub(in crate::client) fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_encoded_as_far_as_it_must_be() {
        assert_eq!(encoded("MjAxNi0_-~.x"), "MjAxNi0_-~.x");
        assert_eq!(encoded("a/b+c=&ü#"), "a%2Fb%2Bc%3D%26%C3%BC%23");
    }

    #[test]
    fn the_services_date_is_its_clock() {
        let mut answer = Response::new(Bytes::new());
        answer.headers_mut().insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 12:00:00 GMT"));
        assert_eq!(service_clock(&answer), 784_123_200_000);
        answer.headers_mut().insert(DATE, HeaderValue::from_static("yesterday"));
        assert!((clock() - service_clock(&answer)).abs() < 60_000);
    }
}
