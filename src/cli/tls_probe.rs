//! Whose fault a failed TLS connection is. Paho says only that it failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::doctor::Trust;
use crate::mqtt::Endpoint;

/// Time for the probe as a whole.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a handshake was like in which nothing was judged and nothing shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// It succeeded: if one does not that judges the broker's certificate, that is to blame.
    pub(crate) succeeds: bool,
    /// The broker asked for a client certificate.
    pub(crate) asks_for_certificate: bool,
}

/// Tries it. The connection is closed right after the handshake; nothing is sent over it.
pub(crate) async fn handshake_with(endpoint: &Endpoint) -> Handshake {
    let Ok((config, seen)) = Trust::in_anybody().config() else { return Handshake::default() };
    let tried = tokio::time::timeout(TIMEOUT, handshake(endpoint, TlsConnector::from(Arc::new(config)))).await;
    Handshake { succeeds: matches!(tried, Ok(Some(()))), asks_for_certificate: seen.asked() }
}

async fn handshake(endpoint: &Endpoint, tls: TlsConnector) -> Option<()> {
    let name = ServerName::try_from(endpoint.host.clone()).ok()?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.ok()?;
    tls.connect(name, stream).await.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::cli::server_tls::ServerTls;
    use crate::mqtt::Scheme;

    #[tokio::test]
    async fn an_untrusted_certificate_is_told_from_no_tls() {
        let tls = ServerTls::local(None, &[], None).expect("made");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let acceptor = TlsAcceptor::from(tls.configs().apps);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                drop(acceptor.accept(stream).await);
            }
        });
        let endpoint = Endpoint::new(Scheme::Mqtts, "127.0.0.1", port).expect("valid");
        assert_eq!(handshake_with(&endpoint).await, Handshake { succeeds: true, asks_for_certificate: false });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            loop {
                // Closed at once: whoever is there speaks no TLS.
                drop(listener.accept().await.expect("accepted"));
            }
        });
        let endpoint = Endpoint::new(Scheme::Mqtts, "127.0.0.1", port).expect("valid");
        assert!(!handshake_with(&endpoint).await.succeeds);
    }
}
