//! Commands without traits, and their results.

use super::*;

const THE_COMMAND: &str = r#"{"commandID":"{CID}","target":"thing:{TH}","issuer":"user:{ann}","actions":[{"on":{}},{"dim":{"to":1}}],"commandState":"*","schema":"S","schemaVersion":1,"createdAt":1000000,"modifiedAt":1000000}"#;

#[rustfmt::skip]
pub(crate) const COMMANDS: &[Case] = &[
    // Commands.
    ("POST {tgt}/commands", "Bearer $ann", J, "{", 400, "INVALID_JSON"),
    ("POST {tgt}/commands", "Bearer $ann", J, "{}", 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{},"off":{}}]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schemaVersion":1,"actions":[{"on":{}}]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{bob}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#, 401, "UNAUTHORIZED"),
    ("POST {tgt}/commands", "Bearer $bob", J, r#"{"issuer":"user:{bob}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#, 401, "UNAUTHORIZED"),
    ("POST /thing-if/apps/{APP}/targets/thing:nosuch/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#, 404, "TARGET_NOT_FOUND"),
    ("POST {tgt}/commands", "Bearer $ann", "application/vnd.kii.CommandCreationRequest+json", "{}", 400, "WRONG_COMMAND"),
    ("POST /thing-if/apps/{APP}/targets/THING:{TH}/commands", "Bearer $ann", J, r#"{"issuer":"USER:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#, 201, r#"{"commandID":"*"}"#),
    ("GET {tgt}/commands", "Bearer $lamp", "-", "", 200, r#"{"commands":["*","*"]}"#),
    ("GET {tgt}/commands", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/commands?bestEffortLimit=0", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/commands?bestEffortLimit=x", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/commands?bestEffortLimit=9999", "Bearer $ann", "-", "", 200, r#"{"commands":["*","*"]}"#),
    ("GET {tgt}/commands?paginationKey=x", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/commands/{CID}", "Bearer $ann", "-", "", 200, THE_COMMAND),
    ("GET {tgt}/commands/{CID}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/commands/nosuch", "Bearer $ann", "-", "", 404, "COMMAND_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/targets/thing:{FREE}/commands/{CID}", "Bearer $free", "-", "", 404, "COMMAND_NOT_FOUND"),
    // Without traits, what looks like a list with traits would be read as one from then on.
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":[{"to":1}]}]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":[]}]}"#, 400, "WRONG_COMMAND"),
    // Action results.
    ("PUT {tgt}/commands/nosuch/action-results", "Bearer $lamp", J, r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, 404, "COMMAND_NOT_FOUND"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $free", J, r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, 401, "UNAUTHORIZED"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", J, r#"{"actionResults":[{"explode":{"succeeded":true}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", J, r#"{"actionResults":[{"on":{}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", J, r#"{"actionResults":[{"on":{"succeeded":true}}],[,{}]}"#, 400, "INVALID_JSON"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", "-", r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, 204, ""),
];

#[rustfmt::skip]
pub(crate) const WITH_TRAITS: &[Case] = &[
    ("POST {tgt}/commands", "Bearer $ann", TRAITS, r#"{"issuer":"user:{ann}","actions":[{"Lamp":[{"on":true},{"dim":3}]},{"Fan":[{"on":false}]}]}"#, 201, r#"{"commandID":"={CID}"}"#),
    ("POST {tgt}/commands", "Bearer $ann", TRAITS, r#"{"issuer":"user:{ann}","actions":[{"on":{}}]}"#, 400, "COMMAND_TRAIT_VALIDATION"),
    ("POST {tgt}/commands", "Bearer $ann", TRAITS, r#"{"issuer":"user:{ann}","actions":[{"Lamp":[]}]}"#, 400, "COMMAND_TRAIT_VALIDATION"),
    ("POST {tgt}/commands", "Bearer $ann", TRAITS, r#"{"issuer":"user:{ann}"}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", TRAITS, r#"{"actions":[{"Lamp":[{"on":true}]}]}"#, 400, "WRONG_COMMAND"),
    ("POST {tgt}/commands", "Bearer $ann", "text/plain", r#"{"issuer":"user:{ann}","actions":[{"Lamp":[{"on":true}]}]}"#, 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/commands/{CID}", "Bearer $lamp", "-", "", 200, r#"{"commandID":"{CID}","target":"thing:{TH}","issuer":"user:{ann}","actions":[{"Lamp":[{"on":true},{"dim":3}]},{"Fan":[{"on":false}]}],"commandState":"*","createdAt":1000000,"modifiedAt":1000000}"#),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", TRAIT_RESULTS, r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", TRAIT_RESULTS, r#"{"actionResults":[{"Heater":[{"on":{"succeeded":true}}]}]}"#, 400, "INVALID_INPUT_DATA"),
    // What one client sends for its second alias.
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", TRAIT_RESULTS, r#"{"actionResults":[{"Lamp":[{"on":{"succeeded":true}}]},{"Fan":[,{"on":{"succeeded":true}}]}]}"#, 400, "INVALID_JSON"),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", TRAIT_RESULTS, r#"{"actionResults":[{"Lamp":[{"on":{"succeeded":true}}]}]}"#, 204, ""),
    ("GET {tgt}/commands/{CID}", "Bearer $ann", "-", "", 200, r#"{"commandID":"{CID}","target":"thing:{TH}","issuer":"user:{ann}","actions":[{"Lamp":[{"on":true},{"dim":3}]},{"Fan":[{"on":false}]}],"actionResults":[{"Lamp":[{"on":{"succeeded":true}}]}],"commandState":"INCOMPLETE","createdAt":1000000,"modifiedAt":1000000}"#),
    ("PUT {tgt}/commands/{CID}/action-results", "Bearer $lamp", J, r#"{"actionResults":[{"Lamp":[{"on":{"succeeded":true}},{"dim":{"succeeded":false,"errorMessage":"stuck"}}]},{"Fan":[{"on":{"succeeded":true}}]}]}"#, 204, ""),
    ("GET {tgt}/commands", "Bearer $ann", "-", "", 200, r#"{"commands":[{"commandID":"{CID}","target":"thing:{TH}","issuer":"user:{ann}","actions":"*","actionResults":"*","commandState":"DONE","createdAt":1000000,"modifiedAt":1000000}]}"#),
];
