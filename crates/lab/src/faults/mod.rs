//! The faults: what each is, what it truly causes, and how it is undone.

mod application;
pub(crate) mod helper;
pub(crate) mod inject;
mod network;
mod params;
mod resource;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::ProcessId;
use crate::state::Culprit;

pub use inject::FaultHandle;
pub use params::{Param, Params};

/// A fault the lab can inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing is wrong; for counting false alarms.
    Healthy,
    /// Another pod burns the CPU the product service runs on.
    NoisyNeighbour,
    /// The product service's own CPU quota is too small.
    CpuLimit,
    /// The product service loses file descriptors until it dies.
    FdExhaustion,
    /// Answers to a multi-homed pod come in at the wrong interface.
    WrongRoute,
    /// Packets from product to inventory get lost.
    PacketLoss,
    /// The inventory takes long to answer.
    SlowDownstream,
    /// Nobody listens where the inventory should be.
    ConnectionRefused,
    /// The product service grows until the kernel kills it.
    OomKill,
    /// The node's connection-tracking table is full.
    ConntrackFull,
    /// The way from product to inventory takes long.
    LinkDelay,
    /// The inventory hardly accepts connections.
    ListenOverflow,
    /// The name server fails.
    DnsFailure,
    /// The product service logs errors; hardly anything else is wrong.
    LogOnly,
    /// The inventory is replaced by a new version that fails a share of its requests.
    Rollout,
}

/// What is known of a fault beforehand.
#[derive(Debug, Clone)]
pub struct Description {
    /// Name on the command line.
    pub name: &'static str,
    /// Cause class a diagnosis should give.
    pub class: &'static str,
    /// One sentence for people.
    pub sentence: &'static str,
    /// What is guilty.
    pub culprit: Culprit,
    /// Pod that suffers first, where that is another than the culprit.
    pub victim: Option<&'static str>,
    /// Service at which users see it.
    pub symptom: Option<&'static str>,
    /// What can be set, with the values taken otherwise.
    pub params: &'static [Param],
}

/// A step that takes a fault back. It is kept in `lab.json`, so that another
/// process can take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Undo {
    /// Tell a pod to behave.
    Behave {
        /// Pod name.
        pod: String,
    },
    /// Set a pod's CPU quota back.
    CpuLimit {
        /// Pod name.
        pod: String,
        /// Thousandths of a CPU; none means no quota.
        milli: Option<u32>,
    },
    /// Run a program.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Remove the lab's entries from the node's connection-tracking table.
    FlushConntrack,
    /// End a helper process and remove its cgroup.
    End {
        /// The helper.
        process: ProcessId,
    },
}

const PRODUCT: &str = "product";
const INVENTORY: &str = "inventory";
const GATEWAY: Option<&str> = Some("gateway");

fn pod(name: &str) -> Culprit {
    Culprit::Pod { name: name.into() }
}

fn link() -> Culprit {
    Culprit::Link { from: PRODUCT.into(), to: INVENTORY.into() }
}

impl Fault {
    /// All faults, in the order in which they are best read.
    pub const ALL: [Self; 15] = [
        Self::Healthy,
        Self::NoisyNeighbour,
        Self::CpuLimit,
        Self::FdExhaustion,
        Self::WrongRoute,
        Self::PacketLoss,
        Self::SlowDownstream,
        Self::ConnectionRefused,
        Self::OomKill,
        Self::ConntrackFull,
        Self::LinkDelay,
        Self::ListenOverflow,
        Self::DnsFailure,
        Self::LogOnly,
        Self::Rollout,
    ];

