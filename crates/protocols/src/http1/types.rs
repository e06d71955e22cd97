//! The words of HTTP/1: what is kept of requests, responses and their pairs.

/// A request method; anything outside the registered ones is kept as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// Any other token.
    Other(Box<str>),
}

impl Method {
    /// From the token on the request line.
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            other => Self::Other(String::from_utf8_lossy(other).into()),
        }
    }

    /// As written on the request line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(token) => token,
            known => known.otel(),
        }
    }

    /// The value of `http.request.method`: `_OTHER` for unregistered methods.
    pub fn otel(&self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(_) => "_OTHER",
        }
    }
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body, or none announced.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding` that ends in chunked.
    Chunked,
    /// Another `Transfer-Encoding`: only the close of the connection ends it.
    OtherCoding,
}

/// What an answer turns the connection to (`Upgrade`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket` (RFC 6455).
    WebSocket,
    /// `h2c` (RFC 7540, section 3.2).
    Http2,
    /// Anything else.
    Other,
}

impl Upgrade {
    /// From the value of the header. A response names the one it chose.
    pub(super) fn from_value(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"websocket") {
            Self::WebSocket
        } else if value.eq_ignore_ascii_case(b"h2c") {
            Self::Http2
        } else {
            Self::Other
        }
    }
}

/// What is kept of a request's head. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The target without query, fragment and user information.
    pub path: Box<str>,
    /// Minor version: 0 or 1 (other digits are kept as seen).
    pub minor: u8,
    /// `Host`.
    pub host: Option<Box<str>>,
    /// `Content-Type`.
    pub content_type: Option<Box<str>>,
    /// `User-Agent`, only when asked for.
    pub user_agent: Option<Box<str>>,
    /// W3C `traceparent`.
    pub traceparent: Option<Box<str>>,
    /// How its body ends.
    pub framing: Framing,
    /// Whether it asks to change the protocol (`Upgrade`).
    pub upgrade: bool,
    /// Size of the head as far as it was seen.
    pub head_size: u64,
    /// False when the head was cut short: headers may be missing.
    pub complete: bool,
}

/// What is kept of a response's head. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code as written, 100 to 999.
    pub status: u16,
    /// Minor version: 0 or 1 (other digits are kept as seen).
    pub minor: u8,
    /// `Content-Type`.
    pub content_type: Option<Box<str>>,
    /// How its body ends, before the rules for HEAD, 204 and so on.
    pub framing: Framing,
    /// What it turns to, where it does.
    pub upgrade: Option<Upgrade>,
    /// Size of the head as far as it was seen.
    pub head_size: u64,
    /// False when the head was cut short: headers may be missing.
    pub complete: bool,
}

impl Response {
    /// Whether this is an interim response. 101 is not: it ends HTTP.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server answered.
    Response(Response),
    /// The connection ended before an answer.
    Unanswered,
    /// Bytes were lost, and the answer may have been among them. Nothing is known.
    Unseen,
}

/// When the parts of an exchange were seen, in nanoseconds of the pieces' clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// First byte of the request.
    pub request_start: u64,
    /// Last byte of the request.
    pub request_end: Option<u64>,
    /// First byte of the (final) response.
    pub response_start: Option<u64>,
    /// Last byte of the response.
    pub response_end: Option<u64>,
}

/// One request with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// What became of it.
    pub answer: Answer,
    /// Interim responses (1xx) before the answer.
    pub interim: u32,
    /// When.
    pub times: Times,
    /// Body bytes of the request (decoded from chunks).
    pub request_body: u64,
    /// Body bytes of the response (decoded from chunks).
    pub response_body: u64,
    /// Whether both bodies were seen to their ends.
    pub complete: bool,
}

/// What pairing yields.
// Records are moved once into the caller's buffer; a box for the common variant
// would cost an allocation a request.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A request with what became of it.
    Exchange(Exchange),
    /// A response whose request was not seen, or cannot be told from others
    /// after a loss.
    Orphan(Response),
}

/// What framing emits.
#[derive(Debug)]
pub enum Part {
    /// The head of a request.
    Request {
        /// What is kept of it.
        head: Request,
        /// When its first byte was seen.
        start: u64,
    },
    /// The head of a response, interim ones included.
    Response {
        /// What is kept of it.
        head: Response,
        /// When its first byte was seen.
        start: u64,
    },
    /// The end of the message whose head came last on this side.
    End {
        /// Body bytes (decoded from chunks).
        body: u64,
        /// When its last byte was seen.
        time: u64,
        /// Whether the body was seen to its end.
        complete: bool,
    },
}
