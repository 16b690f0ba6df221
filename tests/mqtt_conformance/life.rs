//! A connection's life: keep-alive, its end, what holds as long as it lasts.

use std::time::Duration;

use thingif::edge::{PushOutcome, Pusher};
use tokio::time::{Instant, sleep};

use crate::bench::{ACCEPTED, Bench, CALL, DISCONNECT, connect, packet, publish, subscribe, text, unsubscribe};
use crate::raw_mqtt::client_id;

cases! {
    one_and_a_half_keep_alives_of_silence_end_the_connection: mqtt_3_1_2_24;
    a_pingreq_is_answered: mqtt_3_12_4_1;
    after_disconnect_nothing_is_done: mqtt_3_14_4_2;
    a_session_lasts_as_long_as_its_connection: mqtt_4_1_0_2;
    a_plain_clients_day_needs_nothing_else: mqtt_7_0_0_2 mqtt_7_1_1_1;
    a_suback_comes_before_any_push: mqtt_3_8_4_1;
}

async fn one_and_a_half_keep_alives_of_silence_end_the_connection() {
    tokio::time::pause();
    for keep_alive in [1_u16, 10, 65_535] {
        let bench = Bench::new();
        let mut peer = bench.dial();
        let login = [&text("device")[..], &text("user"), &text("pw")].concat();
        peer.send(packet(0x10, &[&text("MQTT"), &[4, 0xC2], &keep_alive.to_be_bytes(), &login])).await;
        peer.expect(&ACCEPTED).await;
        // Anything that is heard will do; the last byte of half a packet, too.
        for some in [&[0xC0, 0][..], &publish(0, "other", None, ""), &[0xC0]] {
            sleep(Duration::from_secs(keep_alive.into())).await;
            peer.send(some).await;
        }
        let since = Instant::now();
        peer.expect(&[0xD0, 0]).await;
        // It waits in virtual time, which runs only as far as the edge's own timer.
        let mut end = [0];
        let read = tokio::io::AsyncReadExt::read(&mut peer.0, &mut end).await.expect("readable");
        assert_eq!(read, 0, "closed");
        let lasted = since.elapsed().as_secs_f64() / f64::from(keep_alive);
        assert!((1.45..1.6).contains(&lasted), "{lasted} keep-alives of {keep_alive} s");
    }
}

async fn a_pingreq_is_answered() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send([0xC0, 0, 0xC0, 0, 0xC0, 0]).await;
    peer.expect(&[0xD0, 0, 0xD0, 0, 0xD0, 0]).await;
}

async fn after_disconnect_nothing_is_done() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    let call = publish(2, CALL, Some(2), "PUT\n\nafter");
    peer.send([&publish(2, CALL, Some(1), "PUT\n\nbefore")[..], &DISCONNECT, &call, &[0xC0, 0]].concat()).await;
    let rest = peer.rest().await;
    assert!(rest.starts_with(&[0x40, 2, 0, 1]), "{rest:02x?}");
    assert!(!rest.windows(2).any(|two| two == [0xD0, 0]), "{rest:02x?}");
    assert!(bench.executed().iter().all(|line| line.ends_with("before")), "{:?}", bench.executed());
}

async fn a_session_lasts_as_long_as_its_connection() {
    tokio::time::pause();
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("device", 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    peer.send(publish(4, CALL, Some(7), "PUT\n\nbody")).await;
    peer.expect(&[0x50, 2, 0, 7]).await;
    peer.answer(CALL).await;
    for _ in 0..1_000 {
        sleep(Duration::from_secs(60)).await;
        peer.ping().await;
    }
    assert_eq!(bench.registry.push(&client_id("device"), "{}".into()).await, PushOutcome::Queued);
    peer.answer("device").await;
    peer.send(publish(0x0C, CALL, Some(7), "PUT\n\nbody")).await;
    peer.expect(&[0x50, 2, 0, 7]).await;
    peer.ping().await;
    assert_eq!(bench.executed().len(), 1);
}

async fn a_plain_clients_day_needs_nothing_else() {
    let bench = Bench::new();
    let mut peer = bench.login("mosq-0123456789").await;
    peer.send(subscribe(1, &[("mosq-0123456789", 2), ("some/topic", 1)])).await;
    peer.expect(&[0x90, 4, 0, 1, 0, 0x80]).await;
    peer.send(publish(1, "some/topic", None, "hello")).await;
    peer.send(publish(3, "some/topic", Some(2), "hello")).await;
    peer.expect(&[0x40, 2, 0, 2]).await;
    peer.send(publish(4, "some/topic", Some(3), "hello")).await;
    peer.expect(&[0x50, 2, 0, 3]).await;
    peer.send([0x62, 2, 0, 3]).await;
    peer.expect(&[0x70, 2, 0, 3]).await;
    peer.ping().await;
    peer.send(unsubscribe(4, &["mosq-0123456789", "some/topic"])).await;
    peer.expect(&[0xB0, 2, 0, 4]).await;
    peer.send(DISCONNECT).await;
    assert_eq!(peer.rest().await, b"");
}

/// The line takes one byte at a time, so the SUBACK cannot have left when the push is queued: it is the order of the two
/// that is seen, and nothing that a fast reader hides.
async fn a_suback_comes_before_any_push() {
    for round in 0..3 {
        let bench = Bench::new();
        let mut peer = bench.dial_with(1);
        peer.send(connect("device")).await;
        peer.expect(&ACCEPTED).await;
        peer.send(subscribe(1, &[("device", 0)])).await;
        let mut pushed = 0;
        for _ in 0..10_000 {
            match bench.registry.push(&client_id("device"), "{}".into()).await {
                PushOutcome::Queued => pushed += 1,
                other => assert_eq!(other, PushOutcome::NotSubscribed),
            }
            if pushed > round {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(pushed > round, "never subscribed");
        peer.expect(&[0x90, 3, 0, 1, 0]).await;
        for _ in 0..pushed {
            assert_eq!(peer.answer("device").await, "{}");
        }
    }
}
