//! The TLS handshake, and exactly what is wrong with a certificate.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncBufRead as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, ProtocolVersion};

use super::examiner::silence;
use super::probe::{Fault, Finding, Step, Verdict};
use super::trust::{Certificate, Trust};
use super::wire::is_about_our_certificate;
use crate::mqtt::Endpoint;

/// In TLS 1.3 a server judges our certificate after the handshake; one that wants another says so within a round trip, and
/// most others send a ticket.
const AFTERTHOUGHT: Duration = Duration::from_secs(1);

const NOT_TLS: &str = "Check that the port speaks TLS: brokers listen for it on 8883 and 12473, and without it on 1883 and \
                       12470 (mqtt://, ws://).";
const NEW_CERTIFICATE: &str =
    "The broker's operator has to renew the certificate. If it looks valid elsewhere, this machine's clock is wrong.";
const CLOCK: &str = "This machine's clock is behind: set it (NTP, or the device's real-time clock and its battery). A device \
                     without a clock that lasts has to set it before it speaks TLS.";
const AUTHORITY: &str = "Give the authority that signed it with --ca FILE (`thingif serve` names its own in its first line), \
                         and build the same one into the device.";

/// Shakes hands with `endpoint` over `stream`, for `limit` at most, and hears what the broker thinks of our certificate if it
/// asked for one. `clock_doubt` is told when a certificate's time says something of our clock.
pub(super) async fn handshake(
    trust: &Trust,
    endpoint: &Endpoint,
    stream: TcpStream,
    limit: Duration,
    clock_doubt: &mut Option<String>,
) -> Result<(TlsStream<TcpStream>, Finding), Finding> {
    let unusable =
        |error: String| Finding::failed(Fault::Tls, error, "Check the files given with --ca, --cert and --key.");
    let (config, seen) = trust.config().map_err(|error| unusable(error.to_string()))?;
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| unusable(format!("{} is no name that a certificate can have", endpoint.host)))?;
    let shaken = timeout(limit, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let mut stream = match shaken.map_err(|_| silence(Step::Tls, limit))? {
        Ok(stream) => stream,
        Err(error) => {
            let wants_ours = seen.asked() && is_over_ours(&error);
            return Err(match wants_ours {
                true => client_certificate_wanted(trust),
                false => refused(&error, trust, &seen.certificate(), endpoint, clock_doubt),
            });
        }
    };
    if seen.asked()
        && stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3)
        && let Ok(Err(error)) = timeout(AFTERTHOUGHT, judgement(&mut stream)).await
        && is_over_ours(&error)
    {
        return Err(client_certificate_wanted(trust));
    }
    let certificate = seen.certificate();
    let finding = match &certificate.overlooked {
        Some(error) => {
            let refused = refused_for(error, trust, &certificate, endpoint, clock_doubt);
            let said = format!("not checked, as --danger-accept-any-certificate has it; otherwise: {}", refused.said);
            Finding { verdict: Verdict::Warning, said, ..refused }
        }
        None => accepted(&stream, &certificate, seen.asked() && !trust.has_ours()),
    };
    Ok((stream, finding))
}

/// Waits for what the broker says next: its refusal of our certificate, or the ticket that comes after it was accepted. Nothing
/// is taken: a server that does speak first is heard later.
async fn judgement(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    poll_fn(|cx| {
        if let Poll::Ready(heard) = Pin::new(&mut *stream).poll_fill_buf(cx) {
            return Poll::Ready(heard.map(drop));
        }
        if stream.get_ref().1.tls13_tickets_received() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// Whether the peer ended a handshake for want of a certificate that it accepts.
fn is_over_ours(error: &io::Error) -> bool {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => {
            is_about_our_certificate(*alert) || *alert == AlertDescription::HandshakeFailure
        }
        _ => false,
    }
}

/// The broker wants a certificate of ours that it does not get.
pub(super) fn client_certificate_wanted(trust: &Trust) -> Finding {
    let what = if trust.has_ours() { "and does not accept this one" } else { "and there is none" };
    Finding::failed(
        Fault::Tls,
        format!("the broker wants a client certificate, {what}"),
        "Give one that an authority of the broker's has signed, with its key: --cert FILE --key FILE.",
    )
}

fn accepted(stream: &TlsStream<TcpStream>, certificate: &Certificate, wants_ours: bool) -> Finding {
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let key = certificate.key.map(|key| format!(", key {key}")).unwrap_or_default();
    if let Some(ends) = certificate.ends {
        return Finding::warning(
            format!("{version}; the certificate ends on {}{key}", date(ends)),
            "The broker's operator has to renew the certificate before that day: no device connects after it.",
        );
    }
    if wants_ours {
        return Finding::warning(
            format!("{version}{key}; the broker asks for a client certificate and does without"),
            "If devices have certificates, give this one's with --cert FILE --key FILE.",
        );
    }
    Finding::ok(format!("{version}{key}"))
}

fn refused(
    error: &io::Error,
    trust: &Trust,
    certificate: &Certificate,
    endpoint: &Endpoint,
    clock_doubt: &mut Option<String>,
) -> Finding {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        let said = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "whoever listens there closed the connection instead of speaking TLS".to_owned()
            }
            _ => format!("the handshake broke off: {error}"),
        };
        return Finding::failed(Fault::Tls, said, NOT_TLS);
    };
    refused_for(error, trust, certificate, endpoint, clock_doubt)
}

