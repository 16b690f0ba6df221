//! Bytes in, packets out, over anything that carries them.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ending::Ending;

/// How much is read at once. It lies on the stack, so that an idle connection has no read buffer.
const READ_LEN: usize = 16 * 1024;

/// A connection below MQTT.
pub(super) trait Wire: Send + Unpin + 'static {
    /// Whether packets must leave one by one.
    const ONE_BY_ONE: bool;

    /// Appends what has arrived to `input`; 0 bytes are the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, Ending>>;

    /// Writes from the front of `output`. Ready when nothing is left and everything is flushed.
    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), Ending>>;

    /// How many bytes the network, or TLS, has taken so far. What this layer holds back itself does not count.
    fn written(&self) -> u64;

    /// Says the last word and closes the outgoing direction.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>>;
}

/// Packets on their way out, one after the other.
#[derive(Default)]
pub(super) struct Output {
    bytes: BytesMut,
    /// Lengths of the packets, where they must leave one by one.
    lengths: VecDeque<usize>,
    one_by_one: bool,
}

impl Output {
    pub(super) fn new<W: Wire>() -> Self {
        Self { one_by_one: W::ONE_BY_ONE, ..Self::default() }
    }

    /// Appends the one packet that `write` writes.
    pub(super) fn append<E>(&mut self, write: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        let len = self.bytes.len() - start;
        if self.one_by_one && len > 0 {
            self.lengths.push_back(len);
        }
        result
    }

    /// What has not left yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next packet. `None` when there is none.
    pub(super) fn next_packet(&mut self) -> Option<BytesMut> {
        self.lengths.pop_front().map(|len| self.bytes.split_to(len))
    }

    /// Gives back memory once everything has left.
    pub(super) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.lengths = VecDeque::new();
        }
    }
}

/// Counts what is written to a stream.
pub(super) struct Counted<T> {
    pub(super) stream: T,
    pub(super) written: u64,
}

impl<T> Counted<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream, written: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// TCP, TLS, or anything else that is a stream of bytes.
pub(super) struct Stream<T>(Counted<T>);

impl<T> Stream<T> {
    pub(super) fn new(stream: T) -> Self {
        Self(Counted::new(stream))
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for Stream<T> {
    const ONE_BY_ONE: bool = false;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, Ending>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_LEN];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut bytes))?;
        input.extend_from_slice(bytes.filled());
        Poll::Ready(Ok(bytes.filled().len()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), Ending>> {
        while !output.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, &output.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(Ending::Closed));
            }
            output.bytes.advance(written);
        }
        Pin::new(&mut self.0).poll_flush(cx).map_err(Ending::from)
    }

    fn written(&self) -> u64 {
        self.0.written
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(Ending::from)
    }
}
