//! The service as an owner's app reaches it: HTTP or HTTPS, one request a connection.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::cli::exit::{Exit, Failure};
use crate::cli::http1;
use crate::client::causes::with_causes;
use crate::ids::{AccessToken, AppId};
use crate::secret::{Redacted, Secret};
use crate::thing_if::{ErrorBody, json as dialect};

/// The largest answer taken, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceUrl {
    is_tls: bool,
    host: String,
    port: u16,
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || String::from("expected http://HOST[:PORT] or https://HOST[:PORT]");
        let uri: http::Uri = text.parse().map_err(|_| expected())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(expected());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { is_tls, host, port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) })
    }
}

impl std::fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

impl ServiceUrl {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Who calls.
pub(crate) enum Caller<'a> {
    /// Whoever has the application's key.
    App(&'a AppId, &'a Secret<String>),
    /// Whoever has this token.
    Token(&'a Secret<AccessToken>),
}

/// A service, and what it takes to reach it.
pub(crate) struct Service {
    url: ServiceUrl,
    tls: Option<Arc<ClientConfig>>,
    /// For all of one request.
    patience: Duration,
}

/// What a service answered with a status below 400.
#[derive(Debug)]
pub(crate) struct Answer {
    asked: String,
    body: Bytes,
}

impl Answer {
    /// The answer's body as what it should be.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        dialect::from_slice(&self.body).map_err(|error| Failure::other(format_args!("{}: {error}", self.asked)))
    }

    /// A field of the body that is a text.
    pub(crate) fn text(&self, field: &str) -> Result<String, Failure> {
        let body: Value = self.read()?;
        let text = body[field].as_str().map(str::to_owned);
        text.ok_or_else(|| Failure::other(format_args!("{}: the answer has no {field}", self.asked)))
    }
}

impl Service {
    /// The service at `url`; over TLS it is trusted by the authorities in `ca`, else by the system's.
    pub(crate) fn new(url: ServiceUrl, ca: Option<&Path>, patience: Duration) -> Result<Self, Failure> {
        let tls = if url.is_tls { Some(Arc::new(tls(ca)?)) } else { None };
        Ok(Self { url, tls, patience })
    }

    /// Calls `path`, below which the application's resources are.
    ///
    /// # Errors
    /// With curl's numbers: no connection, no answer in time, TLS, 67 for 401 and 403, 22 for other statuses from 400 on.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        caller: Caller<'_>,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer, Failure> {
        let asked = format!("{method} {}{path}", self.url);
        let mut request = Request::builder().method(method).uri(path).body(Bytes::new()).map_err(Failure::usage)?;
        request.headers_mut().extend(headers(caller)?);
        if let Some((media_type, body)) = body {
            let media_type = HeaderValue::try_from(media_type).map_err(Failure::other)?;
            request.headers_mut().insert(header::CONTENT_TYPE, media_type);
            *request.body_mut() = Bytes::from(body.to_string());
        }
        let answered = tokio::time::timeout(self.patience, self.exchange(request)).await.map_err(|_| {
            Failure::new(Exit::TimedOut, format_args!("{asked}: no answer in time")).advise("--max-time waits longer.")
        })??;
        let (head, body) = answered.into_parts();
        if head.status.is_client_error() || head.status.is_server_error() {
            return Err(refused(&asked, head.status, &body));
        }
        Ok(Answer { asked, body })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let (host, authority) = (self.url.host.as_str(), self.url.authority());
        let advice = "Check that the service runs (`thingif serve` prints its addresses), and --service: `thingif thing` uses that of \
                      `thingif user login`.";
        let found = tokio::net::lookup_host((host, self.url.port)).await.map_err(|error| {
            Failure::new(Exit::NameNotResolved, format_args!("{host} was not resolved: {error}")).advise(advice)
        })?;
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::CannotConnect, format_args!("cannot reach {authority}: {error}")).advise(advice)
        };
        let addresses: Vec<_> = found.collect();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| unreachable(&error))?;
        let answered = match &self.tls {
            None => http1::send(stream, &authority, request, MAX_ANSWER).await,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(Failure::usage)?;
                let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                http1::send(
                    connected.map_err(|error| not_trusted(&authority, &error))?,
                    &authority,
                    request,
                    MAX_ANSWER,
                )
                .await
            }
        };
        answered.map_err(|error| unreachable(&error))
    }
}

fn headers(caller: Caller<'_>) -> Result<HeaderMap, Failure> {
    let authorization = match caller {
        Caller::Token(token) => format!("Bearer {}", token.expose().as_str()),
        Caller::App(id, key) => format!("Basic {}", STANDARD.encode(format!("{id}:{}", key.expose()))),
    };
    let mut authorization = HeaderValue::try_from(authorization).map_err(Failure::other)?;
    authorization.set_sensitive(true);
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, authorization)]))
}

/// As [`tls`], to be shared.
pub(crate) fn tls_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    tls(ca).map(Arc::new)
}

/// Who is trusted over TLS: the authorities in `ca`, else the system's.
pub(crate) fn tls(ca: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let failed = |error: &dyn std::fmt::Display| {
                Failure::usage(format_args!("cannot read --ca {}: {error}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
        }
        None => {
            // Those that cannot be read are told by what then is not trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Failure::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn not_trusted(authority: &str, error: &std::io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            Failure::new(Exit::Certificate, format_args!("the certificate of {authority} is not trusted: {error}"))
                .advise("Give the authority that signed it with --ca FILE; `thingif serve` prints where its own is.")
        }
        _ => Failure::new(Exit::Tls, format_args!("no TLS with {authority}: {}", with_causes(error)))
            .advise("Check that the port speaks HTTPS: http:// is for the others."),
    }
}

fn refused(asked: &str, status: StatusCode, body: &Bytes) -> Failure {
    let said = match ErrorBody::from_json(body) {
        Ok(error) => format!("{}: {}", error.error_code, error.message),
        Err(_) => Redacted::new(body).to_string().trim().to_owned(),
    };
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::LoginRefused,
        _ => Exit::Status,
    };
    let failure = Failure::new(exit, format_args!("{asked} was answered {}: {said}", status.as_u16()));
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => failure.advise("Try again in a moment."),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://iot.example.org/", "https://iot.example.org:443"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("http://localhost", "http://localhost:80"),
        ] {
            assert_eq!(text.parse::<ServiceUrl>().expect(text).to_string(), shown);
        }
        for text in ["", "localhost", "mqtt://h", "http://h/path", "http://u:p@h", "http://h?q", "/path"] {
            text.parse::<ServiceUrl>().expect_err(text);
        }
    }

    #[test]
    fn what_the_service_says_is_told_and_numbered() {
        let body = Bytes::from_static(br#"{"errorCode":"THING_NOT_FOUND","message":"no such thing"}"#);
        let failure = refused("GET x", StatusCode::NOT_FOUND, &body);
        assert_eq!(failure.exit(), Exit::Status);
        assert!(failure.to_string().contains("404: THING_NOT_FOUND: no such thing"), "{failure}");
        assert_eq!(refused("GET x", StatusCode::FORBIDDEN, &body).exit(), Exit::LoginRefused);
    }
}
