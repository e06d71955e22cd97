//! Application family: crashes, slow code, errors that only logs tell.

use super::resource::{self, SAME_STORY};
use super::{Case, Class, Finding, Leaf};
use crate::place::Place;
use crate::scene::{Calls, Scene, Windows};
use crate::stats::grade;
use crate::units;
use crate::walk::{End, Walk};
use taproot_model::{Entity, Lifecycle, LifecycleKind, LogSeverity, Name, metric};
use taproot_world::Observer;

/// Signals by which a process dies of its own fault, and their names.
const FATAL: [(u8, &str); 6] =
    [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (11, "SIGSEGV"), (31, "SIGSYS")];
/// Seconds a second of waiting for a CPU with which nobody is slow by itself.
const STARVED: f64 = 0.5;
/// Error lines that are a burst.
const BURST: u64 = 8;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        out.extend(crash(scene, entity));
        out.extend(log_only(scene, entity));
    }
}

/// How a process came to an end by its own fault, in words; `None` if it was
/// told to stop, ended well, or was killed from outside.
fn own_fault(end: &Lifecycle) -> Option<String> {
    let exit = end.exit?;
    if let Some((_, name)) = FATAL.iter().find(|f| f.0 == exit.signal) {
        return Some(format!("died by {name}"));
    }
    // 128 and a signal: a shell or runtime passing on that it was told to stop.
    (exit.signal == 0 && exit.code != 0 && !(129..=159).contains(&exit.code))
        .then(|| format!("gave up with code {}", exit.code))
}

fn crash(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let crashes: Vec<(&Lifecycle, String)> = resource::ends(scene, &entity.id)
        .filter(|l| l.main || l.exit.is_some_and(|e| e.core))
        .filter_map(|l| Some((l, own_fault(l)?)))
        .collect();
    let (last, how) = crashes.last()?;
    let oom = scene.happenings.lifecycle.iter().any(|l| {
        l.entity == entity.id && l.kind == LifecycleKind::OomKill && l.at + SAME_STORY >= last.at
    });
    let name = entity.instance();
    let n = crashes.len();
    let mut case = Case::new(Class::Crash, scene.place(&entity.id));
    case.since(crashes.first().map(|c| c.0.at)).fact("pid", last.pid.to_string());
    if oom {
        case.doubt(0.7);
    }
    let text = format!(
        "its main process {} (pid {}) {how} at {}{}",
        last.comm,
        last.pid,
        last.at,
        if n > 1 { format!(", the {n}th end in this time") } else { String::new() }
    );
    case.leaf(Leaf::new("lifecycle.exit", n as f64, 0.7 + 0.2 * grade(n as f64, 1.0, 4.0), text));
    if !last.last_failures.is_empty() {
        let calls: Vec<String> = last
            .last_failures
            .iter()
            .take(3)
            .map(|f| format!("{} {} ×{}", f.syscall, f.errno, f.count))
            .collect();
        let text = format!("its last failing system calls: {}", calls.join(", "));
        case.leaf(Leaf::new("lifecycle.last_failures", calls.len() as f64, 0.05, text));
    }
    if let Some(words) = last.last_words.last() {
        let text = format!("its last words: “{}”", shorten(words, 120));
        case.leaf(Leaf::new("lifecycle.last_words", 1.0, 0.05, text));
    }
    let again = if n > 2 { " again and again" } else { "" };
    Some(case.close(format!("{name} crashes{again}: its main process {how}")))
}

