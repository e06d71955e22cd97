//! Collectors to identity to aggregation to sinks: what runs on every node.
//!
//! An [`Agent`] starts the collectors that this kernel accepts, names what they see
//! through [`taproot_kube::Resolver`], and hands out batches of
//! [`taproot_model::Signal`]s, once per interval. What a collector cannot do here,
//! or lost, comes out as a [`taproot_model::Loss`] or in [`Agent::features`].

#![forbid(unsafe_code)]

mod agent;
mod calls;
mod changes;
mod clock;
mod error;
mod features;
mod files;
mod flows;
mod lifecycle;
mod logs;
mod names;
mod options;
mod releases;
mod requests;
mod scope;
mod stages;
mod start;
mod waits;

pub use agent::Agent;
pub use clock::clock_offset;
pub use error::{Error, Result};
pub use features::{Feature, FeatureState, probe};
pub use options::Options;
pub use scope::{Scope, ScopeError};
