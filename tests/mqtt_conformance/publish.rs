//! PUBLISH and its acknowledgements: quality of service, RETAIN, order.

use thingif::edge::{Config, PushOutcome, Pusher};

use crate::bench::{Bench, CALL, publish, subscribe};

cases! {
    acknowledgements_name_what_they_acknowledge: mqtt_2_3_1_6 mqtt_3_3_4_1 mqtt_4_3_2_2;
    answers_have_no_identifier_and_no_flags: mqtt_2_3_1_5 mqtt_3_3_1_3 mqtt_3_3_1_9 mqtt_4_3_1_1;
    by_design_dup_at_qos_0_is_read_as_absent: mqtt_3_3_1_2;
    qos_3_ends_the_connection: mqtt_3_3_1_4;
    by_design_nothing_is_retained: mqtt_3_1_2_7 mqtt_3_3_1_5 mqtt_3_3_1_6 mqtt_3_3_1_7 mqtt_3_3_1_8;
    without_a_payload_nothing_is_left_behind: mqtt_3_3_1_10 mqtt_3_3_1_11 mqtt_3_3_1_12;
    wildcards_in_a_topic_end_the_connection: mqtt_3_3_2_2 mqtt_4_7_1_1;
    by_design_answers_need_no_subscription: mqtt_3_3_2_3;
    overlapping_subscriptions_get_one_copy: mqtt_3_3_5_1;
    who_may_not_publish_is_acknowledged: mqtt_3_3_5_2;
    by_design_a_publish_reaches_the_service_alone: mqtt_4_5_0_1;
    qos_2_is_executed_once_until_it_is_released: mqtt_4_3_3_2;
    answers_of_one_path_keep_their_order: mqtt_4_6_0_5 mqtt_4_6_0_6;
    by_design_what_finds_no_room_is_answered: mqtt_4_8_0_2;
}

async fn acknowledgements_name_what_they_acknowledge() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for id in [1, 0x1234, 0xFFFF_u16] {
        let [high, low] = id.to_be_bytes();
        peer.send(publish(0, CALL, None, "PUT\n\n0")).await;
        peer.answer(CALL).await; // and no acknowledgement
        // After its PUBACK an identifier is a new one, whatever DUP says.
        for dup in [0, 8] {
            peer.send(publish(dup | 2, CALL, Some(id), "PUT\n\n1")).await;
            peer.expect(&[0x40, 2, high, low]).await;
            peer.answer(CALL).await;
        }
        peer.send(publish(4, CALL, Some(id), "PUT\n\n2")).await;
        peer.expect(&[0x50, 2, high, low]).await;
        peer.answer(CALL).await;
        peer.send([0x62, 2, high, low]).await;
        peer.expect(&[0x70, 2, high, low]).await;
    }
    assert_eq!(bench.executed().len(), 3 * 4);
}

async fn answers_have_no_identifier_and_no_flags() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("p/device/#", 2)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    for (flags, id, ack) in
        [(0, None, &[][..]), (1, None, &[]), (0x0B, Some(7), &[0x40, 2, 0, 7]), (0x0D, Some(7), &[0x50, 2, 0, 7])]
    {
        peer.send(publish(flags, CALL, id, "PUT\n\nbody")).await;
        peer.expect(ack).await;
        // `answer` insists on 0x30, and on the frame right after the topic.
        assert!(peer.answer(CALL).await.starts_with("200\r\n"), "{flags:#x}");
    }
}

async fn by_design_dup_at_qos_0_is_read_as_absent() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(publish(8, CALL, None, "PUT\n\nbody")).await;
    assert!(peer.answer(CALL).await.starts_with("200\r\n"));
}

async fn qos_3_ends_the_connection() {
    let bench = Bench::new();
    for flags in [6, 7, 0x0E, 0x0F] {
        bench.disconnects_for(&publish(flags, CALL, Some(1), "PUT\n\nbody")).await;
    }
    assert!(bench.executed().is_empty());
}

