//! Reads message heads the way a tap must: whatever both ends accepted has to be
//! counted, so an odd header line never costs the message. Strict are only the
//! start lines, because they decide whether bytes are HTTP at all.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use super::types::{Framing, Method, Request, Response, Upgrade};
use crate::protocol::{Recognition, Side};
use crate::redact;

/// Longest method token taken for one.
const LONGEST_METHOD: usize = 32;
/// Longest kept path in bytes.
const LONGEST_PATH: usize = 1024;

/// The end of a head whose last line end is CRLF, and whose both are LF.
static MIXED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\r\n"));
static BARE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\n"));

/// Index just behind the blank line that ends a head, searching from `from`.
/// Line ends may be CRLF or LF.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let mixed = MIXED.find(rest).map(|at| at + 3);
    let bare = BARE.find(&rest[..mixed.unwrap_or(rest.len())]).map(|at| at + 2);
    bare.or(mixed).map(|end| from + end)
}

/// Splits off the first line, without its line end. `None` when it has no end.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// Methods that may begin a piece after a loss: IANA's registry, and what caches
/// and `UPnP` use. Any other token could be the tail of one ("ET", "OST").
const METHODS: [&[u8]; 44] = [
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"OPTIONS",
    b"ORDERPATCH",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"PUT",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"TRACE",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"M-SEARCH",
];

/// Cheap test that lets a framer that lost its place notice early.
pub(super) fn could_begin(side: Side, bytes: &[u8]) -> bool {
    const STATUS: &[u8] = b"HTTP/1.";
    match side {
        Side::Server => bytes.iter().zip(STATUS).all(|(byte, expected)| byte == expected),
        Side::Client => {
            let start = &bytes[..bytes.len().min(LONGEST_METHOD + 1)];
            let method = memchr(b' ', start).map_or(start, |space| &start[..space]);
            let ended = method.len() < start.len() || start.len() <= LONGEST_METHOD;
            start.is_empty() || (ended && is_token(method))
        }
    }
}

/// Judges bytes that begin a piece.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some((first, _)) = line(bytes) else {
        return recognise_prefix(bytes);
    };
    if status_line(first).is_some() {
        return Recognition::Yes(Side::Server);
    }
    match request_line(first) {
        Some(parts) if is_plausible(&parts) => Recognition::Yes(Side::Client),
        _ => Recognition::No,
    }
}

/// A start line without its end: long paths are cut by the copy limit, so a
/// known method and the start of a target are enough.
fn recognise_prefix(bytes: &[u8]) -> Recognition {
    const STATUS: &[u8] = b"HTTP/1.";
    if bytes.len() <= STATUS.len() {
        if STATUS.starts_with(bytes) {
            return Recognition::Short;
        }
    } else if bytes.starts_with(STATUS) {
        return if bytes.len() >= 13 && status_line(bytes).is_some() {
            Recognition::Yes(Side::Server)
        } else if bytes.len() < 13 {
            Recognition::Short
        } else {
            Recognition::No
        };
    }
    let Some(space) = memchr(b' ', &bytes[..bytes.len().min(LONGEST_METHOD + 1)]) else {
        let short =
            bytes.len() < LONGEST_METHOD && METHODS.iter().any(|method| method.starts_with(bytes));
        return if short { Recognition::Short } else { Recognition::No };
    };
    if !METHODS.contains(&&bytes[..space]) {
        return Recognition::No;
    }
    match bytes.get(space + 1) {
        None => Recognition::Short,
        Some(b'/' | b'*' | b'h' | b'H') => Recognition::Yes(Side::Client),
        Some(byte) if byte.is_ascii_alphanumeric() && &bytes[..space] == b"CONNECT" => {
            Recognition::Yes(Side::Client)
        }
        Some(_) => Recognition::No,
    }
}

/// The three parts of a request line.
pub(super) struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    minor: u8,
}

/// `METHOD SP target SP HTTP/1.x`. Blanks inside the target are tolerated, as
/// servers do.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let space = memchr(b' ', &line[..line.len().min(LONGEST_METHOD + 1)])?;
    let (method, rest) = (&line[..space], line[space + 1..].trim_ascii());
    let at = rest.len().checked_sub(8)?;
    let (before, version) = rest.split_at(at);
    let minor = version.strip_prefix(b"HTTP/1.")?.first().copied()?;
    let target = before.trim_ascii();
    // The preface of HTTP/2 is made to look like a request.
    let valid = is_token(method)
        && method != b"PRI"
        && minor.is_ascii_digit()
        && before.last().is_some_and(u8::is_ascii_whitespace)
        && !target.is_empty();
    valid.then(|| RequestLine { method, target, minor: minor - b'0' })
}

