//! Buckets, topics and what is pushed of them, in each scope.

use super::{BY_TOKEN, JSON, MAY, Rightful, Row, UNAUTHORIZED, WRONG_TOKEN};

/// In the scope of the application whoever belongs to it may.
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
    MAY,          // Neighbour
    MAY,          // NeighbourThing
];

/// The same where only users may.
const BY_USERS: [&str; 12] = {
    let mut told = BY_MEMBERS;
    told[11] = UNAUTHORIZED;
    told
};

const MESSAGE: &str = r#"{"data":{"note":"{login}"},"mqtt":{"enabled":true}}"#;

/// What is said of a scope that is in the other application; where the scope is the other application's own, `own`.
const fn elsewhere(scope: Option<&'static str>, own: &'static str) -> &'static str {
    match scope {
        Some(missing) => missing,
        None => own,
    }
}

macro_rules! row {
    (
        $method:literal, $route:literal, $path:literal, $rest:literal, $filled:literal, $body:expr, $rightful:expr,
        $strangers:expr, $elsewhere:expr
    ) => {
        Row {
            method: $method,
            route: concat!($route, $rest),
            path: concat!($path, $filled),
            media_type: JSON,
            body: $body,
            rightful: $rightful,
            strangers: $strangers,
            elsewhere: $elsewhere,
        }
    };
}

/// Rows of one scope: what begins its routes and its paths, who manages it, which strangers may use its buckets, and what
/// is said of it elsewhere. Where a row succeeds elsewhere, its body has `{login}`, so that nothing is compared.
macro_rules! rows {
    ($route:literal, $path:literal, $manager:expr, $members:expr, $users:expr, $elsewhere:expr) => {
        [
            row!(
                "POST",
                $route,
                $path,
                "/buckets/{bucket}/objects",
                "/buckets/shared/objects",
                r#"{"note":"{login}"}"#,
                (Rightful::Owner, 201),
                $members,
                elsewhere($elsewhere, "201")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/{object}",
                r#"{"note":"{login}"}"#,
                (Rightful::Owner, 200),
                $members,
                elsewhere($elsewhere, "201")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/gone-{object}",
                "",
                (Rightful::Owner, 404),
                $members,
                elsewhere($elsewhere, "404 OBJECT_NOT_FOUND")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/{object}",
                "{login}",
                (Rightful::Owner, 200),
                $members,
                elsewhere($elsewhere, "200")
            ),
            row!(
                "PATCH",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/{object}",
                r#"{"note":"{login}"}"#,
                (Rightful::Owner, 200),
                $members,
                elsewhere($elsewhere, "200")
            ),
            row!(
                "POST",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/{object}",
                r#"{"note":"{login}"}"#,
                (Rightful::Owner, 405),
                $members,
                elsewhere($elsewhere, "405 METHOD_NOT_ALLOWED")
            ),
            row!(
                "POST",
                $route,
                $path,
                "/buckets/{bucket}/query",
                "/buckets/shared/query",
                r#"{"bucketQuery":{"clause":{"type":"eq","field":"note","value":"{login}"}}}"#,
                (Rightful::Owner, 200),
                $members,
                elsewhere($elsewhere, "200")
            ),
            row!(
                "POST",
                $route,
                $path,
                "/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}",
                "/buckets/shared/filters/all/push/subscriptions/users",
                "{login}",
                (Rightful::Owner, 204),
                $users,
                elsewhere($elsewhere, "204")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}",
                "/buckets/shared/filters/all/push/subscriptions/users",
                "{login}",
                (Rightful::Owner, 409),
                $users,
                elsewhere($elsewhere, "409 PUSH_SUBSCRIPTION_ALREADY_EXISTS")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
                "/buckets/shared/filters/all/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 409),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
                "/buckets/shared/filters/all/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 204),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "DELETE",
                $route,
                $path,
                "/buckets/{bucket}/filters/{filter}/push/subscriptions/{kind}/{subscriber}",
                "/buckets/shared/filters/all/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 204),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/topics",
                "/topics",
                "",
                (Rightful::Owner, 200),
                $members,
                elsewhere($elsewhere, "200")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/topics/{topic}",
                "/topics/news",
                "",
                ($manager, 409),
                BY_TOKEN,
                elsewhere($elsewhere, "409 TOPIC_ALREADY_EXISTS")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/topics/{topic}",
                "/topics/news",
                "",
                (Rightful::Owner, 204),
                $members,
                elsewhere($elsewhere, "204")
            ),
            row!(
                "POST",
                $route,
                $path,
                "/topics/{topic}/push/subscriptions/{kind}",
                "/topics/news/push/subscriptions/users",
                "{login}",
                (Rightful::Owner, 204),
                $users,
                elsewhere($elsewhere, "204")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/topics/{topic}/push/subscriptions/{kind}",
                "/topics/news/push/subscriptions/users",
                "{login}",
                (Rightful::Owner, 409),
                $users,
                elsewhere($elsewhere, "409 PUSH_SUBSCRIPTION_ALREADY_EXISTS")
            ),
            row!(
                "PUT",
                $route,
                $path,
                "/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
                "/topics/news/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 409),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "GET",
                $route,
                $path,
                "/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
                "/topics/news/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 204),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "DELETE",
                $route,
                $path,
                "/topics/{topic}/push/subscriptions/{kind}/{subscriber}",
                "/topics/news/push/subscriptions/users/{owner}",
                "",
                (Rightful::Owner, 204),
                BY_TOKEN,
                elsewhere($elsewhere, "404 USER_NOT_FOUND")
            ),
            row!(
                "POST",
                $route,
                $path,
                "/topics/{topic}/push/messages",
                "/topics/news/push/messages",
                MESSAGE,
                ($manager, 200),
                BY_TOKEN,
                elsewhere($elsewhere, "200")
            ),
            row!(
                "DELETE",
                $route,
                $path,
                "/topics/{topic}",
                "/topics/news",
                "{login}",
                ($manager, 204),
                BY_TOKEN,
                elsewhere($elsewhere, "204")
            ),
            row!(
                "DELETE",
                $route,
                $path,
                "/buckets/{bucket}/objects/{object}",
                "/buckets/shared/objects/{object}",
                "{login}",
                (Rightful::Owner, 204),
                $members,
                elsewhere($elsewhere, "204")
            ),
            row!(
                "DELETE",
                $route,
                $path,
                "/buckets/{bucket}",
                "/buckets/shared",
                "{login}",
                (Rightful::Owner, 204),
                $members,
                elsewhere($elsewhere, "204")
            ),
        ]
    };
}