async fn by_design_nothing_is_retained() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for flags in [1, 3] {
        let id = (flags == 3).then_some(1);
        for topic in [CALL, "device", "other"] {
            peer.send(publish(flags, topic, id, "PUT\n\nbody")).await;
            if flags == 3 {
                peer.expect(&[0x40, 2, 0, 1]).await;
            }
            if topic == CALL {
                peer.answer(CALL).await;
            }
        }
    }
    peer.send(subscribe(1, &[("device", 0), ("p/device/#", 0)])).await;
    peer.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    peer.ping().await;
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("device", 0), ("p/device/#", 0)])).await;
    peer.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    peer.ping().await;
    assert_eq!(bench.registry.metrics().ignored, 6);
}

async fn without_a_payload_nothing_is_left_behind() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(publish(1, CALL, None, "")).await;
    assert!(peer.answer(CALL).await.starts_with("400\r\n"), "processed as any other");
    peer.send(publish(0, CALL, None, "PUT\n\nbody")).await;
    assert!(peer.answer(CALL).await.starts_with("200\r\n"));
    peer.send(publish(1, "device", None, "")).await;
    peer.send(publish(0, "device", None, "body")).await;
    peer.send(subscribe(1, &[("device", 0), ("p/device/#", 0)])).await;
    peer.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    peer.ping().await;
}

async fn wildcards_in_a_topic_end_the_connection() {
    let bench = Bench::new();
    for topic in ["#", "+", "p/device/+", "p/device/#", "p/+/x", "a+b", "device#"] {
        bench.disconnects_for(&publish(0, topic, None, "GET\n\n")).await;
        let will = [&crate::bench::text("device")[..], &crate::bench::text(topic), &crate::bench::text("gone")];
        bench.hangs_up_on(&crate::bench::connect_of(0x06, &will)).await;
    }
    assert!(bench.executed().is_empty());
}

async fn by_design_answers_need_no_subscription() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(publish(0, CALL, None, "PUT\n\nbody")).await;
    assert!(peer.answer(CALL).await.ends_with("body"));
    // Nor can it be told not to answer.
    peer.send(crate::bench::unsubscribe(1, &["p/device/#", CALL])).await;
    peer.expect(&[0xB0, 2, 0, 1]).await;
    peer.send(publish(0, CALL, None, "PUT\n\nbody")).await;
    assert!(peer.answer(CALL).await.ends_with("body"));
}

async fn overlapping_subscriptions_get_one_copy() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    let filters = [("p/device/#", 2), (CALL, 1), ("p/device/+/apps/app1/x", 0), ("device", 2), ("device", 1)];
    peer.send(subscribe(1, &filters)).await;
    peer.expect(&[0x90, 7, 0, 1, 0, 0, 0, 0, 0]).await;
    peer.send(publish(0, CALL, None, "PUT\n\nbody")).await;
    peer.answer(CALL).await;
    peer.ping().await;
    let outcome = bench.registry.push(&crate::raw_mqtt::client_id("device"), "{}".into()).await;
    assert_eq!(outcome, PushOutcome::Queued);
    assert_eq!(peer.answer("device").await, "{}");
    peer.ping().await;
}

async fn who_may_not_publish_is_acknowledged() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for topic in ["p/device2/thing-if/apps/app1/x", "device", "device2", "$SYS/x", "/p/device/x", "p/device"] {
        peer.send(publish(0, topic, None, "PUT\n\nbody")).await;
        peer.send(publish(2, topic, Some(1), "PUT\n\nbody")).await;
        peer.expect(&[0x40, 2, 0, 1]).await;
        peer.send(publish(4, topic, Some(2), "PUT\n\nbody")).await;
        peer.expect(&[0x50, 2, 0, 2]).await;
        peer.send([0x62, 2, 0, 2]).await;
        peer.expect(&[0x70, 2, 0, 2]).await;
    }
    peer.ping().await;
    assert!(bench.executed().is_empty());
}

