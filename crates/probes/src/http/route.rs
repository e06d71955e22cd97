//! The kernel's rule of what is an identifier in a path, again in Rust.
//!
//! The kernel counts by a hash of the path in which identifiers are alike; user
//! space names such a hash from one path it saw. Both must agree on what an
//! identifier is, or one name would stand for several routes.

/// Whether a path segment is an identifier: all digits, or eight bytes and more
/// with at least two digits. `v1` is not. The same rule as `end_segment` in `http.bpf.c`.
pub fn is_identifier(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    !segment.is_empty() && (digits == segment.len() || (segment.len() >= 8 && digits >= 2))
}

/// The path with its identifiers as `{id}`.
pub fn normalise(path: &str) -> String {
    let parts = path.split('/').map(|s| if is_identifier(s) { "{id}" } else { s });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_alike_and_versions_stay() {
        assert_eq!(normalise("/api/v1/product/123"), "/api/v1/product/{id}");
        assert_eq!(normalise("/cart/6f53bb7d-f923-4c7d-b75a-3b3e497e920a"), "/cart/{id}");
        assert_eq!(normalise("/"), "/");
        assert_eq!(normalise("/static/app.js"), "/static/app.js");
    }
}
