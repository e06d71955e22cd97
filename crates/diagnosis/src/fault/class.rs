//! The classes of faults: their names, families, and what follows from what.

use serde::Serialize;
use std::fmt;

/// A class of fault, or the verdict that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing is wrong.
    Healthy,
    /// More requests came, and were served.
    LoadGrew,
    /// Somebody else on the node uses the CPUs.
    NoisyNeighbour,
    /// Its own CPU limit stops it.
    CpuLimit,
    /// It runs out of file descriptors.
    FdExhaustion,
    /// Packets or replies take a route on which they never arrive.
    WrongRoute,
    /// Packets get lost on a link.
    PacketLoss,
    /// A link takes longer.
    LinkDelay,
    /// A service that others wait for became slow by itself.
    SlowDownstream,
    /// Nobody listens where a dependency should be.
    ConnectionRefused,
    /// The kernel killed it for lack of memory.
    OomKill,
    /// It crashed.
    Crash,
    /// The connection-tracking table is full.
    ConntrackFull,
    /// It does not accept connections as fast as they come.
    ListenOverflow,
    /// Names are not resolved.
    DnsFailure,
    /// It logs errors, and nothing else is wrong.
    LogOnly,
    /// It is short of memory.
    MemoryPressure,
    /// It may not start more processes or threads.
    PidsLimit,
    /// A device's queue drops what comes faster than it may send.
    QueueLimit,
    /// A packet filter drops every new connection of a link.
    FirewallDrop,
    /// A service's address answers no, because nobody is behind it.
    NoEndpoints,
    /// Nobody has the address any more.
    StaleAddress,
    /// Large packets get lost where small ones pass.
    MtuBlackHole,
    /// No local port is left for another connection.
    PortExhaustion,
    /// It does not read what it is sent.
    ReceiverStalled,
    /// Datagrams come faster than it reads them.
    UdpOverflow,
    /// More connections are begun than its queue of half-open ones holds.
    SynFlood,
    /// Connections are reset while they are in use.
    ResetStorm,
    /// Packets arrive damaged.
    CorruptPackets,
    /// The node does not process packets as fast as they come.
    PacketBacklog,
    /// It waits for its disk.
    DiskSlow,
    /// Its disk is full.
    DiskFull,
    /// Its disk fails, or takes no more writes.
    DiskFault,
    /// The whole node is short of memory, or tasks hang in it.
    NodePressure,
    /// Its processes are stopped or frozen.
    Stopped,
    /// Its threads wait for each other.
    Deadlock,
    /// The whole process stands still now and then.
    Stall,
    /// It fails requests by itself.
    ErrorBurst,
    /// It fails requests, and its log shows a new error.
    CodeError,
    /// Its requests wait for a connection of a pool that is in use.
    PoolExhausted,
    /// The cluster cannot run it as it was asked to.
    Rollout,
    /// Somebody changed it just before.
    Change,
    /// Something is wrong, and nothing known explains it.
    Unknown,
}

/// Where a class of fault has its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Links, routes, tables and queues of packets.
    Network,
    /// CPU, memory, disks, descriptors, processes.
    Resource,
    /// The program itself.
    Application,
    /// What the cluster does with it.
    ControlPlane,
    /// What somebody did to it.
    Change,
    /// No fault, or none that is known.
    None,
}

impl Class {
    /// Every class, verdicts without a fault among them.
    pub const ALL: [Self; 43] = [
        Self::Healthy,
        Self::LoadGrew,
        Self::NoisyNeighbour,
        Self::CpuLimit,
        Self::FdExhaustion,
        Self::WrongRoute,
        Self::PacketLoss,
        Self::LinkDelay,
        Self::SlowDownstream,
        Self::ConnectionRefused,
        Self::OomKill,
        Self::Crash,
        Self::ConntrackFull,
        Self::ListenOverflow,
        Self::DnsFailure,
        Self::LogOnly,
        Self::MemoryPressure,
        Self::PidsLimit,
        Self::QueueLimit,
        Self::FirewallDrop,
        Self::NoEndpoints,
        Self::StaleAddress,
        Self::MtuBlackHole,
        Self::PortExhaustion,
        Self::ReceiverStalled,
        Self::UdpOverflow,
        Self::SynFlood,
        Self::ResetStorm,
        Self::CorruptPackets,
        Self::PacketBacklog,
        Self::DiskSlow,
        Self::DiskFull,
        Self::DiskFault,
        Self::NodePressure,
        Self::Stopped,
        Self::Deadlock,
        Self::Stall,
        Self::ErrorBurst,
        Self::CodeError,
        Self::PoolExhausted,
        Self::Rollout,
        Self::Change,
        Self::Unknown,
    ];

