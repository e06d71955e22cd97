//! The words of the house: signals, endpoints, identities, time, sketches.
//!
//! Every floor above speaks in these types. A [`Signal`] is one observation with
//! its owner already named; signals flow one way, from the probes of a node
//! through identity and aggregation into a store or a recording, and from there
//! into diagnosis. This crate does no I/O.
#![forbid(unsafe_code)]

mod entity;
mod frame;
mod histogram;
mod hop;
pub mod metric;
mod request;
pub mod schema;
mod signal;
mod time;
pub mod trace;

pub use entity::{Endpoint, Entity, EntityId, EntityKind, Name};
pub use frame::{Arp, Frame, Mac};
pub use histogram::{Histogram, SCALE as HISTOGRAM_SCALE};
pub use hop::{
    Blame, Call, Category, Direction, Drop, Hop, Neighbour, NetfilterHook, PacketId, Place, Route,
    Socket, Step, Tuple,
};
pub use request::{Exemplar, Protocol, Requests, SendBuffer, Stage, Stages};
pub use signal::{
    Change, ChangeKind, ClusterEvent, Edge, ErrnoCount, Exit, Flow, Gibberish, Lifecycle,
    LifecycleKind, LogPattern, LogSeverity, Loss, Metric, MetricKind, Role, Signal, SyscallFailure,
    Transport,
};
pub use time::{Span, Timestamp};
