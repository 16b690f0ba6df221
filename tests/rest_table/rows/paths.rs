//! Paths, methods, and who may.

use super::*;

#[rustfmt::skip]
pub(crate) const PATHS: &[Case] = &[
    // Paths and methods.
    ("GET /thing-if/apps/{APP}/nothing", "Bearer $ann", "-", "", 404, "PATH_NOT_FOUND"),
    ("DELETE {tgt}/states", "Bearer $ann", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("PUT {tgt}/commands", "Bearer $ann", J, "{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET /thing-if/apps/{APP}/onboardings", "-", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("GET /thing-if/apps/{APP}/targets/%ff/states", "Bearer $ann", "-", "", 400, "INVALID_INPUT_DATA"),
    // Who may.
    ("GET {tgt}/states", "-", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/states", "Bearer", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/states", "Digest x", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/states", "$key", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/states", "Bearer nonsense", "-", "", 403, "WRONG_TOKEN"),
    ("GET {tgt}/states", "Bearer $stranger", "-", "", 403, "WRONG_TOKEN"),
    ("GET {tgt}/states", "Bearer $foreign", "-", "", 403, "WRONG_TOKEN"),
    ("GET {tgt}/states", "Bearer $bob", "-", "", 401, "UNAUTHORIZED"),
    ("GET {tgt}/states", "Bearer $free", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/targets/thing:{FREE}/states", "Bearer $ann", "-", "", 401, "UNAUTHORIZED"),
    ("GET /thing-if/apps/{APP}/targets/thing:{FOREIGN}/states", "Bearer $ann", "-", "", 404, "TARGET_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/targets/thing:nosuch/states", "Bearer $ann", "-", "", 404, "TARGET_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/targets/user:{ann}/states", "Bearer $ann", "-", "", 404, "TARGET_NOT_FOUND"),
    ("GET /thing-if/apps/{APP}/targets/{TH}/states", "Bearer $ann", "-", "", 404, "TARGET_NOT_FOUND"),
];

/// Of a cloud that was closed.
#[rustfmt::skip]
pub(crate) const CLOSED: &[Case] = &[
    ("GET {tgt}/states", "Bearer $lamp", "-", "", 503, "RESOURCE_TEMPORARILY_UNAVAILABLE"),
    ("PUT {tgt}/states", "Bearer $lamp", J, "{}", 503, "RESOURCE_TEMPORARILY_UNAVAILABLE"),
    ("GET /api/apps/{APP}/users/me", "Bearer $ann", "-", "", 503, "RESOURCE_TEMPORARILY_UNAVAILABLE"),
];

/// Of a cloud whose table of commands is gone.
#[rustfmt::skip]
pub(crate) const BROKEN: &[Case] = &[
    ("GET {tgt}/commands", "Bearer $lamp", "-", "", 500, "UNDEFINED_ERROR"),
    ("GET {tgt}/states", "Bearer $lamp", "-", "", 404, "STATE_NOT_FOUND"),
];
