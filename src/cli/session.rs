//! From a stored credential, or the flags that say how to have one, to a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::credential_file::{self, Onboarded, Settings};
use crate::cli::exit::{Exit, Failure};
use crate::cli::record::CaptureOptions;
use crate::cli::route_args::{Carrier, Route, RouteArgs};
use crate::cli::thing_args::{Named, ThingArgs};
use crate::cli::{secret_input, tls_probe};
use crate::client::causes::with_causes;
use crate::config::{Config, Identity};
use crate::mqtt::{Endpoint, LinkError, LinkErrorKind};
use crate::proto::{ConnectError, OnboardingError};
use crate::secret::Secret;
use crate::transport::native::{self, Native};
use crate::transport::paho::{self, Paho};
use crate::transport::record::Record;
use crate::transport::{Proxy, Tls, Transport};

/// The files and the danger that the command line and the credential name.
pub(crate) fn tls(route: &Route, args: &RouteArgs) -> Tls {
    if args.danger_accept_any_certificate {
        eprintln!("thingif: DANGER: certificates are not checked; anybody on the way can read and change everything");
    }
    Tls {
        ca_file: route.ca.clone(),
        client_cert_file: route.cert.clone(),
        client_key_file: route.key.clone(),
        danger_accept_any_certificate: args.danger_accept_any_certificate,
    }
}

/// The proxy that they name, with its login.
pub(crate) fn proxy(route: &Route, args: &RouteArgs) -> Result<Option<Proxy>, Failure> {
    route.proxy.as_ref().map(|proxy| args.login(proxy)).transpose()
}

/// The transport that the command line chose, with its [files](tls) and its [proxy].
pub(crate) fn transport(route: &Route, args: &RouteArgs) -> Result<Arc<dyn Transport>, Failure> {
    let (tls, proxy) = (tls(route, args), proxy(route, args)?);
    let made: Result<Arc<dyn Transport>, LinkError> = match route.transport {
        Carrier::Paho => {
            let mut options = paho::Options::default();
            (options.tls, options.proxy) = (tls, proxy);
            Paho::new(options).map(|paho| Arc::new(paho) as _)
        }
        Carrier::Native => {
            let mut options = native::Options::default();
            (options.tls, options.proxy) = (tls, proxy);
            Native::new(options).map(|native| Arc::new(native) as _)
        }
    };
    let transport = made.map_err(|error| Failure::from(&error))?;
    Ok(match &args.record {
        None => transport,
        Some(file) => Arc::new(Record::new(transport, CaptureOptions::of_a_verb().create(file)?)),
    })
}

/// The configuration that resumes `onboarded`.
///
/// The secrets for another onboarding are read from where the first one had them, if they are still there. Without them a
/// credential that is no longer accepted ends in a refused login, which says to onboard again.
pub(crate) fn resume(onboarded: &Onboarded, connect_timeout: Option<Duration>) -> Result<Config, Failure> {
    Ok(onboard_again(onboarded, connect_timeout)?.with_resume(onboarded.credential.clone()))
}

/// As [`resume`], without the credential itself.
pub(crate) fn onboard_again(onboarded: &Onboarded, connect_timeout: Option<Duration>) -> Result<Config, Failure> {
    let secret = |what, path: &Option<std::path::PathBuf>| {
        path.as_deref()
            .and_then(|path: &Path| secret_input::read(what, path).ok())
            .unwrap_or_else(|| Secret::new(String::new()))
    };
    let Onboarded { credential, settings } = onboarded;
    let app_key = secret("app key", &settings.app_key_file);
    let password = secret("password", &settings.password_file);
    let identity = Identity::vendor_thing(settings.vendor_thing_id.clone(), password);
    let app_id = credential.app_id.clone();
    let config = Config::new(settings.broker.clone(), app_id, app_key, identity).map_err(Failure::usage)?;
    let config = match connect_timeout {
        Some(timeout) => {
            let timeout = timeout.clamp(Duration::from_millis(1), config.connect_timeout());
            config.with_connect_timeout(timeout).map_err(Failure::usage)?
        }
        None => config,
    };
    Ok(config.with_assigned_scheme(settings.scheme).with_response_filter(settings.response_filter))
}

