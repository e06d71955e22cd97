//! Whatever a connection speaks, told by its content.
//!
//! [`Any`] is a [`Protocol`] that holds the parser of another. Until one is found
//! every piece is judged, from either side, so a server that speaks first is
//! recognised by its greeting. A port is never asked.
//!
//! A connection may change: HTTP/1 to WebSocket or HTTP/2 (101), to anything
//! (CONNECT), `PostgreSQL` and `MySQL` to TLS. Then the parser tells what still
//! waits and detection begins again at that very byte. A protocol that is not
//! parsed (SMTP, say) may turn to one that is: it is found at the next piece.
//!
//! ```
//! use taproot_protocols::any::{Any, Kind, Record};
//! use taproot_protocols::stream::Limits;
//! use taproot_protocols::{Connection, Piece, Side};
//!
//! let mut connection = Connection::from_start(Any::default(), Limits::default());
//! let mut records = Vec::new();
//! let mut write = |side, bytes: &[u8]| {
//!     let piece = Piece { position: 0, length: bytes.len() as u64, bytes, time: 1 };
//!     connection.push(side, piece, &mut records);
//! };
//! write(Side::Client, b"*2\r\n$3\r\nGET\r\n$6\r\nuser:7\r\n");
//! write(Side::Server, b"$-1\r\n");
//! assert_eq!(connection.protocol().kind(), Some(Kind::Redis));
//! let [Record::Call(call)] = &records[..] else { panic!("one call") };
//! assert_eq!(call.to_string(), "GET user:* ok");
//! ```

mod parsers;

pub use parsers::Kind;

use crate::exchange::{Call, Wire};
use crate::http1::{self, Answer, Exchange, Method, Upgrade};
use crate::http2::Http2;
use crate::protocol::{Event, Loss, Protocol, Recognition, Side, Step};
use crate::redis;
use crate::stream::{HoleKind, View};
use parsers::{Found, Parser, Part, recognise};

/// Times that bytes may make no sense to a parser, without a record in between,
/// before it is given up.
const MOST_MISTAKES: u32 = 3;

/// What a connection yields.
// Records are moved once into the caller's buffer; a box would cost an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Of HTTP/1, which keeps more of a request.
    Http1(http1::Record),
    /// Of any other protocol.
    Call(Call),
}

impl From<http1::Record> for Record {
    fn from(record: http1::Record) -> Self {
        Self::Http1(record)
    }
}

impl From<Call> for Record {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}

/// What framing emits.
pub struct Message(Inside);

#[allow(clippy::large_enum_variant)]
enum Inside {
    Part(Part),
    /// What is spoken ends here; another protocol begins.
    Left,
}

/// The state of one connection whose protocol nobody told.
pub struct Any {
    parser: Option<Parser>,
    /// Nothing was passed over since the protocol to be found began.
    fresh: bool,
    /// Times since the last record that bytes made no sense.
    mistakes: u32,
    /// Sides whose bytes were too few to tell.
    waiting: [bool; 2],
    /// The side that must go first, because its bytes are older.
    turn: Option<Side>,
}

impl Default for Any {
    fn default() -> Self {
        Self { parser: None, fresh: true, mistakes: 0, waiting: [false; 2], turn: None }
    }
}

impl Any {
    /// What is spoken, as far as it is known.
    pub fn kind(&self) -> Option<Kind> {
        self.parser.as_ref().map(Parser::kind)
    }

    /// Whether nothing more can be understood: TLS, after its handshake.
    pub fn is_opaque(&self) -> bool {
        matches!(&self.parser, Some(Parser::Tls(tls)) if tls.is_done())
    }

    /// What bytes of `side` begin.
    fn detect(&self, side: Side, bytes: &[u8]) -> Found {
        match recognise(bytes) {
            Found::Kind(_, writer) if writer != side => Found::Nothing,
            // Both Redis and NATS know a PING, but NATS' server speaks first.
            Found::Nothing if self.fresh && side == Side::Client => match redis::ping(bytes) {
                Recognition::Yes(_) => Found::Kind(Kind::Redis, side),
                Recognition::Short => Found::Short,
                Recognition::No => Found::Nothing,
            },
            found => found,
        }
    }

    fn search(&mut self, side: Side, view: &View<'_>) -> Step<Message> {
        if view.bytes.is_empty() {
            return Step::Need;
        }
        let found = self.detect(side, view.bytes);
        self.waiting[side as usize] = found == Found::Short;
        match found {
            Found::Short => Step::Need,
            Found::Nothing => {
                self.fresh = false;
                Step::Search
            }
            Found::Kind(kind, _) => {
                self.begin(Parser::new(kind));
                let peer = side.peer();
                self.turn = std::mem::take(&mut self.waiting[peer as usize]).then_some(peer);
                Step::Skip(0)
            }
        }
    }

    fn begin(&mut self, mut parser: Parser) {
        if !self.fresh {
            parser.pair(Side::Client, UNSEEN, &mut Vec::new());
        }
        self.parser = Some(parser);
    }

    /// Whether the bytes begin another protocol than the one that is spoken.
    fn is_another(&self, side: Side, view: &View<'_>) -> bool {
        let found = recognise(view.bytes);
        view.boundary
            && matches!(found, Found::Kind(kind, writer)
                if writer == side && Some(kind) != self.kind())
    }

