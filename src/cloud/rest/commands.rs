//! `…/targets/thing:{TH}/commands`: posted by an owner, pushed to the thing, read back. (`wire` §5, §6)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;

use crate::cloud::call::{Body, Call};
use crate::cloud::command::{NewCommand, answered};
use crate::cloud::failure::Failure;
use crate::cloud::page::PageRequest;
use crate::cloud::store::Sql;
use crate::cloud::store::commands as rows;
use crate::cloud::{Cloud, answer};
use crate::ids::ThingId;
use crate::thing_if::{CommandCreated, CommandRequest, Commands, ErrorCode, InvalidBody, media_type};

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/targets/{target}/commands", post(post_command).get(list_commands))
        .route("/thing-if/apps/{app}/targets/{target}/commands/{command}", get(get_command))
}

/// 201 with `commandID` once the command is durable; the push follows. The media type tells whether it has traits.
async fn post_command(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    body.require(&[media_type::JSON, media_type::COMMAND_CREATION_REQUEST])?;
    let has_traits = media_type::is(body.content_type(), media_type::COMMAND_CREATION_REQUEST);
    let request = CommandRequest::from_body(body.content_type(), &body.bytes).map_err(|error| match &error {
        InvalidBody::Syntax { .. } => error.into(),
        InvalidBody::Field { field, .. } if has_traits && field == "actions" => {
            Failure::new(ErrorCode::CommandTraitValidation, error.to_string())
        }
        _ => Failure::new(ErrorCode::WrongCommand, error.to_string()),
    })?;
    let thing = call.target()?;
    let command_id = cloud.new_command_id();
    let issuer = request.issuer.clone();
    let command = NewCommand::new(
        ErrorCode::WrongCommand,
        &command_id,
        &thing,
        request,
        None,
        cloud.names_push_target(),
        call.now,
    )?;
    let insert = move |sql: &mut dyn Sql| {
        let caller = call.authorize(sql, &thing)?;
        if !caller.may_act_as(&issuer) {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        command.insert(sql, &call.app).map_err(Failure::from)
    };
    let delivery = cloud.store().write(insert).await?;
    cloud.deliver(delivery).await;
    Ok(answer::json(StatusCode::CREATED, &CommandCreated { command_id }))
}

async fn get_command(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let target = thing.clone();
    let get = move |sql: &mut dyn Sql| {
        call.authorize(sql, &target)?;
        find(sql, &call, &target)
    };
    let row = cloud.store().read(get).await?;
    Ok(answer::json(StatusCode::OK, &answered(row, &thing)?))
}

/// The row of the command that the path names.
pub(super) fn find(sql: &mut dyn Sql, call: &Call, thing: &ThingId) -> Result<rows::Command, Failure> {
    let id = call.param("command");
    rows::get(sql, &call.app, thing, id)?
        .ok_or_else(|| Failure::new(ErrorCode::CommandNotFound, format!("Command {id} not found")))
}

/// Newest first.
async fn list_commands(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let thing = call.target()?;
    let page = PageRequest::of(&call)?;
    let target = thing.clone();
    let list = move |sql: &mut dyn Sql| {
        call.authorize(sql, &target)?;
        rows::list(sql, &call.app, &target, page.after.unwrap_or(i64::MAX), page.rows()).map_err(Failure::from)
    };
    let rows = cloud.store().read(list).await?;
    let rows = rows.into_iter().map(|row| Ok((row.seq, answered(row, &thing)?)));
    let (commands, next_pagination_key) = page.fill(rows)?;
    Ok(answer::json(StatusCode::OK, &Commands { commands, next_pagination_key }))
}
