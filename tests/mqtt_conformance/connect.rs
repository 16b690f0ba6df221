//! CONNECT and CONNACK.

use crate::bench::{ACCEPTED, Bench, CALL, PINGREQ, connect, connect_of, packet, publish, subscribe, text};

cases! {
    the_first_packet_is_a_connect: mqtt_3_1_0_1;
    a_second_connect_ends_the_connection: mqtt_3_1_0_2;
    other_protocols_get_code_1: mqtt_3_1_2_1 mqtt_3_1_2_2;
    a_connect_out_of_shape_gets_no_answer: mqtt_3_1_2_3 mqtt_3_1_4_1 mqtt_3_2_2_6;
    a_clean_session_begins_with_nothing: mqtt_3_1_2_6 mqtt_3_2_2_1 mqtt_3_2_2_3;
    by_design_no_session_is_kept: mqtt_3_1_2_4 mqtt_3_1_2_5 mqtt_3_1_4_3 mqtt_3_2_2_2 mqtt_4_1_0_1;
    a_will_has_its_fields: mqtt_3_1_2_9;
    will_bits_need_a_will: mqtt_3_1_2_11 mqtt_3_1_2_13 mqtt_3_1_2_15;
    will_qos_is_no_3: mqtt_3_1_2_14;
    nobody_hears_of_one_who_leaves: mqtt_3_1_2_10 mqtt_3_1_2_12 mqtt_3_14_4_3;
    by_design_a_will_is_dropped: mqtt_3_1_2_8 mqtt_3_1_2_16 mqtt_3_1_2_17;
    user_name_and_password_are_where_their_flags_say: mqtt_3_1_2_18 mqtt_3_1_2_19 mqtt_3_1_2_20 mqtt_3_1_2_21;
    a_password_needs_a_user_name: mqtt_3_1_2_22;
    the_fields_come_in_their_order: mqtt_3_1_3_1 mqtt_3_1_3_3;
    a_client_identifier_names_one_client: mqtt_3_1_3_2 mqtt_3_1_4_2;
    by_design_anonymous_is_many: mqtt_3_1_4_2;
    every_plain_identifier_is_taken: mqtt_3_1_3_5;
    no_identifier_is_chosen_for_a_client: mqtt_3_1_3_6 mqtt_3_1_3_8;
    an_identifier_that_will_not_do_gets_code_2: mqtt_3_1_3_9;
    connack_is_the_first_answer: mqtt_3_1_4_4 mqtt_3_2_0_1;
    nothing_is_done_for_who_was_refused: mqtt_3_1_4_5 mqtt_3_2_2_4 mqtt_3_2_2_5;
}

async fn the_first_packet_is_a_connect() {
    let bench = Bench::new();
    let call = publish(0, CALL, None, "GET\n\n");
    for first in [&PINGREQ[..], &call, &subscribe(1, &[("device", 0)]), b"\xE0\0", b"GET /mqtt HTTP/1.1\r\n\r\n"] {
        bench.hangs_up_on(&[first, &connect("device")].concat()).await;
    }
    assert!(bench.executed().is_empty());
}

async fn a_second_connect_ends_the_connection() {
    let bench = Bench::new();
    bench.disconnects_for(&connect("device")).await;
    bench.disconnects_for(&connect("other")).await;
}

async fn other_protocols_get_code_1() {
    let bench = Bench::new();
    for (name, level) in
        [("MQTT", 0), ("MQTT", 3), ("MQTT", 5), ("MQTT", 0x84), ("MQIsdp", 4), ("mqtt", 4), ("MQTTX", 4), ("", 4)]
    {
        let body: [&[u8]; 3] = [&text(name), &[level, 0xC2, 0, 60], &text("device")];
        bench.refuses(&packet(0x10, &[&body.concat(), &text("user"), &text("pw")]), 1).await;
    }
}

async fn a_connect_out_of_shape_gets_no_answer() {
    let bench = Bench::new();
    let good = connect("device");
    let mut reserved = good.clone();
    reserved[9] |= 1;
    bench.hangs_up_on(&reserved).await;
    // Whatever field it ends in, and with one byte too many. Its length says so.
    for len in 0..good.len() - 2 {
        // Without a protocol name and level, it may be of a version that is refused.
        let cut = packet(0x10, &[&good[2..2 + len]]);
        bench.hangs_up_on(&cut).await;
    }
    bench.hangs_up_on(&packet(0x10, &[&good[2..], &[0]])).await;
    bench.hangs_up_on(b"\x10\xFF\xFF\xFF\xFF\x01").await;
    assert_eq!(bench.registry.metrics().refused, 0);
}

