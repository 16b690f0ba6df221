//! Buckets: `{scope}/buckets/{B}` under `/api/apps/{APP}`, in the scope of the application, of a user (`users/{id}`,
//! `users/me`) or of a thing (`things/{id}`). Kii Cloud's, HTTPS only. (`wire` §5)
//!
//! A bucket comes into being with its first object or its first subscription. What changes in it is pushed to whoever
//! has subscribed, after it is durable.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, delete};
use bytes::Bytes;
use http::StatusCode;

use super::scope::{Access, Scope, is_name};
use crate::cloud::call::Call;
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::fan_out::{Audience, Publication};
use crate::cloud::store::Sql;
use crate::cloud::store::buckets::{self, Bucket};
use crate::cloud::store::subscriptions::{self, Source, SourceKind};
use crate::cloud::{Cloud, answer};
use crate::ids::AppId;
use crate::thing_if::{BucketEvent, BucketEventType, ErrorCode};

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/buckets/{bucket}", delete(delete_bucket))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}", delete(delete_bucket))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}", delete(delete_bucket))
        .route("/api/apps/{app}/groups/{group}/{*rest}", any(refuse_group))
}

/// 204 once nothing of the bucket is left.
async fn delete_bucket(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Write)?;
        let bucket = named(&call, &scope);
        let former = subscriptions::all_recipients(sql, &source(&bucket))?;
        if !buckets::delete(sql, &bucket)? {
            return Err(not_found(&call, &scope));
        }
        let change = Change { what: BucketEventType::BucketDeleted, object: None };
        let payload = event(&scope, &caller, &bucket, &change, call.now)?;
        let to = Audience::Former(former);
        Ok(Publication { to, payload, development: true, production: true })
    };
    let publication = cloud.store().write(delete).await?;
    cloud.publish(publication);
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// There are no groups here. Who asks must all the same be somebody.
async fn refuse_group(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let check = move |sql: &mut dyn Sql| call.caller(sql);
    cloud.store().read(check).await?;
    Err(Failure::new(ErrorCode::OperationNotSupported, "There are no groups here"))
}

/// The bucket that the path names.
pub(super) fn named(call: &Call, scope: &Scope) -> Bucket {
    Bucket { app_id: call.app.clone(), scope: scope.to_string(), bucket_id: call.param("bucket").to_owned() }
}

/// The same, made if it is not there.
///
/// # Errors
/// 400 INVALID_BUCKET when a bucket cannot have this name.
pub(super) fn created(sql: &mut dyn Sql, call: &Call, scope: &Scope, caller: &Caller) -> Result<Bucket, Failure> {
    let bucket = named(call, scope);
    if !is_name(&bucket.bucket_id, 2..=64, b"") {
        let message = "A bucket is named by 2 to 64 letters, digits, hyphens and underscores";
        return Err(Failure::new(ErrorCode::InvalidBucket, message).with("bucketID", bucket.bucket_id));
    }
    buckets::create(sql, &bucket, caller, call.now)?;
    Ok(bucket)
}

pub(super) fn not_found(call: &Call, scope: &Scope) -> Failure {
    let name = call.param("bucket");
    Failure::new(ErrorCode::BucketNotFound, format!("Bucket {name} not found"))
        .with("bucketID", name)
        .with("objectScope", scope.json(&call.app))
}

pub(super) fn source(bucket: &Bucket) -> Source {
    Source {
        app_id: bucket.app_id.clone(),
        scope: bucket.scope.clone(),
        kind: SourceKind::Bucket,
        name: bucket.bucket_id.clone(),
    }
}

/// What happened in a bucket.
pub(super) struct Change {
    pub(super) what: BucketEventType,
    /// To which object, and when it was last changed.
    pub(super) object: Option<(String, i64)>,
}

/// What tells the subscribers of `bucket` of `change`.
pub(super) fn told(
    scope: &Scope,
    caller: &Caller,
    bucket: &Bucket,
    change: &Change,
    now: i64,
) -> Result<Publication, Failure> {
    let payload = event(scope, caller, bucket, change, now)?;
    let to = Audience::Subscribers(source(bucket));
    Ok(Publication { to, payload, development: true, production: true })
}

/// The push, well below 4,096 bytes: all that is in it are names. (`wire` §6)
fn event(scope: &Scope, caller: &Caller, bucket: &Bucket, change: &Change, now: i64) -> Result<Bytes, Failure> {
    let app = |app: &AppId| Some(app.to_string());
    let mut uri = format!("kiicloud://{}buckets/{}", scope.path(), bucket.bucket_id);
    if let Some((object, _)) = &change.object {
        uri.push_str("/objects/");
        uri.push_str(object);
    }
    let event = BucketEvent {
        app_id: app(&bucket.app_id),
        sender: match caller {
            Caller::Principal(principal) => Some(principal.id().to_owned()),
            Caller::Anonymous | Caller::Admin => None,
        },
        when: Some(now),
        origin: Some("EVENT".to_owned()),
        event_type: Some(change.what.clone()),
        object_scope_app_id: app(&bucket.app_id),
        object_scope_user_id: match scope {
            Scope::User(user) => Some(user.to_string()),
            _ => None,
        },
        object_scope_thing_id: match scope {
            Scope::Thing(thing) => Some(thing.to_string()),
            _ => None,
        },
        object_scope_group_id: None,
        object_scope_type: Some(scope.kind().to_owned()),
        bucket_id: Some(bucket.bucket_id.clone()),
        bucket_type: Some("rw".to_owned()),
        object_id: change.object.as_ref().map(|(id, _)| id.clone()),
        modified_at: change.object.as_ref().map(|(_, at)| *at),
        source_uri: Some(uri),
    };
    serde_json::to_vec(&event).map(Bytes::from).map_err(Failure::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thing_if::{MAX_PUSH_LEN, Principal};

    #[test]
    fn the_longest_names_fit_a_push() {
        let app_id = AppId::new("a".repeat(200)).expect("valid");
        let scope: Principal = format!("thing:{}", "t".repeat(200)).parse().expect("valid");
        let Principal::Thing(thing) = &scope else { panic!("a thing") };
        let bucket = Bucket { app_id, scope: scope.to_string(), bucket_id: "b".repeat(64) };
        let change = Change { what: BucketEventType::ObjectCreated, object: Some(("o".repeat(100), i64::MAX)) };
        let payload = event(&Scope::Thing(thing.clone()), &scope.clone().into(), &bucket, &change, i64::MAX);
        assert!(payload.expect("written").len() < MAX_PUSH_LEN / 2);
    }
}
