//! HTTP/1.1 messages: reading them off a stream and writing them to one.

use std::io::{self, Read, Write};

/// Longest head (start line and headers) taken, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Longest body taken, in bytes.
const MAX_BODY: usize = 8 << 20;
const MAX_HEADERS: usize = 64;

/// A request as the servers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// The connection may be used again.
    pub(crate) keep_alive: bool,
}

/// A response, to be written or as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// Body is sent in chunks, without a length.
    pub(crate) chunked: bool,
    /// The connection may be used again.
    pub(crate) keep_alive: bool,
}

impl Response {
    /// A JSON answer.
    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.into(),
            chunked: false,
            keep_alive: true,
        }
    }

    /// A JSON answer that says what is wrong.
    pub(crate) fn error(status: u16, why: &str) -> Self {
        Self::json(status, serde_json::json!({ "error": why }).to_string())
    }
}

/// Length of a message's body, from its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// What the headers say that matters here.
struct Head {
    framing: Option<Framing>,
    connection: Option<bool>,
}

/// A stream with the bytes read too far kept for the next message.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads one request; none when the peer closed between requests.
    pub(crate) fn read_request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.read_head()? else { return Ok(None) };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&head).map_err(|e| bad(&format!("request head: {e}")))?;
        let said = read_headers(parsed.headers)?;
        let method = parsed.method.unwrap_or_default().to_owned();
        let path = parsed.path.unwrap_or_default().to_owned();
        let keep_alive = said.connection.unwrap_or(parsed.version == Some(1));
        // RFC 9112 section 6.3: a request without framing has no body.
        let body = self.read_body(said.framing.unwrap_or(Framing::Length(0)))?;
        Ok(Some(Request { method, path, body, keep_alive }))
    }

    /// Reads one response to a request with this method; none when the peer
    /// closed without a byte. Interim (1xx) responses are passed over.
    pub(crate) fn read_response(&mut self, method: &str) -> io::Result<Option<Response>> {
        loop {
            let Some(head) = self.read_head()? else { return Ok(None) };
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            parsed.parse(&head).map_err(|e| bad(&format!("response head: {e}")))?;
            let status = parsed.code.unwrap_or_default();
            if (100..200).contains(&status) {
                continue;
            }
            let said = read_headers(parsed.headers)?;
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            let framing = match said.framing {
                _ if bodiless => Framing::Length(0),
                Some(framing) => framing,
                None => Framing::UntilClose,
            };
            let keep_alive = said.connection.unwrap_or(parsed.version == Some(1))
                && framing != Framing::UntilClose;
            let chunked = framing == Framing::Chunked;
            let body = self.read_body(framing)?;
            return Ok(Some(Response { status, content_type: "", body, chunked, keep_alive }));
        }
    }

    fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.take(end + 4)));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(bad("head is longer than 16 KiB"));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    fn read_body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::Length(n) => self.read_exactly(n),
            Framing::Chunked => self.read_chunks(),
            Framing::UntilClose => {
                while self.fill()? > 0 {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn read_exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        if n > MAX_BODY {
            return Err(bad("body is longer than 8 MiB"));
        }
        while self.buffer.len() < n {
            if self.fill()? == 0 {
                return Err(cut());
            }
        }
        Ok(self.take(n))
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let digits = line.split(|b| *b == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| usize::from_str_radix(d.trim(), 16).ok())
                .ok_or_else(|| bad("chunk size is no hexadecimal number"))?;
            if size == 0 {
                // Trailers, up to and with the empty line.
                while !self.read_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(size)?);
            if !self.read_line()?.is_empty() {
                return Err(bad("chunk is longer than its size"));
            }
            if body.len() > MAX_BODY {
                return Err(bad("body is longer than 8 MiB"));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let mut line = self.take(end + 2);
                line.truncate(end);
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD || self.fill()? == 0 {
                return Err(cut());
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0_u8; 8192];
        let n = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(n);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Writes a request; a chunked body goes out in two chunks.
    pub(crate) fn write_request(
        &mut self,
        host: &str,
        method: &str,
        path: &str,
        body: &[u8],
        chunked: bool,
    ) -> io::Result<()> {
        let mut out = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        let bodiless = body.is_empty() && matches!(method, "GET" | "HEAD");
        if bodiless {
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(b"Content-Type: application/json\r\n");
            put_body(&mut out, body, chunked);
        }
        self.stream.write_all(&out)
    }

    /// Writes the response to a request with this method.
    pub(crate) fn write_response(&mut self, response: &Response, method: &str) -> io::Result<()> {
        let Response { status, content_type, body, .. } = response;
        let mut out = format!(
            "HTTP/1.1 {status} {}\r\nServer: taproot-lab\r\nContent-Type: {content_type}\r\n",
            reason(*status)
        )
        .into_bytes();
        if !response.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        let head = out.len();
        put_body(&mut out, body, response.chunked);
        if method == "HEAD" {
            let end = find(&out[head..], b"\r\n\r\n").map_or(out.len(), |n| head + n + 4);
            out.truncate(end);
        }
        self.stream.write_all(&out)
    }
}

fn put_body(out: &mut Vec<u8>, body: &[u8], chunked: bool) {
    if !chunked {
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        return;
    }
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    let (front, back) = body.split_at(body.len() / 2);
    for part in [front, back].into_iter().filter(|p| !p.is_empty()) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

fn read_headers(headers: &[httparse::Header<'_>]) -> io::Result<Head> {
    let mut head = Head { framing: None, connection: None };
    for h in headers {
        let value = std::str::from_utf8(h.value).unwrap_or_default().trim();
        if h.name.eq_ignore_ascii_case("content-length") {
            let n = value.parse().map_err(|_| bad("content length is no number"))?;
            // RFC 9112 section 6.1: chunked framing overrides a length.
            head.framing.get_or_insert(Framing::Length(n));
        } else if h.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Some(Framing::Chunked);
        } else if h.name.eq_ignore_ascii_case("connection") {
            head.connection = Some(!value.eq_ignore_ascii_case("close"));
        }
    }
    Ok(head)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        404 => "Not Found",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed in the middle of a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that says its lines a few bytes at a time.
    struct Slow {
        says: Vec<u8>,
        at: usize,
        step: usize,
        heard: Vec<u8>,
    }

    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.step.min(self.says.len() - self.at).min(buf.len());
            buf[..n].copy_from_slice(&self.says[self.at..self.at + n]);
            self.at += n;
            Ok(n)
        }
    }

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.heard.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(says: &str, step: usize) -> Wire<Slow> {
        Wire::new(Slow { says: says.into(), at: 0, step, heard: Vec::new() })
    }

    const TWO: &str = "POST /checkout HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n\
        GET /next HTTP/1.1\r\nConnection: close\r\n\r\n";

    #[test]
    fn pipelined_requests_are_read_however_they_are_cut() {
        for step in [1, 3, 7, 10_000] {
            let mut wire = wire(TWO, step);
            let first = wire.read_request().unwrap().unwrap();
            assert_eq!((first.path.as_str(), first.body.as_slice()), ("/checkout", &b"abcde"[..]));
            assert!(first.keep_alive);
            let second = wire.read_request().unwrap().unwrap();
            assert_eq!((second.path.as_str(), second.keep_alive), ("/next", false));
            assert_eq!(wire.read_request().unwrap(), None);
        }
    }

    #[test]
    fn responses_are_framed_by_length_chunks_close_and_method() {
        let read = |text: &str, method: &str| {
            wire(text, 5).read_response(method).unwrap().map(|r| (r.status, r.body, r.keep_alive))
        };
        let length = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(read(length, "GET"), Some((200, b"ok".to_vec(), true)));
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(read(head, "HEAD"), Some((200, Vec::new(), true)));
        let close = "HTTP/1.1 502 Bad\r\n\r\ntext";
        assert_eq!(read(close, "GET"), Some((502, b"text".to_vec(), false)));
        assert_eq!(read("", "GET"), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        for chunked in [false, true] {
            let mut out = wire("", 1);
            out.write_request("shop", "POST", "/x", b"hello", chunked).unwrap();
            let mut response = Response::json(201, *b"made");
            response.chunked = chunked;
            let mut back = wire(&String::from_utf8(out.stream.heard).unwrap(), 4);
            assert_eq!(back.read_request().unwrap().unwrap().body, b"hello");
            back.write_response(&response, "POST").unwrap();
            let mut again = wire(&String::from_utf8(back.stream.heard).unwrap(), 4);
            assert_eq!(again.read_response("POST").unwrap().unwrap().body, b"made");
        }
    }

    #[test]
    fn damaged_messages_are_errors_not_guesses() {
        for text in [
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "GET / HT",
        ] {
            assert!(wire(text, 9).read_request().is_err(), "{text}");
        }
    }
}
