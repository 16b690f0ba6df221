//! A network inside the process: the device's [`Transport`] on one end, a broker that a test scripts on the other.
//!
//! Nothing here waits by itself: with tokio's paused clock a test runs in virtual time. Messages arrive in order and are
//! never changed; [`Fault`](super::fault::Fault) in between makes the network bad.
//!
//! ```
//! use thingif::ids::AppId;
//! use thingif::mqtt::{Credentials, Publish};
//! use thingif::topic::{Topic, TopicFilter};
//! use thingif::transport::memory::{self, FromDevice};
//! use thingif::transport::{ConnectOptions, LinkEvent, Transport, next_event};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let (network, mut broker) = memory::network();
//!
//! let broker = tokio::spawn(async move {
//!     let attempt = broker.accept().await.expect("the device connects");
//!     assert_eq!(attempt.credentials().client_id.as_str(), "anonymous");
//!     let mut link = attempt.accept();
//!     let Some(FromDevice::Subscribe(filter)) = link.next().await else { panic!("expected a SUBSCRIBE") };
//!     link.suback(filter, true)?;
//!     let Some(FromDevice::Publish(call)) = link.next().await else { panic!("expected a PUBLISH") };
//!     link.publish(Publish::new(call.topic, "200\r\n\r\n"))
//! });
//!
//! let credentials = Credentials::anonymous(&AppId::new("a1")?, &"key".into());
//! let endpoint = "mqtt://broker.invalid".parse()?;
//! let mut link = network.connect(&endpoint, &credentials, &ConnectOptions::default()).await?;
//! link.subscribe(TopicFilter::new("anonymous")?)?;
//! assert!(matches!(next_event(&mut *link).await, LinkEvent::Subscribed { granted: true, .. }));
//! link.publish(Publish::new(Topic::new("p/anonymous/x")?, "GET\r\n\r\n"))?;
//! let LinkEvent::Received(answer) = next_event(&mut *link).await else { panic!("expected the answer") };
//! assert_eq!(&answer.payload[..], b"200\r\n\r\n");
//! broker.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

use super::{BoxFuture, ConnectOptions, Link, LinkEvent, Transport, refuse_pins};
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason};
use crate::topic::TopicFilter;

/// How many messages wait in one direction of a link, by default.
pub const DEFAULT_CAPACITY: usize = 1024;

/// A network with one broker that answers at every endpoint.
pub fn network() -> (Network, Broker) {
    network_with_capacity(DEFAULT_CAPACITY)
}

/// As [`network`], where `capacity` messages may wait in each direction of a link; one more is `Overloaded`.
/// At most 1,048,576; more is taken as that.
pub fn network_with_capacity(capacity: usize) -> (Network, Broker) {
    let (attempts, arriving) = mpsc::unbounded_channel();
    (Network { attempts, capacity: capacity.min(1 << 20) }, Broker { arriving })
}

/// The device's end: a [`Transport`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    // Unbounded, but every entry is a `connect` call that its caller is still waiting for.
    attempts: mpsc::UnboundedSender<Attempt>,
    capacity: usize,
}

impl Transport for Network {
    /// Fails with `Tcp` when the [`Broker`] is gone, `ConnectTimedOut` when it does not answer within
    /// [`ConnectOptions::timeout`] (tokio's clock), and with what [`Attempt::refuse`] or [`Attempt::fail`] say.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            refuse_pins(options)?;
            let (answer, answered) = oneshot::channel();
            let attempt = Attempt {
                endpoint: endpoint.clone(),
                credentials: credentials.clone(),
                options: options.clone(),
                capacity: self.capacity,
                answer,
            };
            let nobody = || LinkError::new(LinkErrorKind::Tcp, "nobody listens");
            self.attempts.send(attempt).map_err(|_| nobody())?;
            match tokio::time::timeout(options.timeout, answered).await {
                Ok(Ok(answer)) => answer.map(|link| Box::new(link) as Box<dyn Link>),
                Ok(Err(_)) => Err(nobody()),
                Err(_) => Err(LinkErrorKind::ConnectTimedOut.into()),
            }
        })
    }
}

/// The broker's end of the network. When it is dropped, nobody listens any more.
#[derive(Debug)]
pub struct Broker {
    arriving: mpsc::UnboundedReceiver<Attempt>,
}

