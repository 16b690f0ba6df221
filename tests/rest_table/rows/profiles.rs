//! What things are: the fields of their onboarding, firmware versions, types.

use super::*;

#[rustfmt::skip]
pub(crate) const ONBOARDING: &[Case] = &[
    // Onboarding of things, with every field and every token.
    (POST, "$key", BT, r#"{"vendorThingID":"v1","thingPassword":"p","thingType":"lamp","firmwareVersion":"v1","layoutPosition":"GATEWAY","thingProperties":{"a":[1,{}]},"dataGroupingInterval":"15_MINUTES"}"#, 200, ENDPOINT),
    (POST, "Bearer $anybody", BT, r#"{"vendorThingID":"v2","thingPassword":"p","layoutPosition":"END_NODE","dataGroupingInterval":"1_HOUR"}"#, 200, ENDPOINT),
    (POST, "Bearer $admin", BT, r#"{"vendorThingID":"v3","thingPassword":"p","layoutPosition":"STANDALONE","thingType":null}"#, 200, ENDPOINT),
    (POST, "Bearer $lamp", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 200, ENDPOINT),
    (POST, "Bearer $lamp", BTI, r#"{"thingID":"{LAMP}","thingPassword":"secret of lamp","layoutPosition":"GATEWAY"}"#, 200, ENDPOINT),
    (POST, "$otherkey", BT, r#"{"vendorThingID":"v1","thingPassword":"p"}"#, 401, "UNAUTHORIZED"),
    (POST, "$key", BT, r#"{"vendorThingID":"v1","thingPassword":"q"}"#, 401, "WRONG_PASSWORD"),
    (POST, "$key", BTI, r#"{"thingID":"{LAMP}","thingPassword":"q"}"#, 401, "WRONG_PASSWORD"),
    (POST, "$key", BT, r#"{"vendorThingID":"v4","thingPassword":"p","layoutPosition":"ATTIC"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, r#"{"vendorThingID":"v4","thingPassword":"p","dataGroupingInterval":"2_MINUTES"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, r#"{"vendorThingID":"v4","thingPassword":"p","thingProperties":[]}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, r#"{"vendorThingID":"","thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"v5","thingPassword":"p","owner":"User:{ann}","thingType":"lamp","firmwareVersion":"v1","layoutPosition":"GATEWAY","thingProperties":{},"dataGroupingInterval":"12_HOURS"}"#, 200, ENDPOINT),
    (POST, "Bearer $admin", BO, r#"{"vendorThingID":"v6","thingPassword":"p","owner":"user:{bob}"}"#, 200, ENDPOINT),
    (POST, "Bearer $admin", BO, r#"{"vendorThingID":"v7","thingPassword":"p","owner":"user:nobody"}"#, 404, "USER_NOT_FOUND"),
    (POST, "Bearer $anybody", BO, r#"{"vendorThingID":"v7","thingPassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $ann", BOI, r#"{"thingID":"{LAMP}","thingPassword":"secret of lamp","owner":"user:{ann}","layoutPosition":"STANDALONE"}"#, 200, ENDPOINT),
    (POST, "Bearer $ann", BOI, r#"{"thingID":"{LAMP}","thingPassword":"q","owner":"user:{ann}"}"#, 401, "WRONG_PASSWORD"),
    (POST, "Bearer $ann", BOI, r#"{"thingID":"th.nosuch","thingPassword":"q","owner":"user:{ann}"}"#, 404, "THING_NOT_FOUND"),
    (POST, "Bearer $ann", BOI, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", "text/plain", r#"{"thingID":"{LAMP}","thingPassword":"q","owner":"user:{ann}"}"#, 400, "INVALID_INPUT_DATA"),
];

#[rustfmt::skip]
pub(crate) const FIRMWARE_AND_TYPE: &[Case] = &[
    // Firmware versions.
    ("GET /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $gw", "-", "", 404, "THING_WITHOUT_FIRMWARE_VERSION"),
    ("GET /thing-if/apps/{APP}/things/{EN}/firmware-version", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer nonsense", "-", "", 403, "WRONG_TOKEN"),
    ("GET /thing-if/apps/{APP}/things/th.nosuch/firmware-version", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $bob", FIRMWARE, r#"{"firmwareVersion":"v1"}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/things/th.nosuch/firmware-version", "Bearer $ann", FIRMWARE, r#"{"firmwareVersion":"v1"}"#, 404, "THING_NOT_FOUND"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", FIRMWARE, "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", FIRMWARE, r#"{"firmwareVersion":"a b"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", FIRMWARE, r#"{"firmwareVersion":1}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", FIRMWARE, "v1", 400, "INVALID_JSON"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", TYPE, r#"{"firmwareVersion":"v1"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $gw", FIRMWARE, r#"{"firmwareVersion":"v1"}"#, 204, ""),
    ("PUT /thing-if/apps/{APP}/things/{EN}/firmware-version", "Bearer $en", "-", r#"{"firmwareVersion":"v2"}"#, 204, ""),
    ("GET /thing-if/apps/{APP}/things/VENDOR_THING_ID:bulb/firmware-version", "Bearer $ann", "-", "", 200, r#"{"firmwareVersion":"v2"}"#),
    // Thing types.
    ("GET /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $en", "-", "", 404, "THING_WITHOUT_THING_TYPE"),
    ("GET /thing-if/apps/{APP}/things/{EN}/thing-type", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/things/th.nosuch/thing-type", "Bearer $ann", "-", "", 404, "THING_NOT_FOUND"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $bob", TYPE, r#"{"thingType":"bulb"}"#, 401, "UNAUTHORIZED"),
    ("PUT /thing-if/apps/{APP}/things/th.nosuch/thing-type", "Bearer $ann", TYPE, r#"{"thingType":"bulb"}"#, 404, "THING_NOT_FOUND"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $en", TYPE, r#"{"thingType":""}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $en", TYPE, r#"{"type":"bulb"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $en", "application/vnd.kii.thingtypeupdaterequest+JSON", r#"{"thingType":"bulb"}"#, 204, ""),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $en", TYPE, r#"{"thingType":"bulb"}"#, 409, "OPERATION_NOT_ALLOWED"),
    ("PUT /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $admin", TYPE, r#"{"thingType":"lamp"}"#, 409, "OPERATION_NOT_ALLOWED"),
    ("GET /thing-if/apps/{APP}/things/{EN}/thing-type", "Bearer $gw", "-", "", 200, r#"{"thingType":"bulb"}"#),
];
