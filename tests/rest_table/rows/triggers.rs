//! Triggers.

use super::*;

const THE_TRIGGER: &str = r#"{"triggerID":"{T}","predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"},"disabled":false,"command":{"actions":[{"on":{}}],"issuer":"user:{ann}","target":"thing:{TH}","schema":"S","schemaVersion":1}}"#;

#[rustfmt::skip]
pub(crate) const TRIGGERS: &[Case] = &[
    ("GET {tgt}/triggers/{T}", "Bearer $ann", "-", "", 200, THE_TRIGGER),
    ("GET {tgt}/triggers/{T}", "Bearer $lamp", "-", "", 200, THE_TRIGGER),
    ("GET {tgt}/triggers/{T}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/triggers/{T}", "Bearer $stranger", "-", "", 403, "WRONG_TOKEN"),
    ("GET {tgt}/triggers/{T}", "Bearer nonsense", "-", "", 403, "WRONG_TOKEN"),
    ("GET {tgt}/triggers/nosuch", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("GET {tgt}/triggers/%20", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("GET {tgt}/triggers", "Bearer $lamp", "-", "", 200, r#"{"triggers":["*"]}"#),
    ("GET {tgt}/triggers?bestEffortLimit=0", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/triggers?bestEffortLimit=x", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/triggers?paginationKey=x", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/triggers?bestEffortLimit=9999&unknown=1", "Bearer $ann", "-", "", 200, r#"{"triggers":["*"]}"#),
    ("GET {tgt}/triggers", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT {tgt}/triggers", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("POST {tgt}/triggers/{T}", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("POST {tgt}/triggers", "Bearer $bob", J, r#"{"serverCode":{"endpoint":"f"},"predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"}}"#, 401, "UNAUTHORIZED"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, "{}", 204, ""),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"triggersWhat":"COMMAND"}"#, 204, ""),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"title":"t"}"#, 204, ""),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"predicate":{"eventSource":"SCHEDULE","schedule":"1 * * * *"}}"#, 204, ""),
    ("PATCH {tgt}/triggers/{T}", "Bearer $lamp", J, r#"{"description":"d","metadata":{}}"#, 204, ""),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", "-", "", 400, "INVALID_JSON"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, "[]", 400, "WRONG_TRIGGER"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"title":1}"#, 400, "WRONG_TRIGGER"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"command":{}}"#, 400, "WRONG_TRIGGER"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"triggersWhat":"SERVER_CODE"}"#, 400, "WRONG_TRIGGER"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"triggersWhat":"BOTH"}"#, 400, "WRONG_TRIGGER"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"predicate":{"eventSource":"SCHEDULE","schedule":"x"}}"#, 400, "WRONG_PREDICATE"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $ann", J, r#"{"predicate":{"eventSource":"SCHEDULE_ONCE","scheduleAt":1}}"#, 400, "WRONG_PREDICATE"),
    ("PATCH {tgt}/triggers/nosuch", "Bearer $ann", J, "{}", 404, "TRIGGER_NOT_FOUND"),
    ("PATCH {tgt}/triggers/%20", "Bearer $ann", J, "{}", 404, "TRIGGER_NOT_FOUND"),
    ("PATCH {tgt}/triggers/{T}", "Bearer $bob", J, "{}", 401, "UNAUTHORIZED"),
    // In Ann's name the lamp itself may not.
    ("PATCH {tgt}/triggers/{T}", "Bearer $lamp", J, r#"{"command":{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}}"#, 401, "UNAUTHORIZED"),
    // Nor command the fan, which Ann may.
    ("PATCH {tgt}/triggers/{T}", "Bearer $lamp", J, r#"{"command":{"issuer":"thing:{TH}","target":"thing:{FAN}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}}"#, 401, "UNAUTHORIZED"),
    ("PUT {tgt}/triggers/{T}/disable", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT {tgt}/triggers/{T}/disable", "Bearer $ann", "-", "", 204, ""),
    ("PUT {tgt}/triggers/{T}/disable", "Bearer $lamp", "-", "", 204, ""),
    ("PUT {tgt}/triggers/nosuch/disable", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("PUT {tgt}/triggers/{T}/enable", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("PUT {tgt}/triggers/{T}/enable", "Bearer $ann", "-", "", 204, ""),
    ("PUT {tgt}/triggers/{T}/enable", "Bearer $lamp", "-", "", 204, ""),
    ("PUT {tgt}/triggers/nosuch/enable", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("GET {tgt}/triggers/{T}/enable", "Bearer $ann", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("GET {tgt}/triggers/{T}/results/server-code", "Bearer $ann", "-", "", 200, r#"{"triggerServerCodeResults":[]}"#),
    ("GET {tgt}/triggers/{T}/results/server-code", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/triggers/{T}/results/server-code?bestEffortLimit=-1", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    ("GET {tgt}/triggers/nosuch/results/server-code", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("GET {tgt}/triggers/{T}/results", "Bearer $ann", "-", "", 404, "PATH_NOT_FOUND"),
    ("DELETE {tgt}/triggers/{T}", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE {tgt}/triggers/nosuch", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("DELETE {tgt}/triggers/{T}", "Bearer $ann", "-", "", 204, ""),
    ("DELETE {tgt}/triggers/{T}", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
    ("GET {tgt}/triggers/{T}", "Bearer $ann", "-", "", 404, "TRIGGER_NOT_FOUND"),
];

/// What is no trigger, and what no predicate.
#[rustfmt::skip]
pub(crate) const REFUSED: &[Case] = &[
    ("POST {tgt}/triggers", "Bearer $ann", J, "{", 400, "INVALID_JSON"),
    ("POST {tgt}/triggers", "Bearer $ann", J, "[]", 400, "WRONG_TRIGGER"),
    ("POST {tgt}/triggers", "Bearer $ann", J, "{}", 400, "WRONG_PREDICATE"),
    ("POST {tgt}/triggers", "Bearer $ann", J, r#"{"triggersWhat":"MAGIC","predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"}}"#, 400, "WRONG_TRIGGER"),
    ("POST {tgt}/triggers", "Bearer $ann", J, r#"{"serverCode":{"endpoint":"f"},"predicate":{"eventSource":"MOON"}}"#, 400, "WRONG_PREDICATE"),
    ("POST {tgt}/triggers", "Bearer $ann", J, r#"{"serverCode":{"endpoint":"f"},"predicate":{"eventSource":"STATES","triggersWhen":"CONDITION_TRUE"}}"#, 400, "WRONG_PREDICATE"),
    ("POST {tgt}/triggers", "Bearer $ann", "text/plain", r#"{"serverCode":{"endpoint":"f"},"predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"}}"#, 400, "INVALID_INPUT_DATA"),
    ("POST {tgt}/triggers", "Bearer $ann", J, r#"{"triggersWhat":"SERVER_CODE","serverCode":{"endpoint":"f"},"predicate":{"eventSource":"STATES","condition":{"type":"eq","field":"on","value":true},"triggersWhen":"CONDITION_TRUE"}}"#, 201, r#"{"triggerID":"={S}"}"#),
    ("PUT {tgt}/states", "Bearer $lamp", J, r#"{"on":true}"#, 201, ""),
    ("GET {tgt}/triggers/{S}/results/server-code", "Bearer $ann", "-", "", 200, r#"{"triggerServerCodeResults":[{"succeeded":false,"executedAt":1000000,"endpoint":"f","error":"*"}]}"#),
    ("GET /thing-if/apps/{APP}/targets/thing:nosuch/triggers", "Bearer $ann", "-", "", 404, "TARGET_NOT_FOUND"),
];
