//! The bytes of one MQTT connection, both ways, as entries of a capture.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

use super::{Direction, Entry, Event};
use crate::ids::ClientId;
use crate::mqtt::packet::{Decoded, Decoder, Limits, Packet, PacketError, PacketId, PublishPacket};
use crate::mqtt::{Endpoint, LinkErrorKind, Publish, RefusedReason};
use crate::topic::TopicFilter;

/// The largest payload that is captured, in bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// SUBSCRIBEs that may wait for their answers.
const MAX_SUBSCRIBES: usize = 64;

/// What could not be made an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Omission {
    /// Bytes that are no MQTT: what follows in this direction is unknown.
    #[error("what {} sent is no MQTT: {error}; the rest of it is left out", sender(*.direction))]
    NotMqtt {
        /// Which way they travelled.
        direction: Direction,
        /// What is wrong with them.
        error: PacketError,
    },
    /// A PUBLISH with more than [`MAX_PAYLOAD`] bytes.
    #[error("a PUBLISH of {} has a payload of {len} bytes, more than {MAX_PAYLOAD}; it is left out", sender(*.direction))]
    Oversize {
        /// Which way it travelled.
        direction: Direction,
        /// The length of its payload.
        len: usize,
    },
    /// A CONNECT whose client identifier no capture can hold.
    #[error("the client identifier of its CONNECT cannot be written: {0}; the connection is left out")]
    ClientId(crate::ids::InvalidId),
    /// The connection does not begin with a CONNECT, because the recording began later.
    #[error("it began before the recording did; it is left out")]
    NoConnect,
}

fn sender(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "the broker",
        Direction::Out => "the device",
    }
}

/// Reads both directions of one connection as their bytes come, however these are cut, and gives what happened as entries.
/// PINGs and acknowledgements are not entries; a PUBLISH that is repeated with DUP is one more.
///
/// Memory: at most one packet a direction, at most [`MAX_PAYLOAD`] each, and 64 SUBSCRIBEs that wait for their answer.
#[derive(Debug)]
pub struct Conversation {
    link: u64,
    endpoint: Endpoint,
    out: Half,
    inward: Half,
    stage: Stage,
    subscribes: VecDeque<(PacketId, Vec<TopicFilter>)>,
    /// Bytes of memory that they take.
    subscribes_len: usize,
    /// A CONNACK that was seen before the CONNECT: what two directions say may be recorded in another order.
    early_connack: Option<u8>,
    entries: VecDeque<Entry>,
    omissions: Vec<Omission>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been said.
    New,
    /// CONNECT was sent.
    Connecting,
    /// CONNACK 0 has arrived.
    Connected,
    /// Nothing that happens is written any more.
    Over,
}

#[derive(Debug)]
struct Half {
    decoder: Decoder,
    buffer: BytesMut,
    is_lost: bool,
}

impl Half {
    fn new(decoder: Decoder) -> Self {
        Self { decoder, buffer: BytesMut::new(), is_lost: false }
    }
}

impl Conversation {
    /// A connection that begins, number `link` of the capture, to `endpoint`.
    pub fn new(link: u64, endpoint: Endpoint) -> Self {
        let limits = Limits {
            max_frame: MAX_PAYLOAD,
            keep: 0,
            max_skip: crate::mqtt::packet::MAX_REMAINING_LENGTH,
            max_control: 1024 * 1024,
        };
        Self {
            link,
            endpoint,
            out: Half::new(Decoder::new(limits).expecting_connect()),
            inward: Half::new(Decoder::new(limits)),
            stage: Stage::New,
            subscribes: VecDeque::new(),
            subscribes_len: 0,
            early_connack: None,
            entries: VecDeque::new(),
            omissions: Vec::new(),
        }
    }

    /// Takes bytes that travelled in `direction` at `at`.
    pub fn feed(&mut self, at: Duration, direction: Direction, bytes: &[u8]) {
        let half = match direction {
            Direction::In => &mut self.inward,
            Direction::Out => &mut self.out,
        };
        if half.is_lost || self.stage == Stage::Over {
            return;
        }
        half.buffer.extend_from_slice(bytes);
        loop {
            if self.stage == Stage::Over {
                self.abandon(); // what stands behind the last word
                return;
            }
            let half = match direction {
                Direction::In => &mut self.inward,
                Direction::Out => &mut self.out,
            };
            match half.decoder.decode(&mut half.buffer) {
                Ok(None) => return,
                Ok(Some(Decoded::Oversize(oversize))) => {
                    self.omissions.push(Omission::Oversize { direction, len: oversize.len });
                }
                Ok(Some(Decoded::Packet(packet))) if direction == Direction::Out => self.sent(at, packet),
                Ok(Some(Decoded::Packet(packet))) => self.received(at, packet),
                Err(error) => {
                    half.is_lost = true;
                    half.buffer = BytesMut::new();
                    self.omissions.push(match (self.stage, direction) {
                        (Stage::New, Direction::Out) => Omission::NoConnect,
                        _ => Omission::NotMqtt { direction, error },
                    });
                    if self.stage == Stage::New {
                        self.stage = Stage::Over;
                    }
                    return;
                }
            }
        }
    }

