//! The parsers behind one value.

use super::Record;
use crate::amqp::Amqp;
use crate::cql::Cql;
use crate::dns::Dns;
use crate::dubbo::Dubbo;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::kafka::Kafka;
use crate::memcached::Memcached;
use crate::mongo::Mongo;
use crate::mqtt::Mqtt;
use crate::mysql::Mysql;
use crate::nats::Nats;
use crate::postgres::Postgres;
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::redis::Redis;
use crate::stream::View;
use crate::tls::Tls;
use crate::websocket::WebSocket;

/// Makes the enumerations over all parsers, and hands calls on to the right one.
/// Recognition asks in the order given here.
macro_rules! parsers {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A protocol that has a parser.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name),+
        }

        /// A message of one of the protocols.
        // It is moved once, from framing to pairing; a box would be an allocation.
        #[allow(clippy::large_enum_variant)]
        pub(super) enum Part {
            $($name(<$name as Protocol>::Message)),+
        }

        /// The parser of what is spoken; boxed, because most connections of a host
        /// are idle and few of the parsers are small.
        pub(super) enum Parser {
            $($name(Box<$name>)),+
        }

        impl Parser {
            pub(super) fn new(kind: Kind) -> Self {
                match kind {
                    $(Kind::$name => Self::$name(Box::default())),+
                }
            }

            pub(super) fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind::$name),+
                }
            }

            pub(super) fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
                match self {
                    $(Self::$name(parser) => parser.resumes(side, bytes)),+
                }
            }

            pub(super) fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Part> {
                match self {
                    $(Self::$name(parser) => map(parser.frame(side, view), Part::$name)),+
                }
            }

            pub(super) fn pair(
                &mut self,
                side: Side,
                event: Event<Part>,
                records: &mut Vec<Record>,
            ) {
                match self {
                    $(Self::$name(parser) => {
                        let event = match event {
                            Event::Message(Part::$name(message)) => Event::Message(message),
                            // A message is paired by the parser that framed it.
                            Event::Message(_) => return,
                            Event::Lost { loss, time } => Event::Lost { loss, time },
                            Event::Closed { time } => Event::Closed { time },
                        };
                        let mut found = Vec::new();
                        parser.pair(side, event, &mut found);
                        records.extend(found.into_iter().map(Record::from));
                    }),+
                }
            }
        }

        /// The protocol that begins with the bytes, and who wrote them.
        pub(super) fn recognise(bytes: &[u8]) -> Found {
            $(
                match $name::recognise(bytes) {
                    Recognition::Yes(side) => return Found::Kind(Kind::$name, side),
                    Recognition::Short => return Found::Short,
                    Recognition::No => {}
                }
            )+
            Found::Nothing
        }
    };
}

// First those that begin with words or long fixed bytes, so that one that knows
// little of its beginning is asked only when all others have said no.
parsers! {
    /// TLS, its handshake.
    Tls,
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2, gRPC among it.
    Http2,
    /// AMQP 0-9-1.
    Amqp,
    /// MQTT.
    Mqtt,
    /// NATS.
    Nats,
    /// Redis.
    Redis,
    /// Memcached.
    Memcached,
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL` and `MariaDB`.
    Mysql,
    /// Cassandra's CQL.
    Cql,
    /// Dubbo 2.
    Dubbo,
    /// `MongoDB`.
    Mongo,
    /// DNS over TCP.
    Dns,
    /// Kafka.
    Kafka,
    /// WebSocket; only an upgrade tells.
    WebSocket,
}

/// What detection comes to. The first parser that does not say no decides, so the
/// result is the same however the bytes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Kind(Kind, Side),
    Short,
    Nothing,
}

fn map<M>(step: Step<M>, wrap: impl FnOnce(M) -> Part) -> Step<Part> {
    match step {
        Step::Emit { message, used } => Step::Emit { message: wrap(message), used },
        Step::Need => Step::Need,
        Step::Skip(length) => Step::Skip(length),
        Step::Wait => Step::Wait,
        Step::Search => Step::Search,
        Step::Lost => Step::Lost,
        Step::Leave => Step::Leave,
    }
}
