//! Things, their owners, and what is behind gateways.

use super::{BY_TOKEN, JSON, ONBOARDINGS, Rightful, Row, THING, UNAUTHORIZED, WRONG_TOKEN};

const FIRMWARE: &str = "/thing-if/apps/{app}/things/{thing}/firmware-version";
const TYPE: &str = "/thing-if/apps/{app}/things/{thing}/thing-type";
const END_NODES: &str = "/thing-if/apps/{app}/things/{thing}/end-nodes";
const END_NODE: &str = "/thing-if/apps/{app}/things/{thing}/end-nodes/{node}";
const CONNECTION: &str = "/thing-if/apps/{app}/things/{thing}/end-nodes/{node}/connection";
const ADD: &str = "/api/apps/{app}/things/{thing}/end-nodes/{node}";
const TOKEN: &str = "/api/apps/{app}/things/{thing}/end-nodes/{node}/token";
const THINGS: &str = "/api/apps/{app}/things";
const QUERY: &str = "/api/apps/{app}/things/query";
const VENDOR: &str = "/api/apps/{app}/things/{thing}/vendor-thing-id";
const STATUS: &str = "/api/apps/{app}/things/{thing}/status";
const PASSWORD: &str = "/api/apps/{app}/things/{thing}/password";
const OWNERSHIP: &str = "/api/apps/{app}/things/{thing}/ownership";
const OWNER: &str = "/api/apps/{app}/things/{thing}/ownership/{owner}";

/// Registering needs the application's key or any token of it. That the id is taken is what all of these are told.
const BY_MEMBERS: [&str; 12] = [
    UNAUTHORIZED,               // Nobody
    WRONG_TOKEN,                // Nonsense
    UNAUTHORIZED,               // ForeignKey
    UNAUTHORIZED,               // ForeignHeaders
    WRONG_TOKEN,                // ForeignOwner
    WRONG_TOKEN,                // ForeignNeighbour
    WRONG_TOKEN,                // ForeignThing
    WRONG_TOKEN,                // ForeignAdmin
    WRONG_TOKEN,                // ForeignAnybody
    WRONG_TOKEN,                // ForeignOwnerWithKey
    "409 THING_ALREADY_EXISTS", // Neighbour
    "409 THING_ALREADY_EXISTS", // NeighbourThing
];

pub(super) const ROWS: &[Row] = &[
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: "/thing-if/apps/{app}/onboardings",
        media_type: "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json",
        body: r#"{"gatewayThingID":"{thing}","endNodeVendorThingID":"{node_vendor}","endNodePassword":"{node_password}","owner":"user:{owner}"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: UNAUTHORIZED,
    },
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: "/thing-if/apps/{app}/onboardings",
        media_type: "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json",
        body: r#"{"gatewayVendorThingID":"{vendor}","endNodeVendorThingID":"{node_vendor}","endNodePassword":"{node_password}","owner":"user:{owner}"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: UNAUTHORIZED,
    },
    Row {
        method: "PUT",
        route: FIRMWARE,
        path: "/thing-if/apps/{app}/things/{thing}/firmware-version",
        media_type: "application/vnd.kii.ThingFirmwareVersionUpdateRequest+json",
        body: r#"{"firmwareVersion":"v2"}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: FIRMWARE,
        path: "/thing-if/apps/{app}/things/{thing}/firmware-version",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: TYPE,
        path: "/thing-if/apps/{app}/things/{thing}/thing-type",
        media_type: "application/vnd.kii.ThingTypeUpdateRequest+json",
        body: r#"{"thingType":"lamp"}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: TYPE,
        path: "/thing-if/apps/{app}/things/{thing}/thing-type",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: END_NODES,
        path: "/thing-if/apps/{app}/things/{thing}/end-nodes?bestEffortLimit=5",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: CONNECTION,
        path: "/thing-if/apps/{app}/things/{thing}/end-nodes/{node}/connection",
        media_type: JSON,
        body: r#"{"online":true}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: TOKEN,
        path: "/api/apps/{app}/things/{thing}/end-nodes/{node}/token",
        media_type: JSON,
        body: r#"{"expires_in":60}"#,
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: END_NODE,
        path: "/thing-if/apps/{app}/things/{thing}/end-nodes/{node}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: ADD,
        path: "/api/apps/{app}/things/{thing}/end-nodes/{node}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: THINGS,
        path: "/api/apps/{app}/things",
        media_type: "application/vnd.kii.ThingRegistrationAndAuthorizationRequest+json",
        body: r#"{"_vendorThingID":"{vendor}","_password":"{thing_password}"}"#,
        // There is one already.
        rightful: (Rightful::Key, 409),
        strangers: BY_MEMBERS,
        elsewhere: "409 THING_ALREADY_EXISTS",
    },
    Row {
        method: "GET",
        route: THING,
        path: "/api/apps/{app}/things/{thing}",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PATCH",
        route: THING,
        path: "/api/apps/{app}/things/{thing}",
        media_type: "application/vnd.kii.ThingUpdateRequest+json",
        body: r#"{"free":"field"}"#,
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: QUERY,
        path: "/api/apps/{app}/things/query",
        media_type: "application/vnd.kii.ThingQueryRequest+json",
        body: r#"{"thingQuery":{"clause":{"type":"contains","field":"userOwners","value":"{owner}"}}}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: UNAUTHORIZED,
    },
    Row {
        method: "GET",
        route: VENDOR,
        path: "/api/apps/{app}/things/{thing}/vendor-thing-id",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: VENDOR,
        path: "/api/apps/{app}/things/{thing}/vendor-thing-id",
        media_type: "application/vnd.kii.VendorThingIDUpdateRequest+json",
        body: r#"{"_vendorThingID":"{vendor}","_password":"{thing_password}"}"#,
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: STATUS,
        path: "/api/apps/{app}/things/{thing}/status",
        media_type: "application/vnd.kii.ThingStatusUpdateRequest+json",
        // As it is.
        body: r#"{"disabled":false}"#,
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: PASSWORD,
        path: "/api/apps/{app}/things/{thing}/password",
        media_type: "application/vnd.kii.ChangeThingPasswordRequest+json",
        body: r#"{"newPassword":"{thing_password}"}"#,
        rightful: (Rightful::Admin, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: OWNER,
        path: "/api/apps/{app}/things/{thing}/ownership/user:{owner}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: OWNER,
        path: "/api/apps/{app}/things/{thing}/ownership/user:{owner}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: OWNER,
        path: "/api/apps/{app}/things/{thing}/ownership/user:{owner}",
        media_type: "",
        body: "",
        rightful: (Rightful::Admin, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: OWNERSHIP,
        path: "/api/apps/{app}/things/{thing}/ownership",
        media_type: "application/vnd.kii.ThingOwnershipRequest+json",
        body: r#"{"userID":"{owner}","thingPassword":"{thing_password}"}"#,
        // The row before has made it so.
        rightful: (Rightful::Owner, 409),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
];
