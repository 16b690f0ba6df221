//! `…/triggers/{ID}/results/server-code`: what became of the server code of a trigger. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use super::triggers::find;
use crate::cloud::call::Call;
use crate::cloud::command::stored;
use crate::cloud::failure::Failure;
use crate::cloud::page::PageRequest;
use crate::cloud::store::{Sql, trigger_results};
use crate::cloud::{Cloud, answer};
use crate::thing_if::{ServerCodeResult, ServerCodeResults};

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/results/server-code", get(list_results))
}

/// Newest first.
async fn list_results(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let page = PageRequest::of(&call)?;
    let list = move |sql: &mut dyn Sql| {
        call.authorize(sql, &thing)?;
        let trigger = find(sql, &call, &thing)?.trigger_id;
        let before = page.after.unwrap_or(i64::MAX);
        trigger_results::list(sql, &call.app, &thing, &trigger, before, page.rows()).map_err(Failure::from)
    };
    let rows = cloud.store().read(list).await?;
    let rows = rows.into_iter().map(|row| Ok((row.seq, stored::<ServerCodeResult>(&row.result)?)));
    let (trigger_server_code_results, next_pagination_key) = page.fill(rows)?;
    Ok(answer::json(StatusCode::OK, &ServerCodeResults { trigger_server_code_results, next_pagination_key }))
}
