//! What went wrong below MQTT.

use std::io;

use crate::mqtt::{LinkError, LinkErrorKind};

/// An error of a connection that stood.
pub(super) fn io(error: io::Error) -> LinkError {
    #[cfg(feature = "native-tls")]
    if is_tls(&error) {
        return LinkError::new(LinkErrorKind::Tls, error.to_string());
    }
    LinkError::new(LinkErrorKind::Closed, error.to_string())
}

/// Whether TLS itself failed, and not the connection below. A broker that wants another client certificate says so only after
/// the handshake (RFC 8446 §4.4.2.4).
#[cfg(feature = "native-tls")]
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>())
}
