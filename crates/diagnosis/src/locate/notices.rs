//! Whose notices are rare, early, and not what its replicas show too.
//!
//! Where other systems have already said what is unusual, what is left of the evidence
//! are their notices: a metric up or down, a line of a log, slow or failed calls. What
//! an entity shows in every trouble says nothing, so a notice counts by its rarity
//! among earlier episodes. What its replicas show at the same time comes with the load
//! or from a common callee, and what is raised late may follow from what came before.
//! A call that fails where the callee's own calls fail is the callee's trouble. Notices of
//! one kind repeat each other, so their sum grows with the root of their number; lines and
//! calls that others of that kind have always come with add nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::kind::{self, Kind};
use super::load::Load;
use super::observed::{Entity, Notice, Observed, What};
use super::signs::{self, Family, Reader, Sign};

/// What is left of a notice that a replica shows too.
const SHARED: f64 = 0.3;
/// What is left of the notice that was raised last.
const LATEST: f64 = 0.1;

/// What is unusual of one entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unusual {
    /// How much, without bound.
    pub(super) amount: f64,
    /// The rarest notice, in words.
    pub(super) rarest: String,
    /// In how many episodes of all it was seen, this one included.
    pub(super) seen: (usize, usize),
    /// Kinds of fault that it looks like.
    pub(super) kinds: Vec<Kind>,
}

/// A sign of now, with all that are alike.
struct Shown<'a> {
    entity: Entity,
    /// The first of them.
    sign: Sign<'a>,
    key: Sign<'a>,
    /// When it was raised, from 0 to 1.
    moment: f64,
    /// Earlier episodes in which it was seen.
    seen: Episodes,
}

/// A set of episodes, by their numbers.
#[derive(Clone, Default)]
struct Episodes(Vec<u64>);

impl Episodes {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn shared_with(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }
}

/// What is unusual of each entity that has a notice.
pub(super) fn unusual(observed: &Observed) -> BTreeMap<Entity, Unusual> {
    let reader = Reader::of(observed);
    let shown = shown(observed, &reader);
    let service = |entity| reader.service(entity);
    let load = Load::of(shown.iter().map(|one| (one.entity, one.sign)), service);
    let explained = explained(&observed.notices, &reader);
    let mut showing: HashMap<(&str, Sign<'_>), usize> = HashMap::new();
    for one in &shown {
        *showing.entry((service(one.entity), one.key)).or_default() += 1;
    }
    let episodes = observed.earlier.len() + 1;
    let amount = |one: &Shown<'_>| {
        let often = one.seen.len() + 1;
        let rarity = ((episodes as f64 + 1.0) / (often as f64 + 0.5)).ln().powi(2);
        let is_shared = showing.get(&(service(one.entity), one.key)).is_some_and(|n| *n > 1);
        let shared = if is_shared { SHARED } else { 1.0 };
        let is_explained = explained.contains(&(one.entity, one.sign));
        let weight = if is_explained { signs::CALL } else { one.sign.weight() };
        let early = 1.0 - (1.0 - LATEST) * one.moment;
        rarity * shared * weight * early * load.weight(one.entity)
    };
    let mut amounts: Vec<(f64, &Shown<'_>)> = shown.iter().map(|one| (amount(one), one)).collect();
    amounts.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| (a.1.entity, a.1.sign).cmp(&(b.1.entity, b.1.sign)))
    });
    let mut found: BTreeMap<Entity, Unusual> = BTreeMap::new();
    let mut families: BTreeMap<(Entity, Family), (f64, Vec<&Shown<'_>>)> = BTreeMap::new();
    for (amount, one) in amounts {
        found.entry(one.entity).or_insert_with(|| {
            let own = shown.iter().filter(|other| other.entity == one.entity);
            Unusual {
                amount: 0.0,
                rarest: one.sign.text(),
                seen: (one.seen.len() + 1, episodes),
                kinds: kind::kinds(&own.map(|other| other.sign).collect::<Vec<_>>()),
            }
        });
        let family = one.sign.family();
        let (sum, counted) = families.entry((one.entity, family)).or_default();
        *sum += amount * if family.is_script() { news(one, counted) } else { 1.0 };
        counted.push(one);
    }
    for ((entity, _), (sum, counted)) in families {
        found.entry(entity).or_default().amount += sum / (counted.len() as f64).sqrt();
    }
    found
}

/// The signs of now, each once, and in which earlier episodes they were seen.
fn shown<'a>(observed: &'a Observed, reader: &Reader<'a>) -> Vec<Shown<'a>> {
    let mut shown: Vec<Shown<'a>> = Vec::new();
    let mut places: HashMap<(Entity, Sign<'a>), usize> = HashMap::new();
    for (notice, moment) in observed.notices.iter().zip(signs::moments(&observed.notices)) {
        for (entity, sign) in reader.signs(notice) {
            let key = reader.key(sign);
            places.entry((entity, key)).or_insert_with(|| {
                shown.push(Shown { entity, sign, key, moment, seen: Episodes::default() });
                shown.len() - 1
            });
        }
    }
    for (number, episode) in observed.earlier.iter().enumerate() {
        for (entity, sign) in episode.iter().flat_map(|notice| reader.signs(notice)) {
            if let Some(place) = places.get(&(entity, reader.key(sign))) {
                shown[*place].seen.insert(number);
            }
        }
    }
    shown
}

/// Calls that fail because their callee's own calls fail.
fn explained<'a>(notices: &'a [Notice], reader: &Reader<'a>) -> HashSet<(Entity, Sign<'a>)> {
    let failed: Vec<(Entity, Entity, &str)> = notices
        .iter()
        .filter_map(|notice| match &notice.what {
            What::Call { callee, operation, failed: true } if *callee != notice.entity => {
                Some((notice.entity, *callee, operation.as_str()))
            }
            _ => None,
        })
        .collect();
    let fails_beyond = |callee: Entity, caller: Entity| {
        failed.iter().any(|(by, at, _)| *by == callee && *at != caller)
    };
    failed
        .iter()
        .filter(|(caller, callee, _)| fails_beyond(*callee, *caller))
        .map(|(caller, callee, operation)| {
            (*caller, Sign::Out(reader.service(*callee), operation, true))
        })
        .collect()
}