pub(super) const APP: &[Row] =
    &rows!("/api/apps/{app}", "/api/apps/{app}", Rightful::Admin, BY_MEMBERS, BY_USERS, None);

pub(super) const USER: &[Row] = &rows!(
    "/api/apps/{app}/users/{user}",
    "/api/apps/{app}/users/{owner}",
    Rightful::Owner,
    BY_TOKEN,
    BY_TOKEN,
    Some("404 USER_NOT_FOUND")
);

pub(super) const THING: &[Row] = &rows!(
    "/api/apps/{app}/things/{thing}",
    "/api/apps/{app}/things/{thing}",
    Rightful::Owner,
    BY_TOKEN,
    BY_TOKEN,
    Some("404 THING_NOT_FOUND")
);

pub(super) const OTHERS: &[Row] = &[
    row!(
        "POST",
        "/api/apps/{app}/users/{user}",
        "/api/apps/{app}/users/{owner}",
        "/push/messages",
        "/push/messages",
        MESSAGE,
        (Rightful::Owner, 200),
        BY_TOKEN,
        "404 USER_NOT_FOUND"
    ),
    row!(
        "POST",
        "/api/apps/{app}/things/{thing}",
        "/api/apps/{app}/things/{thing}",
        "/push/messages",
        "/push/messages",
        MESSAGE,
        (Rightful::Owner, 200),
        BY_TOKEN,
        "404 THING_NOT_FOUND"
    ),
    // There are none, which whoever belongs to the application is told.
    row!(
        "ANY",
        "/api/apps/{app}/groups/{group}",
        "/api/apps/{app}/groups/team",
        "/{*rest}",
        "/buckets/shared/objects",
        "",
        (Rightful::Owner, 403),
        BY_MEMBERS,
        "403 OPERATION_NOT_SUPPORTED"
    ),
];
