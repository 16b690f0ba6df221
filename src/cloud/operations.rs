//! What was asked of the cloud, how it was answered, and how long that took.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};

use super::Cloud;
use super::distribution::Distribution;
use crate::edge::Peer;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Road {
    /// Over HTTP.
    Http,
    /// Over MQTT, through an edge.
    Mqtt,
}

/// One operation on one road, since the cloud was opened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// How its requests came.
    pub road: Road,
    /// The method; `OTHER` for those that no operation has.
    pub method: &'static str,
    /// The path with the names of its parameters, as `/thing-if/apps/{app}/onboardings`; empty for paths that there are not.
    pub path: String,
    /// How many answers had which status.
    pub answers: BTreeMap<u16, u64>,
    /// From the request's head to the answer's, in seconds.
    pub latency: Distribution,
}

/// Everything that was asked. There are as many entries as operations, whatever is asked for.
#[derive(Default)]
pub(super) struct Operations(Mutex<HashMap<Key, Counted>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    road: Road,
    method: &'static str,
    path: Option<MatchedPathText>,
}

/// axum's own text of a route, shared.
type MatchedPathText = std::sync::Arc<str>;

struct Counted {
    answers: BTreeMap<u16, u64>,
    latency: Distribution,
}

impl Operations {
    fn count(&self, key: Key, status: StatusCode, took: Duration) {
        let mut operations = self.lock();
        let empty = || Counted { answers: BTreeMap::new(), latency: Distribution::of_seconds() };
        let counted = operations.entry(key).or_insert_with(empty);
        *counted.answers.entry(status.as_u16()).or_default() += 1;
        counted.latency.observe_duration(took);
    }

    pub(super) fn snapshot(&self) -> Vec<Operation> {
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .map(|(key, counted)| Operation {
                road: key.road,
                method: key.method,
                path: key.path.as_deref().unwrap_or_default().to_owned(),
                answers: counted.answers.clone(),
                latency: counted.latency.clone(),
            })
            .collect();
        all.sort_by(|a, b| (&a.path, a.method, a.road).cmp(&(&b.path, b.method, b.road)));
        all
    }

    // Numbers are added to one after the other: a poisoned lock holds whole ones.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.iter().position(|known| known == method).map_or("OTHER", |place| NAMES[place])
}

/// Counts a request by its route, never by its path, which whoever asks chooses.
pub(super) async fn count(State(cloud): State<Cloud>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let key = Key {
        road: if request.extensions().get::<Peer>().is_some() { Road::Mqtt } else { Road::Http },
        method: known(request.method()),
        path: request.extensions().get::<MatchedPath>().map(|path| MatchedPathText::from(path.as_str())),
    };
    let response = next.run(request).await;
    cloud.0.operations.count(key, response.status(), began.elapsed());
    response
}

impl Cloud {
    /// What was asked of this cloud, by operation, since it was opened.
    pub fn operations(&self) -> Vec<Operation> {
        self.0.operations.snapshot()
    }
}
