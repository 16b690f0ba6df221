//! The page: applications, things, one thing with its states and commands, and what passes.

use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::session::Session;
use super::{Admin, login, tail, thing_page};
use crate::cloud::ListedThing;
use crate::ids::AppId;

/// Things on one page.
const THINGS: u16 = 50;

pub(super) fn routes(admin: &Admin) -> Router<Admin> {
    Router::new()
        .route("/", get(apps))
        .route("/apps/{app}", get(things))
        .route("/apps/{app}/things/{thing}", get(thing_page::show))
        .route("/apps/{app}/things/{thing}/commands", post(thing_page::send))
        .route("/tail", get(tail::page))
        .route("/tail/events", get(tail::events))
        .route("/logout", post(login::log_out))
        .route_layer(middleware::from_fn_with_state(admin.clone(), login::require))
        .merge(login::routes())
        .layer(middleware::from_fn(login::protect))
}

/// A whole page; without a session, one for strangers.
pub(super) fn layout(title: &str, session: Option<&Session>, body: &Markup) -> Markup {
    html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – thingif" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                header {
                    strong { "thingif" }
                    @if let Some(session) = session {
                        nav { a href="/" { "Applications" } a href="/tail" { "Live" } }
                        form method="post" action="/logout" {
                            (form_token(session))
                            button { "Log out" }
                        }
                    }
                }
                main { h1 { (title) } (body) }
            }
        }
    }
}

/// What shows that a form is one of ours.
pub(super) fn form_token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token.expose()); }
}

pub(super) fn failed(status: StatusCode, session: &Session, message: &str) -> Response {
    let body = html! { p class="error" { (message) } };
    (status, layout("This did not work", Some(session), &body)).into_response()
}

async fn apps(State(admin): State<Admin>, Extension(session): Extension<Session>) -> Markup {
    let connections = admin.0.registry.connections();
    let body = html! {
        p { (connections.assigned) " things and users are connected, " (connections.onboarding) " are onboarding." }
        table {
            thead { tr { th { "Application" } th { "Name" } } }
            tbody {
                @for app in admin.0.cloud.apps() {
                    tr {
                        td { a href={ "/apps/" (app.id) } { (app.id) } }
                        td { (app.name.unwrap_or_default()) }
                    }
                }
            }
        }
    };
    layout("Applications", Some(&session), &body)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: String,
}

async fn things(
    State(admin): State<Admin>,
    Extension(session): Extension<Session>,
    Path(app): Path<String>,
    Query(page): Query<Page>,
) -> Response {
    let known = AppId::new(app).ok().filter(|id| admin.0.cloud.apps().iter().any(|app| app.id == *id));
    let Some(app) = known else {
        return failed(StatusCode::NOT_FOUND, &session, "There is no such application.");
    };
    let things = match admin.0.cloud.things(&app, &page.after, THINGS).await {
        Ok(things) => things,
        Err(error) => return failed(StatusCode::SERVICE_UNAVAILABLE, &session, &error.to_string()),
    };
    let body = html! {
        @if things.is_empty() { p { "There are no things here." } }
        table {
            thead { tr { th { "Thing" } th { "Vendor's id" } th { "Type" } th { "State" } } }
            tbody {
                @for thing in &things {
                    tr {
                        td { a href={ "/apps/" (app) "/things/" (thing.id) } { (thing.id) } }
                        td { (thing.vendor_thing_id) }
                        td { (thing.thing_type.as_deref().unwrap_or_default()) }
                        td { (online(&admin, thing)) }
                    }
                }
            }
        }
        @if let (Some(last), true) = (things.last(), things.len() == usize::from(THINGS)) {
            p { a href={ "/apps/" (app) "?after=" (last.id) } { "More" } }
        }
    };
    layout(&format!("Things of {app}"), Some(&session), &body).into_response()
}

pub(super) fn online(admin: &Admin, thing: &ListedThing) -> Markup {
    let is_online = thing.topics.iter().any(|topic| admin.0.registry.is_connected(topic));
    html! { @if is_online { span class="online" { "online" } } @else { span class="offline" { "offline" } } }
}

/// Where somebody is sent who has not logged in.
pub(super) fn to_login() -> Response {
    Redirect::to("/login").into_response()
}

/// The form's token, for forms that have nothing else.
#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    pub(super) token: String,
}

pub(super) type TokenForm = Form<Token>;
