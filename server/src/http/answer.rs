//! Answers as Go's HTTP server gives them.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

pub fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Go's `http.Error`: plain text that browsers must not take for something else, and a newline.
pub fn error(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = answer(status, TEXT, format!("{text}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

pub fn not_found() -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// For pages that can only be read.
pub fn method_not_allowed() -> Response<Bytes> {
    only("GET")
}

/// For pages that know one method.
pub fn only(method: &'static str) -> Response<Bytes> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}
