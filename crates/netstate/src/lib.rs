//! The networking of one network namespace: its state, what it would do with a
//! packet, and what is at fault when the kernel drops one.
//!
//! * [`NetState`] is read from the kernel over netlink (and `nft`, `iptables-save`).
//! * [`predict()`] walks a packet through it as the kernel would, and says how it ends.
//! * [`explain()`] goes from a drop to the rule, route, switch, neighbour, socket,
//!   queue, device or program at fault.
//! * [`watch`] tells what is changed in a namespace while it is being changed.
//! * [`reasons`] has words for every drop reason.
#![forbid(unsafe_code)]

mod culprit;
mod enter;
mod error;
mod explain;
pub mod firewall;
mod incident;
mod netlink;
pub mod predict;
pub mod reasons;
pub mod route;
pub mod state;
pub mod watch;

pub use enter::inside;
pub use error::{Error, Result};
pub use explain::explain;
pub use incident::Incident;
pub use predict::predict;
pub use state::NetState;
pub use watch::Watch;
