//! Which certificates are accepted, and what is remembered of the one that was shown.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::mqtt::SpkiPin;
use crate::transport::Tls;

/// A certificate that ends within this time is worth a warning: two weeks are about the time in which somebody who is asked
/// renews one.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Whom we trust and what we show, read from files once.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    provider: Arc<CryptoProvider>,
    /// `None`: there is no authority that could be trusted.
    judge: Option<Arc<WebPkiServerVerifier>>,
    accepts_any: bool,
    pins: Vec<SpkiPin>,
    ours: Option<Arc<CertifiedKey>>,
}

impl Trust {
    /// # Errors
    /// What is wrong with one of the files.
    pub(super) fn read(tls: &Tls, pins: &[SpkiPin]) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        match &tls.ca_file {
            Some(file) => {
                for authority in read_certificates(file)? {
                    roots.add(authority).map_err(|error| format!("{}: {error}", file.display()))?;
                }
            }
            // Those that cannot be read are told by what then is not trusted.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
        let ours = match &tls.client_cert_file {
            None => None,
            Some(file) => {
                let key_file = tls.client_key_file.as_ref().unwrap_or(file);
                let key = PrivateKeyDer::from_pem_file(key_file);
                let key = key.map_err(|error| format!("{}: {error}", key_file.display()))?;
                let pair = CertifiedKey::from_der(read_certificates(file)?, key, &provider);
                Some(Arc::new(pair.map_err(|error| format!("{}: {error}", file.display()))?))
            }
        };
        Ok(Self { provider, judge, accepts_any: tls.danger_accept_any_certificate, pins: pins.to_vec(), ours })
    }

    /// Whatever certificate there is will do, and there is none to show.
    pub(crate) fn in_anybody() -> Self {
        let provider = Arc::new(ring::default_provider());
        Self { provider, judge: None, accepts_any: true, pins: Vec::new(), ours: None }
    }

    pub(super) fn has_authorities(&self) -> bool {
        self.judge.is_some()
    }

    pub(super) fn has_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Settings for one handshake, and what will be remembered of it.
    pub(crate) fn config(&self) -> Result<(ClientConfig, Arc<Seen>), Error> {
        let seen = Arc::new(Seen::default());
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Judging { trust: self.clone(), seen: Arc::clone(&seen) }))
            .with_client_cert_resolver(Arc::new(Showing { ours: self.ours.clone(), seen: Arc::clone(&seen) }));
        Ok((config, seen))
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| format!("{}: {error}", file.display()))?;
    if read.is_empty() {
        return Err(format!("{}: no PEM block of a CERTIFICATE", file.display()));
    }
    Ok(read)
}

/// What a handshake has shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The broker asked for a client certificate.
    asked: AtomicBool,
    certificate: Mutex<Certificate>,
}

/// The broker's certificate.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificate {
    /// Hash of its key.
    pub(super) key: Option<SpkiPin>,
    /// When it, or one above it, ends, if that is soon.
    pub(super) ends: Option<UnixTime>,
    /// None of the pins is its key's.
    pub(super) is_other_key: bool,
    /// Why it would not be accepted, where any is.
    pub(super) overlooked: Option<Error>,
}

impl Seen {
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn certificate(&self) -> Certificate {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
struct Showing {
    ours: Option<Arc<CertifiedKey>>,
    seen: Arc<Seen>,
}

impl ResolvesClientCert for Showing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.seen.asked.store(true, Ordering::Relaxed);
        self.ours.clone()
    }

    fn has_certs(&self) -> bool {
        // Without, it would not be asked.
        true
    }
}

#[derive(Debug)]
struct Judging {
    trust: Trust,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Judging {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity).ok().map(|parsed| {
            let key = Sha256::digest(parsed.subject_public_key_info().as_ref());
            SpkiPin::new(key.into())
        });
        let pins = &self.trust.pins;
        let mut found = Certificate {
            key,
            ends: None,
            overlooked: None,
            is_other_key: !pins.is_empty() && !key.is_some_and(|key| pins.contains(&key)),
        };
        let verify = |at| match &self.trust.judge {
            Some(judge) => judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let verdict = match verify(now) {
            Err(error) if self.trust.accepts_any => {
                found.overlooked = Some(error);
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        };
        if found.overlooked.is_none()
            && verdict.is_ok()
            && let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
                verify(UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON))
        {
            found.ends = Some(not_after);
        }
        let verdict = match verdict {
            Ok(_) if found.is_other_key => Err(CertificateError::ApplicationVerificationFailure.into()),
            verdict => verdict,
        };
        *self.seen.certificate.lock().unwrap_or_else(PoisonError::into_inner) = found;
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}
