//! What every store can do, whatever engine is behind it.

use crate::StoreError;
use serde::{Deserialize, Serialize};
use taproot_model::{Name, Signal, Span, Timestamp};

/// A home for signals and reports.
///
/// A fixed set of questions, so that an embedded file and a cluster of servers
/// can both answer them. One value is one writer; readers open their own.
pub trait Store {
    /// Keeps a batch: all of it or, on an error, nothing.
    ///
    /// Once this returns, the batch survives the end of this process by any
    /// means. What a power cut may take is the implementation's to say.
    fn append(&mut self, signals: &[Signal]) -> Result<Ack, StoreError>;

    /// Gives every signal of `span` to `each`, by time; owners
    /// ([`Signal::Entity`]) come first.
    ///
    /// Older signals come in coarser intervals: counts and histograms of a
    /// roll-up are exact sums, a gauge keeps its worst value.
    fn read(&self, span: Span, each: &mut dyn FnMut(Signal)) -> Result<(), StoreError>;

    /// The time from the oldest to the newest signal kept, `None` when empty.
    fn extent(&self) -> Result<Option<Span>, StoreError>;

    /// Keeps a report; one with the same id is replaced.
    fn put_report(&mut self, report: &Report) -> Result<(), StoreError>;

    /// The reports made within `span`, newest first.
    fn list_reports(&self, span: Span) -> Result<Vec<ReportHead>, StoreError>;

    /// One report in full.
    fn report(&self, id: &str) -> Result<Option<Report>, StoreError>;

    /// How much there is of what.
    fn stats(&self) -> Result<StoreStats, StoreError>;

    /// One bounded step of upkeep: rolls up, forgets what is too old or too
    /// much, and gives space back. Call it about once a second, again at once
    /// while [`Upkeep::pending`].
    fn maintain(&mut self, now: Timestamp) -> Result<Upkeep, StoreError>;
}

/// The receipt of a batch: it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Signals in it.
    pub signals: u64,
}

/// What a list of reports shows of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportHead {
    /// Its key.
    pub id: Name,
    /// When it was made.
    pub at: Timestamp,
    /// The service it is about.
    pub service: Name,
    /// The verdict in one line.
    pub title: Name,
}

/// A diagnosis as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What a list shows of it.
    pub head: ReportHead,
    /// For people.
    pub text: String,
    /// For programs: the JSON document of `taproot diagnose -o json`.
    pub json: String,
}

/// What one step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Finer rows merged away.
    pub rolled_up: u64,
    /// Coarser rows they became.
    pub into: u64,
    /// Rows forgotten because of their age.
    pub expired: u64,
    /// Rows forgotten to keep within the size limit.
    pub evicted: u64,
    /// Whether there is more to do now.
    pub pending: bool,
}

/// How many rows one table keeps, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStats {
    /// `flows 1s`, `requests 10s`, `events`, ...
    pub name: Name,
    /// Rows.
    pub rows: u64,
    /// Time of the oldest row.
    pub oldest: Option<Timestamp>,
}

/// How much there is of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Signals ever appended.
    pub appended: u64,
    /// Time of the newest signal.
    pub newest: Option<Timestamp>,
    /// Bytes in use in the file.
    pub bytes: u64,
    /// Bytes it may use.
    pub max_bytes: u64,
    /// By table.
    pub tables: Vec<TableStats>,
}
