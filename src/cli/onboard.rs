//! `thingif onboard`.

/// The environment variable that holds the thing's password when no file does.
pub(crate) const PASSWORD_VARIABLE: &str = "THINGIF_PASSWORD";
