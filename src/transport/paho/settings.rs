//! Everything that paho is told, checked first: some of what it does not accept makes it panic or be silent.

use std::net::SocketAddr;
use std::time::Duration;

use paho_mqtt::{
    ConnectOptionsBuilder, CreateOptions, CreateOptionsBuilder, PersistenceType, SslOptions, SslOptionsBuilder,
};

use super::relay::Relay;
use crate::ids::ClientId;
use crate::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Scheme};
use crate::secret::Secret;
use crate::transport::{Proxy, Tls};

/// MQTT 3.1.1 and nothing else; left alone, paho would try 3.1 as well after a refusal.
const MQTT_3_1_1: u32 = 4;

/// Messages that paho itself queues per client; its own default of 100 would be full in a moment.
pub(super) const PAHO_QUEUE: i32 = 10_000;

/// An MQTT string has a 16-bit length.
const MAX_STRING: usize = 65_535;

/// One connect, as plain values: paho's own option types must not leave the thread they are made on.
pub(super) struct Settings {
    pub(super) uri: String,
    pub(super) scheme: Scheme,
    pub(super) client_id: ClientId,
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) keep_alive: Duration,
    pub(super) timeout: Duration,
    pub(super) tls: Tls,
    /// What paho takes for a proxy.
    pub(super) relay: Option<Relay>,
}

fn wrong(what: impl Into<String>) -> LinkError {
    LinkError::new(LinkErrorKind::Config, what)
}

/// What must hold of endpoint and credentials before anything is tried.
pub(super) fn check(endpoint: &Endpoint, credentials: &Credentials) -> Result<(), LinkError> {
    Endpoint::new(endpoint.scheme, endpoint.host.as_str(), endpoint.port).map_err(|error| wrong(error.to_string()))?;
    if endpoint.scheme.is_websocket()
        && !(endpoint.path.starts_with('/') && endpoint.path.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(wrong("WebSocket path must begin with / and be printable ASCII without spaces"));
    }
    if credentials.username.contains('\0') {
        return Err(wrong("user name has a NUL"));
    }
    if credentials.username.len() > MAX_STRING || credentials.password.expose().len() > MAX_STRING {
        return Err(wrong("user name or password has more than the 65535 bytes that MQTT can carry"));
    }
    Ok(())
}

/// The URI for paho. Over plain TCP the address that was found to answer, so that paho resolves nothing. TLS checks the
/// certificate against the name and WebSocket sends it as `Host`: there the name stays.
/// Through a proxy (no address) it stays always: paho resolves nothing then.
pub(super) fn uri(endpoint: &Endpoint, address: Option<SocketAddr>) -> String {
    match (endpoint.scheme, address) {
        (Scheme::Mqtt, Some(address)) => format!("mqtt://{address}"),
        _ => endpoint.to_string(),
    }
}

/// The keep-alive with which paho notices a dead peer within `detect`, in whole seconds and at least one.
///
/// It gives up 2.5 keep-alives after the last answer, and looks only every tenth of a keep-alive: 2.7 in all.
pub(super) fn keep_alive(detect: Duration) -> Duration {
    Duration::from_secs((detect.as_secs_f64() / 2.7).clamp(1.0, 65_535.0) as u64)
}

impl Settings {
    pub(super) fn create_options(&self) -> CreateOptions {
        CreateOptionsBuilder::new()
            .server_uri(self.uri.as_str())
            .client_id(self.client_id.as_str())
            .persistence(PersistenceType::None)
            .mqtt_version(MQTT_3_1_1)
            .send_while_disconnected(false)
            .max_buffered_messages(PAHO_QUEUE)
            .finalize()
    }

