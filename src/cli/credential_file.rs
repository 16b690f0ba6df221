//! What `onboard` leaves on the disk and `call` and `listen` start from.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::cli::route_args::Route;
use crate::client::causes::with_causes;
use crate::client::vault::{VaultError, private_file};
use crate::ids::VendorThingId;
use crate::mqtt::{Endpoint, Scheme};
use crate::thing_if::Credential;

/// The flag that names the file.
#[derive(Debug, Clone, Args)]
pub(crate) struct CredentialArgs {
    /// Where the thing's credential is kept. Default: thingif/credential.json under $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

impl CredentialArgs {
    /// The file, whether it exists or not, as an absolute path.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        let path = match &self.credentials {
            Some(path) => path.clone(),
            None => state_directory()?.join("thingif/credential.json"),
        };
        std::path::absolute(&path)
            .map_err(|error| Failure::usage(format_args!("{} is not a usable path: {error}", path.display())))
    }
}

pub(crate) fn state_directory() -> Result<PathBuf, Failure> {
    let from = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .ok_or_else(|| {
            Failure::usage("there is no HOME to keep the credential in").advise("Name a file with --credentials FILE.")
        })
}

/// How a thing reaches its brokers, and where the secrets of another onboarding are.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How to travel to the assigned broker.
    pub(crate) scheme: Scheme,
    /// The default broker, where it is onboarded.
    pub(crate) broker: Endpoint,
    /// The thing, as its maker names it.
    pub(crate) vendor_thing_id: VendorThingId,
    /// Files from which the secrets for another onboarding can be read; the secrets themselves are not kept.
    pub(crate) app_key_file: Option<PathBuf>,
    /// As `app_key_file`, for the thing's password.
    pub(crate) password_file: Option<PathBuf>,
    /// Whether the broker is an ordinary one, where answers need a subscription.
    pub(crate) response_filter: bool,
    /// Certificates and a proxy.
    pub(crate) route: Route,
}

/// A thing that has been onboarded.
#[derive(Debug, Clone)]
pub(crate) struct Onboarded {
    /// The credential for the assigned broker.
    pub(crate) credential: Credential,
    /// The rest.
    pub(crate) settings: Settings,
}

/// The file's layout.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Layout {
    /// 1. A newer layout has another number and is refused instead of misread.
    version: u32,
    broker: String,
    scheme: String,
    #[serde(rename = "vendorThingID")]
    vendor_thing_id: VendorThingId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app_key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(default)]
    response_filter: bool,
    #[serde(default, alias = "tls")]
    route: Route,
    credential: Value,
}

const VERSION: u32 = 1;

/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 64 * 1024;

impl Onboarded {
    /// Reads `path`, which must be private; `None` when it does not exist.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, VaultError> {
        let Some(text) = private_file::read(path, MAX_LEN)? else { return Ok(None) };
        let read = Self::parse(&text);
        read.map(Some).map_err(|reason| VaultError::Corrupt { place: path.display().to_string(), reason })
    }

    /// Reads `path` for a verb that cannot do without.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        match Self::read(path) {
            Ok(Some(onboarded)) => Ok(onboarded),
            Ok(None) => Err(missing(path)),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        // Not serde's own words: they may quote a value.
        let layout: Layout = serde_json::from_slice(text)
            .map_err(|error| format!("unexpected content at line {} column {}", error.line(), error.column()))?;
        if layout.version != VERSION {
            return Err(format!("it has version {}, and this program reads {VERSION}", layout.version));
        }
        let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == layout.scheme);
        Ok(Self {
            credential: Credential::from_json(layout.credential.to_string()).map_err(|error| error.to_string())?,
            settings: Settings {
                scheme: scheme.ok_or("its scheme is unknown")?,
                broker: layout.broker.parse().map_err(|error| format!("{error}"))?,
                vendor_thing_id: layout.vendor_thing_id,
                app_key_file: layout.app_key_file,
                password_file: layout.password_file,
                response_filter: layout.response_filter,
                route: layout.route,
            },
        })
    }

    /// Writes `path`, mode 0600, whole or not at all, and durably.
    pub(crate) fn write(&self, path: &Path) -> Result<(), VaultError> {
        let failed = |error: serde_json::Error| VaultError::io("write", path, error.into());
        let Settings { scheme, broker, vendor_thing_id, app_key_file, password_file, response_filter, route } =
            self.settings.clone();
        let layout = Layout {
            version: VERSION,
            broker: broker.to_string(),
            scheme: scheme.to_string(),
            vendor_thing_id,
            app_key_file,
            password_file,
            response_filter,
            route,
            credential: serde_json::from_str(&self.credential.to_json_exposed()).map_err(failed)?,
        };
        let mut text = Zeroizing::new(serde_json::to_string_pretty(&layout).map_err(failed)?);
        text.push('\n');
        private_file::write(path, text.as_bytes()).map_err(|error| VaultError::io("write", path, error))
    }
}

