//! The answers to requests that are refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

/// A status, the reason, and a header.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Refusal { status, reason: reason.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn unauthorized(reason: &str) -> Self {
        Refusal::new(StatusCode::UNAUTHORIZED, reason)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn too_many(wait: Duration) -> Self {
        // Rounded up, so that a client that waits this long is not refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: try again later")
            .with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn forbidden(reason: &str) -> Self {
        Refusal::new(StatusCode::FORBIDDEN, reason)
    }

    pub(super) fn method_not_allowed(reason: &str, allowed: &'static str) -> Self {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason)
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(super) fn not_found(reason: &str) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, reason)
    }

    pub(super) fn conflict(reason: impl Into<String>) -> Self {
        Refusal::new(StatusCode::CONFLICT, reason)
    }

    pub(super) fn unavailable(reason: &str) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    /// Returns the answer, with the reason as JSON.
    pub(super) fn into_response(self) -> Response {
        let json = serde_json::json!({ "error": self.reason }).to_string();
        self.into_response_with("application/json", json)
    }

    /// Returns the answer with another body.
    pub(super) fn into_response_with(self, content_type: &'static str, body: String) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}
