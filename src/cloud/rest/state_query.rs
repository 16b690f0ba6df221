//! `…/targets/thing:{TH}/states/aliases/{alias}/query`: the history of an alias. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::state_query::{self, Collector, Taken};
use crate::cloud::store::state_history::{self, Place};
use crate::cloud::store::{Sql, things};
use crate::cloud::{Cloud, answer};
use crate::ids::ThingId;
use crate::thing_if::{ErrorCode, StateQuery, media_type};

/// Rows that are read at once.
const CHUNK: i64 = 500;

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/targets/{target}/states/aliases/{alias}/query", post(post_query))
}

/// 200 with the states, oldest first. 409 when none of the alias are kept, as the SDKs expect it of an alias that has no
/// state yet.
async fn post_query(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::TRAIT_STATE_QUERY_REQUEST])?;
    let query = StateQuery::from_json(&body.bytes)?;
    state_query::check(&query.clause).map_err(|error| Failure::invalid(error.to_string()))?;
    let after = match &query.pagination_key {
        None => None,
        Some(key) => {
            let not_ours = || Failure::invalid("`paginationKey` is not one that was given out");
            Some(state_query::read_key(key).ok_or_else(not_ours)?)
        }
    };
    let thing = call.target()?;
    let oldest = cloud.state_history().oldest(call.now);
    let read = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        page(sql, &call, &thing, &query, after, oldest)
    };
    Ok(answer::json(StatusCode::OK, &cloud.store().read(read).await?))
}

fn page(
    sql: &mut dyn Sql,
    call: &Call,
    thing: &ThingId,
    query: &StateQuery,
    after: Option<Place>,
    oldest: i64,
) -> Result<Value, Failure> {
    let (app, alias) = (&call.app, call.param("alias"));
    // Rows are numbered from 1, so this stands before all of its millisecond.
    let begin = |generated_at: i64| Place { generated_at, seq: 0 };
    if state_history::page(sql, app, thing, alias, begin(oldest), i64::MAX, 1)?.is_empty() {
        return Err(Failure::new(ErrorCode::StateHistoryNotAvailable, "Time series bucket does not exist"));
    }
    let (_, interval) = things::version_and_interval(sql, app, thing)?;
    let times = state_query::times(&query.clause);
    let first = begin(oldest.max(*times.start()));
    let mut place = after.map_or(first, |after| after.max(first));
    let mut collector = Collector::new(query, state_query::interval(interval.as_deref()), place);
    loop {
        let rows = state_history::page(sql, app, thing, alias, place, *times.end(), CHUNK)?;
        let is_last = (rows.len() as i64) < CHUNK;
        for row in rows {
            place = row.place;
            let is_of_version = query.firmware_version.is_none() || row.firmware_version == query.firmware_version;
            let state: Map<String, Value> = serde_json::from_str(&row.state).map_err(Failure::internal)?;
            let is_meant = is_of_version && state_query::holds(&query.clause, place.generated_at, &state);
            if collector.take(place, is_meant.then_some(state)) == Taken::Full {
                return Ok(collector.finish_full());
            }
        }
        if is_last {
            return Ok(collector.finish());
        }
    }
}
