//! How far a series moved between two spans of time.

use crate::stats;

/// Spread is never less than this share of the level: what moves by less is not
/// worth a look, and constant or integer series are not scored in raw units.
const FLOOR: f64 = 0.05;
/// Where a shift is read among the values after: past the middle, so that a
/// trouble which lasts for a part of them is seen, before the ends, so that a
/// single spike is not.
const READ_AT: f64 = 0.75;
/// Fewest values on either side.
const FEWEST: usize = 2;

/// Level and spread of what is normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Normal {
    pub(super) level: f64,
    pub(super) spread: f64,
}

/// What is normal, from values before the trouble; `None` when there are too few.
pub(super) fn normal(before: &[f64]) -> Option<Normal> {
    if before.len() < FEWEST {
        return None;
    }
    let (level, spread) = stats::median_and_spread(before)?;
    Some(Normal { level, spread: spread.max(FLOOR * level.abs()) })
}

/// A shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) normal: Normal,
    /// What the values came to.
    pub(super) value: f64,
    /// Shift over spread; the sign tells the direction.
    pub(super) score: f64,
}

impl Shift {
    pub(super) fn delta(&self) -> f64 {
        self.value - self.normal.level
    }
}

/// How far the values after lie from the values before; `None` when there are too
/// few of either.
pub(super) fn shift(before: &[f64], after: &[f64]) -> Option<Shift> {
    let normal = normal(before)?;
    if after.is_empty() {
        return None;
    }
    let up = stats::quantile(after, READ_AT)?;
    let down = stats::quantile(after, 1.0 - READ_AT)?;
    let value = if up - normal.level >= normal.level - down { up } else { down };
    let delta = value - normal.level;
    // A series that was always zero has no spread: any value is then as far as can be.
    let spread = if normal.spread > 0.0 { normal.spread } else { delta.abs() / NEVER_SEEN };
    let score = if delta == 0.0 { 0.0 } else { delta / spread };
    Some(Shift { normal, value, score })
}

/// Score of a value where there was always another one and no level to compare with.
const NEVER_SEEN: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_have_no_unit() {
        let before: Vec<f64> = (0..40).map(|i| 100.0 + f64::from(i % 5)).collect();
        let after: Vec<f64> = before.iter().map(|v| v * 3.0).collect();
        let scaled = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| v * 1e6).collect() };
        let one = shift(&before, &after).unwrap();
        let other = shift(&scaled(&before), &scaled(&after)).unwrap();
        assert!((one.score - other.score).abs() < 1e-6 && one.score > 30.0, "{one:?}");
        assert!(shift(&after, &before).unwrap().score < -10.0);
    }

    #[test]
    fn constants_and_tiny_samples_do_no_harm() {
        assert_eq!(shift(&[], &[1.0]), None);
        assert_eq!(shift(&[1.0; 10], &[]), None);
        assert!(shift(&[7.0; 10], &[7.0; 10]).unwrap().score.abs() < 1e-12);
        let from_zero = shift(&[0.0; 10], &[3.0; 4]).unwrap();
        assert!((from_zero.score - NEVER_SEEN).abs() < 1e-9);
        let one_up = shift(&[1000.0; 10], &[1001.0; 10]).unwrap();
        assert!(one_up.score < 0.1, "{one_up:?}");
    }

    #[test]
    fn a_single_spike_is_no_shift() {
        let before = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95];
        let found = shift(&before, &[1.0, 1.0, 50.0, 1.0, 1.0, 1.0, 1.0, 1.0]).unwrap();
        assert!(found.score.abs() < 1.0, "{found:?}");
    }
}
