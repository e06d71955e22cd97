//! What a workload lacks: CPU, memory, file descriptors, ports, table entries.
//!
//! | source | gives | type |
//! |---|---|---|
//! | scheduler hook | who waited for a CPU and who ran instead | [`Sched`] |
//! | system-call hook | calls that fail, by cgroup, call and errno | [`Failures`] |
//! | cgroup files | CPU use and throttling, memory, pids, PSI, with their limits | [`CgroupReader`] |
//! | `/proc/<pid>/fd` | open files of the process closest to its limit | [`closest_to_limit`] |
//! | `/proc/<pid>/stat` | processes that are stopped, frozen or stuck | [`Conditions`] |
//! | `/proc/<pid>/net` | refused packets and the conntrack table of a netns | [`NetnsCounters`] |
//! | `/proc` | the node: CPU, backlog, file table | [`NodeCounters`] |
//!
//! Everything is keyed by cgroup id (inode of its directory in the unified
//! hierarchy) and pid; names are given further up. Counters come out as what was
//! added since the last reading.

mod cgroup;
mod condition;
pub(crate) mod counters;
mod failures;
mod fd;
mod netns;
mod node;
mod sched;
mod syscalls;

pub use cgroup::{
    CgroupPaths, CgroupReader, CgroupReading, CpuReading, MemoryReading, PidsReading, Stall, Stalls,
};
pub use condition::Conditions;
pub use failures::{Failure, Failures, errno_name};
pub use fd::{FdKind, FdReading, NodeFiles, closest_to_limit, fd_count, fd_kinds, fd_limit};
pub use netns::{Conntrack, NetnsCounters};
pub use node::NodeCounters;
pub use sched::{Culprit, Sched, Wait};
pub use syscalls::{syscall_name, syscall_number};

/// Something that could not be accounted, by reason, since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Why (`matrix_full`).
    pub reason: &'static str,
    /// How much; events unless the reason says otherwise.
    pub count: u64,
}
