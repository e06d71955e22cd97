//! Application family, programs that stand still: stopped, deadlocked, or now and then.

use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::{Calls, Scene, Windows};
use crate::stats::grade;
use crate::units;
use std::collections::BTreeMap;
use taproot_model::{Entity, LifecycleKind, Name, Span, metric};
use taproot_world::Observer;

/// The state of a process that is stopped, traced or frozen.
const STOPPED: &str = "condition=stopped";
/// Requests without an answer that show that nobody works.
const ENOUGH_UNANSWERED: u64 = 5;
/// Share of unanswered requests of a program that does nothing at all.
const ALL: f64 = 0.9;
/// Share of its usual CPU time that a program uses which does nothing.
const IDLE: f64 = 0.1;
/// CPUs that are none, whatever was usual: timers and health checks.
const NO_CPU: f64 = 0.02;
/// A pause that users notice, seconds.
const PAUSE: f64 = 0.1;
/// How much longer than usual a request takes that hit a pause.
const TIMES: f64 = 10.0;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        let stopped = stopped(scene, entity);
        if stopped.is_none() {
            out.extend(deadlock(scene, entity));
        }
        out.extend(stopped);
        out.extend(stall(scene, entity));
    }
}

fn inbound<'s>(scene: &'s Scene<'_>, entity: &'s Entity) -> impl Iterator<Item = &'s Link> {
    scene.links.iter().filter(move |l| l.key.server == entity.id && l.client != l.server)
}

/// Requests to an entity as its callers felt them.
fn asked(scene: &Scene<'_>, entity: &Entity, span: Span) -> Calls {
    let mut out = Calls::default();
    for link in inbound(scene, entity) {
        out.merge(&scene.felt(link, span));
    }
    out
}

/// Since when, and how many of its processes are stopped now.
fn stopped(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let series = scene.metric(&entity.id, metric::PROCESSES, STOPPED, scene.span)?;
    let mut last = series.points.iter().rev().take_while(|p| p.value >= 1.0);
    let (newest, before) = (last.next()?, last.next()?);
    let since = last.last().unwrap_or(before);
    let name = entity.instance();
    let n = newest.value;
    let mut case = Case::new(Class::Stopped, scene.place(&entity.id));
    case.since(Some(since.at));
    let text =
        format!("{} of the processes of {name} are stopped, since {}", units::number(n), since.at);
    let values = scene.levels(&entity.id, metric::PROCESSES, STOPPED);
    case.leaf(Leaf::new(metric::PROCESSES, n, 0.7, text).series(values));
    let w = scene.trouble.unwrap_or(Windows::whole(scene.span));
    let felt = asked(scene, entity, w.during);
    if felt.unanswered > 0 {
        let text = format!("{} of {} requests got no answer", felt.unanswered, felt.requests);
        let strength = 0.2 + 0.2 * felt.unanswered as f64 / felt.requests.max(1) as f64;
        case.leaf(Leaf::new("requests.unanswered", felt.unanswered as f64, strength, text));
    }
    let sent = scene.happenings.lifecycle.iter().rfind(|l| {
        l.entity == entity.id && l.kind == LifecycleKind::Signal && matches!(l.signal, 19..=22)
    });
    if let Some(sender) = sent.and_then(|l| l.sender.as_ref()) {
        let text = format!("{} sent the signal", scene.called(sender));
        case.leaf(Leaf::new("lifecycle.sender", 1.0, 0.1, text));
    }
    let text = "it is stopped from outside: it does not wait for itself".to_owned();
    case.rule_out(Class::Deadlock, text);
    Some(case.close(format!("{name} is stopped: its processes do not run")))
}

/// Whether something that the entity calls keeps it waiting.
fn waits_for_others(scene: &Scene<'_>, entity: &Entity, w: &Windows) -> bool {
    scene.links.iter().filter(|l| l.key.client == entity.id && l.client != l.server).any(|link| {
        let now = scene.felt(link, w.during);
        let flow = scene.flow(link, w.during);
        let before = w.before.and_then(|b| scene.felt(link, b).mean());
        let slower = now.mean().zip(before).is_some_and(|(n, b)| n >= 2.0 * b + 0.01);
        now.unanswered > 0 || flow.failed() > 0 || slower || flow.syn_retransmits > 0
    })
}

fn deadlock(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let w = scene.trouble?;
    let felt = asked(scene, entity, w.during);
    let share = felt.unanswered as f64 / felt.requests.max(1) as f64;
    if felt.unanswered < ENOUGH_UNANSWERED || share < ALL || waits_for_others(scene, entity, &w) {
        return None;
    }
    let cpu = scene.compare(&entity.id, metric::CPU_TIME, "", &w)?;
    let idle = cpu.during <= NO_CPU || cpu.before.is_some_and(|b| cpu.during <= b * IDLE);
    let wait = scene.rate(&entity.id, metric::CPU_RUNQUEUE_TIME, "", w.during).unwrap_or(0.0);
    let ended = super::resource::ends(scene, &entity.id).any(|l| l.main);
    if !idle || wait > 0.2 || ended {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::Deadlock, scene.place(&entity.id));
    case.during(scene, &w);
    let text = format!("{} of {} requests to {name} got no answer", felt.unanswered, felt.requests);
    case.leaf(Leaf::new("requests.unanswered", felt.unanswered as f64, 0.35, text));
    let text = format!(
        "its threads do not run: {} CPUs{}",
        units::number(cpu.during),
        units::was(cpu.before, units::number)
    );
    let values = scene.rates(&entity.id, metric::CPU_TIME, "");
    case.leaf(Leaf::new(metric::CPU_TIME, cpu.during, 0.4, text).before(cpu.before).series(values));
    if scene.attributes(&entity.id, metric::PROCESSES).iter().any(|a| &**a == STOPPED) {
        let text = "none of its processes is stopped".to_owned();
        case.rule_out(Class::Stopped, text);
    } else {
        // A stopped process looks the same from outside.
        case.doubt(0.2);
    }
    let overflows = scene.compare_all(&entity.id, metric::LISTEN_OVERFLOWS, &w);
    if overflows.is_some_and(|o| o.during > 0.0) {
        // It may do everything but accept.
        case.doubt(0.5);
    }
    let text = format!("its threads are not kept from a CPU: {} a second", units::time(wait));
    case.rule_out(Class::NoisyNeighbour, text);
    case.rule_out(Class::SlowDownstream, "what it calls answers as ever".to_owned());
    Some(case.close(format!(
        "{name} hangs: it takes requests, answers none, and its threads do not run"
    )))
}

