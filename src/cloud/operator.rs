//! What whoever runs the service sees of it, without a token: the page of [`admin`](crate) asks.

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service as _;

use super::service::whole;
use super::store::{Sql, StoreError, things};
use super::{Cloud, delivery, rest};
use crate::ids::{AppId, ClientId, ThingId, VendorThingId};

/// In a request's extensions: it is this program's own. No request from outside can have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator;

/// A thing, as it is listed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListedThing {
    /// Its id.
    pub id: ThingId,
    /// As its maker names it.
    pub vendor_thing_id: VendorThingId,
    /// Its type, if it has said one.
    pub thing_type: Option<String>,
    /// Where pushes for it go; it is online while one of them is [connected](crate::edge::Registry::is_connected).
    pub topics: Vec<ClientId>,
}

/// Why things were not listed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ListError(String);

impl Cloud {
    /// At most `limit` things of `app` whose ids come after `after`, in the order of their ids.
    ///
    /// # Errors
    /// [`ListError`] when the store cannot read now.
    pub async fn things(&self, app: &AppId, after: &str, limit: u16) -> Result<Vec<ListedThing>, ListError> {
        let (app, after) = (app.clone(), after.to_owned());
        let list = move |sql: &mut dyn Sql| {
            let found = things::of_app(sql, &app, &after, limit.into())?;
            let listed = found.into_iter().map(|thing| {
                Ok(ListedThing {
                    topics: delivery::topics_of(sql, &app, &thing.thing_id)?,
                    id: thing.thing_id,
                    vendor_thing_id: thing.vendor_thing_id,
                    thing_type: thing.thing_type,
                })
            });
            listed.collect::<Result<Vec<_>, StoreError>>()
        };
        self.store().read(list).await.map_err(|error: StoreError| ListError(error.to_string()))
    }

    /// Answers `request` as if the administrator of its application had sent it.
    pub async fn call_as_administrator(&self, request: Request<Bytes>) -> Response<Bytes> {
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(Operator);
        let answered = rest::router(self.clone()).call(request).await.unwrap_or_else(|error| match error {});
        whole(answered).await
    }
}
