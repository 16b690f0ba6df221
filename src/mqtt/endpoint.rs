//! Where a broker listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// How MQTT travels to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP, `mqtt://`, port 1883.
    Mqtt,
    /// TLS, `mqtts://`, port 8883.
    Mqtts,
    /// WebSocket, `ws://`, port 12470 (Kii's; not the web's 80).
    Ws,
    /// WebSocket over TLS, `wss://`, port 12473 (Kii's; not the web's 443).
    Wss,
}

impl Scheme {
    /// The four, in the order of the `port…` fields of `mqttEndpoint`.
    pub const ALL: [Scheme; 4] = [Scheme::Mqtt, Scheme::Mqtts, Scheme::Ws, Scheme::Wss];

    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// The port used when a URL names none. (`wire` §1.1)
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Mqtt => 1883,
            Scheme::Mqtts => 8883,
            Scheme::Ws => 12_470,
            Scheme::Wss => 12_473,
        }
    }

    /// Whether TLS is below it.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    /// Whether a WebSocket is below it.
    pub fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A broker's address: scheme, host, port, and the path of a WebSocket.
///
/// ```
/// use thingif::mqtt::{Endpoint, Scheme};
/// let endpoint: Endpoint = "mqtts://mqtt-jp.kii.com".parse()?;
/// assert_eq!((endpoint.scheme, endpoint.port), (Scheme::Mqtts, 8883));
/// assert_eq!(endpoint.to_string(), "mqtts://mqtt-jp.kii.com:8883");
/// # Ok::<(), thingif::mqtt::InvalidEndpoint>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How MQTT travels there.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address stands without brackets here.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// Path of the WebSocket upgrade, `/mqtt` by default; unused on TCP and TLS. (`wire` §1.2)
    pub path: String,
}

/// Why a text is not the URL of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// The scheme is missing or unknown.
    #[error("broker URL must begin with mqtt://, mqtts://, ws:// or wss://")]
    Scheme,
    /// There is no host, or it has a character that no host has, or a colon and is no IPv6 address.
    #[error("broker URL has no valid host")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("broker URL has no valid port")]
    Port,
    /// The path has a character that no path has.
    #[error("broker URL has no valid path")]
    Path,
    /// A user name or password in the URL: they have their own settings.
    #[error("broker URL must not carry a user name or password")]
    UserInfo,
}

impl Endpoint {
    /// An endpoint with the WebSocket path `/mqtt`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when host or port cannot be one.
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Result<Self, InvalidEndpoint> {
        let host = host.into();
        if !is_host(&host) {
            return Err(InvalidEndpoint::Host);
        }
        if port == 0 {
            return Err(InvalidEndpoint::Port);
        }
        Ok(Self { scheme, host, port, path: String::from("/mqtt") })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidEndpoint::Scheme)?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(InvalidEndpoint::Scheme)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(InvalidEndpoint::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            Some(digits) => digits.parse().map_err(|_| InvalidEndpoint::Port)?,
            None => scheme.default_port(),
        };
        let mut endpoint = Self::new(scheme, host, port)?;
        if path.len() > 1 && scheme.is_websocket() {
            if !path.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(InvalidEndpoint::Path);
            }
            path.clone_into(&mut endpoint.path);
        }
        Ok(endpoint)
    }
}

/// A name, an IPv4 address, or an IPv6 address with or without a zone such as `%eth0`.
fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_name = |text: &str| !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed);
    match text.split_once('%') {
        Some((address, zone)) => address.parse::<Ipv6Addr>().is_ok() && is_name(zone),
        None => is_name(text) || text.parse::<Ipv6Addr>().is_ok(),
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), InvalidEndpoint> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(InvalidEndpoint::Host)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(InvalidEndpoint::Port),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(InvalidEndpoint::Host),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())?;
        if self.scheme.is_websocket() { f.write_str(&self.path) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for (given, written) in [
            ("mqtt://h", "mqtt://h:1883"),
            ("MQTTS://h:1", "mqtts://h:1"),
            ("ws://h", "ws://h:12470/mqtt"),
            ("wss://h:443/broker", "wss://h:443/broker"),
            ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
            ("mqtt://[fe80::1%eth0]", "mqtt://[fe80::1%eth0]:1883"),
            ("mqtt://h:1883/mqtt", "mqtt://h:1883"),
        ] {
            assert_eq!(given.parse::<Endpoint>().map(|e| e.to_string()), Ok(written.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_is_no_broker_url_says_why() {
        for (given, why) in [
            ("http://h", InvalidEndpoint::Scheme),
            ("h:1883", InvalidEndpoint::Scheme),
            ("mqtt://", InvalidEndpoint::Host),
            ("mqtt://h:0", InvalidEndpoint::Port),
            ("mqtt://h:x", InvalidEndpoint::Port),
            ("mqtt://a b", InvalidEndpoint::Host),
            ("mqtt://user:pw@h", InvalidEndpoint::UserInfo),
            ("mqtt://::1", InvalidEndpoint::Host),
            ("mqtt://[a:b]", InvalidEndpoint::Host),
            ("mqtt://a%b", InvalidEndpoint::Host),
            ("ws://h/a b", InvalidEndpoint::Path),
        ] {
            assert_eq!(given.parse::<Endpoint>(), Err(why), "{given}");
        }
    }
}
