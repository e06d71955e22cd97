//! Who may ask: on a loopback address, only a browser that was sent there by its address.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Everything the page needs is its own; nothing else may be loaded or framed.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

/// Refuses requests that name this server by anything but an address or
/// `localhost`: a page of a stranger could otherwise let its own name point here
/// and read the answers (DNS rebinding).
pub(crate) async fn only_local_names(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        return next.run(request).await;
    }
    let text = "refused: ask by address (http://127.0.0.1:7272) or as localhost\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Adds the headers every answer carries.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local_names_of_others_are_not() {
        let check = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            is_local(&headers)
        };
        for host in ["127.0.0.1:7272", "localhost", "localhost:1", "[::1]:7272", "10.1.2.3"] {
            assert!(check(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:7272", "", "127.0.0.1.evil.example"] {
            assert!(!check(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
