//! Attributes that come with the requests of each family of protocols.

pub(super) const HTTP_SERVER: &[&str] = &[
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "network.protocol.name",
    "network.protocol.version",
    "error.type",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const HTTP_CLIENT: &[&str] = &[
    "http.request.method",
    "url.template",
    "http.response.status_code",
    "network.protocol.name",
    "network.protocol.version",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const RPC: &[&str] = &[
    "rpc.system.name",
    "rpc.method",
    "taproot.rpc.target",
    "rpc.response.status_code",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const DB: &[&str] = &[
    "db.system.name",
    "db.operation.name",
    "db.collection.name",
    "taproot.db.key_space",
    "db.response.status_code",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const MESSAGING: &[&str] = &[
    "messaging.system",
    "messaging.operation.name",
    "messaging.destination.name",
    "taproot.messaging.status_code",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const DNS: &[&str] = &[
    "dns.question.name",
    "taproot.dns.question.type",
    "taproot.dns.response_code",
    "network.protocol.name",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const TLS: &[&str] = &[
    "taproot.tls.server_name",
    "taproot.tls.message",
    "taproot.tls.status",
    "network.protocol.name",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const UNKNOWN: &[&str] = &[
    "taproot.connection.event",
    "network.protocol.name",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

pub(super) const WEB_SOCKET: &[&str] = &[
    "http.route",
    "taproot.websocket.opcode",
    "taproot.websocket.close_code",
    "network.protocol.name",
    "error.type",
    "server.address",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];
