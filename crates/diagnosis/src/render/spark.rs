/// Columns of a chart.
const WIDTH: usize = 40;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A course as one line of text: each column is the largest value of its part,
/// from the lowest (`▁`) to the highest (`█`); a gap is a dot. Empty without values.
pub fn spark(values: &[Option<f64>]) -> String {
    let present = || values.iter().flatten().copied().filter(|v| v.is_finite());
    let low = present().fold(f64::INFINITY, f64::min).min(0.0);
    let high = present().fold(f64::NEG_INFINITY, f64::max);
    if !high.is_finite() {
        return String::new();
    }
    let part = values.len().div_ceil(WIDTH).max(1);
    let column = |part: &[Option<f64>]| {
        let most = part.iter().flatten().copied().reduce(f64::max)?;
        let share = if high > low { (most - low) / (high - low) } else { 0.0 };
        let level = (share * (LEVELS.len() - 1) as f64).round() as usize;
        LEVELS.get(level).copied()
    };
    values.chunks(part).map(|p| column(p).unwrap_or('·')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_looks_like_a_step() {
        let values: Vec<_> = [0.0, 0.0, 1.0, 1.0].into_iter().map(Some).collect();
        assert_eq!(spark(&values), "▁▁██");
    }

    #[test]
    fn gaps_and_nothing_are_told_apart() {
        assert_eq!(spark(&[Some(1.0), None, Some(2.0)]), "▅·█");
        assert_eq!(spark(&[None, None]), "");
        assert_eq!(spark(&[]), "");
    }

    #[test]
    fn long_courses_fit_a_line() {
        let values: Vec<_> = (0..1000).map(|i| Some(f64::from(i))).collect();
        assert!(spark(&values).chars().count() <= WIDTH);
    }
}
