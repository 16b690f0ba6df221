//! `/api/apps/{APP}/installations/{ID}/mqtt-endpoint`: where an installation's broker is, and how to log in there. Kii
//! Cloud's, HTTPS only. (`wire` §5)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};

use super::installations::authorized;
use crate::cloud::call::Call;
use crate::cloud::failure::Failure;
use crate::cloud::store::Sql;
use crate::cloud::{Cloud, answer};
use crate::thing_if::{ErrorBody, ErrorCode, json, media_type};

/// Seconds to wait, as the service documents it. (`wire` §5)
const RETRY: HeaderValue = HeaderValue::from_static("10");
const X_MQTT_TTL: HeaderName = HeaderName::from_static("x-mqtt-ttl");

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/api/apps/{app}/installations/{installation}/mqtt-endpoint", get(get_endpoint))
}

/// 503 with Retry-After until the endpoint is ready; from then on 200, always with the same credentials.
async fn get_endpoint(State(cloud): State<Cloud>, call: Call) -> Result<Response, Failure> {
    let (local, now, app) = (call.local, call.now, call.app.clone());
    let find = move |sql: &mut dyn Sql| authorized(sql, &call, ErrorCode::MqttEndpointNotFound);
    let (installation, _) = cloud.store().read(find).await?;
    if installation.ready_at > now {
        let id = installation.installation_id;
        // Two spaces, as documented.
        let message = format!("MQTT endpoint for  {id} is not ready. Please try again later.");
        let body = ErrorBody::new(ErrorCode::MqttEndpointNotReady, message)
            .with("installationID", id)
            .with("appID", app.as_str());
        let media_type = media_type::MQTT_ENDPOINT_NOT_READY_EXCEPTION;
        let mut response = answer::typed(StatusCode::SERVICE_UNAVAILABLE, media_type, json::to_pretty(&body));
        response.headers_mut().insert(RETRY_AFTER, RETRY);
        return Ok(response);
    }
    let endpoint = cloud.endpoint(&installation, local);
    let body = endpoint.to_retrieval_body_exposed();
    let mut response = answer::typed(StatusCode::OK, media_type::MQTT_ENDPOINT_RESPONSE, body);
    if let Some(seconds) = endpoint.ttl {
        response.headers_mut().insert(X_MQTT_TTL, HeaderValue::from(seconds));
    }
    Ok(response)
}
