//! Nothing secret of an end node reaches a log of its gateway at any level, nor a `Debug` form.
//!
//! In a program of its own, as the client's logs are tested: tracing remembers for the whole process whether anybody listens.
#![cfg(feature = "client")]

mod device;
mod gateway_world;
mod log;

use gateway_world::{SECOND, Said, Service, pushed_to, thing, world};
use log::Everything;
use thingif::client::gateway::{MemoryNodeStore, NodeStore as _};

#[tokio::test(start_paused = true)]
async fn a_gateways_logs_show_what_happens_and_no_secret() {
    let log = Everything::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let store = MemoryNodeStore::new();
    let mut world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let lamp = world.onboard("lamp").await;
    lamp.set_online(true);
    world.settle().await;
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    world.push(pushed_to("th.stranger", "c2", &["a"]));
    world.settle().await;
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    world.script("POST /onboardings", Said::Status(503, "LOCK_FAILED"));
    lamp.state().await.expect_err("refused");
    world.settle().await;
    world.gateway.set_owner(None);
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    lamp.state().await.expect_err("refused");
    tokio::time::sleep(700 * SECOND).await;
    assert!(world.gateway.node(&thing("th.lamp")).is_none());

    let mut rendered = format!("{:?} {lamp:?} {:?} {store:?}", world.gateway, lamp.access_token());
    rendered.push_str(&format!("{:?} {:?}", world.events().await, store.load().await.expect("read")));
    world.end().await;
    let log = log.text();
    for expected in [
        "end node joined",
        "end node onboarded again",
        "could not be onboarded again",
        "end node left",
        "carried out by nobody",
        "th.lamp",
    ] {
        assert!(log.contains(expected), "{expected} in {log}");
    }
    for secret in ["lamp-pw", "owner-1", "lamp-1", "lamp-2", "token-0", "revoked"] {
        assert!(!log.contains(secret) && !rendered.contains(secret), "{secret} in {log} {rendered}");
    }
}
