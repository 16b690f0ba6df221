//! What is answered otherwise over MQTT, and why: a connection belongs to one application and proves that its device knows the
//! key, and the edge has bounds of its own. (`wire` §1.1, §3, §8)

use super::*;

/// A case of which MQTT has an answer of its own.
pub(crate) struct Differing {
    pub(crate) place: Place,
    pub(crate) case: Case,
    /// Over MQTT: status, and what the answer says.
    pub(crate) over_mqtt: (u16, &'static str),
}

const fn usual(case: Case, status: u16, says: &'static str) -> Differing {
    Differing { place: Place::Usual, case, over_mqtt: (status, says) }
}

/// Each in a world of its own, with Ann's lamp in it.
#[rustfmt::skip]
pub(crate) const DIFFERING: &[Differing] = &[
    // No path of an application: the edge says so itself.
    usual(("GET /thing-if/", "-", "-", "", 404, "PATH_NOT_FOUND"), 404, "PATH_NOT_FOUND"),
    // Another application than that of the connection.
    usual(("GET /thing-if/apps/nosuchapp/targets/thing:{TH}/states", "Bearer $ann", "-", "", 404, "APP_NOT_FOUND"), 403, "OPERATION_NOT_SUPPORTED"),
    usual(("GET /thing-if/apps/{OTHER}/targets/thing:{TH}/states", "Bearer $stranger", "-", "", 404, "TARGET_NOT_FOUND"), 403, "OPERATION_NOT_SUPPORTED"),
    usual(("GET /thing-if/apps/{OTHER}/targets/thing:{TH}/states", "Bearer $ann", "-", "", 403, "WRONG_TOKEN"), 403, "OPERATION_NOT_SUPPORTED"),
    // The connection proves what the key would.
    usual((POST, "-", BT, r#"{"vendorThingID":"v","thingPassword":"p"}"#, 401, "UNAUTHORIZED"), 200, ENDPOINT),
    usual((POST, "-", BT, r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#, 401, "UNAUTHORIZED"), 401, "WRONG_PASSWORD"),
    // So no token is needed either, and a wrong one is not looked at.
    usual((POST, "Bearer nonsense", BT, r#"{"vendorThingID":"v","thingPassword":"p"}"#, 403, "WRONG_TOKEN"), 200, ENDPOINT),
    usual((POST, "Bearer $foreign", BT, r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#, 403, "WRONG_TOKEN"), 401, "WRONG_PASSWORD"),
    usual((POST, "Bearer $lamp", BT, r#"{"vendorThingID":"another","thingPassword":"p"}"#, 401, "UNAUTHORIZED"), 200, ENDPOINT),
    usual((POST, "Bearer $ann", BTI, r#"{"thingID":"{TH}","thingPassword":"secret of lamp"}"#, 401, "UNAUTHORIZED"), 200, ENDPOINT),
    // Bounds: the edge tells its own in its own words.
    usual(("PUT {tgt}/states", "Bearer $lamp", J, r#"{"text":"{70 KB}"}"#, 413, "PAYLOAD_TOO_LARGE"), 413, "PAYLOAD_TOO_LARGE"),
    usual(("GET {tgt}/states", "Bearer $lamp", "-\nX-Long: {9 KB}", "", 404, "STATE_NOT_FOUND"), 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
    Differing { place: Place::Hurried, case: ("GET {tgt}/states", "Bearer $lamp", "-", "", 404, "STATE_NOT_FOUND"), over_mqtt: (429, "TOO_MANY_REQUESTS") },
    Differing { place: Place::Full, case: ("GET {tgt}/states", "Bearer $lamp", "-", "", 404, "STATE_NOT_FOUND"), over_mqtt: (503, "TEMPORARY_UNAVAILABLE_ERROR") },
];
