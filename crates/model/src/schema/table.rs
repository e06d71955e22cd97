use super::families::{
    DB, DNS, HTTP_CLIENT, HTTP_SERVER, MESSAGING, RPC, TLS, UNKNOWN, WEB_SOCKET,
};
use super::{Instrument, Kind, Standing};
use crate::metric;

/// Bounds that the conventions advise for durations of requests, seconds.
const REQUEST: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds that the conventions advise for durations of database operations, seconds.
const DATABASE: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Bounds for what the network alone takes, seconds.
const NETWORK: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

const fn new(
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    attributes: &'static [&'static str],
    about: &'static str,
) -> Instrument {
    Instrument { name, unit, kind, standing: Standing::Own, attributes, buckets: &[], about }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    about: &'static str,
) -> Instrument {
    new(name, unit, Kind::Counter, attributes, about)
}

const fn gauge(name: &'static str, unit: &'static str, about: &'static str) -> Instrument {
    new(name, unit, Kind::Gauge, &[], about)
}

const fn duration(
    name: &'static str,
    buckets: &'static [f64],
    attributes: &'static [&'static str],
    about: &'static str,
) -> Instrument {
    let one = new(name, "s", Kind::Histogram, attributes, about);
    Instrument { buckets, ..one }
}

impl Instrument {
    const fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    const fn up_and_down(self) -> Self {
        Self { kind: Kind::UpDownCounter, ..self }
    }

    const fn by(self, attributes: &'static [&'static str]) -> Self {
        Self { attributes, ..self }
    }
}

use Standing::{Development, ReleaseCandidate, Stable};

macro_rules! edge {
    ($($more:literal),*) => {
        &[
            $($more,)*
            "taproot.role",
            "network.transport",
            "server.port",
            "service.peer.name",
            "service.peer.namespace",
        ]
    };
}