    /// Takes the end of the TCP connection: `by` whom it was closed, and whether abruptly does not matter.
    pub fn end(&mut self, at: Duration, by: Direction) {
        let event = match (self.stage, by) {
            (Stage::Connecting, Direction::In) => Event::Refused(LinkErrorKind::Closed.into()),
            (Stage::Connecting | Stage::Connected, Direction::Out) => Event::Dropped,
            (Stage::Connected, Direction::In) => Event::Lost(LinkErrorKind::Closed.into()),
            (Stage::New | Stage::Over, _) => return,
        };
        self.push(at, event);
        self.stage = Stage::Over;
    }

    /// Nothing more is known of this connection: what follows is not read. Its entries so far stay.
    pub fn abandon(&mut self) {
        self.stage = Stage::Over;
        self.subscribes = VecDeque::new();
        self.subscribes_len = 0;
        self.out.buffer = BytesMut::new();
        self.inward.buffer = BytesMut::new();
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    /// What could not be made an entry since the last call.
    pub fn take_omissions(&mut self) -> Vec<Omission> {
        std::mem::take(&mut self.omissions)
    }

    /// Bytes that are kept because their packet is not complete, or not answered.
    pub fn buffered(&self) -> usize {
        self.out.buffer.len() + self.inward.buffer.len() + self.subscribes_len
    }

    /// Whether nothing that happens is written any more.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.entries.push_back(Entry { at, link: self.link, event });
    }

    fn sent(&mut self, at: Duration, packet: Packet) {
        match packet {
            Packet::Connect(connect) => {
                let client_id = match ClientId::new(&connect.client_id) {
                    Ok(client_id) => client_id,
                    Err(error) => {
                        self.omissions.push(Omission::ClientId(error));
                        self.stage = Stage::Over;
                        return;
                    }
                };
                // A server's decoder learns it from the CONNECT it reads, this one is told.
                let decoder = std::mem::replace(&mut self.inward.decoder, Decoder::new(Limits::default()));
                self.inward.decoder = decoder.with_protocol(connect.protocol);
                self.stage = Stage::Connecting;
                let event = Event::Connect {
                    endpoint: self.endpoint.clone(),
                    client_id,
                    username: connect.username.unwrap_or_default(),
                    protocol: Some(connect.protocol),
                };
                self.push(at, event);
                if let Some(code) = self.early_connack.take() {
                    self.received(at, Packet::ConnAck { session_present: false, code });
                }
            }
            Packet::Publish(publish) => self.push(at, Event::Publish(message(publish))),
            Packet::Subscribe { id, filters } => {
                let filters: Vec<_> = filters.into_iter().map(|(filter, _)| filter).collect();
                for filter in &filters {
                    self.push(at, Event::Subscribe(filter.clone()));
                }
                if self.subscribes.len() == MAX_SUBSCRIBES
                    && let Some((_, oldest)) = self.subscribes.pop_front()
                {
                    self.subscribes_len -= size_of_filters(&oldest);
                }
                self.subscribes_len += size_of_filters(&filters);
                self.subscribes.push_back((id, filters));
            }
            Packet::Unsubscribe { filters, .. } => {
                for filter in filters {
                    self.push(at, Event::Unsubscribe(filter));
                }
            }
            Packet::Disconnect => {
                self.push(at, Event::Close);
                self.stage = Stage::Over;
            }
            _ => {}
        }
    }

