use std::collections::VecDeque;
use taproot_model::{
    Change, ClusterEvent, Gibberish, Lifecycle, LogPattern, Loss, Span, SyscallFailure, Timestamp,
};

/// Things with a time, kept in its order and up to a cap.
#[derive(Clone, Debug)]
pub(crate) struct Log<T> {
    items: VecDeque<(Timestamp, T)>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { items: VecDeque::new() }
    }
}

impl<T> Log<T> {
    /// Adds one; returns how many old ones went to make room.
    pub(crate) fn add(&mut self, at: Timestamp, item: T, cap: usize) -> u64 {
        let place = self.items.partition_point(|i| i.0 <= at);
        self.items.insert(place, (at, item));
        let over = self.items.len().saturating_sub(cap);
        self.items.drain(..over);
        over as u64
    }

    pub(crate) fn evict_before(&mut self, at: Timestamp) {
        let gone = self.items.partition_point(|i| i.0 < at);
        self.items.drain(..gone);
    }

    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = &T> {
        let start = self.items.partition_point(|i| i.0 < span.from);
        self.items.range(start..).take_while(move |i| i.0 < span.to).map(|i| &i.1)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    pub(crate) lifecycle: Log<Lifecycle>,
    pub(crate) failures: Log<SyscallFailure>,
    pub(crate) patterns: Log<LogPattern>,
    pub(crate) gibberish: Log<Gibberish>,
    pub(crate) changes: Log<Change>,
    pub(crate) cluster: Log<ClusterEvent>,
    pub(crate) losses: Log<Loss>,
}

impl Logs {
    pub(crate) fn evict_before(&mut self, at: Timestamp) {
        self.lifecycle.evict_before(at);
        self.failures.evict_before(at);
        self.patterns.evict_before(at);
        self.gibberish.evict_before(at);
        self.changes.evict_before(at);
        self.cluster.evict_before(at);
        self.losses.evict_before(at);
    }
}

/// What happened within a span, each kind oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happenings {
    /// Beginnings, ends and kills.
    pub lifecycle: Vec<Lifecycle>,
    /// Failing system calls.
    pub failures: Vec<SyscallFailure>,
    /// Log templates.
    pub patterns: Vec<LogPattern>,
    /// Log output that is no text.
    pub gibberish: Vec<Gibberish>,
    /// What somebody changed.
    pub changes: Vec<Change>,
    /// Cluster events.
    pub cluster: Vec<ClusterEvent>,
    /// What could not be seen.
    pub losses: Vec<Loss>,
}
