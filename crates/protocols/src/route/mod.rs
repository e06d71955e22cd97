//! Raw request targets to low-cardinality route templates.
//!
//! [`template`] knows what an identifier looks like and needs no memory.
//! [`RouteLimiter`] learns, per service, which positions take too many values.
//! Both read each byte a bounded number of times.

mod limiter;

pub use limiter::{RouteLimiter, RouteLimits};

/// Segments beyond this many become one `{*}`.
const MOST_SEGMENTS: usize = 12;
/// A longer segment is an identifier whatever it holds.
const LONGEST_SEGMENT: usize = 64;

/// The route template of a request target in any of its four forms
/// (RFC 9112, section 3.2): query and fragment removed, segments that are
/// identifiers replaced by what kind they are. Percent-encoding is kept.
///
/// ```
/// use taproot_protocols::route::template;
/// assert_eq!(template("/product/123?ref=mail"), "/product/{id}");
/// assert_eq!(template("http://shop:80/order-77/items"), "/order-{id}/items");
/// ```
pub fn template(target: &str) -> String {
    let Some(path) = path_of(target) else {
        return if target == "*" { "*".to_owned() } else { "{authority}".to_owned() };
    };
    let mut out = String::with_capacity(path.len());
    for (index, segment) in path.split('/').skip(1).enumerate() {
        out.push('/');
        if index == MOST_SEGMENTS {
            out.push_str("{*}");
            break;
        }
        push_segment(&mut out, segment);
    }
    out
}

/// The path inside a target; `None` for the asterisk and authority forms.
fn path_of(target: &str) -> Option<&str> {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let target = &target[..end];
    if target.starts_with('/') {
        return Some(target);
    }
    let authority = target.find("://").map(|at| at + 3)?;
    Some(target[authority..].find('/').map_or("/", |at| &target[authority + at..]))
}

fn push_segment(out: &mut String, segment: &str) {
    // Path parameters (";jsessionid=...") carry session ids.
    let segment = segment.split(';').next().unwrap_or(segment);
    match kind(segment) {
        Some(kind) => out.push_str(kind),
        None if is_version(segment) => out.push_str(segment),
        None => push_words(out, segment),
    }
}

/// Replaces the identifiers among words: `order-123` to `order-{id}`.
fn push_words(out: &mut String, segment: &str) {
    for piece in segment.split_inclusive(['-', '_', '.', ':', '=', ',', '+']) {
        let (word, separator) = match piece.char_indices().last() {
            Some((at, '-' | '_' | '.' | ':' | '=' | ',' | '+')) => piece.split_at(at),
            _ => (piece, ""),
        };
        match kind(word) {
            Some(kind) => out.push_str(kind),
            None => push_word(out, word),
        }
        out.push_str(separator);
    }
}

/// A word keeps short trailing digits ("mp3", "utf8"), not long ones ("user10042").
fn push_word(out: &mut String, word: &str) {
    let letters = word.trim_end_matches(|character: char| character.is_ascii_digit());
    if word.len() - letters.len() >= 4 && !letters.ends_with('%') {
        out.push_str(letters);
        out.push_str("{id}");
    } else {
        out.push_str(word);
    }
}

/// `v1`, `v2.1`, `v1beta1`, `2.0`-like version marks stay.
fn is_version(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    segment.len() <= 10
        && matches!(bytes.next(), Some(b'v' | b'V'))
        && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
}

/// What kind of identifier a segment is, if it is one.
fn kind(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    if bytes.len() > LONGEST_SEGMENT {
        return Some("{token}");
    }
    if is_number(bytes) {
        return Some("{id}");
    }
    if is_uuid(bytes) {
        return Some("{uuid}");
    }
    if is_date(bytes) {
        return Some("{date}");
    }
    if is_email(segment) {
        return Some("{email}");
    }
    if is_hex(bytes) {
        return Some("{hex}");
    }
    is_token(bytes).then_some("{token}")
}

/// Digits, with one sign, and points or commas between them.
fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    edge(digits.first())
        && edge(digits.last())
        && digits.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
}