    /// Gives the parser up; what waits in it will not be seen to end.
    fn leave(&mut self, fresh: bool, records: &mut Vec<Record>) {
        if let Some(mut parser) = self.parser.take() {
            for side in [Side::Client, Side::Server] {
                parser.pair(side, UNSEEN, records);
            }
        }
        self.fresh = fresh;
    }

    /// Looks at what HTTP/1 yielded last: an answer may end it.
    fn turn(&mut self, records: &mut Vec<Record>) {
        let Some(Record::Http1(last)) = records.last() else { return };
        let exchange = match last {
            http1::Record::Exchange(exchange) => exchange,
            http1::Record::Orphan(response) => {
                let response = (response.status, response.upgrade);
                return self.turn_unasked(response, records);
            }
        };
        let Answer::Response(response) = &exchange.answer else { return };
        match (response.status, response.upgrade) {
            (101, Some(Upgrade::WebSocket)) => {
                self.leave(true, records);
                self.begin(Parser::new(Kind::WebSocket));
            }
            (101, Some(Upgrade::Http2)) => {
                // It is answered over there, so it is counted there.
                let request = asked_again(exchange);
                records.pop();
                self.leave(true, records);
                self.begin(Parser::Http2(Box::new(Http2::upgraded(request))));
            }
            (101, _) => self.leave(true, records),
            (200..300, _) if exchange.request.method == Method::Connect => {
                self.leave(true, records);
            }
            _ => {}
        }
    }

    /// An answer whose request was not seen: it still says what comes next.
    fn turn_unasked(&mut self, response: (u16, Option<Upgrade>), records: &mut Vec<Record>) {
        let next = match response {
            (101, Some(Upgrade::WebSocket)) => Some(Kind::WebSocket),
            (101, Some(Upgrade::Http2)) => Some(Kind::Http2),
            (101, _) => None,
            _ => return,
        };
        self.leave(true, records);
        if let Some(kind) = next {
            self.begin(Parser::new(kind));
        }
    }
}

/// Something was not seen.
const UNSEEN: Event<Part> = Event::Lost { loss: Loss::Hole(HoleKind::Missing), time: 0 };

/// A request that HTTP/2 answers on its first stream (RFC 7540, section 3.2).
fn asked_again(exchange: &Exchange) -> Call {
    let request = &exchange.request;
    let size = request.head_size.saturating_add(exchange.request_body);
    let method = request.method.otel();
    let call = Call::new(Wire::Http2, method, exchange.times.request_start, size);
    let namespace = request.host.as_deref().map(Into::into);
    Call { namespace, ..call.on(Some((*request.path).into())) }
}

impl Protocol for Any {
    type Message = Message;
    type Record = Record;

    fn recognise(bytes: &[u8]) -> Recognition {
        match recognise(bytes) {
            Found::Kind(_, side) => Recognition::Yes(side),
            Found::Short => Recognition::Short,
            Found::Nothing => Recognition::No,
        }
    }

    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        match (&self.parser, self.detect(side, bytes)) {
            (Some(parser), _) => parser.resumes(side, bytes),
            (None, Found::Kind(..)) => Recognition::Yes(side),
            (None, Found::Short) => Recognition::Short,
            (None, Found::Nothing) => Recognition::No,
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Message> {
        let left = || Step::Emit { message: Message(Inside::Left), used: 0 };
        match self.turn {
            Some(turn) if turn == side => {
                self.turn = None;
                return Step::Skip(0);
            }
            Some(_) => return Step::Wait,
            None => {}
        }
        let Some(parser) = &mut self.parser else { return self.search(side, view) };
        match parser.frame(side, view) {
            Step::Leave => left(),
            Step::Lost if self.mistakes < MOST_MISTAKES && self.is_another(side, view) => {
                // The two sides could disagree for ever.
                self.mistakes += 1;
                left()
            }
            Step::Emit { message, used } => {
                Step::Emit { message: Message(Inside::Part(message)), used }
            }
            Step::Need => Step::Need,
            Step::Skip(length) => Step::Skip(length),
            Step::Wait => Step::Wait,
            Step::Search => Step::Search,
            Step::Lost => Step::Lost,
        }
    }

    fn pair(&mut self, side: Side, event: Event<Message>, records: &mut Vec<Record>) {
        let before = records.len();
        if !matches!(event, Event::Message(_)) {
            self.waiting[side as usize] = false;
            self.turn = None;
        }
        let malformed = matches!(event, Event::Lost { loss: Loss::Malformed, .. });
        let event = match event {
            Event::Message(Message(Inside::Left)) => return self.leave(true, records),
            Event::Message(Message(Inside::Part(part))) => Event::Message(part),
            Event::Lost { loss, time } => {
                self.fresh = false;
                Event::Lost { loss, time }
            }
            Event::Closed { time } => Event::Closed { time },
        };
        let Some(parser) = &mut self.parser else { return };
        parser.pair(side, event, records);
        if malformed {
            self.mistakes += 1;
            if self.mistakes >= MOST_MISTAKES {
                self.mistakes = 0;
                self.leave(false, records);
            }
        } else if records.len() > before {
            self.mistakes = 0;
            self.turn(records);
        }
    }
}
