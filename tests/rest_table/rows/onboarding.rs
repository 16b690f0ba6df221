//! Onboarding by thing and by owner.

use super::*;

#[rustfmt::skip]
pub(crate) const ONBOARDING: &[Case] = &[
    // Onboarding by thing.
    (POST, "$key", "-", r#"{"vendorThingID":"v","thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", J, r#"{"vendorThingID":"v","thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, "{", 400, "INVALID_JSON"),
    (POST, "$key", BT, r#"{"thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, r#"{"vendorThingID":"v"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$key", BT, r#"{"vendorThingID":"v/v","thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "$wrongkey", BT, r#"{"vendorThingID":"v","thingPassword":"p"}"#, 401, "UNAUTHORIZED"),
    (POST, "$otherkey", BT, r#"{"vendorThingID":"v","thingPassword":"p"}"#, 401, "UNAUTHORIZED"),
    (POST, "$key", BT, r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#, 401, "WRONG_PASSWORD"),
    (POST, "Bearer $lamp", BT, r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#, 401, "WRONG_PASSWORD"),
    (POST, "Bearer $lamp", BT, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 200, ENDPOINT),
    (POST, "$key", "APPLICATION/VND.KII.ONBOARDINGWITHVENDORTHINGIDBYTHING+JSON;charset=UTF-8", r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp"}"#, 200, ENDPOINT),
    (POST, "$key", BTI, r#"{"thingID":"{TH}","thingPassword":"secret of lamp"}"#, 200, ENDPOINT),
    (POST, "$key", BTI, r#"{"thingID":"th.nosuch","thingPassword":"p"}"#, 404, "THING_NOT_FOUND"),
    (POST, "$key", BTI, r#"{"thingID":"{FOREIGN}","thingPassword":"secret of lamp"}"#, 404, "THING_NOT_FOUND"),
    // Onboarding by owner.
    (POST, "-", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "$key", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $bob", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"user:{ann}"}"#, 401, "UNAUTHORIZED"),
    (POST, "Bearer $stranger", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"user:{ann}"}"#, 403, "WRONG_TOKEN"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"w","thingPassword":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"thing:{TH}"}"#, 400, "INVALID_INPUT_DATA"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"w","thingPassword":"p","owner":"group:g"}"#, 403, "OPERATION_NOT_SUPPORTED"),
    (POST, "Bearer $ann", BO, r#"{"vendorThingID":"lamp","thingPassword":"wrong","owner":"user:{ann}"}"#, 401, "WRONG_PASSWORD"),
    (POST, "Bearer $bob", BOI, r#"{"thingID":"{FREE}","thingPassword":"secret of free","owner":"USER:{bob}"}"#, 200, ENDPOINT),
    ("GET /thing-if/apps/{APP}/targets/thing:{FREE}/states", "Bearer $bob", "-", "", 404, "STATE_NOT_FOUND"),
    (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{TH}","endNodeVendorThingID":"e","endNodePassword":"p","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"*","endNodeThingID":"*"}"#),
];