impl Broker {
    /// The next attempt to connect, in the order they were made; those given up meanwhile are left out. `None` once every
    /// [`Network`] is gone. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Attempt> {
        loop {
            let attempt = self.arriving.recv().await?;
            if !attempt.answer.is_closed() {
                return Some(attempt);
            }
        }
    }
}

/// Somebody connects and waits for the CONNACK. Dropped without an answer, it fails as if nobody listened.
#[derive(Debug)]
pub struct Attempt {
    endpoint: Endpoint,
    credentials: Credentials,
    options: ConnectOptions,
    capacity: usize,
    answer: oneshot::Sender<Result<MemoryLink, LinkError>>,
}

impl Attempt {
    /// Where the device connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As whom.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// With which options.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Answers CONNACK 0. If the attempt was given up meanwhile, the link's first event is its end.
    pub fn accept(self) -> BrokerLink {
        // One place more than the capacity: the end of a link must always fit.
        let (to_broker, from_device) = mpsc::channel(self.capacity + 1);
        let (to_device, from_broker) = mpsc::channel(self.capacity + 1);
        let link = MemoryLink { to_broker: Some(to_broker), from_broker, max_payload: self.options.max_payload };
        // The device's end, handed back, is dropped: that ends the broker's.
        drop(self.answer.send(Ok(link)));
        BrokerLink { to_device, from_device }
    }

    /// Answers with a refusing CONNACK.
    pub fn refuse(self, reason: RefusedReason) {
        self.fail(LinkErrorKind::Refused(reason));
    }

    /// Fails the attempt in any other way: a name that does not resolve, TLS, a time-out.
    pub fn fail(self, error: impl Into<LinkError>) {
        // The caller may have given up; then there is nobody to tell.
        drop(self.answer.send(Err(error.into())));
    }
}

/// What a device does on a link, as the broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FromDevice {
    /// PUBLISH.
    Publish(Publish),
    /// SUBSCRIBE at QoS 0, to be answered with [`BrokerLink::suback`].
    Subscribe(TopicFilter),
    /// DISCONNECT; the end of the link follows.
    Disconnect,
}

/// The broker's end of one connection. Dropped, it closes the connection, like [`cut`](BrokerLink::cut) with `Closed`.
#[derive(Debug)]
pub struct BrokerLink {
    to_device: mpsc::Sender<LinkEvent>,
    from_device: mpsc::Receiver<FromDevice>,
}

impl BrokerLink {
    /// What the device does next, in order. `None` once its end is gone, which without a
    /// [`FromDevice::Disconnect`] before it means that it was dropped. Cancel-safe.
    pub async fn next(&mut self) -> Option<FromDevice> {
        self.from_device.recv().await
    }

    /// Sends a PUBLISH, on any topic: subscriptions are the script's business.
    ///
    /// # Errors
    /// `Overloaded` when the device has not taken the last ones, `Closed` when its end is gone.
    pub fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        enqueue(&self.to_device, LinkEvent::Received(publish))
    }

    /// Answers a SUBSCRIBE; `granted` false is return code 0x80.
    ///
    /// # Errors
    /// As [`publish`](BrokerLink::publish).
    pub fn suback(&mut self, filter: TopicFilter, granted: bool) -> Result<(), LinkError> {
        enqueue(&self.to_device, LinkEvent::Subscribed { filter, granted })
    }

    /// Ends the connection. The device first receives what was sent before; what it publishes until it notices is lost,
    /// as on a real network.
    pub fn cut(self, error: impl Into<LinkError>) {
        // The reserved place is free: only this call takes it. A device that is gone need not be told.
        drop(self.to_device.try_send(LinkEvent::Lost(error.into())));
    }
}

/// Puts `item` into a queue that has one producer, leaving its last place for the end of the link.
fn enqueue<T>(queue: &mpsc::Sender<T>, item: T) -> Result<(), LinkError> {
    if queue.is_closed() {
        return Err(LinkErrorKind::Closed.into());
    }
    if queue.capacity() <= 1 {
        return Err(LinkErrorKind::Overloaded.into());
    }
    queue.try_send(item).map_err(|_| LinkErrorKind::Closed.into())
}

/// The device's end.
#[derive(Debug)]
struct MemoryLink {
    /// `None` once the loss of the link has been told.
    to_broker: Option<mpsc::Sender<FromDevice>>,
    from_broker: mpsc::Receiver<LinkEvent>,
    max_payload: usize,
}

