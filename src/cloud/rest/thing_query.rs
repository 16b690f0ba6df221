//! `/api/apps/{APP}/things/query`: the things of an owner. Kii Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde_json::{Map, Value};

use super::thing_fields::shown;
use crate::cloud::call::{Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::id_page::IdPage;
use crate::cloud::object::{missing, wrong};
use crate::cloud::store::{Sql, end_nodes, things};
use crate::cloud::{Cloud, answer};
use crate::ids::UserId;
use crate::thing_if::{ErrorCode, Principal};

const REQUEST: &str = "application/vnd.kii.ThingQueryRequest+json";

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/things/query", post(query))
}

/// 200 with `results`, in the order of their thing ids: of a user who asks, or of any that the administrator asks for.
async fn query(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let mut fields = body.object(&[REQUEST])?;
    let limit = fields.integer("bestEffortLimit")?.map(|limit| limit.to_string());
    let page = IdPage::read(limit.as_deref(), fields.text("paginationKey")?.as_deref())?;
    let query = fields.take("thingQuery").ok_or_else(|| missing("thingQuery"))?;
    let wanted = Wanted::read(&query["clause"])?;
    let IdPage { limit, after } = page.clone();
    let find = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let Some(user) = wanted.user else { return Ok(Vec::new()) };
        let owner = Principal::User(user);
        if !caller.may_act_as(&owner) {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        // One more than is shown tells whether there is another page.
        let thing_type = wanted.thing_type.as_deref().unwrap_or_default();
        let found = things::of_owner(sql, &call.app, &owner, thing_type, &after, limit + 1)?;
        found
            .into_iter()
            .map(|thing| {
                let connection = end_nodes::connection(sql, &call.app, &thing.thing_id)?;
                Ok((thing.thing_id.to_string(), Value::Object(shown(&thing, None, connection)?)))
            })
            .collect::<Result<Vec<_>, Failure>>()
    };
    let (results, key) = page.cut(cloud.store().read(find).await?);
    let mut body = Map::from_iter([("results".to_owned(), Value::Array(results))]);
    if let Some(key) = key {
        body.insert("nextPaginationKey".to_owned(), key.into());
    }
    Ok(answer::exposed(StatusCode::OK, answer::without_percent(&body)))
}

/// What the one known form of query asks for: `userOwners` contains a user or `groupOwners` contains a group, and perhaps
/// `_thingType` is something. There are no groups, so nobody's things are a group's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: Option<UserId>,
    thing_type: Option<String>,
}

impl Wanted {
    fn read(clause: &Value) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        match (kind(clause), parts(clause)) {
            (Some("and"), Some([is_type, owners])) if kind(is_type) == Some("eq") => {
                let thing_type = is_type["value"].as_str().filter(|_| is_type["field"] == "_thingType");
                wanted.thing_type = Some(thing_type.ok_or_else(unsupported)?.to_owned());
                wanted.owners(owners)?;
            }
            _ => wanted.owners(clause)?,
        }
        Ok(wanted)
    }

    /// One owner, or several of whom one is a user.
    fn owners(&mut self, clause: &Value) -> Result<(), Failure> {
        let several = match (kind(clause), parts(clause)) {
            (Some("or"), Some(several)) if !several.is_empty() => several,
            _ => std::slice::from_ref(clause),
        };
        for one in several {
            let id = one["value"].as_str().filter(|_| kind(one) == Some("contains")).ok_or_else(unsupported)?;
            match one["field"].as_str() {
                Some("groupOwners") => {}
                Some("userOwners") if self.user.is_none() => {
                    self.user = Some(UserId::new(id).map_err(|_| wrong("value", "a user id"))?);
                }
                _ => return Err(unsupported()),
            }
        }
        Ok(())
    }
}

fn kind(clause: &Value) -> Option<&str> {
    clause["type"].as_str()
}

fn parts(clause: &Value) -> Option<&[Value]> {
    clause["clauses"].as_array().map(Vec::as_slice)
}

fn unsupported() -> Failure {
    Failure::new(ErrorCode::QueryNotSupported, "Things are found by their owner, and by their type besides")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(id: &str) -> Value {
        json!({ "type": "contains", "field": "userOwners", "value": id })
    }

    fn group(id: &str) -> Value {
        json!({ "type": "contains", "field": "groupOwners", "value": id })
    }

    #[test]
    fn the_queries_of_the_javascript_sdk_are_read() {
        let typed = |owner: Value| {
            let is_type = json!({ "type": "eq", "field": "_thingType", "value": "lamp" });
            json!({ "type": "and", "clauses": [is_type, owner] })
        };
        let ann = Some(UserId::new("ann").expect("valid"));
        let lamp = Some("lamp".to_owned());
        for (clause, wanted) in [
            (user("ann"), Wanted { user: ann.clone(), thing_type: None }),
            (group("g"), Wanted::default()),
            (
                json!({ "type": "or", "clauses": [user("ann"), group("g"), group("h")] }),
                Wanted { user: ann.clone(), thing_type: None },
            ),
            (typed(user("ann")), Wanted { user: ann.clone(), thing_type: lamp.clone() }),
            (
                typed(json!({ "type": "or", "clauses": [group("g"), user("ann")] })),
                Wanted { user: ann, thing_type: lamp },
            ),
        ] {
            assert_eq!(Wanted::read(&clause).expect("known"), wanted, "{clause}");
        }
    }

    #[test]
    fn any_other_query_is_refused_rather_than_misread() {
        for clause in [
            Value::Null,
            json!({}),
            json!({ "type": "all" }),
            json!({ "type": "contains", "field": "owners", "value": "ann" }),
            json!({ "type": "contains", "field": "userOwners", "value": 1 }),
            json!({ "type": "contains", "field": "userOwners", "value": "a b" }),
            json!({ "type": "not", "clause": user("ann") }),
            json!({ "type": "or", "clauses": [] }),
            json!({ "type": "or", "clauses": [user("ann"), user("bob")] }),
            json!({ "type": "and", "clauses": [user("ann"), user("bob")] }),
            json!({ "type": "and", "clauses": [{ "type": "eq", "field": "_lot", "value": "1" }, user("ann")] }),
        ] {
            assert!(Wanted::read(&clause).is_err(), "{clause}");
        }
    }
}
