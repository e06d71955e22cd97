//! Cuts one direction of an HTTP/1 connection into heads, bodies and ends.

use super::head;
use super::types::{Framing, Method, Part, Request, Response};
use crate::protocol::{Side, Step};
use crate::stream::{Then, View};

/// Longest head in bytes; a longer one is taken for something else.
const LONGEST_HEAD: usize = 64 << 10;
/// Longest chunk-size or trailer line in bytes.
const LONGEST_LINE: usize = 8 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a message.
    Start,
    /// At the start of a body of known length.
    BeforeBody,
    /// Behind it, or as far as the connection went.
    Body,
    /// At the start of a body that ends with the connection.
    BeforeClose,
    /// Behind it.
    UntilClose {
        from: u64,
    },
    /// A response body that exists unless its (unseen) request was a HEAD.
    MaybeBody(u64),
    ChunkSize,
    ChunkData,
    ChunkEnd,
    Trailers,
    /// A head was salvaged before a hole; its body cannot be found.
    Cut,
    /// All is there, only the end has to be told.
    Ending,
}

/// What the response framer must know of the request that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not known which request it was.
    Unknown,
    /// HEAD: no body whatever the headers say.
    Head,
    /// CONNECT: a 2xx begins a tunnel.
    Connect,
    /// Anything else.
    Other,
}

impl From<&Method> for Asked {
    fn from(method: &Method) -> Self {
        match method {
            Method::Head => Self::Head,
            Method::Connect => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// The framer of one direction.
#[derive(Debug)]
pub(super) struct Framer {
    state: State,
    /// How far the current head was searched for its end.
    scanned: usize,
    body: u64,
}

impl Framer {
    pub(super) fn new() -> Self {
        Self { state: State::Start, scanned: 0, body: 0 }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether a message is under way (its head was emitted, its end not).
    pub(super) fn is_inside(&self) -> bool {
        self.state != State::Start
    }

    /// Takes the next step in the stream that `side` writes.
    pub(super) fn step(
        &mut self,
        side: Side,
        asked: Asked,
        user_agents: bool,
        view: &View<'_>,
    ) -> Step<Part> {
        match self.state {
            State::Start => match side {
                Side::Client => self.request(user_agents, view),
                Side::Server => self.response(asked, view),
            },
            State::BeforeBody => {
                self.state = State::Body;
                Step::Skip(self.body)
            }
            State::BeforeClose => {
                self.state = State::UntilClose { from: view.position };
                Step::Skip(u64::MAX)
            }
            State::Body => self.finish(self.body - view.unskipped.min(self.body), view),
            State::UntilClose { from } => {
                self.body = view.position - from;
                self.emit_end(self.body, view.last, true)
            }
            State::MaybeBody(length) => self.maybe_body(length, view),
            State::ChunkSize => self.chunk_size(view),
            State::ChunkData => self.chunk_data(view),
            State::ChunkEnd => self.chunk_end(view),
            State::Trailers => self.trailers(view),
            State::Cut => Step::Need,
            State::Ending => self.emit_end(self.body, view.last, true),
        }
    }

    fn request(&mut self, user_agents: bool, view: &View<'_>) -> Step<Part> {
        let (end, complete) = match self.head_end(Side::Client, view) {
            Ok(found) => found,
            Err(stop) => return stop.into(),
        };
        let Some(head) = head::request(&view.bytes[..end], complete, user_agents) else {
            return if complete { Step::Lost } else { Step::Need };
        };
        self.begin(&request_body(&head), complete);
        Step::Emit { message: Part::Request { head, start: view.time }, used: end }
    }

    fn response(&mut self, asked: Asked, view: &View<'_>) -> Step<Part> {
        let (end, complete) = match self.head_end(Side::Server, view) {
            Ok(found) => found,
            Err(stop) => return stop.into(),
        };
        let Some(head) = head::response(&view.bytes[..end], complete) else {
            return if complete { Step::Lost } else { Step::Need };
        };
        self.begin(&response_body(&head, asked), complete);
        Step::Emit { message: Part::Response { head, start: view.time }, used: end }
    }

    /// The end of the head and whether it is whole, or the step to take instead.
    fn head_end(&mut self, side: Side, view: &View<'_>) -> Result<(usize, bool), Stop> {
        let bytes = view.bytes;
        // Blank lines between messages are tolerated (RFC 9112, section 2.2).
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            return Err(Stop::Skip(blank as u64));
        }
        if !head::could_begin(side, bytes) {
            return Err(Stop::Lost);
        }
        // Three bytes back: the blank line may have been cut by the last piece.
        match head::end(bytes, self.scanned.saturating_sub(3)) {
            Some(end) if end <= LONGEST_HEAD => Ok((end, true)),
            Some(_) => Err(Stop::Lost),
            None if bytes.len() > LONGEST_HEAD => Err(Stop::Lost),
            None if view.then == Then::More || bytes.is_empty() => {
                self.scanned = bytes.len();
                Err(Stop::Need)
            }
            // A start line cut by the close was never sent; cut by a hole, it was.
            None if view.then == Then::End && head::line(bytes).is_none() => Err(Stop::Need),
            None => Ok((bytes.len(), false)),
        }
    }

    fn begin(&mut self, body: &Body, complete: bool) {
        self.scanned = 0;
        self.body = 0;
        self.state = match *body {
            _ if !complete => State::Cut,
            Body::None => State::Ending,
            Body::Length(length) => {
                self.body = length;
                State::BeforeBody
            }
            Body::Maybe(length) => State::MaybeBody(length),
            Body::Chunked => State::ChunkSize,
            Body::UntilClose => State::BeforeClose,
        };
    }

    fn maybe_body(&mut self, length: u64, view: &View<'_>) -> Step<Part> {
        const NEXT: &[u8] = b"HTTP/1.";
        let bytes = view.bytes;
        if bytes.is_empty() && view.then == Then::More {
            // Nothing yet: the end is told late rather than wrongly.
            return Step::Need;
        }
        if bytes.is_empty() && view.then == Then::End {
            return self.emit_end(0, view.last, true);
        }
        if bytes.len() < NEXT.len() && NEXT.starts_with(bytes) && view.then == Then::More {
            return Step::Need;
        }
        if bytes.starts_with(NEXT) {
            return self.emit_end(0, view.last, true);
        }
        self.body = length;
        self.state = State::Body;
        Step::Skip(length)
    }

    fn chunk_size(&mut self, view: &View<'_>) -> Step<Part> {
        let Some((line, rest)) = head::line(view.bytes) else {
            return self.need_line(view);
        };
        let used = view.bytes.len() - rest.len();
        let Some(size) = chunk_size(line) else { return Step::Lost };
        self.scanned = 0;
        if size == 0 {
            self.state = State::Trailers;
            return Step::Skip(used as u64);
        }
        self.body = self.body.saturating_add(size);
        self.state = State::ChunkData;
        Step::Skip((used as u64).saturating_add(size))
    }

    fn chunk_data(&mut self, view: &View<'_>) -> Step<Part> {
        if view.unskipped > 0 {
            let body = self.body.saturating_sub(view.unskipped);
            return self.emit_end(body, view.last, false);
        }
        self.state = State::ChunkEnd;
        self.chunk_end(view)
    }

    fn chunk_end(&mut self, view: &View<'_>) -> Step<Part> {
        let used = match view.bytes {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [] | [b'\r'] => return self.need_line(view),
            _ => return Step::Lost,
        };
        self.state = State::ChunkSize;
        Step::Skip(used)
    }

    fn trailers(&mut self, view: &View<'_>) -> Step<Part> {
        let Some((line, rest)) = head::line(view.bytes) else {
            return self.need_line(view);
        };
        let used = (view.bytes.len() - rest.len()) as u64;
        if line.is_empty() {
            self.state = State::Ending;
        }
        Step::Skip(used)
    }

    /// Waits for the end of a line, within bounds.
    fn need_line(&mut self, view: &View<'_>) -> Step<Part> {
        if view.bytes.len() > LONGEST_LINE {
            return Step::Lost;
        }
        if view.then == Then::End {
            return self.emit_end(self.body, view.last, false);
        }
        Step::Need
    }

    fn finish(&mut self, seen: u64, view: &View<'_>) -> Step<Part> {
        self.emit_end(seen, view.last, view.unskipped == 0)
    }

    fn emit_end(&mut self, body: u64, time: u64, complete: bool) -> Step<Part> {
        self.reset();
        Step::Emit { message: Part::End { body, time, complete }, used: 0 }
    }
}

/// Why there is no head to read yet.
enum Stop {
    Skip(u64),
    Need,
    Lost,
}

impl From<Stop> for Step<Part> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Skip(length) => Self::Skip(length),
            Stop::Need => Self::Need,
            Stop::Lost => Self::Lost,
        }
    }
}

