//! States, flat and with traits; each list is of a thing that has none yet.

use super::*;

#[rustfmt::skip]
pub(crate) const STATES: &[Case] = &[
    // States.
    ("GET {tgt}/states", "Bearer $ann", "-", "", 404, "STATE_NOT_FOUND"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "", 400, "INVALID_JSON"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "{\"a\":", 400, "INVALID_JSON"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "[1]", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "null", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $lamp", "text/plain", "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $lamp", "application/vnd.kii.MultipleTraitState+json", "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "-", J, "{}", 401, "UNAUTHORIZED"),
    ("PUT {tgt}/states", "Bearer nonsense", J, "{}", 403, "WRONG_TOKEN"),
    ("PUT /thing-if/apps/{APP}/targets/thing:{FREE}/states", "Bearer $lamp", J, "{}", 401, "UNAUTHORIZED"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "{\"on\":true}", 201, ""),
    ("PUT /thing-if/apps/{APP}/targets/THING:{TH}/states", "bearer $lamp", "-", "{\"on\":false} \r\n", 204, ""),
    ("PUT /thing-if/apps/{APP}/targets/thing%3A{TH}/states", "BEARER $ann", "Application/JSON; charset=UTF-8", "{}", 204, ""),
    ("GET {tgt}/states?unknown=1", "Bearer $ann", "-", "", 200, "{}"),
];

