//! SUBSCRIBE, UNSUBSCRIBE, topic filters.

use thingif::edge::{PushOutcome, Pusher};

use crate::bench::{Bench, CALL, packet, publish, subscribe, text, unsubscribe};
use crate::raw_mqtt::client_id;

cases! {
    a_suback_has_the_identifier_and_a_code_for_each_filter: mqtt_2_3_1_7 mqtt_3_8_4_1 mqtt_3_8_4_2 mqtt_3_8_4_4 mqtt_3_8_4_5 mqtt_3_9_3_1 mqtt_3_9_3_2;
    nothing_to_subscribe_to_ends_the_connection: mqtt_3_8_3_3 mqtt_3_10_3_2;
    wildcards_beyond_the_own_topics_are_refused: mqtt_3_8_3_2 mqtt_4_7_2_1;
    reserved_bits_beside_the_qos_end_the_connection: mqtt_3_8_3_4;
    a_second_subscription_replaces_the_first: mqtt_3_8_4_3;
    qos_0_is_granted_and_kept_to: mqtt_3_8_4_6;
    misplaced_wildcards_end_the_connection: mqtt_4_7_1_2 mqtt_4_7_1_3;
    unsubscribing_needs_the_very_filter: mqtt_3_10_4_1 mqtt_3_10_4_2;
    an_unsuback_comes_in_every_case: mqtt_3_10_4_4 mqtt_3_10_4_5 mqtt_3_10_4_6;
    topics_are_compared_byte_for_byte: mqtt_4_7_3_4;
}

async fn push(bench: &Bench) -> PushOutcome {
    bench.registry.push(&client_id("device"), "{}".into()).await
}

async fn a_suback_has_the_identifier_and_a_code_for_each_filter() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for id in [1_u16, 0x0102, 0xFFFF] {
        let [high, low] = id.to_be_bytes();
        peer.send(subscribe(id, &[("other", 0), ("device", 2), ("#", 1), ("p/device/x", 1), ("device", 0)])).await;
        peer.expect(&[0x90, 7, high, low, 0x80, 0, 0x80, 0, 0]).await;
        peer.send(unsubscribe(id, &["device", "other"])).await;
        peer.expect(&[0xB0, 2, high, low]).await;
    }
    peer.ping().await;
}

async fn nothing_to_subscribe_to_ends_the_connection() {
    let bench = Bench::new();
    bench.disconnects_for(&packet(0x82, &[&[0, 1]])).await;
    bench.disconnects_for(&packet(0xA2, &[&[0, 1]])).await;
    bench.disconnects_for(&packet(0x82, &[])).await;
    bench.disconnects_for(&packet(0xA2, &[])).await;
}

async fn wildcards_beyond_the_own_topics_are_refused() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    let filters =
        ["#", "+", "+/#", "/#", "$SYS/#", "p/#", "p/+/x", "+/device/#", "device/#", "p/device2/#", "p/device"];
    for filter in filters {
        peer.send(subscribe(1, &[(filter, 0)])).await;
        peer.expect(&[0x90, 3, 0, 1, 0x80]).await;
    }
    assert_eq!(push(&bench).await, PushOutcome::NotSubscribed);
    bench.login("device2").await.send(publish(0, "$SYS/x", None, "x")).await;
    peer.ping().await;
}

async fn reserved_bits_beside_the_qos_end_the_connection() {
    let bench = Bench::new();
    for options in [3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xFF] {
        bench.disconnects_for(&subscribe(1, &[("device", options)])).await;
        bench.disconnects_for(&subscribe(1, &[("device", 0), ("p/device/#", options)])).await;
    }
}

async fn a_second_subscription_replaces_the_first() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for qos in [0, 1, 2, 0] {
        peer.send(subscribe(1, &[("device", qos)])).await;
        peer.expect(&[0x90, 3, 0, 1, 0]).await;
        assert_eq!(push(&bench).await, PushOutcome::Queued);
        assert_eq!(peer.answer("device").await, "{}");
        peer.ping().await; // one copy
    }
    // One UNSUBSCRIBE is enough for all of them.
    peer.send(unsubscribe(2, &["device"])).await;
    peer.expect(&[0xB0, 2, 0, 2]).await;
    assert_eq!(push(&bench).await, PushOutcome::NotSubscribed);
}

async fn qos_0_is_granted_and_kept_to() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("device", 2), ("p/device/#", 2)])).await;
    peer.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    push(&bench).await;
    peer.answer("device").await; // at QoS 0
    peer.send(publish(4, CALL, Some(1), "PUT\n\nbody")).await;
    peer.expect(&[0x50, 2, 0, 1]).await;
    peer.answer(CALL).await;
}

async fn misplaced_wildcards_end_the_connection() {
    let bench = Bench::new();
    for filter in ["device#", "#/device", "p/#/x", "a#", "##", "device+", "+device", "p/a+b/x", "p/++/x"] {
        bench.disconnects_for(&subscribe(1, &[(filter, 0)])).await;
        bench.disconnects_for(&unsubscribe(1, &[filter])).await;
    }
    let mut peer = bench.login("device").await;
    for filter in ["p/device/+", "p/device/+/x", "p/device/+/#", "p/device/#"] {
        peer.send(subscribe(1, &[(filter, 0)])).await;
        peer.expect(&[0x90, 3, 0, 1, 0]).await;
    }
}

async fn unsubscribing_needs_the_very_filter() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("device", 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    for other in ["Device", "device/", "/device", "+", "#", "p/device/#", "devic"] {
        peer.send(unsubscribe(2, &[other])).await;
        peer.expect(&[0xB0, 2, 0, 2]).await;
        assert_eq!(push(&bench).await, PushOutcome::Queued, "{other}");
        peer.answer("device").await;
    }
    peer.send(unsubscribe(3, &["device"])).await;
    peer.expect(&[0xB0, 2, 0, 3]).await;
    assert_eq!(push(&bench).await, PushOutcome::NotSubscribed);
    peer.ping().await;
}

async fn an_unsuback_comes_in_every_case() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(unsubscribe(0xABCD, &["nothing/of/the/kind"])).await;
    peer.expect(&[0xB0, 2, 0xAB, 0xCD]).await;
    peer.send(subscribe(1, &[("device", 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    peer.send(unsubscribe(2, &["one", "device", "three"])).await;
    peer.expect(&[0xB0, 2, 0, 2]).await;
    assert_eq!(push(&bench).await, PushOutcome::NotSubscribed);
    peer.ping().await; // one UNSUBACK
}

async fn topics_are_compared_byte_for_byte() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for filter in ["Device", "device/", "/device", "device ", "p/Device/#", "P/device/#", "p//device/#"] {
        peer.send(subscribe(1, &[(filter, 0)])).await;
        peer.expect(&[0x90, 3, 0, 1, 0x80]).await;
    }
    // Answers come on the very topic of the request: composed and decomposed, doubled slashes, letter case, spaces.
    for tail in ["caf\u{e9}", "cafe\u{301}", "a//b/", "A b", "%41", "\u{1F600}"] {
        let topic = format!("{CALL}/{tail}");
        peer.send(packet(0x30, &[&text(&topic), b"PUT\n\nbody"])).await;
        peer.answer(&topic).await;
    }
}
