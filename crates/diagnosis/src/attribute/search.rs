//! Scans for slices that moved: take the best, split it, widen it, start over.

use super::Settings;
use super::lattice::{Cuboid, Mask, cuboids};
use super::table::{Shift, Table};

/// A slice that moved and the leaves that it, and no other, accounts for.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) mask: Mask,
    pub(super) leaves: Vec<usize>,
    /// Likelihood ratio (logarithm) of "moved" against "did not", of the narrow slice
    /// that this one was widened from: conciseness must not cost a slice its rank.
    pub(super) gain: f64,
}

/// Slices that explain the change of the table, strongest first.
pub(super) fn slices(table: &Table, settings: &Settings) -> Vec<Slice> {
    let mut search = Search {
        table,
        settings,
        cuboids: cuboids(table),
        live: vec![true; table.len()],
        shifts: Vec::new(),
    };
    let mut found = Vec::new();
    while found.len() < settings.most {
        let before = found.len();
        search.round(&mut found);
        if found.len() == before {
            break;
        }
    }
    search.drop_noise(&mut found);
    found.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    found
}

struct Search<'a> {
    table: &'a Table,
    settings: &'a Settings,
    cuboids: Vec<Cuboid>,
    /// Leaves that nothing accounts for yet.
    live: Vec<bool>,
    shifts: Vec<Shift>,
}

