//! Scripts of web pages: which may call, and what they may read of an answer (CORS).

use std::time::Duration;

use http::header::{ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{AllowedOrigins, OpenError};

/// How long a browser may remember a preflight.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// Every method that some operation has.
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Checks that every origin is one as browsers send it: a scheme and a host, or `null`.
pub(super) fn check(allowed: &AllowedOrigins) -> Result<(), OpenError> {
    let AllowedOrigins::Only(origins) = allowed else { return Ok(()) };
    let is_origin = |origin: &[u8]| {
        let scheme = origin.windows(3).position(|three| three == b"://");
        origin == b"null" || scheme.is_some_and(|at| at > 0 && at + 3 < origin.len() && !origin.ends_with(b"/"))
    };
    match origins.iter().find(|origin| !is_origin(origin.as_bytes())) {
        None => Ok(()),
        Some(wrong) => Err(OpenError::Option {
            name: "allowed_origins",
            problem: format!("has {wrong:?}, which is no origin such as https://app.example"),
        }),
    }
}

/// Answers preflights, and says of every other answer who may read it.
pub(super) fn layer(allowed: &AllowedOrigins) -> CorsLayer {
    let origin = match allowed {
        AllowedOrigins::Any => AllowOrigin::any(),
        AllowedOrigins::Only(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(METHODS)
        // `*` does not stand for Authorization (Fetch standard §3.3.3), which every call has.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            WWW_AUTHENTICATE,
            HeaderName::from_static("x-mqtt-ttl"),
            HeaderName::from_static("x-kii-requestid"),
        ])
        .max_age(MAX_AGE)
}
