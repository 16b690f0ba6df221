//! What TLS is told, whichever library speaks it.

use std::path::{Path, PathBuf};

use crate::mqtt::{LinkError, LinkErrorKind};

/// How a broker proves who it is, and we to it. The default: a certificate that the system trusts, for the host name of
/// the endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with our certificate and its chain.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the unencrypted key of our certificate; without it the key is looked for in the certificate's file.
    pub client_key_file: Option<PathBuf>,
    /// Accepts every certificate, for any name, from anybody: whoever can reach the connection can read and change it.
    pub danger_accept_any_certificate: bool,
}

impl Tls {
    /// Where our key is.
    pub(super) fn key_file(&self) -> Option<&Path> {
        self.client_key_file.as_deref().or(self.client_cert_file.as_deref())
    }

    /// Finds what is missing or no PEM before it is needed: some libraries report that as a TLS failure without any detail.
    ///
    /// # Errors
    /// `Config`, which names the file.
    pub(super) fn check_files(&self) -> Result<(), LinkError> {
        if self.client_key_file.is_some() && self.client_cert_file.is_none() {
            return Err(wrong("a client key needs a client certificate"));
        }
        let files = [
            (self.ca_file.as_deref(), "CERTIFICATE"),
            (self.client_cert_file.as_deref(), "CERTIFICATE"),
            (self.key_file(), "PRIVATE KEY"),
        ];
        files.into_iter().filter_map(|(file, label)| Some((file?, label))).try_for_each(check_pem)
    }
}

fn wrong(what: impl Into<String>) -> LinkError {
    LinkError::new(LinkErrorKind::Config, what)
}

fn check_pem((file, label): (&Path, &str)) -> Result<(), LinkError> {
    let text = std::fs::read(file).map_err(|error| wrong(format!("{}: {error}", file.display())))?;
    let text = zeroize::Zeroizing::new(text);
    let begins = |line: &[u8]| {
        line.starts_with(b"-----BEGIN ") && line.windows(label.len()).any(|window| window == label.as_bytes())
    };
    match text.split(|b| *b == b'\n').any(begins) {
        true => Ok(()),
        false => Err(wrong(format!("{}: no PEM block of a {label}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("not.pem");
        std::fs::write(&file, "-----BEGIN NOTHING-----\n").expect("written");
        let absent = directory.path().join("absent.pem");
        for tls in [
            Tls { ca_file: Some(file.clone()), ..Tls::default() },
            Tls { ca_file: Some(absent), ..Tls::default() },
            Tls { client_cert_file: Some(file.clone()), ..Tls::default() },
            Tls { client_key_file: Some(file), ..Tls::default() },
        ] {
            let error = tls.check_files().expect_err("refused");
            assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
        }
        assert_eq!(Tls::default().check_files(), Ok(()));
    }
}
