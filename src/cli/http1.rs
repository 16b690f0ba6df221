//! One HTTP/1.1 request over one stream: what the demo's owner and `call` through a local socket need, no more.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends `request` (its URI in origin form) to `host` over `stream` and reads the whole answer, up to `max_body` bytes.
pub(crate) async fn send<S>(
    stream: S,
    host: &str,
    request: Request<Bytes>,
    max_body: usize,
) -> Result<Response<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut request = request.map(Full::new);
    let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    // The connection does the reading and writing; it lives as long as the exchange.
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, max_body).collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            // It may end cleanly while the last bytes of the answer are still to be taken from it.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}
