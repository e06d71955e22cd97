//! Counters that only grow: what was added since the last look.

use libbpf_rs::{MapCore, MapFlags};

use super::Lost;
use crate::{Error, Result, from_bytes};

/// What a counter gained; one that fell was reset, and began again from zero.
pub(crate) fn gained(now: u64, before: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// A per-CPU array of loss counters, each with the name of its reason.
#[derive(Debug)]
pub(crate) struct LostCounters {
    reasons: &'static [&'static str],
    before: Vec<u64>,
}

impl LostCounters {
    pub(crate) fn new(reasons: &'static [&'static str]) -> Self {
        Self { reasons, before: vec![0; reasons.len()] }
    }

    /// What was lost since the last call; reasons without a loss are left out.
    pub(crate) fn read(&mut self, map: &impl MapCore) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        for (index, (&reason, before)) in self.reasons.iter().zip(&mut self.before).enumerate() {
            let key = (index as u32).to_ne_bytes();
            let slots = map
                .lookup_percpu(&key, MapFlags::ANY)
                .map_err(Error::bpf(format!("reading the loss counter {reason}")))?;
            let now: u64 = slots.iter().flatten().filter_map(|s| from_bytes::<u64>(s)).sum();
            let count = gained(now, *before);
            *before = now;
            if count > 0 {
                lost.push(Lost { reason, count });
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_fell_began_again() {
        assert_eq!(gained(12, 5), 7);
        assert_eq!(gained(3, 5), 3);
        assert_eq!(gained(5, 5), 0);
    }
}