enum Body {
    None,
    Length(u64),
    Maybe(u64),
    Chunked,
    UntilClose,
}

fn request_body(head: &Request) -> Body {
    match head.framing {
        Framing::Chunked => Body::Chunked,
        Framing::Length(0) | Framing::None => Body::None,
        Framing::Length(length) => Body::Length(length),
        // A server must refuse it and close (RFC 9112, 6.3), so all that follows
        // belongs to this request.
        Framing::OtherCoding => Body::UntilClose,
    }
}

/// RFC 9112, section 6.3, in its order.
fn response_body(head: &Response, asked: Asked) -> Body {
    let success = (200..300).contains(&head.status);
    match (head.status, asked) {
        (100..200 | 204 | 304, _) | (_, Asked::Head) => return Body::None,
        (_, Asked::Connect) if success => return Body::None,
        _ => {}
    }
    match head.framing {
        Framing::Chunked => Body::Chunked,
        Framing::Length(0) => Body::None,
        Framing::Length(length) if asked == Asked::Unknown => Body::Maybe(length),
        Framing::Length(length) => Body::Length(length),
        Framing::None | Framing::OtherCoding => Body::UntilClose,
    }
}

/// The size on a chunk-size line; extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes() {
        assert_eq!(chunk_size(b"1a"), Some(26));
        assert_eq!(chunk_size(b"5 ; name=\"v\""), Some(5));
        assert_eq!(chunk_size(b"FFFFFFFFFFFFFFFF"), Some(u64::MAX));
        for bad in [&b""[..], b"+5", b"0x5", b"5 5", b"11111111111111111"] {
            assert_eq!(chunk_size(bad), None, "{}", bad.escape_ascii());
        }
    }
}
