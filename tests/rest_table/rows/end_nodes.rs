//! Gateways and what is behind them. Everything happens in one application, from the first row to the last.

use super::*;

const NEW_NODE: &str = r#"{"accessToken":"*","endNodeThingID":"*"}"#;
const THE_BULB: &str = r#"{"accessToken":"*","endNodeThingID":"{EN}"}"#;

#[rustfmt::skip]
pub(crate) const ONBOARDING: &[Case] = &[
    // Onboarding of end nodes: who may.
    (POST, "-", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "$key", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer nonsense", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 403, "WRONG_TOKEN"),
    (POST, "Bearer $stranger", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 403, "WRONG_TOKEN"),
    (POST, "Bearer $anybody", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $gw", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $bob", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $bob", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{bob}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $bob", BY_VENDOR, r#"{"gatewayVendorThingID":"gateway","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{bob}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{BOBS}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $admin", BY_ID, r#"{"gatewayThingID":"{BOBS}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $admin", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:nobody"}"#, 404, "USER_NOT_FOUND"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"group:g"}"#, 403, "OPERATION_NOT_SUPPORTED"),
    // What is asked.
    (POST, "Bearer $ann", BY_ID, "{", 400, "INVALID_JSON"),
    (POST, "Bearer $ann", BY_ID, "[]", 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayVendorThingID":"gateway","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_VENDOR, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodePassword":"p","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"thing:{GW}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"a b","endNodePassword":"p","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}","endNodeThingType":"a b"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}","endNodeThingProperties":{"_id":1}}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"th.nosuch","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 404, "THING_NOT_FOUND"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{FOREIGN}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 404, "THING_NOT_FOUND"),
    (POST, "Bearer $ann", BY_VENDOR, r#"{"gatewayVendorThingID":"nosuch","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 404, "THING_NOT_FOUND"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"bulb","endNodePassword":"wrong","owner":"user:{ann}"}"#, 401, "WRONG_PASSWORD"),
    // One gateway at most, and no end node behind an end node.
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW2}","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"user:{ann}"}"#, 409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"gateway","endNodePassword":"secret of gateway","owner":"user:{ann}"}"#, 409, "OPERATION_NOT_ALLOWED"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW2}","endNodeVendorThingID":"gateway","endNodePassword":"secret of gateway","owner":"user:{ann}"}"#, 409, "OPERATION_NOT_ALLOWED"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{EN}","endNodeVendorThingID":"n","endNodePassword":"p","owner":"user:{ann}"}"#, 409, "OPERATION_NOT_ALLOWED"),
    // Success, and again.
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"user:{ann}"}"#, 200, THE_BULB),
    (POST, "bearer $ann", BY_VENDOR, r#"{"gatewayVendorThingID":"gateway","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"USER:{ann}"}"#, 200, THE_BULB),
    (POST, "Bearer $admin", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"user:{ann}"}"#, 200, THE_BULB),
    (POST, "Bearer $ann", "application/vnd.kii.onboardingEndNodeWithGatewayThingID+json;charset=UTF-8", r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"heater","endNodePassword":"p","owner":"user:{ann}","endNodeThingType":"heater","endNodeFirmwareVersion":"v1","endNodeThingProperties":{"room":1},"unknown":{}}"#, 200, NEW_NODE),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW2}","endNodeVendorThingID":"lamp","endNodePassword":"secret of lamp","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"*","endNodeThingID":"{LAMP}"}"#),
    ("DELETE /thing-if/apps/{APP}/things/{GW2}/end-nodes/{LAMP}", "Bearer $ann", "-", "", 204, ""),
];

