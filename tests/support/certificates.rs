//! Certificates of the test broker, made afresh for each test, and the files that a client is given.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _, date_time_ymd};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A certificate authority of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    directory: tempfile::TempDir,
    /// PEM file with its certificate.
    pub file: PathBuf,
}

/// A certificate and its key, also as PEM files.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("ring");
        let certificate = params.self_signed(&key).expect("ring");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).expect("written");
        Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), directory, file }
    }

    /// A certificate for `name`, a host name or an address.
    pub fn issue(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        self.issue_as(name, params)
    }

    /// As [`issue`](Self::issue), valid on the days between these Januaries.
    pub fn issue_between(&self, name: &str, from: i32, to: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        self.issue_as(&format!("{name}-{from}-{to}"), params)
    }

    /// As [`issue`](Self::issue), valid for so many days from now.
    pub fn issue_for_days(&self, name: &str, days: u64) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        self.issue_as(&format!("{name}-for-{days}-days"), params)
    }

    fn issue_as(&self, name: &str, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("ring");
        let certificate = params.signed_by(&key, &self.issuer).expect("ring");
        let cert_file = self.directory.path().join(format!("{name}.pem"));
        let key_file = self.directory.path().join(format!("{name}.key"));
        std::fs::write(&cert_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        Identity { certificate: certificate.der().clone(), key, cert_file, key_file }
    }
}

impl Identity {
    /// Its public key, as SPKI pins hash it.
    pub fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// A server with this certificate; with `clients`, it wants a certificate of that authority from each.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).expect("a certificate");
                let provider = Arc::new(ring::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a root"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Arc::new(builder.with_single_cert(vec![self.certificate.clone()], key).expect("a matching key"))
    }
}
