//! Kii's own JavaScript SDKs, `kii-cloud-sdk` and `thing-if-sdk` as npm publishes them, against `thingif serve`: only their site
//! is ours. What they do is in the scripts in `npm_sdks/`. Without node, npm or a package registry a test says that it was
//! skipped, except where that is not allowed.
#![cfg(feature = "cli")]

mod program;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use program::{Running, Server, foreign_program, run, run_within, skip, thingif};

/// How long the scripts and npm may take, where everything is slow.
const LONG: Duration = Duration::from_secs(240);

const VENDOR_THING_ID: &str = "thermostat-17";
const THING_PASSWORD: &str = "thing-password";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm_sdks").join(name)
}

/// node, and the folder of the packages, which npm installs as the lock file has them, once for all runs.
fn node_and_packages() -> Option<(PathBuf, PathBuf)> {
    let [Some(node), Some(npm)] = ["node", "npm"].map(foreign_program) else { return None };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm_sdks");
    fs::create_dir_all(&folder).expect("made");
    // One test at a time; the lock ends with the file.
    let turn = File::create(folder.join("turn")).expect("made");
    turn.lock().expect("locked");
    let modules = folder.join("node_modules");
    let lock = fs::read_to_string(script("package-lock.json")).expect("there");
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == lock) && modules.is_dir() {
        return Some((node, modules));
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(script(name), folder.join(name)).expect("copied");
    }
    let mut command = Command::new(npm);
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]);
    command.args([
        "--fetch-timeout=30000",
        "--fetch-retries=3",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-factor=2",
    ]);
    let ended = run_within(LONG, command.current_dir(&folder));
    if !ended.status.success() {
        skip(&format!("npm cannot install the SDKs: {}{}", ended.text(), ended.stderr));
        return None;
    }
    fs::write(installed, lock).expect("written");
    Some((node, modules))
}

/// `thingif serve` with an application that has an administrator, and what a script needs to know of both.
struct Site {
    server: Server,
    app: serde_json::Value,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("made");
        let data = data.to_str().expect("text");
        let app = run(thingif().args(["app", "create", "--json", "--data", data])).expect(0).json();
        Self { server: Server::start_with(&["--data", data]), app, folder }
    }

    fn app(&self, field: &str) -> &str {
        self.app[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.app))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `thingif VERB` as the thing.
    fn thing(&self, verb: &str) -> Command {
        let mut command = thingif();
        command.arg(verb).arg("--credentials").arg(self.path("credential.json"));
        command
    }

    fn run(&self, node: &Path, packages: &Path, name: &str, more: &[(&str, &str)]) {
        let mut command = Command::new(node);
        command
            .arg(script(name))
            .env("NODE_PATH", packages)
            .env("NODE_EXTRA_CA_CERTS", self.server.ready["ca"].as_str().expect("a local authority"))
            .env("SITE", format!("https://{}", self.server.address("https")))
            .env("APP_ID", self.app("appID"))
            .env("APP_KEY", self.app("appKey"))
            .env("ADMIN_ID", self.app("clientID"))
            .env("ADMIN_SECRET", self.app("clientSecret"))
            .envs(more.iter().copied())
            .env_remove("NODE_OPTIONS");
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let said = run_within(LONG, &mut command).expect(0).text();
        assert_eq!(said, format!("{name}: every answer is as expected\n"));
    }
}

#[test]
fn an_owner_logs_in_onboards_a_thing_sends_commands_and_reads_states() {
    let Some((node, packages)) = node_and_packages() else { return };
    let site = Site::start();
    fs::write(site.path("password"), THING_PASSWORD).expect("written");
    fs::write(site.path("app-key"), site.app("appKey")).expect("written");
    fs::write(site.path("state.json"), "{}").expect("written");
    let broker = format!("mqtt://{}", site.server.address("mqtt"));
    let mut onboard = site.thing("onboard");
    onboard.args(["--json", "--broker", &broker, "--app", site.app("appID"), "--thing", VENDOR_THING_ID]);
    onboard.arg("--app-key-file").arg(site.path("app-key")).arg("--password-file").arg(site.path("password"));
    let onboarded = run(&mut onboard).expect(0).json();
    let mut listen = site.thing("listen");
    listen
        .args(["--exec", "exec \"$NODE\" \"$SCRIPT\""])
        .env("NODE", &node)
        .env("SCRIPT", script("thing.js"))
        .env("THINGIF", env!("CARGO_BIN_EXE_thingif"))
        .env("THINGIF_CREDENTIALS", site.path("credential.json"))
        .env("STATE_FILE", site.path("state.json"));
    let _listening = Running::start(&mut listen);
    let thing = [
        ("THING_ID", onboarded["thingID"].as_str().expect("an id")),
        ("VENDOR_THING_ID", VENDOR_THING_ID),
        ("THING_PASSWORD", THING_PASSWORD),
    ];
    site.run(&node, &packages, "owner.js", &thing);
}

#[test]
fn an_app_keeps_users_objects_and_push_installations() {
    let Some((node, packages)) = node_and_packages() else { return };
    Site::start().run(&node, &packages, "cloud.js", &[]);
}