    fn received(&mut self, at: Duration, packet: Packet) {
        match packet {
            Packet::ConnAck { code, .. } if self.stage == Stage::New => self.early_connack = Some(code),
            _ if self.stage == Stage::New => {
                self.omissions.push(Omission::NoConnect);
                self.stage = Stage::Over;
            }
            Packet::ConnAck { code: 0, .. } if self.stage == Stage::Connecting => {
                self.stage = Stage::Connected;
                self.push(at, Event::Connected);
            }
            Packet::ConnAck { code, .. } if self.stage == Stage::Connecting => {
                let refused = RefusedReason::from_code(code).map_or(LinkErrorKind::Protocol, LinkErrorKind::Refused);
                self.stage = Stage::Over;
                self.push(at, Event::Refused(refused.into()));
            }
            Packet::Publish(publish) => self.push(at, Event::Received(message(publish))),
            Packet::SubAck { id, codes } => {
                let Some(place) = self.subscribes.iter().position(|(asked, _)| *asked == id) else { return };
                let Some((_, filters)) = self.subscribes.remove(place) else { return };
                self.subscribes_len -= size_of_filters(&filters);
                for (filter, code) in filters.into_iter().zip(codes) {
                    self.push(at, Event::Subscribed { filter, granted: code != 0x80 });
                }
            }
            _ => {}
        }
    }
}

fn size_of_filters(filters: &[TopicFilter]) -> usize {
    filters.iter().map(|filter| size_of::<TopicFilter>() + filter.as_str().len()).sum()
}

