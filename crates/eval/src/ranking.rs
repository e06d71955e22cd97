//! AC@k and its kin.

/// The rank (from one) of the best right answer in a scored list, ties counted at
/// the worst; `None` when it is absent.
///
/// Scores fall along the list; equal scores are a tie, whatever the order.
pub fn worst_rank<T>(list: &[(T, f64)], right: impl Fn(&T) -> bool) -> Option<usize> {
    let score = list.iter().find(|(what, _)| right(what))?.1;
    let ties = list.iter().filter(|(what, other)| *other >= score && !right(what)).count();
    Some(ties + 1)
}

/// 1 if the rank is within the first `k`, else 0.
pub fn within(rank: Option<usize>, k: usize) -> f64 {
    if rank.is_some_and(|rank| rank <= k) { 1.0 } else { 0.0 }
}

/// Mean of [`within`] over 1 to `k`.
pub fn average(rank: Option<usize>, k: usize) -> f64 {
    (1..=k).map(|at| within(rank, at)).sum::<f64>() / k.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_at_the_worst_rank() {
        let list = [("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)];
        assert_eq!(worst_rank(&list, |w| *w == "a"), Some(1));
        assert_eq!(worst_rank(&list, |w| *w == "b"), Some(3));
        assert_eq!(worst_rank(&list, |w| *w == "c"), Some(3));
        assert_eq!(worst_rank(&list, |w| *w == "e"), None);
    }

    #[test]
    fn averages_run_over_k() {
        assert!((average(Some(2), 5) - 0.8).abs() < 1e-12);
        assert!(average(None, 5) < 1e-12);
        assert!(within(Some(3), 3) > within(Some(4), 3));
    }
}
