//! What every operation needs to know of its request: application, who calls, from where.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;

use super::Cloud;
use super::caller::Caller;
use super::failure::Failure;
use super::http::Accepted;
use super::nesting;
use super::object::Object;
use super::operator::Operator;
use super::store::{Sql, StoreError, end_nodes, things, tokens};
use super::token::TokenHash;
use crate::edge::Peer;
use crate::ids::{AppId, ThingId};
use crate::secret::Secret;
use crate::thing_if::{ErrorCode, InvalidBody, Principal, json, media_type};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A request, as far as its head goes.
#[derive(Debug)]
pub(crate) struct Call {
    /// The application of the path, or of the headers where the path names none. It exists.
    pub(crate) app: AppId,
    /// Who says to be calling.
    pub(crate) authorization: Authorization,
    /// Whether the request, or the connection it came on, proves that its sender belongs to the application.
    pub(crate) knows_app_key: bool,
    /// The peer's address, where known.
    pub(crate) remote: Option<IpAddr>,
    /// The address that accepted the request, where known.
    pub(crate) local: Option<IpAddr>,
    /// When the request came, in milliseconds since 1970.
    pub(crate) now: i64,
    /// How long the key was kept waiting for failures before it; the login that the request asks for waits so much less.
    pub(crate) waited: Duration,
    params: HashMap<String, String>,
    query: HashMap<String, String>,
}

/// The Authorization header.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// There is none.
    Absent,
    /// None, and none is needed: the request is this program's own.
    Operator,
    /// `Bearer`, in any letter case.
    Bearer(TokenHash),
    /// `Basic`, in any letter case: an application id and a key.
    Basic(String, Secret<String>),
}

impl Authorization {
    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(value) = last(headers, AUTHORIZATION) else { return Ok(Self::Absent) };
        let malformed = || Failure::unauthorized("The Authorization header is neither `Bearer {token}` nor `Basic`");
        let text = value.to_str().map_err(|_| malformed())?.trim();
        let (scheme, rest) = text.split_once(' ').ok_or_else(malformed)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Self::Bearer(TokenHash::of(rest.as_bytes())))
        } else if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.map(Secret::new).ok_or_else(malformed)?;
            let (user, password) = decoded.expose().split_once(':').ok_or_else(malformed)?;
            Ok(Self::Basic(user.to_owned(), Secret::from(password)))
        } else {
            Err(malformed())
        }
    }
}

impl Call {
    /// A parameter of the path, percent-decoded; the route has it.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A parameter of the query, percent-decoded.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The thing that `{target}` names: `thing:{id}`, in any letter case.
    pub(crate) fn target(&self) -> Result<ThingId, Failure> {
        let target = self.param("target");
        match target.parse() {
            Ok(Principal::Thing(thing)) => Ok(thing),
            _ => Err(Failure::target_not_found(target)),
        }
    }

    /// Whose token came with the request.
    ///
    /// # Errors
    /// 401 without a token, 403 with one that is not of this application.
    pub(crate) fn caller(&self, sql: &mut dyn Sql) -> Result<Caller, Failure> {
        match &self.authorization {
            Authorization::Operator => Ok(Caller::Admin),
            Authorization::Bearer(hash) => authenticate(sql, &self.app, hash, self.now),
            _ => Err(Failure::unauthorized("This operation needs `Authorization: Bearer {token}`")),
        }
    }

    /// As [`Call::caller`]; who shows the application's key and no token is anybody.
    pub(crate) fn caller_or_anybody(&self, sql: &mut dyn Sql) -> Result<Caller, Failure> {
        match &self.authorization {
            Authorization::Absent | Authorization::Basic(..) if self.knows_app_key => Ok(Caller::Anonymous),
            _ => self.caller(sql),
        }
    }

    /// Checks that the caller may use `thing`, and says who it is.
    ///
    /// # Errors
    /// As [`Call::caller`]; 404 when there is no such thing in this application; 401 when it is somebody else's.
    pub(crate) fn authorize(&self, sql: &mut dyn Sql, thing: &ThingId) -> Result<Caller, Failure> {
        let caller = self.caller(sql)?;
        if !things::exists(sql, &self.app, thing)? {
            return Err(Failure::target_not_found(&format!("thing:{thing}")));
        }
        if self.may_use(sql, &caller, thing)? { Ok(caller) } else { Err(Failure::not_permitted(&self.app, &caller)) }
    }

    /// Whether `caller` may read and write what `thing` does: it is the thing, its gateway, one of its owners or the
    /// administrator.
    pub(crate) fn may_use(&self, sql: &mut dyn Sql, caller: &Caller, thing: &ThingId) -> Result<bool, StoreError> {
        may_use(sql, &self.app, caller, thing)
    }

    /// Whether `caller` may change what `thing` is, and end it: it is the thing, one of its owners or the administrator.
    pub(crate) fn may_manage(&self, sql: &mut dyn Sql, caller: &Caller, thing: &ThingId) -> Result<bool, StoreError> {
        may_manage(sql, &self.app, caller, thing)
    }
}

