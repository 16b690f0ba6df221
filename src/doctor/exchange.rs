//! A request and its answer over a link: onboarding, and the round trip.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::clock::{self, Reading};
use super::login::lost;
use super::probe::{Fault, Finding};
use super::trust::Trust;
use super::wire::Link;
use crate::config::Config;
use crate::frame::{self, REQUEST_ID};
use crate::ids::ClientId;
use crate::mqtt::Qos;
use crate::mqtt::packet::{Packet, PublishPacket};
use crate::secret::{Secret, redact};
use crate::thing_if::{Credential, ErrorBody, OnboardingAnswer};
use crate::topic::Topic;

/// An answer, and how it could be told from others.
pub(super) struct Answered {
    pub(super) response: Response<Bytes>,
    pub(super) has_id: bool,
}

/// Sends `request` on `topic` and waits for its answer, for the call deadline of `config`. Each push that comes on `pushes.0`
/// meanwhile is counted in `pushes.1`.
pub(super) async fn exchange(
    link: &mut Link,
    topic: &Topic,
    request: &Request<Bytes>,
    config: &Config,
    trust: &Trust,
    readings: &mut Vec<Reading>,
    mut pushes: Option<(&Topic, &mut usize)>,
) -> Result<Answered, Finding> {
    let limit = config.call_deadline();
    let mut payload = BytesMut::new();
    frame::encode_request(request, &mut payload);
    let publish = PublishPacket {
        dup: false,
        retain: false,
        qos: Qos::AtMostOnce,
        id: None,
        topic: topic.clone(),
        payload: payload.freeze(),
    };
    let expected = request.headers().get(&REQUEST_ID);
    let deadline = Instant::now() + limit;
    let sent = SystemTime::now();
    let Ok(written) = timeout_at(deadline, link.send(&Packet::Publish(publish))).await else {
        return Err(Heard::default().silence(limit));
    };
    written.map_err(|broken| lost(broken, trust))?;
    let is_onboarding = topic.path_of_call(&ClientId::anonymous()).is_some();
    let mut heard = Heard::default();
    loop {
        let Ok(received) = timeout_at(deadline, link.receive()).await else { return Err(heard.silence(limit)) };
        let Packet::Publish(publish) = received.map_err(|broken| lost(broken, trust))? else { continue };
        if let Some((_, count)) = pushes.as_mut().filter(|(pushes, _)| publish.topic == **pushes) {
            **count += 1;
            continue;
        }
        if publish.topic != *topic {
            heard.elsewhere += 1;
            continue;
        }
        if frame::is_request(&publish.payload) {
            heard.echoes += 1;
            continue;
        }
        let id = frame::request_id(&publish.payload);
        // On the topic of all onboardings an ordinary broker brings everybody's answers: there the id must be there.
        let must_match = id.is_some() || (expected.is_some() && config.response_filter() && is_onboarding);
        if must_match && id.as_ref() != expected {
            heard.of_others += 1;
            continue;
        }
        let response = frame::decode_response(publish.payload).map_err(|error| {
            Finding::failed(
                Fault::Other,
                format!("the answer cannot be read: {error}"),
                "What answers there is not a Thing-IF service, or a broken one: `thingif decode` shows what is wrong with a \
                 payload.",
            )
        })?;
        readings.extend(clock::reading(response.headers(), sent, SystemTime::now()));
        return Ok(Answered { response, has_id: id.is_some() });
    }
}

/// What came instead of an answer.
#[derive(Debug, Default)]
struct Heard {
    echoes: usize,
    elsewhere: usize,
    of_others: usize,
}

impl Heard {
    fn silence(&self, limit: Duration) -> Finding {
        let within = format!("no answer within {} s", limit.as_secs_f64());
        let (said, remedy) = if self.of_others > 0 {
            (
                format!("{within}, but {} with another request's X-Kii-RequestID", self.of_others),
                "The service must echo the X-Kii-RequestID of each request as it is: tell its operator.",
            )
        } else if self.echoes > 0 {
            (
                format!("{within}; our own request came back"),
                "It is an ordinary broker without a Thing-IF service behind it: start the service, or name the right broker.",
            )
        } else if self.elsewhere > 0 {
            (
                format!("{within}; {} messages came on other topics", self.elsewhere),
                "The service must answer on the very topic of the request: tell its operator.",
            )
        } else {
            (
                within,
                "The broker takes requests and nobody answers: the service behind it is down or slow (its log says which). An \
                 ordinary broker (mosquitto) brings answers only with --response-filter. --max-time waits longer.",
            )
        };
        Finding::failed(Fault::TimedOut, said, remedy)
    }
}

/// The request that onboards. Only with a `response_filter` it has an id, as the client has it.
pub(super) fn onboarding_request(config: &Config) -> Request<Bytes> {
    let onboarding = config.identity().onboarding_request();
    let body = Secret::new(onboarding.to_json_exposed().to_string());
    let mut request = Request::new(Bytes::copy_from_slice(body.expose().as_bytes()));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(onboarding.media_type()));
    if config.response_filter() {
        request.headers_mut().insert(&REQUEST_ID, fresh_id());
    }
    request
}

