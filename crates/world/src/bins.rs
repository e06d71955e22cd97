use std::collections::VecDeque;

/// Values by bin number (time divided by the resolution), sparse and ordered.
///
/// Signals arrive nearly in order, so finding a bin looks at the back first and
/// falls back to a binary search for the late ones.
#[derive(Clone, Debug)]
pub(crate) struct Bins<T> {
    items: VecDeque<(u64, T)>,
}

impl<T> Default for Bins<T> {
    fn default() -> Self {
        Self { items: VecDeque::new() }
    }
}

impl<T: Default> Bins<T> {
    /// The value of a bin, made on first use; says whether it was made.
    pub(crate) fn entry(&mut self, bin: u64) -> (&mut T, bool) {
        let at = match self.items.back() {
            Some(last) if last.0 == bin => self.items.len() - 1,
            Some(last) if last.0 > bin => self.items.partition_point(|i| i.0 < bin),
            _ => self.items.len(),
        };
        let new = self.items.get(at).is_none_or(|i| i.0 != bin);
        if new {
            self.items.insert(at, (bin, T::default()));
        }
        (&mut self.items[at].1, new)
    }
}

impl<T> Bins<T> {
    /// Drops all bins below `bin`; returns how many.
    pub(crate) fn evict_before(&mut self, bin: u64) -> usize {
        let gone = self.items.partition_point(|i| i.0 < bin);
        self.items.drain(..gone);
        gone
    }

    /// The bins in `[from, to)`, oldest first.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &T)> {
        let start = self.items.partition_point(|i| i.0 < from);
        self.items.range(start..).take_while(move |i| i.0 < to).map(|i| (i.0, &i.1))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_bins_are_put_in_their_place() {
        let mut bins = Bins::<u64>::default();
        for bin in [5, 7, 6, 5, 9] {
            *bins.entry(bin).0 += bin;
        }
        let seen: Vec<_> = bins.range(0, 100).map(|(b, v)| (b, *v)).collect();
        assert_eq!(seen, [(5, 10), (6, 6), (7, 7), (9, 9)]);
        assert_eq!(bins.range(6, 9).count(), 2);
        assert_eq!(bins.evict_before(7), 2);
        assert_eq!(bins.range(0, 100).count(), 2);
    }
}
