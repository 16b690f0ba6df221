//! The TLS side of `serve`: one certificate for all its listeners, replaced while they run.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use crate::cli::exit::Failure;
use crate::cli::local_ca::{self, LocalCa};
use crate::cli::server::TlsConfigs;

/// Where certificates come from.
enum Source {
    /// Files, PEM, read again on [`ServerTls::reload`].
    Files { certificates: PathBuf, key: PathBuf },
    /// The authority of this machine's own; a new certificate on each reload.
    Local { ca: Box<LocalCa>, names: Vec<String>, _temporary: Option<TempDir> },
}

/// The certificate in use, and the source of the next one.
pub(crate) struct ServerTls {
    source: Source,
    current: Arc<Current>,
    configs: TlsConfigs,
}

impl ServerTls {
    /// Serves the chain in `certificates` with `key`, both PEM.
    pub(crate) fn from_files(certificates: &Path, key: &Path) -> Result<Self, Failure> {
        Self::new(Source::Files { certificates: certificates.to_owned(), key: key.to_owned() })
    }

    /// Serves certificates of a local authority kept under `directory`, or in a directory that goes with this value.
    pub(crate) fn local(directory: Option<&Path>, addresses: &[IpAddr], host: Option<&str>) -> Result<Self, Failure> {
        let (ca, _temporary) = match directory {
            Some(directory) => (LocalCa::open(&directory.join("tls"))?, None),
            None => {
                let temporary = tempfile::Builder::new().prefix("thingif-").tempdir().map_err(|error| {
                    Failure::other(format_args!("cannot make a directory for the local certificate authority: {error}"))
                })?;
                (LocalCa::open(temporary.path())?, Some(temporary))
            }
        };
        Self::new(Source::Local { ca: Box::new(ca), names: local_ca::names(addresses, host), _temporary })
    }

    fn new(source: Source) -> Result<Self, Failure> {
        let current = Arc::new(Current(RwLock::new(Arc::new(load(&source)?))));
        let config =
            builder()?.with_no_client_auth().with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        let config = Arc::new(config);
        Ok(Self { source, current, configs: TlsConfigs { apps: Arc::clone(&config), things: config } })
    }

    /// The same, but no thing gets in without a certificate that an authority in `file` has signed.
    pub(crate) fn demanding_certificates_of(mut self, file: &Path) -> Result<Self, Failure> {
        let unusable = |error: &dyn fmt::Display| {
            Failure::usage(format_args!("cannot use --tls-client-ca {}: {error}", file.display()))
        };
        let mut roots = RootCertStore::empty();
        for authority in read_chain("--tls-client-ca", file)? {
            roots.add(authority).map_err(|error| unusable(&error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| unusable(&error))?;
        let resolver = Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>;
        self.configs.things = Arc::new(builder()?.with_client_cert_verifier(verifier).with_cert_resolver(resolver));
        Ok(self)
    }

    /// For the listeners. What [`reload`](Self::reload) brings is used by every handshake after it.
    pub(crate) fn configs(&self) -> TlsConfigs {
        self.configs.clone()
    }

    /// The file that clients are to trust, when the certificate comes from the local authority.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        match &self.source {
            Source::Local { ca, .. } => Some(ca.file()),
            Source::Files { .. } => None,
        }
    }

    /// As [`reload`](Self::reload), and says on standard error what came of it.
    pub(crate) fn reload_and_tell(&self) {
        match self.reload() {
            Ok(()) => eprintln!("thingif: the certificate was reloaded"),
            Err(failure) => eprintln!("{}", failure.advise("The certificate in use stays.")),
        }
    }

    /// Takes the certificate from its source again. On failure the one in use stays.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let next = Arc::new(load(&self.source)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, Failure> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::other(format_args!("TLS cannot be set up: {error}")))
}

fn load(source: &Source) -> Result<CertifiedKey, Failure> {
    let (chain, key) = match source {
        Source::Local { ca, names, .. } => ca.issue(names)?,
        Source::Files { certificates, key } => (read_chain("--tls-cert", certificates)?, read_key(key)?),
    };
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match (source, error) {
        (Source::Files { certificates, key }, rustls::Error::InconsistentKeys(_)) => {
            Failure::usage(format_args!("{} is not the key of {}", key.display(), certificates.display()))
                .advise("--tls-cert takes the server's certificate first, then its chain.")
        }
        (Source::Files { certificates, .. }, error) => {
            Failure::usage(format_args!("{} cannot be served: {error}", certificates.display()))
        }
        (Source::Local { .. }, error) => {
            Failure::other(format_args!("the local certificate cannot be served: {error}"))
        }
    })
}

fn read_chain(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed =
        |error: &dyn fmt::Display| Failure::usage(format_args!("cannot read {flag} {}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&error))?;
    if chain.is_empty() { Err(failed(&"there is no certificate in it")) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| Failure::usage(format_args!("cannot read --tls-key {}: {error}", path.display())))
}

/// Hands out the certificate in use; the server has one, whatever name was asked for.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a certificate of a local authority for `localhost` and its key; gives their paths.
    fn write_files(dir: &Path) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().expect("generated");
        let parameters = rcgen::CertificateParams::new([String::from("localhost")]).expect("valid");
        let made = parameters.self_signed(&key).expect("signed");
        let paths = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&paths.0, made.pem()).expect("written");
        std::fs::write(&paths.1, key.serialize_pem()).expect("written");
        paths
    }

    fn served(tls: &ServerTls) -> CertificateDer<'static> {
        tls.current.0.read().expect("not poisoned").cert[0].clone()
    }

    #[test]
    fn reloading_takes_the_new_files_and_keeps_the_old_on_failure() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (certificate, key) = write_files(dir.path());
        let tls = ServerTls::from_files(&certificate, &key).expect("read");
        let first = served(&tls);
        write_files(dir.path());
        tls.reload().expect("read again");
        let second = served(&tls);
        assert_ne!(first, second);
        std::fs::write(&key, "garbage").expect("written");
        tls.reload().expect_err("no key");
        assert_eq!(served(&tls), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let (certificate, _) = write_files(one.path());
        let (_, key) = write_files(other.path());
        let error = ServerTls::from_files(&certificate, &key).err().expect("refused").to_string();
        assert!(error.contains("is not the key of"), "{error}");
    }

    #[test]
    fn a_local_certificate_chains_to_its_authority() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tls = ServerTls::local(Some(dir.path()), &[], None).expect("made");
        let ca = CertificateDer::from_pem_file(tls.ca_file().expect("local")).expect("read");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).expect("an authority");
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(ring::default_provider()),
        )
        .build()
        .expect("built");
        let now = rustls::pki_types::UnixTime::now();
        let verify = |name: &'static str| {
            use rustls::client::danger::ServerCertVerifier;
            let name = rustls::pki_types::ServerName::try_from(name).expect("valid");
            verifier.verify_server_cert(&served(&tls), &[], &name, &[], now)
        };
        verify("localhost").expect("trusted");
        verify("127.0.0.1").expect("trusted");
        verify("example.org").expect_err("another name");
    }
}
