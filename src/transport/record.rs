//! Writes a capture of everything that happens on the links of another transport.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::{BoxFuture, Capabilities, ConnectOptions, Link, LinkEvent, Transport};
use crate::capture::{Entry, Event, Writer};
use crate::mqtt::{Credentials, Endpoint, LinkError, Publish};
use crate::topic::TopicFilter;

/// A transport that records another one into a [capture](crate::capture).
///
/// Times come from tokio's clock and count from [`Record::new`]. Events are written on the task that drives the link, so
/// the sink should not block for long: a file through a [`BufWriter`](io::BufWriter) is fast enough. It is flushed when a
/// connection ends.
///
/// A sink that fails does not disturb the link: the entry is missing from the capture, [`Record::failed_writes`] counts
/// it, and the first failure is logged as a warning.
///
/// ```
/// use std::sync::Arc;
/// use thingif::capture::{Header, Writer};
/// use thingif::transport::{memory, record::Record};
///
/// let (network, _broker) = memory::network();
/// let writer = Writer::new(Vec::new(), &Header::new("hand-made"))?;
/// let transport = Arc::new(Record::new(network, writer)); // an `Arc` of a transport is one
/// assert_eq!(transport.failed_writes(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Record<T, W> {
    transport: T,
    tape: Arc<Tape<W>>,
}

#[derive(Debug)]
struct Tape<W> {
    writer: Mutex<Writer<W>>,
    began: Instant,
    links: AtomicU64,
    failed_writes: AtomicU64,
}

impl<T: Transport, W: io::Write + Send + 'static> Record<T, W> {
    /// Records `transport` into `writer`, which decides whether secrets are redacted.
    pub fn new(transport: T, writer: Writer<W>) -> Self {
        let tape = Tape {
            writer: Mutex::new(writer),
            began: Instant::now(),
            links: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
        };
        Self { transport, tape: Arc::new(tape) }
    }

    /// How many entries, or flushes, the sink has refused so far.
    pub fn failed_writes(&self) -> u64 {
        self.tape.failed_writes.load(Ordering::Relaxed)
    }
}

impl<W: io::Write> Tape<W> {
    fn write(&self, link: u64, event: Event) {
        let entry = Entry { at: self.began.elapsed(), link, event };
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = matches!(entry.event, Event::Refused(_) | Event::Lost(_) | Event::Close | Event::Dropped);
        let written = writer.write(&entry).and_then(|()| if ends { writer.flush() } else { Ok(()) });
        if let Err(error) = written
            && self.failed_writes.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "the capture cannot be written; entries will be missing from it");
        }
    }
}

/// A connection whose end has not been written yet. Dropped before that, it writes [`Event::Dropped`].
struct Recording<W: io::Write> {
    tape: Arc<Tape<W>>,
    link: u64,
    ended: bool,
}

impl<W: io::Write> Recording<W> {
    fn write(&mut self, event: Event) {
        self.tape.write(self.link, event);
    }

    fn end(&mut self, event: Event) {
        if !std::mem::replace(&mut self.ended, true) {
            self.write(event);
        }
    }
}

impl<W: io::Write> Drop for Recording<W> {
    fn drop(&mut self) {
        self.end(Event::Dropped);
    }
}

impl<T: Transport, W: io::Write + Send + 'static> Transport for Record<T, W> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            let link = self.tape.links.fetch_add(1, Ordering::Relaxed) + 1;
            let mut recording = Recording { tape: self.tape.clone(), link, ended: false };
            recording.write(Event::Connect {
                endpoint: endpoint.clone(),
                client_id: credentials.client_id.clone(),
                username: credentials.username.clone(),
                protocol: None,
            });
            match self.transport.connect(endpoint, credentials, &options.accepted()).await {
                Ok(link) => {
                    recording.write(Event::Connected);
                    Ok(Box::new(RecordedLink { link, recording }) as Box<dyn Link>)
                }
                Err(error) => {
                    recording.end(Event::Refused(error.clone()));
                    Err(error)
                }
            }
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }
}

