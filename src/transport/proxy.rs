//! Which HTTP proxy leads to the brokers.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[cfg(feature = "cli")]
use crate::mqtt::LinkError;
use crate::mqtt::{Endpoint, Scheme};
use crate::secret::Secret;

/// An HTTP proxy that is asked with CONNECT (RFC 9110 §9.3.6) for a tunnel to the broker, whatever the broker's scheme.
///
/// It is read from a URL, `http://[USER[:PASSWORD]@]HOST[:PORT]`, where user and password are percent-encoded and the port is
/// 1080 as curl's. A connection to the proxy itself over TLS (`https://`) is not supported.
///
/// ```
/// use thingif::transport::Proxy;
/// let proxy: Proxy = "http://ann:pass%40word@proxy.example:3128".parse()?;
/// assert_eq!(proxy.to_string(), "http://proxy.example:3128");
/// assert_eq!(proxy.login.expect("given").password.expose(), "pass@word");
/// # Ok::<(), thingif::transport::InvalidProxy>(())
/// ```
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Name or address; an IPv6 address stands without brackets here.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// Who we are to the proxy, if it asks: sent with the first request, as `Basic`, unencrypted.
    pub login: Option<ProxyLogin>,
}

/// User name and password for a proxy.
#[derive(Debug, Clone)]
pub struct ProxyLogin {
    /// User name: no colon, no control characters.
    pub user: String,
    /// Password; may be empty.
    pub password: Secret<String>,
}

/// Why a text is not the URL of a proxy. None quotes it: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// Another scheme, or none.
    #[error("proxy URL must begin with http://; proxies over TLS or SOCKS are not supported")]
    Scheme,
    /// There is no host, or it has a character that no host has, or the port is none.
    #[error("proxy URL has no valid host or port")]
    Address,
    /// A user name that is empty or has a colon, or broken percent-encoding, control characters or bytes that are not UTF-8.
    #[error("proxy URL has no valid user name or password; what is special there must be percent-encoded")]
    Login,
    /// Something follows the port.
    #[error("proxy URL must end after the port")]
    Path,
}

/// As curl's, when the URL names none.
const DEFAULT_PORT: u16 = 1080;

impl Proxy {
    /// A proxy without a login.
    ///
    /// # Errors
    /// [`InvalidProxy::Address`].
    pub fn new(host: impl Into<String>, port: u16) -> Result<Self, InvalidProxy> {
        let endpoint = Endpoint::new(Scheme::Mqtt, host, port).map_err(|_| InvalidProxy::Address)?;
        Ok(Self { host: endpoint.host, port, login: None })
    }

    /// The same with a login.
    ///
    /// # Errors
    /// [`InvalidProxy::Login`] when `Basic` cannot carry it.
    pub fn with_login(self, user: impl Into<String>, password: Secret<String>) -> Result<Self, InvalidProxy> {
        let user = user.into();
        let is_plain = |text: &str| !text.contains(char::is_control);
        if user.is_empty() || user.contains(':') || !is_plain(&user) || !is_plain(password.expose()) {
            return Err(InvalidProxy::Login);
        }
        Ok(Self { login: Some(ProxyLogin { user, password }), ..self })
    }

    /// Checks what may have been put together by hand.
    pub(super) fn check(&self) -> Result<(), InvalidProxy> {
        let proxy = Self::new(self.host.as_str(), self.port)?;
        match &self.login {
            Some(ProxyLogin { user, password }) => proxy.with_login(user.as_str(), password.clone()).map(drop),
            None => Ok(()),
        }
    }

