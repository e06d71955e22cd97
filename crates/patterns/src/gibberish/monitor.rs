//! Follows one stream of lines: how much of it is not text, and since when.

use serde::{Deserialize, Serialize};

use super::{Reason, Verdict, assess};

/// Time after which an observation counts half, in nanoseconds.
const HALF_LIFE: f64 = 30e9;
/// Weighted share of suspicious lines at which a stream is called broken, and the
/// lower one at which it is called well again.
const BROKEN: f64 = 0.02;
const WELL: f64 = 0.005;
/// Suspicious lines needed before a stream is called broken: one odd line, such
/// as a binary that somebody printed by mistake, is not an onset.
const ENOUGH: u64 = 3;

/// A stream began to be broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Onset {
    /// Time of the first suspicious line, in nanoseconds.
    pub since: u64,
    /// Why that line was suspicious.
    pub reason: Reason,
    /// Its first offending bytes, escaped.
    pub sample: String,
}

/// The state of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All lines.
    pub lines: u64,
    /// Lines that were not text.
    pub suspicious: u64,
    /// Share of lines that were not text lately (half-life 30 s), 0 to 1.
    pub recent_share: f64,
    /// Set while the stream is broken.
    pub onset: Option<Onset>,
}

/// Follows one stream in constant memory.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    lines: u64,
    suspicious: u64,
    recent: f64,
    recent_suspicious: f64,
    last: u64,
    candidate: Option<Onset>,
    /// Suspicious lines since the candidate.
    gathered: u64,
    broken: bool,
}

impl Monitor {
    /// Takes in a line seen at `time` (nanoseconds). Returns the onset once, when
    /// the stream turns from well to broken.
    pub fn observe(&mut self, line: &[u8], time: u64) -> Option<Onset> {
        self.decay(time);
        self.lines += 1;
        self.recent += 1.0;
        if let Verdict::Suspicious { reason, sample, .. } = assess(line) {
            self.suspicious += 1;
            self.recent_suspicious += 1.0;
            self.gathered += 1;
            self.candidate.get_or_insert(Onset { since: time, reason, sample });
        }
        self.turn()
    }

    /// The state of the stream.
    pub fn report(&self) -> Report {
        Report {
            lines: self.lines,
            suspicious: self.suspicious,
            recent_share: self.share(),
            onset: self.candidate.clone().filter(|_| self.broken),
        }
    }

    fn share(&self) -> f64 {
        if self.recent > 0.0 { self.recent_suspicious / self.recent } else { 0.0 }
    }

    fn decay(&mut self, time: u64) {
        let elapsed = time.saturating_sub(self.last) as f64;
        if elapsed > 0.0 {
            let factor = (-elapsed / HALF_LIFE).exp2();
            self.recent *= factor;
            self.recent_suspicious *= factor;
        }
        self.last = self.last.max(time);
    }

    fn turn(&mut self) -> Option<Onset> {
        let share = self.share();
        if share < WELL {
            self.broken = false;
            self.candidate = None;
            self.gathered = 0;
        } else if !self.broken && share >= BROKEN && self.gathered >= ENOUGH {
            self.broken = true;
            return self.candidate.clone();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_onset_is_the_first_bad_line() {
        let mut monitor = Monitor::default();
        for second in 0..100 {
            assert_eq!(monitor.observe(b"all is well", second * SECOND), None);
        }
        let mut onsets = Vec::new();
        for second in 100..110 {
            onsets.extend(monitor.observe(b"\0\0\xff\xfe", second * SECOND));
        }
        assert_eq!(onsets.len(), 1);
        assert_eq!((onsets[0].since, onsets[0].reason), (100 * SECOND, Reason::NulBytes));
        let report = monitor.report();
        assert_eq!((report.lines, report.suspicious), (110, 10));
        assert!(report.recent_share > 0.1);
    }

    #[test]
    fn one_odd_line_is_no_onset() {
        let mut monitor = Monitor::default();
        for second in 0..200 {
            let line: &[u8] = if second == 50 { b"\0" } else { b"fine" };
            assert_eq!(monitor.observe(line, second * SECOND), None);
        }
        assert_eq!(monitor.report().onset, None);
    }

    #[test]
    fn a_stream_can_recover_and_break_again() {
        let mut monitor = Monitor::default();
        let mut onsets = Vec::new();
        for second in 0..2000 {
            let bad = second % 1000 < 20;
            let line: &[u8] = if bad { b"\xff\xff" } else { b"fine" };
            onsets.extend(monitor.observe(line, second * SECOND));
        }
        let since: Vec<_> = onsets.iter().map(|onset| onset.since / SECOND).collect();
        assert_eq!(since, [0, 1000]);
    }
}
