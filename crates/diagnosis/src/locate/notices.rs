//! Whose notices are rare, and not what its replicas show too.
//!
//! Where other systems have already said what is unusual, what is left of the evidence
//! are their notices: a metric up or down, a line of a log, slow or failed calls. What
//! an entity shows in every trouble says nothing, so a notice counts by its rarity
//! among earlier episodes. What its replicas show at the same time comes with the load
//! or from a common callee. Notices of one kind repeat each other, so their sum grows
//! with the root of their number.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::observed::{Entity, Notice, Observed, What};
use super::words::Aspect;

/// What is left of a notice that a replica shows too.
const SHARED: f64 = 0.3;
/// Weight of a call that failed on its caller's side: a callee that fails fails all its
/// callers, so what fails for one replica only is that replica's own.
const FAILED_OUT: f64 = 4.0;
/// Weight of all other calls: slow callers and callees are the trouble's symptoms.
const CALL: f64 = 0.3;
/// Weight of a resource that is used less than usual.
const IDLE: f64 = 0.2;

/// A notice as one entity sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sign<'a> {
    /// A metric, and whether it rose.
    Metric(&'a str, bool),
    /// A line of a log.
    Log(&'a str),
    /// An operation it calls, and whether it failed.
    Out(&'a str, &'a str, bool),
    /// An operation it is called for.
    In(&'a str, &'a str, bool),
    /// An operation of its own.
    Own(&'a str, bool),
}

/// Kinds of notices that repeat each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Metric(Aspect),
    Log,
    Out,
    In,
    Own,
}

impl Sign<'_> {
    fn family(self) -> Family {
        match self {
            Self::Metric(name, _) => Family::Metric(Aspect::of(name)),
            Self::Log(_) => Family::Log,
            Self::Out(..) => Family::Out,
            Self::In(..) => Family::In,
            Self::Own(..) => Family::Own,
        }
    }

    fn weight(self) -> f64 {
        match self {
            Self::Metric(name, false) if Aspect::of(name).is_cause() => IDLE,
            Self::Metric(..) | Self::Log(_) => 1.0,
            Self::Out(_, _, true) => FAILED_OUT,
            Self::Out(..) | Self::In(..) | Self::Own(..) => CALL,
        }
    }

    fn text(self) -> String {
        let how = |failed: bool| if failed { "failed" } else { "slow" };
        match self {
            Self::Metric(name, true) => format!("{name} rose"),
            Self::Metric(name, false) => format!("{name} fell"),
            Self::Log(template) => format!("{template:?} in its log"),
            Self::Out(callee, operation, failed) => {
                format!("{} calls to {operation} of {callee}", how(failed))
            }
            Self::In(caller, operation, failed) => {
                format!("{} calls of {operation} by {caller}", how(failed))
            }
            Self::Own(operation, failed) => format!("{} {operation}", how(failed)),
        }
    }
}

/// The service of a replica: names that differ in a trailing number only are replicas.
fn service(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-')
}

/// What is unusual of one entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unusual {
    /// How much, without bound.
    pub(super) amount: f64,
    /// The rarest notice, in words.
    pub(super) rarest: String,
    /// In how many episodes of all it was seen, this one included.
    pub(super) seen: (usize, usize),
}

/// The notices of an episode by entity, each once.
pub(super) fn signs<'a>(
    entities: &'a [String],
    notices: &'a [Notice],
) -> BTreeSet<(Entity, Sign<'a>)> {
    let of = |entity: Entity| entities.get(entity).map_or("", |name| service(name));
    let mut signs = BTreeSet::new();
    for Notice { entity, what } in notices {
        match what {
            What::Metric { name, up } => signs.insert((*entity, Sign::Metric(name, *up))),
            What::Log { template } => signs.insert((*entity, Sign::Log(template))),
            What::Call { callee, operation, failed } if callee == entity => {
                signs.insert((*entity, Sign::Own(operation, *failed)))
            }
            What::Call { callee, operation, failed } => {
                signs.insert((*callee, Sign::In(of(*entity), operation, *failed)));
                signs.insert((*entity, Sign::Out(of(*callee), operation, *failed)))
            }
        };
    }
    signs
}

/// What is unusual of each entity that has a notice.
pub(super) fn unusual(observed: &Observed) -> BTreeMap<Entity, Unusual> {
    let now = signs(&observed.entities, &observed.notices);
    let mut seen: HashMap<(Entity, Sign<'_>), usize> = now.iter().map(|key| (*key, 1)).collect();
    for episode in &observed.earlier {
        for key in signs(&observed.entities, episode) {
            if let Some(count) = seen.get_mut(&key) {
                *count += 1;
            }
        }
    }
    let episodes = observed.earlier.len() + 1;
    let name = |entity: Entity| observed.entities.get(entity).map_or("", String::as_str);
    let mut showing: HashMap<(&str, Sign<'_>), HashSet<Entity>> = HashMap::new();
    for (entity, sign) in &now {
        showing.entry((service(name(*entity)), *sign)).or_default().insert(*entity);
    }
    let mut families: BTreeMap<(Entity, Family), (f64, f64)> = BTreeMap::new();
    let mut rarest: BTreeMap<Entity, (f64, Sign<'_>)> = BTreeMap::new();
    for key @ (entity, sign) in &now {
        let often = seen.get(key).copied().unwrap_or(1);
        let rarity = ((episodes as f64 + 1.0) / (often as f64 + 0.5)).ln().powi(2);
        let replicas = showing.get(&(service(name(*entity)), *sign)).map_or(1, HashSet::len);
        let shared = if replicas > 1 { SHARED } else { 1.0 };
        let amount = rarity * shared * sign.weight();
        let family = families.entry((*entity, sign.family())).or_default();
        *family = (family.0 + amount, family.1 + 1.0);
        let most = rarest.entry(*entity).or_insert((amount, *sign));
        if amount > most.0 {
            *most = (amount, *sign);
        }
    }
    let mut found: BTreeMap<Entity, Unusual> = BTreeMap::new();
    for ((entity, _), (sum, count)) in families {
        found.entry(entity).or_default().amount += sum / count.sqrt();
    }
    for (entity, unusual) in &mut found {
        if let Some((_, sign)) = rarest.get(entity) {
            unusual.rarest = sign.text();
            unusual.seen = (seen.get(&(*entity, *sign)).copied().unwrap_or(1), episodes);
        }
    }
    found
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
    fn notices_of_one_kind_repeat_each_other() {
        let many: Vec<_> = (0..9).map(|i| metric(0, &format!("cpu.{i}"), true)).collect();
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
