//! HTTP/1 requests at the socket's edge, counted in the kernel.
//!
//! Programs on `cgroup_skb` of the chosen control groups parse each TCP stream by
//! sequence numbers; counts, latency histograms and sums of stages live in one map, exact whatever
//! happens to the ring, which only carries samples. See `http.bpf.c`.

mod departures;
mod read;
pub mod route;
mod stages;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libbpf_rs::{Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder};
use std::cell::RefCell;
use std::rc::Rc;

use crate::maps::entries;
use crate::pressure::Sched;
use crate::{Attached, Error, Off, Pod, Result, as_bytes, attach_all, from_bytes, load_tolerant};
use departures::Arrived;
pub use read::{Counts, Delta, Key, Method, Role, Sample};
use skeleton::types::{http_departure, http_key, http_sample, http_value};
pub use stages::{Outside, Send, Stage, Stages};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/http.skel.rs"));
}

// SAFETY: generated from http.h; integers and arrays of integers only.
unsafe impl Pod for http_key {}
// SAFETY: as above.
unsafe impl Pod for http_value {}
// SAFETY: as above.
unsafe impl Pod for http_sample {}
// SAFETY: as above.
unsafe impl Pod for http_departure {}

/// Reasons of `enum http_loss`, in its order.
pub const LOSSES: [&str; 10] = [
    "ring_full",
    "map_full",
    "gap",
    "response_without_request",
    "scratch_busy",
    "no_memory",
    "stream_busy",
    "segment_too_long",
    "route_merged",
    "sample_over_budget",
];

/// The programs that see packets coming from a device; only all of them see every one.
const ARRIVALS: [&str; 5] =
    ["device_netif_rx", "device_gro", "device_gro_frags", "device_receive", "device_receive_list"];
/// The program that sees answers being handed to their device.
const DEPARTURES: &str = "device_xmit";

/// How the collector runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the sample ring, bytes; a power of two, at least a page.
    pub ring_bytes: u32,
    /// Requests at least this slow are sampled.
    pub slow: Duration,
    /// One in so many requests is sampled anyway; 0 for none.
    pub sample_every: u32,
    /// Samples per poll interval at most (first of a route, errors, slow ones and
    /// one-in-n together); the rest is counted as `sample_over_budget`.
    pub samples_per_interval: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            slow: Duration::from_millis(500),
            sample_every: 0,
            samples_per_interval: 200,
        }
    }
}

/// What one poll found.
#[derive(Debug, Default)]
pub struct Batch {
    /// Requests that ended since the last poll, by key.
    pub counts: Vec<Delta>,
    /// Samples.
    pub samples: Vec<Sample>,
}

/// The running collector. Dropping it detaches and unloads everything.
pub struct HttpCollector {
    skel: skeleton::HttpSkel<'static>,
    groups: BTreeMap<PathBuf, Vec<Link>>,
    ring: RingBuffer<'static>,
    arrived: Rc<RefCell<Arrived>>,
    seen: BTreeMap<Key, Counts>,
    lost: Vec<u64>,
    budget: i64,
    off: Vec<Off>,
    _links: Vec<Link>,
}

