//! Options of accepted sockets.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the system asks whether the peer is there, by default; with the probes it makes 90 s.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Between two probes, and how many of them go unanswered before the connection is broken off.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Has answers leave at once, and a peer that is gone without a word found out.
///
/// What a system does not know stays as it was: the connection works without.
pub(crate) fn prepare(tcp: &TcpStream, keep_alive: Option<Duration>) {
    // Answers are written whole, so waiting for more to send only delays them.
    let _: io::Result<()> = tcp.set_nodelay(true);
    if let Some(time) = keep_alive {
        let probes = TcpKeepalive::new().with_time(time).with_interval(PROBE_INTERVAL).with_retries(PROBES);
        if let Err(error) = SockRef::from(tcp).set_tcp_keepalive(&probes) {
            tracing::debug!(%error, "no TCP keep-alive");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_silent_peer_is_asked_and_given_up_within_90_seconds() {
        let (_near, far) = pair().await;
        prepare(&far, Some(KEEP_ALIVE));
        let socket = SockRef::from(&far);
        assert!(far.nodelay().expect("an option") && socket.keepalive().expect("an option"));
        let [time, interval] =
            [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()].map(|t| t.expect("a time"));
        let probes = socket.tcp_keepalive_retries().expect("a number");
        assert_eq!(time + interval * probes, Duration::from_secs(90));
    }

    #[tokio::test]
    async fn without_keep_alive_the_system_decides() {
        let (_near, far) = pair().await;
        prepare(&far, None);
        assert!(!SockRef::from(&far).keepalive().expect("an option"));
    }
}
