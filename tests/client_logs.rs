//! Nothing secret reaches a log of the client at any level, nor its `Debug` forms.
//!
//! In a program of its own: tracing remembers for the whole process whether anybody listens to an event, and tests beside
//! this one, where nobody does, could teach it that nobody ever will.
#![cfg(feature = "client")]

mod device;
mod log;

use std::time::Duration;

use thingif::client;
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::transport::memory;

use device::brokers::{assigned, onboard, request};
use device::{answer_to, call, config, credential};
use log::Everything;

#[tokio::test(start_paused = true)]
async fn logs_show_transitions_and_no_secret() {
    let log = Everything::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (network, mut broker) = memory::network();
    let brokers = async {
        broker.accept().await.expect("somebody").refuse(RefusedReason::NotAuthorised);
        onboard(&mut broker, 1).await;
        assigned(&mut broker).await
    };
    let config = config().with_resume(credential(0));
    let (connected, mut link) = tokio::join!(client::connect(config, network), brokers);
    let (client, pushes, connection) = connected.expect("connected");
    let rendered = format!("{client:?} {pushes:?} {connection:?}");
    let connection = tokio::spawn(connection.run());
    let (answer, ()) = tokio::join!(client.send(call("states", "x")), async {
        let request = request(&mut link).await;
        link.publish(Publish::new(request.topic.clone(), "no frame, token-1")).expect("the device listens");
        link.publish(answer_to(&request, true)).expect("the device listens");
    });
    answer.expect("answered");
    link.cut(LinkErrorKind::Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    client.close().await;
    connection.await.expect("no panic").expect("closed in order");

    let log = log.text();
    for expected in ["onboarding", "onboarded", "ready", "not authorised", "cannot be read"] {
        assert!(log.contains(expected), "{expected} in {log}");
    }
    for secret in ["thing-pw", "app-key", "pw-0", "pw-1", "token-0", "token-1"] {
        assert!(!log.contains(secret) && !rendered.contains(secret), "{secret} in {log} {rendered}");
    }
}