/// What a verb that stays connected begins with: the stored credential, else the thing that the flags name, which is
/// onboarded then. A credential that is lost or damaged needs nobody when the flags are there.
pub(crate) fn resume_or_onboard(
    file: &Path,
    thing: &ThingArgs,
    route: &RouteArgs,
) -> Result<(Config, Settings), Failure> {
    let (config, settings) = settle(file, thing, route)?;
    Ok((route.pin(config)?, settings))
}

fn settle(file: &Path, thing: &ThingArgs, route: &RouteArgs) -> Result<(Config, Settings), Failure> {
    let named = thing.named()?;
    let stored = match (Onboarded::read(file), &named) {
        (Ok(stored), _) => stored,
        (Err(error), Some(_)) if !error.is_misconfiguration() => {
            eprintln!("thingif: {}; onboarding again", with_causes(&error));
            None
        }
        (Err(error), _) => return Err(credential_file::unusable(&error)),
    };
    match (stored, named) {
        (None, None) => Err(credential_file::missing(file)),
        (None, Some(named)) => {
            let settings = named.settings(route, None)?;
            Ok((named.config(&settings, None)?, settings))
        }
        (Some(stored), None) => {
            let settings = Settings { route: route.files(&stored.settings.route)?, ..stored.settings.clone() };
            Ok((resume(&stored, None)?, settings))
        }
        (Some(stored), Some(named)) => reconcile(file, &stored, &named, route),
    }
}

/// The flags and what is stored, when both are there: the flags are right about the broker, and never take a file away from
/// another thing.
fn reconcile(
    file: &Path,
    stored: &Onboarded,
    named: &Named<'_>,
    route: &RouteArgs,
) -> Result<(Config, Settings), Failure> {
    let Onboarded { credential, settings: before } = stored;
    if credential.app_id != named.app.id || before.vendor_thing_id != *named.thing {
        let shown = file.display();
        return Err(Failure::usage(format_args!(
            "{shown} has the credential of thing {} of app {}, not of {} of {}",
            before.vendor_thing_id, credential.app_id, named.thing, named.app.id
        ))
        .advise("Name another file with --credentials, or remove this one with `thingif forget`."));
    }
    let is_at_home = before.broker == *named.broker;
    if !is_at_home {
        eprintln!("thingif: the credential is from {}; onboarding at {}", before.broker, named.broker);
    }
    let settings = named.settings(route, Some(stored))?;
    match named.config(&settings, None) {
        Ok(config) => Ok((config, settings)),
        // It has what it needs today.
        Err(failure) if is_at_home => {
            eprintln!("{failure}\nthingif: going on with the stored credential; it cannot be renewed without this");
            Ok((resume(stored, None)?, settings))
        }
        Err(failure) => Err(failure),
    }
}

/// Why connecting with `config` failed, with what can be found out about it.
pub(crate) async fn explain(error: &ConnectError, config: &Config, route: &Route) -> Failure {
    let failure = Failure::from(error);
    let Some(link) = error.link_error() else { return failure };
    let may_be_ours = link.detail().contains("client certificate");
    // To find out more, the broker would have to be asked directly; whoever names a proxy does not want that.
    if route.proxy.is_some() || !(may_be_ours || link.kind() == LinkErrorKind::Tls) {
        return failure;
    }
    let endpoint: Option<Endpoint> = match error {
        ConnectError::Onboarding(OnboardingError::Link(_)) => Some(config.broker().clone()),
        _ => config.resume().and_then(|credential| credential.endpoint(config.assigned_scheme())),
    };
    let Some(endpoint) = endpoint else { return failure };
    let broker = endpoint.authority();
    let tried = tls_probe::handshake_with(&endpoint).await;
    if may_be_ours && tried.asks_for_certificate {
        let what = match &route.cert {
            None => "and there is none",
            Some(_) => "and does not accept this one",
        };
        return Failure::new(Exit::Tls, format_args!("{broker} wants a client certificate, {what}"))
            .advise("Give one that an authority of the broker's has signed, with its key: --cert FILE --key FILE.");
    }
    if !may_be_ours && tried.succeeds {
        let host = &endpoint.host;
        return Failure::new(
            Exit::Certificate,
            format_args!("the certificate of {broker} is not trusted, or is not for the name {host}"),
        )
        .advise(
            "Give the authority that signed it with --ca FILE (`thingif serve` names its own in its first line), and use a \
             host name that is in it.",
        );
    }
    failure
}
