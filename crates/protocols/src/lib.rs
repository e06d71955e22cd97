//! Bytes to messages to request/response pairs.
//!
//! This crate is pure: it sees positions and bytes, never sockets, and holds no
//! clock. A collector hands over [`stream::Piece`]s; [`connection::Connection`]
//! puts them in order, lets one [`protocol::Protocol`] cut them into messages and
//! pair the messages, and counts every byte it could not use.
//!
//! ```
//! use taproot_protocols::http1::{Answer, Http1, Record};
//! use taproot_protocols::stream::Limits;
//! use taproot_protocols::{Connection, Piece, Side};
//!
//! let mut connection = Connection::from_start(Http1::default(), Limits::default());
//! let mut records = Vec::new();
//! let request = b"GET /product/7?x=1 HTTP/1.1\r\nHost: shop\r\n\r\n";
//! let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
//! let sent = |bytes, length, time| Piece { position: 0, length, bytes, time };
//! connection.push(Side::Client, sent(&request[..], request.len() as u64, 1), &mut records);
//! // Of the body only the length is known.
//! let length = response.len() as u64 + 5000;
//! connection.push(Side::Server, sent(&response[..], length, 2), &mut records);
//!
//! let Some(Record::Exchange(exchange)) = records.first() else { panic!("one exchange") };
//! assert_eq!(&*exchange.request.path, "/product/7");
//! assert!(matches!(&exchange.answer, Answer::Response(response) if response.status == 200));
//! ```
//!
//! HTTP/1 keeps more of a request than the others; these yield [`Call`]s. Where nobody
//! says what a connection speaks, [`any::Any`] finds out.
//!
//! | module | what it does |
//! |---|---|
//! | [`stream`] | one direction of a connection: order, gaps, truncation |
//! | [`protocol`] | the trait each protocol implements: recognise, frame, pair |
//! | [`connection`] | drives a protocol over the two streams of a connection |
//! | [`any`] | finds out what a connection speaks, and when it changes |
//! | [`exchange`] | a call, and the ways to cut and pair that protocols share |
//! | [`route`] | raw paths to low-cardinality route templates |
//! | [`redact`], [`keys`], [`sql`] | what of a message, a key, a statement may be kept |
//!
//! | protocol | operation | target | status | paired by |
//! |---|---|---|---|---|
//! | [`http1`] HTTP/1.0, 1.1 | method | path | status code | order |
//! | [`http2`] HTTP/2 | method | path | status code, or the reset's name | stream |
//! | [`http2`] gRPC | service and method | - | gRPC code | stream |
//! | [`dns`] UDP, TCP | question's type | question's name | response code | identifier, question |
//! | [`redis`] RESP2, RESP3 | command | key space, channel | first word of an error | order |
//! | [`postgres`] protocol 3 | verb | table | SQLSTATE | order, rounds |
//! | [`mysql`] `MySQL`, `MariaDB` | verb or command | table | error number | order |
//! | [`memcached`] text, meta, binary | command | key space | miss, not stored, error | order |
//! | [`kafka`] | API | first topic | error code | correlation number |
//! | [`mongo`] `OP_MSG`, `OP_QUERY` | command | collection | code | request number |
//! | [`amqp`] 0-9-1 | method | exchange or queue | reply code | channel, method |
//! | [`mqtt`] 3.1 to 5 | connect, publish, ... | topic | reason code | packet number |
//! | [`cql`] Cassandra 3 to 5 | verb or opcode | table | error code | stream |
//! | [`dubbo`] 2 | service and method | - | status | number |
//! | [`nats`] | request, publish, ... | subject | complaint | reply subject |
//! | [`websocket`] | kind of message | - | code of a close | - |
//! | [`tls`] its handshake | handshake, certificate | server name | version, alert, end of validity | - |
//!
//! What is not parsed: what TLS carries, and compressed streams (`MySQL` and `PostgreSQL` leave
//! their protocol where they turn to one, Redis where it replicates), Kafka's
//! bodies but for the APIs in its table, the content of compressed `MongoDB` and
//! Cassandra messages, and arguments of Dubbo. A connection that leaves its
//! protocol counts the rest as unframed, but under [`any`], which looks for the
//! next.
#![forbid(unsafe_code)]

pub mod amqp;
pub mod any;
pub mod connection;
pub mod cql;
pub mod dns;
pub mod dubbo;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod keys;
pub mod memcached;
pub mod mongo;
pub mod mqtt;
pub mod mysql;
pub mod nats;
pub mod postgres;
pub mod protocol;
pub mod redact;
pub mod redis;
pub mod route;
pub mod sql;
pub mod stream;
pub mod tls;
pub mod websocket;

pub use connection::{Connection, Coverage};
pub use exchange::{Call, Outcome, Wire};
pub use protocol::{Protocol, Recognition, Side};
pub use stream::Piece;