/// The request of the round trip: it changes nothing.
pub(super) fn state_request(credential: &Credential) -> Request<Bytes> {
    let path = format!("/thing-if/apps/{}/targets/thing:{}/states", credential.app_id, credential.thing_id);
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Adds what the client adds.
pub(super) fn authorize(request: &mut Request<Bytes>, credential: &Credential) {
    let token = Secret::new(format!("Bearer {}", credential.access_token.expose().as_str()));
    if let Ok(mut value) = HeaderValue::from_str(token.expose()) {
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request.headers_mut().insert(&REQUEST_ID, fresh_id());
}

fn fresh_id() -> HeaderValue {
    let id = format!("doctor-{:016x}", fastrand::u64(..));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("doctor"))
}

/// Reads the answer to an onboarding.
pub(super) fn onboarded(answer: &Response<Bytes>, config: &Config) -> Result<(Credential, Finding), Finding> {
    if !answer.status().is_success() {
        return Err(onboarding_refused(answer, config));
    }
    let read = OnboardingAnswer::from_json(answer.body()).map_err(|error| {
        Finding::failed(
            Fault::Other,
            format!("the answer is a {} without what it must have: {error}", answer.status().as_u16()),
            "The service breaks the Thing-IF protocol (accessToken, thingID and mqttEndpoint): tell its operator.",
        )
    })?;
    let said = format!("onboarded as {}", read.thing_id);
    Ok((read.into_credential(config.app_id().clone()), Finding::ok(said)))
}

/// The service's own words, without our secrets in them.
fn words(answer: &Response<Bytes>, secrets: &[&Secret<String>]) -> String {
    let status = answer.status();
    let body = ErrorBody::from_json(&redact(answer.body())).ok();
    match body.map(|body| secrets.iter().fold(body, |body, secret| body.masking(secret))) {
        Some(body) if body.message.is_empty() => format!("{status}, {}", body.error_code),
        Some(body) => format!("{status}, {}: {}", body.error_code, body.message),
        None => status.to_string(),
    }
}

fn onboarding_refused(answer: &Response<Bytes>, config: &Config) -> Finding {
    let said = words(answer, &[config.identity().password(), config.app_key()]);
    let failed = |fault, remedy: &str| Finding::failed(fault, said.as_str(), remedy);
    match answer.status().as_u16() {
        401 => failed(
            Fault::Login,
            "Check the thing's password: the one of its first onboarding counts. Its owner can set another one.",
        ),
        403 => failed(
            Fault::Login,
            "The app or the thing is disabled, or the broker serves another app: ask the app's operator.",
        ),
        404 => failed(
            Fault::Other,
            "The service does not know the app, or what the request names: check the app id, and that this is the app's site.",
        ),
        409 => failed(
            Fault::Other,
            "The thing is something else already, such as an end node of a gateway: use another vendor thing id, or have its \
             owner release it.",
        ),
        429 => {
            failed(Fault::Other, "Too many onboardings: wait as long as Retry-After says. Devices have to back off.")
        }
        503 => {
            let wait = frame::retry_after(answer.headers())
                .map_or_else(|| "a minute".to_owned(), |wait| format!("{} s, as Retry-After says", wait.as_secs()));
            failed(
                Fault::Other,
                &format!("The service is not ready: try again in {wait}, and ask its operator if that does not help."),
            )
        }
        500..=599 => failed(Fault::Other, "The service failed: its operator finds the cause in its log."),
        400..=499 => failed(
            Fault::Other,
            "The service does not accept the request: check --thing, --thing-type, --firmware-version and --properties.",
        ),
        _ => failed(Fault::Other, "The service breaks the Thing-IF protocol: tell its operator."),
    }
}

/// What the answer of the round trip says.
pub(super) fn round_trip(
    answer: &Response<Bytes>,
    has_id: bool,
    credential: &Credential,
) -> Result<((), Finding), Finding> {
    let token = Secret::new(credential.access_token.expose().as_str().to_owned());
    let said = words(answer, &[&token, &credential.endpoint.password]);
    let code = ErrorBody::from_json(answer.body()).ok().map(|body| body.error_code.as_str().to_owned());
    let fault = match (answer.status(), code.as_deref()) {
        (StatusCode::NOT_FOUND, Some("STATE_NOT_FOUND")) => None,
        (status, _) if status.is_success() => None,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Some((
            Fault::Login,
            "The thing's token is not accepted any more: onboard again with `thingif onboard`, and let the device do so.",
        )),
        (StatusCode::NOT_FOUND, _) => Some((
            Fault::Other,
            "The service does not know the thing: it was deleted. Onboard again with `thingif onboard`.",
        )),
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            Some((Fault::Other, "The thing sends too many requests: let it send fewer, and wait as Retry-After says."))
        }
        (status, _) if status.is_server_error() => {
            Some((Fault::Other, "The service failed: its operator finds the cause in its log."))
        }
        _ => Some((Fault::Other, "The service does not accept a plain GET of the state: tell its operator.")),
    };
    match fault {
        Some((fault, remedy)) => Err(Finding::failed(fault, said, remedy)),
        None if !has_id => Ok((
            (),
            Finding::warning(
                format!("{}, without our X-Kii-RequestID", answer.status()),
                "The service must echo X-Kii-RequestID: without it, answers on one topic cannot be told apart, and devices \
                 have to call one after the other.",
            ),
        )),
        None if answer.status() == StatusCode::NOT_FOUND => {
            Ok(((), Finding::ok("answered: the thing has no state yet (404 STATE_NOT_FOUND)")))
        }
        None => Ok(((), Finding::ok(format!("answered: {}", answer.status())))),
    }
}
