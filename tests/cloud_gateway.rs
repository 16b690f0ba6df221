//! The crate's own gateway behind the crate's own cloud, over real sockets: what is behind a gateway from its onboarding to the
//! end of a command, as its owner sees it over HTTP.
#![cfg(all(any(feature = "paho", feature = "native-tls"), feature = "cloud"))]

mod cloud_support;
#[path = "support/transports.rs"]
mod transports;

use std::sync::Arc;
use std::time::Duration;

use cloud_support::{APP, KEY, Served, options, user};
use serde_json::json;
use thingif::client;
use thingif::client::commands::ActionTable;
use thingif::client::gateway::{EndNode, Gateway, NodeOnboarding, Owner};
use thingif::cloud::{Advertise, Cloud};
use thingif::config::{Config, Identity};
use thingif::edge::{Config as EdgeConfig, Edge, Listeners, Registry};
use thingif::ids::AccessToken;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use transports::Kind;

const PATIENCE: Duration = Duration::from_secs(60);

/// With pushes that name their target and with those that do not: then the gateway finds out for itself.
#[tokio::test]
async fn a_command_for_an_end_node_is_carried_out_behind_its_gateway() {
    for kind in Kind::ALL {
        for name_push_target in [true, false] {
            timeout(PATIENCE, live(*kind, name_push_target))
                .await
                .unwrap_or_else(|_| panic!("{kind}: not done in time"));
        }
    }
}

async fn live(kind: Kind, name_push_target: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let registry = Registry::new();
    let mut options = options();
    options.name_push_target = name_push_target;
    options.advertise = Advertise { tcp: Some(port), ..Advertise::default() };
    let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
    let edge = Edge::new(cloud.service(), cloud.clone(), registry.clone(), EdgeConfig::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
    let edge = tokio::spawn(edge.run(listeners, stopped));
    let served = Served::start(cloud).await;
    let http = &served.http;
    let (ann, token) = user(http, APP, KEY, "ann").await;

    // The gateway onboards itself; its owner takes it by its password.
    let identity = Identity::vendor_thing("gateway".parse().expect("valid"), "its password".into());
    let broker = format!("mqtt://127.0.0.1:{port}").parse().expect("a broker");
    let config = Config::new(broker, APP.parse().expect("valid"), KEY.into(), identity).expect("valid");
    let (device, pushes, mut connection) = client::connect(config, kind.trusting(None)).await.expect("onboarded");
    let notices = connection.notices();
    let connected = tokio::spawn(connection.run());
    let own = json!({"userID": ann, "thingPassword": "its password"}).to_string();
    let path = format!("/api/apps/{APP}/things/VENDOR_THING_ID:gateway/ownership");
    assert_eq!(http.call("POST", &path, &token, &own).await.status, 204);

    let (turned, mut turns) = mpsc::unbounded_channel();
    let actuators = move |node: &EndNode| {
        let (turned, vendor) = (turned.clone(), node.vendor_thing_id().to_string());
        ActionTable::new().on("turnPower", move |action: serde_json::Value, _| {
            turned.send((vendor.clone(), action)).expect("heard");
            async { Ok::<(), String>(()) }
        })
    };
    let owner = Owner::user(ann.parse().expect("valid"), AccessToken::new(token.clone()).expect("valid"));
    let (gateway, routing, _events) =
        Gateway::builder(device, actuators).with_owner(owner).open().await.expect("a gateway");
    let routing = tokio::spawn(routing.run(pushes, notices));

    // Two end nodes, each with a state of its own.
    let mut nodes = Vec::new();
    for vendor in ["lamp", "heater"] {
        let node = NodeOnboarding::new(vendor.parse().expect("valid"), format!("secret of {vendor}").into());
        let node = gateway.onboard(&node).await.expect("onboarded");
        node.set_online(true);
        let state = serde_json::from_value(json!({"of": vendor})).expect("a state");
        node.put_state(&state).await.expect("stored");
        nodes.push(node);
    }
    let [lamp, heater] = &nodes[..] else { panic!("two") };
    let states = |node: &EndNode| format!("/thing-if/apps/{APP}/targets/thing:{}/states", node.thing_id());
    for (node, vendor) in [(lamp, "lamp"), (heater, "heater")] {
        assert_eq!(http.call("GET", &states(node), &token, "").await.json(), json!({"of": vendor}));
    }
    let listed = gateway.list(10).await.expect("a list");
    let mut listed: Vec<String> = listed.nodes.iter().map(|node| node.vendor_thing_id.to_string()).collect();
    listed.sort();
    assert_eq!(listed, ["heater", "lamp"]);

    // A command reaches the one that it is for, and its owner reads that it is done.
    let body = json!({"issuer": format!("user:{ann}"), "schema": "S", "schemaVersion": 1,
        "actions": [{"turnPower": {"power": true}}]});
    let commands = format!("/thing-if/apps/{APP}/targets/thing:{}/commands", heater.thing_id());
    let command = http.call("POST", &commands, &token, &body.to_string()).await.text("commandID");
    assert_eq!(turns.recv().await, Some(("heater".to_owned(), json!({"power": true}))));
    until(async || http.call("GET", &format!("{commands}/{command}"), &token, "").await.text("commandState") == "DONE")
        .await;
    let thing = format!("/api/apps/{APP}/things/{}", heater.thing_id());
    until(async || http.call("GET", &thing, &token, "").await.json()["_online"] == json!(true)).await;

    // One leaves; the other stays.
    gateway.unpair(lamp.thing_id()).await.expect("unpaired");
    assert_eq!(gateway.list(10).await.expect("a list").nodes.len(), 1);
    let alone = http.call("GET", &states(lamp), &token, "").await;
    assert_eq!(alone.json(), json!({"of": "lamp"}), "it keeps what it has");

    drop((nodes, gateway));
    routing.abort();
    connected.abort();
    stop.send(()).expect("running");
    edge.await.expect("no panic").expect("served");
    served.stop().await;
}

/// Asks until it is so; the whole test has a time limit.
async fn until(is_so: impl AsyncFn() -> bool) {
    while !is_so().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
