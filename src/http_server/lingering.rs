//! Closing a connection whose peer may still be sending.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the peer has to hear the last answer and to hang up.
const LINGER: Duration = Duration::from_secs(2);

/// A stream that, when it is shut down, takes what the peer still sends until that hangs up, for at most 2 s. Closed at once, it
/// would answer that with a reset, which destroys the answer that the peer has not read yet (RFC 9112 §9.6): a client whose
/// body is too large would see a broken connection instead of 413.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    /// Since nothing more is written.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, until } = &mut *self;
        if until.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let until = until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut unheard = [0; 4096];
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut unheard);
            // An error is an end, too: everything that was to be said has been.
            if ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn whoever_is_still_sending_reads_the_last_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (server, _) = listener.accept().await.expect("accepted");
        let server = tokio::spawn(async move {
            let mut server = Lingering::new(server);
            server.write_all(b"413").await.expect("written");
            server.shutdown().await.expect("shut down");
        });
        // More than the buffers of both ends hold: it has to be taken.
        client.write_all(&vec![0; 16 * 1024 * 1024]).await.expect("not reset");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("not reset");
        assert_eq!(answer, "413");
        drop(client);
        server.await.expect("ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_hang_up_is_left() {
        let (mut client, server) = tokio::io::duplex(64);
        let began = Instant::now();
        let sending = tokio::spawn(async move {
            while client.write_all(&[0; 16]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let mut server = Lingering::new(server);
        server.shutdown().await.expect("shut down");
        assert_eq!(began.elapsed(), LINGER);
        drop(server);
        sending.await.expect("ended");
    }
}
