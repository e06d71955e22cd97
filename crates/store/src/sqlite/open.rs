//! Opening a store: who may, what is there, what becomes of an older file.

use super::keys::Ids;
use super::schema::{self, Found};
use super::upkeep::Retention;
use super::{Fault, SqliteStore, lock};
use crate::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process before it is [`StoreError::Busy`].
const PATIENCE: Duration = Duration::from_secs(5);

/// What an acknowledged batch survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Any end of the process (`synchronous=NORMAL`). A power cut may take the
    /// batches since the last checkpoint, about the last 4 MiB.
    Process,
    /// A power cut too: each batch waits for the disk (`synchronous=FULL`).
    #[default]
    Power,
}

/// How a store is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long, and how much.
    pub retention: Retention,
    /// What an acknowledged batch survives.
    pub durability: Durability,
}

impl SqliteStore {
    /// Opens the store at `path` for writing, or makes one (with its folder).
    ///
    /// There is one writer: a second one gets [`StoreError::Locked`]. An older
    /// schema is brought up to date; a newer one is [`StoreError::NewerSchema`]
    /// and is left untouched.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|e| StoreError::io(folder, e))?;
        }
        let lock = lock::take(path)?;
        touch(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db =
            Connection::open_with_flags(path, flags).map_err(|e| StoreError::sqlite(path, e))?;
        let found = look(&db, path)?;
        set_up(&mut db, found, options.durability).map_err(|e| StoreError::sqlite(path, e))?;
        Ok(Self {
            db,
            path: path.into(),
            retention: options.retention,
            ids: Ids::default(),
            _lock: Some(lock),
        })
    }

    /// Opens the store at `path` for reading, also while another process writes
    /// to it. Appending to it is [`StoreError::ReadOnly`].
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        File::open(path).map_err(|e| StoreError::io(path, e))?;
        let db = open_for_reading(path)?;
        let Found::Schema(from) = look(&db, path)? else {
            return Err(StoreError::NotAStore(path.into()));
        };
        schema::view(&db, from).map_err(|e| StoreError::sqlite(path, e))?;
        let retention = Retention::default();
        Ok(Self { db, path: path.into(), retention, ids: Ids::default(), _lock: None })
    }
}

/// Makes the file if there is none, readable by its owner only: addresses and
/// routes are nobody else's business. SQLite gives its other files the same mode.
fn touch(path: &Path) -> Result<(), StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|e| StoreError::io(path, e))
}

/// What is there, if this program can use it.
fn look(db: &Connection, path: &Path) -> Result<Found, StoreError> {
    match schema::look(db).map_err(|e| StoreError::sqlite(path, e))? {
        Found::Foreign => Err(StoreError::NotAStore(path.into())),
        Found::Schema(found) if found > schema::NEWEST => {
            Err(StoreError::NewerSchema { path: path.into(), found, supported: schema::NEWEST })
        }
        found => Ok(found),
    }
}

fn set_up(db: &mut Connection, found: Found, durability: Durability) -> rusqlite::Result<()> {
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(64);
    if found == Found::Empty {
        // Only before the first table; without it a file never shrinks.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let _: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    let level = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    db.pragma_update(None, "synchronous", level)?;
    db.pragma_update(None, "journal_size_limit", 16 << 20)?;
    db.pragma_update(None, "cache_size", -8192)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match found {
        Found::Schema(from) if from < schema::NEWEST => schema::migrate(&tx, from)?,
        Found::Empty => schema::migrate(&tx, 0)?,
        Found::Schema(_) | Found::Foreign => {}
    }
    tx.commit()
}

/// A reader of a file in WAL mode needs its index beside it, which it may not be
/// able to make (a read-only folder). Without a journal the file is whole by
/// itself and may be read as it is.
fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |name: &str, flags| -> Result<Connection, Fault> {
        let db = Connection::open_with_flags(name, flags)?;
        db.busy_timeout(PATIENCE)?;
        schema::look(&db)?;
        Ok(db)
    };
    let name = path.to_string_lossy();
    let first = open(&name, flags);
    let journal = fs::metadata(format!("{name}-wal")).is_ok_and(|m| m.len() > 0);
    match first {
        Err(Fault::Sql(e)) if cannot_open(&e) && !journal => {
            let uri = format!("file:{}?immutable=1", escape(&name));
            open(&uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(|f| f.on(path))
        }
        other => other.map_err(|f| f.on(path)),
    }
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen)
}

/// A path inside a URI.
fn escape(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
