//! What connections say, by position, for the parsers in user space.
//!
//! Programs on `cgroup_skb` of the chosen control groups turn each TCP segment into
//! a record in a ring: whose it is, its place in the stream, its length, and as much
//! of it as the [`Verdict`] on its connection asks for. Over UDP only what reads
//! like DNS is told. Nothing outside the groups is read. See `payload.bpf.c`.
//!
//! HTTP/1 is recognised in the kernel and not copied: [`crate::http`] counts it.

mod bell;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libbpf_rs::{Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder};

use crate::{Attached, Error, Off, Pod, Result, attach_all, from_bytes, load_tolerant};
use bell::Bell;
pub use record::{Datagram, Ends, Open, Piece, Plain, Record, Role};
use skeleton::types::{
    payload_close, payload_datagram, payload_open, payload_passed, payload_piece, payload_plain,
};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/payload.skel.rs"));
}

// SAFETY: generated from payload.h; integers and arrays of integers only.
unsafe impl Pod for payload_open {}
// SAFETY: as above.
unsafe impl Pod for payload_piece {}
// SAFETY: as above.
unsafe impl Pod for payload_close {}
// SAFETY: as above.
unsafe impl Pod for payload_datagram {}
// SAFETY: as above.
unsafe impl Pod for payload_plain {}
// SAFETY: as above.
unsafe impl Pod for payload_passed {}

/// Reasons of `enum payload_loss`, in its order. What they count is part of the name.
pub const LOSSES: [&str; 7] = [
    "ring_full_bytes",
    "segment_too_long_bytes",
    "undecided_bytes",
    "no_memory_connections",
    "with_handshake_bytes",
    "ring_full_closes",
    "not_copied_bytes",
];

/// What is wanted of a connection from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte.
    All,
    /// The beginning of a segment now and then: what it speaks is not known.
    Glance,
    /// Nothing, unless it leaves HTTP/1.
    Http1,
    /// Nothing any more.
    Nothing,
    /// How much it carries, now and then: it is encrypted.
    Sealed,
    /// That it is opened again, from the middle: what was known of it is forgotten.
    Again,
}

impl Verdict {
    /// The value of `enum payload_verdict`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::All => 1,
            Self::Glance => 2,
            Self::Http1 => 3,
            Self::Nothing => 4,
            Self::Sealed => 5,
            Self::Again => 6,
        }
    }
}

/// How the collector runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring, bytes; a power of two from 1 MiB on.
    pub ring_bytes: u32,
    /// Bytes copied of a connection before there is a verdict on it.
    pub undecided_bytes: u32,
}

/// The smallest ring: a record may take 256 KiB and its head.
const SMALLEST_RING: u32 = 1 << 20;

impl Default for Options {
    /// A ring of 8 MiB: its pages are mapped twice and count twice in the resident
    /// size; with 16 MiB the agent was over its budget of memory.
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, undecided_bytes: 4 << 20 }
    }
}

/// The running collector. Dropping it detaches and unloads everything.
pub struct PayloadCollector {
    skel: skeleton::PayloadSkel<'static>,
    groups: BTreeMap<PathBuf, Vec<Link>>,
    ring: RingBuffer<'static>,
    bell: Bell,
    lost: Vec<u64>,
    off: Vec<Off>,
    _links: Vec<Link>,
}

