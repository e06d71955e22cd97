//! Counters to rates.

/// Turns readings of a counter into rates. A reading below the one before is a
/// restart from zero: what was counted since is the reading itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    last: Option<(i64, f64)>,
}

impl Rates {
    /// Adds a reading; `None` for the first one, for one that is not a finite number
    /// of zero or more, and for one that is not later than the last. `time` in
    /// seconds, the rate per second.
    pub fn push(&mut self, time: i64, reading: f64) -> Option<f64> {
        if !reading.is_finite() || reading < 0.0 {
            return None;
        }
        let Some((before, last)) = self.last else {
            self.last = Some((time, reading));
            return None;
        };
        let seconds = time.checked_sub(before).filter(|s| *s > 0)?;
        self.last = Some((time, reading));
        let counted = if reading >= last { reading - last } else { reading };
        Some(counted / seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_no_negative_rate() {
        let mut rates = Rates::default();
        let readings =
            [(0, 100.0), (10, 200.0), (20, 50.0), (20, 60.0), (40, f64::NAN), (40, 90.0)];
        let found: Vec<_> = readings.iter().map(|(t, v)| rates.push(*t, *v)).collect();
        assert_eq!(found, [None, Some(10.0), Some(5.0), None, None, Some(2.0)]);
    }
}
