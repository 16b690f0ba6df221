//! Things that are disabled, and passwords that are changed for them.

use super::*;

const STATUS: &str = "application/vnd.kii.ThingStatusUpdateRequest+json";
const PASSWORD: &str = "application/vnd.kii.ChangeThingPasswordRequest+json";
const PUT: &str = "PUT /api/apps/{APP}/things/{TH}/status";
const CHANGE: &str = "PUT /api/apps/{APP}/things/{TH}/password";
const TOKEN: &str = "POST /api/apps/{APP}/oauth2/token";

#[rustfmt::skip]
pub(crate) const STATUSES: &[Case] = &[
    (PUT, "-", STATUS, r#"{"disabled":true}"#, 401, "UNAUTHORIZED"),
    (PUT, "Bearer nonsense", STATUS, r#"{"disabled":true}"#, 403, "WRONG_TOKEN"),
    (PUT, "Bearer $bob", STATUS, r#"{"disabled":true}"#, 401, "UNAUTHORIZED"),
    (PUT, "Bearer $lamp", STATUS, r#"{"disabled":true}"#, 401, "UNAUTHORIZED"),
    (PUT, "Bearer $anybody", STATUS, r#"{"disabled":true}"#, 401, "UNAUTHORIZED"),
    (PUT, "Bearer $ann", STATUS, "{", 400, "INVALID_JSON"),
    (PUT, "Bearer $ann", STATUS, "{}", 400, "INVALID_INPUT_DATA"),
    (PUT, "Bearer $ann", STATUS, r#"{"disabled":"true"}"#, 400, "INVALID_INPUT_DATA"),
    (PUT, "Bearer $ann", PASSWORD, r#"{"disabled":true}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/th.nosuch/status", "Bearer $ann", STATUS, r#"{"disabled":true}"#, 404, "THING_NOT_FOUND"),
    ("GET /api/apps/{APP}/things/{TH}/status", "Bearer $ann", "-", "", 405, "METHOD_NOT_ALLOWED"),
    (PUT, "Bearer $ann", STATUS, r#"{"disabled":false}"#, 204, ""),
    ("PUT {tgt}/states", "Bearer $lamp", J, r#"{"on":1}"#, 201, ""),
    // Disabled, twice.
    (PUT, "Bearer $ann", STATUS, r#"{"disabled":true}"#, 204, ""),
    ("PUT /api/apps/{APP}/things/VENDOR_THING_ID:lamp/status", "Bearer $admin", J, r#"{"disabled":true}"#, 204, ""),
    ("PUT {tgt}/states", "Bearer $lamp", J, r#"{"on":2}"#, 401, "THING_DISABLED"),
    ("GET {tgt}/states", "Bearer $lamp", "-", "", 401, "THING_DISABLED"),
    ("GET {tgt}/commands", "Bearer $lamp", "-", "", 401, "THING_DISABLED"),
    ("GET /thing-if/apps/{APP}/things/{TH}/end-nodes", "Bearer $lamp", "-", "", 401, "THING_DISABLED"),
    (POST, "Bearer $lamp", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 401, "THING_DISABLED"),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 401, "THING_DISABLED"),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#, 401, "WRONG_PASSWORD"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp","owner":"user:{ann}"}"#, 401, "THING_DISABLED"),
    (TOKEN, "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"secret of lamp"}"#, 401, "THING_DISABLED"),
    (TOKEN, "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"wrong"}"#, 400, "invalid_grant"),
    ("GET {tgt}/states", "Bearer $ann", "-", "", 200, r#"{"on":1}"#),
    ("GET /api/apps/{APP}/things/{TH}", "Bearer $ann", "-", "", 200, r#"{"_thingID":"{TH}","_vendorThingID":"lamp","_layoutPosition":"STANDALONE","_created":"*","_disabled":true}"#),
    // Enabled.
    (PUT, "Bearer $ann", STATUS, r#"{"disabled":false}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $lamp", "-", "", 403, "WRONG_TOKEN"),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 200, ENDPOINT),
    // Another password.
    (CHANGE, "-", PASSWORD, r#"{"newPassword":"another"}"#, 401, "UNAUTHORIZED"),
    (CHANGE, "Bearer $ann", PASSWORD, r#"{"newPassword":"another"}"#, 401, "UNAUTHORIZED"),
    (CHANGE, "Bearer $admin", PASSWORD, r#"{"newPassword":""}"#, 400, "INVALID_INPUT_DATA"),
    (CHANGE, "Bearer $admin", PASSWORD, "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/things/th.nosuch/password", "Bearer $admin", PASSWORD, r#"{"newPassword":"another"}"#, 404, "THING_NOT_FOUND"),
    (CHANGE, "Bearer $admin", PASSWORD, r#"{"newPassword":"another"}"#, 204, ""),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 401, "WRONG_PASSWORD"),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"another"}"#, 200, ENDPOINT),
];
