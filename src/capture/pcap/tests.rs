use bytes::BytesMut;

use super::*;
use crate::capture::Event;
use crate::mqtt::Qos;
use crate::mqtt::packet::{Connect, Packet, Protocol, PublishPacket, encode};
use crate::topic::Topic;

const PORTS: (u16, u16) = (40_000, 1883);

fn mqtt(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode(packet, Protocol::V311, &mut bytes).expect("valid");
    }
    bytes.to_vec()
}

fn connect(client_id: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        protocol: Protocol::V311,
        clean_session: true,
        keep_alive: 60,
        client_id: client_id.into(),
        will: None,
        username: Some("u".into()),
        password: Some("s3cr3t".into()),
    }))
}

fn publish(payload: &str) -> Packet {
    let topic = Topic::new("p/me/x").expect("valid");
    let payload = payload.to_owned().into();
    Packet::Publish(PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload })
}

fn accepted() -> Packet {
    Packet::ConnAck { session_present: false, code: 0 }
}

const SYN: u8 = 2;
const FIN: u8 = 1;
const RST: u8 = 4;
const ACK: u8 = 16;

fn tcp(ports: (u16, u16), sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(ports.0.to_be_bytes());
    segment.extend(ports.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 5 << 4, flags, 255, 255, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn ipv4(from: u8, to: u8, segment: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + segment.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    packet.extend(segment);
    packet
}

fn ipv6(from: u8, to: u8, segment: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((segment.len() as u16).to_be_bytes());
    packet.extend([6, 64]);
    for end in [from, to] {
        packet.extend([0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end]);
    }
    packet.extend(segment);
    packet
}

/// A .pcap file of packets, a millisecond apart.
fn pcap(link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xA1B2_C3D4u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144u32.to_le_bytes());
    file.extend(link_type.to_le_bytes());
    for (index, packet) in packets.iter().enumerate() {
        file.extend(1_700_000_000u32.to_le_bytes());
        file.extend((index as u32 * 1000).to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend(packet);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = (padded as u32 + 12).to_le_bytes();
    let mut block = Vec::new();
    block.extend(kind.to_le_bytes());
    block.extend(len);
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(len);
    block
}

/// A .pcapng file of packets, a millisecond apart, with times in nanoseconds.
fn pcapng(link_type: u16, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut section = 0x1A2B_3C4Du32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let mut file = block(0x0A0D_0D0A, &section);
    let mut interface = link_type.to_le_bytes().to_vec();
    interface.extend([0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(block(1, &interface));
    for (index, packet) in packets.iter().enumerate() {
        let time = 1_700_000_000_000_000_000u64 + index as u64 * 1_000_000;
        let mut body = vec![0; 4];
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        body.extend((packet.len() as u32).to_le_bytes());
        body.extend((packet.len() as u32).to_le_bytes());
        body.extend(packet);
        file.extend(block(6, &body));
    }
    file
}

/// A connection, its segments in order: the device's and the broker's bytes in turn.
struct Side {
    ports: (u16, u16),
    sequences: (u32, u32),
    segments: Vec<(bool, Vec<u8>)>,
}

impl Side {
    fn open(port: u16, broker: u16) -> Self {
        let mut side = Self { ports: (port, broker), sequences: (1000, u32::MAX - 20), segments: Vec::new() };
        side.push(true, SYN, b"");
        side.push(false, SYN | ACK, b"");
        side
    }

    fn push(&mut self, out: bool, flags: u8, payload: &[u8]) {
        let sequence = if out { &mut self.sequences.0 } else { &mut self.sequences.1 };
        let ports = if out { self.ports } else { (self.ports.1, self.ports.0) };
        self.segments.push((out, tcp(ports, *sequence, flags, payload)));
        let extra = u32::from(flags & (SYN | FIN) != 0);
        *sequence = sequence.wrapping_add(payload.len() as u32 + extra);
    }

    fn say(&mut self, out: bool, payload: &[u8]) {
        self.push(out, ACK, payload);
    }

    fn packets(&self, ip: impl Fn(u8, u8, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
        self.segments.iter().map(|(out, segment)| if *out { ip(1, 2, segment) } else { ip(2, 1, segment) }).collect()
    }
}

fn session() -> Side {
    let mut side = Side::open(PORTS.0, PORTS.1);
    side.say(true, &mqtt(&[connect("me")]));
    side.say(false, &mqtt(&[accepted()]));
    let call = mqtt(&[publish("GET\r\n\r\n")]);
    side.say(true, &call[..5]);
    side.say(true, &call[5..]);
    side.say(false, &mqtt(&[publish("200\r\n\r\n{}")]));
    side.say(true, &mqtt(&[Packet::Disconnect]));
    side.push(true, FIN | ACK, b"");
    side.push(false, FIN | ACK, b"");
    side
}

fn ports() -> Ports {
    Ports { mqtt: vec![1883], websocket: vec![12_470] }
}

fn import(file: &[u8]) -> (Vec<Entry>, Vec<String>, Counts) {
    let mut import = Import::new(file, ports()).expect("a file");
    let (mut entries, mut remarks) = (Vec::new(), Vec::new());
    for found in &mut import {
        match found.expect("readable") {
            Found::Entry(entry) => entries.push(entry),
            Found::Remark(remark) => remarks.push(remark.to_string()),
        }
    }
    (entries, remarks, import.counts())
}

fn words(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| {
            let kind = format!("{:?}", entry.event).split(['(', ' ']).next().unwrap_or_default().to_owned();
            format!("{}:{kind}", entry.link)
        })
        .collect()
}

const WHOLE: [&str; 5] = ["1:Connect", "1:Connected", "1:Publish", "1:Received", "1:Close"];

#[test]
fn every_link_type_and_both_formats_are_read() {
    let session = session();
    let ethernet = |ether_type: [u8; 2], packet: Vec<u8>| [&[0; 12][..], &ether_type, &packet].concat();
    let vlan = |packet: Vec<u8>| [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0], &packet].concat();
    let sll = |packet: Vec<u8>| [&[0; 14][..], &[8, 0], &packet].concat();
    let sll2 = |packet: Vec<u8>| [&[0x86, 0xDD][..], &[0; 18], &packet].concat();
    let null = |packet: Vec<u8>| [&[30, 0, 0, 0][..], &packet].concat();
    type Wrap<'a> = (u16, Box<dyn Fn(u8, u8, &[u8]) -> Vec<u8> + 'a>);
    let wraps: [Wrap<'_>; 7] = [
        (1, Box::new(|from, to, segment| ethernet([8, 0], ipv4(from, to, segment)))),
        (1, Box::new(|from, to, segment| ethernet([0x86, 0xDD], ipv6(from, to, segment)))),
        (1, Box::new(|from, to, segment| vlan(ipv4(from, to, segment)))),
        (113, Box::new(|from, to, segment| sll(ipv4(from, to, segment)))),
        (276, Box::new(|from, to, segment| sll2(ipv6(from, to, segment)))),
        (0, Box::new(|from, to, segment| null(ipv6(from, to, segment)))),
        (101, Box::new(ipv4)),
    ];
    for (link_type, wrap) in wraps {
        let packets = session.packets(wrap);
        for file in [pcap(link_type.into(), &packets), pcapng(link_type, &packets)] {
            let (entries, remarks, counts) = import(&file);
            assert_eq!(words(&entries), WHOLE, "link type {link_type}");
            assert_eq!(remarks, Vec::<String>::new());
            assert_eq!((counts.packets, counts.segments, counts.connections), (10, 10, 1));
            let times: Vec<_> = entries.iter().map(|entry| entry.at.as_millis()).collect();
            assert_eq!(times, [2, 3, 5, 6, 7]);
            let Event::Connect { endpoint, client_id, protocol, .. } = &entries[0].event else { panic!("{entries:?}") };
            assert_eq!((endpoint.port, client_id.as_str(), *protocol), (1883, "me", Some(Protocol::V311)));
        }
    }
}

#[test]
fn what_the_network_does_to_segments_changes_nothing() {
    let whole = session().packets(ipv4);
    let mut packets = whole.clone();
    packets.swap(4, 5); // late
    packets.insert(4, whole[2].clone()); // repeated
    packets.insert(0, whole[0].clone());
    packets.extend(whole[5..].to_vec()); // and after the end
    let (entries, remarks, counts) = import(&pcap(101, &packets));
    assert_eq!(words(&entries), WHOLE);
    assert_eq!((remarks, counts.connections), (Vec::new(), 1));
}

#[test]
fn bytes_that_are_missing_are_told_with_their_place() {
    let mut packets = session().packets(ipv4);
    let connect = mqtt(&[connect("me")]).len();
    packets.remove(4); // the first half of the call
    let (entries, remarks, _) = import(&pcap(101, &packets));
    // What follows in that direction cannot be read, and nothing is said of how the connection ended.
    assert_eq!(words(&entries), ["1:Connect", "1:Connected", "1:Received"]);
    assert_eq!(
        remarks,
        [format!(
            "link 1 (10.0.0.1:40000 to 10.0.0.2:1883): 5 bytes are missing at byte {connect} of what the device sent; \
             the rest of it is left out"
        )]
    );
    let late = session().packets(ipv4).split_off(5);
    let (entries, remarks, _) = import(&pcap(101, &late));
    assert_eq!(words(&entries), Vec::<String>::new());
    assert!(remarks[0].ends_with("it began before the recording did; it is left out"), "{remarks:?}");
}

#[test]
fn connections_are_told_apart_and_a_port_may_be_used_again() {
    let mut again = session();
    for (_, segment) in &mut again.segments {
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]).wrapping_add(77_777);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    }
    let mut other = Side::open(40_001, 1883);
    other.say(true, &mqtt(&[connect("other")]));
    other.say(false, &mqtt(&[Packet::ConnAck { session_present: false, code: 5 }]));
    other.push(false, RST, b"");
    let (one, two, three) = (session().packets(ipv4), other.packets(ipv4), again.packets(ipv4));
    let mut packets = Vec::new();
    for (index, segment) in one.iter().enumerate() {
        packets.push(segment.clone());
        packets.extend(two.get(index).cloned());
    }
    packets.extend(three);
    let (entries, remarks, counts) = import(&pcap(101, &packets));
    for link in [1, 3] {
        let own: Vec<_> = words(&entries).into_iter().filter(|word| word.starts_with(&link.to_string())).collect();
        assert_eq!(own, WHOLE.map(|word| word.replacen('1', &link.to_string(), 1)));
    }
    assert!(words(&entries).contains(&String::from("2:Refused")));
    assert_eq!((remarks, counts.connections), (Vec::new(), 3));
}

#[test]
fn a_port_that_is_used_again_after_a_gap_is_another_connection() {
    let mut again = session();
    for (_, segment) in &mut again.segments {
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]).wrapping_add(77_777);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    }
    let mut packets = session().packets(ipv4);
    packets.remove(4); // and then so much that nobody waits for it
    let far = |n: u32| ipv4(1, 2, &tcp(PORTS, 100_000 + n * 60_000, ACK, &[0; 60_000]));
    packets.extend((0..20).map(far));
    packets.extend(again.packets(ipv4));
    let (entries, remarks, counts) = import(&pcap(101, &packets));
    let second: Vec<_> = words(&entries).into_iter().filter(|word| word.starts_with('2')).collect();
    assert_eq!(second, WHOLE.map(|word| word.replacen('1', "2", 1)));
    assert_eq!((remarks.len(), counts.connections), (1, 2));
}

