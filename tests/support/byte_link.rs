//! A transport that moves bytes, not messages: MQTT packets over any stream in memory, with the crate's packet code.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use thingif::mqtt::packet::{self, Connect, Decoded, Decoder, Limits, Packet, PacketId, Protocol, PublishPacket};
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, Qos, RefusedReason};
use thingif::topic::TopicFilter;
use thingif::transport::{BoxFuture, ConnectOptions, Link, LinkEvent, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::timeout;

/// Makes each connection from the stream that `dial` gives.
pub struct ByteNetwork {
    dial: Box<dyn Fn() -> DuplexStream + Send + Sync>,
}

impl ByteNetwork {
    pub fn new(dial: impl Fn() -> DuplexStream + Send + Sync + 'static) -> Self {
        Self { dial: Box::new(dial) }
    }
}

impl Transport for ByteNetwork {
    fn connect<'a>(
        &'a self,
        _endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        Box::pin(async move {
            let mut link = ByteLink::new((self.dial)(), options.max_payload);
            let hello = Packet::Connect(Box::new(Connect {
                protocol: Protocol::V311,
                clean_session: true,
                keep_alive: 60,
                client_id: credentials.client_id.as_str().to_owned(),
                will: None,
                username: Some(credentials.username.clone()),
                password: Some(Bytes::copy_from_slice(credentials.password.expose().as_bytes())),
            }));
            link.queue(&hello);
            if options.pipeline {
                link.awaits_connack = true;
                return Ok(Box::new(link) as Box<dyn Link>);
            }
            let code = timeout(options.timeout, link.connack()).await;
            match code.unwrap_or_else(|_| Err(LinkErrorKind::ConnectTimedOut.into()))? {
                0 => Ok(Box::new(link) as Box<dyn Link>),
                code => Err(refused(code)),
            }
        })
    }
}

struct ByteLink {
    stream: DuplexStream,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    asked: HashMap<PacketId, TopicFilter>,
    last_id: u16,
    awaits_connack: bool,
    ended: bool,
}

fn refused(code: u8) -> LinkError {
    RefusedReason::from_code(code).map_or(LinkErrorKind::Protocol, LinkErrorKind::Refused).into()
}

impl ByteLink {
    fn new(stream: DuplexStream, max_payload: usize) -> Self {
        let limits = Limits { max_frame: max_payload, ..Limits::default() };
        Self {
            stream,
            decoder: Decoder::new(limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            asked: HashMap::new(),
            last_id: 0,
            awaits_connack: false,
            ended: false,
        }
    }

    fn queue(&mut self, packet: &Packet) {
        packet::encode(packet, Protocol::V311, &mut self.output).expect("encodable");
    }

    async fn connack(&mut self) -> Result<u8, LinkError> {
        let closed = |_: io::Error| LinkError::from(LinkErrorKind::Closed);
        self.stream.write_all_buf(&mut self.output).await.map_err(closed)?;
        loop {
            match self.decoder.decode(&mut self.input).map_err(|_| LinkErrorKind::Protocol)? {
                Some(Decoded::Packet(Packet::ConnAck { code, .. })) => return Ok(code),
                Some(_) => return Err(LinkErrorKind::Protocol.into()),
                None => {}
            }
            if self.stream.read_buf(&mut self.input).await.map_err(closed)? == 0 {
                return Err(LinkErrorKind::Closed.into());
            }
        }
    }

    /// Writes what it can. A stream that takes no more may still have something to read.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(_)) => self.output.clear(),
                Poll::Pending => return,
            }
        }
    }

    fn event(&mut self, packet: Packet) -> Option<LinkEvent> {
        if std::mem::take(&mut self.awaits_connack) {
            return Some(match packet {
                Packet::ConnAck { code: 0, .. } => LinkEvent::Accepted,
                Packet::ConnAck { code, .. } => LinkEvent::Lost(refused(code)),
                _ => LinkEvent::Lost(LinkErrorKind::Protocol.into()),
            });
        }
        match packet {
            Packet::Publish(PublishPacket { topic, payload, qos, .. }) => {
                Some(LinkEvent::Received(Publish { topic, payload, qos }))
            }
            Packet::SubAck { id, codes } => {
                let filter = self.asked.remove(&id)?;
                Some(LinkEvent::Subscribed { filter, granted: codes.first().is_some_and(|code| *code < 0x80) })
            }
            _ => None,
        }
    }
}

impl Link for ByteLink {
    fn is_accepted(&self) -> bool {
        !self.awaits_connack
    }

    fn publish(&mut self, publish: Publish) -> Result<(), LinkError> {
        let Publish { topic, payload, .. } = publish;
        let packet = PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload };
        self.queue(&Packet::Publish(packet));
        Ok(())
    }

    fn subscribe(&mut self, filter: TopicFilter) -> Result<(), LinkError> {
        self.last_id += 1;
        let id = PacketId::new(self.last_id).expect("not 0");
        self.asked.insert(id, filter.clone());
        self.queue(&Packet::Subscribe { id, filters: vec![(filter, Qos::AtMostOnce)] });
        Ok(())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        if self.ended {
            return Poll::Pending;
        }
        self.poll_write(cx);
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Decoded::Packet(packet))) => {
                    if let Some(event) = self.event(packet) {
                        self.ended = matches!(event, LinkEvent::Lost(_));
                        return Poll::Ready(event);
                    }
                    continue;
                }
                Ok(Some(_)) | Err(_) => {
                    self.ended = true;
                    return Poll::Ready(LinkEvent::Lost(LinkErrorKind::Protocol.into()));
                }
                Ok(None) => {}
            }
            let mut chunk = [0; 4096];
            let mut read = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => self.input.extend_from_slice(read.filled()),
                Poll::Ready(_) => {
                    self.ended = true;
                    return Poll::Ready(LinkEvent::Lost(LinkErrorKind::Closed.into()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.queue(&Packet::Disconnect);
            if self.stream.write_all_buf(&mut self.output).await.is_ok() {
                drop(self.stream.shutdown().await);
            }
        })
    }
}
