//! Where signals rest: the embedded store and the recording file.
//!
//! Two homes for the same [`Signal`](taproot_model::Signal)s:
//!
//! - a **recording** ([`recording`]) is one append-only file that holds every
//!   signal as it was seen, to be carried away and replayed;
//! - the **embedded store** ([`SqliteStore`], behind the trait [`Store`]) is one
//!   SQLite file that a running agent appends to, rolls up and forgets from.
//!
//! A reading command does not care which of them it reads: it asks a [`Source`].
#![forbid(unsafe_code)]

mod codec;
mod error;
pub mod recording;
mod source;
mod sqlite;
mod store;

pub use error::{RecordingError, SourceError, StoreError};
pub use source::{Extent, Source};
pub use sqlite::{Durability, Retention, SqliteStore, StoreOptions};
pub use store::{Ack, Report, ReportHead, Store, StoreStats, TableStats, Upkeep};
