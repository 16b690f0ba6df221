//! Strings, fixed headers, packet identifiers, lengths.

use crate::bench::{Bench, CALL, connect_of, packet, publish, subscribe, text, unsubscribe};

cases! {
    ill_formed_utf_8_ends_the_connection: mqtt_1_5_3_1 mqtt_3_1_3_4 mqtt_3_1_3_10 mqtt_3_1_3_11 mqtt_3_3_2_1 mqtt_3_8_3_1 mqtt_3_10_3_1;
    nul_ends_the_connection: mqtt_1_5_3_2 mqtt_4_7_3_2;
    a_byte_order_mark_is_a_character: mqtt_1_5_3_3;
    reserved_flags_end_the_connection: mqtt_2_2_2_1 mqtt_2_2_2_2 mqtt_3_6_1_1 mqtt_3_8_1_1 mqtt_3_10_1_1 mqtt_3_14_1_1;
    identifier_0_is_none: mqtt_2_3_1_1;
    what_is_malformed_ends_the_connection: mqtt_4_8_0_1;
    topics_have_at_least_one_character: mqtt_4_7_3_1;
    topics_may_be_as_long_as_a_length_can_say: mqtt_4_7_3_3;
}

/// Overlong, a surrogate, beyond the last character, a continuation byte alone, cut short.
const ILL_FORMED: [&[u8]; 5] = [b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"a\x80", b"\xE2\x82"];

/// Every place where a client's packet has a string, with `bad` in it.
async fn in_every_string(bad: &[u8]) {
    let bench = Bench::new();
    let (bad, good) = (text(bad), text("device"));
    bench.hangs_up_on(&connect_of(0xC2, &[&bad, &text("user"), &text("pw")])).await;
    bench.hangs_up_on(&connect_of(0xC6, &[&good, &bad, &text("gone"), &text("user"), &text("pw")])).await;
    bench.hangs_up_on(&connect_of(0xC2, &[&good, &bad, &text("pw")])).await;
    bench.disconnects_for(&packet(0x30, &[&bad, b"GET\n\n"])).await;
    bench.disconnects_for(&packet(0x82, &[&[0, 1], &bad, &[0]])).await;
    bench.disconnects_for(&packet(0x82, &[&[0, 1], &good, &[0], &bad, &[0]])).await;
    bench.disconnects_for(&packet(0xA2, &[&[0, 1], &bad])).await;
    assert!(bench.executed().is_empty());
}

async fn ill_formed_utf_8_ends_the_connection() {
    for bad in ILL_FORMED {
        in_every_string(bad).await;
    }
}

async fn nul_ends_the_connection() {
    for bad in [&b"\0"[..], b"device\0", b"p/device/\0"] {
        in_every_string(bad).await;
    }
}

