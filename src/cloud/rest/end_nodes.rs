//! `/thing-if/apps/{APP}/things/{GW}/end-nodes` and Kii Cloud's `/api/apps/{APP}/things/{GW}/end-nodes`, HTTPS only: what is
//! behind a gateway. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::oauth2::Issued;
use super::things::{find, find_to_manage, find_to_use};
use crate::cloud::call::{Body, Call};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::id_page::IdPage;
use crate::cloud::object;
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::{Sql, end_nodes, things, tokens};
use crate::cloud::{Cloud, answer};
use crate::ids::{AppId, ThingId};
use crate::thing_if::{ErrorCode, LayoutPosition, Principal};

/// The most end nodes that a gateway has; one more is refused with 409.
const MAX_END_NODES: i64 = 10_000;

pub(super) fn routes() -> Router<Cloud> {
    Router::new()
        .route("/thing-if/apps/{app}/things/{thing}/end-nodes", get(list_end_nodes))
        .route("/thing-if/apps/{app}/things/{thing}/end-nodes/{node}", delete(unpair))
        .route("/thing-if/apps/{app}/things/{thing}/end-nodes/{node}/connection", put(report_connection))
        .route("/api/apps/{app}/things/{thing}/end-nodes/{node}", put(add_end_node))
        .route("/api/apps/{app}/things/{thing}/end-nodes/{node}/token", post(give_token))
}

/// 200 with `results`, in the order of their thing ids.
async fn list_end_nodes(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let page = IdPage::of(&call)?;
    let IdPage { limit, after } = page.clone();
    let list = move |sql: &mut dyn Sql| {
        let gateway = find_to_use(sql, &call)?;
        // One more than is shown tells whether there is another page.
        end_nodes::list(sql, &call.app, &gateway, &after, limit + 1).map_err(Failure::from)
    };
    let rows = cloud.store().read(list).await?;
    let row = |(id, vendor)| (ToString::to_string(&id), json!({ "thingID": id, "vendorThingID": vendor }));
    let (results, key) = page.cut(rows.into_iter().map(row));
    let mut body = Map::from_iter([("results".to_owned(), Value::Array(results))]);
    if let Some(key) = key {
        body.insert("nextPaginationKey".to_owned(), key.into());
    }
    Ok(answer::json(StatusCode::OK, &body))
}

