//! A capture of what passes through an edge's connections.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::ConnectionId;
use super::ending::Ending;
use super::login::Origin;
use super::wire::{Output, Wire};
use crate::capture::{Conversation, Direction, Omission, Writer};
use crate::mqtt::Endpoint;

/// Where an [`Edge`](super::Edge) writes what passes through its connections, on every listener, below neither TLS nor
/// WebSocket: a [capture](crate::capture), seen from the devices as always. Clones write the same one.
///
/// A link of the capture has the number of the edge's connection, which its logs name too. Times come from tokio's clock and
/// count from [`Recording::new`]. What the edge says is written when it is handed to the network, before the device can have
/// it.
///
/// Entries are written by the tasks of the connections, one at a time, so the sink should not block for long: a file does not, a
/// pipe that nobody reads does. A sink that fails disturbs no connection: what it refused is missing from the capture, and
/// counted by [`Recording::failed_writes`]. At the bound of [`Writer::with_max_len`] the recording ends; the edge goes on.
///
/// Memory: what a connection has sent of a packet that is not complete, at most [`MAX_PAYLOAD`](crate::capture::MAX_PAYLOAD)
/// a direction.
#[derive(Clone)]
pub struct Recording(Arc<Tape>);

struct Tape {
    writer: Mutex<Writer<Box<dyn io::Write + Send>>>,
    began: Instant,
    has_ended: AtomicBool,
    failed_writes: AtomicU64,
    omissions: AtomicU64,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

impl Recording {
    /// A recording that begins now. `writer` decides whether secrets are redacted, and how much is written.
    pub fn new(writer: Writer<Box<dyn io::Write + Send>>) -> Self {
        Self(Arc::new(Tape {
            writer: Mutex::new(writer),
            began: Instant::now(),
            has_ended: AtomicBool::new(false),
            failed_writes: AtomicU64::new(0),
            omissions: AtomicU64::new(0),
        }))
    }

    /// Whether it has reached its bound: its last line says so, and nothing more is written.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }

    /// How many entries the sink has refused so far; the first is logged as a warning.
    pub fn failed_writes(&self) -> u64 {
        self.0.failed_writes.load(Ordering::Relaxed)
    }

    /// What could not be made an entry so far: bytes that are no MQTT, payloads above
    /// [`MAX_PAYLOAD`](crate::capture::MAX_PAYLOAD). Each is logged.
    pub fn omissions(&self) -> u64 {
        self.0.omissions.load(Ordering::Relaxed)
    }

    /// The recording of a connection that begins.
    pub(super) fn track(&self, connection: ConnectionId, origin: Origin) -> Option<Track> {
        let Origin { scheme, local, .. } = origin;
        let endpoint = Endpoint::new(scheme, local.ip().to_canonical().to_string(), local.port()).ok()?;
        let conversation = Conversation::new(connection.0, endpoint);
        (!self.has_ended()).then(|| Track { tape: Arc::clone(&self.0), connection, conversation })
    }
}

impl Tape {
    /// Has `conversation` learn something, and writes what it makes of it; whether the recording goes on.
    ///
    /// Times are taken while nobody else writes, so that those of several connections stand in order.
    fn write(&self, conversation: &mut Conversation, learn: impl FnOnce(&mut Conversation, Duration)) -> bool {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        learn(conversation, self.began.elapsed());
        while let Some(entry) = conversation.next_entry() {
            let Err(error) = writer.write(&entry) else { continue };
            if writer.is_full() {
                if !self.has_ended.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the recording has reached its bound; nothing more is written");
                }
                return false;
            }
            if self.failed_writes.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, "the recording cannot be written; entries will be missing from it");
            }
        }
        if conversation.is_over()
            && let Err(error) = writer.flush()
        {
            tracing::warn!(%error, "the recording cannot be written to its end");
        }
        true
    }
}

/// The recording of one connection.
pub(super) struct Track {
    tape: Arc<Tape>,
    connection: ConnectionId,
    conversation: Conversation,
}

impl Track {
    fn learn(&mut self, learn: impl FnOnce(&mut Conversation, Duration)) -> bool {
        let goes_on = self.tape.write(&mut self.conversation, learn);
        for omission in self.conversation.take_omissions() {
            self.tape.omissions.fetch_add(1, Ordering::Relaxed);
            let connection = self.connection.0;
            // Port scanners and health checks say no MQTT all day.
            match omission {
                Omission::NoConnect => tracing::debug!(connection, "not recorded: it does not begin with a CONNECT"),
                omission => tracing::info!(connection, %omission, "not recorded"),
            }
        }
        goes_on && !self.conversation.is_over()
    }
}