#[rustfmt::skip]
pub(crate) const LISTED: &[Case] = &[
    // The list.
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes", "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes", "Bearer $en", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes", "Bearer $stranger", "-", "", 403, "WRONG_TOKEN"),
    ("GET /thing-if/apps/{APP}/things/th.nosuch/end-nodes", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/things/{FOREIGN}/end-nodes", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/things/a%20b/end-nodes", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes?bestEffortLimit=0", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes?paginationKey=_", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET /thing-if/apps/{APP}/things/{LAMP}/end-nodes", "Bearer $ann", "-", "", 200, r#"{"results":[]}"#),
    ("GET /thing-if/apps/{APP}/things/{GW}/end-nodes?bestEffortLimit=1", "Bearer $gw", "-", "", 200, r#"{"results":[{"thingID":"*","vendorThingID":"*"}],"nextPaginationKey":"*"}"#),
    ("GET /thing-if/apps/{APP}/things/VENDOR_THING_ID:gateway/end-nodes", "Bearer $admin", "-", "", 200, r#"{"results":[{"thingID":"*","vendorThingID":"*"},{"thingID":"*","vendorThingID":"*"}]}"#),
    ("POST /thing-if/apps/{APP}/things/{GW}/end-nodes", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    // The connection.
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "-", J, r#"{"online":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $bob", J, r#"{"online":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw2", J, r#"{"online":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer nonsense", J, r#"{"online":true}"#, 403, "WRONG_TOKEN"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw", J, r#"{"online":"true"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw", J, "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw", J, "", 400, "INVALID_JSON"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw", "text/plain", r#"{"online":true}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{LAMP}/connection", "Bearer $gw", J, r#"{"online":true}"#, 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("PUT /thing-if/apps/{APP}/things/{GW2}/end-nodes/{EN}/connection", "Bearer $ann", J, r#"{"online":true}"#, 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/th.nosuch/connection", "Bearer $gw", J, r#"{"online":true}"#, 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("PUT /thing-if/apps/{APP}/things/th.nosuch/end-nodes/{EN}/connection", "Bearer $gw", J, r#"{"online":true}"#, 404, "THING_NOT_FOUND"),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $gw", J, "{\"online\":true} \r\n", 204, ""),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection", "Bearer $ann", "-", r#"{"online":false}"#, 204, ""),
    ("PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/VENDOR_THING_ID:bulb/connection", "Bearer $gw", J, r#"{"online":false}"#, 204, ""),
    // What the gateway may with its end node, and what not with others.
    ("PUT /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $gw2", J, r#"{"on":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/targets/thing:{LAMP}/states", "Bearer $gw", J, r#"{"on":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/targets/thing:{GW}/states", "Bearer $en", J, r#"{"on":true}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $gw", J, r#"{"on":true}"#, 201, ""),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $gw", "-", "", 200, r#"{"on":true}"#),
    ("PUT /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $en", J, r#"{"on":false}"#, 204, ""),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/commands", "Bearer $gw", "-", "", 200, r#"{"commands":[]}"#),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/commands", "Bearer $gw2", "-", "", 401, "UNAUTHORIZED"),
];

#[rustfmt::skip]
pub(crate) const UNPAIRING: &[Case] = &[
    // Unpairing.
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}", "-", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}", "Bearer $en", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /thing-if/apps/{APP}/things/{GW2}/end-nodes/{EN}", "Bearer $gw2", "-", "", 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{GW}", "Bearer $gw", "-", "", 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("DELETE /thing-if/apps/{APP}/things/th.nosuch/end-nodes/{EN}", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}", "Bearer $gw", "-", "", 204, ""),
    ("DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}", "Bearer $gw", "-", "", 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $gw", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $en", "-", "", 403, "WRONG_TOKEN"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW2}","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"user:{ann}"}"#, 200, THE_BULB),
    ("GET /thing-if/apps/{APP}/targets/thing:{EN}/states", "Bearer $gw2", "-", "", 200, r#"{"on":false}"#),
];

/// Kii Cloud's own paths.
#[rustfmt::skip]
pub(crate) const KII_CLOUD: &[Case] = &[
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "-", J, "{}", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $bob", J, "{}", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw2", J, "{}", 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{LAMP}/token", "Bearer $gw", J, "{}", 404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
    ("POST /api/apps/{APP}/things/th.nosuch/end-nodes/{EN}/token", "Bearer $gw", J, "{}", 404, "THING_NOT_FOUND"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw", J, r#"{"expires_in":0}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw", J, r#"{"expires_in":"soon"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw", J, "{", 400, "INVALID_JSON"),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw", "-", "", 200, r#"{"id":"{EN}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $gw", J, "{}", 200, r#"{"id":"{EN}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    ("POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token", "Bearer $ann", J, r#"{"expires_in":60}"#, 200, r#"{"id":"{EN}","access_token":"*","expires_in":60,"token_type":"bearer","refresh_token":"*"}"#),
    // Adding.
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{LAMP}", "-", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{LAMP}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{BOBS}/end-nodes/{LAMP}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{BOBS}/end-nodes/{LAMP}", "Bearer $bobs", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{BOBS}/end-nodes/VENDOR_THING_ID:lamp", "Bearer $bobs", "-", "", 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/things/{GW}/end-nodes/th.nosuch", "Bearer $gw", "-", "", 404, "THING_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/th.nosuch/end-nodes/{LAMP}", "Bearer $gw", "-", "", 404, "THING_NOT_FOUND"),
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{EN}", "Bearer $ann", "-", "", 409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY"),
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{GW}", "Bearer $ann", "-", "", 409, "OPERATION_NOT_ALLOWED"),
    ("PUT /api/apps/{APP}/things/{EN}/end-nodes/{LAMP}", "Bearer $ann", "-", "", 409, "OPERATION_NOT_ALLOWED"),
    ("PUT /api/apps/{APP}/things/{GW}/end-nodes/{EN}", "Bearer $gw", "-", "", 204, ""),
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{LAMP}", "Bearer $gw2", J, "", 204, ""),
    ("GET /thing-if/apps/{APP}/things/{GW2}/end-nodes", "Bearer $ann", "-", "", 200, r#"{"results":[{"thingID":"{LAMP}","vendorThingID":"lamp"}]}"#),
    ("PUT /api/apps/{APP}/things/{GW2}/end-nodes/{BOBS}", "Bearer $admin", "-", "", 204, ""),
];
