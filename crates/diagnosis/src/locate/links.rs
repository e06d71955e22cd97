//! On which links a caller waits longer than its callee works.
//!
//! Where both ends of a link tell their typical latency, what the caller waits beyond
//! what the callee works is the link's own: a slow server leaves no such gap. It points
//! at the end whose links are slow, all on one side of it and most of those that are
//! slow anywhere: the caller of many has other links that stay as they were, and who is
//! called by one slow caller only leaves the other slow links unexplained.

use std::collections::BTreeMap;

use super::observed::{Entity, Link};
use super::shift::{self, Shift};

/// Growth of a gap that nobody would notice, in seconds.
const UNNOTICED: f64 = 0.002;
/// Shift, in spreads, from which a gap counts as wider.
const WIDER: f64 = 3.0;

/// The links around an entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waits {
    /// The gap that grew most.
    pub(super) widest: Shift,
    /// Share of its links on one side, in or out, that grew.
    pub(super) around: f64,
    /// Share of all links that grew which it is an end of.
    pub(super) explains: f64,
}

/// What is known of an entity's links while they are read.
#[derive(Default)]
struct Ends {
    /// All links and those that grew, as the callee and as the caller.
    sides: [(f64, f64); 2],
    widest: Option<Shift>,
}

/// Entities that have a link whose gap grew.
pub(super) fn waits(links: &[Link], from: f64) -> BTreeMap<Entity, Waits> {
    let mut ends: BTreeMap<Entity, Ends> = BTreeMap::new();
    let mut grown = 0.0;
    for link in links.iter().filter(|link| link.call.caller != link.call.callee) {
        let gap = gap(link);
        let side = |after: bool| -> Vec<f64> {
            gap.iter().filter(|p| (p.0 >= from) == after).map(|p| p.1).collect()
        };
        let Some(shift) = shift::shift(&side(false), &side(true)) else { continue };
        let wider = shift.score >= WIDER && shift.delta() >= UNNOTICED;
        grown += f64::from(u8::from(wider));
        for (side, entity) in [link.call.callee, link.call.caller].into_iter().enumerate() {
            let end = ends.entry(entity).or_default();
            end.sides[side].0 += 1.0;
            if wider {
                end.sides[side].1 += 1.0;
                end.widest = end.widest.filter(|w| w.delta() >= shift.delta()).or(Some(shift));
            }
        }
    }
    let found = ends.into_iter().filter_map(|(entity, Ends { sides, widest })| {
        let around = sides.iter().map(|(all, wider)| wider / f64::max(*all, 1.0));
        let explains = sides.iter().map(|(_, wider)| wider).sum::<f64>() / grown;
        Some((entity, Waits { widest: widest?, around: around.fold(0.0, f64::max), explains }))
    });
    found.collect()
}

/// What the caller waits beyond the work, at the times of the caller's values. The
/// callee's value is the one nearest in time: both ends are read in the same rhythm,
/// but not at the same moment.
fn gap(link: &Link) -> Vec<(f64, f64)> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let mut worked: Vec<(f64, f64)> = link.worked.iter().filter(finite).copied().collect();
    worked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let nearest = |at: f64| {
        let next = worked.partition_point(|p| p.0 < at);
        let around = &worked[next.saturating_sub(1)..(next + 1).min(worked.len())];
        around.iter().min_by(|a, b| (a.0 - at).abs().total_cmp(&(b.0 - at).abs())).map(|p| p.1)
    };
    let pairs = link.waited.iter().filter(finite);
    pairs.filter_map(|p| Some((p.0, (p.1 - nearest(p.0)?).max(0.0)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::observed::Call;

    /// Twenty minutes as always, then five in which the caller waits and the callee works as told.
    fn link(caller: Entity, callee: Entity, waits: f64, works: f64) -> Link {
        let series = |before: f64, after: f64, late: f64| {
            (0..25).map(move |i| (f64::from(i) * 60.0 + late, if i < 20 { before } else { after }))
        };
        Link {
            call: Call { caller, callee },
            waited: series(0.012, waits, 0.0).collect(),
            worked: series(0.010, works, 0.4).collect(),
        }
    }

    #[test]
    fn a_slow_link_points_at_the_end_all_of_whose_links_are_slow() {
        let links = [link(0, 1, 0.25, 0.01), link(0, 2, 0.012, 0.01), link(3, 1, 0.25, 0.01)];
        let found = waits(&links, 1200.0);
        assert!((found[&1].around - 1.0).abs() < 1e-12 && found[&1].widest.value > 0.2);
        assert!((found[&0].around - 0.5).abs() < 1e-12 && !found.contains_key(&2));
        assert!((found[&3].around - 1.0).abs() < 1e-12 && found[&3].explains < 0.6);
        assert!((found[&1].explains - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_slow_server_leaves_no_gap() {
        assert!(waits(&[link(0, 1, 0.5, 0.498)], 1200.0).is_empty());
    }

    #[test]
    fn one_end_alone_and_values_that_are_none_do_no_harm() {
        let mut odd = link(0, 1, 0.25, 0.01);
        odd.worked.clear();
        let mut broken = link(0, 1, 0.012, 0.01);
        broken.waited.extend([(1300.0, f64::NAN), (f64::NAN, 9.0)]);
        assert!(waits(&[odd, broken, link(2, 2, 0.25, 0.01)], 1200.0).is_empty());
        assert!(waits(&[], 0.0).is_empty());
    }
}
