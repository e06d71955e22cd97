//! Resource family, CPU: noisy neighbours and limits of one's own.

use super::{Case, Class, Finding, Leaf};
use crate::scene::{Compare, Scene, Windows};
use crate::stats::grade;
use crate::units::{self, was};
use std::collections::BTreeSet;
use taproot_model::{Entity, EntityId, EntityKind, Name, metric};

/// Seconds a second spent waiting for a CPU that are worth a look.
const WAITS: f64 = 0.05;
/// The same where nothing tells what is normal.
const WAITS_AT_ALL: f64 = 0.3;
/// Share of the wait that one neighbour must account for.
const CULPRIT_SHARE: f64 = 0.2;
/// CPUs a neighbour must have taken more than before to be the one who began it.
const CULPRIT_CPUS: f64 = 0.15;
/// The same of everything outside of workloads together, which varies more.
const CULPRIT_CPUS_OF_NODE: f64 = 0.3;
/// The same where nothing tells what is normal.
const CULPRIT_CPUS_AT_ALL: f64 = 0.5;
/// Share of stopped scheduler periods that is worth a look when it is new.
const THROTTLED: f64 = 0.15;
/// The same when there is no past: services with a tight limit live with a little.
const THROTTLED_AT_ALL: f64 = 0.4;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        let throttle = Throttle::of(scene, entity);
        let neighbour = noisy_neighbour(scene, entity, throttle.as_ref());
        let limit = cpu_limit(scene, entity, throttle.as_ref(), neighbour.as_ref());
        out.extend(neighbour);
        out.extend(limit);
    }
}

/// The level of figures of a pod's own group.
const POD: &str = "level=pod";

/// What a share is a share of, and the signal that tells.
#[derive(Clone, Copy)]
struct ShareOf {
    signal: &'static str,
    words: &'static str,
}

const SCHEDULER_PERIODS: ShareOf =
    ShareOf { signal: metric::CPU_THROTTLED_PERIODS, words: "the scheduler periods" };
const STOPPED_TIME: ShareOf = ShareOf { signal: metric::CPU_THROTTLED_TIME, words: "the time" };

/// How an entity's own limit treats it.
struct Throttle {
    /// Share stopped.
    ratio: Compare,
    /// Of what.
    share_of: ShareOf,
    /// Seconds a second stopped.
    time: Compare,
    /// CPUs allowed, if reported.
    limit: Option<f64>,
    used: Option<f64>,
    windows: Windows,
    values: Vec<Option<f64>>,
}

impl Throttle {
    fn of(scene: &Scene<'_>, entity: &Entity) -> Option<Self> {
        let attributes = scene.attributes(&entity.id, metric::CPU_THROTTLED_TIME);
        let all: Vec<Self> =
            attributes.iter().filter_map(|a| Self::at_level(scene, entity, a)).collect();
        all.into_iter().max_by(|a, b| a.time.during.total_cmp(&b.time.during))
    }

    fn at_level(scene: &Scene<'_>, entity: &Entity, level: &Name) -> Option<Self> {
        let id = &entity.id;
        let values = scene.rates(id, metric::CPU_THROTTLED_TIME, level);
        let windows = scene.windows(&values);
        let time = scene.compare(id, metric::CPU_THROTTLED_TIME, level, &windows)?;
        // Periods without a level are the container's: they say nothing of its pod, whose
        // limit may stop a container that its own never does.
        let own = |name, w| {
            let at_level = scene.rate(id, name, level, w);
            at_level.or_else(|| if &**level == POD { None } else { scene.rate(id, name, "", w) })
        };
        let periods = |w| {
            let stopped = own(metric::CPU_THROTTLED_PERIODS, w)?;
            let all = own(metric::CPU_PERIODS, w)?;
            Some(if all > 0.0 { stopped / all } else { 0.0 })
        };
        // Without counts of periods the stopped time itself is the share.
        let (ratio, share_of) = match periods(windows.during) {
            Some(during) => {
                (Compare { before: windows.before.and_then(periods), during }, SCHEDULER_PERIODS)
            }
            None => (Compare { during: time.during.min(1.0), ..time }, STOPPED_TIME),
        };
        let limit = scene.last(id, metric::CPU_LIMIT);
        let used = scene.rate(id, metric::CPU_TIME, "", windows.during);
        Some(Self { ratio, share_of, time, limit, used, windows, values })
    }

