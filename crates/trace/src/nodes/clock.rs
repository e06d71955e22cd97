//! The difference of two nodes' clocks, from packets that both saw.
//!
//! A packet that arrived cannot have been sent later, so each one bounds the difference
//! from one side; packets both ways bound it from both, and the middle is at most half of
//! the quickest way there and back off (Mills 1991, "Internet time synchronization: the
//! network time protocol", takes the same middle). Clocks drift, so each stretch of ten
//! seconds has bounds of its own, and between the middles of two stretches the difference
//! goes in a straight line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use taproot_model::Timestamp;

/// For how long the difference of two clocks is taken to be one, nanoseconds.
const STRETCH: u64 = 10_000_000_000;
/// What a way takes at least, nanoseconds: its two ends must have an order.
const QUICKEST: i64 = 1_000;

/// What is known of a node's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// The node.
    pub node: String,
    /// How far it is ahead of the first node's clock, nanoseconds; less than 0 where it
    /// is behind. The difference is taken out of the times of the node's hops.
    pub ahead: i64,
    /// How far that may be off, nanoseconds; `None` where it cannot be told.
    pub within: Option<u64>,
    /// Packets that say so.
    pub packets: usize,
    /// What it rests on.
    pub basis: Basis,
}

/// What the difference of two clocks rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// It is the clock that counts.
    Reference,
    /// Packets went both ways.
    BothWays,
    /// Packets were seen going one way only: the quickest is taken to have needed no time.
    OneWay,
    /// No packet was seen by both: the clock is taken as it is.
    Nothing,
}

impl Clock {
    /// In one sentence; empty for the clock that counts.
    pub fn words(&self) -> String {
        let node = &self.node;
        let side = if self.ahead < 0 { "behind" } else { "ahead" };
        let time = milliseconds(self.ahead.unsigned_abs());
        let packets = self.packets;
        match (self.basis, self.within) {
            (Basis::Reference, _) => String::new(),
            (Basis::Nothing, _) => {
                format!("no packet was seen at {node} and elsewhere: its clock is taken as it is")
            }
            (_, Some(within)) => format!(
                "the clock of {node} is {time} ms {side}, give or take {} ms ({packets} packets)",
                milliseconds(within)
            ),
            (_, None) => format!(
                "the clock of {node} is {time} ms {side}, if the quickest of {packets} packets needed \
                 no time: none was seen going the other way"
            ),
        }
    }
}

fn milliseconds(nanos: u64) -> String {
    format!("{:.3}", Duration::from_nanos(nanos).as_secs_f64() * 1e3)
}

/// Between what the difference lies: there less here, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Between {
    low: Option<i64>,
    high: Option<i64>,
}

impl Between {
    fn both(self) -> Option<(i64, i64)> {
        Some((self.low?, self.high?))
    }
}

/// All that packets say about two clocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    stretches: BTreeMap<u64, Between>,
    packets: usize,
}

impl Bounds {
    /// A packet was last seen here, then there.
    pub(super) fn arrived(&mut self, here: Timestamp, there: Timestamp) {
        let most = difference(there, here);
        let between = self.stretch(there);
        between.high = Some(between.high.map_or(most, |known| known.min(most)));
    }

    /// A packet was last seen there, then here.
    pub(super) fn left(&mut self, here: Timestamp, there: Timestamp) {
        let least = difference(there, here);
        let between = self.stretch(there);
        between.low = Some(between.low.map_or(least, |known| known.max(least)));
    }

    fn stretch(&mut self, at: Timestamp) -> &mut Between {
        self.packets += 1;
        self.stretches.entry(at.0 / STRETCH).or_default()
    }

    /// Over all of the time.
    fn whole(&self) -> Between {
        let all = || self.stretches.values();
        Between { low: all().filter_map(|b| b.low).max(), high: all().filter_map(|b| b.high).min() }
    }
}

/// How a node's clock differs from the first node's, over time.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Times of the node's own clock and how far it is ahead then; at least one.
    points: Vec<(Timestamp, i64)>,
    within: Option<u64>,
    packets: usize,
    basis: Basis,
}

impl Difference {
    /// Of the first node from itself.
    pub(super) fn none() -> Self {
        Self { within: Some(0), basis: Basis::Reference, ..Self::unknown() }
    }

    /// Of a node that nothing is known of.
    pub(super) fn unknown() -> Self {
        Self { points: vec![(Timestamp(0), 0)], within: None, packets: 0, basis: Basis::Nothing }
    }

    /// The likeliest one within bounds; `None` without any.
    pub(super) fn within(bounds: &Bounds) -> Option<Self> {
        let packets = bounds.packets;
        let both = bounds.stretches.iter().filter_map(|(at, b)| Some((*at, b.both()?)));
        let middle = |at: u64| Timestamp(at * STRETCH + STRETCH / 2);
        let points: Vec<_> =
            both.clone().map(|(at, (low, high))| (middle(at), mean(low, high))).collect();
        // The widest: what is said must hold for all of the time.
        let within = both.map(|(_, (low, high))| low.abs_diff(high).div_ceil(2)).max();
        if within.is_some() {
            return Some(Self { points, within, packets, basis: Basis::BothWays });
        }
        let whole = bounds.whole();
        let (ahead, within, basis) = if let Some((low, high)) = whole.both() {
            // Each way in a stretch of its own: the clock may have drifted in between.
            (mean(low, high), Some(low.abs_diff(high).div_ceil(2)), Basis::BothWays)
        } else {
            let low = whole.low.map(|low| low.saturating_add(QUICKEST));
            let high = whole.high.map(|high| high.saturating_sub(QUICKEST));
            (low.or(high)?, None, Basis::OneWay)
        };
        Some(Self { points: vec![(Timestamp(0), ahead)], within, packets, basis })
    }

    /// Orders differences by how much is known.
    pub(super) fn worth(&self) -> (bool, usize) {
        (self.basis == Basis::BothWays, self.packets)
    }

    /// A time of this node's clock as the first node's clock would have shown it.
    pub(super) fn corrected(&self, at: Timestamp) -> Timestamp {
        let ahead = i128::from(self.ahead(at));
        let shown = (i128::from(at.0) - ahead).clamp(0, i128::from(u64::MAX));
        Timestamp(shown as u64)
    }

    fn ahead(&self, at: Timestamp) -> i64 {
        let next = self.points.partition_point(|(point, _)| *point <= at);
        let before = next.checked_sub(1).and_then(|before| self.points.get(before));
        match (before, self.points.get(next)) {
            (Some((from, low)), Some((to, high))) => {
                let (gone, all) = (i128::from(at.0 - from.0), i128::from(to.0 - from.0));
                let step = (i128::from(*high) - i128::from(*low)) * gone / all;
                (i128::from(*low) + step) as i64
            }
            (Some((_, ahead)), None) | (None, Some((_, ahead))) => *ahead,
            (None, None) => 0,
        }
    }

    /// For people and programs.
    pub(super) fn clock(&self, node: &str) -> Clock {
        Clock {
            node: node.to_owned(),
            ahead: self.points.first().map_or(0, |(_, ahead)| *ahead),
            within: self.within,
            packets: self.packets,
            basis: self.basis,
        }
    }
}

fn mean(low: i64, high: i64) -> i64 {
    i128::midpoint(i128::from(low), i128::from(high)) as i64
}

/// `a` less `b`, at most what the type holds.
fn difference(a: Timestamp, b: Timestamp) -> i64 {
    let exact = i128::from(a.0) - i128::from(b.0);
    exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
