//! Who has logged in to the page.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::secret::Secret;

const COOKIE_NAME: &str = "thingif_admin";
/// A session ends when it was not used for so long.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Sessions at once; the one that was used least recently makes room.
const MAX_SESSIONS: usize = 100;

/// A session, as its forms show it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// What forms must bring along: no other site knows it.
    pub(super) form_token: Secret<String>,
    /// Closed when the session ends.
    open: watch::Receiver<()>,
}

/// A session as it is kept.
struct Kept {
    session: Session,
    used: Instant,
    /// Dropped with the session.
    _open: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Kept>>);

impl Sessions {
    /// A new session: the cookie that stands for it. `None` without random numbers.
    pub(super) fn begin(&self, now: Instant) -> Option<HeaderValue> {
        let (id, form_token) = (random()?, random()?);
        let mut sessions = self.sweep(now);
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        let (sender, open) = watch::channel(());
        sessions.insert(key(id.expose()), Kept { session: Session { form_token, open }, used: now, _open: sender });
        cookie(id.expose(), "")
    }

    /// The session that the request's cookie stands for.
    pub(super) fn of(&self, headers: &HeaderMap, now: Instant) -> Option<Session> {
        let id = cookie_of(headers)?;
        let mut sessions = self.sweep(now);
        let kept = sessions.get_mut(&key(id))?;
        kept.used = now;
        Some(kept.session.clone())
    }

    /// Ends the session; the cookie that takes the old one away.
    pub(super) fn end(&self, headers: &HeaderMap, now: Instant) -> Option<HeaderValue> {
        if let Some(id) = cookie_of(headers) {
            self.sweep(now).remove(&key(id));
        }
        cookie("", "; Max-Age=0")
    }

    // Nothing panics while it holds the lock, so a poisoned lock holds a whole map.
    fn sweep(&self, now: Instant) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, kept| now.saturating_duration_since(kept.used) < IDLE);
        sessions
    }
}

impl Session {
    /// Completes when somebody logs out, or when it is found that nobody has used the session for too long.
    pub(super) async fn ended(&mut self) {
        // Nothing is ever sent: an error says that the session is gone.
        while self.open.changed().await.is_ok() {}
    }

    /// Whether a form that brought `given` is one of this session's own.
    pub(super) fn accepts(&self, given: &str) -> bool {
        self.form_token.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn random() -> Option<Secret<String>> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Looked up by a hash: how long that takes says nothing of the id.
fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// The browser keeps it until it is closed: when the session ends, here is known who uses it.
fn cookie(id: &str, more: &str) -> Option<HeaderValue> {
    let text = format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Strict{more}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|text| text.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().expect("ASCII").split(';').next().expect("one").to_owned();
        let both = HeaderValue::try_from(format!("other=1; {pair}")).expect("ASCII");
        HeaderMap::from_iter([(COOKIE, both)])
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_ends_when_it_is_told() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let cookie = sessions.begin(start).expect("random numbers");
        for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.to_str().expect("ASCII").contains(flag), "{flag}");
        }
        assert!(!cookie.to_str().expect("ASCII").contains("Max-Age"), "the browser would end a session in use");
        let headers = sent(&cookie);
        let session = sessions.of(&headers, start + IDLE - Duration::from_secs(1)).expect("there");
        assert!(session.accepts(session.form_token.expose()) && !session.accepts(""));
        sessions.of(&headers, start + IDLE + Duration::from_secs(1)).expect("used meanwhile");
        assert!(sessions.of(&headers, start + IDLE * 3).is_none(), "not used for too long");
        let headers = sent(&sessions.begin(start).expect("random numbers"));
        sessions.end(&headers, start);
        assert!(sessions.of(&headers, start).is_none());
        assert!(sessions.of(&HeaderMap::new(), start).is_none());
    }

    #[test]
    fn there_are_never_too_many() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let first = sent(&sessions.begin(start).expect("random numbers"));
        for seconds in 1..=MAX_SESSIONS as u64 {
            sessions.begin(start + Duration::from_secs(seconds));
        }
        let now = start + Duration::from_secs(200);
        assert!(sessions.of(&first, now).is_none());
        assert_eq!(sessions.sweep(now).len(), MAX_SESSIONS);
    }
}
