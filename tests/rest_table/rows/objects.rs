//! Buckets and their objects.

use super::*;

const MINE: &str = "application/vnd.c1k9abcdef12.mydata+json";
const QUERY: &str = "application/vnd.kii.QueryRequest+json";
const MADE: &str = r#"{"objectID":"*","createdAt":1000000,"dataType":"application/json"}"#;

#[rustfmt::skip]
pub(crate) const OBJECTS: &[Case] = &[
    ("POST /api/apps/{APP}/buckets/test/objects", "-", J, "{}", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/buckets/test/objects", "Bearer $anybody", J, "{}", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/buckets/test/query", "Bearer $ann", QUERY, "{}", 404, "BUCKET_NOT_FOUND"),
    ("POST /api/apps/{APP}/buckets/test/objects", "Bearer $ann", MINE, r#"{"score":"1800","n":1}"#, 201, r#"{"objectID":"={O}","createdAt":1000000,"dataType":"application/vnd.c1k9abcdef12.mydata+json"}"#),
    ("PUT /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "application/json\nIf-None-Match: *", r#"{"n":2}"#, 201, MADE),
    ("PUT /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "application/json\nIf-None-Match: *", r#"{"n":2}"#, 409, "OBJECT_ALREADY_EXISTS"),
    ("PUT /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "application/json\nIf-Match: nonsense", r#"{"n":2}"#, 409, "OBJECT_VERSION_IS_STALE"),
    ("PUT /api/apps/{APP}/buckets/test/objects/nothing", "Bearer $ann", "application/json\nIf-Match: *", "{}", 404, "OBJECT_NOT_FOUND"),
    ("PUT /api/apps/{APP}/buckets/test/objects/nothing", "Bearer $ann", "application/json\nIf-Match: 1\nIf-None-Match: *", "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", J, r#"{"n":3}"#, 200, r#"{"modifiedAt":1000000}"#),
    ("PATCH /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "application/json\nIf-Match: nonsense", r#"{"m":1}"#, 409, "OBJECT_VERSION_IS_STALE"),
    ("PATCH /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", J, r#"{"m":1}"#, 200, r#"{"modifiedAt":1000000,"_id":"named","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("POST /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "application/json\nX-HTTP-Method-Override: PATCH", r#"{"o":1}"#, 200, r#"{"modifiedAt":1000000,"_id":"named","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("POST /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET /api/apps/{APP}/buckets/test/objects/named", "Bearer $lamp", "-", "", 200, r#"{"n":3,"m":1,"o":1,"_id":"named","_version":"*","_owner":"{ann}","_dataType":"application/json","_created":1000000,"_modified":1000000}"#),
    ("GET /api/apps/{APP}/buckets/test/objects/nothing", "Bearer $ann", "-", "", 404, "OBJECT_NOT_FOUND"),
    ("POST /api/apps/{APP}/buckets/test/query", "$key", QUERY, r#"{"bucketQuery":{"clause":{"type":"all"},"orderBy":"n","descending":true}}"#, 200, r#"{"queryDescription":"*","results":[{"n":3,"m":1,"o":1,"_id":"named","_version":"*","_owner":"*","_dataType":"*","_created":1000000,"_modified":1000000},{"score":"1800","n":1,"_id":"{O}","_version":"*","_owner":"{ann}","_dataType":"*","_created":1000000,"_modified":1000000}]}"#),
    ("POST /api/apps/{APP}/buckets/test/query", "Bearer $ann", QUERY, r#"{"bucketQuery":{"clause":{"type":"eq","field":"n","value":4}}}"#, 200, r#"{"queryDescription":"*","results":[]}"#),
    ("POST /api/apps/{APP}/buckets/test/query", "Bearer $ann", QUERY, r#"{"bucketQuery":{"clause":{"type":"magic"}}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/buckets/test/query", "Bearer $ann", QUERY, r#"{"paginationKey":"%"}"#, 400, "INVALID_INPUT_DATA"),
    ("DELETE /api/apps/{APP}/buckets/test/objects/named", "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "-\nIf-Match: nonsense", "", 409, "OBJECT_VERSION_IS_STALE"),
    ("DELETE /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/buckets/test/objects/named", "Bearer $ann", "-", "", 404, "OBJECT_NOT_FOUND"),
    ("DELETE /api/apps/{APP}/buckets/test", "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/buckets/test", "Bearer $admin", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/buckets/test", "Bearer $admin", "-", "", 404, "BUCKET_NOT_FOUND"),
];

/// What is no bucket, no object, no body and no scope.
#[rustfmt::skip]
pub(crate) const REFUSED: &[Case] = &[
    ("POST /api/apps/{APP}/buckets/b/objects", "Bearer $ann", J, "{}", 400, "INVALID_BUCKET"),
    ("POST /api/apps/{APP}/buckets/b%20b/objects", "Bearer $ann", J, "{}", 400, "INVALID_BUCKET"),
    ("POST /api/apps/{APP}/buckets/bb/objects", "Bearer $ann", J, "[]", 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/buckets/bb/objects", "Bearer $ann", J, "{", 400, "INVALID_JSON"),
    ("POST /api/apps/{APP}/buckets/bb/objects", "Bearer $ann", J, "", 400, "INVALID_JSON"),
    ("POST /api/apps/{APP}/buckets/bb/objects", "Bearer $ann", "text/plain", "{}", 400, "INVALID_DATA_TYPE"),
    ("PUT /api/apps/{APP}/buckets/bb/objects/o", "Bearer $ann", J, "{}", 400, "INVALID_OBJECT_ID"),
    ("PUT /api/apps/{APP}/buckets/bb/objects/o%2Fo", "Bearer $ann", J, "{}", 400, "INVALID_OBJECT_ID"),
    ("PATCH /api/apps/{APP}/buckets/bb/objects/oo", "Bearer $ann", J, "{}", 404, "OBJECT_NOT_FOUND"),
    ("POST /api/apps/{APP}/users/nobody/buckets/bb/objects", "Bearer $ann", J, "{}", 404, "USER_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/th.nowhere/buckets/bb/objects", "Bearer $ann", J, "{}", 404, "THING_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/VENDOR_THING_ID:nowhere/buckets/bb/objects", "Bearer $ann", J, "{}", 404, "THING_NOT_FOUND"),
    ("POST /api/apps/{APP}/groups/team/buckets/bb/objects", "Bearer $ann", J, "{}", 403, "OPERATION_NOT_SUPPORTED"),
    ("GET /api/apps/{APP}/groups/team/topics", "Bearer $ann", "-", "", 403, "OPERATION_NOT_SUPPORTED"),
];

const OF_ANN: &str = r#"{"a":1,"b":2,"_id":"oo","_version":"*","_owner":"{ann}","_dataType":"application/json","_created":1000000,"_modified":1000000}"#;

/// In the scope of a user and in that of a thing.
#[rustfmt::skip]
pub(crate) const SCOPES: &[Case] = &[
    ("POST /api/apps/{APP}/users/me/buckets/bb/objects", "Bearer $ann", J, "{}", 201, MADE),
    ("POST /api/apps/{APP}/users/{ann}/buckets/bb/objects", "Bearer $bob", J, "{}", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/users/{ann}/buckets/bb/objects/oo", "Bearer $ann", J, r#"{"a":1}"#, 201, MADE),
    ("PUT /api/apps/{APP}/users/{ann}/buckets/bb/objects/oo", "Bearer $lamp", J, "{}", 401, "UNAUTHORIZED"),
    ("PATCH /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", J, r#"{"b":2}"#, 200, r#"{"modifiedAt":1000000,"_id":"oo","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("PATCH /api/apps/{APP}/users/me/buckets/bb/objects/none", "Bearer $ann", J, "{}", 404, "OBJECT_NOT_FOUND"),
    ("POST /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", "application/json\nX-HTTP-Method-Override: PATCH", "{}", 200, r#"{"modifiedAt":1000000,"_id":"oo","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("POST /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", "-", "", 200, OF_ANN),
    ("GET /api/apps/{APP}/users/{ann}/buckets/bb/objects/oo", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/users/me/buckets/bb/query", "Bearer $ann", QUERY, r#"{"bucketQuery":{"clause":{"type":"eq","field":"a","value":1}}}"#, 200, r#"{"queryDescription":"*","results":["*"]}"#),
    ("POST /api/apps/{APP}/users/{ann}/buckets/bb/query", "Bearer $bob", QUERY, "{}", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/users/me/buckets/bb/objects/oo", "Bearer $ann", "-", "", 404, "OBJECT_NOT_FOUND"),
    ("DELETE /api/apps/{APP}/users/me/buckets/bb", "Bearer $ann", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/users/me/buckets/bb", "Bearer $ann", "-", "", 404, "BUCKET_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/objects", "Bearer $lamp", J, "{}", 201, MADE),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/objects", "Bearer $bob", J, "{}", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/VENDOR_THING_ID:lamp/buckets/bb/objects/oo", "Bearer $ann", J, r#"{"a":1}"#, 201, MADE),
    ("PUT /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $bob", J, "{}", 401, "UNAUTHORIZED"),
    ("PATCH /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $lamp", J, r#"{"b":2}"#, 200, r#"{"modifiedAt":1000000,"_id":"oo","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("PATCH /api/apps/{APP}/things/{TH}/buckets/bb/objects/none", "Bearer $lamp", J, "{}", 404, "OBJECT_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $lamp", "application/json\nX-HTTP-Method-Override: PATCH", "{}", 200, r#"{"modifiedAt":1000000,"_id":"oo","_version":"*","_created":1000000,"_modified":1000000}"#),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $lamp", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $ann", "-", "", 200, OF_ANN),
    ("GET /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/query", "Bearer $ann", QUERY, "{}", 200, r#"{"queryDescription":"*","results":["*","*"]}"#),
    ("POST /api/apps/{APP}/things/{TH}/buckets/bb/query", "Bearer $bob", QUERY, "{}", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $lamp", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/things/{TH}/buckets/bb/objects/oo", "Bearer $lamp", "-", "", 404, "OBJECT_NOT_FOUND"),
    ("DELETE /api/apps/{APP}/things/{TH}/buckets/bb", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/things/{TH}/buckets/bb", "Bearer $ann", "-", "", 204, ""),
];