/// A wire that is recorded, if there is a recording.
pub(super) struct Recorded<W> {
    wire: W,
    /// Until nothing more is to be recorded. Boxed, so that a connection that is not recorded pays for a pointer.
    track: Option<Box<Track>>,
    /// Bytes at the front of what waits to leave that are recorded already.
    waiting: usize,
}

impl<W: Wire> Recorded<W> {
    pub(super) fn new(wire: W, track: Option<Track>) -> Self {
        Self { wire, track: track.map(Box::new), waiting: 0 }
    }

    fn pass(&mut self, direction: Direction, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.learn(|conversation, at| conversation.feed(at, direction, bytes));
        }
    }

    fn end(&mut self, by: Direction) {
        self.learn(|conversation, at| conversation.end(at, by));
        self.track = None;
    }

    fn learn(&mut self, learn: impl FnOnce(&mut Conversation, Duration)) {
        if let Some(track) = &mut self.track
            && !track.learn(learn)
        {
            self.track = None;
        }
    }
}

impl<W: Wire> Wire for Recorded<W> {
    const ONE_BY_ONE: bool = W::ONE_BY_ONE;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, Ending>> {
        let had = input.len();
        let filled = ready!(self.wire.poll_fill(cx, input));
        self.pass(Direction::Out, &input[had..]);
        if !matches!(filled, Ok(1..)) {
            self.end(Direction::Out);
        }
        Poll::Ready(filled)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), Ending>> {
        if self.track.is_some() {
            self.pass(Direction::In, &output.bytes()[self.waiting..]);
        }
        let drained = self.wire.poll_drain(cx, output);
        self.waiting = output.len();
        if matches!(drained, Poll::Ready(Err(_))) {
            self.end(Direction::Out);
        }
        drained
    }

    fn written(&self) -> u64 {
        self.wire.written()
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        self.end(Direction::In);
        self.wire.poll_shutdown(cx)
    }
}