/// Share of a sign that is not foretold by those already counted.
fn news(one: &Shown<'_>, counted: &[&Shown<'_>]) -> f64 {
    let foretold = |by: &&Shown<'_>| {
        // One more episode, in which it was not: few of them prove little.
        one.seen.shared_with(&by.seen) as f64 / (by.seen.len() as f64 + 1.0)
    };
    1.0 - counted.iter().map(foretold).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(entity: Entity, name: &str, up: bool) -> Notice {
        Notice { entity, what: What::Metric { name: name.into(), up } }
    }

    fn call(caller: Entity, callee: Entity, failed: bool) -> Notice {
        Notice { entity: caller, what: What::Call { callee, operation: "get".into(), failed } }
    }

    fn shop(notices: Vec<Notice>, earlier: Vec<Vec<Notice>>) -> Observed {
        let entities = ["cart-0", "cart-1", "db-0"].map(String::from).to_vec();
        Observed { entities, notices, earlier, ..Observed::default() }
    }

    #[test]
    fn what_is_always_noticed_says_little() {
        let always = || metric(0, "qps", false);
        let found = unusual(&shop(
            vec![always(), metric(2, "qps", false)],
            (0..20).map(|_| vec![always()]).collect(),
        ));
        assert!(found[&2].amount > 10.0 * found[&0].amount, "{found:?}");
        assert_eq!((found[&2].rarest.as_str(), found[&2].seen), ("qps fell", (1, 21)));
    }

    #[test]
    fn what_replicas_share_counts_less_than_what_they_do_not() {
        let earlier = || vec![Vec::new(); 20];
        let both = unusual(&shop(vec![metric(0, "cpu", true), metric(1, "cpu", true)], earlier()));
        let one = unusual(&shop(vec![metric(0, "cpu", true)], earlier()));
        assert!(one[&0].amount > 3.0 * both[&0].amount, "{one:?} {both:?}");
    }

    #[test]
    fn calls_that_fail_for_one_replica_are_its_own() {
        let found = unusual(&shop(vec![call(0, 2, true)], vec![Vec::new(); 20]));
        assert!(found[&0].amount > 5.0 * found[&2].amount, "{found:?}");
        assert_eq!(found[&0].rarest, "failed calls to get of db");
        let own = unusual(&shop(vec![call(2, 2, false)], Vec::new()));
        assert_eq!(own[&2].rarest, "slow get");
    }

    #[test]
    fn calls_that_fail_further_down_are_symptoms() {
        let chain = vec![call(0, 1, true), call(1, 2, true)];
        let found = unusual(&shop(chain, vec![Vec::new(); 20]));
        assert!(found[&1].amount > 5.0 * found[&0].amount, "{found:?}");
    }

    #[test]
    fn what_is_raised_first_counts_more() {
        let names = [(0, "cpu"), (1, "mem"), (0, "disk"), (2, "net")];
        let now = names.map(|(entity, name)| metric(entity, name, true)).to_vec();
        let found = unusual(&shop(now, vec![Vec::new(); 20]));
        assert!(found[&1].amount > 2.0 * found[&2].amount, "{found:?}");
    }

    #[test]
    fn lines_that_always_come_together_count_once() {
        let line =
            |template: &str| Notice { entity: 0, what: What::Log { template: template.into() } };
        let script = || vec![line("a"), line("b"), line("c"), line("d")];
        let earlier = |together: bool| -> Vec<Vec<Notice>> {
            let alone = |i: usize| vec![script().swap_remove(i % 4)];
            let one = |i| {
                if i >= 12 {
                    vec![]
                } else if together {
                    script()
                } else {
                    alone(i)
                }
            };
            (0..40).map(one).collect()
        };
        let amount = |together| unusual(&shop(script(), earlier(together)))[&0].amount;
        assert!(amount(false) > 4.0 * amount(true), "{} {}", amount(false), amount(true));
    }

    #[test]
    fn notices_of_one_kind_repeat_each_other() {
        let name = |i: u8| format!("cpu.{}", char::from(b'a' + i));
        let many: Vec<_> = (0..9).map(|i| metric(0, &name(i), true)).collect();
        let alone = unusual(&shop(many[..1].to_vec(), vec![Vec::new(); 20]));
        let all = unusual(&shop(many, vec![Vec::new(); 20]));
        assert!((all[&0].amount / alone[&0].amount - 3.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_noticed_and_names_unknown_do_no_harm() {
        assert!(unusual(&Observed::default()).is_empty());
        assert!(unusual(&shop(vec![call(7, 9, true)], Vec::new()))[&7].amount.is_finite());
    }
}
