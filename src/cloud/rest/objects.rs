//! Objects: `{scope}/buckets/{B}/objects`. Kii Cloud's, HTTPS only. (`wire` §5)
//!
//! An object is any JSON object of at most 48 KiB as it is printed, of any JSON media type, which is kept. Fields that begin
//! with `_` are the service's own, and dropped from what is sent.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::buckets::{self, Change, told};
use super::object_version::{Condition, etag};
use super::scope::{Access, Scope, is_name};
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::command::len_in_list;
use crate::cloud::failure::Failure;
use crate::cloud::fan_out::Publication;
use crate::cloud::identifiers::Identifiers;
use crate::cloud::store::Sql;
use crate::cloud::store::buckets::{Bucket, next_version};
use crate::cloud::store::objects::{self, Object};
use crate::cloud::{Cloud, answer};
use crate::ids::AppId;
use crate::thing_if::{BucketEventType, ErrorCode, json as dialect, media_type};

const CREATED: &str = "application/vnd.kii.ObjectCreationResponse+json";
const UPDATED: &str = "application/vnd.kii.ObjectUpdateResponse+json";
/// The longest media type of an object.
const MAX_TYPE_LEN: usize = 200;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/api/apps/{app}/buckets/{bucket}/objects", post(create))
        .route("/api/apps/{app}/users/{user}/buckets/{bucket}/objects", post(create))
        .route("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects", post(create))
        .route(
            "/api/apps/{app}/buckets/{bucket}/objects/{object}",
            get(read).put(replace).patch(patch).post(override_method).delete(delete),
        )
        .route(
            "/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}",
            get(read).put(replace).patch(patch).post(override_method).delete(delete),
        )
        .route(
            "/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}",
            get(read).put(replace).patch(patch).post(override_method).delete(delete),
        )
}

/// 201 with `objectID`, once it is durable; the push follows.
async fn create(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let (data_type, fields) = content(&call, &body)?;
    let id = Identifiers::object_id();
    let insert = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Write)?;
        let bucket = buckets::created(sql, &call, &scope, &caller)?;
        insert(sql, &call, &scope, &caller, &bucket, New { id, data_type, fields })
    };
    answered(&cloud, cloud.store().write(insert).await?)
}

/// 200 with `modifiedAt`; 201 when there was no such object. (`wire` §5)
async fn replace(State(cloud): State<Cloud>, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let condition = Condition::read(&headers)?;
    let (data_type, fields) = content(&call, &body)?;
    let put = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Write)?;
        let bucket = buckets::named(&call, &scope);
        match objects::get(sql, &bucket, call.param("object"))? {
            Some(object) => {
                condition.allows(&object)?;
                update(sql, &call, &scope, &caller, &bucket, Object { data_type, ..object }, fields)
            }
            None if condition.needs_object() => Err(not_found(&call, &scope)),
            None => {
                let id = call.param("object").to_owned();
                if !is_name(&id, 2..=100, b".") {
                    let message = "An object is named by 2 to 100 letters, digits, dots, hyphens and underscores";
                    return Err(Failure::new(ErrorCode::InvalidObjectId, message).with("objectID", id));
                }
                let bucket = buckets::created(sql, &call, &scope, &caller)?;
                insert(sql, &call, &scope, &caller, &bucket, New { id, data_type, fields })
            }
        }
    };
    answered(&cloud, cloud.store().write(put).await?)
}

/// 200 with `modifiedAt`, and what SDKs read of the object: the fields that are sent replace those of the same name, the
/// others stay.
async fn patch(State(cloud): State<Cloud>, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let condition = Condition::read(&headers)?;
    let (_, sent) = content(&call, &body)?;
    let patch = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Write)?;
        let bucket = buckets::named(&call, &scope);
        let Some(object) = objects::get(sql, &bucket, call.param("object"))? else {
            return Err(not_found(&call, &scope));
        };
        condition.allows(&object)?;
        let mut fields: Map<String, Value> = serde_json::from_str(&object.fields).map_err(Failure::internal)?;
        fields.extend(sent);
        update(sql, &call, &scope, &caller, &bucket, object, fields)
    };
    let written = cloud.store().write(patch).await?;
    let object = &written.object;
    let body = json!({
        "modifiedAt": object.modified_at, "_id": object.object_id, "_version": object.version.to_string(),
        "_created": object.created_at, "_modified": object.modified_at,
    });
    let mut response = answer::typed(StatusCode::OK, UPDATED, dialect::to_pretty(&body));
    response.headers_mut().insert(ETAG, etag(object)?);
    cloud.publish(written.publication);
    Ok(response)
}

