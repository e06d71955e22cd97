//! Keys to key spaces: what a key is about, without which one.

use std::sync::Arc;

/// Longest first part that is taken for a name rather than a value, in bytes.
const LONGEST_NAME: usize = 40;

/// The key space of a key: its first part when that is a plain word, and `*` for
/// all that follows (`user:17:cart` is `user:*`). A key that begins with anything
/// else is `*`, since it may be the value that must not leave the host.
///
/// ```
/// use taproot_protocols::keys::space;
/// assert_eq!(&*space(b"user:17:cart"), "user:*");
/// assert_eq!(&*space(b"queue"), "queue");
/// assert_eq!(&*space(b"4f1c-secret"), "*");
/// ```
pub fn space(key: &[u8]) -> Arc<str> {
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let word = key.iter().take(LONGEST_NAME).take_while(|byte| is_word(byte)).count();
    let separated = match key.get(word) {
        None => false,
        Some(b':' | b'/' | b'.' | b'-' | b'|' | b'#') => true,
        Some(_) => return Arc::from("*"),
    };
    let Ok(text) = std::str::from_utf8(&key[..word]) else { return Arc::from("*") };
    if word == 0 || word == LONGEST_NAME {
        return Arc::from("*");
    }
    if !separated {
        return Arc::from(text);
    }
    let mut joined = [0_u8; LONGEST_NAME + 2];
    joined[..word].copy_from_slice(text.as_bytes());
    joined[word] = key[word];
    joined[word + 1] = b'*';
    std::str::from_utf8(&joined[..word + 2]).map_or_else(|_| Arc::from("*"), Arc::from)
}

/// Most parts of a topic that are kept, and the longest of them in bytes.
const MOST_PARTS: usize = 8;
const LONGEST_PART: usize = 32;

/// A topic or subject without what only numbers: parts with a digit, and long
/// ones, are `*`. Wildcards stay.
///
/// ```
/// use taproot_protocols::keys::topic;
/// assert_eq!(&*topic(b"plant/7/temperature"), "plant/*/temperature");
/// assert_eq!(&*topic(b"_INBOX.a1b2c3.1"), "_INBOX.*.*");
/// ```
pub fn topic(topic: &[u8]) -> Arc<str> {
    let mut out = String::with_capacity(topic.len().min(128));
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'.' | b':');
    let mut rest = topic;
    for _ in 0..MOST_PARTS {
        let end = rest.iter().position(is_separator).unwrap_or(rest.len());
        let part = &rest[..end];
        let plain = |byte: &u8| byte.is_ascii_alphabetic() || b"_-+#*>$ ".contains(byte);
        match std::str::from_utf8(part) {
            Ok(text) if part.len() <= LONGEST_PART && part.iter().all(plain) => out.push_str(text),
            _ => out.push('*'),
        }
        let Some(separator) = rest.get(end) else { return out.into() };
        out.push(char::from(*separator));
        rest = &rest[end + 1..];
    }
    out.push_str("...");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_few() {
        for (raw, expected) in [
            (&b"home/+/light"[..], "home/+/light"),
            (b"orders.eu-west.new", "orders.eu-west.new"),
            (b"user/alice@example.org", "user/*.org"),
            (b"a/b/c/d/e/f/g/h/i", "a/b/c/d/e/f/g/h/..."),
            (b"", ""),
        ] {
            assert_eq!(&*topic(raw), expected);
        }
    }

    #[test]
    fn values_do_not_pass() {
        for (key, expected) in [
            (&b"session:alice@example.org"[..], "session:*"),
            (b"{user}:1", "*"),
            (b"cache/ab/cd", "cache/*"),
            (b"", "*"),
            (b"key1", "*"),
            (b"\xff\x00", "*"),
            (b"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee", "*"),
        ] {
            assert_eq!(&*space(key), expected, "{}", key.escape_ascii());
        }
    }
}
