//! Which requests go to the upstream, and to which of its paths.

use std::str::FromStr;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::bridge::rules;
use crate::thing_if::ErrorCode;

/// What a device may call unless [`Allow`]s say otherwise. CONNECT and TRACE are about connections, and are never passed on.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// What may stand in a topic and not in a request line.
const NOT_IN_A_REQUEST_LINE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').add(b'|').add(b'^').add(b'\\');

/// `FROM=TO`: the paths below FROM, as devices call them, are those below TO at the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixSwap {
    from: String,
    to: String,
}

/// Why a text is not a [`PrefixSwap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected FROM=TO, two paths that begin with a slash, such as /v1=/internal/v1")]
pub struct InvalidSwap;

impl FromStr for PrefixSwap {
    type Err = InvalidSwap;

    fn from_str(text: &str) -> Result<Self, InvalidSwap> {
        let (from, to) = text.split_once('=').ok_or(InvalidSwap)?;
        let prefix = |path: &str| {
            let is_path = path.starts_with('/') && !path.contains(['?', '#', '%', '\\', ' ']) && !path.contains("//");
            let is_plain = is_path && !path.split('/').any(|segment| matches!(segment, "." | ".."));
            is_plain.then(|| path.trim_end_matches('/').to_owned()).ok_or(InvalidSwap)
        };
        Ok(Self { from: prefix(from)?, to: prefix(to)? })
    }
}

/// `METHODS PATTERN`: requests that may go to the upstream.
///
/// METHODS is `*`, or methods with commas between them. PATTERN is a path as devices call it: `*` in place of a segment stands
/// for any one segment that hides no further one (`%2F`, `%5C`), and `**` at the end for whatever follows. Everything else is
/// compared byte by byte, so what is percent-encoded where the pattern is not does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    methods: Vec<Method>,
    segments: Vec<String>,
    any_rest: bool,
}

/// Why a text is not an [`Allow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected METHODS PATTERN, such as \"GET,PUT /thing-if/apps/*/targets/*/states\" or \"* /v1/**\"")]
pub struct InvalidAllow;

impl FromStr for Allow {
    type Err = InvalidAllow;

    fn from_str(text: &str) -> Result<Self, InvalidAllow> {
        let (methods, pattern) = text.trim().split_once(' ').ok_or(InvalidAllow)?;
        let methods = match methods {
            "*" => METHODS.to_vec(),
            listed => listed
                .split(',')
                .map(|name| METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name)))
                .collect::<Option<_>>()
                .ok_or(InvalidAllow)?,
        };
        let pattern = pattern.trim().strip_prefix('/').ok_or(InvalidAllow)?;
        let mut segments: Vec<String> = pattern.split('/').map(str::to_owned).collect();
        let any_rest = segments.last().is_some_and(|last| last == "**");
        if any_rest {
            segments.pop();
        }
        let is_valid = |segment: &String| *segment == "*" || !segment.contains(['*', '?', '#', ' ']);
        if segments.iter().all(is_valid) { Ok(Self { methods, segments, any_rest }) } else { Err(InvalidAllow) }
    }
}

impl Allow {
    fn fits(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut given = path.split('/');
        let begins_so = self.segments.iter().all(|wanted| match given.next() {
            Some(segment) if wanted == "*" => !segment.is_empty() && !hides_a_slash(segment),
            Some(segment) => segment == wanted,
            None => false,
        });
        begins_so && (self.any_rest || given.next().is_none())
    }
}

fn hides_a_slash(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    ["%2f", "%5c", "\\"].into_iter().any(|slash| lower.contains(slash))
}

/// The way from a request to a path of the upstream.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    swaps: Vec<PrefixSwap>,
    allowed: Vec<Allow>,
}

impl Routes {
    /// Without swaps, `/thing-if` is itself; without a list, everything that a swap leads to is allowed.
    pub(super) fn new(mut swaps: Vec<PrefixSwap>, allowed: Vec<Allow>) -> Self {
        if swaps.is_empty() {
            swaps.push(PrefixSwap { from: String::from("/thing-if"), to: String::from("/thing-if") });
        }
        // The longest prefix counts.
        swaps.sort_by_key(|swap| std::cmp::Reverse(swap.from.len()));
        Self { swaps, allowed }
    }

    /// Whether devices have paths other than those of Thing-IF.
    pub(super) fn has_other_paths(&self) -> bool {
        self.swaps.iter().any(|swap| swap.from != "/thing-if" && !swap.from.starts_with("/thing-if/"))
    }

    /// The upstream's path and query for a request.
    ///
    /// # Errors
    /// The answer: 404 when no route leads there, 405 when one does for other methods.
    #[allow(clippy::result_large_err)] // the answer is what is written next
    pub(super) fn lead(&self, method: &Method, path: &str, query: Option<&str>) -> Result<String, Response<Bytes>> {
        let rest = |swap: &PrefixSwap| {
            let rest = path.strip_prefix(&swap.from)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let found = self.swaps.iter().find_map(|swap| Some((swap, rest(swap)?)));
        let Some((swap, rest)) = found else { return Err(no_route()) };
        self.check(method, path)?;
        let mut lead = match (swap.to.as_str(), rest.as_str()) {
            ("", "") => String::from("/"),
            (to, rest) => format!("{to}{}", utf8_percent_encode(rest, NOT_IN_A_REQUEST_LINE)),
        };
        if let Some(query) = query {
            lead.push('?');
            lead.extend(utf8_percent_encode(query, NOT_IN_A_REQUEST_LINE));
        }
        Ok(lead)
    }

    #[allow(clippy::result_large_err)]
    fn check(&self, method: &Method, path: &str) -> Result<(), Response<Bytes>> {
        let mut methods: Vec<&Method> = match &self.allowed[..] {
            [] => METHODS.iter().collect(),
            allowed => allowed.iter().filter(|allow| allow.fits(path)).flat_map(|allow| &allow.methods).collect(),
        };
        if methods.is_empty() {
            return Err(no_route());
        }
        if methods.contains(&method) {
            return Ok(());
        }
        methods.dedup();
        let names: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
        let mut refused = rules::error(ErrorCode::MethodNotAllowed, format!("{method} is not allowed here."));
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            refused.headers_mut().insert(ALLOW, names);
        }
        Err(refused)
    }