    /// Finds a fault by name.
    ///
    /// # Errors
    /// [`Error::UnknownFault`] with the nearest name and all names.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|f| f.name() == name);
        found.ok_or_else(|| {
            let nearest = Self::ALL.into_iter().min_by_key(|f| distance(f.name(), name));
            Error::UnknownFault {
                name: name.into(),
                nearest: nearest.map_or("", Self::name).into(),
                all: Self::ALL.map(Self::name).join(", "),
            }
        })
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::NoisyNeighbour => "noisy-neighbour",
            Self::CpuLimit => "cpu-limit",
            Self::FdExhaustion => "fd-exhaustion",
            Self::WrongRoute => "wrong-route",
            Self::PacketLoss => "packet-loss",
            Self::SlowDownstream => "slow-downstream",
            Self::ConnectionRefused => "connection-refused",
            Self::OomKill => "oom-kill",
            Self::ConntrackFull => "conntrack-full",
            Self::LinkDelay => "link-delay",
            Self::ListenOverflow => "listen-overflow",
            Self::DnsFailure => "dns-failure",
            Self::LogOnly => "log-only",
            Self::Rollout => "rollout",
        }
    }

    /// Class a diagnosis should give: that of the fault's name. Only, a new version that
    /// comes to run as it was asked to, and is bad, is a change.
    pub fn class(self) -> &'static str {
        if self == Self::Rollout { "change" } else { self.name() }
    }

    /// One sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Healthy => "nothing is wrong: load flows, and no alarm may be raised",
            Self::NoisyNeighbour => {
                "pod batch burns the CPU that pod product runs on; product's own quota hinders it \
                 from working off its backlog"
            }
            Self::CpuLimit => "product's CPU quota is set below what its load needs",
            Self::FdExhaustion => {
                "product loses file descriptors at a constant rate, logs gibberish, and dies \
                 without an error line"
            }
            Self::WrongRoute => {
                "pod reporter (two subnets) sends from its second address over its first \
                 interface; the API server's answers come in at the second and are dropped"
            }
            Self::PacketLoss => "a share of the packets from product to inventory is dropped",
            Self::SlowDownstream => "inventory sleeps before each answer",
            Self::ConnectionRefused => "inventory is down: nothing listens on its port",
            Self::OomKill => "product grows until the kernel kills it at its memory limit",
            Self::ConntrackFull => {
                "the node's connection-tracking table is filled: new connections are dropped"
            }
            Self::LinkDelay => "every packet from product to inventory is delayed",
            Self::ListenOverflow => "inventory's accept queue is short and it hardly accepts",
            Self::DnsFailure => "the name server answers SERVFAIL (or, with silent=1, nothing)",
            Self::LogOnly => {
                "product logs a burst of errors and fails a few requests; resources are healthy"
            }
            Self::Rollout => {
                "inventory is replaced by a new version of its image, which fails a share of its \
                 requests"
            }
        }
    }

    /// Everything that is known of the fault beforehand.
    pub fn describe(self) -> Description {
        let (culprit, victim, symptom) = self.truth();
        Description {
            name: self.name(),
            class: self.class(),
            sentence: self.sentence(),
            culprit,
            victim,
            symptom,
            params: self.params(),
        }
    }

    fn truth(self) -> (Culprit, Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Healthy => (Culprit::None, None, None),
            Self::NoisyNeighbour => (pod("batch"), Some(PRODUCT), GATEWAY),
            Self::CpuLimit | Self::FdExhaustion | Self::OomKill => (pod(PRODUCT), None, GATEWAY),
            Self::LogOnly => (pod(PRODUCT), None, None),
            Self::WrongRoute => (pod("reporter"), None, Some("reporter")),
            Self::PacketLoss | Self::LinkDelay => (link(), Some(PRODUCT), GATEWAY),
            Self::SlowDownstream
            | Self::ConnectionRefused
            | Self::ListenOverflow
            | Self::Rollout => (pod(INVENTORY), None, GATEWAY),
            Self::ConntrackFull => (Culprit::Node { name: "lab-node".into() }, None, GATEWAY),
            Self::DnsFailure => (pod("dns"), Some(PRODUCT), GATEWAY),
        }
    }
}

/// All faults with what is known of them.
pub fn faults() -> Vec<Description> {
    Fault::ALL.into_iter().map(Fault::describe).collect()
}

/// Letters to insert, delete or replace to turn one name into the other
/// (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_near_misses_named() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.name()).unwrap(), fault);
        }
        let Err(Error::UnknownFault { nearest, .. }) = Fault::parse("noisy-neighbor") else {
            panic!("must be unknown");
        };
        assert_eq!(nearest, "noisy-neighbour");
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn every_fault_but_healthy_has_a_culprit() {
        for description in faults() {
            assert_eq!(description.culprit == Culprit::None, description.name == "healthy");
        }
    }
}
