//! How far a value lies beyond all that was seen lately.

use std::collections::VecDeque;

/// A sliding window of values, also kept in order.
#[derive(Clone, Debug)]
pub(super) struct Window {
    arrived: VecDeque<f64>,
    ordered: Vec<f64>,
    most: usize,
}

/// Fewer values than this say nothing about a range.
const LEAST: usize = 30;
/// The range is taken to be at least this share of the level.
const LEAST_RANGE: f64 = 1e-3;
/// Novelty of the first other value of a constant series, and the most there is.
const MOST: f64 = 4.0;

impl Window {
    pub(super) fn new(most: usize) -> Self {
        Self { arrived: VecDeque::new(), ordered: Vec::new(), most }
    }

    /// Adds a value; the oldest leaves a full window.
    pub(super) fn push(&mut self, value: f64) {
        let at = self.ordered.partition_point(|v| *v < value);
        self.ordered.insert(at, value);
        self.arrived.push_back(value);
        if self.arrived.len() > self.most
            && let Some(oldest) = self.arrived.pop_front()
        {
            self.ordered.remove(self.ordered.partition_point(|v| *v < oldest));
        }
    }

    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.ordered.len().checked_sub(1)?;
        self.ordered.get((last as f64 * q) as usize).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len()
    }

    /// By how much a value exceeds the largest (positive) or falls below the least
    /// (negative) of the window, in units of their distance from the median; zero
    /// inside. In a window of `n` exchangeable values, a new one is outside with a
    /// chance of `2 / (n + 1)`, whatever their distribution.
    pub(super) fn novelty(&self, value: f64) -> f64 {
        if self.len() < LEAST {
            return 0.0;
        }
        let (Some(least), Some(middle), Some(largest)) =
            (self.quantile(0.0), self.quantile(0.5), self.quantile(1.0))
        else {
            return 0.0;
        };
        let level = least.abs().max(largest.abs());
        let beyond = |over: f64, range: f64| {
            let range = range.max(LEAST_RANGE * level);
            if range > 0.0 { (over / range).min(MOST) } else { MOST }
        };
        if value > largest {
            beyond(value - largest, largest - middle)
        } else if value < least {
            -beyond(least - value, middle - least)
        } else {
            0.0
        }
    }
}