/// A thing without traits.
#[rustfmt::skip]
pub(crate) const FLAT: &[Case] = &[
    ("GET {tgt}/states", "Bearer $thing", "-", "", 404, "STATE_NOT_FOUND"),
    ("PATCH {tgt}/states", "Bearer $thing", J, r#"{"a":1}"#, 404, "STATE_NOT_FOUND"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK_PATCH, r#"{"states":[{"generatedAt":1,"payload":{"a":1}}]}"#, 404, "STATE_NOT_FOUND"),
    ("PUT {tgt}/states", "Bearer $thing", "text/plain", r#"{"b":1}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", TRAIT, r#"{"b":1}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", J, r#"{"b":1,"a":{"x":[1,2.5]}}"#, 201, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"b":1,"a":{"x":[1,2.5]}}"#),
    ("PUT {tgt}/states", "Bearer $thing", "-", r#"{"b":18446744073709551615,"a":null}"#, 204, ""),
    ("PUT {tgt}/states", "Bearer $thing", "Application/JSON; charset=UTF-8", r#"{"b":18446744073709551615,"a":null}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"b":18446744073709551615,"a":null}"#),
    ("PATCH {tgt}/states", "Bearer $thing", J, r#"{"a":{"y":true},"c":"new"}"#, 204, ""),
    ("PATCH {tgt}/states", "Bearer $thing", "-", "{}", 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"b":18446744073709551615,"a":{"y":true},"c":"new"}"#),
    ("PATCH {tgt}/states", "Bearer $thing", J, "[]", 400, "INVALID_INPUT_DATA"),
    ("PATCH {tgt}/states", "Bearer $thing", J, "{", 400, "INVALID_JSON"),
    ("PATCH {tgt}/states", "Bearer $thing", "text/plain", "{}", 400, "INVALID_INPUT_DATA"),
    // It has no aliases, and gets none.
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":{"on":true}}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, r#"{"Lamp":{"on":true}}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("PUT {tgt}/states/aliases/Lamp", "Bearer $thing", TRAIT, r#"{"on":true}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("GET {tgt}/states/aliases/Lamp", "Bearer $thing", "-", "", 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("GET {tgt}/states/aliases/a", "Bearer $thing", "-", "", 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 409, "STATE_HISTORY_NOT_AVAILABLE"),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"b":18446744073709551615,"a":{"y":true},"c":"new"}"#),
    // In bulk, what is older than the state is not the state.
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1,"payload":{"old":1}}]}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"b":18446744073709551615,"a":{"y":true},"c":"new"}"#),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1469102400000,"payload":{"n":{"x":2}}},{"generatedAt":5,"payload":{"n":1}}]}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"n":{"x":2}}"#),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK_PATCH, r#"{"states":[{"generatedAt":5,"payload":{"n":1}},{"generatedAt":1469102400000,"payload":{"m":3}}]}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"n":{"x":2},"m":3}"#),
    ("DELETE {tgt}/states", "Bearer $thing", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("GET {tgt}/states-bulk", "Bearer $thing", "-", "", 405, "METHOD_NOT_ALLOWED"),
];

/// A thing with traits.
#[rustfmt::skip]
pub(crate) const TRAITS: &[Case] = &[
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, r#"{"Lamp":{"on":true}}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("GET {tgt}/states/aliases/Lamp", "Bearer $thing", "-", "", 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, "{}", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":1}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":{"on":true},"Fan":[]}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"La mp":{"on":true}}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"":{"on":true}}"#, 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 404, "STATE_NOT_FOUND"),
    ("PUT {tgt}/states", "Bearer $thing", "APPLICATION/vnd.kii.multipletraitstate+JSON", r#"{"Lamp":{"on":true,"dim":5}}"#, 201, ""),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":{"on":false}}"#, 204, ""),
    ("GET {tgt}/states/aliases/Lamp", "Bearer $thing", "-", "", 200, r#"{"on":false}"#),
    ("GET {tgt}/states/aliases/Fan", "Bearer $thing", "-", "", 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("PUT {tgt}/states/aliases/Fan", "Bearer $thing", TRAIT, r#"{"speed":3,"on":true}"#, 201, ""),
    ("PUT {tgt}/states/aliases/Fan", "Bearer $thing", J, r#"{"speed":4,"on":true}"#, 204, ""),
    ("PUT {tgt}/states/aliases/Fan", "Bearer $thing", "-", r#"{"speed":5,"on":true}"#, 204, ""),
    ("PUT {tgt}/states/aliases/Fan", "Bearer $thing", MULTI, r#"{"speed":6}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states/aliases/Fan", "Bearer $thing", TRAIT, "5", 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states/aliases/a%20b", "Bearer $thing", TRAIT, "{}", 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states/aliases/Fan", "Bearer $thing", TRAIT, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Fan":{"speed":5,"on":true},"Lamp":{"on":false}}"#),
    // What is not named stays.
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":{"dim":1}}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Fan":{"speed":5,"on":true},"Lamp":{"dim":1}}"#),
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, r#"{"Lamp":{"on":true},"Fan":{"speed":null}}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Fan":{"speed":null,"on":true},"Lamp":{"dim":1,"on":true}}"#),
    // One alias that is not there, and nothing happens.
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, r#"{"Lamp":{"on":false},"Door":{"open":true}}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, r#"{"Lamp":true}"#, 400, "INVALID_INPUT_DATA"),
    ("PATCH {tgt}/states", "Bearer $thing", PATCH, "{}", 204, ""),
    ("PATCH {tgt}/states", "Bearer $thing", J, r#"{"Lamp":{"dim":2}}"#, 204, ""),
    ("PATCH {tgt}/states", "Bearer $thing", J, r#"{"dim":2}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/states", "Bearer $thing", J, r#"{"on":true}"#, 409, "OPERATION_NOT_ALLOWED"),
    ("PUT {tgt}/states", "Bearer $thing", "-", r#"{"on":true}"#, 409, "OPERATION_NOT_ALLOWED"),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Fan":{"speed":null,"on":true},"Lamp":{"dim":2,"on":true}}"#),
];

/// What no bulk may be.
#[rustfmt::skip]
pub(crate) const BULKS: &[Case] = &[
    ("POST {tgt}/states-bulk", "Bearer $thing", J, r#"{"states":[]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", "-", r#"{"states":[]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, "{}", 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, "[]", 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, "{", 400, "INVALID_JSON"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":{}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"payload":{}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":"1","payload":{}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":-1,"payload":{}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1,"payload":[]}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[]}"#, 204, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 404, "STATE_NOT_FOUND"),
    ("PUT {tgt}/states", "Bearer $thing", MULTI, r#"{"Lamp":{"on":true}}"#, 201, ""),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1,"payload":{"on":true}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK_PATCH, r#"{"states":[{"generatedAt":1,"payload":{"Lamp":{"on":false}}},{"generatedAt":2,"payload":{"Fan":{}}}]}"#, 404, "TRAIT_ALIAS_NOT_FOUND"),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Lamp":{"on":true}}"#),
];

/// The history of a thing with traits. The clock stands still; what a bulk says was earlier.
#[rustfmt::skip]
pub(crate) const HISTORY: &[Case] = &[
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 409, "STATE_HISTORY_NOT_AVAILABLE"),
    ("POST {tgt}/states-bulk", "Bearer $thing", BULK, r#"{"states":[{"generatedAt":1000,"payload":{"Lamp":{"t":1}}},{"generatedAt":2000,"payload":{"Lamp":{"t":2,"on":true}}}]}"#, 204, ""),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 200, r#"{"results":[{"t":1,"_created":1000},{"t":2,"on":true,"_created":2000}]}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"eq","field":"t","value":2}}}"#, 200, r#"{"results":[{"t":2,"on":true,"_created":2000}]}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"withinTimeRange","upperLimit":1500}}}"#, 200, r#"{"results":[{"t":1,"_created":1000}]}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}},"bestEffortLimit":1}"#, 200, r#"{"results":[{"t":1,"_created":1000}],"nextPaginationKey":"={KEY}"}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}},"bestEffortLimit":1,"paginationKey":"{KEY}"}"#, 200, r#"{"results":[{"t":2,"on":true,"_created":2000}]}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"grouped":true,"clause":{"type":"all"},"aggregations":[{"type":"SUM","field":"t","fieldType":"INTEGER","putAggregationInto":"sum"}]}}"#, 200, r#"{"groupedResults":[{"range":{"from":0,"to":899999},"aggregations":[{"value":3,"name":"sum"}]}]}"#),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}},"paginationKey":"nonsense"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}},"bestEffortLimit":0}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"some"}}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, "{}", 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", QUERY, "{", 400, "INVALID_JSON"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $thing", "text/plain", "{}", 400, "INVALID_INPUT_DATA"),
    // The deepest answers that there are can still be read.
    ("PUT {tgt}/states/aliases/Deep", "Bearer $thing", TRAIT, "{101 levels}", 400, "INVALID_JSON"),
    ("PUT {tgt}/states/aliases/Deep", "Bearer $thing", TRAIT, "{100 levels}", 201, ""),
    ("GET {tgt}/states", "Bearer $thing", "-", "", 200, r#"{"Deep":"*","Lamp":{"t":2,"on":true}}"#),
    ("POST {tgt}/states/aliases/Deep/query", "Bearer $thing", QUERY, r#"{"query":{"grouped":true,"clause":{"type":"all"}}}"#, 200, r#"{"groupedResults":[{"range":"*","objects":["*"]}]}"#),
    ("POST {tgt}/states/aliases/Fan/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 409, "STATE_HISTORY_NOT_AVAILABLE"),
    ("POST {tgt}/states/aliases/Lamp/query", "Bearer $bob", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 401, "UNAUTHORIZED"),
    ("POST {tgt}/states/aliases/Lamp/query", "-", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 401, "UNAUTHORIZED"),
    ("GET {tgt}/states/aliases/Lamp/query", "Bearer $thing", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("POST /thing-if/apps/{APP}/targets/thing:nosuch/states/aliases/Lamp/query", "Bearer $thing", QUERY, r#"{"query":{"clause":{"type":"all"}}}"#, 404, "TARGET_NOT_FOUND"),
];