/// Whose token this is.
///
/// # Errors
/// 403 `WRONG_TOKEN` for one that is not of `app`; 401 `THING_DISABLED` for that of a disabled thing.
pub(crate) fn authenticate(sql: &mut dyn Sql, app: &AppId, hash: &TokenHash, now: i64) -> Result<Caller, Failure> {
    match tokens::caller(sql, app, hash, now)? {
        Some((caller, false)) => Ok(caller),
        Some((caller, true)) => Err(Failure::thing_disabled(app, caller.id())),
        None => Err(Failure::wrong_token()),
    }
}

/// As [`Call::may_use`], for those who have no call.
pub(crate) fn may_use(sql: &mut dyn Sql, app: &AppId, caller: &Caller, thing: &ThingId) -> Result<bool, StoreError> {
    if may_manage(sql, app, caller, thing)? {
        return Ok(true);
    }
    match caller {
        Caller::Principal(Principal::Thing(own)) => {
            let is_behind = end_nodes::gateway_of(sql, app, thing)?.is_some_and(|gateway| gateway == *own);
            Ok(is_behind && !things::is_disabled(sql, app, thing)?)
        }
        _ => Ok(false),
    }
}

fn may_manage(sql: &mut dyn Sql, app: &AppId, caller: &Caller, thing: &ThingId) -> Result<bool, StoreError> {
    match caller {
        Caller::Anonymous => Ok(false),
        Caller::Admin => Ok(true),
        Caller::Principal(Principal::Thing(own)) => Ok(own == thing),
        Caller::Principal(owner) => things::is_owner(sql, app, thing, owner),
    }
}

impl FromRequestParts<Cloud> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, cloud: &Cloud) -> Result<Self, Failure> {
        let Path(params) = Path::<HashMap<String, String>>::from_request_parts(parts, cloud)
            .await
            .map_err(|_| Failure::invalid("The path is not UTF-8 once percent-decoded"))?;
        let authorization = match parts.extensions.get::<Operator>() {
            Some(Operator) => Authorization::Operator,
            None => Authorization::read(&parts.headers)?,
        };
        let peer = parts.extensions.get::<Peer>();
        let accepted = parts.extensions.get::<ConnectInfo<Accepted>>().map(|ConnectInfo(accepted)| accepted);
        let remote = peer.map(|peer| peer.remote).or(accepted.map(|accepted| accepted.remote));
        let local = peer.map(|peer| peer.local).or(accepted.map(|accepted| accepted.local));
        let (app, key_given) = application(cloud, &params, &parts.headers, &authorization)?;
        let remote = remote.map(|address| address.ip());
        let mut waited = Duration::ZERO;
        let knows_app_key = match key_given {
            // The CONNECT of the default broker carried the key; that of the assigned one a password which only an
            // onboarding gives away. Both may onboard things. (`wire` §1.1, §8)
            None => peer.is_some_and(|peer| peer.app_id == app),
            Some(key) => {
                let attempt = cloud.begin_login(remote, None, Duration::ZERO).await;
                waited = attempt.delay();
                if !cloud.accepts_app_key(&app, &key) {
                    attempt.failed(cloud.now());
                    return Err(Failure::unauthorized(format!("The key is not that of application {app}")));
                }
                true
            }
        };
        Ok(Self {
            app,
            authorization,
            knows_app_key,
            remote,
            local: local.map(|address| address.ip()),
            now: cloud.now(),
            waited,
            params,
            query: query(parts.uri.query().unwrap_or_default()),
        })
    }
}

/// The application that is meant, and the key that came with it.
fn application(
    cloud: &Cloud,
    params: &HashMap<String, String>,
    headers: &HeaderMap,
    authorization: &Authorization,
) -> Result<(AppId, Option<Secret<String>>), Failure> {
    let text = |name: &'static str| last(headers, HeaderName::from_static(name))?.to_str().ok();
    let (named, key) = match authorization {
        Authorization::Basic(app, key) => (Some(app.as_str()), Some(key.clone())),
        // The token says more. Some clients send the other two along with it; they are not looked at. (`wire` §2.1)
        Authorization::Bearer(_) if params.contains_key("app") => (None, None),
        _ => (text("x-kii-appid"), text("x-kii-appkey").map(Secret::from)),
    };
    let app = match (params.get("app").map(String::as_str), named) {
        (Some(in_path), Some(named)) if in_path != named => {
            return Err(Failure::unauthorized(format!("The credentials are of another application than {in_path}")));
        }
        (Some(app), _) | (None, Some(app)) => app,
        (None, None) => {
            let message = "Name the application by X-Kii-AppID and X-Kii-AppKey, or by `Authorization: Basic`";
            return Err(Failure::unauthorized(message));
        }
    };
    match AppId::new(app) {
        Ok(id) if cloud.has_app(&id) => Ok((id, key)),
        _ => Err(Failure::app_not_found(app)),
    }
}

/// The header `name`; of duplicates the last, as in a frame. (`wire` §2.1)
fn last(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    headers.get_all(name).iter().next_back()
}