/// POST with `X-HTTP-Method-Override: PATCH`, for those whose HTTP has no PATCH.
async fn override_method(state: State<Cloud>, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    match headers.get("x-http-method-override").map(HeaderValue::as_bytes) {
        Some(method) if method.eq_ignore_ascii_case(b"PATCH") => patch(state, call, headers, body).await,
        Some(method) if method.eq_ignore_ascii_case(b"PUT") => replace(state, call, headers, body).await,
        _ => {
            // Somebody must ask all the same.
            let check = move |sql: &mut dyn Sql| Scope::of(sql, &call, Access::Write);
            state.store().read(check).await?;
            Err(Failure::new(ErrorCode::MethodNotAllowed, "POST needs `X-HTTP-Method-Override: PATCH` here"))
        }
    }
}

async fn delete(State(cloud): State<Cloud>, call: Call, headers: HeaderMap) -> Result<Response, Failure> {
    let condition = Condition::read(&headers)?;
    let delete = move |sql: &mut dyn Sql| {
        let (scope, caller) = Scope::of(sql, &call, Access::Write)?;
        let bucket = buckets::named(&call, &scope);
        let Some(object) = objects::get(sql, &bucket, call.param("object"))? else {
            return Err(not_found(&call, &scope));
        };
        // `If-None-Match: *` says nothing here. (`wire` §5)
        if condition.needs_object() {
            condition.allows(&object)?;
        }
        objects::delete(sql, &bucket, &object.object_id)?;
        let change = Change { what: BucketEventType::ObjectDeleted, object: Some((object.object_id, call.now)) };
        told(&scope, &caller, &bucket, &change, call.now)
    };
    let publication = cloud.store().write(delete).await?;
    cloud.publish(publication);
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 200 with the object, of its own media type; 304 when `If-None-Match` has its version.
async fn read(State(cloud): State<Cloud>, call: Call, headers: HeaderMap) -> Result<Response, Failure> {
    let condition = Condition::read(&headers)?;
    let get = move |sql: &mut dyn Sql| {
        let (scope, _) = Scope::of(sql, &call, Access::Read)?;
        let bucket = buckets::named(&call, &scope);
        objects::get(sql, &bucket, call.param("object"))?.ok_or_else(|| not_found(&call, &scope))
    };
    let object = cloud.store().read(get).await?;
    let version = etag(&object)?;
    let mut response = if condition.is_known(&object) {
        answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        let data_type = HeaderValue::try_from(&object.data_type).map_err(Failure::internal)?;
        let mut response = answer::json(StatusCode::OK, &shown(object)?);
        response.headers_mut().insert(CONTENT_TYPE, data_type);
        response
    };
    response.headers_mut().insert(ETAG, version);
    Ok(response)
}

/// The media type and the fields that a request carries.
fn content(call: &Call, body: &Body) -> Result<(String, Map<String, Value>), Failure> {
    let given = media_type::essence(body.content_type());
    let data_type = match std::str::from_utf8(given).map(|text| unwrapped(text, &call.app)) {
        Ok("") => media_type::JSON.to_owned(),
        Ok(text) if media_type::is_json(text) && text.len() <= MAX_TYPE_LEN && text.is_ascii() => text.to_owned(),
        _ => return Err(Failure::new(ErrorCode::InvalidDataType, "The Content-Type of an object is one of JSON")),
    };
    let mut fields: Map<String, Value> = dialect::from_slice(&body.bytes)?;
    fields.retain(|name, _| !name.starts_with('_'));
    Ok((data_type, fields))
}

/// One SDK takes `_dataType` for the name of a type of its own, and sends it as one: `application/vnd.{APP}.` before the whole
/// and `+json` behind it. (`wire` §5)
fn unwrapped<'t>(mut text: &'t str, app: &AppId) -> &'t str {
    let prefix = format!("application/vnd.{app}.");
    while let Some(inner) = text.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("+json")) {
        if !inner.starts_with("application/") {
            break;
        }
        text = inner;
    }
    text
}

pub(super) fn not_found(call: &Call, scope: &Scope) -> Failure {
    let id = call.param("object");
    Failure::new(ErrorCode::ObjectNotFound, format!("Object {id} not found"))
        .with("objectID", id)
        .with("bucketID", call.param("bucket"))
        .with("objectScope", scope.json(&call.app))
}

