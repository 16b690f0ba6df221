//! TLS by rustls: what is trusted, what is shown, which keys are pinned.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio_rustls::{TlsConnector, rustls};

use super::failure;
use crate::mqtt::{Endpoint, LinkError, LinkErrorKind, SpkiPin};
use crate::transport::Tls;

/// The system's authorities are asked for again after this time: a device runs for years, and they are updated.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes TLS connections; keeps what it has read as long as it stays the same, so that sessions are resumed.
pub(super) struct Connector {
    tls: Tls,
    last: Mutex<Option<Prepared>>,
}

/// Without what was read: a key is among it.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.tls).finish()
    }
}

struct Prepared {
    /// The files' bytes and the pins that it was made of.
    made_of: MadeOf,
    at: Instant,
    config: Arc<ClientConfig>,
}

#[derive(PartialEq, Eq)]
struct MadeOf {
    files: [Option<zeroize::Zeroizing<Vec<u8>>>; 3],
    pins: Vec<SpkiPin>,
}

impl Connector {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, last: Mutex::new(None) }
    }

    /// TLS over `stream`, with the endpoint's name. Has no deadline of its own.
    ///
    /// The files are read anew each time, off the runtime's threads: a certificate that was renewed is the next one shown.
    ///
    /// # Errors
    /// `Tls`, or `Config` for files.
    pub(super) async fn connect(
        self: &Arc<Self>,
        stream: TcpStream,
        endpoint: &Endpoint,
        pins: &[SpkiPin],
    ) -> Result<TlsStream<TcpStream>, LinkError> {
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| LinkError::new(LinkErrorKind::Config, "the host can be no name in a certificate"))?;
        let (connector, pins) = (Arc::clone(self), pins.to_vec());
        let prepared = tokio::task::spawn_blocking(move || connector.prepare(pins)).await;
        let config = prepared.map_err(|error| LinkError::new(LinkErrorKind::Config, error.to_string()))??;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(&error))
    }

    fn prepare(&self, pins: Vec<SpkiPin>) -> Result<Arc<ClientConfig>, LinkError> {
        let key_file = self.tls.client_cert_file.as_deref().and(self.tls.key_file());
        let files = [read(self.tls.ca_file.as_deref())?, read(self.tls.client_cert_file.as_deref())?, read(key_file)?];
        let made_of = MadeOf { files, pins };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(prepared) if prepared.made_of == made_of && prepared.at.elapsed() < FRESH => {
                Ok(Arc::clone(&prepared.config))
            }
            _ => {
                let config = Arc::new(self.config(&made_of)?);
                *last = Some(Prepared { made_of, at: Instant::now(), config: Arc::clone(&config) });
                Ok(config)
            }
        }
    }

    fn config(&self, MadeOf { files: [ca, cert, key], pins }: &MadeOf) -> Result<ClientConfig, LinkError> {
        let provider = Arc::new(ring::default_provider());
        let trust: Arc<dyn ServerCertVerifier> = if self.tls.danger_accept_any_certificate {
            Arc::new(Anybody(Arc::clone(&provider)))
        } else {
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots(ca.as_deref())?), Arc::clone(&provider))
                .build()
                .map_err(|error| config_error(format_args!("no authority to trust: {error}")))?
        };
        let trust: Arc<dyn ServerCertVerifier> = match &pins[..] {
            [] => trust,
            pins => Arc::new(Pinned { trust, pins: pins.to_vec() }),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(config_error)?
            .dangerous()
            .with_custom_certificate_verifier(trust);
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert, self.tls.client_cert_file.as_deref())?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| in_file(self.tls.key_file(), error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| in_file(self.tls.key_file(), error))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self, ca: Option<&Vec<u8>>) -> Result<RootCertStore, LinkError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in certificates(pem, self.tls.ca_file.as_deref())? {
                    roots.add(certificate).map_err(|error| in_file(self.tls.ca_file.as_deref(), error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(found.certs);
                if added == 0 {
                    let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
                    return Err(config_error(format_args!("the system has no certificate authorities{why}")));
                }
            }
        }
        Ok(roots)
    }
}

fn read(file: Option<&Path>) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, LinkError> {
    let Some(file) = file else { return Ok(None) };
    let bytes = std::fs::read(file).map_err(|error| in_file(Some(file), error))?;
    Ok(Some(bytes.into()))
}

fn certificates(pem: &[u8], file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(in_file(file, "no PEM block of a CERTIFICATE")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(in_file(file, error)),
    }
}

fn in_file(file: Option<&Path>, error: impl fmt::Display) -> LinkError {
    config_error(format_args!("{}: {error}", file.unwrap_or(Path::new("")).display()))
}

fn config_error(what: impl fmt::Display) -> LinkError {
    LinkError::new(LinkErrorKind::Config, what.to_string())
}

/// Why a handshake failed. Only what rustls says is TLS; a peer that just closes may be no TLS server at all.
fn failed(error: &io::Error) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => failure::tls(error),
        None => LinkError::new(LinkErrorKind::Tls, format!("the peer broke off: {error}")),
    }
}

/// Checks that the peer has one of the keys, besides what `trust` checks. It does so before the handshake is finished, so that
/// nothing was sent to one that has not.
struct Pinned {
    trust: Arc<dyn ServerCertVerifier>,
    pins: Vec<SpkiPin>,
}

/// No pin is the peer's key.
#[derive(Debug, thiserror::Error)]
#[error("the broker's key is {0}, which is none of the pins")]
struct OtherKey(SpkiPin);

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pinned").field(&self.pins).finish()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.trust.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let pin = SpkiPin::new(Sha256::digest(key.as_ref()).into());
        if self.pins.contains(&pin) {
            return Ok(verified);
        }
        Err(CertificateError::Other(OtherError(Arc::new(OtherKey(pin)))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.supported_verify_schemes()
    }
}

/// Takes every certificate; the peer still has to have its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
