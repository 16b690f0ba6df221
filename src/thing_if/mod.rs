//! The JSON bodies of Thing-IF as types, and the one dialect in which they are written.
//!
//! Bodies are read leniently (unknown fields are ignored, known variant spellings accepted) and written in the form
//! that the strictest known reader needs. Reading never panics; an error names the field and never shows its value,
//! which may be a credential. Values with secrets in them have a `Serialize` that redacts; the wire form comes from a
//! method with `exposed` in its name, so that each such place can be found. (`wire` §4–§7)

mod credential;
mod endpoint;
mod error_body;
mod error_code;
mod fields;
pub mod json;
pub mod media_type;

pub use credential::Credential;
pub use endpoint::{MqttEndpoint, TtlField};
pub use error_body::ErrorBody;
pub use error_code::ErrorCode;
pub use fields::InvalidBody;
