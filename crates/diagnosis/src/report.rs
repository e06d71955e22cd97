use crate::breakdown::Breakdown;
use crate::culprit::Culprit;
use crate::fault::{Class, RuledOut};
use crate::place::Place;
use crate::symptom::Measure;
use crate::traced::Traced;
use crate::walk::Walk;
use serde::Serialize;
use taproot_model::{Name, Span, Timestamp};

/// Version of the JSON schema of a [`Report`]: raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// The answer to a question.
///
/// Seconds, bytes and ratios from 0 to 1 throughout; times are nanoseconds since
/// the Unix epoch. Fields that nothing is known about are `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The service asked about; `null` if all were looked at.
    pub service: Option<Name>,
    /// The time looked at.
    pub span: Span,
    /// What it is.
    pub verdict: Verdict,
    /// What users feel, worst first.
    pub symptoms: Vec<SymptomLine>,
    /// The way from the alarmed service to where the trouble begins.
    pub walk: Option<Walk>,
    /// The services to suspect by their figures alone, whatever the class: worst first.
    pub suspects: Vec<Suspect>,
    /// Which requests make the difference, at the alarmed service and where the way ends.
    pub breakdowns: Vec<Breakdown>,
    /// The figures that prove the verdict, strongest first.
    pub evidence: Vec<EvidenceLine>,
    /// What follows from the cause, in words.
    pub effects: Vec<String>,
    /// What packets that were followed told, one a link; empty where none were.
    pub traces: Vec<Traced>,
    /// What was looked for and not found, with figures.
    pub ruled_out: Vec<RuledOut>,
    /// Other causes that fit, weaker ones.
    pub alternatives: Vec<Alternative>,
    /// Faults at places that have nothing to do with the question.
    pub elsewhere: Vec<Alternative>,
    /// What to do, and how to confirm.
    pub advice: Advice,
    /// What could not be seen.
    pub blind: Vec<Blind>,
}

/// What it is, where, since when, how sure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The class; `unknown` means inconclusive.
    pub class: Class,
    /// In one sentence with figures.
    pub headline: String,
    /// Where.
    pub place: Option<Place>,
    /// Who or what is to blame.
    pub culprit: Option<Culprit>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Until when, if it is over.
    pub until: Option<Timestamp>,
    /// How sure, 0 to 1: how often a verdict with such evidence was right.
    pub confidence: f64,
    /// How well the evidence proves it, 0 to 1, what could not be seen included; what
    /// [`Verdict::confidence`] is made of.
    pub score: f64,
    /// Whether it has not happened yet.
    pub predicted: bool,
}

/// A service whose figures speak against it: what [`crate::locate`] says of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// Its name.
    pub service: Name,
    /// Orders the list.
    pub score: f64,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// What speaks for it, strongest first.
    pub because: Vec<String>,
}

/// A golden signal that left its normal range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SymptomLine {
    /// Which.
    pub measure: Measure,
    /// In one sentence.
    pub text: String,
    /// Its normal value; `null` without a past.
    pub normal: Option<f64>,
    /// Its value during the trouble.
    pub level: f64,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it is over.
    pub until: Option<Timestamp>,
    /// Its course.
    pub chart: Chart,
}

/// A course over the span in even steps; gaps are `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chart {
    /// The values.
    pub values: Vec<Option<f64>>,
}

/// One figure and where it was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvidenceLine {
    /// In words.
    pub text: String,
    /// The signal it was read from.
    pub signal: &'static str,
    /// The value.
    pub value: f64,
    /// What it was before; `null` without a past.
    pub before: Option<f64>,
    /// How far it alone proves the verdict, 0 to 1.
    pub strength: f64,
    /// Its course, if it is a series.
    pub chart: Chart,
}

/// A cause that also fits, or a fault elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The class.
    pub class: Class,
    /// Where.
    pub place: Place,
    /// In one sentence with figures.
    pub headline: String,
    /// How well it fits, 0 to 1.
    pub score: f64,
}

/// What to do, and how to confirm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What to do, first things first.
    pub fix: Vec<String>,
    /// Commands that show the same by other means.
    pub commands: Vec<String>,
    /// The page that explains the class.
    pub page: Option<String>,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blind {
    /// In words, with figures.
    pub text: String,
}
