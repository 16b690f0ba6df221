//! One thing: its states, its newest commands, and a form that sends one.

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use maud::html;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::page::{failed, form_token, layout};
use super::session::Session;
use crate::ids::{AppId, ThingId};
use crate::thing_if::{CommandState, Commands, ErrorBody, media_type};

/// Commands that are shown, newest first.
const COMMANDS: u32 = 20;

/// The thing that a path means.
struct Named {
    app: AppId,
    thing: ThingId,
}

impl Named {
    fn new((app, thing): (String, String)) -> Option<Self> {
        Some(Self { app: AppId::new(app).ok()?, thing: ThingId::new(thing).ok()? })
    }

    /// Calls the service as the administrator of the application; status and body.
    async fn call(
        &self,
        admin: &Admin,
        method: Method,
        path: &str,
        body: Option<(&'static str, Value)>,
    ) -> Result<(StatusCode, Bytes), http::Error> {
        let uri = format!("/thing-if/apps/{}/targets/thing:{}/{path}", self.app, self.thing);
        let mut request = Request::builder().method(method).uri(uri);
        let body = match body {
            Some((media_type, body)) => {
                request = request.header(CONTENT_TYPE, media_type);
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let answer = admin.0.cloud.call_as_administrator(request.body(body)?).await;
        Ok((answer.status(), answer.into_body()))
    }
}

fn said(body: &[u8]) -> String {
    ErrorBody::from_json(body).map_or_else(|_| String::from("The service said nothing more."), |error| error.message)
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Extension(session): Extension<Session>,
    Path(path): Path<(String, String)>,
) -> Response {
    let Some(named) = Named::new(path) else {
        return failed(StatusCode::NOT_FOUND, &session, "There is no such thing.");
    };
    let states = named.call(&admin, Method::GET, "states", None).await;
    let list = format!("commands?bestEffortLimit={COMMANDS}");
    let commands = named.call(&admin, Method::GET, &list, None).await;
    let (Ok((states_status, states)), Ok((commands_status, commands))) = (states, commands) else {
        return failed(StatusCode::NOT_FOUND, &session, "There is no such thing.");
    };
    if commands_status != StatusCode::OK {
        return failed(commands_status, &session, &said(&commands));
    }
    let commands = serde_json::from_slice::<Commands>(&commands).map(|page| page.commands).unwrap_or_default();
    let states = match states_status {
        StatusCode::OK => String::from_utf8_lossy(&states).into_owned(),
        _ => String::from("none was reported yet"),
    };
    let Named { app, thing } = &named;
    let body = html! {
        p { "Of application " a href={ "/apps/" (app) } { (app) } "." }
        h2 { "States" }
        pre id="states" { (states) }
        h2 { "Send a command" }
        form method="post" action={ "/apps/" (app) "/things/" (thing) "/commands" } {
            (form_token(&session))
            label { "Actions " textarea name="actions" rows="3" required { "[{\"turnPower\":{\"power\":true}}]" } }
            label { "Schema " input name="schema" value="default" required; }
            label { "Version " input name="version" type="number" value="1" required; }
            label { input name="traits" type="checkbox" value="yes"; " with traits" }
            button { "Send" }
        }
        h2 { "Newest commands" }
        table {
            thead { tr { th { "Command" } th { "State" } th { "Actions" } th { "Results" } } }
            tbody {
                @for command in &commands {
                    tr {
                        td { (command.command_id) }
                        td { (state(&command.command_state)) }
                        td { code { (text(&command.actions)) } }
                        td { code { (command.action_results.as_ref().map(text).unwrap_or_default()) } }
                    }
                }
            }
        }
    };
    layout(&format!("Thing {thing}"), Some(&session), &body).into_response()
}

fn state(state: &CommandState) -> String {
    state.as_str().to_owned()
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The form of a command.
#[derive(Deserialize)]
pub(super) struct NewCommand {
    #[serde(default)]
    token: String,
    actions: String,
    schema: String,
    version: i64,
    #[serde(default)]
    traits: Option<String>,
}

pub(super) async fn send(
    State(admin): State<Admin>,
    Extension(session): Extension<Session>,
    Path(path): Path<(String, String)>,
    Form(new): Form<NewCommand>,
) -> Response {
    if !session.accepts(&new.token) {
        return failed(StatusCode::FORBIDDEN, &session, "This form is not one of this session. Load the page again.");
    }
    let Some(named) = Named::new(path) else {
        return failed(StatusCode::NOT_FOUND, &session, "There is no such thing.");
    };
    let Ok(actions) = serde_json::from_str::<Value>(&new.actions) else {
        return failed(StatusCode::BAD_REQUEST, &session, "The actions are not JSON.");
    };
    // An operator is nobody of the application, and a command has an issuer: the thing itself.
    let issuer = format!("thing:{}", named.thing);
    let body = match new.traits {
        Some(_) => (media_type::COMMAND_CREATION_REQUEST, json!({"actions": actions, "issuer": issuer})),
        None => {
            let (schema, version) = (new.schema, new.version);
            let body = json!({"actions": actions, "issuer": issuer, "schema": schema, "schemaVersion": version});
            (media_type::JSON, body)
        }
    };
    match named.call(&admin, Method::POST, "commands", Some(body)).await {
        Ok((StatusCode::CREATED, _)) => {
            Redirect::to(&format!("/apps/{}/things/{}", named.app, named.thing)).into_response()
        }
        Ok((status, body)) => failed(status, &session, &said(&body)),
        Err(error) => failed(StatusCode::BAD_REQUEST, &session, &error.to_string()),
    }
}