impl Cloud {
    /// Whether `key` opens `app`; takes the same time for every wrong key of the right length.
    pub(crate) fn accepts_app_key(&self, app: &AppId, key: &Secret<String>) -> bool {
        match self.app_key(app) {
            Some(_) if self.accepts_any_app_key() => true,
            Some(right) => right.expose().as_bytes().ct_eq(key.expose().as_bytes()).into(),
            None => false,
        }
    }
}

/// `a=b&c`: percent-decoded, `+` as a space, the last duplicate wins. The same for a form in a body.
pub(crate) fn query(text: &str) -> HashMap<String, String> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A request's body, whole.
#[derive(Debug)]
pub(crate) struct Body {
    content_type: Option<HeaderValue>,
    /// At most [`Options::max_body`](super::Options::max_body) bytes.
    pub(crate) bytes: Bytes,
}

impl Body {
    /// The Content-Type header as it was sent; empty when there is none.
    pub(crate) fn content_type(&self) -> &[u8] {
        self.content_type.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// Checks that the body is of one of the media types `known`, or does not say what it is. (`wire` §8)
    ///
    /// # Errors
    /// 400 for any other.
    pub(crate) fn require(&self, known: &[&str]) -> Result<(), Failure> {
        let given = self.content_type();
        if given.is_empty() || known.iter().any(|known| media_type::is(given, known)) {
            Ok(())
        } else {
            Err(InvalidBody::MediaType.into())
        }
    }

    /// The body as an object: one of the media type `known`, JSON, or of a type that is not said. (`wire` §8)
    ///
    /// # Errors
    /// 400 for any other type, and for what is no object.
    pub(crate) fn object(&self, known: &[&str]) -> Result<Object, Failure> {
        self.require_one_of(known)?;
        Ok(Object(json::from_slice(&self.bytes)?))
    }

    /// The one field of a body of the media type `known` that has but one, an identifier.
    pub(crate) fn id<T: TryFrom<String>>(&self, field: &str, known: &str) -> Result<T, Failure> {
        self.object(&[known])?.required_id(field)
    }

    /// Checks that the body is `application/json` or one of `types`, or does not say what it is.
    ///
    /// # Errors
    /// 400 for any other.
    pub(crate) fn require_one_of(&self, types: &[&str]) -> Result<(), Failure> {
        if media_type::is(self.content_type(), media_type::JSON) { Ok(()) } else { self.require(types) }
    }
}

impl FromRequest<Cloud> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, cloud: &Cloud) -> Result<Self, Failure> {
        let limit = cloud.max_body();
        let (parts, body) = request.into_parts();
        let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(Failure::too_large(limit));
        }
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Failure::too_large(limit)),
            Ok(Err(_)) => return Err(Failure::invalid("The body ended early")),
            Err(_) => return Err(Failure::invalid("The body did not arrive in time")),
        };
        if nesting::is_too_deep(&bytes) {
            let message = format!("The body is nested deeper than the {} levels that are taken", nesting::MAX);
            return Err(Failure::new(ErrorCode::InvalidJson, message));
        }
        Ok(Self { content_type: last(&parts.headers, CONTENT_TYPE).cloned(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Authorization, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("printable"));
        Authorization::read(&headers)
    }

    #[test]
    fn schemes_are_read_in_any_case() {
        for value in ["Bearer t0k3n", "bearer t0k3n", "BEARER   t0k3n "] {
            match read(value) {
                Ok(Authorization::Bearer(hash)) => assert_eq!(hash, TokenHash::of(b"t0k3n"), "{value}"),
                other => panic!("{value}: {other:?}"),
            }
        }
        match read("basic YXBwOmtleTp3aXRoOmNvbG9ucw==") {
            Ok(Authorization::Basic(app, key)) => {
                assert_eq!((app.as_str(), key.expose().as_str()), ("app", "key:with:colons"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(Authorization::read(&HeaderMap::new()), Ok(Authorization::Absent)));
        for value in ["Bearer", "Digest x", "Basic %%%", "Basic YXBw"] {
            assert!(read(value).is_err(), "{value}");
        }
    }

    /// As in a frame, where no header is there twice once it is read. (`wire` §2.1)
    #[test]
    fn the_last_of_two_headers_counts() {
        let mut headers = HeaderMap::new();
        for value in ["Basic %%%", "Bearer t0k3n"] {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert!(
            matches!(Authorization::read(&headers), Ok(Authorization::Bearer(hash)) if hash == TokenHash::of(b"t0k3n"))
        );
    }

    #[test]
    fn queries_are_decoded() {
        let read = query("a=1&a=2&b=x%20y+z&c&&d=%ff");
        assert_eq!(read.get("a").map(String::as_str), Some("2"));
        assert_eq!(read.get("b").map(String::as_str), Some("x y z"));
        assert_eq!(read.get("c").map(String::as_str), Some(""));
        assert_eq!(read.get("d").map(String::as_str), Some("\u{fffd}"));
    }
}