impl<W> Drop for Recorded<W> {
    fn drop(&mut self) {
        if let Some(mut track) = self.track.take() {
            track.learn(|conversation, at| conversation.end(at, Direction::In));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::capture::{Entry, Event, Header, Reader};
    use crate::edge::wire::Stream;
    use crate::mqtt::packet::{self, Connect, Packet, Protocol};
    use crate::mqtt::{LinkErrorKind, Scheme};
    use crate::topic::Topic;

    /// What was written, and how many more writes succeed.
    #[derive(Clone)]
    struct Disk(Arc<(Mutex<Vec<u8>>, AtomicUsize)>);

    impl Disk {
        fn new() -> Self {
            Self(Arc::new((Mutex::default(), AtomicUsize::new(usize::MAX))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().expect("no panic").clone()).expect("JSON")
        }

        fn events(&self) -> Vec<Event> {
            let entries = Reader::new(self.text().as_bytes()).expect("a header").collect::<Result<Vec<Entry>, _>>();
            entries.expect("whole lines").into_iter().map(|entry| entry.event).collect()
        }
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.1.load(Ordering::Relaxed) == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.1.fetch_sub(1, Ordering::Relaxed);
            self.0.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(disk: &Disk) -> Writer<Box<dyn io::Write + Send>> {
        let sink: Box<dyn io::Write + Send> = Box::new(disk.clone());
        Writer::new(sink, &Header::new("edge")).expect("a sink that works")
    }

    fn wire(recording: &Recording, number: u64) -> (DuplexStream, Recorded<Stream<DuplexStream>>) {
        let (near, far) = tokio::io::duplex(1024);
        let address = ([127, 0, 0, 1], 1883).into();
        let origin = Origin { scheme: Scheme::Mqtt, remote: address, local: address };
        (near, Recorded::new(Stream::new(far), recording.track(ConnectionId(number), origin)))
    }

    fn connect() -> Vec<u8> {
        let connect = Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 0,
            client_id: "device".to_owned(),
            will: None,
            username: Some("u".to_owned()),
            password: Some(Bytes::from_static(b"pa55word")),
        };
        let mut bytes = BytesMut::new();
        packet::encode(&Packet::Connect(Box::new(connect)), Protocol::V311, &mut bytes).expect("encodable");
        bytes.to_vec()
    }

    fn publish(payload: &str) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        let topic = Topic::new("p/device/x").expect("valid");
        packet::encode_publish(&topic, payload.as_bytes(), &mut bytes).expect("encodable");
        bytes.to_vec()
    }

    async fn fill(wire: &mut Recorded<Stream<DuplexStream>>, input: &mut BytesMut) -> usize {
        std::future::poll_fn(|cx| wire.poll_fill(cx, input)).await.unwrap_or_else(|ending| panic!("{ending}"))
    }

    fn words(events: &[Event]) -> Vec<String> {
        let word = |event: &Event| format!("{event:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
        events.iter().map(word).collect()
    }

    #[tokio::test]
    async fn what_passes_is_written_once_however_it_is_cut() {
        let disk = Disk::new();
        let recording = Recording::new(writer(&disk));
        let (mut device, mut wire) = wire(&recording, 7);
        let (mut input, mut output) = (BytesMut::new(), Output::new::<Recorded<Stream<DuplexStream>>>());
        for byte in [connect(), publish("PUT\r\n\r\n{\"password\":\"pw\"}")].concat() {
            device.write_all(&[byte]).await.expect("open");
            assert_eq!(fill(&mut wire, &mut input).await, 1);
        }
        // More than the pipe holds: what waits is offered to the wire again.
        let answer = format!("200\r\n\r\n{}", "x".repeat(3000));
        output
            .append(|bytes| packet::encode(&Packet::ConnAck { session_present: false, code: 0 }, Protocol::V311, bytes))
            .expect("encodable");
        for payload in [answer.as_str(), "204\r\n\r\n"] {
            output
                .append(|bytes| {
                    bytes.extend_from_slice(&publish(payload));
                    Ok::<_, ()>(())
                })
                .expect("appended");
        }
        let all = output.len();
        let (drained, heard) = tokio::join!(std::future::poll_fn(|cx| wire.poll_drain(cx, &mut output)), async {
            let mut heard = vec![0; all];
            device.read_exact(&mut heard).await.map(|_| heard)
        });
        drained.unwrap_or_else(|ending| panic!("{ending}"));
        heard.expect("all of it");
        drop(device);
        assert_eq!(fill(&mut wire, &mut input).await, 0);
        drop(wire);
        let events = disk.events();
        assert_eq!(words(&events), ["Connect", "Publish", "Connected", "Received", "Received", "Dropped"]);
        assert!(!disk.text().contains("pa55word") && disk.text().contains(r#"\"password\":\"xx\""#), "{}", disk.text());
        assert!(disk.text().lines().skip(1).all(|line| line.contains("\"link\":7")), "{}", disk.text());
        assert_eq!((recording.omissions(), recording.failed_writes(), recording.has_ended()), (0, 0, false));
    }

    #[tokio::test]
    async fn who_ended_it_is_told() {
        let disk = Disk::new();
        let recording = Recording::new(writer(&disk));
        let (mut device, mut wire) = wire(&recording, 1);
        device.write_all(&connect()).await.expect("open");
        fill(&mut wire, &mut BytesMut::new()).await;
        drop(wire);
        assert_eq!(disk.events().last(), Some(&Event::Refused(LinkErrorKind::Closed.into())), "nobody was let in");
        let (mut stranger, mut wire) = self::wire(&recording, 2);
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("open");
        fill(&mut wire, &mut BytesMut::new()).await;
        drop(wire);
        assert_eq!((disk.events().len(), recording.omissions()), (2, 1), "{}", disk.text());
    }

    #[tokio::test]
    async fn a_bound_and_a_full_disk_end_no_connection() {
        let (bounded, broken) = (Disk::new(), Disk::new());
        let small = Recording::new(writer(&bounded).with_max_len(1000));
        let failing = Recording::new(writer(&broken));
        for (recording, writes) in [(&small, usize::MAX), (&failing, 0)] {
            let (mut device, mut wire) = wire(recording, 1);
            let mut input = BytesMut::new();
            device.write_all(&connect()).await.expect("open");
            fill(&mut wire, &mut input).await;
            broken.0.1.store(writes, Ordering::Relaxed);
            device.write_all(&publish(&"x".repeat(700))).await.expect("open");
            assert!(fill(&mut wire, &mut input).await > 0, "it is heard all the same");
        }
        assert!(small.has_ended() && bounded.text().len() <= 1000);
        assert!(matches!(bounded.events().last(), Some(Event::Stopped(_))));
        assert!(
            small
                .track(
                    ConnectionId(2),
                    Origin { scheme: Scheme::Mqtt, remote: ([1, 1, 1, 1], 1).into(), local: ([1, 1, 1, 1], 1).into() }
                )
                .is_none()
        );
        assert_eq!((failing.has_ended(), failing.failed_writes()), (false, 2), "a message and the end");
    }
}
