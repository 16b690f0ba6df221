//! HTTP/1.1 on whatever accepts connections: the loop that accepts them, and the requests of one of them.

mod lingering;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::lingering::Lingering;
use crate::edge;

/// For the head of a request, also the next one on an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For requests under way when the server is asked to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of `accept` that is not about one connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a request's head may have; beyond, the answer is a bare 431.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadBounds {
    /// Fields.
    pub(crate) fields: usize,
    /// Bytes.
    pub(crate) len: usize,
}

/// Where connections come from.
pub(crate) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who has connected.
    type Peer: Send + 'static;

    /// Waits for the next connection. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

/// A peer that vanishes is found out within 90 s.
impl Listener for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        edge::prepare(&stream, Some(edge::KEEP_ALIVE));
        Ok((stream, remote))
    }
}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(tokio::net::UnixStream, ())> {
        tokio::net::UnixListener::accept(self).await.map(|(stream, _)| (stream, ()))
    }
}

impl<L: Listener> Listener for &L {
    type Stream = L::Stream;
    type Peer = L::Peer;

    fn accept(&self) -> impl Future<Output = io::Result<(L::Stream, L::Peer)>> + Send {
        L::accept(self)
    }
}

/// The server's end, as its connections see it.
#[derive(Clone)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Resolves when the server is asked to end.
    pub(crate) async fn begins(&mut self) {
        drop(self.0.wait_for(|ending| *ending).await);
    }
}

/// Runs `connection` for each that comes, at most `max` at once, until `shutdown` completes; further ones wait in the socket's own
/// queue. Then the listener is dropped, and those under way get 10 s to finish. Dropping the future drops every connection.
pub(crate) async fn serve<L, C, F>(listener: L, max: usize, connection: C, shutdown: impl Future<Output = ()>)
where
    L: Listener,
    C: Fn(L::Stream, L::Peer, Ending) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(max));
    let (ending, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let conversation = connection(stream, peer, Ending(ending.subscribe()));
                connections.spawn(async move {
                    conversation.await;
                    drop(place);
                });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept HTTP connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    ending.send_replace(true);
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "HTTP connections were cut off at shutdown");
    }
}

async fn accept<L: Listener>(
    listener: &L,
    places: &Arc<Semaphore>,
) -> io::Result<(L::Stream, L::Peer, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection, one after the other, with `service`; when the server ends, that under way is the last.
/// A client that is still sending when it has been refused can read why: it has 2 s to hang up.
///
/// # Errors
/// Those of the connection, which is over then.
pub(crate) async fn converse<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    head: HeadBounds,
    mut ending: Ending,
) -> hyper::Result<()>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S: HttpService<Incoming, ResBody = B>,
    <S as hyper::service::Service<Request<Incoming>>>::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.max_headers(head.fields).max_buf_size(head.len);
    let mut connection = pin!(server.serve_connection(TokioIo::new(Lingering::new(stream)), service));
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.begins() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::{Mutex, mpsc, oneshot};

    use super::*;

    /// Gives what it is sent, errors included.
    struct Queue(Mutex<mpsc::UnboundedReceiver<io::Result<DuplexStream>>>);

    impl Listener for Queue {
        type Stream = DuplexStream;
        type Peer = ();

        async fn accept(&self) -> io::Result<(DuplexStream, ())> {
            match self.0.lock().await.recv().await {
                Some(accepted) => accepted.map(|stream| (stream, ())),
                None => std::future::pending().await,
            }
        }
    }

    async fn answer(stream: DuplexStream, ending: Ending, delay: Duration) {
        let service = service_fn(move |_: Request<Incoming>| async move {
            tokio::time::sleep(delay).await;
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        });
        drop(converse(stream, service, HeadBounds { fields: 4, len: 8 * 1024 }, ending).await);
    }

    async fn ask(stream: &mut DuplexStream, fields: usize) -> String {
        let head: String = (0..fields).map(|number| format!("X-{number}: 1\r\n")).collect();
        stream.write_all(format!("GET / HTTP/1.1\r\n{head}\r\n").as_bytes()).await.expect("open");
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_a_full_house_pass_and_the_end_waits_for_what_is_under_way() {
        let (send, receive) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let connection = move |stream, (), ending| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                answer(stream, ending, Duration::from_secs(5)).await;
                count.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let queue = Queue(Mutex::new(receive));
        let served = tokio::spawn(async move { serve(queue, 2, connection, async { drop(stopped.await) }).await });
        let connect = |send: &mpsc::UnboundedSender<io::Result<DuplexStream>>| {
            let (near, far) = tokio::io::duplex(4096);
            send.send(Ok(far)).expect("it listens");
            near
        };
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::Other] {
            send.send(Err(kind.into())).expect("it listens");
        }
        let (mut one, two, mut three) = (connect(&send), connect(&send), connect(&send));
        assert!(ask(&mut one, 4).await.ends_with("done"));
        assert_eq!(open.load(Ordering::Relaxed), 2, "the third waits");
        drop(two);
        assert!(ask(&mut three, 5).await.starts_with("HTTP/1.1 431"), "one field too many");
        let (last, ()) = tokio::join!(ask(&mut one, 0), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.send(()).expect("it listens");
        });
        assert!(last.ends_with("done"), "{last}");
        served.await.expect("ended");
        assert_eq!(open.load(Ordering::Relaxed), 0);
        assert!(send.is_closed(), "the listener is gone");
    }
}
