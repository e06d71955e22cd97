//! All subsets of dimensions, and the slice of each leaf in each of them.

use std::collections::HashMap;

use super::table::{Shift, Table};

/// A set of dimensions: bit `d` stands for dimension `d`.
pub(super) type Mask = u32;

/// The slices of one subset of dimensions.
#[derive(Debug)]
pub(super) struct Cuboid {
    pub(super) mask: Mask,
    /// The slice of each leaf.
    slice_of: Vec<u32>,
    /// Number of slices that hold a leaf.
    pub(super) slices: usize,
}

/// How much larger than the table an array of all possible slices may be.
const SPARSEST: u64 = 4;

impl Cuboid {
    fn new(table: &Table, mask: Mask) -> Self {
        let chosen: Vec<usize> =
            (0..table.dimensions.len()).filter(|d| mask >> d & 1 == 1).collect();
        let size = |d: &usize| table.values[*d].len().max(1) as u64;
        let possible = chosen.iter().try_fold(1_u64, |all, d| all.checked_mul(size(d)));
        let key = |leaf: usize| {
            let add = |key: u64, d: &usize| {
                key.wrapping_mul(size(d)).wrapping_add(u64::from(table.codes[*d][leaf]))
            };
            chosen.iter().fold(0_u64, add)
        };
        let dense = possible.filter(|p| *p <= SPARSEST * table.len() as u64);
        let (slice_of, slices) = match (dense, possible) {
            (Some(possible), _) => number_dense(table.len(), possible as usize, key),
            (None, Some(_)) => number_sparse((0..table.len()).map(key)),
            (None, None) => number_sparse(
                (0..table.len())
                    .map(|leaf| chosen.iter().map(|d| table.codes[*d][leaf]).collect::<Vec<_>>()),
            ),
        };
        Self { mask, slice_of, slices }
    }

    /// Evidence of each slice.
    pub(super) fn shifts(&self, leaves: &[Shift], live: &[bool]) -> Vec<Shift> {
        let mut slices = vec![Shift::default(); self.slices];
        for ((slice, shift), live) in self.slice_of.iter().zip(leaves).zip(live) {
            if *live {
                slices[*slice as usize] += *shift;
            }
        }
        slices
    }

    /// Leaves of a slice of which `live` is true.
    pub(super) fn leaves_of(&self, slice: usize, live: &[bool]) -> Vec<usize> {
        let all = self.slice_of.iter().zip(live).enumerate();
        all.filter(|(_, (s, live))| **live && **s as usize == slice).map(|(leaf, _)| leaf).collect()
    }
}

fn number_dense(leaves: usize, possible: usize, key: impl Fn(usize) -> u64) -> (Vec<u32>, usize) {
    const NONE: u32 = u32::MAX;
    let mut numbers = vec![NONE; possible];
    let mut next = 0;
    let number = |leaf| {
        let slot = &mut numbers[key(leaf) as usize];
        if *slot == NONE {
            *slot = next;
            next += 1;
        }
        *slot
    };
    let slice_of = (0..leaves).map(number).collect();
    (slice_of, next as usize)
}

fn number_sparse<K: Eq + std::hash::Hash>(keys: impl Iterator<Item = K>) -> (Vec<u32>, usize) {
    let mut numbers: HashMap<K, u32> = HashMap::new();
    let number = |key| {
        let next = numbers.len() as u32;
        *numbers.entry(key).or_insert(next)
    };
    let slice_of: Vec<u32> = keys.map(number).collect();
    (slice_of, numbers.len())
}

/// The subsets of the dimensions of a table, the empty one (everything) first.
pub(super) fn cuboids(table: &Table) -> Vec<Cuboid> {
    (0..1 << table.dimensions.len()).map(|mask| Cuboid::new(table, mask)).collect()
}