async fn a_byte_order_mark_is_a_character() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    // Not the own topic, because one character is before it, and an own one, which keeps its character.
    peer.send(subscribe(1, &[("\u{FEFF}device", 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0x80]).await;
    let topic = format!("{CALL}/\u{FEFF}a\u{FEFF}");
    peer.send(publish(0, &topic, None, "GET\n\n")).await;
    assert!(peer.answer(&topic).await.starts_with("200\r\n"));
    bench.refuses(&connect_of(0xC2, &[&text("\u{FEFF}device"), &text("user"), &text("pw")]), 2).await;
}

async fn reserved_flags_end_the_connection() {
    let bench = Bench::new();
    for flags in 1..16 {
        let mut connect = crate::bench::connect("device");
        connect[0] |= flags;
        bench.hangs_up_on(&connect).await;
    }
    let id = [0, 1];
    let filter = [&id[..], &text("device")].concat();
    let filter_and_qos = [&filter[..], &[0]].concat();
    let bodies: [(u8, u8, &[u8]); 8] = [
        (0x40, 0, &id),             // PUBACK
        (0x50, 0, &id),             // PUBREC
        (0x60, 2, &id),             // PUBREL
        (0x70, 0, &id),             // PUBCOMP
        (0x80, 2, &filter_and_qos), // SUBSCRIBE
        (0xA0, 2, &filter),         // UNSUBSCRIBE
        (0xC0, 0, &[]),             // PINGREQ
        (0xE0, 0, &[]),             // DISCONNECT
    ];
    for (kind, right, body) in bodies {
        for flags in (0..16).filter(|flags| *flags != right) {
            bench.disconnects_for(&packet(kind | flags, &[body])).await;
        }
    }
}

async fn identifier_0_is_none() {
    let bench = Bench::new();
    for zero in [
        publish(0x02, CALL, Some(0), "GET\n\n"),
        publish(0x04, CALL, Some(0), "GET\n\n"),
        subscribe(0, &[("device", 0)]),
        unsubscribe(0, &["device"]),
        packet(0x62, &[&[0, 0]]),
    ] {
        bench.disconnects_for(&zero).await;
    }
    assert!(bench.executed().is_empty());
    let mut peer = bench.login("device").await;
    peer.send(subscribe(65_535, &[("device", 0)])).await;
    peer.expect(&[0x90, 3, 0xFF, 0xFF, 0]).await;
}

async fn what_is_malformed_ends_the_connection() {
    let bench = Bench::new();
    let topic = text(CALL);
    let good = subscribe(1, &[("device", 0)]);
    let mut malformed: Vec<Vec<u8>> = vec![
        vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], // a remaining length of five bytes
        vec![0xC0, 0x80, 0x80, 0x80, 0x80, 0x00], // even of nothing
        packet(0x00, &[]),                        // packet types that do not exist
        packet(0xF0, &[]),
        packet(0xC0, &[&[0]]), // bytes after the last field
        packet(0xE0, &[&[0]]),
        packet(0x40, &[&[0, 1, 0]]),
        packet(0x62, &[&[0, 1, 0]]),
        packet(0x40, &[&[0]]), // fields cut short
        packet(0x62, &[&[0]]),
        packet(0x30, &[]),
        packet(0x30, &[&[0]]),
        packet(0x30, &[&topic[..topic.len() - 1]]), // a topic longer than its packet
        packet(0x32, &[&topic]),                    // QoS 1 without an identifier
        packet(0x32, &[&topic, &[0]]),
        packet(0x82, &[&[0, 1], &text("device")]), // no QoS
        packet(0x82, &[&[0, 1], &[0, 9], b"device"]),
        packet(0xA2, &[&[0, 1], &[0, 9], b"device"]),
    ];
    // What only a server sends.
    malformed.extend([vec![0x20, 2, 0, 0], vec![0x90, 3, 0, 1, 0], vec![0xB0, 2, 0, 1], vec![0xD0, 0]]);
    for bytes in malformed {
        bench.disconnects_for(&bytes).await;
    }
    // The start of a packet is no fault, and neither is a length written in more bytes than it needs.
    let mut peer = bench.login("device").await;
    peer.send(&good[..3]).await;
    peer.send(&good[3..]).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    peer.send([0xC0, 0x80, 0x80, 0x00]).await;
    peer.expect(&crate::bench::PINGRESP).await;
}

async fn topics_have_at_least_one_character() {
    let bench = Bench::new();
    bench.disconnects_for(&publish(0, "", None, "GET\n\n")).await;
    bench.disconnects_for(&subscribe(1, &[("", 0)])).await;
    bench.disconnects_for(&subscribe(1, &[("device", 0), ("", 0)])).await;
    bench.disconnects_for(&unsubscribe(1, &[""])).await;
    let will = connect_of(0xC6, &[&text("device"), &text(""), &text("gone"), &text("user"), &text("pw")]);
    bench.hangs_up_on(&will).await;
}

async fn topics_may_be_as_long_as_a_length_can_say() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    let longest = format!("{CALL}{}", "x".repeat(65_535 - CALL.len()));
    peer.send(publish(0, &longest, None, "PUT\n\nlong")).await;
    assert!(peer.answer(&longest).await.ends_with("\r\n\r\nlong"));
    // A filter of that length is no fault either, but more than a SUBSCRIBE may have here ends the connection.
    peer.send(subscribe(2, &[(&"x".repeat(16_000), 0)])).await;
    peer.expect(&[0x90, 3, 0, 2, 0x80]).await;
    peer.send(subscribe(3, &[(&longest, 0)])).await;
    assert_eq!(peer.rest().await, b"");
}