/// The slowest request (99th percentile) of each route within a step, seconds.
fn slowest(scene: &Scene<'_>, links: &[&Link], step: Span) -> BTreeMap<(Name, Name), f64> {
    let mut out = BTreeMap::new();
    for link in links {
        for (key, totals) in scene.evidence.requests(&link.key, Observer::Merged, step) {
            let Some(worst) = totals.latency.quantile(0.99).map(|ns| ns / 1e9) else { continue };
            let slot: &mut f64 = out.entry((key.method, key.route)).or_default();
            *slot = slot.max(worst);
        }
    }
    out
}

/// Moments in which requests of every route took long, and those in which only some did.
#[derive(Default)]
struct Pauses {
    together: usize,
    alone: usize,
    calm: usize,
    longest: f64,
    values: Vec<Option<f64>>,
}

impl Pauses {
    fn of(scene: &Scene<'_>, links: &[&Link], within: Span, long: f64) -> Self {
        let mut out = Self::default();
        for step in scene.steps_of(scene.step) {
            let routes = slowest(scene, links, step);
            let worst = routes.values().copied().reduce(f64::max);
            out.values.push(worst);
            let inside = within.contains(step.from);
            let Some(worst) = worst.filter(|_| inside && routes.len() >= 2) else { continue };
            let slow = routes.values().filter(|s| **s >= long).count();
            if slow == 0 {
                out.calm += 1;
            } else if slow == routes.len() {
                out.together += 1;
                out.longest = out.longest.max(worst);
            } else {
                out.alone += 1;
            }
        }
        out
    }

    /// All routes pause together, again and again, with calm in between.
    fn regular(&self) -> bool {
        self.together >= 3 && self.calm >= 3 && self.together >= 3 * self.alone
    }
}

fn stall(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let w = scene.trouble?;
    let links: Vec<&Link> = inbound(scene, entity).collect();
    let felt = asked(scene, entity, w.during);
    let usual = felt.quantile(0.5)?;
    let long = PAUSE.max(TIMES * usual);
    if felt.quantile(1.0).is_none_or(|s| s < long) {
        return None;
    }
    let pauses = Pauses::of(scene, &links, w.during, long);
    if !pauses.regular() || waits_for_others(scene, entity, &w) {
        return None;
    }
    let again: u64 = links.iter().map(|l| scene.flow(l, w.during).retransmits).sum();
    let wait = scene.rate(&entity.id, metric::CPU_RUNQUEUE_TIME, "", w.during).unwrap_or(0.0);
    let name = entity.instance();
    let mut case = Case::new(Class::Stall, scene.place(&entity.id));
    case.during(scene, &w);
    let text = format!(
        "in {} moments requests of all routes took up to {} together; in {} they were quick",
        pauses.together,
        units::time(pauses.longest),
        pauses.calm
    );
    let strength = 0.45 + 0.25 * grade(pauses.together as f64, 2.0, 12.0);
    let leaf = Leaf::new("requests.latency", pauses.longest, strength, text);
    case.leaf(leaf.series(pauses.values));
    let text = format!("half of its requests take {} or less", units::time(usual));
    case.leaf(Leaf::new("requests.latency", usual, 0.1, text));
    if again as usize >= pauses.together {
        // A lost packet makes a request wait, too.
        case.doubt(0.5);
    } else {
        case.rule_out(Class::PacketLoss, format!("{again} packets were sent again"));
    }
    if wait >= 0.2 {
        case.doubt(0.5);
    } else {
        let text = format!("{name} waits {} a second for a CPU", units::time(wait));
        case.rule_out(Class::NoisyNeighbour, text);
    }
    let stopped = scene.attributes(&entity.id, metric::CPU_THROTTLED_TIME);
    let stopped = stopped
        .iter()
        .filter_map(|a| scene.rate(&entity.id, metric::CPU_THROTTLED_TIME, a, w.during));
    let stopped = stopped.fold(0.0, f64::max);
    if stopped >= 0.05 {
        case.doubt(0.5);
    } else {
        let text = format!("its CPU limit stops it {} a second", units::time(stopped));
        case.rule_out(Class::CpuLimit, text);
    }
    Some(case.close(format!(
        "{name} stands still now and then: all its requests wait up to {} at once",
        units::time(pauses.longest)
    )))
}