    /// `host:port`.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The tunnel to `endpoint` that it makes over `stream`, a connection to it. Has no deadline of its own.
    #[cfg(feature = "cli")]
    pub(crate) async fn tunnel(
        &self,
        stream: tokio::net::TcpStream,
        endpoint: &Endpoint,
    ) -> Result<tokio::net::TcpStream, LinkError> {
        super::tunnel::ask(self, stream, endpoint).await
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<Secret<String>> {
        let ProxyLogin { user, password } = self.login.as_ref()?;
        let login = zeroize::Zeroizing::new(format!("{user}:{}", password.expose()));
        Some(format!("Basic {}", STANDARD.encode(login.as_bytes())).into())
    }
}

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let is_http = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        let rest = if is_http { &text[7..] } else { return Err(InvalidProxy::Scheme) };
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(InvalidProxy::Path);
        }
        let has_port =
            address.rsplit_once(':').is_some_and(|(before, _)| before.ends_with(']') || !before.contains(':'));
        let with_port = if has_port { address.to_owned() } else { format!("{address}:{DEFAULT_PORT}") };
        let endpoint: Endpoint = format!("mqtt://{with_port}").parse().map_err(|_| InvalidProxy::Address)?;
        let proxy = Self { host: endpoint.host, port: endpoint.port, login: None };
        match login {
            None => Ok(proxy),
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                proxy.with_login(decode(user)?, decode(password)?.into())
            }
        }
    }
}

fn decode(text: &str) -> Result<String, InvalidProxy> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'%', [high, low, ..]) => {
                rest = &after[2..];
                let digit = |b: &u8| char::from(*b).to_digit(16).ok_or(InvalidProxy::Login);
                (digit(high)? << 4 | digit(low)?) as u8
            }
            (b'%', _) => return Err(InvalidProxy::Login),
            _ => *first,
        });
    }
    String::from_utf8(bytes).map_err(|_| InvalidProxy::Login)
}

/// Without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (given, address, user) in [
            ("http://h", "h:1080", None),
            ("HTTP://h:8080/", "h:8080", None),
            ("http://[::1]:3128", "[::1]:3128", None),
            ("http://[::1]", "[::1]:1080", None),
            ("http://ann@h:1", "h:1", Some(("ann", ""))),
            ("http://ann:p:w%2F%20@h:1", "h:1", Some(("ann", "p:w/ "))),
            ("http://a%40b:c@d@h:1", "h:1", Some(("a@b", "c@d"))),
        ] {
            let proxy: Proxy = given.parse().expect(given);
            let login = proxy.login.as_ref().map(|login| (login.user.as_str(), login.password.expose().as_str()));
            assert_eq!((proxy.authority().as_str(), login), (address, user), "{given}");
        }
    }

    #[test]
    fn what_is_none_says_why_and_no_password() {
        for (given, why) in [
            ("h:8080", InvalidProxy::Scheme),
            ("https://h", InvalidProxy::Scheme),
            ("socks5://h", InvalidProxy::Scheme),
            ("http://", InvalidProxy::Address),
            ("http://h:0", InvalidProxy::Address),
            ("http://h:port", InvalidProxy::Address),
            ("http://a b", InvalidProxy::Address),
            ("http://h:1/path", InvalidProxy::Path),
            ("http://:pw@h", InvalidProxy::Login),
            ("http://a%3Ab:pw@h", InvalidProxy::Login),
            ("http://a:%0a@h", InvalidProxy::Login),
            ("http://a:%f@h", InvalidProxy::Login),
            ("http://a:%ff@h", InvalidProxy::Login),
        ] {
            assert_eq!(given.parse::<Proxy>().map(|_| ()), Err(why), "{given}");
        }
    }

    #[test]
    fn one_that_is_put_together_by_hand_is_checked() {
        let mut proxy: Proxy = "http://ann:pw@h:1".parse().expect("valid");
        assert_eq!(proxy.check(), Ok(()));
        proxy.login.as_mut().expect("given").user = "ann\r\nX: y".into();
        assert_eq!(proxy.check(), Err(InvalidProxy::Login));
        proxy.login = None;
        proxy.host = "h\r\n".into();
        assert_eq!(proxy.check(), Err(InvalidProxy::Address));
    }

    #[test]
    fn the_login_is_sent_as_basic_and_shown_nowhere() {
        let proxy: Proxy = "http://Aladdin:open%20sesame@h".parse().expect("valid");
        // RFC 7617's own example.
        assert_eq!(proxy.authorization().expect("a login").expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{proxy:?} {proxy}").contains("sesame"));
    }
}