fn is_uuid(bytes: &[u8]) -> bool {
    let bare = match bytes {
        [b'{', inner @ .., b'}'] => inner,
        _ => bytes,
    };
    bare.len() == 36
        && bare.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `YYYY-MM-DD`, alone or with a time behind `T`.
fn is_date(bytes: &[u8]) -> bool {
    let Some((date, rest)) = bytes.split_at_checked(10) else { return false };
    let shape = date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    shape && (rest.is_empty() || matches!(rest, [b'T' | b't', next, ..] if next.is_ascii_digit()))
}

fn is_email(segment: &str) -> bool {
    let split = segment.split_once('@').or_else(|| segment.split_once("%40"));
    split.is_some_and(|(name, domain)| {
        !name.is_empty() && domain.find('.').is_some_and(|at| at > 0 && at + 1 < domain.len())
    })
}

/// At least eight hex digits of which some are digits: words such as "facade" and
/// "deadbeef" stay.
fn is_hex(bytes: &[u8]) -> bool {
    let bare = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    let digits = bare.iter().filter(|byte| byte.is_ascii_digit()).count();
    let enough = if bare.len() == bytes.len() { bare.len() >= 8 && digits >= 2 } else { true };
    enough && !bare.is_empty() && bare.iter().all(u8::is_ascii_hexdigit)
}

/// Long strings that change between letters, cases and digits more often than
/// words do: session ids, base64, ULIDs, KSUIDs.
fn is_token(bytes: &[u8]) -> bool {
    const SHORTEST: usize = 16;
    if bytes.len() < SHORTEST {
        return false;
    }
    let class = |byte: u8| match byte {
        b'0'..=b'9' => 1,
        b'A'..=b'Z' => 2,
        b'a'..=b'z' => 3,
        _ => 4,
    };
    let unusual = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"-_=~+.%".contains(byte));
    if bytes.iter().any(unusual) {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let changes = bytes.windows(2).filter(|pair| class(pair[0]) != class(pair[1])).count();
    digits >= 2 && changes * 3 >= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_their_kind() {
        for (raw, expected) in [
            ("/product/123", "/product/{id}"),
            ("/product/123/", "/product/{id}/"),
            ("/user/550e8400-e29b-41d4-a716-446655440000/cart", "/user/{uuid}/cart"),
            ("/blob/9f86d081884c7d65", "/blob/{hex}"),
            ("/blob/0xff", "/blob/{hex}"),
            ("/s/eyJhbGciOiJIUzI1NiJ9xQ4", "/s/{token}"),
            ("/ulid/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/ulid/{token}"),
            ("/mail/ann@shop.example", "/mail/{email}"),
            ("/mail/ann%40shop.example", "/mail/{email}"),
            ("/report/2026-11-20", "/report/{date}"),
            ("/report/2026-11-20T10:00:00Z", "/report/{date}"),
            ("/order-12345/items", "/order-{id}/items"),
            ("/u/user10042", "/u/user{id}"),
            ("/img/photo_17.png", "/img/photo_{id}.png"),
            ("/geo/52.52,13.40", "/geo/{id}"),
            ("/a;jsessionid=1234", "/a"),
        ] {
            assert_eq!(template(raw), expected, "{raw}");
        }
    }

    #[test]
    fn words_stay() {
        for raw in [
            "/",
            "/api/v1/users",
            "/api/v1beta1/pods",
            "/facade/deadbeef",
            "/files/mp3",
            "/s3/utf8",
            "/k%C3%A4se",
            "/a//b",
            "/getUserAccountSettings",
            "/product-catalog/search_all",
        ] {
            assert_eq!(template(raw), raw);
        }
    }

    #[test]
    fn every_form_of_target() {
        assert_eq!(template("http://u:p@shop:80/a/1?x"), "/a/{id}");
        assert_eq!(template("http://shop"), "/");
        assert_eq!(template("*"), "*");
        assert_eq!(template("shop:443"), "{authority}");
        assert_eq!(template("/a?next=/b/1"), "/a");
        assert_eq!(template("/a#b"), "/a");
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "/a".repeat(1000);
        assert_eq!(template(&deep), format!("{}/{{*}}", "/a".repeat(MOST_SEGMENTS)));
        assert_eq!(template(&format!("/{}", "x".repeat(5000))), "/{token}");
    }
}
