//! From a stored credential to a connection.

use std::path::Path;
use std::time::Duration;

use crate::cli::credential_file::Onboarded;
use crate::cli::exit::{Exit, Failure};
use crate::cli::tls_args::{TlsArgs, TlsFiles};
use crate::cli::{secret_input, tls_probe};
use crate::client::Client;
use crate::config::{Config, Identity};
use crate::mqtt::{Endpoint, LinkErrorKind};
use crate::proto::{ConnectError, OnboardingError};
use crate::secret::Secret;
use crate::transport::paho::{self, Paho};

/// The transport, with the files and the danger that the command line and the credential name.
pub(crate) fn transport(files: &TlsFiles, args: &TlsArgs) -> Result<Paho, Failure> {
    let mut options = paho::Options::default();
    options.tls.ca_file.clone_from(&files.ca);
    options.tls.client_cert_file.clone_from(&files.cert);
    options.tls.client_key_file.clone_from(&files.key);
    options.tls.danger_accept_any_certificate = args.danger_accept_any_certificate;
    if args.danger_accept_any_certificate {
        eprintln!("thingif: DANGER: certificates are not checked; anybody on the way can read and change everything");
    }
    Paho::new(options).map_err(|error| Failure::from(&error))
}

/// The configuration that resumes `onboarded`.
///
/// The secrets for another onboarding are read from where the first one had them, if they are still there. Without them a
/// credential that is no longer accepted ends in a refused login, which says to onboard again.
pub(crate) fn resume(onboarded: &Onboarded, connect_timeout: Option<Duration>) -> Result<Config, Failure> {
    let secret = |what, path: &Option<std::path::PathBuf>| {
        path.as_deref()
            .and_then(|path: &Path| secret_input::read(what, path).ok())
            .unwrap_or_else(|| Secret::new(String::new()))
    };
    let app_key = secret("app key", &onboarded.app_key_file);
    let password = secret("password", &onboarded.password_file);
    let identity = Identity::vendor_thing(onboarded.vendor_thing_id.clone(), password);
    let app_id = onboarded.credential.app_id.clone();
    let config = Config::new(onboarded.broker.clone(), app_id, app_key, identity).map_err(Failure::usage)?;
    let config = match connect_timeout {
        Some(timeout) => {
            let timeout = timeout.clamp(Duration::from_millis(1), config.connect_timeout());
            config.with_connect_timeout(timeout).map_err(Failure::usage)?
        }
        None => config,
    };
    Ok(config
        .with_assigned_scheme(onboarded.scheme)
        .with_response_filter(onboarded.response_filter)
        .with_resume(onboarded.credential.clone()))
}

/// Stores the credential in use, if it is not the stored one: the thing was onboarded again on the way.
pub(crate) fn keep(onboarded: &mut Onboarded, client: &Client, file: &Path) -> Result<(), Failure> {
    let credential = client.credential();
    if credential.to_json_exposed() == onboarded.credential.to_json_exposed() {
        return Ok(());
    }
    onboarded.credential = credential;
    onboarded.store(file)?;
    eprintln!("thingif: onboarded again; the new credential is in {}", file.display());
    Ok(())
}

/// Why connecting with `config` failed, with what can be found out about it.
pub(crate) async fn explain(error: &ConnectError, config: &Config) -> Failure {
    let failure = Failure::from(error);
    if !error.link_error().is_some_and(|link| link.kind() == LinkErrorKind::Tls) {
        return failure;
    }
    let endpoint: Option<Endpoint> = match error {
        ConnectError::Onboarding(OnboardingError::Link(_)) => Some(config.broker().clone()),
        _ => config.resume().and_then(|credential| credential.endpoint(config.assigned_scheme())),
    };
    match endpoint {
        Some(endpoint) if tls_probe::certificate_is_to_blame(&endpoint).await => Failure::new(
            Exit::Certificate,
            format_args!("the certificate of {} is not trusted, or is not for the name {}", endpoint.authority(), endpoint.host),
        )
        .advise(
            "Give the authority that signed it with --ca FILE (`thingif serve` names its own in its first line), and use a \
             host name that is in it.",
        ),
        _ => failure,
    }
}
