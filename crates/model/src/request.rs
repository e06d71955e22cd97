use crate::trace::Origin;
use crate::{Edge, Histogram, Name, Timestamp};
use serde::{Deserialize, Serialize};

/// `network.protocol.name` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http,
    /// DNS.
    Dns,
    /// Redis RESP.
    Redis,
    /// HTTP/2 that is not gRPC.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL` and `MariaDB`.
    Mysql,
    /// Memcached, text and binary.
    Memcached,
    /// Kafka.
    Kafka,
    /// `MongoDB`.
    Mongo,
    /// AMQP 0-9-1.
    Amqp,
    /// MQTT.
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
    /// None that is known: a connection is told as one request, by its first bytes.
    Unknown,
}

impl Protocol {
    /// As people write it, in small letters; in JSON the same.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dns => "dns",
            Self::Redis => "redis",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Memcached => "memcached",
            Self::Kafka => "kafka",
            Self::Mongo => "mongo",
            Self::Amqp => "amqp",
            Self::Mqtt => "mqtt",
            Self::Nats => "nats",
            Self::Cql => "cql",
            Self::Dubbo => "dubbo",
            Self::WebSocket => "web_socket",
            Self::Tls => "tls",
            Self::Unknown => "unknown",
        }
    }

    /// Whether its status is HTTP's: a 4xx blames the client.
    pub fn has_http_status(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }
}

/// Request totals of one edge, method, route and status over one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, nanoseconds.
    pub interval: u64,
    /// The edge.
    pub edge: Edge,
    /// Protocol.
    pub protocol: Protocol,
    /// `http.request.method`, or the operation of another protocol.
    pub method: Name,
    /// `http.route`, or the target of another protocol (table, key space, topic,
    /// question): low cardinality, never a raw path.
    pub route: Name,
    /// `http.response.status_code`, or another protocol's where it is a number. 0 with
    /// `error` and without `code` means unanswered: the connection ended or went
    /// silent before a response came.
    pub status: u16,
    /// The status where it is a word (`42P01`, `WRONGTYPE`, `NXDOMAIN`); else empty.
    /// `unseen`: bytes were lost, and the answer may have been among them.
    #[serde(default)]
    pub code: Name,
    /// Whether it counts as an error (5xx at a server, 4xx too at a client; unanswered).
    pub error: bool,
    /// How many (exact).
    pub count: u64,
    /// Request bytes, heads included.
    pub request_bytes: u64,
    /// Response bytes, heads included.
    pub response_bytes: u64,
    /// First byte of the request to last byte of the response, nanoseconds.
    pub latency: Histogram,
}

/// A part of a request's time at its server, nanoseconds, and what of it the thread that
/// read the request was kept from running. The rest is work and waiting for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// All of it.
    pub total: u64,
    /// It waited for a CPU.
    pub queued: u64,
    /// It was stopped by its CPU quota.
    pub throttled: u64,
    /// It is not known whether it waited.
    pub unknown: u64,
}

/// Why the bytes of an answer did not leave the server's socket, nanoseconds. The rest of
/// the time from its first to its last is the program that was still writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendBuffer {
    /// They were written, but the socket could not send yet.
    pub buffered: u64,
    /// It is not known when they were written.
    pub unknown: u64,
}

/// Where a request's time went, nanoseconds; `receive`, `service` and `send`, or `peer` and
/// `transfer`, add up to its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stages {
    /// Seen at the server.
    Server {
        /// From the arrival of its first byte at the socket until it was read.
        receive: Stage,
        /// From there to the first byte of the answer.
        service: Stage,
        /// From there to its last byte.
        send: u64,
        /// Of `send`, what was spent in the socket's buffer; `None` where nobody looked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        buffer: Option<SendBuffer>,
        /// Before its duration: from the device to the socket; `None` where not seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<u64>,
        /// After its duration: from the socket to the device, of the answer's last packet;
        /// `None` where not seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        qdisc: Option<u64>,
    },
    /// Seen at the client.
    Client {
        /// Network and peer, up to the first byte of the answer.
        peer: u64,
        /// From there to its last byte.
        transfer: u64,
    },
}

/// One request in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// When the request began.
    pub at: Timestamp,
    /// The edge.
    pub edge: Edge,
    /// Protocol.
    pub protocol: Protocol,
    /// Method or operation.
    pub method: Name,
    /// Path as sent, without its query string; a statement without its literals.
    pub path: Name,
    /// Route template.
    pub route: Name,
    /// Status, as in [`Requests::status`].
    pub status: u16,
    /// The status where it is a word, as in [`Requests::code`].
    #[serde(default)]
    pub code: Name,
    /// Whether it counts as an error.
    pub error: bool,
    /// First byte of the request to first byte of the response, nanoseconds.
    pub first_byte: u64,
    /// First byte of the request to last byte of the response, nanoseconds.
    pub duration: u64,
    /// Where that time went; `None` where it was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Stages>,
    /// What tells it from others, and what caused it; `None` where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Request bytes.
    pub request_bytes: u64,
    /// Response bytes.
    pub response_bytes: u64,
}
