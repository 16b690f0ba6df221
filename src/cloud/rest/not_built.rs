//! What the late Kii service had and this one has not, so that whoever asks is told so rather than that there is nothing: 501
//! `OPERATION_NOT_IMPLEMENTED`. (`wire` §5, §8)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;

use crate::cloud::Cloud;
use crate::cloud::call::Call;
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/traits", any(traits))
        .route("/thing-if/apps/{app}/traits/{*rest}", any(traits))
        .route("/thing-if/apps/{app}/configuration/{*rest}", any(traits))
        .route("/api/apps/{app}/groups", any(groups))
        .route("/api/apps/{app}/buckets/{bucket}/acl", any(acl))
        .route("/api/apps/{app}/buckets/{bucket}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/acl", any(acl))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/acl", any(acl))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/buckets/{bucket}/objects/{object}/acl", any(acl))
        .route("/api/apps/{app}/buckets/{bucket}/objects/{object}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/acl", any(acl))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/acl", any(acl))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/topics/{topic}/acl", any(acl))
        .route("/api/apps/{app}/topics/{topic}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/users/{user}/topics/{topic}/acl", any(acl))
        .route("/api/apps/{app}/users/{user}/topics/{topic}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/things/{thing}/topics/{topic}/acl", any(acl))
        .route("/api/apps/{app}/things/{thing}/topics/{topic}/acl/{*rest}", any(acl))
        .route("/api/apps/{app}/buckets/{bucket}/objects/{object}/body", any(object_body))
        .route("/api/apps/{app}/buckets/{bucket}/objects/{object}/body/{*rest}", any(object_body))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/body", any(object_body))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/body/{*rest}", any(object_body))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/body", any(object_body))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/body/{*rest}", any(object_body))
        .route("/api/apps/{app}/server-code/{*rest}", any(server_code))
        .route("/api/apps/{app}/users/{user}/status", any(user_status))
}

/// Traits need no administration here: an alias comes into being by its first state.
async fn traits(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "The administration of traits").await
}

async fn groups(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "A group").await
}

/// Who may what in a scope is what it was at first; see [`scope`](super::scope).
async fn acl(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "An access list that can be changed").await
}

async fn object_body(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "The body of an object").await
}

async fn server_code(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "Server code").await
}

async fn user_status(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    refuse(&cloud, call, "Disabling a user").await
}

/// 501 for whoever has a token of the application.
async fn refuse(cloud: &Cloud, call: Call, what: &str) -> Result<Response, Failure> {
    cloud.store().read(move |sql: &mut dyn Sql| call.caller(sql)).await?;
    Err(Failure::not_implemented(what))
}
