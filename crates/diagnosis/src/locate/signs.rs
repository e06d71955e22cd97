//! A notice as each entity that it is about sees it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::observed::{Entity, Notice, Observed, What};
use super::words::Aspect;

/// Weight of a call that failed on its caller's side: a callee that fails fails all its
/// callers, so what fails for one replica only is that replica's own.
const FAILED_OUT: f64 = 4.0;
/// Weight of all other calls: slow callers and callees are the trouble's symptoms.
pub(super) const CALL: f64 = 0.3;
/// Weight of a resource that is used less than usual.
const IDLE: f64 = 0.2;

/// A notice as one entity sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Metric(Aspect),
    Log,
    Out,
    In,
    Own,
}

impl Family {
    /// Whether its notices follow from one another: lines of one program, calls of one
    /// request. Metrics are each measured for themselves, so that many of them agree says
    /// more than that one of them moved.
    pub(super) fn is_script(self) -> bool {
        !matches!(self, Self::Metric(_))
    }
}

impl Sign<'_> {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Metric(name, _) => Family::Metric(Aspect::of(name)),
            Self::Log(_) => Family::Log,
            Self::Out(..) => Family::Out,
            Self::In(..) => Family::In,
            Self::Own(..) => Family::Own,
        }
    }

    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Metric(name, false) if Aspect::of(name).is_cause() => IDLE,
            Self::Metric(..) | Self::Log(_) => 1.0,
            Self::Out(_, _, true) => FAILED_OUT,
            Self::Out(..) | Self::In(..) | Self::Own(..) => CALL,
        }
    }

    pub(super) fn text(self) -> String {
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
pub(super) fn service(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-')
}

/// What an episode's notices are read with.
pub(super) struct Reader<'a> {
    services: Vec<&'a str>,
    /// Of metrics that differ in a number that is a word of its own (`core_7`), the first:
    /// which of several alike parts it is says nothing.
    alike: HashMap<&'a str, &'a str>,
}

impl<'a> Reader<'a> {
    pub(super) fn of(observed: &'a Observed) -> Self {
        let services = observed.entities.iter().map(|name| service(name)).collect();
        let mut firsts: HashMap<String, &'a str> = HashMap::new();
        let mut alike: HashMap<&'a str, &'a str> = HashMap::new();
        for notice in observed.notices.iter().chain(observed.earlier.iter().flatten()) {
            let What::Metric { name, .. } = &notice.what else { continue };
            if !alike.contains_key(name.as_str()) {
                let first = match numbered(name) {
                    Some(pattern) => *firsts.entry(pattern).or_insert(name),
                    None => name,
                };
                alike.insert(name, first);
            }
        }
        Self { services, alike }
    }

    pub(super) fn service(&self, entity: Entity) -> &'a str {
        self.services.get(entity).copied().unwrap_or_default()
    }

    /// What a notice is to whom: one, or both ends of a call.
    pub(super) fn signs(
        &self,
        notice: &'a Notice,
    ) -> impl Iterator<Item = (Entity, Sign<'a>)> + use<'a> {
        let from = notice.entity;
        let (first, second) = match &notice.what {
            What::Metric { name, up } => ((from, Sign::Metric(name, *up)), None),
            What::Log { template } => ((from, Sign::Log(template)), None),
            What::Call { callee, operation, failed } if *callee == from => {
                ((from, Sign::Own(operation, *failed)), None)
            }
            What::Call { callee, operation, failed } => (
                (*callee, Sign::In(self.service(from), operation, *failed)),
                Some((from, Sign::Out(self.service(*callee), operation, *failed))),
            ),
        };
        std::iter::once(first).chain(second)
    }

    /// What stands for a sign and all that are alike.
    pub(super) fn key(&self, sign: Sign<'a>) -> Sign<'a> {
        match sign {
            Sign::Metric(name, up) => {
                Sign::Metric(self.alike.get(name).copied().unwrap_or(name), up)
            }
            other => other,
        }
    }
}

/// The name with its lone numbers left out; `None` where it has none.
fn numbered(name: &str) -> Option<String> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let words = || name.split(|c: char| !c.is_alphanumeric());
    words().any(is_number).then(|| {
        words().map(|word| if is_number(word) { "#" } else { word }).collect::<Vec<_>>().join("_")
    })
}

/// When each notice was raised among those of its kind: 0 for the first, towards 1 for the
/// last; 0 for all of a kind whose order tells nothing.
pub(super) fn moments(notices: &[Notice]) -> Vec<f64> {
    let mut kinds: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (at, notice) in notices.iter().enumerate() {
        let kind = match notice.what {
            What::Metric { .. } => 0,
            What::Log { .. } => 1,
            What::Call { .. } => 2,
        };
        kinds.entry(kind).or_default().push(at);
    }
    let mut moments = vec![0.0; notices.len()];
    for list in kinds.values().filter(|list| is_in_order(notices, list)) {
        for (nth, at) in list.iter().enumerate() {
            moments[*at] = nth as f64 / list.len() as f64;
        }
    }
    moments
}

/// Whether a list may be in the order of time: one sorted by entity is not.
fn is_in_order(notices: &[Notice], list: &[usize]) -> bool {
    let entities: Vec<Entity> = list.iter().map(|at| notices[*at].entity).collect();
    let changes = entities.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes >= entities.iter().collect::<HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(entity: Entity, name: &str) -> Notice {
        Notice { entity, what: What::Metric { name: name.into(), up: true } }
    }

    #[test]
    fn numbers_that_are_words_tell_parts_apart_that_are_alike() {
        assert_eq!(numbered("cpu_core_7_pct").as_deref(), Some("cpu_core_#_pct"));
        assert_eq!(numbered("cpu.core.11.pct"), numbered("cpu.core.0.pct"));
        assert_eq!(numbered("dest_p95"), None, "a quantile is no part");
        let notices = ["cpu_3_pct", "cpu_9_pct", "mem"].map(|name| notice(0, name)).to_vec();
        let observed = Observed { notices, ..Observed::default() };
        let reader = Reader::of(&observed);
        let key = |name| reader.key(Sign::Metric(name, true));
        assert_eq!(key("cpu_9_pct"), key("cpu_3_pct"));
        assert_ne!(key("cpu_9_pct"), key("mem"));
    }

    #[test]
    fn order_counts_only_where_there_may_be_one() {
        let raised = |of: [Entity; 4]| moments(&of.map(|entity| notice(entity, "m")));
        assert_eq!(raised([0, 1, 0, 2]), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(raised([0, 0, 1, 2]), [0.0; 4], "sorted by entity");
        assert!(moments(&[]).is_empty());
    }

    #[test]
    fn a_call_is_a_sign_to_both_ends() {
        let entities = ["web-0", "cart-1"].map(String::from).to_vec();
        let observed = Observed { entities, ..Observed::default() };
        let what = What::Call { callee: 1, operation: "get".into(), failed: true };
        let call = Notice { entity: 0, what };
        let found: Vec<_> = Reader::of(&observed).signs(&call).collect();
        assert_eq!(found, [(1, Sign::In("web", "get", true)), (0, Sign::Out("cart", "get", true))]);
    }
}