fn shorten(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// Lines of severity error and worse per second, for each step.
fn error_lines(scene: &Scene<'_>, entity: &Entity) -> Vec<Option<f64>> {
    let steps = scene.steps_of(scene.step);
    let mut out = vec![0.0; steps.len()];
    for p in &scene.happenings.patterns {
        if p.entity == entity.id && p.severity >= LogSeverity::Error {
            let at = p.at.since(scene.span.from).as_nanos() / scene.step.as_nanos().max(1);
            if let Some(slot) = out.get_mut(at as usize) {
                *slot += p.count as f64;
            }
        }
    }
    out.into_iter().map(Some).collect()
}

/// The most frequent error template during the trouble.
struct Burst {
    template: Name,
    example: Name,
    count: u64,
    all: u64,
    new: bool,
    before: Option<u64>,
}

fn burst(scene: &Scene<'_>, entity: &Entity, w: &Windows) -> Option<Burst> {
    let ours =
        |p: &&taproot_model::LogPattern| p.entity == entity.id && p.severity >= LogSeverity::Error;
    let mut counts = std::collections::BTreeMap::<&Name, (u64, bool, &Name)>::new();
    let mut before = 0;
    for p in scene.happenings.patterns.iter().filter(ours) {
        if w.during.contains(p.at) {
            let slot = counts.entry(&p.template).or_insert((0, false, &p.example));
            slot.0 += p.count;
            slot.1 |= p.new;
        } else if w.before.is_some_and(|b| b.contains(p.at)) {
            before += p.count;
        }
    }
    let all = counts.values().map(|c| c.0).sum();
    let (template, (count, new, example)) = counts.into_iter().max_by_key(|c| c.1.0)?;
    Some(Burst {
        template: template.clone(),
        example: example.clone(),
        count,
        all,
        new,
        before: w.before.map(|_| before),
    })
}

fn log_only(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let values = error_lines(scene, entity);
    let w = scene.windows(&values);
    let burst = burst(scene, entity, &w)?;
    let seconds = |s: taproot_model::Span| s.length().as_secs_f64().max(1e-9);
    let rate = burst.all as f64 / seconds(w.during);
    let usual = burst.before.zip(w.before).map(|(n, b)| n as f64 / seconds(b));
    if burst.all < BURST || usual.is_some_and(|u| rate < 4.0 * u) {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::LogOnly, scene.place(&entity.id));
    case.during(scene, &w);
    let text = format!(
        "{name} logged {} error lines, {} of them “{}”{}",
        burst.all,
        burst.count,
        shorten(&burst.template, 100),
        usual.map_or_else(String::new, |u| format!(" (before: {} a second)", units::number(u)))
    );
    let strength = 0.4 + 0.25 * grade(burst.all as f64, BURST as f64, 100.0);
    case.leaf(
        Leaf::new("log_pattern.count", burst.all as f64, strength, text)
            .before(usual)
            .series(values),
    );
    if burst.new {
        let text = format!("that line was never seen before: “{}”", shorten(&burst.example, 120));
        case.leaf(Leaf::new("log_pattern.new", 1.0, 0.35, text));
    }
    let headline =
        format!("{name} logs errors: {} lines like “{}”", burst.all, shorten(&burst.template, 80));
    Some(case.close(headline))
}

/// The service at the end of the walk became slow, and nothing under it did.
///
/// This class is what is left when the callee explains the caller and no resource,
/// link or event explains the callee; the ranking puts every other finding first.
pub(crate) fn slow_downstream(scene: &Scene<'_>, walk: &Walk, w: &Windows) -> Option<Finding> {
    let End::Service { service } = &walk.end else { return None };
    let last = walk.hops.last()?;
    let mut during = Calls::default();
    let mut before = Calls::default();
    for link in scene.inbound(service) {
        let observer = if link.server_seen { Observer::Server } else { Observer::Merged };
        during.merge(&scene.calls(link, observer, w.during));
        if let Some(past) = w.before {
            before.merge(&scene.calls(link, observer, past));
        }
    }
    let (now, past) = (during.mean()?, before.mean());
    if past.is_some_and(|p| now < 1.5 * p || now < p + 0.002) {
        return None;
    }
    let mut case = Case::new(Class::SlowDownstream, Place::Service { service: service.clone() });
    case.culprit(service.to_string(), scene.instances(service).next().map(|e| e.id.clone()));
    case.during(scene, w);
    let covers = if past.is_some() { 0.5 + 0.25 * last.covers } else { 0.25 + 0.25 * last.covers };
    case.leaf(Leaf::new("requests.latency", last.covers, covers, last.words.clone()));
    let was = past.map_or_else(String::new, |p| format!(" (before: {})", units::time(p)));
    let text = format!("{service} itself takes {} a request{was}", units::time(now));
    case.leaf(Leaf::new("requests.latency", now, 0.2, text).before(past));
    healthy_resources(scene, &mut case, service, w);
    let headline = format!("{service} answers slowly: {} a request{was}", units::time(now));
    Some(case.close(headline))
}

fn healthy_resources(scene: &Scene<'_>, case: &mut Case, service: &str, w: &Windows) {
    for entity in scene.instances(service).take(3) {
        let name = entity.instance();
        if let Some(wait) = scene.rate(&entity.id, metric::CPU_RUNQUEUE_TIME, "", w.during) {
            if wait < STARVED {
                let text = format!("{name} waits only {} a second for a CPU", units::time(wait));
                case.rule_out(Class::NoisyNeighbour, text);
            } else {
                // It is not slow by itself; only, nobody can be blamed for it.
                let text = format!("but {name} waits {} a second for a CPU", units::time(wait));
                case.leaf(Leaf::new(metric::CPU_RUNQUEUE_TIME, wait, 0.0, text)).doubt(0.4);
            }
        }
        let cpu = scene.rate(&entity.id, metric::CPU_TIME, "", w.during);
        if let Some(cpu) = cpu {
            let limit = scene.last(&entity.id, metric::CPU_LIMIT);
            let of = limit.map_or_else(String::new, |l| format!(" of {}", units::number(l)));
            let text = format!("{name} uses {}{of} CPUs", units::number(cpu));
            case.rule_out(Class::CpuLimit, text);
        }
    }
    for link in scene.inbound(service) {
        let flow = scene.flow(link, w.during);
        if let Some(rtt) = flow.rtt.quantile(0.5) {
            let text = format!(
                "a packet from {} to {service} and back takes {}, {} were sent again",
                link.client,
                units::time(rtt / 1e9),
                flow.retransmits
            );
            case.rule_out(Class::LinkDelay, text);
        }
    }
}
