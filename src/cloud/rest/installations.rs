//! `/api/apps/{APP}/installations/{ID}`: the end of an endpoint. Kii Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::delete;
use http::StatusCode;

use crate::cloud::call::Call;
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::cloud::store::installations::{self, InstallationName};
use crate::cloud::{Cloud, answer};
use crate::thing_if::{ErrorCode, Principal};

/// What a path begins with that names an installation by its registration id.
const REGISTRATION: &str = "MQTT:";

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/installations/{installation}", delete(delete_installation))
}

/// 204 once the endpoint's credentials open nothing any more; the connection that they opened ends.
async fn delete_installation(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let delete = move |sql: &mut dyn Sql| {
        let caller = call.caller(sql)?;
        let named = call.param("installation");
        let name = match named.strip_prefix(REGISTRATION) {
            Some(registration) => InstallationName::Registration(registration),
            None => InstallationName::Id(named),
        };
        let (installation, of) = installations::find(sql, &call.app, name)?.ok_or_else(|| {
            Failure::new(ErrorCode::InstallationNotFound, format!("There is no installation {named}"))
                .with("installationID", named)
        })?;
        let may = match &of {
            Principal::Thing(thing) => call.may_use(sql, &caller, thing)?,
            Principal::User(_) | Principal::Group(_) => caller.may_act_as(&of),
        };
        if !may {
            return Err(Failure::not_permitted(&call.app, &caller));
        }
        installations::delete(sql, &call.app, &installation.installation_id)?;
        Ok(installation.mqtt_topic)
    };
    let topic = cloud.store().write(delete).await?;
    cloud.pusher().disconnect(&topic).await;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
