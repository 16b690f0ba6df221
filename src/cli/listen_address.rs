//! Where `serve` listens: `ADDRESS:PORT`, a port on loopback, or `off`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::TcpListener;

use crate::cli::exit::Failure;

/// The value of `--http`, `--mqtt` and their kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// No listener.
    Off,
    /// Here; port 0 lets the system pick one.
    At(SocketAddr),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        if let Ok(port) = text.parse() {
            return Ok(Self::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().map(Self::At).map_err(|_| {
            String::from("expected ADDRESS:PORT (127.0.0.1:1883, 0.0.0.0:1883, [::]:1883), a PORT on 127.0.0.1, or off")
        })
    }
}

impl ListenAddress {
    /// Binds, naming `flag` when that fails.
    pub(crate) async fn bind(self, flag: &str) -> Result<Option<TcpListener>, Failure> {
        let ListenAddress::At(address) = self else { return Ok(None) };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                Err(Failure::other(format_args!("cannot listen on {address} ({flag}): {error}")).advise(
                    format_args!("Something else may use port {}. Choose another: {flag} {}:0 lets the system pick one, {flag} off does without.", address.port(), address.ip()),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ports_and_off() {
        for (text, want) in [
            ("off", ListenAddress::Off),
            ("OFF", ListenAddress::Off),
            ("0", ListenAddress::At(([127, 0, 0, 1], 0).into())),
            ("1883", ListenAddress::At(([127, 0, 0, 1], 1883).into())),
            ("0.0.0.0:80", ListenAddress::At(([0, 0, 0, 0], 80).into())),
            ("[::1]:80", ListenAddress::At("[::1]:80".parse().expect("valid"))),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for text in ["", "localhost:80", "1.2.3.4", "70000", "on"] {
            text.parse::<ListenAddress>().expect_err(text);
        }
    }

    #[tokio::test]
    async fn a_busy_port_is_named_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = taken.local_addr().expect("bound");
        let failure = ListenAddress::At(address).bind("--mqtt").await.expect_err("busy").to_string();
        assert!(failure.contains(&address.to_string()) && failure.contains("(--mqtt)"), "{failure}");
    }
}