    /// Its id, as everywhere (`noisy-neighbour`).
    pub fn id(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::LoadGrew => "load-grew",
            Self::NoisyNeighbour => "noisy-neighbour",
            Self::CpuLimit => "cpu-limit",
            Self::FdExhaustion => "fd-exhaustion",
            Self::WrongRoute => "wrong-route",
            Self::PacketLoss => "packet-loss",
            Self::LinkDelay => "link-delay",
            Self::SlowDownstream => "slow-downstream",
            Self::ConnectionRefused => "connection-refused",
            Self::OomKill => "oom-kill",
            Self::Crash => "crash",
            Self::ConntrackFull => "conntrack-full",
            Self::ListenOverflow => "listen-overflow",
            Self::DnsFailure => "dns-failure",
            Self::LogOnly => "log-only",
            Self::MemoryPressure => "memory-pressure",
            Self::PidsLimit => "pids-limit",
            Self::QueueLimit => "queue-limit",
            Self::FirewallDrop => "firewall-drop",
            Self::NoEndpoints => "no-endpoints",
            Self::StaleAddress => "stale-address",
            Self::MtuBlackHole => "mtu-black-hole",
            Self::PortExhaustion => "port-exhaustion",
            Self::ReceiverStalled => "receiver-stalled",
            Self::UdpOverflow => "udp-overflow",
            Self::SynFlood => "syn-flood",
            Self::ResetStorm => "reset-storm",
            Self::CorruptPackets => "corrupt-packets",
            Self::PacketBacklog => "packet-backlog",
            Self::DiskSlow => "disk-slow",
            Self::DiskFull => "disk-full",
            Self::DiskFault => "disk-fault",
            Self::NodePressure => "node-pressure",
            Self::Stopped => "stopped",
            Self::Deadlock => "deadlock",
            Self::Stall => "stall",
            Self::ErrorBurst => "error-burst",
            Self::CodeError => "code-error",
            Self::PoolExhausted => "pool-exhausted",
            Self::Rollout => "rollout",
            Self::Change => "change",
            Self::Unknown => "unknown",
        }
    }

    /// Where it has its seat.
    pub fn family(self) -> Family {
        match self {
            Self::Healthy | Self::LoadGrew | Self::Unknown => Family::None,
            Self::NoisyNeighbour
            | Self::CpuLimit
            | Self::FdExhaustion
            | Self::OomKill
            | Self::MemoryPressure
            | Self::PidsLimit
            | Self::DiskSlow
            | Self::DiskFull
            | Self::DiskFault
            | Self::NodePressure => Family::Resource,
            Self::SlowDownstream
            | Self::Crash
            | Self::LogOnly
            | Self::Stopped
            | Self::Deadlock
            | Self::Stall
            | Self::ErrorBurst
            | Self::CodeError
            | Self::PoolExhausted => Family::Application,
            Self::Rollout => Family::ControlPlane,
            Self::Change => Family::Change,
            _ => Family::Network,
        }
    }

    /// What a service in trouble shows whatever the cause is.
    fn is_a_show(self) -> bool {
        matches!(
            self,
            Self::SlowDownstream
                | Self::ErrorBurst
                | Self::CodeError
                | Self::PoolExhausted
                | Self::Stall
                | Self::ResetStorm
                | Self::LogOnly
        )
    }

    /// Whether it explains `effect` at the place it touches.
    pub fn explains(self, effect: Self) -> bool {
        use Class as C;
        if self == effect {
            return false;
        }
        match self {
            C::Healthy | C::LoadGrew | C::LogOnly | C::Unknown => false,
            C::SlowDownstream | C::ErrorBurst => effect == C::LogOnly,
            C::CodeError => matches!(effect, C::ErrorBurst | C::SlowDownstream | C::LogOnly),
            C::Stall | C::PoolExhausted => {
                matches!(effect, C::ErrorBurst | C::SlowDownstream | C::LogOnly)
            }
            C::Change => {
                matches!(effect, C::ErrorBurst | C::CodeError | C::SlowDownstream | C::LogOnly)
            }
            C::ResetStorm => matches!(effect, C::ErrorBurst | C::CodeError | C::LogOnly),
            _ => effect.is_a_show() || self.brings(effect),
        }
    }

    /// The classes beyond what every service in trouble shows that come with it.
    fn brings(self, effect: Self) -> bool {
        use Class as C;
        match self {
            C::OomKill => matches!(
                effect,
                C::Crash | C::ConnectionRefused | C::MemoryPressure | C::PacketLoss | C::Deadlock
            ),
            C::FdExhaustion => matches!(
                effect,
                C::Crash | C::ConnectionRefused | C::ListenOverflow | C::PacketLoss | C::Deadlock
            ),
            C::Crash | C::Rollout => matches!(effect, C::ConnectionRefused | C::NoEndpoints),
            C::NoisyNeighbour => {
                matches!(
                    effect,
                    C::CpuLimit | C::ListenOverflow | C::LinkDelay | C::ReceiverStalled
                )
            }
            C::CpuLimit => {
                matches!(effect, C::ListenOverflow | C::LinkDelay | C::ReceiverStalled)
            }
            C::ConntrackFull => matches!(
                effect,
                C::PacketLoss
                    | C::WrongRoute
                    | C::ConnectionRefused
                    | C::DnsFailure
                    | C::FirewallDrop
            ),
            C::WrongRoute => matches!(
                effect,
                C::PacketLoss | C::LinkDelay | C::ListenOverflow | C::ConnectionRefused
            ),
            C::PacketLoss => effect == C::LinkDelay,
            C::ListenOverflow => matches!(effect, C::PacketLoss | C::LinkDelay),
            C::DnsFailure => matches!(effect, C::PacketLoss | C::ConnectionRefused),
            C::PidsLimit => effect == C::Crash,
            C::MemoryPressure => matches!(effect, C::Crash | C::DiskSlow),
            _ => self.brings_too(effect),
        }
    }

    /// [`Class::brings`] for the classes that are rarer.
    fn brings_too(self, effect: Self) -> bool {
        use Class as C;
        match self {
            C::QueueLimit | C::MtuBlackHole | C::CorruptPackets => {
                matches!(effect, C::PacketLoss | C::LinkDelay | C::ReceiverStalled)
            }
            C::FirewallDrop => matches!(effect, C::PacketLoss | C::WrongRoute),
            C::NoEndpoints => effect == C::ConnectionRefused,
            C::StaleAddress => matches!(effect, C::PacketLoss | C::WrongRoute),
            C::ReceiverStalled => matches!(effect, C::LinkDelay | C::PacketLoss),
            C::UdpOverflow => matches!(effect, C::DnsFailure | C::PacketLoss),
            C::SynFlood => matches!(effect, C::ListenOverflow | C::PacketLoss),
            C::PacketBacklog => matches!(effect, C::PacketLoss | C::LinkDelay | C::UdpOverflow),
            C::DiskFull | C::DiskFault => matches!(effect, C::Crash | C::DiskSlow),
            C::NodePressure => matches!(effect, C::MemoryPressure | C::DiskSlow | C::Deadlock),
            C::Stopped | C::Deadlock => {
                matches!(
                    effect,
                    C::ListenOverflow
                        | C::PacketLoss
                        | C::LinkDelay
                        | C::WrongRoute
                        | C::ReceiverStalled
                        | C::Deadlock
                )
            }
            _ => false,
        }
    }

    /// Whether packets that do not arrive are what it is about, so that following them
    /// may name what is at fault.
    pub fn is_of_packets(self) -> bool {
        matches!(
            self,
            Self::WrongRoute
                | Self::PacketLoss
                | Self::ConnectionRefused
                | Self::ConntrackFull
                | Self::ListenOverflow
                | Self::DnsFailure
                | Self::FirewallDrop
                | Self::NoEndpoints
                | Self::StaleAddress
                | Self::QueueLimit
                | Self::MtuBlackHole
        )
    }

    /// Whether it tells more exactly what `general` says of the same packets.
    pub(crate) fn refines(self, general: Self) -> bool {
        match self {
            Self::FirewallDrop | Self::QueueLimit | Self::MtuBlackHole | Self::CorruptPackets => {
                general == Self::PacketLoss
            }
            Self::StaleAddress => general == Self::WrongRoute,
            Self::NoEndpoints => matches!(general, Self::ConnectionRefused | Self::PacketLoss),
            _ => false,
        }
    }

    /// Whether it is a fault only if users feel it, unless it is gross. The others
    /// are faults by themselves: a table is full or it is not.
    pub fn needs_symptom(self) -> bool {
        matches!(
            self,
            Self::NoisyNeighbour
                | Self::CpuLimit
                | Self::PacketLoss
                | Self::LinkDelay
                | Self::SlowDownstream
                | Self::MemoryPressure
                | Self::QueueLimit
                | Self::UdpOverflow
                | Self::SynFlood
                | Self::CorruptPackets
                | Self::PacketBacklog
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_listed_once_and_ids_read_as_written() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at, "{class}");
            let written = serde_json::to_string(&class).expect("a class is a word");
            assert_eq!(written, format!("\"{}\"", class.id()));
        }
    }

    #[test]
    fn nothing_explains_what_explains_it() {
        for a in Class::ALL {
            for b in Class::ALL {
                assert!(!(a.explains(b) && b.explains(a)), "{a} and {b} explain each other");
            }
        }
    }

    #[test]
    fn every_fault_has_a_page() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults");
        for class in Class::ALL.into_iter().filter(|c| c.family() != Family::None) {
            let page = std::fs::read_to_string(format!("{pages}/{class}.md")).unwrap_or_default();
            assert!(page.starts_with(&format!("# {class}\n")), "{class} has no page");
            for part in ["What it is", "How it shows", "How to confirm", "How to fix"] {
                assert!(page.contains(&format!("\n## {part}\n")), "{class}: {part}");
            }
        }
    }
}
