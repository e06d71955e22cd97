use super::frame::{self, Kind};
use super::{End, FORMAT, FRAME_LIMIT, Header, MARK};
use crate::{RecordingError, codec};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use taproot_model::Signal;

/// Signals that go into one frame at most; a reader holds one frame in memory.
const BATCH: usize = 4096;

/// Appends signals to a new recording.
///
/// Each [`write`](Self::write) reaches the kernel before it returns, so that a
/// killed writer loses nothing it was given before. Dropping the writer without
/// [`finish`](Self::finish) leaves a recording that readers call interrupted.
#[derive(Debug)]
pub struct RecordingWriter {
    file: File,
    /// Length up to the last whole frame.
    sound: u64,
    counts: End,
}

impl RecordingWriter {
    /// Begins a recording in a new file. An existing file is never overwritten
    /// ([`RecordingError::Exists`]).
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordingError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut out = Self { file, sound: 0, counts: End { signals: 0, batches: 0 } };
        let mut start = Vec::from(MARK);
        start.extend(FORMAT.to_le_bytes());
        start.extend(frame::encode(Kind::Header, &encoded(header)?)?);
        out.put(&start)?;
        Ok(out)
    }

    /// Appends a batch. After an error the file ends at its last whole frame,
    /// and writing may be tried again.
    pub fn write(&mut self, signals: &[Signal]) -> Result<(), RecordingError> {
        signals.chunks(BATCH).try_for_each(|batch| self.write_batch(batch))
    }

    /// Splits a batch in halves until its frame is small enough.
    fn write_batch(&mut self, batch: &[Signal]) -> Result<(), RecordingError> {
        let payload = encoded(batch)?;
        if payload.len() > FRAME_LIMIT / 2 && batch.len() > 1 {
            let (left, right) = batch.split_at(batch.len() / 2);
            self.write_batch(left)?;
            return self.write_batch(right);
        }
        self.put(&frame::encode(Kind::Batch, &payload)?)?;
        self.counts.signals += batch.len() as u64;
        self.counts.batches += 1;
        Ok(())
    }

    /// Signals written so far.
    pub fn signals(&self) -> u64 {
        self.counts.signals
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.sound
    }

    /// Writes the end mark and waits until the file is on the disk.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        let end = frame::encode(Kind::End, &encoded(&self.counts)?)?;
        self.put(&end)?;
        Ok(self.file.sync_all()?)
    }

    /// Writes one frame, or takes a half-written one back.
    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        if let Err(error) = self.file.write_all(bytes) {
            self.take_back()?;
            return Err(error.into());
        }
        self.sound += bytes.len() as u64;
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.sound)?;
        self.file.seek(SeekFrom::Start(self.sound)).map(drop)
    }
}

fn encoded<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RecordingError> {
    codec::encode(value).map_err(|e| RecordingError::Encode(e.to_string()))
}
