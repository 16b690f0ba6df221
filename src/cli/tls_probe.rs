//! Whose fault a failed TLS connection is. Paho says only that it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::mqtt::Endpoint;

/// Time for the probe as a whole.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a handshake was like in which nothing was judged and nothing shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// It succeeded: if one does not that judges the broker's certificate, that is to blame.
    pub(crate) succeeds: bool,
    /// The broker asked for a client certificate.
    pub(crate) asks_for_certificate: bool,
}

/// Tries it. The connection is closed right after the handshake; nothing is sent over it.
pub(crate) async fn handshake_with(endpoint: &Endpoint) -> Handshake {
    let asked = Arc::new(Asked::default());
    let tried = tokio::time::timeout(TIMEOUT, handshake(endpoint, Arc::clone(&asked))).await;
    Handshake { succeeds: matches!(tried, Ok(Some(()))), asks_for_certificate: asked.0.load(Ordering::Relaxed) }
}

async fn handshake(endpoint: &Endpoint, asked: Arc<Asked>) -> Option<()> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unjudged(provider)))
        .with_client_cert_resolver(asked);
    let name = ServerName::try_from(endpoint.host.clone()).ok()?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.ok()?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok().map(drop)
}

/// Has no certificate to show, and remembers that one was asked for.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        // Without, it would not be asked.
        true
    }
}

/// Accepts every certificate, but not every signature: the peer must have its key.
#[derive(Debug)]
struct Unjudged(Arc<tokio_rustls::rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::cli::server_tls::ServerTls;
    use crate::mqtt::Scheme;

    #[tokio::test]
    async fn an_untrusted_certificate_is_told_from_no_tls() {
        let tls = ServerTls::local(None, &[], None).expect("made");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let acceptor = TlsAcceptor::from(tls.configs().apps);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                drop(acceptor.accept(stream).await);
            }
        });
        let endpoint = Endpoint::new(Scheme::Mqtts, "127.0.0.1", port).expect("valid");
        assert_eq!(handshake_with(&endpoint).await, Handshake { succeeds: true, asks_for_certificate: false });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            loop {
                // Closed at once: whoever is there speaks no TLS.
                drop(listener.accept().await.expect("accepted"));
            }
        });
        let endpoint = Endpoint::new(Scheme::Mqtts, "127.0.0.1", port).expect("valid");
        assert!(!handshake_with(&endpoint).await.succeeds);
    }
}