async fn by_design_a_publish_reaches_the_service_alone() {
    let bench = Bench::new();
    let mut listening = bench.login("device").await;
    listening.send(subscribe(1, &[("device", 0), ("p/device/#", 0)])).await;
    listening.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    let mut publishing = bench.login("device2").await;
    publishing.send(publish(2, "device", Some(1), "{}")).await;
    publishing.expect(&[0x40, 2, 0, 1]).await;
    publishing.send(publish(2, CALL, Some(2), "PUT\n\n{}")).await;
    publishing.expect(&[0x40, 2, 0, 2]).await;
    publishing.ping().await;
    // One's own subscription does not echo one's own PUBLISH either: what comes is the answer.
    listening.send(publish(0, CALL, None, "PUT\n\nbody")).await;
    assert!(listening.answer(CALL).await.starts_with("200\r\n"));
    listening.ping().await;
    assert_eq!(bench.executed().len(), 1);
}

async fn qos_2_is_executed_once_until_it_is_released() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    for (round, id) in [7_u16, 8, 7].into_iter().enumerate() {
        let low = u8::try_from(id).expect("small");
        let frame = format!("PUT\n\n{round}");
        for (time, dup) in [0, 8, 0, 8].into_iter().enumerate() {
            peer.send(publish(dup | 4, CALL, Some(id), &frame)).await;
            peer.expect(&[0x50, 2, 0, low]).await;
            if time == 0 {
                assert!(peer.answer(CALL).await.ends_with(&round.to_string()));
            }
        }
        peer.ping().await;
        // The last one twice: a PUBCOMP may be lost, and only its sender knows.
        for _ in 0..2 {
            peer.send([0x62, 2, 0, low]).await;
            peer.expect(&[0x70, 2, 0, low]).await;
        }
    }
    assert_eq!(bench.executed().len(), 3);
    // QoS 1 and QoS 2 use the same numbers without meaning the same.
    peer.send(publish(4, CALL, Some(9), "PUT\n\na")).await;
    peer.expect(&[0x50, 2, 0, 9]).await;
    peer.answer(CALL).await;
    peer.send(publish(2, CALL, Some(9), "PUT\n\nb")).await;
    peer.expect(&[0x40, 2, 0, 9]).await;
    peer.answer(CALL).await;
    // Acknowledgements of what was never sent mean nothing.
    peer.send([0x40, 2, 0, 5, 0x50, 2, 0, 5, 0x70, 2, 0, 5]).await;
    peer.ping().await;
}

async fn answers_of_one_path_keep_their_order() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    let mut all = Vec::new();
    for number in 0..200 {
        let (flags, id) = if number % 3 == 0 { (0, None) } else { (2 * (number % 3), Some(number + 1)) };
        all.extend(publish(u8::try_from(flags).expect("small"), CALL, id, &format!("PUT\n\n{number}.")));
    }
    peer.send(all).await;
    let mut seen = 0;
    while seen < 200 {
        let mut first = [0];
        tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut first).await.expect("open");
        if first == [0x30] {
            let len = tokio::io::AsyncReadExt::read_u8(&mut peer.0).await.expect("open");
            let more =
                if len & 0x80 == 0 { 0 } else { tokio::io::AsyncReadExt::read_u8(&mut peer.0).await.expect("open") };
            let mut body = vec![0; usize::from(len & 0x7F) | usize::from(more) << 7];
            tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut body).await.expect("open");
            assert!(body.ends_with(format!("\r\n\r\n{seen}.").as_bytes()), "{seen} was overtaken");
            seen += 1;
        } else {
            tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut [0; 3]).await.expect("an acknowledgement");
        }
    }
    let executed = bench.executed();
    assert!(executed.iter().enumerate().all(|(at, line)| line.ends_with(&format!(" {at}."))), "{executed:?}");
}

async fn by_design_what_finds_no_room_is_answered() {
    let mut config = Config::default();
    config.max_in_flight_total = 0;
    let bench = Bench::with(config);
    let mut peer = bench.login("device").await;
    peer.send(publish(2, CALL, Some(1), "PUT\nX-Kii-RequestID: 1\n\nbody")).await;
    peer.expect(&[0x40, 2, 0, 1]).await;
    let answer = peer.answer(CALL).await;
    assert!(answer.starts_with("503\r\n") && answer.contains("X-Kii-RequestID:1\r\n"), "{answer}");
    peer.ping().await;
}
