//! One operation of one connection, with what became of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::protocol::Side;

/// A short text that is mostly one of a known few.
pub type Text = Cow<'static, str>;

/// The protocol a [`Call`] was spoken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// DNS over UDP or TCP.
    Dns,
    /// Redis, RESP2 and RESP3.
    Redis,
    /// `PostgreSQL`, frontend/backend protocol 3.
    Postgres,
    /// `MySQL` and `MariaDB`.
    Mysql,
    /// HTTP/1, where it is counted with the others: inside of TLS.
    Http1,
    /// HTTP/2 that is not gRPC.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// Memcached, text and binary.
    Memcached,
    /// Kafka.
    Kafka,
    /// `MongoDB`.
    Mongo,
    /// AMQP 0-9-1.
    Amqp,
    /// MQTT 3.1, 3.1.1 and 5.
    Mqtt,
    /// NATS.
    Nats,
    /// Cassandra's CQL.
    Cql,
    /// Dubbo 2.
    Dubbo,
    /// WebSocket messages.
    WebSocket,
    /// TLS handshakes.
    Tls,
    /// None that is known. What a tap tells of such a connection is a call too: who spoke
    /// first, and how long the other side took to.
    Unknown,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The other side answered.
    Answered {
        /// Whether the answer says that the operation failed.
        error: bool,
        /// The code the protocol gives; `None` where success has none.
        status: Option<Text>,
    },
    /// The protocol wants no answer.
    OneWay,
    /// The connection ended before an answer.
    Unanswered,
    /// Bytes were lost, and the answer may have been among them. Nothing is known.
    Unseen,
}

impl Outcome {
    /// An answer that says yes and nothing else.
    pub(crate) const OK: Self = Self::Answered { error: false, status: None };

    /// An answer that says the operation failed.
    pub(crate) fn failed(status: impl Into<Text>) -> Self {
        Self::Answered { error: true, status: Some(status.into()) }
    }

    /// Whether the other side answered with a failure.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Answered { error: true, .. })
    }

    /// The code the protocol gives, where it was answered with one.
    pub fn status(&self) -> Option<&str> {
        match self {
            Self::Answered { status, .. } => status.as_deref(),
            _ => None,
        }
    }
}

/// When the parts of a call were seen, in nanoseconds of the pieces' clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// First byte of the request.
    pub start: u64,
    /// First byte of the answer.
    pub answer: Option<u64>,
    /// Last byte of the answer, as far as it was seen.
    pub end: Option<u64>,
}

/// One operation with what became of it. Nothing in it carries a literal, a key
/// or a value that the application sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The protocol.
    pub wire: Wire,
    /// Who asked. The server does where it pushes.
    pub from: Side,
    /// What was asked for: a command, a method, a statement's verb.
    pub operation: Text,
    /// On what: table, key space, topic, question, path.
    pub target: Option<Arc<str>>,
    /// The normalised statement.
    pub statement: Option<Arc<str>>,
    /// The database, virtual host or authority that the target is in.
    pub namespace: Option<Arc<str>>,
    /// W3C `traceparent`, as it was sent.
    pub traceparent: Option<Arc<str>>,
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    pub times: Times,
    /// Size of the request in bytes.
    pub request_size: u64,
    /// Size of the answer in bytes.
    pub answer_size: u64,
}

impl Call {
    /// A request that awaits its answer.
    pub(crate) fn new(wire: Wire, operation: impl Into<Text>, start: u64, size: u64) -> Self {
        Self {
            wire,
            from: Side::Client,
            operation: operation.into(),
            target: None,
            statement: None,
            namespace: None,
            traceparent: None,
            outcome: Outcome::Unanswered,
            times: Times { start, ..Times::default() },
            request_size: size,
            answer_size: 0,
        }
    }

    /// The same, on a target.
    pub(crate) fn on(mut self, target: Option<Arc<str>>) -> Self {
        self.target = target;
        self
    }

    /// The same as a message that wants no answer.
    pub(crate) fn one_way(mut self, from: Side) -> Self {
        self.from = from;
        self.outcome = Outcome::OneWay;
        self
    }

    /// Adds a part of the answer.
    pub(crate) fn add_answer(&mut self, start: u64, end: u64, size: u64) {
        self.times.answer.get_or_insert(start);
        self.times.end = Some(end);
        self.answer_size = self.answer_size.saturating_add(size);
    }
}

/// `GET user:* ok`: operation, target, then the code, `ok`, `error`, `>` for one
/// way, `-` for unanswered or `?` for unseen.
impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.operation)?;
        if let Some(target) = &self.target {
            write!(out, " {target}")?;
        }
        let outcome = match &self.outcome {
            Outcome::Answered { status: Some(status), .. } => status,
            Outcome::Answered { error: true, .. } => "error",
            Outcome::Answered { error: false, .. } => "ok",
            Outcome::OneWay => ">",
            Outcome::Unanswered => "-",
            Outcome::Unseen => "?",
        };
        write!(out, " {outcome}")
    }
}
