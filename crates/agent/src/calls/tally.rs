//! Counts by caller, callee, operation, target and outcome.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use taproot_model::Histogram;
use taproot_protocols::exchange::{Call, Outcome, Text, Wire};
use taproot_protocols::route::{RouteLimiter, RouteLimits};

use crate::names::Seen;

/// Targets told apart at one end of an edge; the others share [`OTHER`].
const TARGETS: usize = 64;
/// The name of targets beyond [`TARGETS`].
const OTHER: &str = "{other}";
/// Calls told in full in one interval, at most.
const SAMPLES: usize = 200;
/// Calls at least this slow are told in full, nanoseconds.
const SLOW: u64 = 500_000_000;

/// What calls of one end are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) wire: Wire,
    pub(crate) operation: Text,
    pub(crate) target: Option<Arc<str>>,
    pub(crate) outcome: Outcome,
}

/// Calls of one kind in one interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) latency: Histogram,
}

/// One call in full. Times are `CLOCK_MONOTONIC`, nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) end: Seen,
    pub(crate) key: Key,
    /// The statement without its literals, where there is one.
    pub(crate) statement: Option<Arc<str>>,
    /// W3C `traceparent`, as it was sent.
    pub(crate) traceparent: Option<Arc<str>>,
    pub(crate) start: u64,
    pub(crate) first_byte: u64,
    pub(crate) duration: u64,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// Why bytes were never seen; the order of [`Covered::unseen`].
pub(crate) const UNSEEN: [&str; 4] = ["ring_full", "truncated", "gap", "no_room"];

/// Bytes of payload at one end in one interval, both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covered {
    /// In messages that were understood.
    pub(crate) parsed: u64,
    /// Seen, but in no message.
    pub(crate) unparsed: u64,
    /// Never seen, by [reason](UNSEEN): the ring was full, not copied, passed elsewhere
    /// or before, thrown away for want of room.
    pub(crate) unseen: [u64; 4],
    /// Inside of TLS, where no library could be asked.
    pub(crate) encrypted: u64,
}

impl Covered {
    pub(crate) fn add(&mut self, more: Self) {
        self.parsed += more.parsed;
        self.unparsed += more.unparsed;
        for (sum, more) in self.unseen.iter_mut().zip(more.unseen) {
            *sum += more;
        }
        self.encrypted += more.encrypted;
    }
}

/// What one end counts.
#[derive(Default)]
struct Counts {
    calls: HashMap<Key, Tally>,
    targets: HashSet<Arc<str>>,
    routes: Option<Box<RouteLimiter>>,
    covered: Covered,
}

/// The counts of one end, shared by its connections.
#[derive(Clone)]
pub(crate) struct Book {
    end: Seen,
    counts: Rc<RefCell<Counts>>,
}

/// The counts of every end.
#[derive(Default)]
pub(crate) struct Books {
    ends: HashMap<Seen, Rc<RefCell<Counts>>>,
    samples: Vec<Sample>,
    /// Calls that were to be told in full beyond [`SAMPLES`].
    unsampled: u64,
}

/// What one end counted since the last harvest.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) end: Seen,
    pub(crate) calls: Vec<(Key, Tally)>,
    pub(crate) covered: Covered,
}

impl Books {
    /// The counts of an end.
    pub(crate) fn book(&mut self, end: Seen) -> Book {
        Book { end, counts: Rc::clone(self.ends.entry(end).or_default()) }
    }

    /// Counts a call at one end, or at both where they are one stream.
    pub(crate) fn count<'a>(&mut self, books: impl Iterator<Item = &'a Book>, call: &Call) {
        for book in books {
            self.count_at(book, call);
        }
    }

    fn count_at(&mut self, book: &Book, call: &Call) {
        let mut counts = book.counts.borrow_mut();
        let key = counts.key(call);
        let times = call.times;
        let took = times.end.map(|end| end.saturating_sub(times.start));
        let failed = match &call.outcome {
            Outcome::Answered { error, .. } => *error,
            Outcome::Unanswered => true,
            Outcome::OneWay | Outcome::Unseen => false,
        };
        let slow = took.is_some_and(|took| took >= SLOW);
        let tally = counts.calls.entry(key);
        if failed || slow || matches!(tally, Entry::Vacant(_)) {
            self.sample(book.end, tally.key(), call, took);
        }
        let tally = tally.or_default();
        tally.count += 1;
        tally.request_bytes += call.request_size;
        tally.response_bytes += call.answer_size;
        if let Some(took) = took {
            tally.latency.record(took);
        }
    }

    /// Adds to the bytes of an end.
    pub(crate) fn cover(book: &Book, more: Covered) {
        book.counts.borrow_mut().covered.add(more);
    }

    fn sample(&mut self, end: Seen, key: &Key, call: &Call, took: Option<u64>) {
        if self.samples.len() >= SAMPLES {
            self.unsampled += 1;
            return;
        }
        let times = call.times;
        self.samples.push(Sample {
            end,
            key: key.clone(),
            statement: call.statement.clone(),
            traceparent: call.traceparent.clone(),
            start: times.start,
            first_byte: times.answer.map_or(0, |at| at.saturating_sub(times.start)),
            duration: took.unwrap_or(0),
            request_bytes: call.request_size,
            response_bytes: call.answer_size,
        });
    }

    /// Everything since the last harvest; ends without connections are forgotten.
    pub(crate) fn harvest(&mut self) -> (Vec<Page>, Vec<Sample>, u64) {
        let mut pages = Vec::new();
        self.ends.retain(|end, counts| {
            let alive = Rc::strong_count(counts) > 1;
            let mut counts = counts.borrow_mut();
            let calls: Vec<_> = counts.calls.drain().collect();
            let covered = std::mem::take(&mut counts.covered);
            if !calls.is_empty() || covered != Covered::default() {
                pages.push(Page { end: *end, calls, covered });
            }
            alive
        });
        let samples = std::mem::take(&mut self.samples);
        (pages, samples, std::mem::take(&mut self.unsampled))
    }
}

impl Counts {
    fn key(&mut self, call: &Call) -> Key {
        Key {
            wire: call.wire,
            operation: call.operation.clone(),
            target: self.target(call.wire, call.target.as_ref()),
            outcome: call.outcome.clone(),
        }
    }

    /// A target of low cardinality.
    fn target(&mut self, wire: Wire, target: Option<&Arc<str>>) -> Option<Arc<str>> {
        let target = target?;
        if matches!(wire, Wire::Http1 | Wire::Http2) {
            let routes = self
                .routes
                .get_or_insert_with(|| Box::new(RouteLimiter::new(RouteLimits::default())));
            return Some(routes.route(target).into());
        }
        if !self.targets.contains(target) {
            if self.targets.len() >= TARGETS {
                return Some(OTHER.into());
            }
            self.targets.insert(Arc::clone(target));
        }
        Some(Arc::clone(target))
    }
}
