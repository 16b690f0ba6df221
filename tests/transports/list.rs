//! Every test of a transport. The transport's name is this module's.

#[cfg(feature = "edge")]
mod client_certificates;
#[cfg(feature = "edge")]
mod edge;
mod links;
mod logs;
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use thingif::transport::{Proxy, Tls, Transport};

use crate::subprocess::{Ended, isolated};
use crate::support::Kind;

/// Far beyond what anything here takes, so that a slow machine fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a whole process.
const LIMIT: Duration = Duration::from_secs(200);

fn kind() -> Kind {
    let name = module_path!().rsplit("::").next().expect("a module");
    Kind::named(name).expect("it is called as its transport is")
}

fn transport(tls: Tls, proxy: Option<Proxy>) -> Arc<dyn Transport> {
    kind().transport(tls, proxy).expect("usable options")
}

/// Runs `body` in a process of its own, where it is the test `name` of the module `file`.
fn in_a_process(file: &str, name: &str, env: &[(&str, &str)], body: impl FnOnce()) -> Option<Ended> {
    isolated(&format!("{}::{file}::{name}", kind()), LIMIT, env, body)
}

/// Runs `story` in a process of its own, where it is the test `name` of the module `file`.
fn alone(file: &str, name: &str, story: impl Future<Output = ()>) {
    let body = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(story);
    };
    if let Some(ended) = in_a_process(file, name, &[], body) {
        ended.succeeded();
    }
}
