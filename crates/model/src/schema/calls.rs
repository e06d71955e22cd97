use crate::{Protocol, Role};

/// Names of what is told of a request, by its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNames {
    /// The attribute that names the system, and its value.
    pub system: (&'static str, &'static str),
    /// Names the method or operation.
    pub operation: &'static str,
    /// Names the route, table, key space, topic or question.
    pub target: &'static str,
    /// Names the status of an answer.
    pub status: &'static str,
    /// Names what was asked for in full, of one request.
    pub text: &'static str,
    /// The histogram of durations.
    pub duration: &'static str,
}

const fn database(system: &'static str, target: &'static str) -> CallNames {
    CallNames {
        system: ("db.system.name", system),
        operation: "db.operation.name",
        target,
        status: "db.response.status_code",
        text: "db.query.text",
        duration: "db.client.operation.duration",
    }
}

const fn messaging(system: &'static str) -> CallNames {
    CallNames {
        system: ("messaging.system", system),
        operation: "messaging.operation.name",
        target: "messaging.destination.name",
        status: "taproot.messaging.status_code",
        text: "messaging.destination.name",
        duration: "messaging.client.operation.duration",
    }
}

const fn rpc(system: &'static str) -> CallNames {
    CallNames {
        system: ("rpc.system.name", system),
        operation: "rpc.method",
        target: "taproot.rpc.target",
        status: "rpc.response.status_code",
        text: "taproot.rpc.target",
        duration: "rpc.client.call.duration",
    }
}

const WEB: CallNames = CallNames {
    system: ("network.protocol.name", "http"),
    operation: "http.request.method",
    target: "url.template",
    status: "http.response.status_code",
    text: "url.path",
    duration: "http.client.request.duration",
};

const DNS: CallNames = CallNames {
    system: ("network.protocol.name", "dns"),
    operation: "taproot.dns.question.type",
    target: "dns.question.name",
    status: "taproot.dns.response_code",
    text: "dns.question.name",
    duration: "dns.lookup.duration",
};

const TLS: CallNames = CallNames {
    system: ("network.protocol.name", "tls"),
    operation: "taproot.tls.message",
    target: "taproot.tls.server_name",
    status: "taproot.tls.status",
    text: "taproot.tls.server_name",
    duration: "taproot.tls.handshake.duration",
};

const UNKNOWN: CallNames = CallNames {
    system: ("network.protocol.name", "unknown"),
    operation: "taproot.connection.event",
    target: "taproot.connection.event",
    status: "error.type",
    text: "taproot.connection.event",
    duration: "taproot.connection.first_byte.duration",
};

const WEB_SOCKET: CallNames = CallNames {
    system: ("network.protocol.name", "websocket"),
    operation: "taproot.websocket.opcode",
    target: "http.route",
    status: "taproot.websocket.close_code",
    text: "url.path",
    duration: "taproot.websocket.message.duration",
};

impl Protocol {
    /// The names for requests of the protocol, as that end sees them. An end that is not
    /// known ([`Role::Unknown`]) has the client's attributes; whose duration it is, it
    /// does not tell.
    pub fn call_names(self, role: Role) -> CallNames {
        let names = match self {
            Self::Http | Self::Http2 => WEB,
            Self::Grpc => rpc("grpc"),
            Self::Dubbo => rpc("dubbo"),
            Self::Redis => database("redis", "taproot.db.key_space"),
            Self::Memcached => database("memcached", "taproot.db.key_space"),
            Self::Postgres => database("postgresql", "db.collection.name"),
            Self::Mysql => database("mysql", "db.collection.name"),
            Self::Mongo => database("mongodb", "db.collection.name"),
            Self::Cql => database("cassandra", "db.collection.name"),
            Self::Kafka => messaging("kafka"),
            Self::Amqp => messaging("rabbitmq"),
            Self::Mqtt => messaging("mqtt"),
            Self::Nats => messaging("nats"),
            Self::Dns => DNS,
            Self::Tls => TLS,
            Self::WebSocket => WEB_SOCKET,
            Self::Unknown => UNKNOWN,
        };
        if role == Role::Server { names.at_the_server() } else { names }
    }
}

impl CallNames {
    fn at_the_server(self) -> Self {
        let duration = match self.duration {
            "http.client.request.duration" => "http.server.request.duration",
            "rpc.client.call.duration" => "rpc.server.call.duration",
            // The next three have no convention; the first follows OpenTelemetry's own
            // eBPF instrumentation.
            "db.client.operation.duration" => "db.server.operation.duration",
            "messaging.client.operation.duration" => "taproot.messaging.server.operation.duration",
            "dns.lookup.duration" => "taproot.dns.server.duration",
            other => other,
        };
        let target = if self.target == "url.template" { "http.route" } else { self.target };
        Self { target, duration, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ATTRIBUTES, Kind, instrument};

    const ALL: [Protocol; 18] = [
        Protocol::Http,
        Protocol::Dns,
        Protocol::Redis,
        Protocol::Http2,
        Protocol::Grpc,
        Protocol::Postgres,
        Protocol::Mysql,
        Protocol::Memcached,
        Protocol::Kafka,
        Protocol::Mongo,
        Protocol::Amqp,
        Protocol::Mqtt,
        Protocol::Nats,
        Protocol::Cql,
        Protocol::Dubbo,
        Protocol::WebSocket,
        Protocol::Tls,
        Protocol::Unknown,
    ];

    #[test]
    fn every_protocol_has_a_histogram_that_takes_its_attributes() {
        for protocol in ALL {
            for role in [Role::Client, Role::Server] {
                let names = protocol.call_names(role);
                let duration = instrument(names.duration).expect(names.duration);
                assert_eq!(duration.kind, Kind::Histogram);
                for key in [names.system.0, names.operation, names.target, names.status] {
                    assert!(duration.attributes.contains(&key), "{key} of {}", names.duration);
                }
                assert!(ATTRIBUTES.iter().any(|one| one.key == names.text), "{}", names.text);
            }
        }
    }

    #[test]
    fn the_two_ends_of_a_call_have_histograms_of_their_own() {
        let ends = |protocol: Protocol| {
            [Role::Client, Role::Server].map(|role| protocol.call_names(role).duration)
        };
        let expected = ["http.client.request.duration", "http.server.request.duration"];
        assert_eq!(ends(Protocol::Http2), expected);
        let expected = ["db.client.operation.duration", "db.server.operation.duration"];
        assert_eq!(ends(Protocol::Mysql), expected);
        assert_eq!(Protocol::Http.call_names(Role::Server).target, "http.route");
        assert_eq!(Protocol::Http.call_names(Role::Client).target, "url.template");
    }
}