/// An object as it is read: its fields, then the service's.
pub(super) fn shown(object: Object) -> Result<Map<String, Value>, Failure> {
    let mut shown: Map<String, Value> = serde_json::from_str(&object.fields).map_err(Failure::internal)?;
    shown.insert("_id".into(), object.object_id.into());
    shown.insert("_version".into(), object.version.to_string().into());
    shown.insert("_owner".into(), object.owner.into());
    shown.insert("_dataType".into(), object.data_type.into());
    shown.insert("_created".into(), object.created_at.into());
    shown.insert("_modified".into(), object.modified_at.into());
    Ok(shown)
}

/// An object to be made.
struct New {
    id: String,
    data_type: String,
    fields: Map<String, Value>,
}

/// What a write leaves.
struct Written {
    object: Object,
    /// Where the object is, when it is new.
    location: Option<String>,
    publication: Publication,
}

fn insert(
    sql: &mut dyn Sql,
    call: &Call,
    scope: &Scope,
    caller: &Caller,
    bucket: &Bucket,
    new: New,
) -> Result<Written, Failure> {
    let object = Object {
        seq: 0,
        object_id: new.id,
        version: next_version(sql, bucket, call.now)?,
        owner: caller.id().to_owned(),
        data_type: new.data_type,
        fields: Value::Object(new.fields).to_string(),
        created_at: call.now,
        modified_at: call.now,
    };
    check_len(&object)?;
    objects::insert(sql, bucket, &object)?;
    let change = Change { what: BucketEventType::ObjectCreated, object: Some((object.object_id.clone(), call.now)) };
    let path = scope.path();
    let location = format!("/api/apps/{}/{path}buckets/{}/objects/{}", call.app, bucket.bucket_id, object.object_id);
    let publication = told(scope, caller, bucket, &change, call.now)?;
    Ok(Written { object, location: Some(location), publication })
}

fn update(
    sql: &mut dyn Sql,
    call: &Call,
    scope: &Scope,
    caller: &Caller,
    bucket: &Bucket,
    object: Object,
    fields: Map<String, Value>,
) -> Result<Written, Failure> {
    let object = Object {
        version: next_version(sql, bucket, call.now)?,
        fields: Value::Object(fields).to_string(),
        modified_at: call.now,
        ..object
    };
    check_len(&object)?;
    objects::update(sql, bucket, &object)?;
    let change = Change { what: BucketEventType::ObjectUpdated, object: Some((object.object_id.clone(), call.now)) };
    let publication = told(scope, caller, bucket, &change, call.now)?;
    Ok(Written { object, location: None, publication })
}

/// Measured as it is printed in a list, where it is longest.
fn check_len(object: &Object) -> Result<(), Failure> {
    let (printed, max) = (len_in_list(&shown(object.clone())?), answer::MAX_LEN);
    if printed <= max {
        return Ok(());
    }
    Err(Failure::invalid(format!("The object takes {printed} bytes in an answer, more than {max}")))
}

fn answered(cloud: &Cloud, written: Written) -> Result<Response, Failure> {
    let Written { object, location, publication } = written;
    cloud.publish(publication);
    let mut response = match &location {
        Some(_) => {
            let body = json!({
                "objectID": object.object_id, "createdAt": object.created_at, "dataType": object.data_type,
            });
            answer::typed(StatusCode::CREATED, CREATED, dialect::to_pretty(&body))
        }
        None => {
            let body = json!({"modifiedAt": object.modified_at});
            answer::typed(StatusCode::OK, UPDATED, dialect::to_pretty(&body))
        }
    };
    response.headers_mut().insert(ETAG, etag(&object)?);
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).map_err(Failure::internal)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_was_taken_for_a_name_is_unwrapped() {
        let app = AppId::new("c1k9").expect("valid");
        for (given, expected) in [
            ("application/json", "application/json"),
            ("application/vnd.c1k9.mydata+json", "application/vnd.c1k9.mydata+json"),
            ("application/vnd.c1k9.application/json+json", "application/json"),
            ("application/vnd.c1k9.application/vnd.c1k9.mydata+json+json", "application/vnd.c1k9.mydata+json"),
            ("application/vnd.c1k9.application/vnd.c1k9.application/json+json+json", "application/json"),
            ("application/vnd.other.application/json+json", "application/vnd.other.application/json+json"),
            ("", ""),
        ] {
            assert_eq!(unwrapped(given, &app), expected, "{given}");
        }
    }
}
