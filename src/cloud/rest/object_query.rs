//! `{scope}/buckets/{B}/query`: the objects of a bucket that meet a condition. Kii Cloud's, HTTPS only. (`wire` §5)
//!
//! Objects are looked at in their order of creation, some hundred at a time, so that others read in between. Without an
//! order a page ends early when 10,000 were looked at; with one, and when objects are counted, the bucket may have 100,000.
//! Eight queries are at work at once; others wait for them, for 5 s at most.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::buckets;
use super::objects::shown;
use super::scope::{Access, Scope};
use crate::cloud::bucket_query::{ObjectClause, SortKey};
use crate::cloud::call::{Body, Call};
use crate::cloud::command::len_in_list;
use crate::cloud::failure::Failure;
use crate::cloud::page::{read_key, write_key};
use crate::cloud::store::Sql;
use crate::cloud::store::buckets::{self as bucket_rows, Bucket};
use crate::cloud::store::objects;
use crate::cloud::{Cloud, answer};
use crate::thing_if::json as dialect;

const REQUEST: &str = "application/vnd.kii.QueryRequest+json";
/// Objects on a page, at most and when the request does not say.
const MAX_PAGE: i64 = 200;
/// Objects that are read at once.
const CHUNK: i64 = 200;
/// Queries that look at objects at once. Each holds a chunk of them, which may take 10 MB, and some times as much once it is
/// parsed.
pub(in crate::cloud) const AT_WORK: usize = 8;
/// How long a query waits for others, before it is answered 503.
const PATIENCE: Duration = Duration::from_secs(5);
/// Objects that are looked at for one page without an order.
const MAX_SCANNED: usize = 10_000;
/// Objects of a bucket that can be put in order or counted.
const MAX_SORTED: usize = 100_000;
/// The furthest that a query with an order can be paged; the next page is refused.
const MAX_OFFSET: i64 = 10_000;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/buckets/{bucket}/query", post(query))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/query", post(query))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/query", post(query))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    #[serde(default)]
    bucket_query: BucketQuery,
    #[serde(default)]
    best_effort_limit: Option<Value>,
    #[serde(default)]
    pagination_key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BucketQuery {
    #[serde(default)]
    clause: Option<ObjectClause>,
    #[serde(default)]
    order_by: Option<String>,
    #[serde(default)]
    descending: Option<bool>,
    #[serde(default)]
    aggregations: Vec<Aggregation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aggregation {
    r#type: AggregationType,
    put_aggregation_into: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum AggregationType {
    Count,
}

/// What a query asks for, checked.
struct Search {
    clause: ObjectClause,
    order: Option<(String, bool)>,
    limit: i64,
    /// The place of the last object before the page, or how many come before it.
    after: i64,
}

async fn query(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_one_of(&[REQUEST])?;
    let Query { bucket_query, best_effort_limit, pagination_key } = dialect::from_slice(&body.bytes)?;
    let clause = bucket_query.clause.unwrap_or(ObjectClause::All);
    clause.check().map_err(|error| Failure::invalid(error.to_string()))?;
    let order = bucket_query.order_by.map(|field| (field, bucket_query.descending.unwrap_or(false)));
    let search = Search {
        limit: limit(best_effort_limit)?,
        after: match pagination_key {
            None => 0,
            Some(key) => match read_key(&key) {
                Some(after) if order.is_some() && after > MAX_OFFSET => {
                    let message =
                        format!("In an order no more than the first {MAX_OFFSET} objects can be paged through");
                    return Err(Failure::invalid(message).with("field", "paginationKey"));
                }
                Some(after) => after,
                None => return Err(Failure::invalid("`paginationKey` is not one that was given out")),
            },
        },
        clause,
        order,
    };
    let find = move |sql: &mut dyn Sql| {
        let (scope, _) = Scope::of(sql, &call, Access::Read)?;
        let bucket = buckets::named(&call, &scope);
        if bucket_rows::exists(sql, &bucket)? { Ok(bucket) } else { Err(buckets::not_found(&call, &scope)) }
    };
    let bucket = cloud.store().read(find).await?;
    let turn = tokio::time::timeout(PATIENCE, cloud.0.object_queries.acquire()).await;
    let _turn = turn.map_err(|_| Failure::overloaded())?.map_err(Failure::internal)?;
    if !bucket_query.aggregations.is_empty() {
        let count = count(&cloud, &bucket, &search.clause).await?;
        let all =
            bucket_query.aggregations.into_iter().map(|Aggregation { r#type, put_aggregation_into }| match r#type {
                AggregationType::Count => (put_aggregation_into, Value::from(count)),
            });
        return Ok(answer::json(StatusCode::OK, &json!({"aggregations": all.collect::<Map<_, _>>()})));
    }
    let (results, next) = match &search.order {
        None => in_sequence(&cloud, &bucket, &search).await?,
        Some((field, descending)) => in_order(&cloud, &bucket, &search, field, *descending).await?,
    };
    let mut answered = Map::new();
    answered.insert("queryDescription".into(), described(&search).into());
    answered.insert("results".into(), results.into());
    if let Some(next) = next {
        answered.insert("nextPaginationKey".into(), write_key(next).into());
    }
    Ok(answer::json(StatusCode::OK, &answered))
}

fn limit(given: Option<Value>) -> Result<i64, Failure> {
    let number = match &given {
        None | Some(Value::Null) => return Ok(MAX_PAGE),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    match number {
        Some(0) => Ok(MAX_PAGE),
        Some(number) if number > 0 => Ok(number.min(MAX_PAGE)),
        _ => Err(Failure::invalid("`bestEffortLimit` is not a number from 0")),
    }
}

/// A few hundred characters at most: it only tells how the query was understood.
fn described(search: &Search) -> String {
    let order = search
        .order
        .as_ref()
        .map(|(field, descending)| format!(" ORDER BY {field} {}", if *descending { "DESC" } else { "ASC" }));
    format!("WHERE ( {} ){}", search.clause, order.unwrap_or_default()).chars().take(400).collect()
}

async fn read_chunk(cloud: &Cloud, bucket: &Bucket, after: i64) -> Result<Vec<objects::Object>, Failure> {
    let bucket = bucket.clone();
    cloud.store().read(move |sql: &mut dyn Sql| objects::list(sql, &bucket, after, CHUNK).map_err(Failure::from)).await
}

/// A page that is being filled: it ends at its limit in objects and in bytes.
struct Page<'s> {
    search: &'s Search,
    results: Vec<Value>,
    len: usize,
}

impl<'s> Page<'s> {
    fn new(search: &'s Search) -> Self {
        Self { search, results: Vec::new(), len: 0 }
    }

    /// `false` when `object` is for the next page.
    fn add(&mut self, mut object: Map<String, Value>) -> bool {
        self.search.clause.calculate(&mut object);
        let len = len_in_list(&object);
        let is_full = self.results.len() as i64 == self.search.limit;
        if is_full || (self.len + len > answer::MAX_LEN && !self.results.is_empty()) {
            return false;
        }
        self.len += len;
        self.results.push(object.into());
        true
    }
}

type Found = (Vec<Value>, Option<i64>);

/// Oldest first. The next page begins behind the last object that was looked at.
async fn in_sequence(cloud: &Cloud, bucket: &Bucket, search: &Search) -> Result<Found, Failure> {
    let (mut page, mut after, mut scanned) = (Page::new(search), search.after, 0);
    loop {
        let chunk = read_chunk(cloud, bucket, after).await?;
        if chunk.is_empty() {
            return Ok((page.results, None));
        }
        for object in chunk {
            let seq = object.seq;
            let object = shown(object)?;
            if search.clause.holds(&object) && !page.add(object) {
                return Ok((page.results, Some(after)));
            }
            after = seq;
            scanned += 1;
        }
        if scanned >= MAX_SCANNED {
            return Ok((page.results, Some(after)));
        }
    }
}

/// By a field; among equals, oldest first. The next page begins so many objects from the first.
async fn in_order(
    cloud: &Cloud,
    bucket: &Bucket,
    search: &Search,
    field: &str,
    descending: bool,
) -> Result<Found, Failure> {
    let offset = usize::try_from(search.after).unwrap_or(usize::MAX);
    let wanted = offset.saturating_add(search.limit as usize).saturating_add(1);
    let sort = |places: &mut Vec<(SortKey, i64)>| {
        places.sort_by(|left, right| left.0.order(&right.0, descending).then(left.1.cmp(&right.1)));
        places.truncate(wanted);
    };
    let mut places = Vec::new();
    each(cloud, bucket, |seq, object| {
        if search.clause.holds(object) {
            search.clause.calculate(object);
            places.push((SortKey::of(object, field), seq));
            // Only those that may be on the page are kept.
            if places.len() > 2 * wanted {
                sort(&mut places);
            }
        }
    })
    .await?;
    sort(&mut places);
    let mut page = Page::new(search);
    for (n, (_, seq)) in places.into_iter().enumerate().skip(offset) {
        let place = bucket.clone();
        let read = move |sql: &mut dyn Sql| objects::list(sql, &place, seq - 1, 1).map_err(Failure::from);
        let Some(object) = cloud.store().read(read).await?.pop().filter(|object| object.seq == seq) else {
            continue; // deleted meanwhile
        };
        if !page.add(shown(object)?) {
            return Ok((page.results, Some(i64::try_from(n).unwrap_or(i64::MAX))));
        }
    }
    Ok((page.results, None))
}

async fn count(cloud: &Cloud, bucket: &Bucket, clause: &ObjectClause) -> Result<u64, Failure> {
    let mut count = 0;
    each(cloud, bucket, |_, object| count += u64::from(clause.holds(object))).await?;
    Ok(count)
}

/// Shows every object to `look`.
async fn each(
    cloud: &Cloud,
    bucket: &Bucket,
    mut look: impl FnMut(i64, &mut Map<String, Value>),
) -> Result<(), Failure> {
    let (mut after, mut scanned) = (0, 0);
    loop {
        let chunk = read_chunk(cloud, bucket, after).await?;
        scanned += chunk.len();
        if scanned > MAX_SORTED {
            let message =
                format!("The bucket has more than {MAX_SORTED} objects: they can be neither ordered nor counted");
            return Err(Failure::invalid(message));
        }
        let Some(last) = chunk.last() else { return Ok(()) };
        after = last.seq;
        for object in chunk {
            look(object.seq, &mut shown(object)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body as HttpBody;
    use axum::extract::Request;
    use http::header::RETRY_AFTER;
    use tokio::time::Instant;
    use tower_service::Service as _;

    use super::*;
    use crate::cloud::{Options, operator::Operator};
    use crate::edge::Registry;
    use crate::ids::AppId;

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_for_others_and_not_for_ever() {
        let app = AppId::new("app").expect("valid");
        let options = Options { apps: vec![(app, "key".into())], ..Options::default() };
        let cloud = Cloud::open(options, Arc::new(Registry::new())).expect("opens");
        let call = async |path: &str| {
            let request = Request::post(path).header("content-type", "application/json").extension(Operator);
            let answered = cloud.router().call(request.body(HttpBody::from("{}")).expect("a request")).await;
            answered.unwrap_or_else(|error| match error {})
        };
        assert_eq!(call("/api/apps/app/buckets/bb/objects").await.status(), StatusCode::CREATED);
        let query = "/api/apps/app/buckets/bb/query";
        let others = cloud.0.object_queries.acquire_many(AT_WORK as u32).await.expect("open");
        let began = Instant::now();
        let refused = call(query).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        assert_eq!(began.elapsed(), PATIENCE);
        drop(others);
        assert_eq!(call(query).await.status(), StatusCode::OK);
    }
}
