//! Who owned an address, and when.

use crate::facts::End;
use std::collections::HashMap;
use std::hash::Hash;
use taproot_model::Timestamp;

/// Leases kept of one address: with a new pod a second on one address, this
/// still reaches back further than any signal is late.
const RING: usize = 16;

/// Owners of addresses over time. `A` is the address, `K` names the owner.
#[derive(Debug)]
pub struct History<A, K> {
    leases: HashMap<A, Vec<Lease<K>>>,
}

/// One owner's time with an address, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease<K> {
    /// The owner.
    pub owner: K,
    /// First instant.
    pub from: Timestamp,
    /// First instant after; `None` while it lasts.
    pub to: Option<End>,
}

impl<K> Lease<K> {
    fn ended(&self) -> Option<Timestamp> {
        self.to.map(End::time)
    }
}

impl<A, K> Default for History<A, K> {
    fn default() -> Self {
        Self { leases: HashMap::new() }
    }
}

impl<A: Eq + Hash + Clone, K: Clone + PartialEq> History<A, K> {
    /// The owner at that time.
    pub fn owner(&self, address: &A, at: Timestamp) -> Option<&K> {
        let lease = self.leases.get(address)?.iter().rev().find(|lease| lease.from <= at)?;
        lease.ended().is_none_or(|to| at < to).then_some(&lease.owner)
    }

    /// All owners of an address that are remembered, in order of time.
    pub fn leases(&self, address: &A) -> &[Lease<K>] {
        self.leases.get(address).map_or(&[], Vec::as_slice)
    }

    /// Notes that `owner` has the address, since `from` or, if that is not
    /// known, since its last owner left it.
    ///
    /// An address has one owner: an older lease ends here, at the latest. But a
    /// certain end stands (a group was removed, a container exited) while a
    /// beginning is only "not before" (a pod is created long before it gets an
    /// address); then the younger gives way.
    pub fn open(&mut self, address: A, owner: &K, from: Option<Timestamp>) {
        let leases = self.leases.entry(address).or_default();
        if let Some(known) =
            leases.iter_mut().find(|lease| lease.owner == *owner && lease.to.is_none())
        {
            known.from = from.map_or(known.from, |from| from.min(known.from));
        } else {
            let last = leases.last();
            let ended =
                leases.iter().rev().find(|lease| lease.owner == *owner).and_then(Lease::ended);
            if ended.is_some_and(|ended| from.is_none_or(|from| from < ended)) {
                return;
            }
            let from = from.or(last.map(|l| l.ended().unwrap_or(l.from))).unwrap_or_default();
            leases.push(Lease { owner: owner.clone(), from, to: None });
        }
        settle(leases);
        let surplus = leases.len().saturating_sub(RING);
        leases.drain(..surplus);
    }

    /// Notes that `owner` has none of its addresses any more. Of several words on
    /// one end the best stays.
    pub fn close(&mut self, owner: &K, end: End) {
        for leases in self.leases.values_mut() {
            for lease in leases.iter_mut().filter(|lease| lease.owner == *owner) {
                let end = lease.to.map_or(end, |known| known.better(end));
                let too_early = end.time() < lease.from;
                lease.to = Some(if too_early { End::By(lease.from) } else { end });
            }
            settle(leases);
        }
    }

    /// Forgets leases that ended before that time.
    pub fn purge(&mut self, before: Timestamp) {
        self.leases.retain(|_, leases| {
            leases.retain(|lease| lease.ended().is_none_or(|to| to >= before));
            !leases.is_empty()
        });
    }
}

