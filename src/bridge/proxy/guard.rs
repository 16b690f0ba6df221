//! Who may use a proxy: local programs, and no web page.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, Version};
use subtle::ConstantTimeEq as _;

use super::fate::Refusal;
use crate::secret::Secret;
use crate::thing_if::ErrorCode;

/// Carries the token of a proxy that has one.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-thingif-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request must show before it is looked at.
///
/// Whoever reaches the proxy calls with the thing's own rights, and a browser on the same machine reaches it for any page
/// that it shows. So the `Host` must be `localhost`, an IP address, or a name that is [allowed](Gate::allow_host): a name
/// that somebody has pointed to this machine (DNS rebinding) is none. And a request that a page of another origin makes is
/// refused, by `Origin` and `Sec-Fetch-Site`, which pages cannot forge.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    hosts: Vec<String>,
    token: Option<Secret<String>>,
}

impl Gate {
    /// Everything on this machine but web pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes requests for this host name as well, with any port.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Takes only requests whose `X-Thingif-Token` is this, compared in constant time. Others are answered with 401.
    #[must_use]
    pub fn with_token(mut self, token: Secret<String>) -> Self {
        self.token = Some(token);
        self
    }

    /// # Errors
    /// The answer to a request that may not come in.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), Refusal> {
        let forbidden = |message: &str| Err(Refusal::invalid(ErrorCode::OperationNotSupported, message));
        let host = authority(head)?;
        if let Some(host) = &host
            && !self.is_ours(host.host())
        {
            return forbidden("The Host is neither localhost nor an IP address, and is not allowed by name.");
        }
        if let Some(origin) = head.headers.get(ORIGIN) {
            let own = host.as_ref().is_some_and(|host| origin == format!("http://{host}").as_str());
            if !own {
                return forbidden("A page of another origin may not call.");
            }
        }
        if let Some(site) = head.headers.get(SEC_FETCH_SITE)
            && site != "same-origin"
            && site != "none"
        {
            return forbidden("A page of another site may not call.");
        }
        match &self.token {
            None => Ok(()),
            Some(token) => {
                // Whoever shows none has not shown an empty one.
                let given = head.headers.get(TOKEN);
                if given.is_some_and(|given| given.as_bytes().ct_eq(token.expose().as_bytes()).into()) {
                    Ok(())
                } else {
                    Err(Refusal::invalid(ErrorCode::Unauthorized, "X-Thingif-Token is missing or wrong."))
                }
            }
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = host.strip_suffix('.').unwrap_or(host);
        bare.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

/// Whom the request is for. That of a request in absolute form counts, and not the `Host` beside it (RFC 9112 §3.2.2);
/// HTTP/1.0 knows neither.
fn authority(head: &Parts) -> Result<Option<Authority>, Refusal> {
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let invalid = |message: &str| Err(Refusal::invalid(ErrorCode::InvalidInputData, message));
    let mut given = head.headers.get_all(HOST).iter();
    match (given.next(), given.next()) {
        (None, _) if head.version < Version::HTTP_11 => Ok(None),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Ok(Some(authority)),
            Err(_) => invalid("The Host is no host name."),
        },
        _ => invalid("There must be one Host."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn status(gate: &Gate, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match gate.check(&request.body(()).expect("valid").into_parts().0) {
            Ok(()) => 200,
            Err(refusal) => refusal.into_response().status().as_u16(),
        }
    }

    #[test]
    fn a_name_that_points_here_is_not_enough() {
        let gate = Gate::new().allow_host("gateway.lan");
        for (host, expected) in [
            ("localhost", 200),
            ("localhost:8090", 200),
            ("LocalHost.:8090", 200),
            ("127.0.0.1:8090", 200),
            ("[::1]:8090", 200),
            ("192.168.0.7", 200),
            ("Gateway.lan:80", 200),
            ("evil.example:8090", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("notgateway.lan", 403),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(status(&gate, "/x", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&gate, "/x", &[]), 400);
        assert_eq!(status(&gate, "/x", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(status(&gate, "http://evil.example/x", &[("host", "localhost")]), 403, "the absolute form counts");
        assert_eq!(status(&gate, "http://localhost:1/x", &[("host", "evil.example")]), 200);
        let old = Request::get("/x").version(Version::HTTP_10).body(()).expect("valid").into_parts().0;
        assert_eq!(gate.check(&old), Ok(()), "HTTP/1.0 has no Host");
    }

    #[test]
    fn web_pages_of_others_stay_out() {
        let with = |name: &str, value: &str| status(&Gate::new(), "/x", &[("host", "localhost:8090"), (name, value)]);
        for origin in ["https://evil.example", "null", "http://localhost:3000", "https://localhost:8090", ""] {
            assert_eq!(with("origin", origin), 403, "{origin}");
        }
        assert_eq!(with("origin", "http://localhost:8090"), 200);
        for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
            assert_eq!(with("sec-fetch-site", site), expected, "{site}");
        }
    }

    #[test]
    fn a_token_is_wanted_where_there_is_one() {
        let gate = Gate::new().with_token(Secret::new("t0k3n".to_owned()));
        let with = |headers: &[(&str, &str)]| status(&gate, "/x", &[&[("host", "localhost")], headers].concat());
        assert_eq!(with(&[]), 401);
        assert_eq!(with(&[("x-thingif-token", "")]), 401);
        assert_eq!(with(&[("x-thingif-token", "t0k3")]), 401);
        assert_eq!(with(&[("x-thingif-token", "t0k3n")]), 200);
        assert!(!format!("{gate:?}").contains("t0k3n"));
        let empty = Gate::new().with_token(Secret::new(String::new()));
        assert_eq!(status(&empty, "/x", &[("host", "localhost")]), 401, "an empty file is no open door");
    }
}