fn message(publish: PublishPacket) -> Publish {
    Publish { topic: publish.topic, payload: publish.payload, qos: publish.qos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::code;
    use crate::mqtt::Qos;
    use crate::mqtt::packet::{Connect, Protocol, encode};
    use crate::topic::Topic;

    fn bytes(packets: &[Packet]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for packet in packets {
            encode(packet, Protocol::V311, &mut bytes).expect("valid");
        }
        bytes
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

    fn publish(qos: Qos) -> Packet {
        let id = PacketId::new(7).filter(|_| qos != Qos::AtMostOnce);
        let topic = Topic::new("p/me/x").expect("valid");
        Packet::Publish(PublishPacket { dup: false, retain: false, qos, id, topic, payload: "x".into() })
    }

    fn conversation() -> Conversation {
        Conversation::new(3, "mqtt://127.0.0.1".parse().expect("valid"))
    }

    fn kinds(conversation: &mut Conversation) -> Vec<&'static str> {
        std::iter::from_fn(|| conversation.next_entry()).map(|entry| code::kind(&entry.event)).collect()
    }

    #[test]
    fn a_whole_session_is_read_however_it_is_cut() {
        let id = PacketId::new(1).expect("not 0");
        let filter = |text: &str| TopicFilter::new(text).expect("valid");
        let script = [
            (Direction::Out, connect("me")),
            (Direction::In, Packet::ConnAck { session_present: false, code: 0 }),
            (
                Direction::Out,
                Packet::Subscribe { id, filters: vec![(filter("a"), Qos::AtMostOnce), (filter("b"), Qos::AtMostOnce)] },
            ),
            (Direction::In, Packet::SubAck { id, codes: vec![0, 0x80] }),
            (Direction::Out, publish(Qos::AtLeastOnce)),
            (Direction::In, Packet::PubAck(PacketId::new(7).expect("not 0"))),
            (Direction::In, publish(Qos::AtMostOnce)),
            (Direction::Out, Packet::PingReq),
            (Direction::In, Packet::PingResp),
            (Direction::Out, Packet::Unsubscribe { id, filters: vec![filter("a")] }),
            (Direction::Out, Packet::Disconnect),
        ];
        for piece in [1, 2, 5, 1000] {
            let mut conversation = conversation();
            for (ms, (direction, packet)) in script.iter().enumerate() {
                for piece in bytes(std::slice::from_ref(packet)).chunks(piece) {
                    conversation.feed(Duration::from_millis(ms as u64), *direction, piece);
                }
            }
            conversation.end(Duration::from_secs(1), Direction::Out);
            let entries: Vec<_> = std::iter::from_fn(|| conversation.next_entry()).collect();
            let seen: Vec<_> =
                entries.iter().map(|entry| (entry.at.as_millis(), entry.link, code::kind(&entry.event))).collect();
            let expected = [
                (0, 3, "connect"),
                (1, 3, "connected"),
                (2, 3, "subscribe"),
                (2, 3, "subscribe"),
                (3, 3, "subscribed"),
                (3, 3, "subscribed"),
                (4, 3, "publish"),
                (6, 3, "received"),
                (9, 3, "unsubscribe"),
                (10, 3, "close"),
            ];
            assert_eq!(seen, expected);
            assert!(matches!(&entries[5].event, Event::Subscribed { granted: false, .. }));
            assert!(matches!(&entries[6].event, Event::Publish(publish) if publish.qos == Qos::AtLeastOnce));
            assert!(!format!("{entries:?}").contains("s3cr3t"));
            assert_eq!(conversation.take_omissions(), []);
        }
    }

    #[test]
    fn each_end_is_told_apart() {
        let accepted = Packet::ConnAck { session_present: false, code: 0 };
        for (answer, by, expected) in [
            (Some(accepted.clone()), Direction::In, vec!["connect", "connected", "lost"]),
            (Some(accepted), Direction::Out, vec!["connect", "connected", "dropped"]),
            (None, Direction::In, vec!["connect", "refused"]),
            (None, Direction::Out, vec!["connect", "dropped"]),
            (Some(Packet::ConnAck { session_present: false, code: 5 }), Direction::In, vec!["connect", "refused"]),
        ] {
            let mut conversation = conversation();
            conversation.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me")]));
            if let Some(answer) = answer {
                conversation.feed(Duration::ZERO, Direction::In, &bytes(&[answer]));
            }
            conversation.end(Duration::ZERO, by);
            conversation.end(Duration::ZERO, Direction::Out);
            assert_eq!(kinds(&mut conversation), expected);
            assert!(conversation.is_over());
        }
    }

    #[test]
    fn nothing_follows_the_last_word() {
        let mut over = conversation();
        over.feed(
            Duration::ZERO,
            Direction::Out,
            &bytes(&[connect("me"), Packet::Disconnect, publish(Qos::AtMostOnce)]),
        );
        assert_eq!(kinds(&mut over), ["connect", "close"]);
        assert_eq!(over.buffered(), 0);
        let mut refused = conversation();
        refused.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me")]));
        let refusal = Packet::ConnAck { session_present: false, code: 5 };
        refused.feed(Duration::ZERO, Direction::In, &bytes(&[refusal, publish(Qos::AtMostOnce)]));
        assert_eq!(kinds(&mut refused), ["connect", "refused"]);
    }

    #[test]
    fn a_connack_that_was_seen_before_its_connect_counts() {
        let mut crossed = conversation();
        let accepted = Packet::ConnAck { session_present: false, code: 0 };
        crossed.feed(Duration::ZERO, Direction::In, &bytes(&[accepted]));
        crossed.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me")]));
        assert_eq!(kinds(&mut crossed), ["connect", "connected"]);
    }

    #[test]
    fn filters_that_wait_for_their_answer_are_counted() {
        let mut asking = conversation();
        let filter = TopicFilter::new("a").expect("valid");
        let filters = vec![(filter, Qos::AtMostOnce); 10_000];
        let id = PacketId::new(1).expect("not 0");
        asking.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me"), Packet::Subscribe { id, filters }]));
        assert!(asking.buffered() >= 10_000 * size_of::<TopicFilter>());
        asking.abandon();
        assert_eq!(asking.buffered(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let mut late = conversation();
        late.feed(Duration::ZERO, Direction::Out, &bytes(&[publish(Qos::AtMostOnce)]));
        assert_eq!(late.take_omissions(), [Omission::NoConnect]);
        let mut quiet = conversation();
        quiet.feed(Duration::ZERO, Direction::In, &bytes(&[publish(Qos::AtMostOnce), publish(Qos::AtMostOnce)]));
        quiet.end(Duration::ZERO, Direction::In);
        assert_eq!(quiet.take_omissions(), [Omission::NoConnect]);
        assert!(kinds(&mut quiet).is_empty(), "a message without its connection says nothing");
        let mut odd = conversation();
        odd.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("a b")]));
        assert!(matches!(odd.take_omissions()[..], [Omission::ClientId(_)]));
        let mut garbage = conversation();
        garbage.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me")]));
        garbage.feed(Duration::ZERO, Direction::In, b"HTTP/1.1 400");
        let [Omission::NotMqtt { direction: Direction::In, .. }] = garbage.take_omissions()[..] else {
            panic!("{garbage:?}")
        };
        garbage.feed(Duration::ZERO, Direction::Out, &bytes(&[publish(Qos::AtMostOnce)]));
        assert_eq!(kinds(&mut garbage), ["connect", "publish"], "the other direction is read on");
        let mut large = conversation();
        large.feed(Duration::ZERO, Direction::Out, &bytes(&[connect("me")]));
        let Packet::Publish(publish) = publish(Qos::AtMostOnce) else { unreachable!() };
        let payload = vec![b'x'; MAX_PAYLOAD + 1];
        let oversize = Packet::Publish(PublishPacket { payload: payload.into(), ..publish });
        large.feed(Duration::ZERO, Direction::Out, &bytes(&[oversize, Packet::Disconnect]));
        let expected = [Omission::Oversize { direction: Direction::Out, len: MAX_PAYLOAD + 1 }];
        assert_eq!(large.take_omissions(), expected);
        assert_eq!(kinds(&mut large), ["connect", "close"]);
    }
}