/// 204. The end node stays a thing, with all that it has but the tokens that were given for the gateway.
async fn unpair(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let unpair = move |sql: &mut dyn Sql| {
        let (gateway, _) = find_to_manage(sql, &call)?;
        let node = find_behind(sql, &call, &gateway)?;
        end_nodes::delete(sql, &call.app, &gateway, &node).map_err(Failure::from)
    };
    cloud.store().write(unpair).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204. What the gateway says is kept with the time at which it said so.
async fn report_connection(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let online = body.object(&[])?.boolean("online")?.ok_or_else(|| object::missing("online"))?;
    let report = move |sql: &mut dyn Sql| {
        let (gateway, _) = find_to_manage(sql, &call)?;
        let node = find_behind(sql, &call, &gateway)?;
        end_nodes::report(sql, &call.app, &gateway, &node, online, call.now).map_err(Failure::from)
    };
    cloud.store().write(report).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// 204, again too. Whoever owns both things may put one behind the other. So may the gateway itself, and with a thing that
/// has no owner and was registered as an end node both may, as long as they know its thing id.
async fn add_end_node(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let add = move |sql: &mut dyn Sql| {
        let (gateway, caller) = find_to_manage(sql, &call)?;
        let node = find(sql, &call, "node")?;
        if !may_add(sql, &call, &caller, &gateway, &node)? {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        put_behind(sql, &call.app, &gateway, &node, call.now)
    };
    cloud.store().write(add).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn may_add(
    sql: &mut dyn Sql,
    call: &Call,
    caller: &Caller,
    gateway: &ThingId,
    node: &ThingId,
) -> Result<bool, Failure> {
    if end_nodes::gateway_of(sql, &call.app, node)?.is_some_and(|known| known == *gateway) {
        return Ok(true);
    }
    let owners = things::owners(sql, &call.app, node)?;
    let owns_both = match caller {
        Caller::Anonymous => false,
        Caller::Admin => true,
        Caller::Principal(Principal::Thing(_)) => {
            let of_gateway = things::owners(sql, &call.app, gateway)?;
            owners.iter().any(|owner| of_gateway.contains(owner))
        }
        Caller::Principal(owner) => owners.contains(owner),
    };
    let is_waiting = |thing: things::Thing| thing.layout_position == LayoutPosition::EndNode.as_str();
    // A maker's id can be guessed, a thing id cannot: it is known to whoever registered the thing.
    let is_named_by_id = call.param("node") == node.as_str();
    Ok(owns_both || (owners.is_empty() && is_named_by_id && things::get(sql, &call.app, node)?.is_some_and(is_waiting)))
}

/// Puts `node` behind `gateway`; again is no error.
///
/// # Errors
/// 409 when it is behind another one, when it is a gateway, when the gateway is an end node, or has as many as it may have.
pub(super) fn put_behind(
    sql: &mut dyn Sql,
    app: &AppId,
    gateway: &ThingId,
    node: &ThingId,
    now: i64,
) -> Result<(), Failure> {
    let not_allowed = |message: String| Err(Failure::new(ErrorCode::OperationNotAllowed, message));
    match end_nodes::gateway_of(sql, app, node)? {
        Some(known) if known == *gateway => return Ok(()),
        Some(_) => {
            let message = format!("End node {node} belongs to another gateway");
            return Err(
                Failure::new(ErrorCode::EndNodeAlreadyBelongsToGateway, message).with("endNodeThingID", node.as_str())
            );
        }
        None => {}
    }
    if gateway == node || end_nodes::count(sql, app, node)? > 0 {
        return not_allowed(format!("Thing {node} is a gateway, so it cannot be behind one"));
    }
    if end_nodes::gateway_of(sql, app, gateway)?.is_some() {
        return not_allowed(format!("Thing {gateway} is an end node, so nothing can be behind it"));
    }
    if end_nodes::count(sql, app, gateway)? >= MAX_END_NODES {
        return not_allowed(format!("Gateway {gateway} has {MAX_END_NODES} end nodes already"));
    }
    end_nodes::insert(sql, app, gateway, node, now)?;
    Ok(())
}

/// 200 with a token of the end node, for its gateway to act in its name. It lasts for ever or, if the request has
/// `expires_in`, for so many seconds; then the answer has a refresh token as well.
async fn give_token(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let lifetime = if body.bytes.trim_ascii().is_empty() { None } else { body.object(&[])?.integer("expires_in")? };
    let expires_at = match lifetime {
        None => None,
        Some(seconds @ 1..) => Some(call.now.saturating_add(seconds.saturating_mul(1_000))),
        Some(_) => return Err(object::wrong("expires_in", "a number of seconds above 0")),
    };
    let (issued, new) = Issued::generate(expires_at);
    let now = call.now;
    let give = move |sql: &mut dyn Sql| {
        let (gateway, _) = find_to_manage(sql, &call)?;
        let node = find_behind(sql, &call, &gateway)?;
        if things::is_disabled(sql, &call.app, &node)? {
            return Err(Failure::thing_disabled(&call.app, node.as_str()));
        }
        let new = NewToken { gateway: Some(gateway), ..new };
        tokens::add(sql, &call.app, &Principal::Thing(node.clone()).into(), &new, call.now)?;
        Ok::<_, Failure>(node)
    };
    let node = cloud.store().write(give).await?;
    Ok(issued.answer(node.as_str(), now))
}

/// The end node that the path means.
///
/// # Errors
/// 404 when nothing of that name is behind `gateway`.
fn find_behind(sql: &mut dyn Sql, call: &Call, gateway: &ThingId) -> Result<ThingId, Failure> {
    let named = call.param("node");
    let behind = match find(sql, call, "node") {
        Ok(node) => end_nodes::gateway_of(sql, &call.app, &node)?.filter(|known| known == gateway).map(|_| node),
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => None,
        Err(failure) => return Err(failure),
    };
    behind.ok_or_else(|| {
        let message = format!("End node {named} does not belong to gateway {gateway}");
        Failure::new(ErrorCode::EndNodeDoesNotBelongToGateway, message)
            .with("gatewayThingID", gateway.as_str())
            .with("endNodeThingID", named)
    })
}
