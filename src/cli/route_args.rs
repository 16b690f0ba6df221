//! How a broker is reached, on the command line: certificates, pins, a proxy.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::cli::exit::Failure;
use crate::cli::secret_input::{self, Unquoted};
use crate::config::Config;
use crate::mqtt::SpkiPin;
use crate::secret::Secret;
use crate::transport::Proxy;

/// The environment variable that holds the password for the proxy when no file does.
pub(crate) const PROXY_PASSWORD_VARIABLE: &str = "THINGIF_PROXY_PASSWORD";

/// Flags of the verbs that connect to a broker.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RouteArgs {
    /// Trust the certificate authorities in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the broker this client certificate (PEM), with --key.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The broker's key must be one of these, as curl's --pinnedpubkey. Needs --transport native: Paho cannot check that and
    /// refuses to connect.
    #[arg(long, value_name = "sha256//BASE64", value_delimiter = ';')]
    pin: Vec<SpkiPin>,
    /// Reach the brokers through this HTTP proxy, on every scheme: http://[USER@]HOST[:PORT], or off for one that is stored. The
    /// environment's proxies are never used.
    #[arg(long, value_name = "URL|off", value_parser = Unquoted::<ProxyArg>::default())]
    proxy: Option<ProxyArg>,
    /// The password of --proxy's USER, from a file or from standard input (-). Default: from THINGIF_PROXY_PASSWORD.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    proxy_password_file: Option<PathBuf>,
    /// What carries MQTT: Paho's C library, or native, which is tokio and rustls and checks --pin. Default: the stored one, else paho.
    #[arg(long, value_name = "NAME")]
    transport: Option<Carrier>,
    /// Write a capture of what passes, masked, for `thingif decode` and `thingif replay`; an older file is replaced. It ends at
    /// 100 MB.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Trust whoever answers: anybody on the way can read and change everything. Never stored.
    #[arg(long)]
    pub(crate) danger_accept_any_certificate: bool,
}

/// The value of `--transport`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Carrier {
    /// [`Paho`](crate::transport::paho::Paho).
    #[default]
    Paho,
    /// [`Native`](crate::transport::native::Native).
    Native,
}

impl Carrier {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The value of `--proxy`.
#[derive(Debug, Clone)]
enum ProxyArg {
    Off,
    At(Box<Proxy>),
}

impl FromStr for ProxyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(|proxy| Self::At(Box::new(proxy)))
            .map_err(|error: crate::transport::InvalidProxy| error.to_string())
    }
}

/// What a connection needs besides the broker's address; kept with the credential, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Route {
    /// Authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// The proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<ProxyRoute>,
    /// What carries MQTT.
    #[serde(default, skip_serializing_if = "Carrier::is_default")]
    pub(crate) transport: Carrier,
}

/// A proxy without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProxyRoute {
    host: String,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
}

/// A key that is not the certificate's is found out here: the broker would only end the connection. What cannot be read here,
/// Paho may be able to.
fn check_pair(cert: &Path, key: &Path) -> Result<(), Failure> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let (Ok(chain), Ok(der)) = (chain, PrivateKeyDer::from_pem_file(key)) else { return Ok(()) };
    match CertifiedKey::from_der(chain, der, &ring::default_provider()) {
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Failure::usage(format_args!("{} is not the key of {}", key.display(), cert.display()))
                .advise("--cert takes the client's certificate first, then its chain."))
        }
        _ => Ok(()),
    }
}

impl RouteArgs {
    /// What the flags name, else what is in `stored`; files absolute, and there.
    pub(crate) fn files(&self, stored: &Route) -> Result<Route, Failure> {
        let pick = |flag: &str, given: &Option<PathBuf>, stored: &Option<PathBuf>| {
            let Some(path) = given.as_ref().or(stored.as_ref()) else { return Ok(None) };
            match path.canonicalize() {
                Ok(path) => Ok(Some(path)),
                Err(error) => Err(Failure::usage(format_args!("cannot read {flag} {}: {error}", path.display()))),
            }
        };
        let (cert, key) = (pick("--cert", &self.cert, &stored.cert)?, pick("--key", &self.key, &stored.key)?);
        if let (Some(cert), Some(key)) = (&cert, &key) {
            check_pair(cert, key)?;
        }
        Ok(Route {
            ca: pick("--ca", &self.ca, &stored.ca)?,
            cert,
            key,
            transport: self.transport.unwrap_or(stored.transport),
            proxy: match &self.proxy {
                None => stored.proxy.clone(),
                Some(ProxyArg::Off) => None,
                Some(ProxyArg::At(proxy)) => Some(ProxyRoute {
                    host: proxy.host.clone(),
                    port: proxy.port,
                    user: proxy.login.as_ref().map(|login| login.user.clone()),
                    // Standard input cannot be found again.
                    password_file: pick(
                        "--proxy-password-file",
                        &self.proxy_password_file.clone().filter(|file| file.as_os_str() != "-"),
                        &None,
                    )?,
                }),
            },
        })
    }

    /// The proxy with its password: of the URL, else of the file, else of the environment.
    pub(crate) fn login(&self, route: &ProxyRoute) -> Result<Proxy, Failure> {
        let proxy = Proxy::new(route.host.as_str(), route.port).map_err(Failure::usage)?;
        let Some(user) = &route.user else { return Ok(proxy) };
        let given = match &self.proxy {
            Some(ProxyArg::At(given)) => given.login.as_ref().map(|login| login.password.clone()),
            _ => None,
        };
        let given = given.filter(|password| !password.expose().is_empty());
        let file = self.proxy_password_file.as_ref().or(route.password_file.as_ref());
        let password: Secret<String> = match (given, file) {
            (Some(password), _) => password,
            (None, Some(file)) => secret_input::read("proxy's password", file)?,
            (None, None) => secret_input::from_environment(PROXY_PASSWORD_VARIABLE).ok_or_else(|| {
                Failure::usage(format_args!("the password of {user} at the proxy is missing"))
                    .advise(format_args!("Name a file with --proxy-password-file, or set {PROXY_PASSWORD_VARIABLE}."))
            })?,
        };
        proxy.with_login(user.as_str(), password).map_err(Failure::usage)
    }

    /// `config` with the pins.
    pub(crate) fn pin(&self, config: Config) -> Result<Config, Failure> {
        config.with_spki_pins(self.pin.iter().copied()).map_err(Failure::usage)
    }
}
