use super::Standing;

/// One key of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Key (`http.request.method`).
    pub key: &'static str,
    /// How firm it is.
    pub standing: Standing,
    /// What its value says.
    pub about: &'static str,
}

/// The only attribute of what a full table of series could not keep apart.
pub const OVERFLOW: &str = "otel.metric.overflow";

const fn stable(key: &'static str, about: &'static str) -> Attribute {
    Attribute { key, standing: Standing::Stable, about }
}

const fn soon(key: &'static str, about: &'static str) -> Attribute {
    Attribute { key, standing: Standing::ReleaseCandidate, about }
}

const fn development(key: &'static str, about: &'static str) -> Attribute {
    Attribute { key, standing: Standing::Development, about }
}

const fn own(key: &'static str, about: &'static str) -> Attribute {
    Attribute { key, standing: Standing::Own, about }
}

/// Every key that is exported: those that say whose a value is first.
pub const ATTRIBUTES: &[Attribute] = &[
    stable("service.name", "the service, workload, unit or program"),
    stable("service.namespace", "its Kubernetes namespace"),
    stable(
        "service.instance.id",
        "the instance: `container:<id>`, `pod:<uid>`, `unit:<name>`, `process:<name>`, `node:<name>`",
    ),
    stable("service.version", "version of Taproot, of its own figures"),
    stable("k8s.namespace.name", "namespace"),
    stable("k8s.pod.name", "pod"),
    stable("k8s.pod.uid", "its uid"),
    stable("k8s.container.name", "container in the pod"),
    stable("k8s.node.name", "node the pod runs on"),
    stable("k8s.deployment.name", "owning workload, of this kind"),
    stable("k8s.statefulset.name", "owning workload, of this kind"),
    stable("k8s.daemonset.name", "owning workload, of this kind"),
    stable("k8s.job.name", "owning workload, of this kind"),
    stable("k8s.cronjob.name", "owning workload, of this kind"),
    stable("k8s.replicaset.name", "owning workload, of this kind"),
    stable("container.id", "the runtime's id of the container"),
    stable("container.image.name", "image, without its tag"),
    development("host.name", "machine"),
    stable("server.address", "address the client dialled"),
    stable("server.port", "port of the service"),
    stable("network.peer.address", "address that answered"),
    stable("network.transport", "`tcp` or `udp`"),
    stable("network.protocol.name", "protocol, as `taproot requests` names it"),
    stable("network.protocol.version", "`2` of HTTP/2; of HTTP/1 it is not told"),
    soon("network.io.direction", "`transmit` or `receive`, seen from the observing end"),
    development(
        "service.peer.name",
        "the service at the other end; missing where nobody known owns its address",
    ),
    development("service.peer.namespace", "its namespace"),
    stable(
        "error.type",
        "status or code of the failure, `unanswered`, an errno, or `_OTHER`; missing where nothing failed",
    ),
    stable("http.request.method", "method; `_OTHER` for one nobody knows"),
    stable("http.response.status_code", "status"),
    stable("http.route", "route template, never the path"),
    development("url.template", "the same, seen from the client"),
    stable("url.path", "path without its query (spans only)"),
    soon("rpc.system.name", "`grpc` or `dubbo`"),
    soon("rpc.method", "service and method"),
    soon("rpc.response.status_code", "the protocol's status, as it spells it"),
    stable("db.system.name", "database"),
    stable("db.operation.name", "command, or verb of the statement"),
    stable("db.collection.name", "table or collection"),
    stable("db.query.text", "statement without its literals (spans only)"),
    stable("db.response.status_code", "the database's own code"),
    development("messaging.system", "`kafka`, `rabbitmq`, `mqtt` or `nats`"),
    development("messaging.operation.name", "kind of message"),
    development("messaging.destination.name", "topic, queue or subject"),
    development("dns.question.name", "name asked for"),
    own("taproot.tls.server_name", "name asked for"),
    soon("process.exit.code", "exit code, 0 where a signal ended it"),
    development("otel.component.name", "which exporter of Taproot"),
    development("otel.component.type", "its type"),
    own(
        OVERFLOW,
        "true on what the full table of series could not keep apart; as OpenTelemetry's SDKs have it",
    ),
    own("taproot.role", "`client`, `server` or `unknown`: which end observed it"),
    own("taproot.db.key_space", "prefix of the key, digits out"),
    own("taproot.rpc.target", "what the call was about"),
    own("taproot.messaging.status_code", "the protocol's own code"),
    own("taproot.dns.question.type", "`A`, `AAAA`, ..."),
    own("taproot.dns.response_code", "`NOERROR`, `NXDOMAIN`, ..."),
    own("taproot.tls.message", "`handshake`"),
    own("taproot.tls.status", "version agreed on, or alert"),
    own("taproot.connection.event", "`first byte`"),
    own("taproot.websocket.opcode", "kind of message"),
    own("taproot.websocket.close_code", "code of the close"),
    own("taproot.request.direction", "`request` or `response`"),
    own(
        "taproot.request.stage",
        "`device`, `receive`, `service`, `send`, `qdisc`, `peer`, `transfer`; `.queued`, `.throttled`, `.unknown`: why its thread did not run; `.buffered`: why its socket did not send",
    ),
    own(
        "taproot.request.stage.duration.{stage}",
        "seconds of the request in that stage, all of it; `device` lies before the span and `qdisc` after it (spans only)",
    ),
    own("taproot.drop.reason", "the kernel's reason"),
    own("taproot.reset.direction", "`sent` or `received`"),
    own("taproot.limit.level", "`pod` or `container`: whose limit it was"),
    own("taproot.culprit", "instance that ran meanwhile"),
    own("taproot.pressure.resource", "`cpu.some`, `memory.full`, ..."),
    own("taproot.fd.kind", "`socket`, `file`, `pipe`, `epoll`, ..."),
    own("taproot.process.condition", "`stopped` or `uninterruptible`"),
    own(
        "taproot.capture.state",
        "`parsed`, `unknown`, `encrypted`, `ring_full`, `truncated`, `gap` or `no_room`",
    ),
    own("taproot.syscall", "system call"),
    own("taproot.exit.signal", "number of the signal that ended it, 0 for none"),
    own("taproot.log.severity", "level found in the line"),
    own("taproot.log.damage", "what is wrong with the line"),
    own("taproot.change.kind", "what was changed"),
    own("taproot.collector", "collector that lost it"),
    own("taproot.loss.reason", "why"),
];

/// The exported key of the one attribute a [`crate::Metric`] may have (`kind=socket`).
pub fn attribute_of_key(key: &str) -> Option<&'static str> {
    Some(match key {
        "level" => "taproot.limit.level",
        "culprit" => "taproot.culprit",
        "resource" => "taproot.pressure.resource",
        "kind" => "taproot.fd.kind",
        "state" => "taproot.capture.state",
        "stage" => "taproot.request.stage",
        "role" => "taproot.role",
        "condition" => "taproot.process.condition",
        _ => return None,
    })
}
