//! A trace in a file, to be looked at again elsewhere.
//!
//! What the kernel said is kept (hops and account), and beside it what only the machine
//! knows: who is who, what is at fault, what was to be expected. Everything else is made
//! anew when the file is read, by the same code as at first.
//!
//! ```text
//! file = "TAPTRACE" version (u32, little-endian) LZ4 frame of a MessagePack map
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;

use lz4_flex::frame::{FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};
use taproot_model::{Blame, Timestamp, Tuple};
use taproot_probes::trace::{Account, Event};

use crate::expect::Expectation;
use crate::judge::{Oracle, Verdict};
use crate::names::Names;
use crate::path::{Path, Trace};

/// What a file begins with.
const MAGIC: [u8; 8] = *b"TAPTRACE";
/// Version of what follows; one for every change that older programs cannot skip.
const VERSION: u32 = 1;
/// Most that is read of a file, decompressed: a trace keeps half a million hops at most.
const LARGEST: u64 = 2 << 30;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It begins with something else.
    #[error("this is no recorded trace; `taproot trace --record FILE` writes one")]
    NotATrace,
    /// It is of another version.
    #[error("it was written by a newer taproot (format {0}, known is {VERSION}): upgrade")]
    Newer(u32),
    /// It is damaged, or ends early.
    #[error("it is damaged or ends early: {0}")]
    Damaged(#[from] rmp_serde::decode::Error),
    /// What was seen cannot be written, which is a mistake of this program.
    #[error("it cannot be encoded: {0}")]
    Encoding(#[from] rmp_serde::encode::Error),
}

/// What is at fault for a hop's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) at: Timestamp,
    pub(crate) skb: u64,
    pub(crate) blame: Blame,
}

/// A trace and what was known beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub(crate) account: Account,
    pub(crate) events: Vec<Event>,
    pub(crate) places: BTreeMap<u32, String>,
    pub(crate) addresses: BTreeMap<SocketAddr, String>,
    pub(crate) faults: Vec<Fault>,
    expected: Vec<Expectation>,
}

impl Recording {
    /// Keeps the hops of a trace, in whatever order they came, with what is known now.
    pub fn new(
        events: Vec<Event>,
        trace: &Trace,
        verdicts: &[Verdict],
        names: &dyn Names,
        expected: Vec<Expectation>,
    ) -> Self {
        let mut known = Self { account: trace.account, expected, ..Self::default() };
        for event in &events {
            known.learn(event, names);
        }
        for expectation in &known.expected {
            let place = names.place(expectation.netns);
            known.places.extend(place.map(|name| (expectation.netns, name)));
        }
        let fault = |verdict: &Verdict| {
            let end = &trace.paths.get(verdict.path?)?.hops.get(verdict.hop?)?.hop;
            Some(Fault { at: end.at, skb: end.id.skb, blame: verdict.blame.clone()? })
        };
        known.faults = verdicts.iter().filter_map(fault).collect();
        Self { events, ..known }
    }

    /// Keeps the names of all that an event is about.
    fn learn(&mut self, event: &Event, names: &dyn Names) {
        if let Some(netns) = event.hop.place.netns
            && !self.places.contains_key(&netns)
            && let Some(name) = names.place(netns)
        {
            self.places.insert(netns, name);
        }
        let tuples: [Option<&Tuple>; 4] = [
            Some(&event.hop.tuple),
            event.hop.original.as_ref(),
            event.reply.as_ref(),
            event.outer.as_ref(),
        ];
        for tuple in tuples.into_iter().flatten() {
            for end in [tuple.source, tuple.destination] {
                if !self.addresses.contains_key(&end)
                    && let Some(name) = names.address(end)
                {
                    self.addresses.insert(end, name);
                }
            }
        }
    }

    /// The trace as it was put together.
    pub fn trace(&self) -> Trace {
        Trace::assemble(self.events.clone(), self.account)
    }

    /// What was to be expected of the first verdict's packet.
    pub fn expected(&self) -> &[Expectation] {
        &self.expected
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot take it.
    pub fn write(&self, mut out: impl Write) -> Result<(), Error> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        let checked = FrameInfo::new().content_checksum(true).block_checksums(true);
        let mut encoder = FrameEncoder::with_frame_info(checked, out);
        rmp_serde::encode::write_named(&mut encoder, self)?;
        encoder.finish().map_err(std::io::Error::from)?.flush()?;
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none, a newer one, or damaged.
    pub fn read(mut from: impl Read) -> Result<Self, Error> {
        let mut head = [0; MAGIC.len() + size_of::<u32>()];
        from.read_exact(&mut head).map_err(|_| Error::NotATrace)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Error::NotATrace);
        }
        let version = version.iter().rev().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        if version != VERSION {
            return Err(Error::Newer(version));
        }
        let mut bytes = FrameDecoder::new(from).take(LARGEST);
        let read = rmp_serde::decode::from_read(&mut bytes)?;
        // The checksum of all stands at the end.
        std::io::copy(&mut bytes, &mut std::io::sink())?;
        Ok(read)
    }
}

impl Names for Recording {
    fn place(&self, netns: u32) -> Option<String> {
        self.places.get(&netns).cloned()
    }

    fn address(&self, address: SocketAddr) -> Option<String> {
        self.addresses.get(&address).cloned()
    }
}

impl Oracle for Recording {
    fn blame(&self, _: &Path, at: &Event) -> Option<Blame> {
        let is_it = |fault: &&Fault| fault.at == at.hop.at && fault.skb == at.hop.id.skb;
        self.faults.iter().find(is_it).map(|fault| fault.blame.clone())
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
