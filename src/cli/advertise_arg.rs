//! `--advertise HOST[,tcp=PORT,ssl=PORT,ws=PORT,wss=PORT]`: what things are told to connect to.

use std::str::FromStr;

use crate::mqtt::{Endpoint, Scheme};

/// A host, and the ports that differ from those listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdvertiseArg {
    pub(crate) host: String,
    ports: [Option<u16>; 4],
}

impl AdvertiseArg {
    /// The port given for `scheme`.
    pub(crate) fn port(&self, scheme: Scheme) -> Option<u16> {
        self.ports[scheme as usize]
    }
}

impl FromStr for AdvertiseArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let host = parts.next().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Endpoint::new(Scheme::Mqtt, host, 1)
            .map_err(|_| format!("{host:?} is not a host name or address without a port"))?;
        let mut ports = [None; 4];
        for part in parts {
            let known = |name: &str| match name {
                "tcp" => Some(Scheme::Mqtt),
                "ssl" => Some(Scheme::Mqtts),
                "ws" => Some(Scheme::Ws),
                "wss" => Some(Scheme::Wss),
                _ => None,
            };
            let (scheme, port) = part
                .split_once('=')
                .and_then(|(name, port)| Some((known(name)?, port.parse().ok().filter(|port| *port != 0)?)))
                .ok_or_else(|| format!("{part:?}: expected tcp=PORT, ssl=PORT, ws=PORT or wss=PORT"))?;
            ports[scheme as usize] = Some(port);
        }
        Ok(Self { host: host.to_owned(), ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_some_ports() {
        let arg: AdvertiseArg = "iot.example.org,ssl=443,ws=80".parse().expect("valid");
        assert_eq!(arg.host, "iot.example.org");
        assert_eq!(Scheme::ALL.map(|scheme| arg.port(scheme)), [None, Some(443), Some(80), None]);
        assert_eq!("[::1]".parse::<AdvertiseArg>().expect("valid").host, "::1");
        for text in ["", "a b", "h,tcp", "h,tcp=0", "h,tcp=x", "h,udp=1", "h,"] {
            text.parse::<AdvertiseArg>().expect_err(text);
        }
    }

    #[test]
    fn schemes_number_the_ports() {
        assert_eq!(Scheme::ALL.map(|scheme| scheme as usize), [0, 1, 2, 3]);
    }
}
