//! TCP, and TLS over it, to a broker.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::wire::Stream;
use crate::mqtt::Endpoint;

/// What a replay and a recording can reach.
pub(super) const ONLY_TCP: &str = "only mqtt:// and mqtts:// can be used here, not WebSocket";

pub(super) async fn dial(endpoint: &Endpoint, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Stream>> {
    if endpoint.scheme.is_websocket() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, ONLY_TCP));
    }
    let stream = TcpStream::connect((endpoint.host.trim_matches(['[', ']']), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    if !endpoint.scheme.is_tls() {
        return Ok(Box::new(stream));
    }
    let config = tls.cloned().ok_or_else(|| io::Error::other("TLS is not set up"))?;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}
