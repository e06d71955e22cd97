//! What the reading commands show, as data: each view serialises to JSON with a
//! `schema_version` that changes when a field changes its meaning or goes.
//!
//! Units are those of OpenTelemetry: seconds, bytes, ratios from 0 to 1; rates
//! are per second. A field that nobody measured is `null`, never 0.

mod capture;
mod flows;
mod golden;
mod map;
mod place;
mod requests;
mod spent;
mod stages;
mod top;

pub use capture::{Capture, Unseen};
pub use flows::{FlowRow, Flows};
pub use golden::{Golden, Latency};
pub use map::{Map, MapEdge, MapService};
pub use place::PlaceRow;
pub use requests::{ExemplarRow, RequestRow, RequestsView};
pub use spent::Spent;
pub use stages::{StageRow, StagesRow};
pub use top::{Top, TopRow};

use taproot_model::Span;

/// Version of the JSON schemas of this module.
pub const SCHEMA_VERSION: u32 = 1;

/// Length of a span in seconds, at least one bin's worth to divide by.
pub(crate) fn seconds(span: Span) -> f64 {
    span.length().as_secs_f64().max(1e-9)
}