/// There is no credential where one is needed.
pub(crate) fn missing(path: &Path) -> Failure {
    Failure::usage(format_args!("there is no credential in {}", path.display())).advise(
        "Onboard a thing first (`thingif onboard --help`), or name its file with --credentials. `thingif listen` onboards by \
         itself when it is given --broker, --app, --thing and --password-file.",
    )
}

/// There is something that is no credential, or is not safe.
pub(crate) fn unusable(error: &VaultError) -> Failure {
    let failure = Failure::usage(with_causes(error));
    match error {
        VaultError::Corrupt { .. } => failure.advise("Onboard the thing again with `thingif onboard`."),
        _ => failure,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    pub(crate) fn onboarded() -> Onboarded {
        let credential = r#"{"appID":"app","thingID":"th.1","accessToken":"t0k3n","mqttEndpoint":{"installationID":"i",
            "username":"u","password":"hunter2","mqttTopic":"me","host":"h","portTCP":1883,"ttl":1}}"#;
        Onboarded {
            credential: Credential::from_json(credential).expect("complete"),
            settings: Settings {
                scheme: Scheme::Mqtts,
                broker: "mqtts://h".parse().expect("valid"),
                vendor_thing_id: VendorThingId::new("v").expect("valid"),
                app_key_file: None,
                password_file: Some("/p".into()),
                response_filter: false,
                route: Route { ca: Some("/ca.pem".into()), ..Route::default() },
            },
        }
    }

    #[test]
    fn storing_and_loading_are_inverse() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        onboarded().write(&path).expect("stored");
        let Onboarded { credential, settings: again } = Onboarded::load(&path).expect("loaded");
        assert_eq!(credential.to_json_exposed(), onboarded().credential.to_json_exposed());
        assert_eq!((again.scheme, again.broker.to_string()), (Scheme::Mqtts, "mqtts://h:8883".to_owned()));
        assert_eq!((again.password_file, again.app_key_file), (Some("/p".into()), None));
        assert_eq!(again.route.ca, Some("/ca.pem".into()));
    }

    #[test]
    fn what_is_no_credential_says_so_without_showing_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        let missing = Onboarded::load(&path).expect_err("nothing there").to_string();
        assert!(missing.contains("thingif onboard"), "{missing}");
        onboarded().write(&path).expect("stored");
        let good = fs::read_to_string(&path).expect("read");
        for bad in [
            String::new(),
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("\"thingID\"", "\"thing\""),
            good.replace("\"scheme\": \"mqtts\"", "\"scheme\": \"hunter2\""),
            good.replace("\"vendorThingID\": \"v\"", "\"vendorThingID\": [\"hunter2\"]"),
        ] {
            assert_ne!(bad, good);
            fs::write(&path, &bad).expect("written");
            let error = Onboarded::load(&path).expect_err(&bad).to_string();
            assert!(!error.contains("hunter2") && error.contains("is not a credential"), "{error}");
        }
    }

    #[test]
    fn one_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        onboarded().write(&path).expect("stored");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let failure = Onboarded::load(&path).expect_err("refused");
        assert!(failure.to_string().contains(&format!("`chmod 600 '{}'`", path.display())), "{failure}");
        assert_eq!(failure.exit(), crate::cli::exit::Exit::Usage);
    }
}