/// What an error of TLS means.
fn refused_for(
    error: &Error,
    trust: &Trust,
    certificate: &Certificate,
    endpoint: &Endpoint,
    clock_doubt: &mut Option<String>,
) -> Finding {
    let host = &endpoint.host;
    let untrusted = |said: String, remedy: &str| Finding::failed(Fault::Certificate, said, remedy);
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            *clock_doubt =
                Some(format!("this machine says {}, and the certificate ended on {}", date(*time), date(*not_after)));
            untrusted(format!("the certificate has expired on {}", date(*not_after)), NEW_CERTIFICATE)
        }
        Error::InvalidCertificate(CertificateError::Expired) => {
            untrusted("the certificate has expired".to_owned(), NEW_CERTIFICATE)
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
            let said = format!(
                "this machine says {}, and the certificate is not valid before {}",
                date(*time),
                date(*not_before)
            );
            *clock_doubt = Some(said.clone());
            untrusted(said, CLOCK)
        }
        Error::InvalidCertificate(CertificateError::NotValidYet) => {
            untrusted("the certificate is not valid yet".to_owned(), CLOCK)
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if !trust.has_authorities() => untrusted(
            "this machine has no certificate authorities to trust".to_owned(),
            "Install the system's (the package ca-certificates), or name the broker's authority with --ca FILE.",
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            untrusted("the certificate is signed by an authority that is not trusted here".to_owned(), AUTHORITY)
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let names = match presented.is_empty() {
                true => "no name".to_owned(),
                false => presented.iter().map(|name| plain_name(name)).collect::<Vec<_>>().join(", "),
            };
            untrusted(format!("the certificate is not for {host}; it has {names}"), WRONG_NAME)
        }
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            untrusted(format!("the certificate is not for {host}"), WRONG_NAME)
        }
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) if certificate.is_other_key => {
            let key = certificate.key.map(|key| key.to_string()).unwrap_or_default();
            untrusted(
                format!("the broker's key is {key}, which is none of the pins"),
                "If the broker has a new key, devices need its pin; if nobody changed it, somebody stands in between.",
            )
        }
        Error::InvalidCertificate(other) => untrusted(
            format!("the certificate is not accepted: {other}"),
            "The broker's operator has to serve a certificate for servers (X.509 v3, with subjectAltName) and its chain.",
        ),
        Error::AlertReceived(alert) => Finding::failed(
            Fault::Tls,
            format!("the broker ended the handshake: {alert:?}"),
            "The broker and this program have no version or cipher in common, or the broker knows no such host name: it \
             must speak TLS 1.2 or 1.3.",
        ),
        Error::PeerIncompatible(why) => Finding::failed(
            Fault::Tls,
            format!("the broker's TLS is too old or too different: {why:?}"),
            "The broker must speak TLS 1.2 or 1.3.",
        ),
        other => Finding::failed(Fault::Tls, format!("what answers does not speak TLS: {other}"), NOT_TLS),
    }
}

const WRONG_NAME: &str = "Connect to a name that is in the certificate, or have the broker's operator add this one: devices \
                          that check names, as they should, do not connect.";

/// `DnsName("x")` and `IpAddress(1.2.3.4)` as they are.
fn plain_name(presented: &str) -> String {
    let inner = presented.split_once('(').map_or(presented, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"').to_owned()
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_plainly() {
        for (given, shown) in
            [("DnsName(\"a.test\")", "a.test"), ("IpAddress(127.0.0.1)", "127.0.0.1"), ("a.test", "a.test")]
        {
            assert_eq!(plain_name(given), shown);
        }
    }
}
