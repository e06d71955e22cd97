//! Golden signals to a cause: bound, walk, attribute, fault tree, report. Pure.
//!
//! [`diagnose`] asks an [`Evidence`] (a live world, a recording, a benchmark) and
//! returns a [`Report`]: what is wrong and since when ([`symptom`]), the way from
//! the alarmed service to the place where it begins ([`walk`]), the causes that
//! fit there with their figures ([`fault`]), what was ruled out, what could not be
//! seen, what to do. No time of injection and no healthy past are needed: where
//! there is no past, figures that need none (a full table, an errno, a share of
//! throttled periods) carry the verdict.
//!
//! Every number of a report was read from a signal.
#![forbid(unsafe_code)]

mod advice;
pub mod attribute;
mod blind;
pub mod bound;
pub mod breakdown;
mod confidence;
mod culprit;
mod diagnose;
mod evidence;
pub mod fault;
pub mod incident;
pub mod locate;
mod observe;
mod place;
mod rank;
pub mod render;
mod report;
mod scene;
pub mod series;
pub mod stats;
pub mod symptom;
pub mod traced;
mod units;
pub mod walk;

pub use confidence::confidence;
pub use culprit::{Culprit, CulpritKind};
pub use diagnose::{Question, QuestionError, diagnose};
pub use evidence::{Evidence, Link};
pub use fault::{Class, Family, Finding, Leaf, RuledOut};
pub use place::Place;
pub use report::{
    Advice, Alternative, Blind, Chart, EvidenceLine, Report, SCHEMA_VERSION, Suspect, SymptomLine,
    Verdict,
};
pub use scene::{Scene, Windows};
pub use traced::{Traced, WithTraces, to_trace};
