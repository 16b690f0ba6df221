//! What is not built: whoever belongs to the application is told so, in the same words whatever is asked for.

use super::{JSON, Rightful, Row, UNAUTHORIZED, WRONG_TOKEN};

const NOT_BUILT: &str = "501 OPERATION_NOT_IMPLEMENTED";

const BY_MEMBERS: [&str; 12] = [
    UNAUTHORIZED, // Nobody
    WRONG_TOKEN,  // Nonsense
    UNAUTHORIZED, // ForeignKey
    UNAUTHORIZED, // ForeignHeaders
    WRONG_TOKEN,  // ForeignOwner
    WRONG_TOKEN,  // ForeignNeighbour
    WRONG_TOKEN,  // ForeignThing
    WRONG_TOKEN,  // ForeignAdmin
    WRONG_TOKEN,  // ForeignAnybody
    WRONG_TOKEN,  // ForeignOwnerWithKey
    NOT_BUILT,    // Neighbour
    NOT_BUILT,    // NeighbourThing
];

const fn not_built(route: &'static str, path: &'static str) -> Row {
    Row {
        method: "ANY",
        route,
        path,
        media_type: JSON,
        body: "{}",
        rightful: (Rightful::Owner, 501),
        strangers: BY_MEMBERS,
        elsewhere: NOT_BUILT,
    }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    not_built("/thing-if/apps/{app}/traits", "/thing-if/apps/{app}/traits"),
    not_built("/thing-if/apps/{app}/traits/{*rest}", "/thing-if/apps/{app}/traits/some/more"),
    not_built("/thing-if/apps/{app}/configuration/{*rest}", "/thing-if/apps/{app}/configuration/some/more"),
    not_built("/api/apps/{app}/groups", "/api/apps/{app}/groups"),
    not_built("/api/apps/{app}/buckets/{bucket}/acl", "/api/apps/{app}/buckets/shared/acl"),
    not_built("/api/apps/{app}/buckets/{bucket}/acl/{*rest}", "/api/apps/{app}/buckets/shared/acl/some/more"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/acl", "/api/apps/{app}/users/{owner}/buckets/shared/acl"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/acl/{*rest}", "/api/apps/{app}/users/{owner}/buckets/shared/acl/some/more"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/acl", "/api/apps/{app}/things/{thing}/buckets/shared/acl"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/acl/{*rest}", "/api/apps/{app}/things/{thing}/buckets/shared/acl/some/more"),
    not_built("/api/apps/{app}/buckets/{bucket}/objects/{object}/acl", "/api/apps/{app}/buckets/shared/objects/{object}/acl"),
    not_built("/api/apps/{app}/buckets/{bucket}/objects/{object}/acl/{*rest}", "/api/apps/{app}/buckets/shared/objects/{object}/acl/some/more"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/acl", "/api/apps/{app}/users/{owner}/buckets/shared/objects/{object}/acl"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/acl/{*rest}", "/api/apps/{app}/users/{owner}/buckets/shared/objects/{object}/acl/some/more"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/acl", "/api/apps/{app}/things/{thing}/buckets/shared/objects/{object}/acl"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/acl/{*rest}", "/api/apps/{app}/things/{thing}/buckets/shared/objects/{object}/acl/some/more"),
    not_built("/api/apps/{app}/topics/{topic}/acl", "/api/apps/{app}/topics/news/acl"),
    not_built("/api/apps/{app}/topics/{topic}/acl/{*rest}", "/api/apps/{app}/topics/news/acl/some/more"),
    not_built("/api/apps/{app}/users/{user}/topics/{topic}/acl", "/api/apps/{app}/users/{owner}/topics/news/acl"),
    not_built("/api/apps/{app}/users/{user}/topics/{topic}/acl/{*rest}", "/api/apps/{app}/users/{owner}/topics/news/acl/some/more"),
    not_built("/api/apps/{app}/things/{thing}/topics/{topic}/acl", "/api/apps/{app}/things/{thing}/topics/news/acl"),
    not_built("/api/apps/{app}/things/{thing}/topics/{topic}/acl/{*rest}", "/api/apps/{app}/things/{thing}/topics/news/acl/some/more"),
    not_built("/api/apps/{app}/buckets/{bucket}/objects/{object}/body", "/api/apps/{app}/buckets/shared/objects/{object}/body"),
    not_built("/api/apps/{app}/buckets/{bucket}/objects/{object}/body/{*rest}", "/api/apps/{app}/buckets/shared/objects/{object}/body/some/more"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/body", "/api/apps/{app}/users/{owner}/buckets/shared/objects/{object}/body"),
    not_built("/api/apps/{app}/users/{user}/buckets/{bucket}/objects/{object}/body/{*rest}", "/api/apps/{app}/users/{owner}/buckets/shared/objects/{object}/body/some/more"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/body", "/api/apps/{app}/things/{thing}/buckets/shared/objects/{object}/body"),
    not_built("/api/apps/{app}/things/{thing}/buckets/{bucket}/objects/{object}/body/{*rest}", "/api/apps/{app}/things/{thing}/buckets/shared/objects/{object}/body/some/more"),
    not_built("/api/apps/{app}/server-code/{*rest}", "/api/apps/{app}/server-code/some/more"),
    not_built("/api/apps/{app}/users/{user}/status", "/api/apps/{app}/users/{owner}/status"),
];