/// The start of a request line whose end was not copied.
fn cut_request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let space = memchr(b' ', &line[..line.len().min(LONGEST_METHOD + 1)])?;
    let target = line[space + 1..].split(|byte| *byte == b' ').next()?;
    let method = &line[..space];
    (is_token(method) && !target.is_empty()).then_some(RequestLine { method, target, minor: 1 })
}

/// Stricter than [`request_line`]: for finding a lost place again.
fn is_plausible(parts: &RequestLine<'_>) -> bool {
    let target = match parts.target {
        [b'/', ..] | b"*" => true,
        other if parts.method == b"CONNECT" => other.contains(&b':'),
        other => other.windows(3).any(|window| window == b"://"),
    };
    METHODS.contains(&parts.method) && target
}

fn is_token(bytes: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(token)
}

/// `HTTP/1.x SP DDD`, then a blank or the end. Returns minor version and status.
fn status_line(line: &[u8]) -> Option<(u8, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (&minor, rest) = rest.split_first()?;
    let digits = rest.strip_prefix(b" ")?.trim_ascii_start();
    let (code, after) = digits.split_at_checked(3)?;
    let valid = minor.is_ascii_digit()
        && code.iter().all(u8::is_ascii_digit)
        && code[0] != b'0'
        && after.first().is_none_or(u8::is_ascii_whitespace);
    let status = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0')));
    valid.then(|| (minor - b'0', status))
}

/// What is read from header lines.
#[derive(Default)]
struct Headers<'a> {
    host: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    length: Option<u64>,
    coding: Option<bool>,
    upgrade: Option<Upgrade>,
}

impl<'a> Headers<'a> {
    /// Reads header lines up to the blank line or the end of what was copied.
    /// A line cut by the end of the bytes is not used: its value may be wrong.
    fn read(mut rest: &'a [u8]) -> Self {
        let mut headers = Self::default();
        while let Some((line, after)) = line(rest) {
            if line.is_empty() {
                break;
            }
            rest = after;
            // A continuation of the line before (obs-fold) names no header.
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                continue;
            }
            if !b"HhCcUuTt".contains(&line[0]) {
                continue;
            }
            let Some(colon) = memchr(b':', line) else { continue };
            let name = line[..colon].trim_ascii();
            if interesting(name) {
                let end = line.len() + folded(rest);
                headers.take(name, line, colon, &rest[..end - line.len()]);
            }
        }
        headers
    }

    fn take(&mut self, name: &[u8], line: &'a [u8], colon: usize, folds: &'a [u8]) {
        let value = line[colon + 1..].trim_ascii();
        // Only a value that is empty on its own line is looked for on a folded
        // one: real senders fold after the colon or inside lists we do not keep.
        let value = if value.is_empty() { first_line(folds) } else { value };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("content-length") {
            self.length = self.length.or_else(|| length(value));
        } else if is("transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            let folded_last = folds.to_ascii_lowercase();
            let chunked = last.eq_ignore_ascii_case(b"chunked")
                || folded_last.trim_ascii().ends_with(b"chunked");
            self.coding = Some(chunked);
        } else if is("host") {
            self.host = self.host.or(Some(value));
        } else if is("content-type") {
            self.content_type = Some(value);
        } else if is("user-agent") {
            self.user_agent = Some(value);
        } else if is("traceparent") {
            self.traceparent = Some(value);
        } else if is("upgrade") {
            self.upgrade = Some(Upgrade::from_value(value));
        }
    }

    fn framing(&self) -> Framing {
        match (self.coding, self.length) {
            (Some(true), _) => Framing::Chunked,
            (Some(false), _) => Framing::OtherCoding,
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::None,
        }
    }
}

/// Cheap test by length and first letter before names are compared as a whole.
fn interesting(name: &[u8]) -> bool {
    matches!(
        (name.len(), name.first().map(u8::to_ascii_lowercase)),
        (4, Some(b'h')) | (7 | 10, Some(b'u')) | (11 | 17, Some(b't')) | (12 | 14, Some(b'c'))
    )
}

/// Length of the continuation lines (obs-fold) at the start of `rest`.
fn folded(rest: &[u8]) -> usize {
    let mut at = 0;
    while matches!(rest.get(at), Some(b' ' | b'\t')) {
        match memchr(b'\n', &rest[at..]) {
            Some(end) => at += end + 1,
            None => break,
        }
    }
    at
}

fn first_line(folds: &[u8]) -> &[u8] {
    line(folds).map_or(folds, |(first, _)| first).trim_ascii()
}

/// A `Content-Length`; a list of equal values counts as one (RFC 9110, 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let first = value.split(|byte| *byte == b',').next()?.trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(first).ok()?.parse().ok()
}

