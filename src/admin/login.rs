//! Logging in to the page, and what every answer of it says to the browser.

use std::time::{Duration, Instant};

use axum::extract::{Form, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::page::{TokenForm, layout, to_login};
use super::session::Session;
use super::{Admin, page};
use crate::secret::Secret;

/// How long a wrong password keeps everybody else waiting: the bound on how many can be tried.
const PENALTY: Duration = Duration::from_secs(1);
/// Logins that may wait; beyond, 429.
pub(super) const MAX_WAITING: usize = 8;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Admin> {
    let style = async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"));
    let script = async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("tail.js"));
    Router::new().route("/login", get(form).post(log_in)).route("/style.css", get(style)).route("/tail.js", get(script))
}

/// Nobody frames the page, keeps it, or has it run anything but its own; and no other site posts to it.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let is_foreign = request.method() == Method::POST && !is_own(request.headers());
    let mut response = match is_foreign {
        true => (StatusCode::FORBIDDEN, "this form is another site's\n").into_response(),
        false => next.run(request).await,
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that, browsers say of our own forms that they come from nowhere.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the browser says that the request comes from this page, or it does not say from where.
fn is_own(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin == host)
}

/// Lets in who has a session, which handlers find in the request's extensions.
pub(super) async fn require(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    match admin.0.sessions.of(request.headers(), Instant::now()) {
        Some(session) => {
            request.extensions_mut().insert(session);
            next.run(request).await
        }
        None => to_login(),
    }
}

fn login_page(error: Option<&str>) -> Markup {
    let body = html! {
        @if let Some(error) = error { p class="error" { (error) } }
        form method="post" action="/login" {
            label { "Password " input type="password" name="password" autofocus autocomplete="current-password" required; }
            button { "Log in" }
        }
    };
    layout("Log in", None, &body)
}

async fn form(State(admin): State<Admin>) -> Markup {
    let unset = "No password is set: `thingif admin password --data DIR` sets one.";
    login_page(if admin.has_password() { None } else { Some(unset) })
}

#[derive(Deserialize)]
struct LogIn {
    password: String,
}

async fn log_in(State(admin): State<Admin>, Form(given): Form<LogIn>) -> Response {
    let password = Secret::new(given.password);
    let Ok(place) = admin.0.waiting_logins.clone().try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, login_page(Some("Too many try to log in. Wait a moment.")))
            .into_response();
    };
    // In a task of its own: whoever hangs up, so as not to wait, makes the next one wait all the same.
    let judge = admin.clone();
    let judged = tokio::spawn(async move {
        let _place = place;
        let _turn = judge.0.login.lock().await;
        let is_right = judge.accepts(password).await;
        if !is_right {
            tracing::warn!("a login to the admin page failed");
            tokio::time::sleep(PENALTY).await;
        }
        is_right
    });
    if judged.await.unwrap_or(false)
        && let Some(cookie) = admin.0.sessions.begin(Instant::now())
    {
        return ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response();
    }
    (StatusCode::FORBIDDEN, login_page(Some("The password is wrong."))).into_response()
}

pub(super) async fn log_out(
    State(admin): State<Admin>,
    Extension(session): Extension<Session>,
    headers: HeaderMap,
    Form(form): TokenForm,
) -> Response {
    if !session.accepts(&form.token) {
        return page::failed(
            StatusCode::FORBIDDEN,
            &session,
            "This form is not one of this session. Load the page again.",
        );
    }
    let cookie = admin.0.sessions.end(&headers, Instant::now());
    (cookie.map(|cookie| [(SET_COOKIE, cookie)]), to_login()).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::admin::Access;
    use crate::admin::password::{self, Password};
    use crate::cloud::{Cloud, Options};
    use crate::edge::Registry;

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_makes_the_next_one_wait_all_the_same() {
        let cloud = Cloud::open(Options::default(), Arc::new(Registry::new())).expect("opens");
        let hash = password::hash(&"swordfish".into()).expect("long enough");
        let access = Access { token: None, password: Some(Password::Hash(hash)) };
        let admin = Admin::new(cloud, Registry::new(), SystemTime::now(), access);
        let log_in = |password: &str| log_in(State(admin.clone()), Form(LogIn { password: password.to_owned() }));
        let hasty = tokio::spawn(log_in("wrong"));
        while admin.0.login.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        hasty.abort();
        assert!(hasty.await.expect_err("hung up").is_cancelled());
        let began = tokio::time::Instant::now();
        assert_eq!(log_in("swordfish").await.status(), StatusCode::SEE_OTHER);
        assert!(began.elapsed() >= PENALTY, "{:?}", began.elapsed());
    }

    #[test]
    fn forms_of_other_sites_are_known_by_their_origin() {
        for (origin, own) in [
            (None, true),
            (Some("http://127.0.0.1:9470"), true),
            (Some("https://evil.example"), false),
            (Some("http://127.0.0.1:8080"), false),
            (Some("null"), false),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:9470"))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(is_own(&headers), own, "{origin:?}");
        }
    }
}