    fn biting(&self) -> bool {
        match self.ratio.before {
            Some(before) => {
                self.ratio.during >= THROTTLED
                    && self.ratio.during >= before * 1.8
                    && self.ratio.during >= before + 0.1
            }
            None => self.ratio.during >= THROTTLED_AT_ALL,
        }
    }
}

/// Somebody who ran while the victim waited.
struct Culprit {
    id: EntityId,
    took: Compare,
    cpu: Option<Compare>,
    related: bool,
    /// It stands for what runs on the node outside of workloads.
    node: bool,
}

/// Services that call the victim or are called by it: their work is its load.
fn related<'s>(scene: &'s Scene<'_>, service: &'s str) -> BTreeSet<&'s Name> {
    let callers = scene.inbound(service).map(|l| &l.client);
    callers.chain(scene.outbound(service).map(|l| &l.server)).collect()
}

/// The CPUs that an entity uses. A node stands for its processes outside of any
/// workload, so what its workloads use is taken off.
fn cpu_of(scene: &Scene<'_>, id: &EntityId, windows: &Windows) -> Option<Compare> {
    let node = scene.entities.get(id).filter(|e| e.kind == EntityKind::Node);
    let Some(node) = node else { return scene.compare(id, metric::CPU_TIME, "", windows) };
    let mut rest = scene.compare(id, metric::NODE_CPU_TIME, "", windows)?;
    for workload in scene.workloads().filter(|e| e.node == node.node) {
        let Some(used) = scene.compare(&workload.id, metric::CPU_TIME, "", windows) else {
            continue;
        };
        rest.during = (rest.during - used.during).max(0.0);
        rest.before = rest.before.map(|b| (b - used.before.unwrap_or(0.0)).max(0.0));
    }
    Some(rest)
}

fn culprits(scene: &Scene<'_>, victim: &Entity, windows: &Windows) -> Vec<Culprit> {
    let near = related(scene, &victim.service);
    let attributes = scene.attributes(&victim.id, metric::CPU_PREEMPTED_BY);
    let one = |attribute: &Name| {
        let id: EntityId = attribute.strip_prefix("culprit=")?.into();
        // `self`, `kernel` and `unknown` are no entities: their ids have no kind.
        id.split_once(':')?;
        let service = scene.entities.get(&id).map(|e| &e.service);
        if id == victim.id || service == Some(&victim.service) {
            return None;
        }
        Some(Culprit {
            took: scene.compare(&victim.id, metric::CPU_PREEMPTED_BY, attribute, windows)?,
            cpu: cpu_of(scene, &id, windows),
            related: service.is_some_and(|s| near.contains(s)),
            node: scene.entities.get(&id).is_some_and(|e| e.kind == EntityKind::Node),
            id,
        })
    };
    attributes.iter().filter_map(one).collect()
}

/// What people call the neighbour; a node as a culprit is what runs on it outside of workloads.
fn neighbour(scene: &Scene<'_>, id: &EntityId) -> String {
    match scene.entities.get(id) {
        Some(e) if e.kind == EntityKind::Node => {
            format!("a process outside of any pod on {}", e.node)
        }
        _ => scene.called(id).to_string(),
    }
}

/// Whether a neighbour began to run more, and the victim waits for it since then.
/// One that ran as much before is the victim's normal company, however much it runs.
fn began_it(culprit: &Culprit, blind: bool) -> bool {
    let took_more = culprit.took.grew(2.0) && culprit.took.added() >= WAITS / 2.0;
    let enough = match (blind, culprit.node) {
        (true, _) => CULPRIT_CPUS_AT_ALL,
        (false, true) => CULPRIT_CPUS_OF_NODE,
        (false, false) => CULPRIT_CPUS,
    };
    took_more && culprit.cpu.map_or(!blind, |cpu| cpu.added() >= enough)
}

