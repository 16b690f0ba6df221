//! A certificate authority of this machine's own, so that TLS works before anybody has bought a certificate.
//!
//! The authority lives in a directory: `ca.pem`, for those who are to trust it, and `ca.key`, mode 0600. Server
//! certificates are made from it at every start, for the names in use then, and are never stored.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::cli::exit::Failure;
use crate::client::vault::private_file;

/// What an authority's directory holds.
pub(crate) const FILES: [&str; 2] = ["ca.pem", "ca.key"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is valid.
const CA_DAYS: u32 = 3650;
/// How long a server certificate is valid: the longest that every common TLS stack accepts.
const SERVER_DAYS: u32 = 397;

/// The authority.
pub(crate) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    file: PathBuf,
}

impl LocalCa {
    /// Reads the authority in `directory`, or makes one.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let file = directory.join(FILES[0]);
        let key_file = directory.join(FILES[1]);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::other(format_args!(
                "the local certificate authority in {} cannot be used: {error}",
                directory.display()
            ))
            .advise(format_args!(
                "Remove {} to have a new one made, or give --tls-cert and --tls-key.",
                directory.display()
            ))
        };
        let key = match fs::read_to_string(&key_file) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| failed(&error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(|error| failed(&error))?;
                // The certificate first: a key without one would look like an authority that lost it.
                let made = parameters(&key).self_signed(&key).map_err(|error| failed(&error))?;
                private_file::write(&file, made.pem().as_bytes()).map_err(|error| failed(&error))?;
                private_file::write(&key_file, key.serialize_pem().as_bytes()).map_err(|error| failed(&error))?;
                key
            }
            Err(error) => return Err(failed(&error)),
        };
        let certificate = CertificateDer::from_pem_file(&file).map_err(|error| failed(&error))?;
        Ok(Self { issuer: Issuer::new(parameters(&key), key), certificate, file })
    }

    /// The file to trust.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// A new certificate, chain first to last, and its key, for `names` (host names and addresses).
    pub(crate) fn issue(
        &self,
        names: &[String],
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
        let failed =
            |error: rcgen::Error| Failure::other(format_args!("cannot make a certificate for {names:?}: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::new(names).map_err(failed)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "thingif");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        valid_for(&mut parameters, SERVER_DAYS);
        let made = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![made.der().clone(), self.certificate.clone()], key.into()))
    }
}

/// What `key`'s authority is; the same each time, so that issuing needs the key alone.
fn parameters(key: &KeyPair) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    // Two authorities must not share a name, or a client that has met both picks the wrong one.
    let mark: String = parameters.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("thingif local CA {mark}"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut parameters, CA_DAYS);
    parameters
}

/// From yesterday, for clocks that are behind.
fn valid_for(parameters: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + DAY * days).into();
}

/// The names under which a server with these `addresses` may be called: they, `localhost`, this machine's name, `extra`.
pub(crate) fn names(addresses: &[IpAddr], extra: Option<&str>) -> Vec<String> {
    let mut names = vec![String::from("localhost"), String::from("127.0.0.1"), String::from("::1")];
    names.extend(addresses.iter().filter(|address| !address.is_unspecified()).map(IpAddr::to_string));
    // Asked of the system itself: a sandboxed service need not have a /proc/sys.
    names.extend(rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
    names.extend(extra.map(str::to_owned));
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = LocalCa::open(dir.path()).expect("made");
        let second = LocalCa::open(dir.path()).expect("read");
        assert_eq!(first.certificate, second.certificate);
        assert_eq!(fs::metadata(dir.path().join("ca.key")).expect("there").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_reported_and_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("ca.key"), "not a key").expect("written");
        let error = LocalCa::open(dir.path()).err().expect("refused").to_string();
        assert!(error.contains("--tls-cert"), "{error}");
        assert_eq!(fs::read(dir.path().join("ca.key")).expect("read"), b"not a key");
    }

    #[test]
    fn this_machine_is_named() {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux");
        assert!(names(&[], None).contains(&name.trim().to_owned()), "{name}");
    }

    #[test]
    fn names_are_unique_and_never_unspecified() {
        let names = names(&["0.0.0.0".parse().expect("valid"), "127.0.0.1".parse().expect("valid")], Some("localhost"));
        assert_eq!(names.iter().filter(|name| *name == "localhost").count(), 1);
        assert_eq!(names.iter().filter(|name| *name == "127.0.0.1").count(), 1);
        assert!(!names.contains(&String::from("0.0.0.0")));
    }
}
