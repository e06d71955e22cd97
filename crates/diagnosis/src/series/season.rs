//! What is usual at a time of day.

const DAY: i64 = 86_400;
/// Days that are remembered.
const DAYS: i64 = 5;
/// Slots on each side that help to say what is usual.
const AROUND: usize = 2;
/// Values needed to say what is usual.
const LEAST: usize = 5;
/// Shortest slot, in seconds.
const SHORTEST: i64 = 300;

/// The mean of one slot on one day.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    day: i64,
    sum: f64,
    count: u32,
}

/// The last days, in slots as wide as the series is apart (5 minutes to a day).
#[derive(Clone, Debug, Default)]
pub(super) struct Season {
    width: i64,
    slots: Vec<[Cell; DAYS as usize]>,
    first: Option<i64>,
}

impl Season {
    fn slot(&self, time: i64) -> usize {
        (time.rem_euclid(DAY) / self.width) as usize % self.slots.len()
    }

    /// The median of what was seen around this time of day on the days before, if
    /// there was enough.
    pub(super) fn usual(&self, time: i64) -> Option<f64> {
        if self.slots.is_empty() {
            return None;
        }
        let today = time.div_euclid(DAY);
        let slot = self.slot(time) + self.slots.len();
        let around = slot.saturating_sub(AROUND)..=slot + AROUND;
        let mut seen: Vec<f64> = around
            .flat_map(|slot| &self.slots[slot % self.slots.len()])
            .filter(|cell| cell.count > 0 && cell.day != today)
            .map(|cell| cell.sum / f64::from(cell.count))
            .collect();
        let middle = seen.len() / 2;
        (seen.len() >= LEAST).then(|| *seen.select_nth_unstable_by(middle, f64::total_cmp).1)
    }

    /// Adds a value. The second distinct time fixes how wide a slot is.
    pub(super) fn push(&mut self, time: i64, value: f64) {
        if self.slots.is_empty() {
            let first = *self.first.get_or_insert(time);
            let apart = time.saturating_sub(first);
            if apart <= 0 {
                return;
            }
            self.width = apart.clamp(SHORTEST, DAY);
            self.slots = vec![<[Cell; DAYS as usize]>::default(); (DAY / self.width) as usize];
        }
        let day = time.div_euclid(DAY);
        let slot = self.slot(time);
        let cell = &mut self.slots[slot][day.rem_euclid(DAYS) as usize];
        if cell.day != day || cell.count == u32::MAX {
            *cell = Cell { day, ..Cell::default() };
        }
        cell.sum += value;
        cell.count += 1;
    }
}
