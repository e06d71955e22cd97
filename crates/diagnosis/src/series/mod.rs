//! Anomaly bounding of any series, streaming and offline.
//!
//! | module | what it does |
//! |---|---|
//! | [`detector`] | point by point in bounded memory: how surprising, and from when to when |
//! | [`changes`] | a stretch of points: where its level or slope changed |
//! | [`counter`] | counters that reset to rates |
//!
//! No unit, no training, no threshold per series: what is normal is what the series
//! itself did before.

pub mod changes;
pub mod counter;
pub mod detector;
mod novelty;
mod season;
