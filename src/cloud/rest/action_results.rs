//! `…/commands/{CID}/action-results`: the thing reports what became of a command. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::put;
use http::StatusCode;

use super::commands::{command, find, len_in_list};
use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::cloud::store::commands as rows;
use crate::cloud::{Cloud, answer};
use crate::thing_if::{ActionResultsUpdate, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/targets/{target}/commands/{command}/action-results", put(put_results))
}

/// 204. Results for every action make the command DONE, fewer INCOMPLETE; a repeated report replaces the one before.
///
/// Results that would make the command longer than an answer may be are refused.
async fn put_results(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require_json(&[media_type::COMMAND_RESULTS_UPDATE_REQUEST])?;
    let results = ActionResultsUpdate::from_json(&body.bytes)?.action_results;
    let thing = call.target()?;
    let put = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let mut reported = command(find(sql, &call, &thing)?, &thing)?;
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
        Ok::<_, Failure>(())
    };
    cloud.store().write(put).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
