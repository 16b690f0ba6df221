//! Bytes in, packets out, over anything that carries them.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure;
use crate::mqtt::{LinkError, LinkErrorKind};

/// How much is read at once. It lies on the stack, so that an idle connection has no read buffer.
const READ_LEN: usize = 16 * 1024;

/// A connection below MQTT.
pub(super) trait Wire: Send + Unpin + 'static {
    /// Whether packets must leave one by one.
    const ONE_BY_ONE: bool;

    /// Appends what has arrived to `input`; 0 bytes are the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, LinkError>>;

    /// Whether any byte has come since the last call, where `poll_fill` tells of whole messages alone.
    fn take_heard(&mut self) -> bool {
        false
    }

    /// Writes from the front of `output`. Ready when nothing is left and everything is flushed.
    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), LinkError>>;

    /// Says the last word and closes the outgoing direction.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()>;
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
        write(&mut self.bytes)?;
        if self.one_by_one {
            self.lengths.push_back(self.bytes.len() - start);
        }
        Ok(())
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
}

/// TCP, TLS, or anything else that is a stream of bytes.
pub(super) struct Stream<T>(pub(super) T);

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for Stream<T> {
    const ONE_BY_ONE: bool = false;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, LinkError>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_LEN];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut bytes)).map_err(failure::io)?;
        input.extend_from_slice(bytes.filled());
        Poll::Ready(Ok(bytes.filled().len()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), LinkError>> {
        while !output.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, &output.bytes)).map_err(failure::io)?;
            if written == 0 {
                return Poll::Ready(Err(LinkErrorKind::Closed.into()));
            }
            output.bytes.advance(written);
        }
        Pin::new(&mut self.0).poll_flush(cx).map_err(failure::io)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_shutdown(cx).map(|_: io::Result<()>| ())
    }
}
