//! Load that moved from one replica to another, as notices tell.
//!
//! When a replica fails, those who call it turn to its replicas, or keep waiting for it
//! and ask less. So where the requests of one fell and those of another rose, it is the
//! one that lost them that is to blame; what the other shows comes with the load.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::Entity;
use super::signs::Sign;
use super::words::Aspect;

/// How much more the notices of one that lost its load count.
const LOST: f64 = 2.0;
/// What is left of the notices of one that took it over.
const TOOK_OVER: f64 = 0.2;

/// Who lost load to a replica and who took it over.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Load {
    lost: BTreeSet<Entity>,
    took: BTreeSet<Entity>,
}

impl Load {
    /// `service` tells replicas: those of one service.
    pub(super) fn of<'a>(
        signs: impl Iterator<Item = (Entity, Sign<'a>)>,
        service: impl Fn(Entity) -> &'a str,
    ) -> Self {
        // Metrics of requests that rose, and that fell.
        let mut requests: BTreeMap<Entity, (usize, usize)> = BTreeMap::new();
        for (entity, sign) in signs {
            if let Sign::Metric(name, rose) = sign
                && Aspect::of(name) == Aspect::Traffic
            {
                let (up, down) = requests.entry(entity).or_default();
                *(if rose { up } else { down }) += 1;
            }
        }
        let mut load = Self::default();
        for (loser, (up, down)) in &requests {
            for (taker, (taker_up, taker_down)) in &requests {
                let moved = down > up && *taker_up > 0 && taker_up >= taker_down;
                if loser != taker && moved && service(*loser) == service(*taker) {
                    load.lost.insert(*loser);
                    load.took.insert(*taker);
                }
            }
        }
        load
    }

    /// How much what an entity shows counts.
    pub(super) fn weight(&self, entity: Entity) -> f64 {
        match (self.lost.contains(&entity), self.took.contains(&entity)) {
            (true, false) => LOST,
            (false, true) => TOOK_OVER,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(signs: &[(Entity, &'static str, bool)]) -> Load {
        let signs = signs.iter().map(|(entity, name, up)| (*entity, Sign::Metric(name, *up)));
        Load::of(signs, |entity| if entity < 2 { "cart" } else { "db" })
    }

    #[test]
    fn who_lost_its_load_to_a_replica_is_told_from_who_took_it() {
        let moved = load(&[(0, "in_qps", false), (0, "out_qps", false), (1, "in_qps", true)]);
        assert!((moved.weight(0) - LOST).abs() < 1e-12);
        assert!((moved.weight(1) - TOOK_OVER).abs() < 1e-12);
        assert!((moved.weight(2) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn less_load_for_all_and_other_services_say_nothing() {
        assert_eq!(load(&[(0, "in_qps", false), (1, "in_qps", false)]), Load::default());
        assert_eq!(load(&[(0, "in_qps", false), (2, "in_qps", true)]), Load::default());
        let restless = load(&[(0, "in_qps", false), (0, "out_qps", true), (1, "in_qps", true)]);
        assert_eq!(restless, Load::default());
    }
}
