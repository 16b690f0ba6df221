//! Subscriptions of things and users to buckets: `{scope}/buckets/{B}/filters/all/push/subscriptions/{things|users}`, and
//! to topics: `{scope}/topics/{T}/push/subscriptions/{things|users}`. Kii Cloud's, HTTPS only. (`wire` §5)
//!
//! With an id behind it, PUT subscribes, GET tells whether it is, DELETE ends it; without, POST and PUT subscribe the
//! caller. A bucket that is not there is made by its first subscription, a topic is not. At most 1,000 subscribe to one.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;

use super::scope::{Access, Scope};
use super::{buckets, topics};
use crate::cloud::call::Call;
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::store::buckets as bucket_rows;
use crate::cloud::store::subscriptions::{self, Source, SourceKind};
use crate::cloud::store::{Sql, things, users};
use crate::cloud::{Cloud, answer};
use crate::ids::{ThingId, UserId};
use crate::thing_if::{ErrorCode, Principal};

/// Who may subscribe to one bucket or topic, at most: each of its events goes to all of them.
const MAX_SUBSCRIBERS: i64 = 1_000;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route(
            "/api/apps/{app}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}",
            post(subscribe).put(subscribe),
        )
        .route(
            "/api/apps/{app}/users/{user}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}",
            post(subscribe).put(subscribe),
        )
        .route(
            "/api/apps/{app}/things/{thing}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}",
            post(subscribe).put(subscribe),
        )
        .route(
            "/api/apps/{app}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
        .route(
            "/api/apps/{app}/users/{user}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
        .route(
            "/api/apps/{app}/things/{thing}/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
        .route("/api/apps/{app}/topics/{topic}/push/subscriptions/{kind}", post(subscribe).put(subscribe))
        .route("/api/apps/{app}/users/{user}/topics/{topic}/push/subscriptions/{kind}", post(subscribe).put(subscribe))
        .route(
            "/api/apps/{app}/things/{thing}/topics/{topic}/push/subscriptions/{kind}",
            post(subscribe).put(subscribe),
        )
        .route(
            "/api/apps/{app}/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
        .route(
            "/api/apps/{app}/users/{user}/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
        .route(
            "/api/apps/{app}/things/{thing}/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
            get(is_subscribed).put(subscribe).delete(unsubscribe),
        )
}

/// 204; 409 when it is so already.
async fn subscribe(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let subscribe = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Subscribe)?;
        let subscriber = subscriber(sql, &call, &caller)?;
        if is_bucket(&call) {
            check_filter(&call)?;
            buckets::created(sql, &call, &scope, &caller)?;
        }
        let source = source(sql, &call, &scope)?;
        if subscriptions::exists(sql, &source, &subscriber)? {
            return Err(Failure::new(ErrorCode::PushSubscriptionAlreadyExists, "This is subscribed already")
                .with(name_of(source.kind), source.name)
                .with("objectScope", scope.json(&call.app))
                .with("subject", subscriber.to_string()));
        }
        if subscriptions::count(sql, &source)? >= MAX_SUBSCRIBERS {
            let message = format!("There are {MAX_SUBSCRIBERS} subscribers already");
            return Err(Failure::new(ErrorCode::OperationNotAllowed, message));
        }
        subscriptions::insert(sql, &source, &subscriber, call.now)?;
        Ok(())
    };
    cloud.store().write(subscribe).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204 when it is so.
async fn is_subscribed(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let look = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Subscribe)?;
        let subscriber = subscriber(sql, &call, &caller)?;
        let source = existing(sql, &call, &scope)?;
        if subscriptions::exists(sql, &source, &subscriber)? {
            Ok(())
        } else {
            Err(not_subscribed(&call, &scope, source))
        }
    };
    cloud.store().read(look).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn unsubscribe(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let unsubscribe = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Subscribe)?;
        let subscriber = subscriber(sql, &call, &caller)?;
        let source = existing(sql, &call, &scope)?;
        if subscriptions::delete(sql, &source, &subscriber)? {
            Ok(())
        } else {
            Err(not_subscribed(&call, &scope, source))
        }
    };
    cloud.store().write(unsubscribe).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn is_bucket(call: &Call) -> bool {
    !call.param("bucket").is_empty()
}

/// There is one filter: everything.
fn check_filter(call: &Call) -> Result<(), Failure> {
    if call.param("filter") == "all" { Ok(()) } else { Err(filter_not_found(call)) }
}

fn filter_not_found(call: &Call) -> Failure {
    let (bucket, filter) = (call.param("bucket"), call.param("filter"));
    Failure::new(ErrorCode::FilterNotFound, format!("Bucket {bucket} has no filter {filter}")).with("filterID", filter)
}

fn source(sql: &mut dyn Sql, call: &Call, scope: &Scope) -> Result<Source, Failure> {
    if is_bucket(call) { Ok(buckets::source(&buckets::named(call, scope))) } else { topics::existing(sql, call, scope) }
}

/// The bucket or topic of the path, which is there.
fn existing(sql: &mut dyn Sql, call: &Call, scope: &Scope) -> Result<Source, Failure> {
    if is_bucket(call) {
        check_filter(call)?;
        // Without its bucket the filter is not there either, and by this code SDKs tell that nobody has subscribed.
        if !bucket_rows::exists(sql, &buckets::named(call, scope))? {
            return Err(filter_not_found(call));
        }
    }
    source(sql, call, scope)
}

/// Who is to be told: whom the path names, who is the caller or a thing of its own, else the caller itself. The
/// administrator may name anybody.
fn subscriber(sql: &mut dyn Sql, call: &Call, caller: &Caller) -> Result<Principal, Failure> {
    let (kind, named) = (call.param("kind"), call.param("subscriber"));
    if named.is_empty() {
        return match (kind, caller) {
            ("things", Caller::Principal(own @ Principal::Thing(_)))
            | ("users", Caller::Principal(own @ Principal::User(_))) => Ok(own.clone()),
            ("things" | "users", _) => Err(Failure::not_permitted(&call.app, caller)),
            _ => Err(no_kind(kind)),
        };
    }
    let (principal, may) = match kind {
        "things" => match ThingId::new(named) {
            Ok(thing) if things::exists(sql, &call.app, &thing)? => {
                let may = call.may_use(sql, caller, &thing)?;
                (Principal::Thing(thing), may)
            }
            _ => return Err(Failure::no_such_thing(&call.app, "thingID", named)),
        },
        "users" => match UserId::new(named) {
            Ok(user) if users::exists(sql, &call.app, &user)? => {
                let principal = Principal::User(user);
                let may = caller.may_act_as(&principal);
                (principal, may)
            }
            _ => return Err(Failure::user_not_found(&call.app, named)),
        },
        _ => return Err(no_kind(kind)),
    };
    if may { Ok(principal) } else { Err(Failure::not_permitted(&call.app, caller)) }
}

fn no_kind(kind: &str) -> Failure {
    Failure::new(ErrorCode::PathNotFound, format!("Things and users subscribe, not {kind}"))
}

fn name_of(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Bucket => "bucketID",
        SourceKind::Topic => "topicID",
    }
}

fn not_subscribed(call: &Call, scope: &Scope, source: Source) -> Failure {
    Failure::new(ErrorCode::PushSubscriptionNotFound, "This is not subscribed")
        .with(name_of(source.kind), source.name)
        .with("objectScope", scope.json(&call.app))
}
