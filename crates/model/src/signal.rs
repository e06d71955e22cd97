use crate::{Endpoint, Entity, EntityId, Exemplar, Histogram, Name, Requests, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One observation, its owner already named. What probes, logs and the cluster
/// say ends here; everything above (store, recording, world, diagnosis) reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Signal {
    /// An owner became known or changed. Comes before signals that refer to it.
    Entity(Box<Entity>),
    /// Transport totals of one edge over one interval.
    Flow(Box<Flow>),
    /// Request totals of one edge, route and status over one interval.
    Requests(Box<Requests>),
    /// One request in full: a sample, an error or a slow one.
    Exemplar(Box<Exemplar>),
    /// A value of a resource series.
    Metric(Metric),
    /// A process or container began, ended or was killed.
    Lifecycle(Box<Lifecycle>),
    /// Failed system calls of one entity over one interval.
    SyscallFailure(Box<SyscallFailure>),
    /// Log lines of one template over one interval.
    LogPattern(Box<LogPattern>),
    /// Undecodable log output.
    Gibberish(Box<Gibberish>),
    /// Something was changed by somebody: route, rule, image, spec.
    Change(Box<Change>),
    /// A cluster event.
    ClusterEvent(Box<ClusterEvent>),
    /// Something that could not be seen, counted by reason.
    Loss(Loss),
}

impl Signal {
    /// When it was observed (the end of its interval); `None` for [`Signal::Entity`].
    pub fn at(&self) -> Option<Timestamp> {
        Some(match self {
            Self::Entity(_) => return None,
            Self::Flow(s) => s.at,
            Self::Requests(s) => s.at,
            Self::Exemplar(s) => s.at,
            Self::Metric(s) => s.at,
            Self::Lifecycle(s) => s.at,
            Self::SyscallFailure(s) => s.at,
            Self::LogPattern(s) => s.at,
            Self::Gibberish(s) => s.at,
            Self::Change(s) => s.at,
            Self::ClusterEvent(s) => s.at,
            Self::Loss(s) => s.at,
        })
    }
}

/// Which end of a connection observed a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
    /// Attached in mid-connection and not yet known.
    Unknown,
}

/// `network.transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A directed edge of the service map as one end sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// Who calls.
    pub client: Endpoint,
    /// Who is called; its port is the service's port.
    pub server: Endpoint,
    /// The address the client dialled where that is not the server's own
    /// (a `ClusterIP` translated by DNAT).
    pub via: Option<SocketAddr>,
    /// Which end made this observation.
    pub role: Role,
}

/// Transport totals of one edge over one interval. All counts are deltas.
///
/// `tx` and `rx` are as seen by the observing end (`edge.role`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, nanoseconds.
    pub interval: u64,
    /// The edge.
    pub edge: Edge,
    /// TCP or UDP.
    pub transport: Transport,
    /// Payload bytes sent.
    pub tx_bytes: u64,
    /// Payload bytes received.
    pub rx_bytes: u64,
    /// Packets handed to a device (`net_dev_queue`).
    pub tx_packets: u64,
    /// Packets received from a device (`netif_receive_skb`).
    pub rx_packets: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Of these, SYN or SYN-ACK: the connection could not be set up at once.
    pub syn_retransmits: u64,
    /// Connections established (dialled or accepted).
    pub connects: u64,
    /// Attempts that failed, by errno name (`ECONNREFUSED`).
    pub failed_connects: BTreeMap<Name, u64>,
    /// Resets sent.
    pub resets_sent: u64,
    /// Resets received.
    pub resets_received: u64,
    /// Connections dropped because the accept queue was full (server end).
    pub listen_overflows: u64,
    /// Connections open at the end of the interval (a gauge).
    pub open: u64,
    /// Packets of this edge that the kernel dropped, by its reason (`NETFILTER_DROP`).
    pub drops: BTreeMap<Name, u64>,
    /// Smoothed round-trip times sampled in the interval, nanoseconds.
    pub rtt: Histogram,
    /// Time from SYN to established, nanoseconds (client end).
    pub connect_time: Histogram,
}

impl Flow {
    /// A flow with all totals zero.
    pub fn empty(at: Timestamp, interval: u64, edge: Edge, transport: Transport) -> Self {
        Self {
            at,
            interval,
            edge,
            transport,
            tx_bytes: 0,
            rx_bytes: 0,
            tx_packets: 0,
            rx_packets: 0,
            retransmits: 0,
            syn_retransmits: 0,
            connects: 0,
            failed_connects: BTreeMap::new(),
            resets_sent: 0,
            resets_received: 0,
            listen_overflows: 0,
            open: 0,
            drops: BTreeMap::new(),
            rtt: Histogram::default(),
            connect_time: Histogram::default(),
        }
    }
}

/// How a metric's values relate to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A level at `at`.
    Gauge,
    /// What was added during the interval.
    Delta,
}

/// One value of a resource series. Names are those of [`crate::metric`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// When it was read (the end of its interval).
    pub at: Timestamp,
    /// Length of the interval of a delta, nanoseconds; 0 for a gauge.
    pub interval: u64,
    /// Whose.
    pub entity: EntityId,
    /// Semantic-convention name, `taproot.*` where none exists.
    pub name: Name,
    /// At most one attribute, `key=value` (`kind=socket`, `culprit=<entity id>`), or empty.
    pub attribute: Name,
    /// Gauge or delta.
    pub kind: MetricKind,
    /// The value, in the unit of its name.
    pub value: f64,
}

