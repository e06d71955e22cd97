//! Signals to a windowed picture of the cluster: services, edges, series, events. Pure.
//!
//! A [`World`] is fed with [`taproot_model::Signal`]s, live or out of a recording,
//! in roughly the order of time, and answers questions about any span inside its
//! window: who is there ([`World::entities`]), who calls whom ([`World::edges`]),
//! how much, how fast and how badly ([`World::flow`], [`World::requests`]), with
//! what resources ([`World::metric`]) and what happened ([`World::happenings`]).
//!
//! Memory is bounded: by the window, by caps on the number of series, and by a
//! budget of bytes. What is refused or evicted is counted by reason in
//! [`World::evicted`], so that a report can say what it no longer knows.
#![forbid(unsafe_code)]

mod bins;
mod config;
mod edge;
mod happenings;
mod query;
mod series;
pub mod view;
mod world;

pub use config::{Config, Evicted};
pub use edge::{EdgeKey, FlowTotals, Observer, RequestKey, RequestTotals};
pub use happenings::Happenings;
pub use query::EdgeInfo;
pub use series::{Point, Series, SeriesKey};
pub use world::World;
