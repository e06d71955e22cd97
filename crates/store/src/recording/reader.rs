use super::frame::{self, Frame, Kind};
use super::{End, FORMAT, FORMATS, Header, MARK};
use crate::{RecordingError, codec};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::vec;
use taproot_model::{Signal, Timestamp};

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end mark, and everything the mark counts was there.
    Complete {
        /// Signals in it.
        signals: u64,
    },
    /// Without one: the writer was killed, or is still writing.
    Interrupted {
        /// Signals in it.
        signals: u64,
        /// Time of the newest of them.
        last: Option<Timestamp>,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { signals } => write!(f, "recording of {signals} signals, complete"),
            Self::Interrupted { signals, last: Some(at) } => {
                let at = at.clock();
                write!(
                    f,
                    "recording ends after {signals} signals at {at} UTC: the writer was interrupted"
                )
            }
            Self::Interrupted { signals, last: None } => {
                write!(f, "recording ends after {signals} signals: the writer was interrupted")
            }
        }
    }
}

/// Streams the signals of a recording in the order they were written.
///
/// Holds one frame in memory. After the last item, [`ending`](Self::ending)
/// says whether the recording was whole; after an error there are no more items.
#[derive(Debug)]
pub struct RecordingReader<R> {
    from: R,
    header: Header,
    batch: vec::IntoIter<Signal>,
    /// Where the next frame begins.
    offset: u64,
    seen: End,
    last: Option<Timestamp>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Ended(Ending),
    Failed,
}

impl RecordingReader<BufReader<File>> {
    /// Opens a recording and reads its header.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::new(BufReader::with_capacity(1 << 16, File::open(path)?))
    }
}

impl<R: Read> RecordingReader<R> {
    /// Reads the header of a recording from anything that gives bytes.
    pub fn new(mut from: R) -> Result<Self, RecordingError> {
        check_start(&mut from)?;
        let start = (MARK.len() + 4) as u64;
        let (header, offset) = read_header(&mut from, start)?;
        Ok(Self {
            from,
            header,
            batch: Vec::new().into_iter(),
            offset,
            seen: End { signals: 0, batches: 0 },
            last: None,
            state: State::Reading,
        })
    }

    /// Who recorded what.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the recording ends; `None` while there is more to read and after an error.
    pub fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Ended(ending) => Some(ending),
            State::Reading | State::Failed => None,
        }
    }

    /// Takes the next frame in. On return there is a batch, an end or an error.
    fn advance(&mut self) -> Result<(), RecordingError> {
        match frame::read(&mut self.from)? {
            Frame::Whole(Kind::Batch, payload, size) => self.take_batch(&payload, size),
            Frame::Whole(Kind::End, payload, size) => self.take_end(&payload, size),
            Frame::Whole(Kind::Header, ..) => Err(self.corrupt("a second header")),
            Frame::Damaged(what) => Err(self.corrupt(what)),
            Frame::Torn | Frame::Nothing => {
                let signals = self.seen.signals;
                self.state = State::Ended(Ending::Interrupted { signals, last: self.last });
                Ok(())
            }
        }
    }

    fn take_batch(&mut self, payload: &[u8], size: u64) -> Result<(), RecordingError> {
        let batch: Vec<Signal> = codec::decode(payload)
            .map_err(|e| self.corrupt(format!("a batch cannot be decoded: {e}")))?;
        self.seen.signals += batch.len() as u64;
        self.seen.batches += 1;
        self.last = batch.iter().filter_map(Signal::at).max().max(self.last);
        self.offset += size;
        self.batch = batch.into_iter();
        Ok(())
    }

    fn take_end(&mut self, payload: &[u8], size: u64) -> Result<(), RecordingError> {
        let end: End = codec::decode(payload)
            .map_err(|e| self.corrupt(format!("the end mark cannot be decoded: {e}")))?;
        if end != self.seen {
            let (want, got) = (end.signals, self.seen.signals);
            return Err(self.corrupt(format!("{want} signals were written, {got} are here")));
        }
        self.offset += size;
        if frame::fill(&mut self.from, &mut [0])? != 0 {
            return Err(self.corrupt("there are bytes after the end mark"));
        }
        self.state = State::Ended(Ending::Complete { signals: end.signals });
        Ok(())
    }

    fn corrupt(&self, what: impl Into<String>) -> RecordingError {
        corrupt(self.offset, what, self.seen.signals)
    }
}

impl<R: Read> Iterator for RecordingReader<R> {
    type Item = Result<Signal, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(signal) = self.batch.next() {
                return Some(Ok(signal));
            }
            if self.state != State::Reading {
                return None;
            }
            if let Err(error) = self.advance() {
                self.state = State::Failed;
                return Some(Err(error));
            }
        }
    }
}

fn corrupt(offset: u64, what: impl Into<String>, signals: u64) -> RecordingError {
    RecordingError::Corrupt { offset, what: what.into(), signals }
}

/// Checks the mark and the version.
fn check_start(from: &mut impl Read) -> Result<(), RecordingError> {
    let mut mark = [0; MARK.len()];
    let got = frame::fill(from, &mut mark)?;
    if got == 0 || mark[..got] != MARK[..got] {
        return Err(RecordingError::NotARecording);
    }
    let mut version = [0; 4];
    if frame::fill(from, &mut version)? < version.len() {
        return Err(RecordingError::NoHeader);
    }
    match u32::from_le_bytes(version) {
        found if FORMATS.contains(&found) => Ok(()),
        found if found > FORMAT => Err(RecordingError::NewerFormat { found, supported: FORMAT }),
        _ => Err(corrupt(MARK.len() as u64, "its format does not exist", 0)),
    }
}

/// The header, and where the frame after it begins.
fn read_header(from: &mut impl Read, offset: u64) -> Result<(Header, u64), RecordingError> {
    match frame::read(from)? {
        Frame::Whole(Kind::Header, payload, size) => codec::decode(&payload)
            .map(|header| (header, offset + size))
            .map_err(|e| corrupt(offset, format!("the header cannot be decoded: {e}"), 0)),
        Frame::Whole(..) => Err(corrupt(offset, "the header is missing", 0)),
        Frame::Damaged(what) => Err(corrupt(offset, what, 0)),
        Frame::Torn | Frame::Nothing => Err(RecordingError::NoHeader),
    }
}
