//! The address of an HTTP(S) service.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};

/// `http://HOST[:PORT][/BASE]` or `https://…`: where an upstream is, and the path below which everything of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or with a slash before it and none behind it.
    base: String,
}

/// Why a text is not the address of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without user, query or fragment")]
pub struct InvalidUrl;

impl FromStr for UpstreamUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.contains('#') {
            return Err(InvalidUrl);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let scheme = uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(InvalidUrl) };
        let base = uri.path().trim_end_matches('/');
        let is_plain = !base.split('/').any(|segment| matches!(segment, "." | "..")) && !base.contains("//");
        let has_port =
            authority.as_str().len() == authority.host().len() || authority.port_u16().is_some_and(|port| port != 0);
        if authority.as_str().contains('@') || uri.query().is_some() || !is_plain || !has_port {
            return Err(InvalidUrl);
        }
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), base: base.to_owned() })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

impl UpstreamUrl {
    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The address as it is.
    pub(crate) fn whole(&self) -> Option<Uri> {
        self.join(if self.base.is_empty() { "/" } else { "" })
    }

    /// The whole address of `path_and_query`; `None` when the two do not make one.
    pub(crate) fn join(&self, path_and_query: &str) -> Option<Uri> {
        let path_and_query = format!("{}{path_and_query}", self.base);
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(path_and_query).build().ok()
    }

    /// The path and query that `location` names, if that is a place of this upstream's.
    pub(crate) fn strip<'a>(&self, location: &'a str) -> Option<&'a str> {
        let path = if location.starts_with('/') && !location.starts_with("//") {
            location
        } else {
            let (scheme, rest) = location.split_once("://")?;
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let is_here = scheme.eq_ignore_ascii_case(self.scheme.as_str())
                && authority.eq_ignore_ascii_case(self.authority.as_str());
            if !is_here {
                return None;
            }
            path
        };
        path.strip_prefix(&self.base).filter(|rest| rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_has_a_scheme_a_host_and_maybe_a_base() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://iot.example.org/", "https://iot.example.org"),
            ("http://[::1]:80/a/b/", "http://[::1]:80/a/b"),
        ] {
            let url: UpstreamUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.is_tls(), text.starts_with("https"));
        }
        for text in [
            "",
            "localhost",
            "/x",
            "mqtt://h",
            "http://u:p@h",
            "http://h?q",
            "http://h#f",
            "http://h:0",
            "http://h:99999",
            "http://h/a/../b",
            "http://h/a//b",
            "http://",
        ] {
            text.parse::<UpstreamUrl>().expect_err(text);
        }
    }

    #[test]
    fn paths_are_put_below_it_and_taken_off_again() {
        let url: UpstreamUrl = "http://h:80/base".parse().expect("valid");
        assert_eq!(url.join("/a?b").expect("a URI").to_string(), "http://h:80/base/a?b");
        for (location, found) in [
            ("http://h:80/base/x?y#z", Some("/x?y#z")),
            ("HTTP://H:80/base/x", Some("/x")),
            ("/base/x", Some("/x")),
            ("/other/x", None),
            ("/based/x", None),
            ("http://h:81/base/x", None),
            ("https://h:80/base/x", None),
            ("//h:80/base/x", None),
            ("x", None),
        ] {
            assert_eq!(url.strip(location), found, "{location}");
        }
    }
}