impl Search<'_> {
    /// What naming a slice costs.
    fn price(&self, mask: Mask) -> f64 {
        self.settings.price + (self.cuboids[mask as usize].slices as f64).ln()
    }

    fn evidence(&self, leaves: &[usize]) -> Shift {
        leaves.iter().map(|leaf| &self.shifts[*leaf]).sum()
    }

    /// Finds the best slice and what becomes of it.
    fn round(&mut self, found: &mut Vec<Slice>) {
        self.shifts = self.table.shifts(&self.live);
        let Some((mask, leaves)) = self.best() else { return };
        let mut pieces = Vec::new();
        self.split(mask, leaves, &mut pieces);
        for (mask, leaves) in pieces {
            let leaves: Vec<usize> = leaves.into_iter().filter(|leaf| self.live[*leaf]).collect();
            if leaves.is_empty() {
                continue;
            }
            let gain = self.evidence(&leaves).gain();
            if gain <= self.price(mask) {
                // Set aside without a name, or the next round would find them again.
                self.set_aside(&leaves);
                continue;
            }
            let (mask, leaves) = self.widen(mask, leaves);
            self.set_aside(&leaves);
            found.push(Slice { mask, leaves, gain });
        }
    }

    fn set_aside(&mut self, leaves: &[usize]) {
        for leaf in leaves {
            self.live[*leaf] = false;
        }
    }

    /// The slice that gains most beyond its price.
    fn best(&self) -> Option<(Mask, Vec<usize>)> {
        let mut best = (0.0, None);
        for cuboid in &self.cuboids {
            let price = self.price(cuboid.mask);
            for (slice, shift) in cuboid.shifts(&self.shifts, &self.live).iter().enumerate() {
                let worth = shift.gain() - price;
                if worth > best.0 {
                    best = (worth, Some((cuboid, slice)));
                }
            }
        }
        let (cuboid, slice) = best.1?;
        Some((cuboid.mask, cuboid.leaves_of(slice, &self.live)))
    }

    /// Evidence of leaves by the value of one dimension.
    fn by_value(&self, leaves: &[usize], dimension: usize) -> Vec<Shift> {
        let mut values = vec![Shift::default(); self.table.values[dimension].len()];
        for leaf in leaves {
            values[self.table.codes[dimension][*leaf] as usize] += self.shifts[*leaf];
        }
        values
    }

    /// Splits a slice along a dimension when some values of it, each named on its
    /// own, say more than the whole; then the pieces likewise.
    fn split(&self, mask: Mask, leaves: Vec<usize>, out: &mut Vec<(Mask, Vec<usize>)>) {
        let whole = self.evidence(&leaves);
        let mut best = (whole.gain() - self.price(mask), None);
        for dimension in self.free(mask) {
            let values = self.by_value(&leaves, dimension);
            let weighed = values.iter().filter(|v| v.weight > 0.0).count();
            let mut moved: Vec<usize> = (0..values.len())
                .filter(|v| values[*v].weight > 0.0 && values[*v].moved * whole.moved > 0.0)
                .collect();
            moved.sort_by(|a, b| values[*b].effect().abs().total_cmp(&values[*a].effect().abs()));
            let price = self.price(mask | 1 << dimension);
            let mut sum = Shift::default();
            for (rank, value) in moved.iter().enumerate().take(weighed.saturating_sub(1)) {
                sum += values[*value];
                let worth = sum.gain() - (rank + 1) as f64 * price;
                if worth > best.0 {
                    best = (worth, Some((dimension, moved[..=rank].to_vec())));
                }
            }
        }
        let Some((dimension, values)) = best.1 else {
            out.push((mask, leaves));
            return;
        };
        let codes = &self.table.codes[dimension];
        for value in values {
            let piece = leaves.iter().copied().filter(|l| codes[*l] as usize == value).collect();
            self.split(mask | 1 << dimension, piece, out);
        }
    }

    /// Dimensions that are not in a mask.
    fn free(&self, mask: Mask) -> impl Iterator<Item = usize> + use<> {
        (0..self.table.dimensions.len()).filter(move |d| mask >> d & 1 == 0)
    }

    /// Drops dimensions from a slice as long as its neighbours moved too; all but one,
    /// because everything is a slice that the scan finds by itself.
    fn widen(&self, mut mask: Mask, mut leaves: Vec<usize>) -> (Mask, Vec<usize>) {
        loop {
            let mut best = (0.0, None);
            for dimension in (0..self.table.dimensions.len()).filter(|d| mask >> d & 1 == 1) {
                let wider = mask & !(1 << dimension);
                if wider == 0 {
                    break;
                }
                let around = self.leaves_like(leaves[0], wider);
                let share = self.moved_around(&leaves, &around, dimension);
                if let Some(share) = share.filter(|share| *share > best.0) {
                    best = (share, Some((wider, around)));
                }
            }
            let Some((wider, around)) = best.1 else { return (mask, leaves) };
            (mask, leaves) = (wider, around);
        }
    }

    /// Live leaves with the labels that a leaf has in the dimensions of a mask.
    fn leaves_like(&self, leaf: usize, mask: Mask) -> Vec<usize> {
        let codes = self.table.codes.iter().enumerate();
        let fixed: Vec<_> =
            codes.filter(|(d, _)| mask >> d & 1 == 1).map(|(_, c)| (c, c[leaf])).collect();
        (0..self.live.len())
            .filter(|l| self.live[*l] && fixed.iter().all(|(codes, code)| codes[*l] == *code))
            .collect()
    }

    /// The share of the weight around a slice, along one dimension, that moved as the
    /// slice did, if that is enough to widen it; above all when nothing is around it.
    fn moved_around(&self, slice: &[usize], around: &[usize], dimension: usize) -> Option<f64> {
        const NOTHING_ELSE: f64 = 2.0;
        let own = self.evidence(slice);
        let code = self.table.codes[dimension][slice[0]] as usize;
        let (mut others, mut alike, mut whole) = (0.0, 0.0, own);
        let mut together = own;
        for (value, shift) in self.by_value(around, dimension).into_iter().enumerate() {
            if value == code || shift.weight <= 0.0 {
                continue;
            }
            others += shift.weight;
            whole += shift;
            if shift.effect() / own.effect() >= self.settings.alike {
                alike += shift.weight;
                together += shift;
            }
        }
        if others <= 0.0 {
            return Some(NOTHING_ELSE);
        }
        let enough = alike / others >= self.settings.neighbours
            && whole.gain() >= self.settings.kept * own.gain()
            && whole.gain() >= self.settings.diluted * together.gain();
        enough.then_some(alike / others)
    }

    /// Drops slices that do not stand out from what the leaves left over do by
    /// themselves: noise with long tails, and ratios that vary more than by chance.
    fn drop_noise(&mut self, found: &mut Vec<Slice>) {
        self.shifts = self.table.shifts(&self.live);
        found.retain(|slice| {
            let left = self.cuboids[slice.mask as usize].shifts(&self.shifts, &self.live);
            slice.gain > dispersion(&left) * self.price(slice.mask)
        });
    }
}

/// How much larger the gains of slices are than chance alone would make them: at
/// least one. By the mean (half of one by chance) and, where there are enough
/// slices, by how fast the tail falls (a factor e for each unit by chance).
fn dispersion(slices: &[Shift]) -> f64 {
    const ENOUGH: usize = 1000;
    let mut gains: Vec<f64> = slices.iter().filter(|s| s.weight > 0.0).map(|s| s.gain()).collect();
    if gains.is_empty() {
        return 1.0;
    }
    gains.sort_unstable_by(f64::total_cmp);
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    let at = |q: f64| gains[(gains.len() as f64 * q) as usize];
    let tail = if gains.len() < ENOUGH { 0.0 } else { (at(0.999) - at(0.99)) / 10_f64.ln() };
    (2.0 * mean).max(tail).max(1.0)
}
