//! One packet's way, hop by hop, as the kernel's tracepoints see it.
//!
//! The filter is evaluated in the kernel on one reading of the headers, and ring
//! space is taken only for packets that match; see `trace.bpf.c`. Whatever could
//! not be delivered is counted: [`Account`].

mod arguments;
mod attach;
mod calculation;
mod call;
mod event;
mod hooks;
mod owner;
mod raw;
mod symbols;

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use libbpf_rs::skel::{OpenSkel as _, Skel};
use libbpf_rs::{MapCore, MapFlags, RingBuffer, RingBufferBuilder};

use serde::{Deserialize, Serialize};
use taproot_model::Timestamp;

pub use calculation::{Calculation, Operand, Operation, Operator};
pub use event::Event;
pub use hooks::{FUNCTIONS, HOOKS, Tier, TraceHook, probe};
pub use owner::{Leg, Owner};
pub use raw::{Compare, Field, Layer, Test};

use crate::btf::KernelBtf;
use crate::{Error, Off, Result, from_bytes, load_tolerant};
use attach::Attachments;
use event::{Decoder, More};
use hooks::LeftOut;
use skeleton::types::{trace_call_event, trace_counts, trace_drop_event, trace_event};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/trace.skel.rs"));
}

/// Tests that a filter may have at most.
pub const MAX_TESTS: usize = 64;
/// Operations that they may calculate with, those of equal calculations counted once.
pub const MAX_OPERATIONS: usize = 64;

/// How the tracer runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The filter's tests, the first one first; none: every IP packet. Other packets are
    /// looked at where a test names them ([`Field::frame`]) or the frame's header.
    pub tests: Vec<Test>,
    /// Size of the ring: a power of two from 4096 on.
    pub ring_bytes: u32,
    /// Events that one CPU may make in a second; 0: no limit.
    pub budget: u32,
    /// How far hooks go: up to which tier.
    pub tier: Tier,
    /// Whose packets [`Field::Owned`] asks for.
    pub owners: Vec<Owner>,
    /// Conversations that are followed from the beginning.
    pub legs: Vec<Leg>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tests: Vec::new(),
            ring_bytes: 8 << 20,
            budget: 200_000,
            tier: Tier::default(),
            owners: Vec::new(),
            legs: Vec::new(),
        }
    }
}

/// What became of the events so far: `produced` equals `delivered` plus `ring_full`
/// plus `over_budget`, exactly, once the tracer is [stopped](Tracer::stop).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Hops of packets that matched.
    pub produced: u64,
    /// Of these, handed to the caller.
    pub delivered: u64,
    /// Lost because the ring was full.
    pub ring_full: u64,
    /// Left out because there were more in one second than the budget allows.
    pub over_budget: u64,
    /// When the budget was first kept, and when last.
    pub over: Option<(Timestamp, Timestamp)>,
    /// Translations that could not be remembered: their other legs may be missing.
    pub legs_full: u64,
    /// Hooks that were not run because an interrupt came while the same hook ran on
    /// that CPU. Such a hop, if it matched at all, is not among the produced.
    pub interrupted: u64,
    /// When the hooks on every function were taken off to keep the budget.
    pub every_until: Option<Timestamp>,
    /// When those on the chosen functions were.
    pub functions_until: Option<Timestamp>,
}

impl Account {
    /// Whether any hop is known to be missing.
    pub fn is_whole(&self) -> bool {
        self.ring_full + self.over_budget + self.interrupted + self.legs_full == 0
    }
}

/// The running tracer. Dropping it detaches and unloads everything.
pub struct Tracer {
    skel: skeleton::TraceSkel<'static>,
    ring: RingBuffer<'static>,
    arrived: Rc<RefCell<Vec<Event>>>,
    delivered: u64,
    /// Wall time less monotonic time, nanoseconds.
    offset: u64,
    off: Vec<Off>,
    attached: Attachments,
    /// When tiers were taken off: on every function, on the chosen ones.
    taken_off: (Option<Timestamp>, Option<Timestamp>),
}

