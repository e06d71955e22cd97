//! Control groups: where the hierarchies are mounted, who is in which group,
//! and what the path of a group says about its owner.
//!
//! Three layouts exist in the field (systemd's names for them):
//! *unified* (cgroup v2 only), *hybrid* (v1 controllers, plus a v2 tree without
//! them) and *legacy* (v1 only). In the first two the id that BPF reads with
//! `bpf_get_current_cgroup_id()` is the inode of the group's directory in the
//! v2 tree; in the third it is useless, and a process is found through
//! `/proc/<pid>/cgroup`.

mod layout;
mod membership;
mod owner;
mod tree;

pub use layout::{Layout, LayoutError, LayoutKind};
pub use membership::Membership;
pub use owner::{ContainerRef, Owner, PodRef, Qos, Runtime, SessionRef};
pub use tree::{Tree, TreeChange};
