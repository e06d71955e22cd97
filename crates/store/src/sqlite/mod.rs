//! The embedded store: one SQLite file in WAL mode.
//!
//! What is kept, how it is rolled up and what was measured is written in
//! `docs/decisions/0003`.
#![allow(
    clippy::cast_possible_wrap,
    reason = "SQLite's integers are signed; tiers and lengths are far from 2^63"
)]

mod append;
mod keys;
mod lock;
mod open;
mod read;
mod reports;
mod rows;
mod schema;
mod upkeep;

pub use open::{Durability, StoreOptions};
pub use upkeep::Retention;

use crate::codec::CodecError;
use crate::{Ack, Report, ReportHead, Store, StoreError, StoreStats, TableStats, Upkeep};
use append::Meta;
use keys::{Ids, timestamp};
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use taproot_model::{Signal, Span, Timestamp};

/// The embedded [`Store`].
///
/// A batch is one transaction. With [`Durability::Power`] (the default) an
/// acknowledged batch survives also a power cut; with [`Durability::Process`] it
/// survives the end of the process by any means, and a power cut may take the
/// last seconds, but never damages the file.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    retention: Retention,
    ids: Ids,
    /// Held for as long as this is the writer; `None` for a reader.
    _lock: Option<lock::Lock>,
}

/// Why something inside failed; at the door it becomes a [`StoreError`].
#[derive(Debug)]
enum Fault {
    Sql(rusqlite::Error),
    Codec(CodecError),
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl Fault {
    fn on(self, path: &Path) -> StoreError {
        let corrupt = |what| StoreError::Corrupt { path: path.into(), what };
        match self {
            Self::Sql(error) => StoreError::sqlite(path, error),
            Self::Codec(CodecError::Encode(error)) => StoreError::Encode(error.to_string()),
            Self::Codec(CodecError::Decode(error)) => corrupt(error.to_string()),
            Self::Damaged(what) => corrupt(what),
        }
    }
}

impl SqliteStore {
    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, signals: &[Signal]) -> Result<(), Fault> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        append::append(&tx, &mut self.ids, signals)?;
        Ok(tx.commit()?)
    }

    /// Runs `look` on one unchanging state of the file.
    fn snapshot<T>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let run = || {
            let tx = self.db.unchecked_transaction()?;
            let out = look(&tx)?;
            tx.commit()?;
            Ok(out)
        };
        run().map_err(|fault: Fault| fault.on(&self.path))
    }
}

impl Store for SqliteStore {
    fn append(&mut self, signals: &[Signal]) -> Result<Ack, StoreError> {
        self.write(signals).map_err(|fault| {
            // Ids given out in the lost transaction stand for nothing.
            self.ids.clear();
            fault.on(&self.path)
        })?;
        Ok(Ack { signals: signals.len() as u64 })
    }

    fn read(&self, span: Span, each: &mut dyn FnMut(Signal)) -> Result<(), StoreError> {
        self.snapshot(|db| read::read(db, span, each))
    }

    fn extent(&self) -> Result<Option<Span>, StoreError> {
        self.snapshot(|db| {
            let oldest = upkeep::census(db)?.into_iter().filter_map(|(_, _, oldest)| oldest).min();
            let newest = Meta::load(db)?.newest;
            Ok(oldest.map(|from| Span::new(timestamp(from), timestamp(newest.saturating_add(1)))))
        })
    }

    fn put_report(&mut self, report: &Report) -> Result<(), StoreError> {
        reports::put(&self.db, report).map_err(|e| StoreError::sqlite(&self.path, e))
    }

    fn list_reports(&self, span: Span) -> Result<Vec<ReportHead>, StoreError> {
        reports::list(&self.db, span).map_err(|e| StoreError::sqlite(&self.path, e))
    }

    fn report(&self, id: &str) -> Result<Option<Report>, StoreError> {
        reports::get(&self.db, id).map_err(|e| StoreError::sqlite(&self.path, e))
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        self.snapshot(|db| {
            let meta = Meta::load(db)?;
            let tables = upkeep::census(db)?.into_iter().map(|(name, rows, oldest)| TableStats {
                name: name.into(),
                rows,
                oldest: oldest.map(timestamp),
            });
            Ok(StoreStats {
                appended: meta.appended.cast_unsigned(),
                newest: (meta.newest > 0).then(|| timestamp(meta.newest)),
                bytes: upkeep::bytes_used(db)?,
                max_bytes: self.retention.max_bytes,
                tables: tables.collect(),
            })
        })
    }

    fn maintain(&mut self, now: Timestamp) -> Result<Upkeep, StoreError> {
        let done = upkeep::run(&mut self.db, &self.retention, now).map_err(|f| f.on(&self.path))?;
        if done.expired + done.evicted > 0 {
            // Series that were forgotten must get a new id when they come back.
            self.ids.clear();
        }
        Ok(done)
    }
}
