//! The links that a machine asked for: makes them, feeds them, reports what happens on them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::config::Config;
use crate::mqtt::{Credentials, Endpoint, LinkError, Publish};
use crate::proto::{CallId, Event, EventKind, LinkId};
use crate::topic::TopicFilter;
use crate::transport::{BoxFuture, ConnectOptions, Link, LinkEvent, Transport};

type Connecting<'t> = BoxFuture<'t, Result<Box<dyn Link>, LinkError>>;

/// One link at a time, and those before it that are still saying goodbye.
pub(super) struct Links<'t> {
    connect: Box<dyn Fn(Endpoint, Credentials, bool) -> Connecting<'t> + Send + 't>,
    current: Current<'t>,
    /// Each ends within the connect timeout.
    closing: Vec<BoxFuture<'static, ()>>,
    close_timeout: std::time::Duration,
    /// What a link refused at once.
    refused: VecDeque<Event>,
}

enum Current<'t> {
    None,
    Connecting(LinkId, Connecting<'t>),
    Open(LinkId, Box<dyn Link>),
}

fn options(config: &Config) -> ConnectOptions {
    let defaults = ConnectOptions::default();
    ConnectOptions {
        timeout: config.connect_timeout(),
        detect_dead_peer: config.detect_dead_peer(),
        max_payload: defaults.max_payload.max(config.max_frame()),
        spki_pins: config.spki_pins().to_vec(),
        pipeline: defaults.pipeline,
    }
}

impl Links<'static> {
    /// Links that own their transport.
    pub(super) fn owning(config: &Config, transport: impl Transport) -> Self {
        let (transport, options) = (std::sync::Arc::new(transport), options(config));
        Self::new(config, move |endpoint, credentials, pipeline| {
            let (transport, options) = (transport.clone(), ConnectOptions { pipeline, ..options.clone() });
            Box::pin(async move { transport.connect(&endpoint, &credentials, &options).await })
        })
    }
}

impl<'t> Links<'t> {
    /// Links that borrow their transport.
    pub(super) fn borrowing(config: &Config, transport: &'t impl Transport) -> Self {
        let options = options(config);
        Self::new(config, move |endpoint, credentials, pipeline| {
            let options = ConnectOptions { pipeline, ..options.clone() };
            Box::pin(async move { transport.connect(&endpoint, &credentials, &options).await })
        })
    }

    fn new(config: &Config, connect: impl Fn(Endpoint, Credentials, bool) -> Connecting<'t> + Send + 't) -> Self {
        Self {
            connect: Box::new(connect),
            current: Current::None,
            closing: Vec::new(),
            close_timeout: config.connect_timeout(),
            refused: VecDeque::new(),
        }
    }

    pub(super) fn connect(&mut self, link: LinkId, endpoint: Endpoint, credentials: Credentials, pipeline: bool) {
        self.current = Current::Connecting(link, (self.connect)(endpoint, credentials, pipeline));
    }

    pub(super) fn subscribe(&mut self, link: LinkId, filter: TopicFilter) {
        if let Some(open) = self.open(link)
            && let Err(error) = open.subscribe(filter)
        {
            // A link without its subscription is of no use.
            self.current = Current::None;
            self.refused.push_back(Event { link, kind: EventKind::Lost(error) });
        }
    }

    pub(super) fn publish(&mut self, link: LinkId, call: Option<CallId>, publish: Publish) {
        if let Some(open) = self.open(link) {
            tracing::trace!(%link, ?publish, "sends");
            if let Err(error) = open.publish(publish) {
                self.refused.push_back(Event { link, kind: EventKind::NotSent { call, error } });
            }
        }
    }

    /// Ends `link` with a DISCONNECT.
    pub(super) fn disconnect(&mut self, link: LinkId) {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Open(current, open) if current == link => {
                let (closed, timeout) = (open.close(), self.close_timeout);
                // One that cannot say goodbye in time is dropped, which closes it too.
                self.closing.push(Box::pin(async move { drop(tokio::time::timeout(timeout, closed).await) }));
            }
            Current::Connecting(current, _) if current == link => {}
            other => self.current = other,
        }
    }

    /// Gives `link` up at once.
    pub(super) fn abort(&mut self, link: LinkId) {
        match self.current {
            Current::Connecting(current, _) | Current::Open(current, _) if current == link => {
                self.current = Current::None;
            }
            _ => {}
        }
    }

    /// The next thing that happened, in order. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> Event {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// How long a goodbye may take.
    pub(super) fn close_timeout(&self) -> std::time::Duration {
        self.close_timeout
    }

    /// Until the last DISCONNECT is written, or cannot be.
    pub(super) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.poll_closing(cx);
            if self.closing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn open(&mut self, link: LinkId) -> Option<&mut Box<dyn Link>> {
        match &mut self.current {
            Current::Open(current, open) if *current == link => Some(open),
            _ => None,
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) {
        self.closing.retain_mut(|closing| closing.as_mut().poll(cx).is_pending());
    }

    /// The same, for who polls.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.poll_closing(cx);
        if let Some(event) = self.refused.pop_front() {
            return Poll::Ready(event);
        }
        match &mut self.current {
            Current::None => Poll::Pending,
            Current::Connecting(link, connecting) => {
                let link = *link;
                let kind = match std::task::ready!(connecting.as_mut().poll(cx)) {
                    Ok(open) => {
                        let kind = if open.is_accepted() { EventKind::Connected } else { EventKind::Opened };
                        self.current = Current::Open(link, open);
                        kind
                    }
                    Err(error) => {
                        self.current = Current::None;
                        EventKind::Lost(error)
                    }
                };
                Poll::Ready(Event { link, kind })
            }
            Current::Open(link, open) => {
                let link = *link;
                let kind = match std::task::ready!(open.poll_event(cx)) {
                    LinkEvent::Received(publish) => {
                        tracing::trace!(%link, ?publish, "receives");
                        EventKind::Received(publish)
                    }
                    LinkEvent::Accepted => EventKind::Connected,
                    LinkEvent::Subscribed { filter, granted } => EventKind::Subscribed { filter, granted },
                    LinkEvent::Lost(error) => {
                        self.current = Current::None;
                        EventKind::Lost(error)
                    }
                };
                Poll::Ready(Event { link, kind })
            }
        }
    }
}
