//! The names of resource metrics, as collectors write them.
//!
//! OpenTelemetry semantic conventions 1.44 where one exists, `taproot.*` where none
//! does. What exporters need to know of each stands in [`crate::schema`].

/// CPU time used, seconds, delta.
pub const CPU_TIME: &str = "container.cpu.time";
/// CPU limit, cores (quota over period), gauge; absent when unlimited.
pub const CPU_LIMIT: &str = "taproot.cpu.limit";
/// Scheduler periods that ended while runnable, delta.
pub const CPU_PERIODS: &str = "taproot.cpu.periods";
/// Periods in which the limit stopped the group, delta.
pub const CPU_THROTTLED_PERIODS: &str = "taproot.cpu.throttled.periods";
/// Time stopped by the limit, seconds, delta. Attribute `level=pod` or `level=container`.
pub const CPU_THROTTLED_TIME: &str = "taproot.cpu.throttled.time";
/// Time runnable but not running, seconds, delta; waits caused by the own limit excluded
/// where the kernel lets them be told apart.
pub const CPU_RUNQUEUE_TIME: &str = "taproot.cpu.runqueue.time";
/// Time another entity ran while this one waited for the same CPU, seconds, delta.
/// Attribute `culprit=<entity id>`.
pub const CPU_PREEMPTED_BY: &str = "taproot.cpu.preempted_by.time";
/// Time of requests by stage, seconds, delta. At whoever serves: `stage=receive` (in the
/// socket's buffer until it was read), `service` (from there to the first byte of the
/// answer), `send` (to its last byte). Of the first two, what kept the reading thread from
/// running stands apart: `receive.queued` (waiting for a CPU), `receive.throttled` (stopped
/// by its quota), `receive.unknown` (not seen), and so for `service`; of `send`,
/// `send.buffered` (written, but the socket could not send yet) and `send.unknown`. At
/// whoever asks: `peer` (network and peer up to the first byte), `transfer`. All parts of an
/// end add up to the latency of the requests in [`REQUEST_STAGED`]. Two more are no part of
/// it, and those in [`REQUEST_STAGE_SEEN`] have them: `device` (from the device to the
/// socket, before it), `qdisc` (from the socket to the device, after it).
pub const REQUEST_STAGE_TIME: &str = "taproot.request.stage.time";
/// Requests whose stages were seen, delta. Attribute `role=server` or `role=client`.
pub const REQUEST_STAGED: &str = "taproot.request.staged";
/// Requests of which a stage outside their latency was seen, delta. Attribute
/// `stage=device` or `stage=qdisc`.
pub const REQUEST_STAGE_SEEN: &str = "taproot.request.stage.seen";
/// CPUs this node has, gauge.
pub const NODE_CPUS: &str = "taproot.node.cpus";
/// Busy CPU time of the node, seconds, delta.
pub const NODE_CPU_TIME: &str = "system.cpu.time";
/// Stall time by PSI, seconds, delta. Attribute `resource=cpu.some` and so on.
pub const PRESSURE_TIME: &str = "taproot.pressure.stall.time";
/// Memory in use, bytes, gauge.
pub const MEMORY_USAGE: &str = "container.memory.usage";
/// Memory limit, bytes, gauge; absent when unlimited.
pub const MEMORY_LIMIT: &str = "taproot.memory.limit";
/// Times the memory limit was hit, delta.
pub const MEMORY_FAILURES: &str = "taproot.memory.limit.hits";
/// Kills by the out-of-memory killer, delta.
pub const OOM_KILLS: &str = "taproot.oom.kills";
/// Open file descriptors of the process closest to its limit, gauge.
pub const FD_COUNT: &str = "process.unix.file_descriptor.count";
/// Its limit, gauge.
pub const FD_LIMIT: &str = "taproot.fd.limit";
/// Open file descriptors by kind, gauge. Attribute `kind=socket|file|pipe|epoll|...`.
pub const FD_KIND: &str = "taproot.fd.kind.count";
/// Tasks in the pids controller, gauge.
pub const PIDS: &str = "taproot.pids.count";
/// Their limit, gauge; absent when unlimited.
pub const PIDS_LIMIT: &str = "taproot.pids.limit";
/// Entries of the connection-tracking table seen from this entity's network namespace, gauge.
pub const CONNTRACK_COUNT: &str = "taproot.conntrack.count";
/// Its limit, gauge.
pub const CONNTRACK_LIMIT: &str = "taproot.conntrack.limit";
/// Connections the full table refused, delta.
pub const CONNTRACK_DROPS: &str = "taproot.conntrack.drops";
/// Packets the network backlog dropped, delta.
pub const SOFTNET_DROPS: &str = "taproot.softnet.drops";
/// Times the network backlog ran out of budget, delta.
pub const SOFTNET_SQUEEZED: &str = "taproot.softnet.squeezed";
/// Listen-queue overflows in the entity's network namespace, delta.
pub const LISTEN_OVERFLOWS: &str = "taproot.listen.overflows";
/// Packets refused by reverse-path filtering in the entity's network namespace, delta.
pub const RP_FILTER_DROPS: &str = "taproot.rp_filter.drops";
/// Packets without a route in the entity's network namespace, delta.
pub const NO_ROUTES: &str = "taproot.no_route";
/// Datagrams that found the receive buffer full in the entity's network namespace, delta.
pub const UDP_BUFFER_DROPS: &str = "taproot.udp.buffer.drops";
/// Times a receive buffer was so full that the peer was told to stop sending, in the
/// entity's network namespace, delta.
pub const ZERO_WINDOWS: &str = "taproot.tcp.zero_windows";
/// Times the queue of half-open connections was full in the entity's network namespace, delta.
pub const SYN_QUEUE_FULL: &str = "taproot.tcp.syn_queue.full";
/// Packets with a wrong checksum in the entity's network namespace, delta.
pub const CHECKSUM_ERRORS: &str = "taproot.checksum.errors";
/// Processes by what keeps them from running, gauge. Attribute `condition=stopped` (stopped,
/// traced or frozen) or `condition=uninterruptible` (most often waiting for a device).
pub const PROCESSES: &str = "taproot.process.conditions";
/// Payload of TCP connections that the parsers were shown, bytes, delta. Attribute
/// `state=parsed` (in messages that were understood), `state=unknown` (in none),
/// `state=encrypted` (inside of TLS, whose library could not be asked), or why it was
/// never seen: `state=ring_full`, `state=truncated` (not copied), `state=gap` (passed
/// before or elsewhere), `state=no_room` (thrown away). HTTP/1 is not among it: it is
/// parsed elsewhere, and its requests carry their sizes.
pub const CAPTURE_BYTES: &str = "taproot.capture.bytes";
/// Parsed bytes over socket bytes, ratio, gauge.
pub const COVERAGE: &str = "taproot.capture.coverage";