impl PayloadCollector {
    /// Loads the programs; nothing is observed until a group is [added](Self::watch).
    /// Every record is handed to `each`, in the order in which they were made.
    ///
    /// # Errors
    /// When the kernel refuses the programs, or the ring's size is not possible.
    pub fn start(options: &Options, each: impl FnMut(Record<'_>) + 'static) -> Result<Self> {
        if !options.ring_bytes.is_power_of_two() || options.ring_bytes < SMALLEST_RING {
            return Err(Error::Invalid(format!(
                "a ring of {} bytes is not possible: give a power of two from {SMALLEST_RING} on",
                options.ring_bytes
            )));
        }
        let required = ["payload_egress", "payload_ingress"];
        let (skel, mut off) =
            load_tolerant("payload", &required, skeleton::PayloadSkelBuilder::default, |open| {
                configure(open, options)
            })?;
        let Attached { links, off: unattached } = attach_all(&skel, &required);
        off.extend(unattached);
        let ring = ring(&skel, each)?;
        let bell = Bell::new(&skel.maps.records).map_err(Error::io("waiting for payload"))?;
        let lost = vec![0; LOSSES.len()];
        Ok(Self { skel, groups: BTreeMap::new(), ring, bell, lost, off, _links: links })
    }

    /// Observes a control group (of the unified hierarchy) and all below it.
    ///
    /// A group inside one that is observed already would be told twice: it is left out.
    ///
    /// # Errors
    /// When the group does not exist or takes no programs.
    pub fn watch(&mut self, group: &Path) -> Result<()> {
        if self.groups.keys().any(|known| group.starts_with(known)) {
            return Ok(());
        }
        let what = || format!("control group {}", group.display());
        let dir = File::open(group).map_err(Error::io(what()))?;
        let programs = &self.skel.progs;
        let links = [&programs.payload_egress, &programs.payload_ingress]
            .into_iter()
            .map(|p| p.attach_cgroup(dir.as_raw_fd()).map_err(Error::bpf(what())))
            .collect::<Result<Vec<_>>>()?;
        self.groups.insert(group.to_owned(), links);
        Ok(())
    }

    /// Stops observing a control group.
    pub fn unwatch(&mut self, group: &Path) {
        self.groups.remove(group);
    }

    /// The ring, for other programs that write into it.
    ///
    /// # Errors
    /// When there is no room for another file descriptor.
    pub fn records(&self) -> Result<OwnedFd> {
        let ring = self.skel.maps.records.as_fd();
        ring.try_clone_to_owned().map_err(Error::io("the payload ring"))
    }

    /// Programs that do not run here, and why.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Hands on at most `most` records; returns how many there were.
    ///
    /// # Errors
    /// When the ring cannot be read.
    pub fn consume(&self, most: usize) -> Result<usize> {
        let taken = self.ring.consume_raw_n(most);
        usize::try_from(taken).map_err(|_| Error::Io {
            what: "reading payload records".into(),
            source: std::io::Error::from_raw_os_error(-taken),
        })
    }

    /// Waits until the programs have written another quarter of a MiB, or the time is over.
    ///
    /// # Errors
    /// When it is not possible to wait.
    pub fn wait(&self, at_most: Duration) -> Result<()> {
        self.bell.wait(at_most).map_err(Error::io("waiting for payload"))
    }

    /// Says what is wanted of the connection with that number.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn decide(&self, id: u64, verdict: Verdict) -> Result<()> {
        self.skel
            .maps
            .verdicts
            .update(&id.to_ne_bytes(), &verdict.number().to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("deciding on a connection"))
    }

    /// Takes back what was said of a connection that has ended.
    pub fn forget(&self, id: u64) {
        // The kernel took it over, or it was never said: either way it is gone.
        let _ = self.skel.maps.verdicts.delete(&id.to_ne_bytes());
    }

    /// Everything that could not be seen since the last call: reason and amount.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn losses(&mut self) -> Result<Vec<(&'static str, u64)>> {
        let mut out = Vec::new();
        for (index, reason) in LOSSES.iter().enumerate() {
            let total = self.lost_total(index as u32)?;
            let new = total.saturating_sub(self.lost[index]);
            self.lost[index] = total;
            if new > 0 {
                out.push((*reason, new));
            }
        }
        Ok(out)
    }

    fn lost_total(&self, index: u32) -> Result<u64> {
        let slots = self
            .skel
            .maps
            .losses
            .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("reading payload losses"))?;
        Ok(slots.iter().flatten().filter_map(|bytes| from_bytes::<u64>(bytes)).sum())
    }
}

fn configure(open: &mut skeleton::OpenPayloadSkel<'static>, options: &Options) -> Result<()> {
    if let Some(data) = open.maps.rodata_data.as_deref_mut() {
        data.undecided_budget = options.undecided_bytes;
    }
    open.maps
        .records
        .set_max_entries(options.ring_bytes)
        .map_err(Error::bpf("sizing the payload ring"))
}

fn ring(
    skel: &skeleton::PayloadSkel<'static>,
    mut each: impl FnMut(Record<'_>) + 'static,
) -> Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&skel.maps.records, move |bytes| {
            if let Some(record) = record::read(bytes) {
                each(record);
            }
            0
        })
        .map_err(Error::bpf("the payload ring"))?;
    builder.build().map_err(Error::bpf("the payload ring"))
}