impl MemoryLink {
    fn send(&self, item: FromDevice) -> Result<(), LinkError> {
        let Some(to_broker) = &self.to_broker else { return Err(LinkErrorKind::Closed.into()) };
        match enqueue(to_broker, item) {
            // Not noticed yet: the message goes the way of every message on a dead connection.
            Err(error) if error.kind() == LinkErrorKind::Closed => Ok(()),
            result => result,
        }
    }

    fn lost(&mut self, error: LinkError) -> LinkEvent {
        self.to_broker = None;
        self.from_broker.close();
        LinkEvent::Lost(error)
    }
}

impl Link for MemoryLink {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        self.send(FromDevice::Publish(publish))
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.send(FromDevice::Subscribe(filter))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        if self.to_broker.is_none() {
            return Poll::Pending;
        }
        let event = match std::task::ready!(self.from_broker.poll_recv(cx)) {
            Some(LinkEvent::Received(publish)) if publish.payload.len() > self.max_payload => {
                let detail = format!("a payload of {} bytes where {} fit", publish.payload.len(), self.max_payload);
                self.lost(LinkError::new(LinkErrorKind::Protocol, detail))
            }
            Some(LinkEvent::Lost(error)) => self.lost(error),
            Some(event) => event,
            None => self.lost(LinkErrorKind::Closed.into()),
        };
        Poll::Ready(event)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        if let Some(to_broker) = self.to_broker {
            // The reserved place is free: only this call takes it.
            drop(to_broker.try_send(FromDevice::Disconnect));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::AppId;
    use crate::topic::Topic;
    use crate::transport::next_event;

    fn endpoint() -> Endpoint {
        "mqtts://broker.invalid".parse().expect("a broker URL")
    }

    fn credentials() -> Credentials {
        Credentials::anonymous(&AppId::new("a1").expect("an app id"), &"key".into())
    }

    fn publish(text: &str) -> Publish {
        Publish::new(Topic::new("p/anonymous/x").expect("a topic"), text.to_owned())
    }

    async fn connected(network: &Network, broker: &mut Broker) -> (Box<dyn Link>, BrokerLink) {
        let (endpoint, credentials, options) = (endpoint(), credentials(), ConnectOptions::default());
        let (link, other) = tokio::join!(network.connect(&endpoint, &credentials, &options), async {
            broker.accept().await.expect("an attempt").accept()
        });
        (link.expect("accepted"), other)
    }

    async fn refused_by(answer: impl FnOnce(Attempt)) -> LinkError {
        let (network, mut broker) = network();
        let (endpoint, credentials, options) = (endpoint(), credentials(), ConnectOptions::default());
        let (result, ()) = tokio::join!(network.connect(&endpoint, &credentials, &options), async {
            answer(broker.accept().await.expect("an attempt"));
        });
        result.err().expect("refused")
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_shows_where_who_and_how() {
        let (network, mut broker) = network();
        let (endpoint, credentials) = (endpoint(), credentials());
        let options = ConnectOptions { max_payload: 5, ..ConnectOptions::default() };
        let (link, ()) = tokio::join!(network.connect(&endpoint, &credentials, &options), async {
            let attempt = broker.accept().await.expect("an attempt");
            assert_eq!(attempt.endpoint(), &endpoint);
            assert_eq!(attempt.credentials().username, credentials.username);
            assert_eq!(attempt.credentials().password.expose(), "client_secret=key");
            assert_eq!(attempt.options().max_payload, 5);
            attempt.accept();
        });
        let mut link = link.expect("accepted");
        assert_eq!(next_event(&mut *link).await, LinkEvent::Lost(LinkErrorKind::Closed.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_reach_the_device() {
        let refused = refused_by(|attempt| attempt.refuse(RefusedReason::NotAuthorised)).await;
        assert_eq!(refused.kind(), LinkErrorKind::Refused(RefusedReason::NotAuthorised));
        let failed = refused_by(|attempt| attempt.fail(LinkError::new(LinkErrorKind::Tls, "expired"))).await;
        assert_eq!(failed, LinkError::new(LinkErrorKind::Tls, "expired"));
        assert_eq!(refused_by(drop).await.kind(), LinkErrorKind::Tcp);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_listening_and_nobody_answering_differ() {
        let (network, broker) = network();
        let (endpoint, credentials, options) = (endpoint(), credentials(), ConnectOptions::default());
        let began = tokio::time::Instant::now();
        let error = network.connect(&endpoint, &credentials, &options).await.err().expect("no answer");
        assert_eq!(error.kind(), LinkErrorKind::ConnectTimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        drop(broker);
        let error = network.connect(&endpoint, &credentials, &options).await.err().expect("no broker");
        assert_eq!(error.kind(), LinkErrorKind::Tcp);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_given_up_is_not_seen() {
        let (network, mut broker) = network();
        let (endpoint, credentials, options) = (endpoint(), credentials(), ConnectOptions::default());
        {
            let attempt = network.connect(&endpoint, &credentials, &options);
            tokio::time::timeout(Duration::from_secs(1), attempt).await.err().expect("given up");
        }
        let (_link, _other) = connected(&network, &mut broker).await;
        drop(network);
        assert!(broker.accept().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disconnect_and_a_drop_look_different() {
        let (network, mut broker) = network();
        let (mut link, mut other) = connected(&network, &mut broker).await;
        link.publish(publish("1")).expect("queued");
        link.close().await;
        assert_eq!(other.next().await, Some(FromDevice::Publish(publish("1"))));
        assert_eq!(other.next().await, Some(FromDevice::Disconnect));
        assert_eq!(other.next().await, None);
        assert_eq!(other.publish(publish("2")).map_err(|e| e.kind()), Err(LinkErrorKind::Closed));

        let (link, mut other) = connected(&network, &mut broker).await;
        drop(link);
        assert_eq!(other.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_comes_after_what_was_sent_before() {
        let (network, mut broker) = network();
        let (mut link, mut other) = connected(&network, &mut broker).await;
        other.publish(publish("1")).expect("queued");
        other.cut(LinkErrorKind::KeepAlive);
        link.publish(publish("lost")).expect("not noticed yet");
        assert_eq!(next_event(&mut *link).await, LinkEvent::Received(publish("1")));
        assert_eq!(next_event(&mut *link).await, LinkEvent::Lost(LinkErrorKind::KeepAlive.into()));
        assert_eq!(link.publish(publish("2")).map_err(|e| e.kind()), Err(LinkErrorKind::Closed));
        let after = tokio::time::timeout(Duration::from_secs(3600), next_event(&mut *link)).await;
        assert!(after.is_err(), "nothing follows a loss");
    }

    #[tokio::test(start_paused = true)]
    async fn full_queues_say_so_and_the_end_still_fits() {
        let (network, mut broker) = network_with_capacity(2);
        let (mut link, mut other) = connected(&network, &mut broker).await;
        for _ in 0..2 {
            link.publish(publish("x")).expect("fits");
            other.publish(publish("y")).expect("fits");
        }
        assert_eq!(link.publish(publish("x")).map_err(|e| e.kind()), Err(LinkErrorKind::Overloaded));
        assert_eq!(other.publish(publish("y")).map_err(|e| e.kind()), Err(LinkErrorKind::Overloaded));
        other.cut(LinkErrorKind::Tcp);
        for _ in 0..2 {
            assert_eq!(next_event(&mut *link).await, LinkEvent::Received(publish("y")));
        }
        assert_eq!(next_event(&mut *link).await, LinkEvent::Lost(LinkErrorKind::Tcp.into()));

        let (mut link, mut other) = connected(&network, &mut broker).await;
        for _ in 0..2 {
            link.publish(publish("x")).expect("fits");
        }
        link.close().await;
        for _ in 0..2 {
            assert_eq!(other.next().await, Some(FromDevice::Publish(publish("x"))));
        }
        assert_eq!(other.next().await, Some(FromDevice::Disconnect));
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_beyond_the_accepted_size_ends_the_link() {
        let (network, mut broker) = network();
        let (endpoint, credentials) = (endpoint(), credentials());
        let options = ConnectOptions { max_payload: 2, ..ConnectOptions::default() };
        let (link, mut other) = tokio::join!(network.connect(&endpoint, &credentials, &options), async {
            broker.accept().await.expect("an attempt").accept()
        });
        let mut link = link.expect("accepted");
        other.publish(publish("12")).expect("queued");
        other.publish(publish("123")).expect("queued");
        assert_eq!(next_event(&mut *link).await, LinkEvent::Received(publish("12")));
        let LinkEvent::Lost(error) = next_event(&mut *link).await else { panic!("expected the end") };
        assert_eq!(error.kind(), LinkErrorKind::Protocol);
        assert_eq!(other.next().await, None, "the broker sees the end too");
    }
}