impl Tracer {
    /// Loads and attaches what this kernel accepts.
    ///
    /// # Errors
    /// When the filter or the ring's size cannot be, or when neither packets
    /// received nor sent can be seen here.
    pub fn start(options: &Options) -> Result<Self> {
        check(options)?;
        KernelBtf::check()?;
        let left = LeftOut::of(options.tier, raw::Asks::of(&options.tests).owner)?;
        let (mut skel, refused) = load_tolerant(
            "trace",
            &["on_receive", "on_queue"],
            skeleton::TraceSkelBuilder::default,
            |open| {
                leave_out(open, &left.programs);
                configure(open, options)
            },
        )?;
        owner::enter(&skel.maps.owners, &options.owners)?;
        let followed = owner::follow(&skel.maps.legs, &options.legs)?;
        if let Some(data) = skel.maps.bss_data.as_deref_mut() {
            data.legs_made = followed;
        }
        // The ring must be read before the first event may come.
        let arrived = Rc::new(RefCell::new(Vec::new()));
        let decoder = Decoder::new();
        let offset = decoder.offset();
        let ring = ring(&skel, &arrived, decoder)?;
        let (attached, unattached) = Attachments::attach(&skel);
        let off = [left.off, refused, unattached].concat();
        let (delivered, taken_off) = (0, (None, None));
        let mut tracer = Self { skel, ring, arrived, delivered, offset, off, attached, taken_off };
        tracer.arm(true);
        Ok(tracer)
    }

    /// Programs that were asked for and do not run here, and why; [`HOOKS`] and
    /// [`FUNCTIONS`] say what is not seen then. Of [`Tier::Every`] also the functions that
    /// could not be probed.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Tiers that were asked for and of which nothing runs here, and why.
    pub fn missing_tiers(&self) -> Vec<(Tier, &str)> {
        let why = |tier| Some((tier, self.off.iter().find(|off| hooks::tier(off) == tier)?));
        let missing = [Tier::Function, Tier::Every].into_iter().filter_map(why);
        missing
            .filter(|(tier, _)| self.attached.count(*tier) == 0)
            .map(|(tier, off)| (tier, off.why.as_str()))
            .collect()
    }

    /// How many functions [`Tier::Every`] watches, or did until it was taken off.
    pub fn watched(&self) -> usize {
        self.attached.count(Tier::Every)
    }

    /// The hops that came in since the last poll, per CPU in order of time.
    ///
    /// Nothing wakes the caller: many polls a second keep the ring from filling. When
    /// the budget left hops out, the dearest optional tier is taken off; the
    /// [account](Self::account) says when.
    pub fn poll(&mut self) -> Result<Vec<Event>> {
        self.back_off();
        self.ring.consume().map_err(Error::bpf("reading the trace's ring"))?;
        let events = std::mem::take(&mut *self.arrived.borrow_mut());
        self.delivered += events.len() as u64;
        Ok(events)
    }

    /// Detaches every hook and hands out what is still in the ring. After this the
    /// [account](Self::account) is final.
    pub fn stop(&mut self) -> Result<Vec<Event>> {
        self.arm(false);
        self.attached.clear();
        // A program that was running when its link went may still be at it.
        std::thread::sleep(std::time::Duration::from_millis(10));
        self.poll()
    }

    fn back_off(&mut self) {
        let (counts, attached) = (&self.skel.maps.counts, &mut self.attached);
        let over =
            || of_cpus(counts).map_or(0, |all| all.iter().map(|c| c.lost[raw::LOSS_BUDGET]).sum());
        let Some(tier) = attached.back_off(over) else { return };
        tracing::info!(tier = tier.as_str(), "taken off: more hops than the budget allows");
        let now = Some(Timestamp::now());
        match tier {
            Tier::Every => self.taken_off.0 = now,
            _ => self.taken_off.1 = now,
        }
    }

    /// Events are made only while all hooks are there.
    fn arm(&mut self, armed: bool) {
        if let Some(data) = self.skel.maps.bss_data.as_deref_mut() {
            data.armed = u32::from(armed);
        }
    }

    /// What became of the events so far.
    pub fn account(&self) -> Result<Account> {
        let (every_until, functions_until) = self.taken_off;
        let mut sum = Account {
            delivered: self.delivered,
            every_until,
            functions_until,
            ..Account::default()
        };
        for counts in of_cpus(&self.skel.maps.counts)? {
            sum.produced += counts.produced;
            sum.ring_full += counts.lost[raw::LOSS_RING];
            sum.over_budget += counts.lost[raw::LOSS_BUDGET];
            sum.legs_full += counts.legs_full;
            if counts.over_first != 0 {
                let at = |nanos: u64| Timestamp(nanos + self.offset);
                let (first, last) = (at(counts.over_first), at(counts.over_last));
                let (from, to) = sum.over.unwrap_or((first, last));
                sum.over = Some((from.min(first), to.max(last)));
            }
        }
        sum.interrupted = self.interrupted()?;
        Ok(sum)
    }

