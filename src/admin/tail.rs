//! What passes, as it passes: frames without their secrets, through Server-Sent Events.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::StatusCode;
use maud::{Markup, html};

use super::Admin;
use super::page::layout;
use super::session::Session;
use crate::edge::{Seen, Tap};
use crate::secret::Redacted;

/// Who may look at once.
pub(super) const MAX_VIEWERS: usize = 8;

pub(super) async fn page(Extension(session): Extension<Session>) -> Markup {
    let body = html! {
        p { "Every message of things as it passes, the newest below, without passwords and tokens. " span id="lost" {} }
        pre id="tail" {}
        script src="/tail.js" {}
    };
    layout("Live", Some(&session), &body)
}

/// One event a message; an event `lost` with a number where there were too many. It ends when the session does, or the service.
pub(super) async fn events(State(admin): State<Admin>, Extension(session): Extension<Session>) -> Response {
    let Ok(place) = admin.0.viewers.clone().try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, "too many look already\n").into_response();
    };
    let (tap, ending) = (admin.0.registry.tap(), admin.0.ending.subscribe());
    let messages = stream::unfold((tap, ending, session, place), async |(mut tap, mut ending, mut session, place)| {
        let event = tokio::select! {
            biased;
            _ = ending.wait_for(|ending| *ending) => return None,
            () = session.ended() => return None,
            event = next(&mut tap) => event?,
        };
        Some((Ok::<_, Infallible>(event), (tap, ending, session, place)))
    });
    Sse::new(messages).keep_alive(KeepAlive::default()).into_response()
}

async fn next(tap: &mut Tap) -> Option<Event> {
    Some(match tap.next().await? {
        Seen::Lost(count) => Event::default().event("lost").data(count.to_string()),
        Seen::Passed(passed) => {
            let arrow = if passed.from_device { '>' } else { '<' };
            let text = format!("{arrow} {}\n{}", passed.topic, Redacted::new(&passed.payload));
            // A carriage return would end a line of the event.
            Event::default().data(text.replace('\r', ""))
        }
    })
}