/// Reads a request's head. `None` when the start line is not one.
pub(super) fn request(bytes: &[u8], complete: bool, user_agents: bool) -> Option<Request> {
    let (parts, rest) = match line(bytes) {
        Some((first, rest)) => (request_line(first)?, rest),
        None => (cut_request_line(bytes)?, &bytes[..0]),
    };
    let headers = Headers::read(rest);
    let target = String::from_utf8_lossy(parts.target);
    Some(Request {
        method: Method::from_token(parts.method),
        path: redact::target(&target, LONGEST_PATH).into_boxed_str(),
        minor: parts.minor,
        framing: headers.framing(),
        host: headers.host.map(redact::value),
        content_type: headers.content_type.map(redact::value),
        user_agent: headers.user_agent.filter(|_| user_agents).map(redact::value),
        traceparent: headers.traceparent.map(redact::value),
        upgrade: headers.upgrade.is_some(),
        head_size: bytes.len() as u64,
        complete,
    })
}

/// Reads a response's head. `None` when the start line is not one.
pub(super) fn response(bytes: &[u8], complete: bool) -> Option<Response> {
    let (first, rest) = line(bytes).unwrap_or((bytes, &bytes[..0]));
    let (minor, status) = status_line(first)?;
    let headers = Headers::read(rest);
    Some(Response {
        status,
        minor,
        framing: headers.framing(),
        upgrade: headers.upgrade,
        content_type: headers.content_type.map(redact::value),
        head_size: bytes.len() as u64,
        complete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_with_either_line_end() {
        assert_eq!(end(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(end(b"a\n\nb", 0), Some(3));
        assert_eq!(end(b"a\r\nb\r\n", 0), None);
    }

    #[test]
    fn recognises_by_content() {
        let yes = |bytes: &[u8], side| assert_eq!(recognise(bytes), Recognition::Yes(side));
        yes(b"GET / HTTP/1.1\r\n", Side::Client);
        yes(b"CONNECT shop:443 HTTP/1.1\r\n", Side::Client);
        yes(b"OPTIONS * HTTP/1.0\n", Side::Client);
        yes(b"PROPFIND /dav HTTP/1.1\r\n", Side::Client);
        yes(b"GET http://shop/ HTTP/1.1\r\n", Side::Client);
        yes(b"GET /a-very-long-path-that-was-cut", Side::Client);
        yes(b"HTTP/1.1 200 OK\r\n", Side::Server);
        yes(b"HTTP/1.0 404\r\n", Side::Server);
    }

    #[test]
    fn refuses_what_only_looks_alike() {
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\nSM"[..],
            b"GET of the day\r\n",
            b"HTTP/1.1 abc\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/2 200\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"{\"GET / HTTP/1.1\": 1}\r\n",
        ] {
            assert_eq!(recognise(bytes), Recognition::No, "{}", bytes.escape_ascii());
        }
        for bytes in [&b"GE"[..], b"HTTP/1", b"HTTP/1.1 20", b"GET "] {
            assert_eq!(recognise(bytes), Recognition::Short, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn versions_that_are_no_digit_are_refused() {
        assert!(request(b"POST /b HTTP/1..\r\n\r\n", true, false).is_none());
        assert!(response(b"HTTP/1.! 200 OK\r\n\r\n", true).is_none());
    }

    #[test]
    fn reads_what_is_allowed_and_nothing_else() {
        let head = b"POST /login?password=1 HTTP/1.1\r\nHost: shop\r\nCookie: secret\r\n\
            Authorization: Bearer secret\r\nContent-Type: text/plain\r\nContent-Length : 5\r\n\
            User-Agent: curl\r\n\r\n";
        let read = request(head, true, false).expect("a request");
        assert_eq!(&*read.path, "/login");
        assert_eq!(read.host.as_deref(), Some("shop"));
        assert_eq!(read.framing, Framing::Length(5));
        assert_eq!(read.user_agent, None);
        assert!(!format!("{read:?}").contains("secret"));
        assert!(!format!("{read:?}").contains("password"));
    }

    #[test]
    fn folded_values_are_found() {
        let head = b"GET / HTTP/1.1\r\nContent-Length:\r\n 12\r\nTransfer-Encoding: gzip,\n\tchunked\r\n\r\n";
        let read = request(head, true, false).expect("a request");
        assert_eq!(read.framing, Framing::Chunked);
    }

    #[test]
    fn a_cut_head_keeps_what_was_whole() {
        let read = request(b"GET /a HTTP/1.1\r\nHost: shop\r\nContent-Le", false, false);
        let read = read.expect("a request");
        assert_eq!((read.host.as_deref(), read.complete), (Some("shop"), false));
        assert_eq!(&*request(b"GET /a/b/c", false, false).expect("a request").path, "/a/b/c");
    }

    #[test]
    fn content_lengths_that_are_none() {
        for value in [&b"-1"[..], b"+5", b"0x10", b"", b"99999999999999999999", b"1 2"] {
            assert_eq!(length(value), None, "{}", value.escape_ascii());
        }
        assert_eq!(length(b"5, 5"), Some(5));
    }
}
