//! The documented commands, with real curl and mosquitto_sub, and Python's paho for a web page, against `thingif serve`: each
//! document is a script in this folder. Only hosts, ids and tokens are replaced. Without these programs a test says that it was
//! skipped, except where that is not allowed.
#![cfg(feature = "cli")]

#[path = "../program/mod.rs"]
mod program;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use program::{Server, foreign_program, python_with_paho, run};
use thingif::cloud::{Cloud, CreatedApp, Location, Options};
use thingif::edge::Registry;

/// Long enough for the first request after an installation to find its endpoint unprepared, on any machine.
const SLOW: &str = "6";

/// An application with an administrator, in `data`, as its owner makes one before the service is started.
fn create_app(data: &Path) -> CreatedApp {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = Options::default();
        options.store = Location::Dir(data.to_owned());
        let cloud = Cloud::open(options, Arc::new(Registry::new())).expect("opens");
        let created = cloud.create_app(None).await.expect("stored");
        cloud.close().await;
        created
    })
}

fn run_script(name: &str, flags: &[&str]) {
    let programs = ["curl", "mosquitto_sub", "stdbuf", "bash"].map(foreign_program);
    let [Some(_), Some(mosquitto_sub), Some(_), Some(bash)] = programs else { return };
    let Some(python) = python_with_paho() else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    let app = create_app(&data);
    let data = data.to_str().expect("text").to_owned();
    let server = Server::start_with(&[&["--data", data.as_str()], flags].concat());

    // Where mosquitto_sub looks for options that it is not given.
    let settings = path("config");
    std::fs::create_dir(&settings).expect("made");
    std::fs::write(settings.join("mosquitto_sub"), format!("-p {}\n", server.port("mqtt"))).expect("written");
    let work = path("work");
    std::fs::create_dir(&work).expect("made");
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kii_docs").join(name);
    let mut search = vec![mosquitto_sub.parent().expect("a folder").to_owned()];
    search.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new(bash);
    command
        .arg(script)
        .env("PATH", std::env::join_paths(search).expect("a search path"))
        .env("SITE", format!("https://{}", server.address("https")))
        .env("CURL_CA_BUNDLE", server.ready["ca"].as_str().expect("a local authority"))
        .env("CURL_HOME", &work) // nobody's own .curlrc
        .env("XDG_CONFIG_HOME", &settings)
        .env("APP_ID", app.admin.app.as_str())
        .env("APP_KEY", app.app_key.expose())
        .env("ADMIN_ID", &app.admin.client_id)
        .env("ADMIN_SECRET", app.admin.client_secret.expose())
        .env("PYTHON", python)
        .env("WORK", &work);
    for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    run(&mut command).expect(0);
}

#[test]
fn preparation_of_things_by_rest() {
    run_script("preparation.sh", &["--endpoint-preparation", SLOW]);
}

#[test]
fn hands_on_with_curl_and_mosquitto_sub() {
    run_script("hands_on.sh", &["--endpoint-preparation", SLOW]);
}

#[test]
fn a_web_app() {
    run_script("web_app.sh", &[]);
}

#[test]
fn one_topic_for_buckets_and_topics() {
    run_script("one_topic.sh", &[]);
}