/// What happened to a process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleKind {
    /// A program was executed.
    Exec,
    /// A process ended (the leader of its thread group).
    Exit,
    /// The kernel's out-of-memory killer chose it.
    OomKill,
    /// A fatal signal was sent to it.
    Signal,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, 0 to 255; 0 when a signal ended it.
    pub code: u8,
    /// The signal that ended it, or 0.
    pub signal: u8,
    /// Whether it wrote (or would have written) a core.
    pub core: bool,
}

/// Failed calls with one errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrnoCount {
    /// System call (`accept4`).
    pub syscall: Name,
    /// Error (`EMFILE`).
    pub errno: Name,
    /// How often.
    pub count: u64,
}

/// A process or container began, ended or was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// When.
    pub at: Timestamp,
    /// Whose process.
    pub entity: EntityId,
    /// What happened.
    pub kind: LifecycleKind,
    /// Process id on the node.
    pub pid: u32,
    /// Short command name.
    pub comm: Name,
    /// Whether it was the first process of its container (its end is the container's).
    pub main: bool,
    /// How it ended ([`LifecycleKind::Exit`]).
    pub exit: Option<Exit>,
    /// Signal number ([`LifecycleKind::Signal`], [`LifecycleKind::OomKill`]).
    pub signal: u8,
    /// Who sent the signal, if known.
    pub sender: Option<EntityId>,
    /// The last failing system calls before an abnormal end, newest first.
    pub last_failures: Vec<ErrnoCount>,
    /// Open file descriptors and their limit at the last look, if known.
    pub fds: Option<(u64, u64)>,
    /// Memory in use and its limit at the last look, bytes, if known.
    pub memory: Option<(u64, u64)>,
    /// The last log lines, oldest first, undecodable bytes escaped.
    pub last_words: Vec<String>,
}

/// Failed system calls of one entity over one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyscallFailure {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, nanoseconds.
    pub interval: u64,
    /// Whose.
    pub entity: EntityId,
    /// System call (`connect`).
    pub syscall: Name,
    /// Error (`ECONNREFUSED`).
    pub errno: Name,
    /// What the call was about where that is known (`10.96.0.1:443`), else empty.
    pub target: Name,
    /// How often.
    pub count: u64,
}

/// Severity of a log line.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum LogSeverity {
    /// No level found.
    #[default]
    Unknown,
    /// Trace or debug.
    Debug,
    /// Informational.
    Info,
    /// Warning.
    Warn,
    /// Error.
    Error,
    /// Fatal, panic, critical.
    Fatal,
}

/// Log lines of one template over one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPattern {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, nanoseconds.
    pub interval: u64,
    /// Who wrote them.
    pub entity: EntityId,
    /// The template, variables as `<*>`.
    pub template: Name,
    /// Severity.
    pub severity: LogSeverity,
    /// Lines.
    pub count: u64,
    /// Whether the template was never seen before from this service.
    pub new: bool,
    /// One line as it was written, literals redacted.
    pub example: Name,
}

/// Log output that is no text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gibberish {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, nanoseconds.
    pub interval: u64,
    /// Who wrote it.
    pub entity: EntityId,
    /// What is wrong (`NUL bytes`, `invalid UTF-8`).
    pub reason: Name,
    /// Lines affected.
    pub lines: u64,
    /// All lines of the interval.
    pub of: u64,
    /// A sample, escaped.
    pub sample: Name,
}

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A route.
    Route,
    /// A policy-routing rule.
    Rule,
    /// An interface's address.
    Address,
    /// A firewall table.
    Firewall,
    /// A container image.
    Image,
    /// A spec or config.
    Spec,
    /// A network device: up or down, its MTU, whose port it is.
    Link,
    /// A neighbour entered by hand.
    Neighbour,
    /// A queue or a filter of traffic control.
    Queue,
    /// A switch of the kernel (`sysctl`).
    Sysctl,
    /// A limit of a control group.
    Limit,
    /// A container was started anew in its pod.
    Restart,
}

impl ChangeKind {
    /// Its name, as `taproot.change.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Address => "address",
            Self::Firewall => "firewall",
            Self::Image => "image",
            Self::Spec => "spec",
            Self::Link => "link",
            Self::Neighbour => "neighbour",
            Self::Queue => "queue",
            Self::Sysctl => "sysctl",
            Self::Limit => "limit",
            Self::Restart => "restart",
        }
    }

    /// Whether it decides over packets.
    pub fn of_network(self) -> bool {
        matches!(
            self,
            Self::Route
                | Self::Rule
                | Self::Address
                | Self::Firewall
                | Self::Link
                | Self::Neighbour
                | Self::Queue
                | Self::Sysctl
        )
    }
}

/// Something was changed by somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// On what.
    pub entity: EntityId,
    /// What sort.
    pub kind: ChangeKind,
    /// In words, before and after (`default via 10.1.0.1 -> default via 10.2.0.1 dev net1`).
    pub what: Name,
    /// By whom (`nft (pid 123)`), empty where the kernel does not tell.
    #[serde(default)]
    pub by: Name,
    /// The command that takes it back, empty where none is known.
    #[serde(default)]
    pub undo: Name,
}

/// A cluster event (Kubernetes `Event`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// When.
    pub at: Timestamp,
    /// On what.
    pub entity: EntityId,
    /// `Warning` or `Normal`.
    pub severity: Name,
    /// Machine-readable reason (`BackOff`).
    pub reason: Name,
    /// Text.
    pub message: Name,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// End of the interval.
    pub at: Timestamp,
    /// Whose, where known; else the node.
    pub entity: EntityId,
    /// Which collector lost it (`http`).
    pub collector: Name,
    /// Why (`ring_full`, `map_full`, `gap`).
    pub reason: Name,
    /// How many events (or bytes, where the reason says so).
    pub count: u64,
}