    /// What the kernel says of runs it left out (`recursion_misses`).
    fn interrupted(&self) -> Result<u64> {
        let mut sum = 0;
        for program in self.skel.object().progs().filter(libbpf_rs::ProgramImpl::autoload) {
            let fd = program.as_fd().as_raw_fd();
            let path = format!("/proc/self/fdinfo/{fd}");
            let info = std::fs::read_to_string(&path).map_err(Error::io(path))?;
            sum += crate::cost::field(&info, "recursion_misses").unwrap_or(0);
        }
        Ok(sum)
    }
}

/// The accounts of all CPUs.
fn of_cpus(counts: &impl MapCore) -> Result<Vec<trace_counts>> {
    let slots = counts
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
        .map_err(Error::bpf("reading the trace's counts"))?;
    Ok(slots.iter().flatten().filter_map(|slot| from_bytes(slot)).collect())
}

fn check(options: &Options) -> Result<()> {
    if !options.ring_bytes.is_power_of_two() || options.ring_bytes < 4096 {
        return Err(Error::Invalid(format!(
            "a ring of {} bytes is not possible: give a power of two from 4096 on",
            options.ring_bytes
        )));
    }
    if options.tests.len() > MAX_TESTS {
        return Err(Error::Invalid(format!(
            "the filter needs {} tests, and {MAX_TESTS} are possible: make it shorter",
            options.tests.len()
        )));
    }
    let operations = Calculation::operations_of(&options.tests);
    if operations > MAX_OPERATIONS {
        return Err(Error::Invalid(format!(
            "the filter calculates with {operations} operations, and {MAX_OPERATIONS} are \
             possible: make it shorter"
        )));
    }
    Ok(())
}

/// Programs that are not even tried.
fn leave_out(open: &mut skeleton::OpenTraceSkel<'static>, programs: &[&str]) {
    for mut program in open.open_object_mut().progs_mut() {
        if programs.iter().any(|name| program.name() == *name) {
            program.set_autoload(false);
        }
    }
}

fn configure(open: &mut skeleton::OpenTraceSkel<'static>, options: &Options) -> Result<()> {
    if let Some(data) = open.maps.rodata_data.as_deref_mut() {
        let asks = raw::Asks::of(&options.tests);
        let mut operations = Vec::new();
        for (slot, test) in data.tests.iter_mut().zip(&options.tests) {
            *slot = test.to_raw(&mut operations);
        }
        for (slot, operation) in data.operations.iter_mut().zip(operations) {
            *slot = operation;
        }
        data.tests_used = options.tests.len() as u32;
        data.budget = options.budget;
        data.asks_place = asks.place;
        data.asks_flags = asks.flags;
        data.asks_owner = asks.owner;
        data.asks_link = asks.link || asks.frames;
        data.asks_frames = asks.frames;
        data.asks_bytes = asks.bytes;
        data.remembers = asks.lasting;
    }
    open.maps
        .ring
        .set_max_entries(options.ring_bytes)
        .map_err(Error::bpf("sizing the trace's ring"))
}

fn ring(
    skel: &skeleton::TraceSkel<'static>,
    arrived: &Rc<RefCell<Vec<Event>>>,
    mut decoder: Decoder,
) -> Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    let into = Rc::clone(arrived);
    builder
        .add(&skel.maps.ring, move |bytes| {
            let Some(event) = from_bytes::<trace_event>(bytes) else { return 0 };
            let mut more = More::default();
            if event.step == raw::step::CALLED {
                more.call = from_bytes::<trace_call_event>(bytes).map(|called| called.call);
            } else {
                more.stack = from_bytes::<trace_drop_event>(bytes).map(|drop| drop.stack.frames);
            }
            into.borrow_mut().push(decoder.decode(&event, more));
            0
        })
        .map_err(Error::bpf("the trace's ring"))?;
    builder.build().map_err(Error::bpf("the trace's ring"))
}
