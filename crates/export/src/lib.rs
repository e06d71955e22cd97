//! Signals to series, for Prometheus and OpenTelemetry.
//!
//! A [`Registry`] adds up what signals tell, under the names of
//! [`taproot_model::schema`]. [`prometheus::text`] writes it in the text format, and
//! [`otlp::Exporter`] sends it, with the requests kept in full as spans, to whatever
//! speaks OTLP. Both read the same table of names and the same series.
//!
//! Memory is bounded: by a cap on series, on owners and on spans that wait. What does
//! not fit is counted and exported itself.
#![forbid(unsafe_code)]

mod buckets;
mod call;
mod intake;
pub mod otlp;
mod owner;
pub mod prometheus;
mod registry;

pub use owner::Owner;
pub use registry::{Attributes, Data, Family, Limits, Point, Registry, Value};