    pub(super) fn connect_options(&self) -> Result<paho_mqtt::ConnectOptions, LinkError> {
        let mut builder = ConnectOptionsBuilder::with_mqtt_version(MQTT_3_1_1);
        builder
            .clean_session(true)
            .keep_alive_interval(self.keep_alive)
            // Paho counts whole seconds. Rounded up, so that the deadline that counts is ours.
            .connect_timeout(Duration::from_secs(self.timeout.as_secs() + 1))
            .user_name(self.username.as_str())
            .password(self.password.expose().as_bytes());
        if let Some(relay) = &self.relay {
            // Each is for its own schemes; which one paho looks at is no matter here.
            builder.http_proxy(relay.url()).https_proxy(relay.url());
        }
        if self.scheme.is_tls() {
            builder.ssl_options(self.ssl_options()?);
        }
        Ok(builder.finalize())
    }

    fn ssl_options(&self) -> Result<SslOptions, LinkError> {
        let Tls { ca_file, client_cert_file, client_key_file, danger_accept_any_certificate } = &self.tls;
        let checked = !danger_accept_any_certificate;
        let mut builder = SslOptionsBuilder::new();
        // `verify` is the check of the host name, and off unless asked for.
        builder.enable_server_cert_auth(checked).verify(checked);
        let unusable = |error: paho_mqtt::Error| wrong(error.to_string());
        if let Some(file) = ca_file {
            builder.trust_store(file).map_err(unusable)?.disable_default_trust_store(true);
        }
        if let Some(file) = client_cert_file {
            builder.key_store(file).map_err(unusable)?;
        }
        if let Some(file) = client_key_file {
            builder.private_key(file).map_err(unusable)?;
        }
        Ok(builder.finalize())
    }
}

/// Paho C takes a proxy from the environment if this variable says so. Nobody has chosen that here, and its password would
/// be in the library's hands; the program's own setting comes first.
///
/// # Errors
/// `Config` when the connection would be sent through a proxy of the environment.
pub(super) fn check_environment(proxy: Option<&Proxy>) -> Result<(), LinkError> {
    let asked = std::env::var_os("PAHO_C_CLIENT_USE_HTTP_PROXY")
        .is_some_and(|value| value.as_encoded_bytes().starts_with(b"TRUE"));
    let named = ["http_proxy", "https_proxy"].into_iter().any(|name| std::env::var_os(name).is_some());
    match proxy {
        None if asked && named => Err(wrong(
            "PAHO_C_CLIENT_USE_HTTP_PROXY=TRUE would send the connection through the environment's http_proxy or https_proxy: \
             unset it, and name the proxy in Options::proxy (--proxy) if it is to be used",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tcp_gets_the_address_and_tls_the_name() {
        let address: SocketAddr = "[::1]:1883".parse().expect("an address");
        for (given, told) in [
            ("mqtt://broker.test", "mqtt://[::1]:1883"),
            ("mqtts://broker.test", "mqtts://broker.test:8883"),
            ("ws://broker.test/x", "ws://broker.test:12470/x"),
            ("wss://broker.test", "wss://broker.test:12473/mqtt"),
        ] {
            assert_eq!(uri(&given.parse().expect("a broker URL"), Some(address)), told);
        }
    }

    #[test]
    fn a_dead_peer_is_noticed_in_time() {
        for (detect, expected) in [(90, 33), (5, 1), (0, 1), (1_000_000, 65_535)] {
            assert_eq!(keep_alive(Duration::from_secs(detect)), Duration::from_secs(expected), "{detect}");
        }
    }

    #[test]
    fn what_would_make_paho_panic_is_refused() {
        let good = Credentials { client_id: ClientId::anonymous(), username: "u".into(), password: "p".into() };
        let endpoint: Endpoint = "ws://h".parse().expect("a broker URL");
        assert_eq!(check(&endpoint, &good), Ok(()));
        let nul = Credentials { username: "u\0".into(), ..good.clone() };
        let long = Credentials { password: "p".repeat(65_536).into(), ..good.clone() };
        for (endpoint, credentials) in [
            (endpoint.clone(), nul),
            (endpoint.clone(), long),
            (Endpoint { path: "/a b".into(), ..endpoint.clone() }, good.clone()),
            (Endpoint { host: "h\0".into(), ..endpoint.clone() }, good.clone()),
        ] {
            let error = check(&endpoint, &credentials).expect_err("refused");
            assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
        }
    }
}
