//! Vertical: which resource of an entity left its normal range.

use super::observed::{Entity, Observed};
use super::shift::{self, Shift};
use super::words::Aspect;

/// A series that moved.
#[derive(Clone, Debug)]
pub(super) struct Moved<'a> {
    pub(super) entity: Entity,
    pub(super) metric: &'a str,
    pub(super) aspect: Aspect,
    pub(super) shift: Shift,
    /// Whether its owner tells that nine tenths of that resource are left.
    pub(super) at_ease: bool,
}

/// Percentage of a limit below which nobody is short of a resource, however it moved.
const AT_EASE: f64 = 10.0;
/// Percentage of a limit from which a resource counts as used up, and below which it
/// must have been before.
const FULL: (f64, f64) = (90.0, 70.0);

impl Moved<'_> {
    /// Whether a resource that is told in percent of its limit was used up just now.
    pub(super) fn is_full(&self) -> bool {
        self.is_share() && self.shift.value >= FULL.0 && self.shift.normal.level < FULL.1
    }

    /// Whether it is a resource told in percent of its limit.
    fn is_share(&self) -> bool {
        let name = self.metric.to_lowercase();
        (name.contains('%') || name.contains("percent")) && self.aspect.is_cause()
    }
}

/// Shift, in spreads, that is worth a mention.
const WORTH: f64 = 3.0;
/// Rise of memory, as a share of all memory of that kind, that costs its owner CPU.
const HEAVY: f64 = 0.02;

/// All series that moved, the farthest first, with causes before what they cause.
///
/// Using more memory takes CPU (page faults, reclaim, garbage collection); using
/// more CPU takes no memory worth the name. So where both rose in one entity,
/// and the memory is a good part of what all entities have, memory comes first.
pub(super) fn moved(observed: &Observed, onset: f64) -> Vec<Moved<'_>> {
    let mut moved: Vec<Moved<'_>> = observed
        .series
        .iter()
        .filter_map(|series| {
            let side = |after: bool| -> Vec<f64> {
                let of = |p: &&(f64, f64)| (p.0 >= onset) == after && p.1.is_finite();
                series.points.iter().filter(of).map(|p| p.1).collect()
            };
            let shift = shift::shift(&side(false), &side(true))?;
            let aspect = Aspect::of(&series.metric);
            let (entity, metric) = (series.entity, series.metric.as_str());
            Some(Moved { entity, metric, aspect, shift, at_ease: false })
        })
        .collect();
    let at_ease = at_ease(&moved);
    for one in &mut moved {
        one.at_ease = at_ease.contains(&(one.entity, one.aspect));
    }
    let heavy = heavy(&moved);
    moved.retain(|one| one.shift.score.abs() >= WORTH || one.is_full());
    let explained = |one: &Moved<'_>| one.aspect == Aspect::Cpu && heavy.contains(&one.entity);
    moved.sort_by(|a, b| b.shift.score.abs().total_cmp(&a.shift.score.abs()));
    // Stable: within an entity whose memory explains its CPU, only that pair is turned round.
    for at in 0..moved.len() {
        if explained(&moved[at])
            && let Some(memory) = moved[at..].iter().position(|later| {
                later.entity == moved[at].entity && later.aspect == Aspect::Memory
            })
        {
            moved[at..=at + memory].rotate_right(1);
            let score = moved[at + 1].shift.score;
            moved[at].shift.score = moved[at].shift.score.max(score);
        }
    }
    moved
}

/// Resources of entities that are told in percent of their limit and hardly used.
fn at_ease(moved: &[Moved<'_>]) -> Vec<(Entity, Aspect)> {
    let shares = moved.iter().filter(|one| one.is_share());
    let easy = shares.filter(|one| one.shift.value.max(one.shift.normal.level) < AT_EASE);
    easy.map(|one| (one.entity, one.aspect)).collect()
}

/// Entities whose memory rose by a good part of what all have.
fn heavy(moved: &[Moved<'_>]) -> Vec<Entity> {
    let memory = |one: &&Moved<'_>| one.aspect == Aspect::Memory;
    let suffix = |one: &Moved<'_>| one.metric.to_owned();
    moved
        .iter()
        .filter(memory)
        .filter(|one| {
            let same = moved.iter().filter(memory).filter(|m| suffix(m) == suffix(one));
            let all: f64 = same.map(|m| m.shift.normal.level.abs()).sum();
            one.shift.score >= WORTH && one.shift.delta() >= HEAVY * all
        })
        .map(|one| one.entity)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::observed::Series;

    fn observed(series: &[(&str, &str, f64, f64)]) -> Observed {
        let mut observed = Observed::default();
        for (name, metric, before, after) in series {
            let entity = observed.entity(name);
            let value =
                |i: u32| if i < 30 { *before } else { *after } * (1.0 + f64::from(i % 3) * 0.01);
            let points = (0..50).map(|i| (f64::from(i), value(i))).collect();
            observed.series.push(Series { entity, metric: (*metric).into(), points });
        }
        observed
    }

    #[test]
    fn memory_explains_cpu_but_not_the_other_way() {
        let big =
            observed(&[("a", "cpu", 1.0, 80.0), ("a", "mem", 1e8, 9e8), ("b", "mem", 1e9, 1e9)]);
        let moved_big = moved(&big, 30.0);
        assert_eq!(moved_big[0].aspect, Aspect::Memory);
        assert!(moved_big[0].shift.score >= moved_big[1].shift.score);
        let small =
            observed(&[("a", "cpu", 1.0, 80.0), ("a", "mem", 1e7, 2e7), ("b", "mem", 1e9, 1e9)]);
        assert_eq!(moved(&small, 30.0)[0].aspect, Aspect::Cpu);
    }

    #[test]
    fn a_resource_that_is_used_up_is_listed_even_if_it_always_varied() {
        let mut restless = observed(&[("a", "cpu.usage(%)", 20.0, 95.0)]);
        for (at, point) in restless.series[0].points.iter_mut().enumerate().take(30) {
            point.1 = if at % 3 == 0 { 70.0 } else { 20.0 };
        }
        assert!(moved(&restless, 30.0)[0].is_full());
        let hot = observed(&[("a", "cpu.usage(%)", 92.0, 99.0)]);
        assert!(moved(&hot, 30.0).iter().all(|one| !one.is_full()));
    }

    #[test]
    fn who_uses_little_of_its_limit_is_at_ease() {
        let idle = observed(&[("a", "cpu(m)", 4.0, 22.0), ("a", "cpu.usage(%)", 0.7, 4.5)]);
        assert!(moved(&idle, 30.0).iter().all(|one| one.at_ease));
        let busy = observed(&[("a", "cpu(m)", 4.0, 130.0), ("a", "cpu.usage(%)", 0.7, 26.0)]);
        assert!(moved(&busy, 30.0).iter().all(|one| !one.at_ease));
        let untold = observed(&[("a", "cpu(m)", 4.0, 22.0)]);
        assert!(!moved(&untold, 30.0)[0].at_ease);
    }

    #[test]
    fn what_stays_is_not_listed() {
        assert!(moved(&observed(&[("a", "cpu", 1.0, 1.02)]), 30.0).is_empty());
        assert!(moved(&Observed::default(), 30.0).is_empty());
    }
}
