//! What went wrong below MQTT.

use std::io;

use crate::mqtt::{LinkError, LinkErrorKind};

/// An error of a connection that stood. A broker that wants another client certificate says so only after the handshake
/// (RFC 8446 §4.4.2.4), so that this may be TLS as well.
pub(super) fn io(error: io::Error) -> LinkError {
    #[cfg(feature = "native-tls")]
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return tls(error);
    }
    LinkError::new(LinkErrorKind::Closed, error.to_string())
}

/// What rustls says, and which side it is about where a broker does not like our certificate.
#[cfg(feature = "native-tls")]
pub(super) fn tls(error: &tokio_rustls::rustls::Error) -> LinkError {
    use tokio_rustls::rustls::{AlertDescription as Alert, Error};
    let about = match error {
        Error::AlertReceived(Alert::CertificateRequired) => "the broker demands a client certificate: ",
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => "the broker does not accept the client certificate, or wants one: ",
        _ => "",
    };
    LinkError::new(LinkErrorKind::Tls, format!("{about}{error}"))
}