#[test]
fn what_a_short_snapshot_has_cut_off_is_told() {
    for ip in [ipv4, ipv6] {
        let mut side = Side::open(PORTS.0, PORTS.1);
        side.say(true, &mqtt(&[connect("me")]));
        side.say(false, &mqtt(&[accepted()]));
        side.say(true, &mqtt(&[publish("GET\r\n\r\n")]));
        let mut packets = side.packets(ip);
        let last = packets.last_mut().expect("the call");
        last.truncate(last.len() - 3);
        let (entries, remarks, _) = import(&pcap(101, &packets));
        assert_eq!(words(&entries), ["1:Connect", "1:Connected"]);
        assert!(remarks[0].contains("3 bytes are missing at byte"), "{remarks:?}");
    }
}

#[test]
fn websockets_are_unwrapped() {
    let frame = |out: bool, payload: &[u8]| {
        let mut frame = vec![0x82, payload.len() as u8 | if out { 0x80 } else { 0 }];
        if out {
            frame.extend([9, 8, 7, 6]);
        }
        frame
            .extend(payload.iter().enumerate().map(|(at, byte)| if out { byte ^ [9, 8, 7, 6][at % 4] } else { *byte }));
        frame
    };
    let mut side = Side::open(40_000, 12_470);
    side.say(true, b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    side.say(false, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    side.say(true, &frame(true, &mqtt(&[connect("me")])));
    side.say(false, &frame(false, &mqtt(&[accepted()])));
    side.say(true, &frame(true, &mqtt(&[publish("x"), Packet::Disconnect])));
    let (entries, remarks, _) = import(&pcap(101, &side.packets(ipv4)));
    assert_eq!(words(&entries), ["1:Connect", "1:Connected", "1:Publish", "1:Close"]);
    assert_eq!(remarks, Vec::<String>::new());
    let Event::Connect { endpoint, .. } = &entries[0].event else { panic!("{entries:?}") };
    assert!(endpoint.to_string().starts_with("ws://10.0.0.2:12470"), "{endpoint}");
}

#[test]
fn a_file_that_ends_too_early_is_read_up_to_there() {
    let file = pcap(101, &session().packets(ipv4));
    let mut import = Import::new(&file[..file.len() - 3], ports()).expect("a file");
    let found: Vec<_> = import.by_ref().collect();
    assert!(matches!(found.last(), Some(Err(PcapFileError::Torn))), "{found:?}");
    assert_eq!(found.iter().filter(|found| matches!(found, Ok(Found::Entry(_)))).count(), 5);
    assert!(import.next().is_none());
    for text in ["", "no file of packets", "{\"capture\":1}"] {
        assert!(matches!(Import::new(text.as_bytes(), ports()), Err(PcapFileError::NotPcap)));
    }
}

#[test]
fn what_is_not_ours_is_counted() {
    let mut fragment = ipv4(1, 2, &tcp(PORTS, 5, ACK, b"x"));
    fragment[6] = 0x20; // more fragments
    let other = ipv4(1, 2, &tcp((1, 2), 5, ACK, b"x"));
    let (entries, _, counts) = import(&pcap(101, &[fragment, other]));
    assert_eq!((entries.len(), counts.fragments, counts.segments), (0, 1, 0));
    assert_eq!(import(&pcap(147, &[vec![1]])).2.unknown_links, 1);
}

/// Many more than are followed: the oldest go, and that is said.
#[test]
fn connections_are_bounded() {
    let mut packets = Vec::new();
    for port in 0..MAX_CONNECTIONS as u16 + 10 {
        let mut side = Side::open(10_000 + port, 1883);
        side.say(true, &mqtt(&[connect("me")]));
        packets.extend(side.packets(ipv4));
    }
    let (entries, remarks, counts) = import(&pcap(101, &packets));
    assert_eq!(counts.connections, MAX_CONNECTIONS as u64 + 10);
    assert_eq!(entries.len(), MAX_CONNECTIONS + 10);
    assert_eq!(remarks.len(), 10);
    assert!(remarks.iter().all(|remark| remark.contains("too much is open")), "{remarks:?}");
}
