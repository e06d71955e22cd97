//! What of a message may be kept.
//!
//! Redaction is a list of what stays, never of what goes: a header that nobody
//! thought of is dropped. Query strings and fragments are always dropped.

/// The headers whose values may be kept, in lower case. The user agent is kept
/// only on request (see [`crate::http1::Http1::keeping_user_agents`]).
pub const KEPT_HEADERS: [&str; 5] =
    ["host", "content-type", "content-length", "traceparent", "user-agent"];

/// Longest kept value in bytes; the rest is cut off.
pub const LONGEST_VALUE: usize = 512;

/// The part of a request target that may be kept: no query, no fragment, no user
/// information of an absolute form, at most `limit` bytes (cut at a character).
pub fn target(raw: &str, limit: usize) -> String {
    let end = raw.find(['?', '#']).unwrap_or(raw.len());
    let (scheme, rest) = without_user_information(&raw[..end]);
    let mut text = String::with_capacity(scheme.len() + rest.len());
    text.push_str(scheme);
    text.push_str(rest);
    truncate(&mut text, limit);
    text
}

/// Splits `scheme://user:secret@host/path` into `scheme://` and `host/path`.
fn without_user_information(target: &str) -> (&str, &str) {
    if target.starts_with('/') {
        return (target, "");
    }
    let authority = match target.find("://") {
        Some(at) if !target[..at].contains('/') => at + 3,
        _ => return (target, ""),
    };
    let end = target[authority..].find('/').map_or(target.len(), |at| authority + at);
    match target[authority..end].rfind('@') {
        Some(at) => (&target[..authority], &target[authority + at + 1..]),
        None => (target, ""),
    }
}

/// A kept header value: without control characters, at most [`LONGEST_VALUE`]
/// bytes, invalid UTF-8 replaced.
pub fn value(raw: &[u8]) -> Box<str> {
    let raw = raw.trim_ascii();
    let mut text = String::from_utf8_lossy(&raw[..raw.len().min(LONGEST_VALUE)]).into_owned();
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        text.retain(|character| !character.is_control());
    }
    truncate(&mut text, LONGEST_VALUE);
    text.into_boxed_str()
}

fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_query_fragment_and_user_information() {
        assert_eq!(target("/a/b?token=secret", 100), "/a/b");
        assert_eq!(target("/a#part?x", 100), "/a");
        assert_eq!(target("http://user:pw@shop.example:80/a?b", 100), "http://shop.example:80/a");
        assert_eq!(target("/mail/a@b.example", 100), "/mail/a@b.example");
        assert_eq!(target("*", 100), "*");
        assert_eq!(target("/käse", 3), "/k");
    }

    #[test]
    fn values_are_bounded_and_printable() {
        assert_eq!(&*value(b" text/html\t"), "text/html");
        assert_eq!(&*value(b"a\x00b\r\n c"), "ab c");
        assert_eq!(value(&[b'x'; 2000]).len(), LONGEST_VALUE);
        assert!(value(&[0xff; 2000]).len() <= LONGEST_VALUE);
    }
}