    /// What devices call a path of the upstream; `None` for one that they cannot call.
    pub(super) fn back(&self, path: &str) -> Option<String> {
        let rest = |swap: &PrefixSwap| {
            let rest = path.strip_prefix(&swap.to)?;
            (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then(|| format!("{}{rest}", swap.from))
        };
        let longest = self.swaps.iter().filter(|swap| rest(swap).is_some()).max_by_key(|swap| swap.to.len());
        let path = longest.and_then(rest)?;
        // Below FROM that is `/` nothing is left of TO itself.
        Some(if path.starts_with('/') { path } else { format!("/{path}") })
    }
}

fn no_route() -> Response<Bytes> {
    rules::error(ErrorCode::PathNotFound, "There is nothing at this path.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(swaps: &[&str], allowed: &[&str]) -> Routes {
        let swaps = swaps.iter().map(|text| text.parse().expect(text)).collect();
        Routes::new(swaps, allowed.iter().map(|text| text.parse().expect(text)).collect())
    }

    fn lead(routes: &Routes, method: Method, path: &str) -> Result<String, u16> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        routes.lead(&method, path, query).map_err(|refused| refused.status().as_u16())
    }

    #[test]
    fn by_default_thing_if_is_itself_and_nothing_else_is_there() {
        let routes = routes(&[], &[]);
        assert!(!routes.has_other_paths());
        let states = "/thing-if/apps/a/targets/thing:t/states?x=1";
        assert_eq!(lead(&routes, Method::PUT, states).as_deref(), Ok(states));
        for path in ["/api/apps/a/things", "/thing-iff/x", "/", "/Thing-IF/apps/a"] {
            assert_eq!(lead(&routes, Method::GET, path), Err(404), "{path}");
        }
        for method in [Method::CONNECT, Method::TRACE, Method::from_bytes(b"BREW").expect("a token")] {
            assert_eq!(lead(&routes, method, "/thing-if/apps/a"), Err(405));
        }
    }

    #[test]
    fn prefixes_are_swapped_and_the_longest_counts() {
        let routes = routes(&["/v1=/internal/one", "/v1/special=/", "/=/rest"], &[]);
        assert!(routes.has_other_paths());
        for (path, led) in [
            ("/v1", "/internal/one"),
            ("/v1/x/y?q", "/internal/one/x/y?q"),
            ("/v1/special", "/"),
            ("/v1/special/x", "/x"),
            ("/v1special/x", "/rest/v1special/x"),
            ("/", "/rest/"),
        ] {
            assert_eq!(lead(&routes, Method::GET, path).as_deref(), Ok(led), "{path}");
        }
        for (path, back) in [
            ("/internal/one/x?y", "/v1/x?y"),
            ("/rest/z", "/z"),
            ("/x", "/v1/special/x"),
            ("/rest", "/"),
            ("/rest?x", "/?x"),
        ] {
            assert_eq!(routes.back(path).as_deref(), Some(back), "{path}");
        }
    }

    #[test]
    fn what_no_request_line_may_have_is_encoded() {
        let routes = routes(&["/=/"], &[]);
        let led = lead(&routes, Method::GET, "/ä/{x}?q=\"ü\"%20").expect("a route");
        assert_eq!(led, "/%C3%A4/%7Bx%7D?q=%22%C3%BC%22%20");
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let routes = routes(&["/=/"], &["GET,put /apps/*/states", "POST /apps/*/states", "* /open/**"]);
        let status = |method, path| lead(&routes, method, path).err();
        assert_eq!(status(Method::PUT, "/apps/a/states"), None);
        assert_eq!(status(Method::POST, "/apps/a/states"), None);
        assert_eq!(status(Method::DELETE, "/apps/a/states"), Some(405));
        assert_eq!(status(Method::DELETE, "/open"), None);
        assert_eq!(status(Method::DELETE, "/open/a/b"), None);
        for path in [
            "/apps/a/b/states",
            "/apps//states",
            "/apps/a/states/",
            "/apps/a",
            "/apps/a%2Fb/states",
            "/apps/a%5cb/states",
            "/apps/a/st%61tes",
            "/Apps/a/states",
            "/opened",
        ] {
            assert_eq!(status(Method::GET, path), Some(404), "{path}");
        }
        let refused = routes.lead(&Method::DELETE, "/apps/a/states", None).expect_err("405");
        assert_eq!(refused.headers()[ALLOW], "GET, PUT, POST");
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in ["", "/a", "a=/b", "/a=b", "/a=/b?c", "/a/../b=/c", "/a//b=/c", "/a%20=/b"] {
            text.parse::<PrefixSwap>().expect_err(text);
        }
        for text in ["", "GET", "/a", "GET a", "CONNECT /a", "GET, /a", "GET /a*", "GET /**/a", "BREW /a", "GET /a b"] {
            text.parse::<Allow>().expect_err(text);
        }
    }
}
