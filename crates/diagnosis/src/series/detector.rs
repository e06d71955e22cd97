//! Point by point: how surprising is it, and since when is the series not itself.
//!
//! Three views of a series are each compared with their own last [`HISTORY`] points:
//! the value, the mean of the last few values, and the difference from what is usual
//! at this time of day. A view is surprising by how far it lies beyond all of its
//! history; the three add up. A new extreme needs no distribution and no unit, so
//! the rate of false alarms is that of records, and falls with the threshold.
//! Memory and time for a point are bounded.

use std::collections::VecDeque;

use serde::Serialize;

use super::novelty::Window;
use super::season::Season;

/// Points that a view is compared with.
pub const HISTORY: usize = 1500;
/// Points in the short mean.
const SHORT: usize = 10;
/// A surprise from which on the next points are expected to be odd as well,
const AFTERSHOCK: f64 = 0.1;
/// for so many points,
const AFTERSHOCKS: usize = 50;
/// so that they count this much.
const DAMPED: f64 = 0.5;
/// Points inside the normal range, one after another, that end an excursion.
const BACK: usize = 3;
/// Points after which an excursion is the new normal.
const NEW_NORMAL: usize = HISTORY / 2;

/// How sure to be before an alarm is given.
#[derive(Clone, Copy, Debug)]
pub struct Threshold(pub f64);

impl Default for Threshold {
    /// About one false alarm in 2,000 points of a quiet series (see the tests).
    fn default() -> Self {
        Self(0.25)
    }
}

/// What a point says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Surprise {
    /// Zero within what was seen before; 1 for as far again as the range is wide.
    pub score: f64,
    /// Whether it is higher (or lower) than what was seen before.
    pub upward: bool,
}

/// A stretch outside the normal range. Times are those of the points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stretch {
    /// First point outside the range.
    pub from: i64,
    /// When the alarm was given.
    pub alarm: i64,
    /// First point back inside, or where it became the new normal; `None` if it lasts.
    pub to: Option<i64>,
    /// The normal range before it: 1 % to 99 % of the values.
    pub normal: (f64, f64),
    /// The value farthest from that range.
    pub peak: f64,
    /// The highest score.
    pub score: f64,
}

/// State of one series.
#[derive(Clone, Debug)]
pub struct Detector {
    threshold: f64,
    value: Window,
    mean: Window,
    unusual: Window,
    season: Season,
    recent: VecDeque<f64>,
    damped: usize,
    /// First of the points that are outside without a break, with the range then.
    left: Option<(i64, (f64, f64))>,
    open: Option<Open>,
    last: Option<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    stretch: Stretch,
    /// Time of the first of the last points inside.
    inside_since: i64,
    inside: usize,
    points: usize,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(Threshold::default())
    }
}

impl Detector {
    /// A detector that knows nothing yet.
    pub fn new(threshold: Threshold) -> Self {
        Self {
            threshold: threshold.0,
            value: Window::new(HISTORY),
            mean: Window::new(HISTORY),
            unusual: Window::new(HISTORY),
            season: Season::default(),
            recent: VecDeque::with_capacity(SHORT + 1),
            damped: 0,
            left: None,
            open: None,
            last: None,
        }
    }

    /// Adds a point. `time` is in seconds of wall time and does not fall; a missing
    /// point is one that is not pushed, and a value that is not finite is missing.
    pub fn push(&mut self, time: i64, value: f64) -> Surprise {
        if !value.is_finite() {
            return Surprise::default();
        }
        self.recent.push_back(value);
        if self.recent.len() > SHORT {
            self.recent.pop_front();
        }
        let share = 1.0 / self.recent.len() as f64;
        let mean = self.recent.iter().map(|v| v * share).sum::<f64>();
        let unusual = self.season.usual(time).map(|usual| value - usual).filter(|v| v.is_finite());
        let views = [
            self.value.novelty(value),
            self.mean.novelty(mean),
            unusual.map_or(0.0, |unusual| self.unusual.novelty(unusual)),
        ];
        let surprise = self.weigh(views);
        self.bound(time, value, surprise);
        self.value.push(value);
        self.mean.push(mean);
        if let Some(unusual) = unusual {
            self.unusual.push(unusual);
        }
        self.season.push(time, value);
        surprise
    }

    /// Adds up the views, and damps what follows a surprise.
    fn weigh(&mut self, views: [f64; 3]) -> Surprise {
        let mut score = views.iter().map(|v| v.abs()).sum::<f64>();
        if self.damped > 0 {
            self.damped -= 1;
            score *= DAMPED;
        } else if score > AFTERSHOCK {
            self.damped = AFTERSHOCKS;
        }
        Surprise { score, upward: views.iter().sum::<f64>() > 0.0 }
    }

    /// Keeps track of where the series leaves its range and comes back.
    fn bound(&mut self, time: i64, value: f64, surprise: Surprise) {
        if let Some(open) = &mut self.open {
            open.points += 1;
            let (low, high) = open.stretch.normal;
            let beyond = |v: f64| (v - high).max(low - v);
            if beyond(value) > beyond(open.stretch.peak) {
                open.stretch.peak = value;
            }
            open.stretch.score = open.stretch.score.max(surprise.score);
            let inside = beyond(value) <= 0.0;
            if inside && open.inside == 0 {
                open.inside_since = time;
            }
            open.inside = if inside { open.inside + 1 } else { 0 };
            let end = (open.inside >= BACK).then_some(open.inside_since);
            if let Some(to) = end.or((open.points >= NEW_NORMAL).then_some(time)) {
                self.last = Some(Stretch { to: Some(to), ..open.stretch });
                self.open = None;
                self.left = None;
            }
            return;
        }
        let range = self.value.quantile(0.01).zip(self.value.quantile(0.99));
        let Some(range) = range else { return };
        let (from, normal) = *self.left.get_or_insert((time, range));
        if surprise.score >= self.threshold {
            let stretch =
                Stretch { from, alarm: time, to: None, normal, peak: value, score: surprise.score };
            self.open = Some(Open { stretch, inside_since: time, inside: 0, points: 0 });
        } else if normal.0 <= value && value <= normal.1 {
            self.left = None;
        }
    }

    /// The stretch that lasts, or else the last one that ended.
    pub fn stretch(&self) -> Option<Stretch> {
        self.open.map(|open| open.stretch).or(self.last)
    }

    /// Values held, of all views: bounded whatever is pushed.
    pub fn held(&self) -> usize {
        self.value.len() + self.mean.len() + self.unusual.len() + self.recent.len()
    }
}

#[cfg(test)]
mod tests;
