//! Where a reading command takes its signals from.

use crate::recording::{Ending, MARK, RecordingReader};
use crate::{SourceError, SqliteStore, Store};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use taproot_model::{Signal, Span, Timestamp};

/// The first bytes of every SQLite file.
const SQLITE_MARK: &[u8] = b"SQLite format 3\0";

/// How far apart the signals of a recording may be written from their order in
/// time: a request is written when it ends and carries the time it began.
const REORDER: Duration = Duration::from_mins(1);

/// Signals held back for reordering at most; beyond it, order gives way to memory.
const HELD: usize = 200_000;

/// A recording or a store: both give the signals of a span in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of `taproot record`.
    Recording(PathBuf),
    /// The file of a (perhaps running) `taproot run`.
    Store(PathBuf),
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Signals given, owners included.
    pub signals: u64,
    /// Time of the first and just after the last of them; `None` if there was none.
    pub span: Option<Span>,
    /// How the recording ends; `None` for a store.
    pub ending: Option<Ending>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recording(path) => write!(f, "recording {}", path.display()),
            Self::Store(path) => write!(f, "store {}", path.display()),
        }
    }
}

impl Source {
    /// Looks at a file's first bytes to see what it is.
    pub fn detect(path: &Path) -> Result<Self, SourceError> {
        let mut start = Vec::new();
        File::open(path)
            .and_then(|file| file.take(SQLITE_MARK.len() as u64).read_to_end(&mut start))
            .map_err(|error| SourceError::Open { path: path.into(), error })?;
        if start.starts_with(&MARK) {
            Ok(Self::Recording(path.into()))
        } else if start == SQLITE_MARK {
            Ok(Self::Store(path.into()))
        } else {
            Err(SourceError::Neither(path.into()))
        }
    }

    /// Gives the signals of `span` to `each` by time. Owners
    /// ([`Signal::Entity`]) have no time: they come before what refers to them,
    /// and all of them are given.
    ///
    /// A damaged recording gives what is sound and then the error.
    pub fn read(&self, span: Span, each: &mut dyn FnMut(Signal)) -> Result<Extent, SourceError> {
        let mut extent = Extent::default();
        let mut counted = |signal: Signal| {
            extent.count(&signal);
            each(signal);
        };
        let ending = match self {
            Self::Recording(path) => read_recording(path, span, &mut counted)?,
            Self::Store(path) => {
                SqliteStore::open_read_only(path)?.read(span, &mut counted)?;
                None
            }
        };
        Ok(Extent { ending, ..extent })
    }

    /// The time from the first to the last signal; `None` when there is none.
    /// A recording is read to its end for this.
    pub fn extent(&self) -> Result<Option<Span>, SourceError> {
        match self {
            Self::Store(path) => Ok(SqliteStore::open_read_only(path)?.extent()?),
            Self::Recording(_) => {
                let all = Span::new(Timestamp(0), Timestamp(u64::MAX));
                Ok(self.read(all, &mut drop)?.span)
            }
        }
    }
}

impl Extent {
    fn count(&mut self, signal: &Signal) {
        self.signals += 1;
        if let Some(at) = signal.at() {
            let after = at + Duration::from_nanos(1);
            let span = self.span.get_or_insert(Span::new(at, after));
            span.from = span.from.min(at);
            span.to = span.to.max(after);
        }
    }
}

fn read_recording(
    path: &Path,
    span: Span,
    each: &mut dyn FnMut(Signal),
) -> Result<Option<Ending>, SourceError> {
    let wrong = |error| SourceError::Recording { path: path.into(), error };
    let mut reader = RecordingReader::open(path).map_err(wrong)?;
    let mut order = Reorder::default();
    let mut failed = None;
    for signal in &mut reader {
        match signal {
            Ok(signal) => match signal.at() {
                None => each(signal),
                Some(at) if span.contains(at) => order.push(at, signal, each),
                Some(_) => {}
            },
            Err(error) => failed = Some(error),
        }
    }
    order.finish(each);
    match failed {
        Some(error) => Err(wrong(error)),
        None => Ok(reader.ending()),
    }
}

/// Holds signals back until none that belongs before them can come.
#[derive(Default)]
struct Reorder {
    held: BinaryHeap<Reverse<Held>>,
    newest: Timestamp,
    number: u64,
}

impl Reorder {
    fn push(&mut self, at: Timestamp, signal: Signal, each: &mut dyn FnMut(Signal)) {
        self.newest = self.newest.max(at);
        self.number += 1;
        self.held.push(Reverse(Held { at, number: self.number, signal }));
        let ripe = self.newest - REORDER;
        while self.held.len() > HELD || self.held.peek().is_some_and(|first| first.0.at < ripe) {
            if let Some(Reverse(first)) = self.held.pop() {
                each(first.signal);
            }
        }
    }

    fn finish(mut self, each: &mut dyn FnMut(Signal)) {
        while let Some(Reverse(first)) = self.held.pop() {
            each(first.signal);
        }
    }
}

/// A signal by its time, those of one time in the order they came.
struct Held {
    at: Timestamp,
    number: u64,
    signal: Signal,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Held {}
