//! The transports that connect over real sockets. What one of them promises every one promises: a test is for all of them.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::fmt;
use std::sync::Arc;

use thingif::mqtt::LinkError;
use thingif::transport::{Proxy, Tls, Transport};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    #[cfg(feature = "paho")]
    Paho,
    #[cfg(feature = "native-tls")]
    Native,
}

impl Kind {
    /// All that this build has.
    pub const ALL: &[Kind] = &[
        #[cfg(feature = "paho")]
        Kind::Paho,
        #[cfg(feature = "native-tls")]
        Kind::Native,
    ];

    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "paho")]
            Kind::Paho => "paho",
            #[cfg(feature = "native-tls")]
            Kind::Native => "native",
        }
    }

    /// Whose name it is.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// A transport with these certificates, through this proxy.
    pub fn transport(self, tls: Tls, proxy: Option<Proxy>) -> Result<Arc<dyn Transport>, LinkError> {
        match self {
            #[cfg(feature = "paho")]
            Kind::Paho => {
                use thingif::transport::paho::{Options, Paho};
                let mut options = Options::default();
                (options.tls, options.proxy) = (tls, proxy);
                Ok(Arc::new(Paho::new(options)?))
            }
            #[cfg(feature = "native-tls")]
            Kind::Native => {
                use thingif::transport::native::{Native, Options};
                let mut options = Options::default();
                (options.tls, options.proxy) = (tls, proxy);
                Ok(Arc::new(Native::new(options)?))
            }
        }
    }

    /// What `Debug` says of one with a login for its proxy.
    pub fn shown(self, proxy: Proxy) -> String {
        match self {
            #[cfg(feature = "paho")]
            Kind::Paho => {
                use thingif::transport::paho::{Options, Paho};
                let mut options = Options::default();
                options.proxy = Some(proxy);
                format!("{:#?}", Paho::new(options).expect("usable options"))
            }
            #[cfg(feature = "native-tls")]
            Kind::Native => {
                use thingif::transport::native::{Native, Options};
                let mut options = Options::default();
                options.proxy = Some(proxy);
                format!("{:#?}", Native::new(options).expect("usable options"))
            }
        }
    }

    /// A transport that trusts the system's authorities, or those of `ca_file`.
    pub fn trusting(self, ca_file: Option<&std::path::Path>) -> Arc<dyn Transport> {
        let tls = Tls { ca_file: ca_file.map(Into::into), ..Tls::default() };
        self.transport(tls, None).expect("usable options")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
