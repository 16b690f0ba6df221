//! The model of the service: who is admitted where, which tokens count, and what has been carried out.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use thingif::frame;
use thingif::ids::ClientId;
use thingif::mqtt::RefusedReason;
use thingif::proto::Instant;
use thingif::thing_if::{Credential, ErrorBody, ErrorCode};

use crate::device::APP;

/// The generation of a stored credential that is good, and of one that is not.
pub(crate) const STORED: usize = 0;
pub(crate) const STALE: usize = 1;

/// Carries the nonce of a call back, whatever the status.
pub(crate) const NONCE: &str = "x-nonce";

/// One credential that was handed out.
#[derive(Debug)]
struct Generation {
    /// Which thing it belongs to: a deleted one comes back as another.
    incarnation: usize,
    refused: Option<RefusedReason>,
    token_revoked: Option<u16>,
    until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Service {
    generations: Vec<Generation>,
    incarnation: usize,
    deleted: bool,
    /// How it says that a thing is gone.
    gone: Gone,
    host: usize,
    /// Every `X-Kii-RequestID` that ever arrived.
    ids: HashSet<HeaderValue>,
}

pub(crate) fn client_id(incarnation: usize) -> ClientId {
    ClientId::new(format!("Incarnation{incarnation:012}")).expect("23 letters and digits")
}

fn host(number: usize) -> String {
    format!("assigned-{number}.invalid")
}

fn onboarding_body(generation: usize, incarnation: usize, at: usize, ttl: u64) -> String {
    let (client, host) = (client_id(incarnation), host(at));
    format!(
        r#"{{"accessToken":"token-{generation}","thingID":"th.{incarnation}","mqttEndpoint":{{"installationID":"i",
        "username":"user-{generation}","password":"pw-{generation}","mqttTopic":"{client}","host":"{host}",
        "portTCP":1883,"ttl":{ttl}}}}}"#
    )
}

/// What a credential file holds: of the thing as it is at the beginning.
pub(crate) fn credential(generation: usize) -> Credential {
    let body = onboarding_body(generation, 0, 0, FOR_EVER);
    Credential::from_json(body.replacen('{', &format!(r#"{{"appID":"{APP}","#), 1)).expect("complete")
}

/// What the real service says of every endpoint. (`wire` §7)
pub(crate) const FOR_EVER: u64 = 2_147_483_647;

impl Service {
    pub(crate) fn new() -> Self {
        let known = |refused| Generation { incarnation: 0, refused, token_revoked: None, until: None };
        Self {
            generations: vec![known(None), known(Some(RefusedReason::NotAuthorised))],
            incarnation: 0,
            deleted: false,
            gone: Gone::Unauthorized,
            host: 0,
            ids: HashSet::new(),
        }
    }

    /// The generation that a user name names.
    pub(crate) fn generation(&self, username: &str) -> usize {
        let number = username.strip_prefix("user-").and_then(|number| number.parse().ok());
        number.filter(|number| *number < self.generations.len()).expect("a user name that was handed out")
    }

    pub(crate) fn client_id(&self, generation: usize) -> ClientId {
        client_id(self.generations[generation].incarnation)
    }

    pub(crate) fn listens_at(&self, wanted: &str) -> bool {
        host(self.host) == wanted
    }

    /// Whether the assigned broker lets this credential in.
    pub(crate) fn admits(&self, now: Instant, generation: usize) -> Result<(), RefusedReason> {
        let known = &self.generations[generation];
        let gone = self.deleted || known.incarnation != self.incarnation;
        let expired = known.until.is_some_and(|until| until <= now);
        match known.refused {
            Some(reason) => Err(reason),
            None if gone || expired => Err(RefusedReason::NotAuthorised),
            None => Ok(()),
        }
    }

    /// Whether the endpoint of this generation has an end.
    pub(crate) fn expires(&self, generation: usize) -> bool {
        self.generations[generation].until.is_some()
    }

    pub(crate) fn newest(&self) -> usize {
        self.generations.len() - 1
    }

    pub(crate) fn revoke(&mut self, generation: usize, reason: RefusedReason) {
        self.generations[generation].refused = Some(reason);
    }

    pub(crate) fn revoke_token(&mut self, generation: usize, status: u16) {
        self.generations[generation].token_revoked = Some(status);
    }

    pub(crate) fn delete_thing(&mut self, gone: Gone) {
        self.deleted = true;
        self.gone = gone;
    }

    pub(crate) fn move_away(&mut self) {
        self.host += 1;
    }

    /// Onboards: a deleted thing comes to life again, as another one.
    pub(crate) fn onboard(&mut self, now: Instant, ttl: Option<Duration>) -> String {
        if self.deleted {
            self.deleted = false;
            self.incarnation += 1;
        }
        let until = ttl.map(|ttl| now + ttl);
        let generation = self.generations.len();
        let (incarnation, host) = (self.incarnation, self.host);
        self.generations.push(Generation { incarnation, refused: None, token_revoked: None, until });
        onboarding_body(generation, incarnation, host, ttl.map_or(FOR_EVER, |ttl| ttl.as_secs()))
    }

    /// Notes an id that arrived; the same frame may arrive twice, two frames may not have one id.
    pub(crate) fn note_id(&mut self, id: &HeaderValue) -> bool {
        self.ids.insert(id.clone())
    }

    /// What the service thinks of a call with this token.
    pub(crate) fn judge(&self, authorization: &str) -> Verdict {
        let Some(token) = authorization.strip_prefix("Bearer token-") else { return Verdict::Foreign };
        let generation: usize = token.parse().expect("a token that was handed out");
        let known = &self.generations[generation];
        match known.token_revoked {
            _ if self.deleted || known.incarnation != self.incarnation => Verdict::Gone(self.gone),
            Some(status) => Verdict::Revoked(status),
            None => Verdict::Good,
        }
    }
}

/// How the service says that a thing is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Unauthorized,
    TargetNotFound,
    ThingNotFound,
    Status410,
}

/// What the service thinks of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Revoked(u16),
    /// Its thing is.
    Gone(Gone),
    /// It is none of this device's.
    Foreign,
}

/// An answer of `status`, which carries `nonce` back.
pub(crate) fn answer(status: u16, nonce: &str, code: Option<ErrorCode>) -> Response<Bytes> {
    let mut response = match code {
        Some(code) => ErrorBody::new(code, "so it is").to_response(),
        None => Response::new(Bytes::copy_from_slice(nonce.as_bytes())),
    };
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(NONCE, HeaderValue::from_str(nonce).expect("letters and digits"));
    if status == 503 || status == 429 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// The answer with the id of its request.
pub(crate) fn with_id(mut response: Response<Bytes>, id: Option<&HeaderValue>) -> Response<Bytes> {
    if let Some(id) = id {
        response.headers_mut().insert(frame::REQUEST_ID, id.clone());
    }
    response
}
