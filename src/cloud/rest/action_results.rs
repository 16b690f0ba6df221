//! `…/commands/{CID}/action-results`: the thing reports what became of a command. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::put;
use http::StatusCode;

use super::commands::find;
use crate::cloud::call::{Body, Call};
use crate::cloud::command::{answered, len_in_list};
use crate::cloud::failure::Failure;
use crate::cloud::store::commands as rows;
use crate::cloud::store::{Sql, installations};
use crate::cloud::{Cloud, answer};
use crate::thing_if::{ActionResultsUpdate, CommandReportedPush, Principal, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/targets/{target}/commands/{command}/action-results", put(put_results))
}

/// Results for every action make the command DONE, fewer INCOMPLETE; a repeated report replaces the one before. Who issued the
/// command is told, on its own topics. Which form the results have is told by their shape.
///
/// Results that would make the command longer than an answer may be are refused.
async fn put_results(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::COMMAND_RESULTS_UPDATE_REQUEST])?;
    let results = ActionResultsUpdate::from_json(&body.bytes)?.action_results;
    let thing = call.target()?;
    let put = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let mut reported = answered(find(sql, &call, &thing)?, &thing)?;
        reported.command_state = results
            .state_after(&reported.actions)
            .ok_or_else(|| Failure::invalid("`actionResults` has a result for an action that the command has not"))?;
        let text = serde_json::to_string(&results).map_err(Failure::internal)?;
        reported.action_results = Some(results);
        let (printed, max) = (len_in_list(&reported), answer::MAX_LEN);
        if printed > max {
            let message = format!("The command takes {printed} bytes in an answer with these results, more than {max}");
            return Err(Failure::invalid(message));
        }
        let (id, state) = (reported.command_id.as_str(), reported.command_state.as_str());
        rows::put_results(sql, &call.app, &thing, id, &text, state, call.now)?;
        // A thing that commands itself knows what it has reported.
        let installed = match &reported.issuer {
            issuer if *issuer == Principal::Thing(thing) => Vec::new(),
            issuer => installations::of(sql, &call.app, issuer)?,
        };
        let topics: Vec<_> = installed.into_iter().map(|installation| installation.mqtt_topic).collect();
        let push = CommandReportedPush {
            command_id: reported.command_id,
            target: reported.target,
            command_state: reported.command_state,
        };
        Ok((topics, push))
    };
    let (topics, push) = cloud.store().write(put).await?;
    if !topics.is_empty() {
        let payload = serde_json::to_vec(&push).map_err(Failure::internal)?;
        cloud.tell_issuer(&topics, payload.into()).await;
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
