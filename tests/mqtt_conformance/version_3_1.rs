//! What MQTT 3.1 does otherwise. Its specification does not number its statements.

use crate::bench::{ACCEPTED, Bench, CALL, packet, publish, subscribe, text};

/// A CONNECT of MQTT 3.1.
fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQIsdp"), &[3, flags, 0, 60], &payload.concat()])
}

async fn login(bench: &Bench, client_id: &str) -> crate::bench::Peer {
    let mut peer = bench.dial();
    peer.send(connect(0xC2, &[&text(client_id), &text("user"), &text("pw")])).await;
    peer.expect(&ACCEPTED).await;
    peer
}

#[tokio::test]
async fn an_identifier_of_23_characters_connects_and_an_empty_one_is_refused() {
    let bench = Bench::new();
    login(&bench, "Q2w3E4r5T6y7U8i9O0p1A2s").await.ping().await;
    // 3.1 has a server refuse more than 23. It is served all the same: 3.1.1 allows it, and so do all other servers.
    login(&bench, "Q2w3E4r5T6y7U8i9O0p1A2s3").await.ping().await;
    bench.refuses(&connect(0xC2, &[&text(""), &text("user"), &text("pw")]), 2).await;
}

#[tokio::test]
async fn a_filter_that_is_not_granted_has_no_code_and_no_effect() {
    use thingif::edge::{PushOutcome, Pusher};
    let bench = Bench::new();
    let mut peer = login(&bench, "device").await;
    peer.send(subscribe(1, &[("other", 0), ("#", 2), ("p/device2/#", 1)])).await;
    peer.expect(&[0x90, 5, 0, 1, 0, 0, 0]).await;
    let device = crate::raw_mqtt::client_id("device");
    assert_eq!(bench.registry.push(&device, "{}".into()).await, PushOutcome::NotSubscribed);
    peer.ping().await;
}

#[tokio::test]
async fn dup_may_be_set_on_what_is_sent_again() {
    let bench = Bench::new();
    let mut peer = login(&bench, "device").await;
    peer.send(packet(0x8A, &[&[0, 1], &text("device"), &[0]])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    peer.send(packet(0xAA, &[&[0, 2], &text("device")])).await;
    peer.expect(&[0xB0, 2, 0, 2]).await;
    peer.send(publish(4, CALL, Some(3), "PUT\n\nbody")).await;
    peer.expect(&[0x50, 2, 0, 3]).await;
    peer.answer(CALL).await;
    peer.send([0x6A, 2, 0, 3]).await;
    peer.expect(&[0x70, 2, 0, 3]).await;
}

#[tokio::test]
async fn what_3_1_leaves_to_the_sender_is_taken() {
    let bench = Bench::new();
    for flags in [0xC3, 0xE2, 0xD2] {
        let mut peer = bench.dial();
        peer.send(connect(flags, &[&text("device"), &text("user"), &text("pw")])).await;
        peer.expect(&ACCEPTED).await;
    }
    // A flag may be set where its field is missing: the credentials are what is wrong then.
    bench.refuses(&connect(0xC2, &[&text("device"), &text("user")]), 4).await;
    bench.refuses(&connect(0xC2, &[&text("device")]), 4).await;
    bench.hangs_up_on(&connect(0x42, &[&text("device"), &text("pw")])).await;
}

#[tokio::test]
async fn a_level_needs_its_name() {
    let bench = Bench::new();
    for (name, level) in [("MQIsdp", 2), ("MQIsdp", 4), ("MQTT", 3), ("MQIsdP", 3)] {
        let body: [&[u8]; 3] = [&text(name), &[level, 0xC2, 0, 60], &text("device")];
        bench.refuses(&packet(0x10, &[&body.concat(), &text("user"), &text("pw")]), 1).await;
    }
}
