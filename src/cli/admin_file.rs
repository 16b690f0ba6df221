//! `admin.json` in the data directory: where the admin listener of the service that uses the directory is, and the token that it
//! takes from this program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::client::causes::with_causes;
use crate::client::vault::private_file;
use crate::secret::Secret;

const NAME: &str = "admin.json";
const MAX_LEN: u64 = 4096;

/// The file, for as long as the service runs: dropping it removes it.
pub(crate) struct AdminFile {
    path: PathBuf,
    pub(crate) token: Secret<String>,
}

/// The file's layout.
#[derive(Serialize, Deserialize)]
struct Layout {
    address: SocketAddr,
    token: String,
}

impl AdminFile {
    /// Makes a token, and writes it to `directory`, for its user only.
    pub(crate) fn write(directory: &Path, address: SocketAddr) -> Result<Self, Failure> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut random[..]).map_err(|error| Failure::other(format_args!("no random numbers: {error}")))?;
        let token = Secret::new(URL_SAFE_NO_PAD.encode(&random[..]));
        let path = directory.join(NAME);
        let layout = Layout { address, token: token.expose().clone() };
        let text = Zeroizing::new(serde_json::to_string(&layout).map_err(Failure::other)?);
        private_file::write(&path, text.as_bytes())
            .map_err(|error| Failure::other(format_args!("cannot write {}: {error}", path.display())))?;
        Ok(Self { path, token })
    }

    /// Removes what a process that was killed has left in `directory`: it says where nobody listens, or by now somebody else.
    pub(crate) fn remove_left(directory: &Path) -> Result<(), Failure> {
        let path = directory.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::other(format_args!("cannot remove {}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Where the service that uses `directory` is to be asked, and with which token.
    pub(crate) fn read(directory: &Path) -> Result<(SocketAddr, Secret<String>), Failure> {
        let path = directory.join(NAME);
        let text = private_file::read(&path, MAX_LEN).map_err(|error| {
            Failure::other(with_causes(&error)).advise("Run this as the user that the service runs as.")
        })?;
        let Some(text) = text else {
            return Err(Failure::other(format_args!(
                "the service that uses {} has no admin listener",
                directory.display()
            ))
            .advise("Start it with `thingif serve --admin ADDR`, or stop it first."));
        };
        let layout: Layout = serde_json::from_slice(&text)
            .map_err(|_| Failure::other(format_args!("{} is not what the service writes", path.display())))?;
        Ok((layout.address, Secret::new(layout.token)))
    }
}

impl Drop for AdminFile {
    fn drop(&mut self) {
        // One that stays says where nobody listens, and the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}