const REQUESTS: &[&str] = &[
    "network.protocol.name",
    "error.type",
    "taproot.role",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

const REQUEST_IO: &[&str] = &[
    "taproot.request.direction",
    "network.protocol.name",
    "taproot.role",
    "server.port",
    "service.peer.name",
    "service.peer.namespace",
];

const EXPORTER: &[&str] = &["otel.component.type", "otel.component.name", "error.type"];

/// Every metric that is exported, by subject.
pub const INSTRUMENTS: &[Instrument] = &[
    // Requests.
    duration(
        "http.server.request.duration",
        REQUEST,
        HTTP_SERVER,
        "Duration of HTTP requests, at the server.",
    )
    .standing(Stable),
    duration(
        "http.client.request.duration",
        REQUEST,
        HTTP_CLIENT,
        "Duration of HTTP requests, at the client.",
    )
    .standing(Stable),
    duration(
        "rpc.server.call.duration",
        REQUEST,
        RPC,
        "Duration of gRPC and Dubbo calls, at the server.",
    )
    .standing(ReleaseCandidate),
    duration(
        "rpc.client.call.duration",
        REQUEST,
        RPC,
        "Duration of gRPC and Dubbo calls, at the client.",
    )
    .standing(ReleaseCandidate),
    duration(
        "db.client.operation.duration",
        DATABASE,
        DB,
        "Duration of database operations, at the client.",
    )
    .standing(Stable),
    duration(
        "db.server.operation.duration",
        DATABASE,
        DB,
        "Duration of database operations, at the database.",
    ),
    duration(
        "messaging.client.operation.duration",
        REQUEST,
        MESSAGING,
        "Duration of messaging operations, at the client.",
    )
    .standing(Development),
    duration(
        "taproot.messaging.server.operation.duration",
        REQUEST,
        MESSAGING,
        "Duration of messaging operations, at the broker.",
    ),
    duration("dns.lookup.duration", REQUEST, DNS, "Duration of DNS lookups, at the client.")
        .standing(Development),
    duration(
        "taproot.dns.server.duration",
        REQUEST,
        DNS,
        "Duration of DNS lookups, at the server.",
    ),
    duration("taproot.tls.handshake.duration", REQUEST, TLS, "Duration of TLS handshakes."),
    duration(
        "taproot.websocket.message.duration",
        REQUEST,
        WEB_SOCKET,
        "WebSocket messages, and the time to their answer where they have one.",
    ),
    duration(
        "taproot.connection.first_byte.duration",
        REQUEST,
        UNKNOWN,
        "Connections whose protocol is not known: time from the first byte to that of the answer.",
    ),
    counter(
        "taproot.requests",
        "{request}",
        REQUESTS,
        "Requests of any protocol, those without an answer included.",
    ),
    counter(
        "taproot.request.io",
        "By",
        REQUEST_IO,
        "Bytes of requests and responses, heads included.",
    ),
    // Connections.
    counter(
        "taproot.network.flow.bytes",
        "By",
        edge!("network.io.direction"),
        "Payload of connections.",
    ),
    counter(
        "taproot.network.flow.packets",
        "{packet}",
        edge!("network.io.direction"),
        "Packets of connections.",
    ),
    counter(
        "taproot.network.drops",
        "{packet}",
        edge!("taproot.drop.reason"),
        "Packets of connections that the kernel dropped.",
    ),
    duration("taproot.tcp.rtt", NETWORK, edge!(), "Smoothed round-trip times."),
    duration(
        "taproot.tcp.connect.duration",
        NETWORK,
        edge!(),
        "Time from SYN to established, at the client.",
    ),
    counter("taproot.tcp.connections", "{connection}", edge!(), "Connections established."),
    counter(
        "taproot.tcp.failed_connections",
        "{connection}",
        edge!("error.type"),
        "Attempts to connect that failed.",
    ),
    counter("taproot.tcp.retransmits", "{segment}", edge!(), "Segments sent again."),
    counter("taproot.tcp.resets", "{reset}", edge!("taproot.reset.direction"), "Resets."),
    // CPU and pressure.
    counter(metric::CPU_TIME, "s", &[], "CPU time used.").standing(ReleaseCandidate),
    gauge(metric::CPU_LIMIT, "{cpu}", "CPU limit; missing where there is none."),
    counter(
        metric::CPU_PERIODS,
        "{period}",
        &["taproot.limit.level"],
        "Scheduler periods that ended while runnable.",
    ),
    counter(
        metric::CPU_THROTTLED_PERIODS,
        "{period}",
        &["taproot.limit.level"],
        "Periods in which the limit stopped the group.",
    ),
    counter(
        metric::CPU_THROTTLED_TIME,
        "s",
        &["taproot.limit.level"],
        "Time stopped by the limit.",
    ),
    counter(metric::CPU_RUNQUEUE_TIME, "s", &[], "Time runnable but not running."),
    counter(
        metric::CPU_PREEMPTED_BY,
        "s",
        &["taproot.culprit"],
        "Time another instance ran while this one waited for the same CPU.",
    ),
    counter(
        metric::REQUEST_STAGE_TIME,
        "s",
        &["taproot.request.stage"],
        "Time of requests by stage; the stages of an end add up to their latency, but for `device` before and `qdisc` after it.",
    ),
    counter(
        metric::REQUEST_STAGED,
        "{request}",
        &["taproot.role"],
        "Requests whose stages were seen.",
    ),
    counter(
        metric::REQUEST_STAGE_SEEN,
        "{request}",
        &["taproot.request.stage"],
        "Requests of which `device` or `qdisc` was seen.",
    ),
    gauge(metric::NODE_CPUS, "{cpu}", "CPUs of the node."),
    counter(metric::NODE_CPU_TIME, "s", &[], "Busy CPU time of the node.").standing(Development),
    counter(metric::PRESSURE_TIME, "s", &["taproot.pressure.resource"], "Stall time by PSI."),
    // Memory, files, tasks.
    gauge(metric::MEMORY_USAGE, "By", "Memory in use.").up_and_down().standing(ReleaseCandidate),
    gauge(metric::MEMORY_LIMIT, "By", "Memory limit; missing where there is none."),
    counter(metric::MEMORY_FAILURES, "{hit}", &[], "Times the memory limit was hit."),
    counter(metric::OOM_KILLS, "{kill}", &[], "Kills by the out-of-memory killer."),
    gauge(metric::FD_COUNT, "{file_descriptor}", "Open files of the process nearest its limit.")
        .up_and_down()
        .standing(ReleaseCandidate),
    gauge(metric::FD_LIMIT, "{file_descriptor}", "Its limit."),
    gauge(metric::FD_KIND, "{file_descriptor}", "Open files by kind.").by(&["taproot.fd.kind"]),
    gauge(metric::PIDS, "{task}", "Tasks."),
    gauge(metric::PIDS_LIMIT, "{task}", "Limit of tasks; missing where there is none."),
    // Network namespace.
    gauge(metric::CONNTRACK_COUNT, "{entry}", "Entries of the connection-tracking table."),
    gauge(metric::CONNTRACK_LIMIT, "{entry}", "Its limit."),
    counter(metric::CONNTRACK_DROPS, "{connection}", &[], "Connections the full table refused."),
    counter(metric::SOFTNET_DROPS, "{packet}", &[], "Packets the network backlog dropped."),
    counter(
        metric::SOFTNET_SQUEEZED,
        "{time}",
        &[],
        "Times the network backlog ran out of budget.",
    ),
    counter(
        metric::LISTEN_OVERFLOWS,
        "{connection}",
        &[],
        "Connections a full accept queue refused.",
    ),
    counter(metric::RP_FILTER_DROPS, "{packet}", &[], "Packets refused by reverse-path filtering."),
    counter(metric::NO_ROUTES, "{packet}", &[], "Packets without a route."),
    counter(metric::UDP_BUFFER_DROPS, "{packet}", &[], "Datagrams a full buffer refused."),
    counter(metric::ZERO_WINDOWS, "{time}", &[], "Times a peer was told to stop sending."),
    counter(
        metric::SYN_QUEUE_FULL,
        "{time}",
        &[],
        "Times the queue of half-open connections was full.",
    ),
    counter(metric::CHECKSUM_ERRORS, "{packet}", &[], "Packets with a wrong checksum."),
    gauge(metric::PROCESSES, "{process}", "Processes that do not run, by why.")
        .by(&["taproot.process.condition"]),
    // Happenings.
    counter(
        "taproot.process.exits",
        "{process}",
        &["process.exit.code", "taproot.exit.signal"],
        "Processes that ended.",
    ),
    counter(
        "taproot.process.killed",
        "{process}",
        &["taproot.exit.signal"],
        "Fatal signals sent to processes.",
    ),
    counter(
        "taproot.syscall.errors",
        "{call}",
        &["taproot.syscall", "error.type"],
        "System calls that failed.",
    ),
    counter("taproot.log.lines", "{line}", &["taproot.log.severity"], "Log lines."),
    counter(
        "taproot.log.invalid",
        "{line}",
        &["taproot.log.damage"],
        "Log lines that are no text.",
    ),
    counter(
        "taproot.changes",
        "{change}",
        &["taproot.change.kind"],
        "Routes, rules, addresses, devices, neighbours, queues, switches, firewalls, images, specs, \
         limits and restarts that were changed.",
    ),
    gauge(
        "taproot.tls.certificate.not_after",
        "s",
        "End of the validity of a certificate that a server has shown, since 1970; up to TLS 1.2.",
    )
    .by(&[
        "taproot.tls.server_name",
        "taproot.role",
        "server.port",
        "service.peer.name",
        "service.peer.namespace",
    ]),
    // What could not be seen, and Taproot itself.
    counter(
        metric::CAPTURE_BYTES,
        "By",
        &["taproot.capture.state"],
        "Payload that the parsers were shown; HTTP/1 is not among it.",
    ),
    gauge(
        metric::COVERAGE,
        "1",
        "Bytes in messages that were understood, over bytes of the sockets, in the last minute.",
    ),
    counter(
        "taproot.capture.lost",
        "{event}",
        &["taproot.collector", "taproot.loss.reason"],
        "What collectors could not see; bytes where the reason says so.",
    ),
    counter("taproot.signals", "{signal}", &[], "Signals received since the start."),
    counter(
        "taproot.picture.dropped",
        "{signal}",
        &["taproot.loss.reason"],
        "What the picture in memory had to drop since the start.",
    ),
    counter(
        "taproot.export.lost",
        "{signal}",
        &["taproot.loss.reason"],
        "Signals that the exporters could not put into a series.",
    ),
    gauge("taproot.export.series", "{series}", "Series kept for the exporters.").up_and_down(),
    counter(
        "otel.sdk.exporter.span.exported",
        "{span}",
        EXPORTER,
        "Spans sent, and with `error.type` those given up.",
    )
    .standing(Development),
    counter(
        "otel.sdk.exporter.metric_data_point.exported",
        "{data_point}",
        EXPORTER,
        "Points sent, and with `error.type` those given up: the next export carries their sums.",
    )
    .standing(Development),
    counter(
        "otel.sdk.processor.span.processed",
        "{span}",
        EXPORTER,
        "Spans taken, and with `error.type=queue_full` those the full queue refused.",
    )
    .standing(Development),
    gauge("otel.sdk.processor.span.queue.size", "{span}", "Spans waiting to be sent.")
        .up_and_down()
        .by(&["otel.component.type", "otel.component.name"])
        .standing(Development),
    gauge("otel.sdk.processor.span.queue.capacity", "{span}", "Spans that can wait.")
        .up_and_down()
        .by(&["otel.component.type", "otel.component.name"])
        .standing(Development),
];