struct RecordedLink<W: io::Write> {
    link: Box<dyn Link>,
    recording: Recording<W>,
}

impl<W: io::Write + Send + 'static> Link for RecordedLink<W> {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        self.link.publish(publish.clone())?;
        self.recording.write(Event::Publish(publish));
        Ok(())
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.link.subscribe(filter.clone())?;
        self.recording.write(Event::Subscribe(filter));
        Ok(())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let event = ready!(self.link.poll_event(cx));
        match event.clone() {
            LinkEvent::Received(publish) => self.recording.write(Event::Received(publish)),
            LinkEvent::Subscribed { filter, granted } => self.recording.write(Event::Subscribed { filter, granted }),
            LinkEvent::Accepted => {}
            LinkEvent::Lost(error) => self.recording.end(Event::Lost(error)),
        }
        Poll::Ready(event)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self { link, mut recording } = *self;
        recording.end(Event::Close);
        link.close()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::{Header, Reader};
    use crate::ids::AppId;
    use crate::mqtt::{LinkErrorKind, RefusedReason};
    use crate::topic::Topic;
    use crate::transport::memory::{self, Broker, BrokerLink};
    use crate::transport::next_event;

    /// A sink that the test can look into, and that fails on demand.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Sink {
        fn fail(&self, fails: bool) {
            self.0.lock().expect("no panic").1 = fails;
        }

        fn entries(&self) -> Vec<Entry> {
            let bytes = self.0.lock().expect("no panic").0.clone();
            Reader::new(&bytes[..]).expect("a header").map(|entry| entry.expect("well-formed")).collect()
        }

        /// Link number, time in milliseconds and event without its members.
        fn outline(&self) -> Vec<(u64, u128, String)> {
            let word = |event: &Event| format!("{event:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
            self.entries().iter().map(|e| (e.link, e.at.as_millis(), word(&e.event))).collect()
        }
    }

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().expect("no panic");
            // Half of it, so that a failure can tear a line.
            let written = bytes.len().div_ceil(2);
            if inner.1 && bytes.len() < 10 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.0.extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Scene {
        sink: Sink,
        transport: Record<memory::Network, Sink>,
        broker: Broker,
    }

    fn scene() -> Scene {
        let sink = Sink::default();
        let (network, broker) = memory::network();
        let writer = Writer::new(sink.clone(), &Header::new("hand-made")).expect("a sink that works");
        Scene { sink, transport: Record::new(network, writer), broker }
    }

    async fn connect(scene: &mut Scene) -> (Box<dyn Link>, BrokerLink) {
        let endpoint = "mqtt://h".parse().expect("an endpoint");
        let credentials = Credentials::anonymous(&AppId::new("a1").expect("an id"), &"s3cr3t".into());
        let options = ConnectOptions::default();
        let (link, other) = tokio::join!(scene.transport.connect(&endpoint, &credentials, &options), async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            scene.broker.accept().await.expect("an attempt").accept()
        });
        (link.expect("accepted"), other)
    }

    fn publish(text: &str) -> Publish {
        Publish::new(Topic::new("p/anonymous/x").expect("a topic"), text.to_owned())
    }

    fn outline(expected: &[(u64, u128, &str)]) -> Vec<(u64, u128, String)> {
        expected.iter().map(|(link, at, word)| (*link, *at, (*word).to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_written_with_its_time_and_nothing_is_changed() {
        let mut scene = scene();
        let (mut link, mut other) = connect(&mut scene).await;
        let filter = TopicFilter::new("anonymous").expect("a filter");
        link.subscribe(filter.clone()).expect("queued");
        other.suback(filter, true).expect("queued");
        assert!(matches!(next_event(&mut *link).await, LinkEvent::Subscribed { granted: true, .. }));
        tokio::time::advance(Duration::from_millis(10)).await;
        link.publish(publish("POST\r\n\r\n{\"thingPassword\":\"pw\"}")).expect("queued");
        other.publish(publish("200\r\n\r\n")).expect("queued");
        assert_eq!(next_event(&mut *link).await, LinkEvent::Received(publish("200\r\n\r\n")));
        tokio::time::advance(Duration::from_millis(1)).await;
        link.close().await;
        assert_eq!(
            scene.sink.outline(),
            outline(&[
                (1, 0, "Connect"),
                (1, 5, "Connected"),
                (1, 5, "Subscribe"),
                (1, 5, "Subscribed"),
                (1, 15, "Publish"),
                (1, 15, "Received"),
                (1, 16, "Close"),
            ])
        );
        assert_eq!(scene.sink.entries()[4].event, Event::Publish(publish("POST\r\n\r\n{\"thingPassword\":\"xx\"}")));
        let text = String::from_utf8(scene.sink.0.lock().expect("no panic").0.clone()).expect("JSON");
        assert!(!text.contains("s3cr3t"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_end_is_told_apart() {
        let mut scene = scene();
        let (mut link, other) = connect(&mut scene).await;
        other.cut(LinkErrorKind::KeepAlive);
        assert_eq!(next_event(&mut *link).await, LinkEvent::Lost(LinkErrorKind::KeepAlive.into()));
        drop(link);
        let (link, _other) = connect(&mut scene).await;
        drop(link);
        let endpoint = "mqtt://h".parse().expect("an endpoint");
        let credentials = Credentials::anonymous(&AppId::new("a1").expect("an id"), &"k".into());
        let options = ConnectOptions::default();
        let (refused, ()) = tokio::join!(scene.transport.connect(&endpoint, &credentials, &options), async {
            scene.broker.accept().await.expect("an attempt").refuse(RefusedReason::BadUserNameOrPassword);
        });
        refused.err().expect("refused");
        let attempt = scene.transport.connect(&endpoint, &credentials, &options);
        tokio::time::timeout(Duration::from_millis(1), attempt).await.err().expect("given up");
        let words: Vec<_> = scene.sink.outline().into_iter().map(|(link, _, word)| (link, word)).collect();
        let expected = [
            (1, "Connect"),
            (1, "Connected"),
            (1, "Lost"),
            (2, "Connect"),
            (2, "Connected"),
            (2, "Dropped"),
            (3, "Connect"),
            (3, "Refused"),
            (4, "Connect"),
            (4, "Dropped"),
        ];
        assert_eq!(words, expected.map(|(link, word)| (link, word.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_sink_is_counted_and_does_not_break_the_link() {
        let mut scene = scene();
        let (mut link, mut other) = connect(&mut scene).await;
        scene.sink.fail(true);
        link.publish(publish("1")).expect("queued");
        other.publish(publish("2")).expect("queued");
        assert_eq!(next_event(&mut *link).await, LinkEvent::Received(publish("2")));
        assert_eq!(other.next().await, Some(memory::FromDevice::Publish(publish("1"))));
        assert_eq!(scene.transport.failed_writes(), 2);
        scene.sink.fail(false);
        link.close().await;
        assert_eq!(scene.transport.failed_writes(), 2);
        let bytes = scene.sink.0.lock().expect("no panic").0.clone();
        let read: Vec<_> = Reader::new(&bytes[..]).expect("a header").collect();
        let torn = read.iter().filter(|entry| entry.is_err()).count();
        assert_eq!((read.len(), torn), (5, 2), "torn lines stand alone");
        assert_eq!(read[4].as_ref().expect("whole").event, Event::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_transport_refused_is_not_recorded() {
        let sink = Sink::default();
        let (network, broker) = memory::network_with_capacity(1);
        let writer = Writer::new(sink.clone(), &Header::new("hand-made")).expect("a sink that works");
        let mut scene = Scene { sink, transport: Record::new(network, writer), broker };
        let (mut link, _other) = connect(&mut scene).await;
        link.publish(publish("1")).expect("queued");
        link.publish(publish("2")).expect_err("full");
        let published = scene.sink.entries().iter().filter(|e| matches!(e.event, Event::Publish(_))).count();
        assert_eq!(published, 1);
    }
}