impl HttpCollector {
    /// Loads the programs; nothing is observed until a group is [added](Self::watch).
    ///
    /// What a thread waited for a CPU while it had a request, nobody tells here: see
    /// [`Self::start_beside`].
    ///
    /// # Errors
    /// When the ring's size is not possible, or the kernel refuses a program.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_with(options, None)
    }

    /// As [`Self::start`], with the stages of a request split by why its thread did not
    /// run, as the scheduler's collector sees it. It has to live as long as this one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_beside(options: &Options, sched: &Sched) -> Result<Self> {
        Self::start_with(options, Some(sched))
    }

    fn start_with(options: &Options, sched: Option<&Sched>) -> Result<Self> {
        if !options.ring_bytes.is_power_of_two() || options.ring_bytes < 4096 {
            return Err(Error::Invalid(format!(
                "a ring of {} bytes is not possible: give a power of two from 4096 on",
                options.ring_bytes
            )));
        }
        let required = ["http_egress", "http_ingress"];
        let (mut skel, mut off) =
            load_tolerant("http", &required, skeleton::HttpSkelBuilder::default, |open| {
                configure(open, options, sched)
            })?;
        let Attached { links, off: unattached } = attach_all(&skel, &required);
        off.extend(unattached);
        let runs = |program: &str| off.iter().all(|o| o.program != program);
        if let Some(data) = skel.maps.bss_data.as_deref_mut() {
            data.arrivals_seen = u32::from(ARRIVALS.into_iter().all(runs));
        }
        let arrived = Rc::new(RefCell::new(Arrived::new(runs(DEPARTURES))));
        let ring = ring(&skel, &arrived)?;
        let collector = Self {
            skel,
            groups: BTreeMap::new(),
            ring,
            arrived,
            seen: BTreeMap::new(),
            lost: vec![0; LOSSES.len()],
            budget: options.samples_per_interval,
            off,
            _links: links,
        };
        collector.refill()?;
        Ok(collector)
    }

    /// Observes a control group (of the unified hierarchy) and all below it.
    ///
    /// Watching a group twice, or one inside another, is harmless: a segment that
    /// passes the programs twice is bytes already parsed.
    pub fn watch(&mut self, group: &Path) -> Result<()> {
        if self.groups.contains_key(group) {
            return Ok(());
        }
        let what = || format!("control group {}", group.display());
        let dir = File::open(group).map_err(Error::io(what()))?;
        let programs = &self.skel.progs;
        let links = [&programs.http_egress, &programs.http_ingress]
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

    /// The groups observed.
    pub fn watched(&self) -> impl Iterator<Item = &Path> {
        self.groups.keys().map(PathBuf::as_path)
    }

    /// Programs that do not run here, and why.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// What came in since the last poll.
    pub fn poll(&mut self) -> Result<Batch> {
        self.ring.consume().map_err(Error::bpf("reading HTTP samples"))?;
        let samples = self.arrived.borrow_mut().take();
        let counts = self.read_counts()?;
        self.refill()?;
        Ok(Batch { counts, samples })
    }

    /// Everything that could not be seen since the last call: reason and count.
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
            .map_err(Error::bpf("reading HTTP losses"))?;
        Ok(slots.iter().flatten().filter_map(|bytes| from_bytes::<u64>(bytes)).sum())
    }

    fn refill(&self) -> Result<()> {
        self.skel
            .maps
            .budget
            .update(&0u32.to_ne_bytes(), &self.budget.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("setting the sample budget"))
    }

    /// Differences of the kernel's counters since the last poll. Counters are
    /// never deleted while their owner may still count: reading is not a race.
    fn read_counts(&mut self) -> Result<Vec<Delta>> {
        let mut out = Vec::new();
        for (key, value) in entries::<http_key, http_value>(&self.skel.maps.counts)? {
            let key = Key::from(&key);
            let seen = self.seen.entry(key).or_default();
            if seen.differs(&value) {
                out.push(seen.advance(key, &value));
            }
        }
        Ok(out)
    }

    /// Forgets the counters of a control group that is gone.
    pub fn forget(&mut self, cgroup: u64) -> Result<()> {
        let gone: Vec<Key> = self.seen.keys().filter(|k| k.cgroup == cgroup).copied().collect();
        for key in gone {
            self.seen.remove(&key);
            let raw = key.to_raw();
            // It may be gone already; what matters is that it is.
            let _ = self.skel.maps.counts.delete(as_bytes(&raw));
        }
        Ok(())
    }
}

fn configure(
    open: &mut skeleton::OpenHttpSkel<'static>,
    options: &Options,
    sched: Option<&Sched>,
) -> Result<()> {
    if let Some(data) = open.maps.rodata_data.as_deref_mut() {
        data.slow_ns = options.slow.as_nanos() as u64;
        data.sample_every = options.sample_every;
        data.waits_known = sched.is_some();
    }
    if let Some(sched) = sched {
        open.maps
            .threads
            .reuse_fd(sched.threads())
            .map_err(Error::bpf("sharing the threads' waits with the scheduler's collector"))?;
    }
    open.maps
        .samples
        .set_max_entries(options.ring_bytes)
        .map_err(Error::bpf("sizing the HTTP sample ring"))
}

fn ring(
    skel: &skeleton::HttpSkel<'static>,
    arrived: &Rc<RefCell<Arrived>>,
) -> Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    let into = Rc::clone(arrived);
    builder
        .add(&skel.maps.samples, move |bytes| {
            let mut into = into.borrow_mut();
            if let Some(raw) = from_bytes::<http_sample>(bytes) {
                into.sample(Sample::from(&raw));
            } else if let Some(raw) = from_bytes::<http_departure>(bytes) {
                into.departure(raw.request, raw.qdisc);
            }
            0
        })
        .map_err(Error::bpf("the HTTP sample ring"))?;
    builder.build().map_err(Error::bpf("the HTTP sample ring"))
}
