//! The client side of TLS on the command line.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;

/// Flags of the verbs that connect to a broker.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsArgs {
    /// Trust the certificate authorities in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the broker this client certificate (PEM), with --key.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Trust whoever answers: anybody on the way can read and change everything. Never stored.
    #[arg(long)]
    pub(crate) danger_accept_any_certificate: bool,
}

/// Files that a connection needs; kept with the credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
}

impl TlsArgs {
    /// The files that the flags name, else those of `stored`; absolute, and there.
    pub(crate) fn files(&self, stored: &TlsFiles) -> Result<TlsFiles, Failure> {
        let pick = |flag: &str, given: &Option<PathBuf>, stored: &Option<PathBuf>| {
            let Some(path) = given.as_ref().or(stored.as_ref()) else { return Ok(None) };
            match path.canonicalize() {
                Ok(path) => Ok(Some(path)),
                Err(error) => Err(Failure::usage(format_args!("cannot read {flag} {}: {error}", path.display()))),
            }
        };
        Ok(TlsFiles {
            ca: pick("--ca", &self.ca, &stored.ca)?,
            cert: pick("--cert", &self.cert, &stored.cert)?,
            key: pick("--key", &self.key, &stored.key)?,
        })
    }
}