async fn a_clean_session_begins_with_nothing() {
    let bench = Bench::new();
    let mut peer = bench.login("device").await;
    peer.send(subscribe(1, &[("device", 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    peer.send(publish(4, CALL, Some(7), "PUT\n\nfirst")).await;
    peer.expect(&[0x50, 2, 0, 7]).await;
    drop(peer);
    for flags in [0xC2, 0xC0] {
        let mut peer = bench.dial();
        peer.send(connect_of(flags, &[&text("new"), &text("user"), &text("pw")])).await;
        peer.expect(&ACCEPTED).await; // session present 0
        let mut peer = bench.login("device").await;
        push(&bench, "device").await;
        peer.send(publish(4, CALL, Some(7), "PUT\n\nsecond")).await;
        peer.expect(&[0x50, 2, 0, 7]).await;
        peer.answer(CALL).await;
        peer.ping().await; // and no push
    }
    let executed = bench.executed();
    assert_eq!(executed.iter().filter(|line| line.ends_with("second")).count(), 2, "{executed:?}");
}

async fn by_design_no_session_is_kept() {
    let bench = Bench::new();
    let unclean = connect_of(0xC0, &[&text("device"), &text("user"), &text("pw")]);
    let mut peer = bench.dial();
    peer.send(&unclean).await;
    peer.expect(&ACCEPTED).await;
    peer.send(subscribe(1, &[("device", 1)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0]).await;
    drop(peer);
    let mut peer = bench.dial();
    peer.send(&unclean).await;
    peer.expect(&ACCEPTED).await; // without session present
    push(&bench, "device").await;
    peer.ping().await; // the subscription is gone, and nothing was kept
}

/// A push that nobody may hear. Its outcome is the pusher's to know.
async fn push(bench: &Bench, client: &str) {
    use thingif::edge::{PushOutcome, Pusher};
    let outcome = bench.registry.push(&crate::raw_mqtt::client_id(client), "{}".into()).await;
    assert_eq!(outcome, PushOutcome::NotSubscribed);
}

async fn a_will_has_its_fields() {
    let bench = Bench::new();
    let (id, topic, message) = (text("device"), text("w"), text("gone"));
    let (user, password) = (text("user"), text("pw"));
    bench.hangs_up_on(&connect_of(0x06, &[&id])).await;
    bench.hangs_up_on(&connect_of(0x06, &[&id, &topic])).await;
    bench.hangs_up_on(&connect_of(0xC6, &[&id, &user, &password])).await;
    for will in [0x04, 0x0C, 0x14, 0x24, 0x2C, 0x34] {
        let mut peer = bench.dial();
        peer.send(connect_of(0xC2 | will, &[&id, &topic, &message, &user, &password])).await;
        peer.expect(&ACCEPTED).await;
    }
    let empty = text("");
    let mut peer = bench.dial();
    peer.send(connect_of(0xC6, &[&id, &topic, &empty, &user, &password])).await;
    peer.expect(&ACCEPTED).await;
}

async fn will_bits_need_a_will() {
    let bench = Bench::new();
    for bits in [0x08, 0x10, 0x18, 0x20, 0x28] {
        bench.hangs_up_on(&connect_of(0xC2 | bits, &[&text("device"), &text("user"), &text("pw")])).await;
    }
    // The fields of a will without its flag: bytes after the last field.
    let fields = [&text("device")[..], &text("w"), &text("gone"), &text("user"), &text("pw")];
    bench.hangs_up_on(&connect_of(0xC2, &fields)).await;
}

async fn will_qos_is_no_3() {
    let fields = [&text("device")[..], &text("w"), &text("gone"), &text("user"), &text("pw")];
    Bench::new().hangs_up_on(&connect_of(0xC2 | 0x1C, &fields)).await;
}

/// What `device2` hears of `device`, which has or has not a will on `device2`, when it ends in some way.
async fn nothing_is_heard(flags: u8, last: &[u8]) {
    let bench = Bench::new();
    let mut listening = bench.login("device2").await;
    listening.send(subscribe(1, &[("device2", 2), ("p/device2/#", 2)])).await;
    listening.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    let will = [&text("device2")[..], &text("gone")].concat();
    let will = if flags & 4 == 0 { &[][..] } else { &will };
    let mut leaving = bench.dial();
    leaving.send(connect_of(flags, &[&text("device"), will, &text("user"), &text("pw")])).await;
    leaving.expect(&ACCEPTED).await;
    leaving.send(last).await;
    assert_eq!(leaving.rest().await, b"");
    listening.ping().await;
    // Nor was one kept for those who come later.
    listening.send(subscribe(2, &[("device2", 2)])).await;
    listening.expect(&[0x90, 3, 0, 2, 0]).await;
    listening.ping().await;
}

async fn nobody_hears_of_one_who_leaves() {
    nothing_is_heard(0xC6, &crate::bench::DISCONNECT).await;
    nothing_is_heard(0xC2, &crate::bench::DISCONNECT).await;
    nothing_is_heard(0xC2, b"\xF0\0").await;
}

async fn by_design_a_will_is_dropped() {
    for flags in [0xC6, 0xC6 | 0x08, 0xC6 | 0x10, 0xC6 | 0x20] {
        nothing_is_heard(flags, b"\xF0\0").await;
    }
}

async fn user_name_and_password_are_where_their_flags_say() {
    let bench = Bench::new();
    let (id, user, password) = (text("device"), text("user"), text("pw"));
    bench.refuses(&connect_of(0x02, &[&id]), 4).await;
    bench.refuses(&connect_of(0x82, &[&id, &user]), 4).await;
    bench.hangs_up_on(&connect_of(0x02, &[&id, &user])).await; // a field without its flag
    bench.hangs_up_on(&connect_of(0x82, &[&id, &user, &password])).await;
    bench.hangs_up_on(&connect_of(0x82, &[&id])).await; // a flag without its field
    bench.hangs_up_on(&connect_of(0xC2, &[&id, &user])).await;
    bench.refuses(&connect_of(0xC2, &[&id, &user, &text("")]), 4).await;
    bench.refuses(&connect_of(0xC2, &[&id, &user, &text(b"\xFF")]), 4).await; // passwords are any bytes
    bench.login("device").await.ping().await;
}

async fn a_password_needs_a_user_name() {
    let bench = Bench::new();
    bench.hangs_up_on(&connect_of(0x42, &[&text("device"), &text("pw")])).await;
    bench.hangs_up_on(&connect_of(0x42, &[&text("device"), &text("user"), &text("pw")])).await;
}

async fn the_fields_come_in_their_order() {
    let bench = Bench::new();
    let (id, topic, message, user, password) = (text("device"), text("w"), text("gone"), text("user"), text("pw"));
    let mut peer = bench.dial();
    peer.send(connect_of(0xC6, &[&id, &topic, &message, &user, &password])).await;
    peer.expect(&ACCEPTED).await;
    peer.send(publish(0, CALL, None, "GET\n\n")).await; // as `device`
    peer.answer(CALL).await;
    bench.refuses(&connect_of(0xC6, &[&id, &user, &password, &topic, &message]), 4).await;
    bench.hangs_up_on(&connect_of(0x02, &[])).await;
}

async fn a_client_identifier_names_one_client() {
    let bench = Bench::new();
    let mut old = bench.login("device").await;
    let mut other = bench.login("Device").await;
    let mut new = bench.login("device").await;
    assert_eq!(old.rest().await, b"");
    new.ping().await;
    other.ping().await;
}

async fn by_design_anonymous_is_many() {
    let bench = Bench::new();
    let (_, user, password) = crate::scripted_edge::ANONYMOUS;
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = bench.dial();
        peer.send(connect_of(0xC2, &[&text("anonymous"), &text(user), &text(password)])).await;
        peer.expect(&ACCEPTED).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.ping().await;
    }
}

async fn every_plain_identifier_is_taken() {
    let bench = Bench::new();
    for id in ["0", "z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"] {
        bench.login(id).await.ping().await;
    }
    bench.login(&"x".repeat(200)).await.ping().await; // more than a server must
}

async fn no_identifier_is_chosen_for_a_client() {
    let bench = Bench::new();
    for flags in [0xC2, 0xC0] {
        bench.refuses(&connect_of(flags, &[&text(""), &text("user"), &text("pw")]), 2).await;
    }
    bench.refuses(&connect_of(0x02, &[&text("")]), 2).await;
}

async fn an_identifier_that_will_not_do_gets_code_2() {
    let bench = Bench::new();
    for id in ["a/b", "a+", "#", "with space", "caf\u{e9}", "$SYS", &"x".repeat(201)] {
        bench.refuses(&connect(id), 2).await;
    }
}

async fn connack_is_the_first_answer() {
    let bench = Bench::new();
    let mut peer = bench.dial();
    // All at once: nothing must wait for the CONNACK.
    let call = publish(2, CALL, Some(1), "PUT\n\nbody");
    peer.send([&connect("device")[..], &PINGREQ, &subscribe(1, &[("device", 0)]), &call].concat()).await;
    peer.expect(&[0x20, 2, 0, 0, 0xD0, 0, 0x90, 3, 0, 1, 0, 0x40, 2, 0, 1]).await;
    peer.answer(CALL).await;
}

async fn nothing_is_done_for_who_was_refused() {
    let bench = Bench::new();
    let wrong = connect_of(0xC2, &[&text("device"), &text("user"), &text("wrong")]);
    let stranger = connect_of(0xC2, &[&text("device"), &text("stranger"), &text("pw")]);
    let call = publish(2, CALL, Some(1), "PUT\n\nbody");
    for (connect, code) in [(wrong, 4), (stranger, 5), (connect("a/b"), 2)] {
        bench.refuses(&[&connect[..], &call, &PINGREQ].concat(), code).await;
    }
    assert!(bench.executed().is_empty());
}
