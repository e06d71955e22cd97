//! What can go wrong, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A recording that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file does not begin as recordings do.
    #[error(
        "not a taproot recording: it does not begin with the recording mark; \
         make one with `taproot record FILE`"
    )]
    NotARecording,
    /// The file ends before its header does.
    #[error(
        "the recording ends inside its header: its writer was interrupted before the first \
         signal, so there is nothing to read; record again"
    )]
    NoHeader,
    /// The file's format is newer than this program.
    #[error(
        "written by a newer taproot (format {found}, this one reads up to {supported}): \
         upgrade taproot to read it"
    )]
    NewerFormat {
        /// Format of the file.
        found: u32,
        /// Newest format this program reads.
        supported: u32,
    },
    /// A frame is damaged.
    #[error(
        "the recording is damaged at byte {offset} ({what}): take a fresh copy of it, or keep \
         the {signals} signals before the damage with `head -c {offset} FILE > REPAIRED`"
    )]
    Corrupt {
        /// Where the damaged frame begins, bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        what: String,
        /// Signals read before it.
        signals: u64,
    },
    /// One signal alone is larger than a frame may be.
    #[error("a signal of {bytes} bytes exceeds the frame limit of {limit}; it was not recorded")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The file exists already.
    #[error("it exists already: choose another name or remove it first")]
    Exists,
    /// No room on the file system.
    #[error(
        "no space left: everything up to the last whole batch is kept; free some space or \
         record to another file system"
    )]
    StorageFull,
    /// A value could not be encoded.
    #[error("cannot encode a signal: {0}")]
    Encode(String),
    /// Any other failure of the file system.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for RecordingError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull,
            io::ErrorKind::AlreadyExists => Self::Exists,
            _ => Self::Io(error),
        }
    }
}

/// A store that cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process writes to it.
    #[error(
        "{path}: in use by process {pid}: stop that process, or give this one a store of its own"
    )]
    Locked {
        /// The store's file.
        path: PathBuf,
        /// Process id of the writer (`?` where it could not be read).
        pid: String,
    },
    /// No such file.
    #[error("{0}: no such store: `taproot run` makes one")]
    Missing(PathBuf),
    /// An SQLite file of another program, or no SQLite file at all.
    #[error("{0}: not a taproot store: give another path")]
    NotAStore(PathBuf),
    /// The schema is newer than this program.
    #[error(
        "{path}: written by a newer taproot (schema {found}, this one knows up to {supported}): \
         upgrade taproot, or give another path"
    )]
    NewerSchema {
        /// The store's file.
        path: PathBuf,
        /// Schema of the file.
        found: i64,
        /// Newest schema this program knows.
        supported: i64,
    },
    /// No room on the file system. Nothing of the refused batch was stored.
    #[error(
        "{0}: no space left: free some space or lower the size limit; nothing acknowledged is \
         lost, and writing resumes by itself when there is room"
    )]
    StorageFull(PathBuf),
    /// File permissions forbid it.
    #[error("{0}: permission denied: run as a user who may write here, or give another path")]
    Permission(PathBuf),
    /// The file or its file system is read-only.
    #[error("{0}: read-only: give a path on a writable file system")]
    ReadOnly(PathBuf),
    /// A reader or a checkpoint held the file for too long.
    #[error("{0}: busy for more than 5 s: another program holds it; try again")]
    Busy(PathBuf),
    /// The file is damaged.
    #[error("{path}: damaged ({what}): move it away to start afresh, or restore a copy")]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A value could not be encoded.
    #[error("cannot encode a signal: {0}")]
    Encode(String),
    /// Any other failure of the file system.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Any other failure of SQLite.
    #[error("{path}: {error}")]
    Sqlite {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}

impl StoreError {
    /// The typed error of an SQLite failure on the store at `path`.
    pub(crate) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let owned = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::StorageFull(owned),
            Some(Code::ReadOnly) => Self::ReadOnly(owned),
            Some(Code::PermissionDenied) => Self::Permission(owned),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy(owned),
            Some(Code::NotADatabase) => Self::NotAStore(owned),
            Some(Code::DatabaseCorrupt) => Self::Corrupt { path: owned, what: error.to_string() },
            _ => Self::Sqlite { path: owned, error },
        }
    }

    /// The typed error of a file-system failure on `path`.
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        let owned = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull(owned),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(owned),
            io::ErrorKind::PermissionDenied => Self::Permission(owned),
            io::ErrorKind::NotFound => Self::Missing(owned),
            _ => Self::Io { path: owned, error },
        }
    }
}

/// A [`Source`](crate::Source) that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is neither a recording nor a store.
    #[error(
        "{0}: neither a taproot recording nor a taproot store: make a recording with \
         `taproot record FILE`"
    )]
    Neither(PathBuf),
    /// The file cannot be opened.
    #[error("{path}: {error}: check the path and its permissions")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The recording cannot be read.
    #[error("{path}: {error}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: RecordingError,
    },
    /// The store cannot be read (its error names the file).
    #[error(transparent)]
    Store(#[from] StoreError),
}