/// Puts leases in order of time and takes overlaps away.
fn settle<K>(leases: &mut [Lease<K>]) {
    leases.sort_by_key(|lease| lease.from);
    for i in 1..leases.len() {
        let next = leases.get(i + 1).map(|lease| lease.from);
        let (older, younger) = leases.split_at_mut(i);
        let (older, younger) = (&mut older[i - 1], &mut younger[0]);
        let latest = younger.ended().into_iter().chain(next).min();
        match older.to {
            Some(end) if end.time() <= younger.from => {}
            Some(End::At(to)) if latest.is_none_or(|latest| to <= latest) => younger.from = to,
            _ => older.to = Some(End::By(younger.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: fn(u64) -> Timestamp = Timestamp;

    fn history() -> History<&'static str, char> {
        History::default()
    }

    #[test]
    fn a_reused_address_is_told_by_time() {
        let mut ips = history();
        ips.open("ip", &'a', Some(T(10)));
        ips.close(&'a', End::At(T(20)));
        ips.open("ip", &'b', Some(T(25)));
        let owner = |at| ips.owner(&"ip", T(at)).copied();
        assert_eq!(owner(9), None);
        assert_eq!(owner(10), Some('a'));
        assert_eq!(owner(20), None, "nobody between them");
        assert_eq!(owner(25), Some('b'));
        assert_eq!(ips.owner(&"other", T(25)), None);
    }

    #[test]
    fn the_next_owner_ends_an_unseen_end() {
        let mut ips = history();
        ips.open("ip", &'a', Some(T(10)));
        ips.open("ip", &'b', Some(T(30)));
        assert_eq!(ips.owner(&"ip", T(29)), Some(&'a'));
        assert_eq!(ips.owner(&"ip", T(30)), Some(&'b'));
    }

    #[test]
    fn a_certain_end_moves_an_early_beginning() {
        let mut ips = history();
        ips.open("ip", &'a', Some(T(10)));
        ips.close(&'a', End::At(T(40)));
        ips.open("ip", &'b', Some(T(30)));
        assert_eq!(ips.owner(&"ip", T(35)), Some(&'a'), "b was created, a still had the address");
        assert_eq!(ips.owner(&"ip", T(40)), Some(&'b'));
    }

    #[test]
    fn an_end_found_late_does_not_take_from_the_next_owner() {
        let mut ips = history();
        ips.open("ip", &'a', Some(T(10)));
        ips.close(&'a', End::By(T(40)));
        ips.open("ip", &'b', Some(T(30)));
        assert_eq!(ips.owner(&"ip", T(30)), Some(&'b'));
        ips.close(&'a', End::At(T(20)));
        assert_eq!(ips.owner(&"ip", T(20)), None, "a better word on the same end");
        ips.close(&'a', End::By(T(50)));
        assert_eq!(ips.owner(&"ip", T(20)), None, "a worse one changes nothing");
    }

    #[test]
    fn an_owner_found_at_start_had_it_before() {
        let mut ips = history();
        ips.open("ip", &'a', None);
        assert_eq!(ips.owner(&"ip", T(1)), Some(&'a'));
        ips.close(&'a', End::At(T(50)));
        ips.open("ip", &'b', None);
        assert_eq!(ips.owner(&"ip", T(49)), Some(&'a'));
        assert_eq!(ips.owner(&"ip", T(50)), Some(&'b'));
    }

    #[test]
    fn a_late_list_does_not_revive_the_dead() {
        let mut ips = history();
        ips.open("ip", &'a', Some(T(10)));
        ips.close(&'a', End::At(T(20)));
        ips.open("ip", &'a', Some(T(10)));
        assert_eq!(ips.owner(&"ip", T(21)), None);
    }

    #[test]
    fn the_ring_is_bounded_and_old_leases_go() {
        let mut ips: History<u8, u64> = History::default();
        for i in 0..100 {
            ips.open(1, &i, Some(T(i * 10)));
        }
        assert_eq!(ips.leases(&1).len(), RING);
        ips.purge(T(985));
        assert_eq!(ips.leases(&1).len(), 2);
        ips.close(&99, End::At(T(2000)));
        ips.purge(T(3000));
        assert!(ips.leases.is_empty());
    }

    proptest! {
        #[test]
        fn never_two_owners_at_once(steps in proptest::collection::vec((0u8..6, 0u64..100, any::<bool>(), any::<bool>()), 0..40)) {
            let mut ips: History<u8, u8> = History::default();
            for (owner, time, begins, certain) in steps {
                if begins { ips.open(1, &owner, Some(T(time))) } else { ips.close(&owner, if certain { End::At(T(time)) } else { End::By(T(time)) }) }
                let leases = ips.leases(&1);
                for pair in leases.windows(2) {
                    prop_assert!(pair[0].from <= pair[1].from);
                    prop_assert!(pair[0].ended().is_some_and(|to| to <= pair[1].from), "{leases:?}");
                }
            }
        }
    }
}
