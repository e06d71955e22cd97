//! Names of what a [`Call`] says, by the semantic conventions of OpenTelemetry
//! 1.44. One table; every exporter reads it. Where no convention exists the name
//! begins with `taproot.`.

use crate::exchange::{Call, Outcome, Wire};

/// The attribute names of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The attribute that names the system, and its value.
    pub system: (&'static str, &'static str),
    /// Names [`Call::operation`].
    pub operation: &'static str,
    /// Names [`Call::target`].
    pub target: &'static str,
    /// Names [`Call::namespace`].
    pub namespace: &'static str,
    /// Names the status of an answer.
    pub status: &'static str,
    /// The histogram of durations, for the asking side.
    pub duration: &'static str,
}

const fn database(system: &'static str, target: &'static str) -> Names {
    Names {
        system: ("db.system.name", system),
        operation: "db.operation.name",
        target,
        namespace: "db.namespace",
        status: "db.response.status_code",
        duration: "db.client.operation.duration",
    }
}

const fn messaging(system: &'static str) -> Names {
    Names {
        system: ("messaging.system", system),
        operation: "messaging.operation.name",
        target: "messaging.destination.name",
        namespace: "taproot.messaging.namespace",
        status: "taproot.messaging.status_code",
        duration: "messaging.client.operation.duration",
    }
}

const fn rpc(system: &'static str) -> Names {
    Names {
        system: ("rpc.system.name", system),
        operation: "rpc.method",
        target: "taproot.rpc.target",
        namespace: "server.address",
        status: "rpc.response.status_code",
        duration: "rpc.client.call.duration",
    }
}

const fn web(system: &'static str) -> Names {
    Names {
        system: ("network.protocol.name", system),
        operation: "http.request.method",
        target: "http.route",
        namespace: "server.address",
        status: "http.response.status_code",
        duration: "http.client.request.duration",
    }
}

impl Wire {
    /// The attribute names of the protocol.
    pub fn names(self) -> Names {
        match self {
            Self::Dns => Names {
                system: ("network.protocol.name", "dns"),
                operation: "taproot.dns.question.type",
                target: "dns.question.name",
                namespace: "taproot.dns.namespace",
                status: "taproot.dns.response_code",
                duration: "dns.lookup.duration",
            },
            Self::Redis => database("redis", "taproot.db.key_space"),
            Self::Postgres => database("postgresql", "db.collection.name"),
            Self::Mysql => database("mysql", "db.collection.name"),
            Self::Memcached => database("memcached", "taproot.db.key_space"),
            Self::Mongo => database("mongodb", "db.collection.name"),
            Self::Cql => database("cassandra", "db.collection.name"),
            Self::Http1 | Self::Http2 => web("http"),
            Self::Grpc => rpc("grpc"),
            Self::Dubbo => rpc("dubbo"),
            Self::Kafka => messaging("kafka"),
            Self::Amqp => messaging("rabbitmq"),
            Self::Mqtt => messaging("mqtt"),
            Self::Nats => messaging("nats"),
            Self::Tls => Names {
                system: ("network.protocol.name", "tls"),
                operation: "taproot.tls.message",
                target: "tls.client.server_name",
                namespace: "tls.next_protocol",
                status: "taproot.tls.status",
                duration: "taproot.tls.handshake.duration",
            },
            Self::WebSocket => Names {
                system: ("network.protocol.name", "websocket"),
                operation: "taproot.websocket.opcode",
                target: "http.route",
                namespace: "server.address",
                status: "taproot.websocket.close_code",
                duration: "taproot.websocket.duration",
            },
        }
    }
}

impl Call {
    /// Name and value of all that is known, the system first. An answer that is
    /// an error also gives `error.type`; a call without an answer gives the
    /// reason there (`unanswered`), one that was not seen gives nothing.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = self.wire.names();
        let failure = match &self.outcome {
            Outcome::Answered { error: true, status } => {
                Some(status.as_deref().unwrap_or("_OTHER"))
            }
            Outcome::Unanswered => Some("unanswered"),
            _ => None,
        };
        [
            Some(names.system),
            Some((names.operation, &*self.operation)),
            self.target.as_deref().map(|target| (names.target, target)),
            self.namespace.as_deref().map(|namespace| (names.namespace, namespace)),
            self.statement.as_deref().map(|statement| ("db.query.text", statement)),
            self.outcome.status().map(|status| (names.status, status)),
            failure.map(|failure| ("error.type", failure)),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_is_named_by_the_conventions() {
        let mut call = Call::new(Wire::Postgres, "SELECT", 1, 10).on(Some("orders".into()));
        call.outcome = Outcome::failed("42P01");
        let found: Vec<_> = call.attributes().collect();
        let expected = [
            ("db.system.name", "postgresql"),
            ("db.operation.name", "SELECT"),
            ("db.collection.name", "orders"),
            ("db.response.status_code", "42P01"),
            ("error.type", "42P01"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unseen_answer_is_no_error() {
        let mut call = Call::new(Wire::Redis, "GET", 1, 10);
        call.outcome = Outcome::Unseen;
        assert!(call.attributes().all(|(name, _)| name != "error.type"));
    }
}
