//! What is asked of the service: the list of commands, and to take results.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tower::Layer as _;
use tower_service::Service as _;

use super::ReceivedCommand;
use crate::client::retry::{Idempotent, Retry, Retrying};
use crate::client::{Client, RequestError, WaitForLink};
use crate::ids::{AppId, CommandId, ThingId};
use crate::thing_if::{ActionResults, ActionResultsUpdate, Command, CommandState, Commands as Page, json, media_type};

/// Commands asked for at once.
const PAGE: usize = 50;

/// Milliseconds since 1970 by the device's clock.
pub(in crate::client) fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The client, patient: both of these are worth waiting for, and doing either twice does no harm.
#[derive(Debug, Clone)]
pub(super) struct Service {
    client: Client,
    patient: Retrying<Client>,
}

/// Why the service was asked in vain.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the service answered with status {0}")]
    Status(StatusCode),
    #[error("no answer")]
    NoAnswer(#[source] RequestError),
    #[error("the answer is no list of commands")]
    NoList,
}

/// A command from the list that has no results.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) command: ReceivedCommand,
    /// By the service's clock, if it says what it shows.
    pub(super) age: Duration,
}

/// The commands without results, oldest first.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) missed: Vec<Missed>,
    /// There are more than were asked for.
    pub(super) more: bool,
}

impl Service {
    pub(super) fn new(client: Client) -> Self {
        let retry = Retry::new().with_tries(8).with_time_limit(Duration::from_secs(120)).with_budget(10, 1.0);
        Self { patient: retry.layer(client.clone()), client }
    }

    /// This thing, as it is known now: another onboarding may have made it another one.
    pub(super) fn own(&self) -> (AppId, ThingId) {
        let credential = self.client.credential();
        (credential.app_id, credential.thing_id)
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
        let (mut missed, mut seen, mut key) = (Vec::new(), 0, String::new());
        let more = loop {
            let page = PAGE.min(limit - seen);
            let answer = self.ask(get(&format!("{path}?bestEffortLimit={page}{key}"))).await?;
            let now = service_clock(&answer);
            let Page { commands, next_pagination_key } =
                serde_json::from_slice(answer.body()).map_err(|_| Failure::NoList)?;
            // An empty page with a key of the next would go round in circles.
            seen += commands.len().max(1);
            missed.extend(commands.into_iter().filter(is_open).map(|command| {
                let age = u64::try_from(now.saturating_sub(command.created_at)).unwrap_or(0);
                Missed { command: ReceivedCommand::from_list(command, thing, clock()), age: Duration::from_millis(age) }
            }));
            match next_pagination_key {
                Some(_) if seen >= limit => break true,
                Some(next) => key = format!("&paginationKey={}", encoded(&next)),
                None => break false,
            }
        };
        missed.sort_by_key(|missed| missed.command.created_at);
        Ok(Listed { missed, more })
    }
}

fn get(path: &str) -> Request<Bytes> {
    let mut request = Request::default();
    // Ids are made of letters that stand in a path as they are, and the key is encoded.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Nobody has reported anything. What is INCOMPLETE was carried out in part, and is not begun again.
fn is_open(command: &Command) -> bool {
    command.action_results.is_none() && !matches!(command.command_state, CommandState::Done | CommandState::Incomplete)
}

/// Milliseconds since 1970 by the service's clock; by the device's where the answer has no `Date`.
fn service_clock(answer: &Response<Bytes>) -> i64 {
    let date = answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(since) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else { return clock() };
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A pagination key as it stands in a query. (`wire` §5)
fn encoded(key: &str) -> String {
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