/// The neighbour to blame: the one who took most; one whose own CPU time is not
/// known is believed less.
fn blamed<'c>(suspects: impl Iterator<Item = &'c Culprit>) -> Option<&'c Culprit> {
    let weight = |c: &Culprit| {
        let took = if c.took.added() > 0.0 { c.took.added() } else { c.took.during };
        took * if c.cpu.is_some() { 1.0 } else { 0.3 }
    };
    suspects.max_by(|a, b| weight(a).total_cmp(&weight(b)))
}

/// Who is to blame, and whether it was seen to begin.
fn suspect<'c>(
    scene: &Scene<'_>,
    all: &'c [Culprit],
    wait: &Compare,
    blind: bool,
) -> Option<(&'c Culprit, bool)> {
    // Without a past, what runs outside of workloads cannot be told from everyday life.
    let began = all.iter().filter(|c| began_it(c, blind) && !c.related && !(blind && c.node));
    if let Some(culprit) = blamed(began).filter(|_| wait.grew(1.8)) {
        return Some((culprit, true));
    }
    // It may have begun before the observation did: then its share of a gross wait tells.
    let gross = wait.during >= WAITS_AT_ALL && scene.trouble.is_some();
    let ran = |c: &&Culprit| c.cpu.is_some_and(|cpu| cpu.during >= CULPRIT_CPUS);
    let there = all.iter().filter(|c| gross && !c.related && !c.node).filter(ran);
    Some((blamed(there)?, false))
}

fn noisy_neighbour(
    scene: &Scene<'_>,
    victim: &Entity,
    throttle: Option<&Throttle>,
) -> Option<Finding> {
    let values = scene.rates(&victim.id, metric::CPU_RUNQUEUE_TIME, "");
    let windows = scene.windows(&values);
    let wait = scene.compare(&victim.id, metric::CPU_RUNQUEUE_TIME, "", &windows)?;
    // Without a past only a gross wait counts: sharing is normal.
    let blind = windows.before.is_none();
    let enough = if blind { WAITS_AT_ALL } else { WAITS };
    if wait.during < enough {
        return None;
    }
    let all = culprits(scene, victim, &windows);
    let (culprit, began) = suspect(scene, &all, &wait, blind)?;
    let share = culprit.took.during / wait.during.max(culprit.took.during);
    if share < CULPRIT_SHARE {
        return None;
    }
    let who = neighbour(scene, &culprit.id);
    let name = victim.instance();
    let mut case = Case::new(Class::NoisyNeighbour, scene.place(&victim.id));
    if !began {
        case.doubt(0.2);
    }
    case.during(scene, &windows).culprit(who.clone(), Some(culprit.id.clone()));
    case.leaf(
        Leaf::new(
            metric::CPU_RUNQUEUE_TIME,
            wait.during,
            0.35 + 0.3 * grade(wait.during, WAITS, 0.5),
            format!(
                "the threads of {name} were ready to run but waited for a CPU, together {} each second{}",
                units::time(wait.during),
                was(wait.before, units::time),
            ),
        )
        .before(wait.before)
        .series(values),
    );
    case.leaf(
        Leaf::new(
            metric::CPU_PREEMPTED_BY,
            culprit.took.during,
            0.3 + 0.5 * grade(share, CULPRIT_SHARE, 0.9),
            format!(
                "{who} ran on the same CPU during {} of the time {name} waited{}",
                units::percent(share),
                was(culprit.took.before, |v| format!("{} a second", units::time(v))),
            ),
        )
        .before(culprit.took.before),
    );
    if let Some(cpu) = culprit.cpu {
        case.leaf(
            Leaf::new(
                metric::CPU_TIME,
                cpu.during,
                0.3 * grade(cpu.during, CULPRIT_CPUS, 1.5),
                format!(
                    "{who} uses {} CPUs{}",
                    units::number(cpu.during),
                    was(cpu.before, units::number)
                ),
            )
            .before(cpu.before)
            .series(scene.rates(&culprit.id, metric::CPU_TIME, "")),
        );
    }
    let amplifier = amplifier(&mut case, name, throttle);
    facts(scene, &mut case, victim, &culprit.id);
    let node = if victim.node.is_empty() || culprit.node {
        String::new()
    } else {
        format!(" on {}", victim.node)
    };
    let headline = format!(
        "{who} takes the CPU away from {name}{node}: its threads wait {} each second for a CPU{amplifier}",
        units::time(wait.during)
    );
    Some(case.close(headline))
}

