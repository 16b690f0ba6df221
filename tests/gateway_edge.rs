//! A gateway over a real socket: each transport on one end, this crate's edge with a model of the service on the other.
#![cfg(all(any(feature = "paho", feature = "native-tls"), feature = "edge"))]

mod device;
mod gateway_world;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;
#[path = "support/transports.rs"]
mod transports;

use std::sync::{Arc, Mutex};

use device::{APP, CLIENT_ID, config};
use gateway_world::{Service, lock, node, owner, pushed, pushed_to, table};
use scripted_edge::until;
use serde_json::json;
use thingif::client::{self, gateway::Gateway};
use thingif::edge::{Admission, Config, Directory, Edge, Listeners, Login, PushOutcome, Pusher, Registry, Role};
use thingif::ids::{AppId, ClientId};
use thingif::mqtt::RefusedReason;
use thingif::thing_if::{Credential, State};
use tokio::net::TcpListener;
use transports::Kind;

struct OneGateway;

impl Directory for OneGateway {
    async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
        assert_eq!(login.credentials.client_id.as_str(), CLIENT_ID, "there is one connection");
        Ok(Admission { role: Role::Assigned, app_id: AppId::new(APP).expect("valid") })
    }
}

#[tokio::test]
async fn two_nodes_live_behind_one_connection() {
    for kind in Kind::ALL {
        println!("{kind}");
        two_nodes(*kind).await;
    }
}

async fn two_nodes(kind: Kind) {
    let model = Arc::new(Mutex::new(Service::default()));
    let behind = model.clone();
    let service = scripted_edge::service(move |request| {
        let (answer, _) = lock(&behind).respond(&request, request.body().clone()).expect("always answered");
        async move { Ok(answer) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let registry = Registry::new();
    let edge = Edge::new(service, OneGateway, registry.clone(), Config::default());
    tokio::spawn(edge.run(Listeners { mqtt: Some(listener), ..Listeners::default() }, std::future::pending::<()>()));

    let credential = json!({ "appID": APP, "thingID": "th.1", "accessToken": "token-0", "mqttEndpoint": {
        "installationID": "i", "username": "user", "password": "pw", "mqttTopic": CLIENT_ID, "host": "127.0.0.1",
        "portTCP": port, "ttl": 2_147_483_647 } });
    let config = config().with_resume(Credential::from_json(credential.to_string()).expect("complete"));
    let (client, pushes, mut connection) = client::connect(config, kind.trusting(None)).await.expect("connected");
    let notices = connection.notices();
    let connection = tokio::spawn(connection.run());

    let (begun, done) = (Arc::default(), Arc::default());
    let (for_begun, for_done) = (Arc::clone(&begun), Arc::clone(&done));
    let (gateway, routing, _events) = Gateway::builder(client.clone(), move |_| table(&for_begun, &for_done))
        .with_owner(owner("owner-1"))
        .open()
        .await
        .expect("nothing is stored");
    let routing = tokio::spawn(routing.run(pushes, notices));

    let (lamp, fan) = tokio::join!(async { gateway.onboard(&node("lamp")).await.expect("onboarded") }, async {
        gateway.onboard(&node("fan")).await.expect("onboarded")
    },);
    let state = State(json!({ "power": true }).as_object().expect("an object").clone());
    lamp.put_state(&state).await.expect("put");
    assert_eq!(lamp.state().await.expect("there"), state);
    fan.set_online(true);
    until("it is online", || lock(&model).nodes["th.fan"].online == Some(true)).await;

    let own = ClientId::new(CLIENT_ID).expect("valid");
    lock(&model).commands.push(gateway_world::listed("th.lamp", "c2", 1, &["b"]));
    for push in [pushed_to("th.fan", "c1", &["a"]), pushed("c2", &["b"])] {
        assert_eq!(registry.push(&own, push.to_string().into()).await, PushOutcome::Queued);
    }
    let reported = |model: &Service| model.heard.iter().filter(|h| h.call.ends_with("/action-results")).count();
    until("both are reported", || reported(&lock(&model)) == 2).await;
    let mut lines: Vec<String> = lock(&done).clone();
    lines.sort();
    assert_eq!(lines, ["th.fan c1 a", "th.lamp c2 b"]);
    let listed = gateway.list(10).await.expect("listed");
    assert_eq!((listed.nodes.len(), listed.more), (2, false));
    lamp.unpair().await.expect("unpaired");
    assert_eq!(gateway.list(10).await.expect("listed").nodes.len(), 1);

    client.close().await;
    routing.await.expect("no panic");
    connection.await.expect("no panic").expect("closed in order");
}
