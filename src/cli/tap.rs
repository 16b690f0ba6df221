//! A transport that shows what passes through it.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::mqtt::{Credentials, Endpoint, LinkError, Publish};
use crate::topic::TopicFilter;
use crate::transport::{BoxFuture, Capabilities, ConnectOptions, Link, LinkEvent, Transport};

/// What passes, at the moment it does.
#[derive(Debug)]
pub(crate) enum Passing<'a> {
    /// CONNECT was accepted.
    Connected(&'a Endpoint, &'a Credentials),
    /// A message goes out.
    Sent(&'a Publish),
    /// A message came in.
    Received(&'a Publish),
    /// A subscription was granted or refused.
    Subscribed(&'a TopicFilter, bool),
    /// The connection was closed from this side.
    Closed,
    /// The connection was lost.
    Lost(&'a LinkError),
}

type Show = Arc<dyn Fn(Passing<'_>) + Send + Sync>;

/// `T`, and a function that is called for all that passes. It must not block.
pub(crate) struct Tap<T> {
    transport: T,
    show: Show,
}

impl<T> Tap<T> {
    pub(crate) fn new(transport: T, show: impl Fn(Passing<'_>) + Send + Sync + 'static) -> Self {
        Self { transport, show: Arc::new(show) }
    }
}

impl<T: Transport> Transport for Tap<T> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            let link = self.transport.connect(endpoint, credentials, &options.accepted()).await?;
            (self.show)(Passing::Connected(endpoint, credentials));
            Ok(Box::new(TappedLink { link, show: Arc::clone(&self.show) }) as Box<dyn Link>)
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }
}

struct TappedLink {
    link: Box<dyn Link>,
    show: Show,
}

impl Link for TappedLink {
    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        (self.show)(Passing::Sent(&publish));
        self.link.publish(publish)
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.link.subscribe(filter)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let event = std::task::ready!(self.link.poll_event(cx));
        match &event {
            LinkEvent::Received(publish) => (self.show)(Passing::Received(publish)),
            LinkEvent::Subscribed { filter, granted } => (self.show)(Passing::Subscribed(filter, *granted)),
            LinkEvent::Accepted => {}
            LinkEvent::Lost(error) => (self.show)(Passing::Lost(error)),
        }
        Poll::Ready(event)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        (self.show)(Passing::Closed);
        self.link.close()
    }
}