/// The victim's own limit: part of the story if it bites too, ruled out if it does not.
fn amplifier(case: &mut Case, name: &Name, throttle: Option<&Throttle>) -> String {
    let Some(t) = throttle else { return String::new() };
    let limit = t.limit.map_or_else(String::new, |l| format!(" of {} CPUs", units::number(l)));
    if t.ratio.during < 0.05 {
        let text = format!(
            "{name}'s own limit{limit} stopped it in only {} of its scheduler periods",
            units::percent(t.ratio.during)
        );
        case.rule_out(Class::CpuLimit, text);
        return String::new();
    }
    case.leaf(
        Leaf::new(
            t.share_of.signal,
            t.ratio.during,
            0.05,
            format!(
                "{name}'s own limit{limit} makes it worse: it stopped {name} in {} of {}{}",
                units::percent(t.ratio.during),
                t.share_of.words,
                was(t.ratio.before, units::percent),
            ),
        )
        .before(t.ratio.before),
    );
    format!(", and its own limit{limit} makes it worse")
}

fn facts(scene: &Scene<'_>, case: &mut Case, victim: &Entity, culprit: &EntityId) {
    if let Some(limit) = scene.last(&victim.id, metric::CPU_LIMIT) {
        case.fact("cpu_limit", units::number(limit));
    }
    match scene.last(culprit, metric::CPU_LIMIT) {
        Some(limit) => case.fact("culprit_cpu_limit", units::number(limit)),
        None => case.fact("culprit_cpu_limit", "none"),
    };
    if scene.entities.get(culprit).is_some_and(|e| e.kind == EntityKind::Node) {
        case.fact("culprit_is_node", "yes");
    }
}

fn cpu_limit(
    scene: &Scene<'_>,
    victim: &Entity,
    throttle: Option<&Throttle>,
    neighbour: Option<&Finding>,
) -> Option<Finding> {
    let t = throttle?;
    if !t.biting() {
        return None;
    }
    let name = victim.instance();
    let limit = t.limit.map_or_else(String::new, |l| format!(" of {} CPUs", units::number(l)));
    let mut case = Case::new(Class::CpuLimit, scene.place(&victim.id));
    case.during(scene, &t.windows);
    let low = if t.ratio.before.is_some() { THROTTLED } else { THROTTLED_AT_ALL };
    case.leaf(
        Leaf::new(
            t.share_of.signal,
            t.ratio.during,
            0.55 + 0.3 * grade(t.ratio.during, low, 0.9),
            format!(
                "its own limit{limit} stopped {name} in {} of {}{}",
                units::percent(t.ratio.during),
                t.share_of.words,
                was(t.ratio.before, units::percent),
            ),
        )
        .before(t.ratio.before),
    );
    case.leaf(
        Leaf::new(
            metric::CPU_THROTTLED_TIME,
            t.time.during,
            0.3 * grade(t.time.during, 0.05, 0.5),
            format!(
                "{name} stood still {} of every second because of it{}",
                units::time(t.time.during),
                was(t.time.before, units::time),
            ),
        )
        .before(t.time.before)
        .series(t.values.clone()),
    );
    if let (Some(limit), Some(used)) = (t.limit, t.used)
        && limit > 0.0
    {
        let text = format!(
            "{name} uses {} of the {} CPUs it may use",
            units::number(used),
            units::number(limit)
        );
        case.leaf(Leaf::new(metric::CPU_TIME, used, 0.3 * grade(used / limit, 0.4, 0.9), text));
        case.fact("cpu_limit", units::number(limit));
    }
    if neighbour.is_none() && scene.anyone_has(metric::CPU_RUNQUEUE_TIME) {
        let wait = scene.rate(&victim.id, metric::CPU_RUNQUEUE_TIME, "", t.windows.during);
        let text = format!(
            "no other workload began to take CPU from {name} (it waited {} a second for CPUs others used)",
            units::time(wait.unwrap_or(0.0))
        );
        case.rule_out(Class::NoisyNeighbour, text);
    }
    let headline = format!(
        "{name} is stopped by its own CPU limit{limit} in {} of its scheduler periods",
        units::percent(t.ratio.during)
    );
    Some(case.close(headline))
}
