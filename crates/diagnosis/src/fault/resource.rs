//! Resource family: file descriptors, memory, processes.

use super::{Case, Class, Finding, Leaf};
use crate::scene::Scene;
use crate::stats::{self, grade};
use crate::units;
use std::time::Duration;
use taproot_model::{Entity, EntityId, Lifecycle, LifecycleKind, Name, Timestamp, metric};

/// How full of descriptors is exhausted.
const FD_FULL: f64 = 0.97;
/// How far ahead an exhaustion is announced.
const FD_AHEAD: f64 = 1800.0;
/// How steadily a count must rise to be a leak (Kendall's tau).
const FD_STEADY: f64 = 0.7;
/// The shortest rise that is believed, seconds.
const FD_WATCHED: f64 = 15.0;
/// Share of its limit in use that is short of memory.
const MEMORY_SHORT: f64 = 0.95;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        out.extend(fd_exhaustion(scene, entity));
        out.extend(oom_kill(scene, entity));
        out.extend(memory_pressure(scene, entity));
        out.extend(pids_limit(scene, entity));
    }
}

/// Failed system calls of an entity with one of the errnos: how many, the first, which call.
pub(super) fn failures(
    scene: &Scene<'_>,
    id: &EntityId,
    errnos: &[&str],
) -> Option<(u64, Timestamp, Name)> {
    let mut hits =
        scene.happenings.failures.iter().filter(|f| f.entity == *id && errnos.contains(&&*f.errno));
    let first = hits.next()?;
    Some((first.count + hits.map(|f| f.count).sum::<u64>(), first.at, first.syscall.clone()))
}

/// How the open descriptors of an entity develop.
struct Fds {
    count: f64,
    limit: f64,
    /// Descriptors a second, if they rise steadily, and since when.
    slope: Option<f64>,
    since: Option<Timestamp>,
    values: Vec<Option<f64>>,
}

impl Fds {
    fn of(scene: &Scene<'_>, entity: &Entity) -> Option<Self> {
        let series = scene.metric(&entity.id, metric::FD_COUNT, "", scene.span)?;
        let limit = scene.last(&entity.id, metric::FD_LIMIT)?;
        let first = series.points.first()?.at;
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|p| (p.at.since(first).as_secs_f64(), p.value)).collect();
        let slope = steady_rise(&points, limit);
        let begin = Duration::from_secs_f64(rise_begin(&points).max(0.0));
        Some(Self {
            count: series.last()?,
            limit,
            slope,
            since: slope.map(|_| first + begin),
            values: scene.levels(&entity.id, metric::FD_COUNT, ""),
        })
    }

    fn full(&self) -> bool {
        self.limit > 0.0 && self.count >= self.limit * FD_FULL
    }

    fn left(&self) -> Option<f64> {
        self.slope.map(|s| ((self.limit - self.count) / s).max(0.0))
    }
}

/// The slope of the newest part of a rise that goes on. A start-up or a load step
/// rises once and stays: its last third does not rise any more.
fn steady_rise(points: &[(f64, f64)], limit: f64) -> Option<f64> {
    let end = points.last()?.0;
    let begin = rise_begin(points);
    let recent: Vec<_> = points.iter().copied().filter(|p| p.0 >= begin).collect();
    let watched = end - begin;
    let gained = recent.last()?.1 - recent.first()?.1;
    let (slope, tau) = stats::trend(&recent)?;
    let late: Vec<_> = recent.iter().copied().filter(|p| p.0 >= end - watched / 3.0).collect();
    let (late_slope, _) = stats::trend(&late)?;
    let steady = tau >= FD_STEADY && slope > 0.0 && late_slope >= slope * 0.4;
    (steady && watched >= FD_WATCHED && gained >= (limit * 0.02).max(8.0)).then_some(late_slope)
}

/// Where the last rise began: the last time the count was within a tenth of the
/// whole range of its lowest.
fn rise_begin(points: &[(f64, f64)]) -> f64 {
    let values: Vec<f64> = points.iter().map(|p| p.1).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let near = low + (high - low) * 0.1;
    points.iter().rfind(|p| p.1 <= near).map_or(0.0, |p| p.0)
}

/// The kind of descriptor that grew most: its name and by how many.
fn growing_kind(scene: &Scene<'_>, id: &EntityId) -> Option<(String, f64)> {
    let grown = scene.attributes(id, metric::FD_KIND).into_iter().filter_map(|attribute| {
        let series = scene.metric(id, metric::FD_KIND, &attribute, scene.span)?;
        let low = series.points.iter().map(|p| p.value).reduce(f64::min)?;
        let kind = attribute.strip_prefix("kind=")?.to_owned();
        Some((kind, series.max()? - low))
    });
    grown.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|k| k.1 >= 1.0)
}

/// Ends of an entity's main process.
pub(super) fn ends<'s>(
    scene: &'s Scene<'_>,
    id: &'s EntityId,
) -> impl Iterator<Item = &'s Lifecycle> {
    let of = move |l: &&Lifecycle| l.entity == *id && l.kind == LifecycleKind::Exit;
    scene.happenings.lifecycle.iter().filter(of)
}

fn gibberish_leaf(scene: &Scene<'_>, entity: &Entity) -> Option<Leaf> {
    let of = scene.happenings.gibberish.iter().filter(|g| g.entity == entity.id);
    let (mut lines, mut all, mut reason) = (0, 0, Name::default());
    for g in of {
        lines += g.lines;
        all += g.of;
        reason = g.reason.clone();
    }
    (lines > 0).then(|| {
        let text = format!(
            "{} writes log lines that are no text: {lines} of {all} ({reason})",
            entity.instance()
        );
        Leaf::new("gibberish.lines", lines as f64, 0.15, text)
    })
}

fn death_leaf(scene: &Scene<'_>, entity: &Entity, limit: Option<f64>) -> Option<Leaf> {
    let end = ends(scene, &entity.id).last()?;
    let emfile: u64 = end
        .last_failures
        .iter()
        .filter(|f| matches!(&*f.errno, "EMFILE" | "ENFILE"))
        .map(|f| f.count)
        .sum();
    let near = end.fds.is_some_and(|(n, of)| of > 0 && n as f64 >= of as f64 * FD_FULL);
    if emfile == 0 && !near {
        return None;
    }
    let held = end.fds.map_or_else(
        || limit.map_or_else(String::new, |l| format!(", limit {}", units::number(l))),
        |(n, of)| format!(", holding {n} of {of} descriptors"),
    );
    let code = end.exit.map_or_else(String::new, |e| {
        if e.signal == 0 {
            format!(" with code {}", e.code)
        } else {
            format!(" by signal {}", e.signal)
        }
    });
    let text = format!(
        "{} ended at {}{code}{held}; its last failing calls: {emfile} times too many open files",
        entity.instance(),
        end.at
    );
    Some(Leaf::new("lifecycle.last_failures", emfile as f64, 0.7, text))
}

fn fd_exhaustion(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let fds = Fds::of(scene, entity);
    let refused = failures(scene, &entity.id, &["EMFILE", "ENFILE"]);
    let death = death_leaf(scene, entity, fds.as_ref().map(|f| f.limit));
    let left = fds.as_ref().and_then(Fds::left).filter(|l| *l <= FD_AHEAD);
    let full = fds.as_ref().is_some_and(Fds::full);
    if refused.is_none() && death.is_none() && !full && left.is_none() {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::FdExhaustion, scene.place(&entity.id));
    let mut headline = format!("{name} has run out of file descriptors");
    if let Some((n, first, call)) = &refused {
        let text = format!(
            "the kernel refused {name} a file descriptor {n} times, first at {first} ({call}: too many open files)"
        );
        case.leaf(Leaf::new("syscall_failure.errno=EMFILE", *n as f64, 0.85, text));
        case.since(Some(*first));
    }
    if let Some(fds) = &fds {
        fd_leaf(scene, &mut case, entity, fds, left);
        if refused.is_none() {
            case.since(fds.since);
        }
        case.fact("fd_limit", units::number(fds.limit));
        headline = format!(
            "{name} runs out of file descriptors: {} of {} are open",
            units::number(fds.count),
            units::number(fds.limit)
        );
    }
    if let Some((kind, by)) = growing_kind(scene, &entity.id) {
        let text = format!("the ones that grow are of kind {kind}: {} more", units::number(by));
        case.leaf(Leaf::new(metric::FD_KIND, by, 0.1, text));
        case.fact("fd_kind", kind);
    }
    case_extras(scene, &mut case, entity, death);
    if refused.is_none()
        && !full
        && let Some(left) = left
    {
        case.predicted();
        headline = format!("{headline}; at this pace the last is gone in {}", units::time(left));
    }
    Some(case.close(headline))
}

fn case_extras(scene: &Scene<'_>, case: &mut Case, entity: &Entity, death: Option<Leaf>) {
    if let Some(death) = death {
        case.leaf(death);
    }
    if let Some(gibberish) = gibberish_leaf(scene, entity) {
        case.leaf(gibberish);
    }
    if scene.attributes(&entity.id, metric::MEMORY_LIMIT).is_empty() {
        return;
    }
    let used = scene.last(&entity.id, metric::MEMORY_USAGE);
    let limit = scene.last(&entity.id, metric::MEMORY_LIMIT);
    if let (Some(used), Some(limit)) = (used, limit)
        && used < limit * 0.9
    {
        let text = format!("memory is at {} of {}", units::bytes(used), units::bytes(limit));
        case.rule_out(Class::OomKill, text);
    }
}

fn fd_leaf(scene: &Scene<'_>, case: &mut Case, entity: &Entity, fds: &Fds, left: Option<f64>) {
    let name = entity.instance();
    let share = fds.count / fds.limit.max(1.0);
    let pace = fds.slope.map_or_else(String::new, |s| {
        let left = fds.left().unwrap_or(0.0);
        format!(", {} more each second, {} left", units::number(s), units::time(left))
    });
    let strength = if fds.full() {
        0.8
    } else if let Some(left) = left {
        // Nearer in time is surer: a slope is no law.
        0.5 + 0.3 * (1.0 - left / FD_AHEAD)
    } else {
        0.2 * share
    };
    let text = format!(
        "{name} holds {} of {} file descriptors{pace}",
        units::number(fds.count),
        units::number(fds.limit)
    );
    let leaf = Leaf::new(metric::FD_COUNT, fds.count, strength, text);
    let first = scene
        .metric(&entity.id, metric::FD_COUNT, "", scene.span)
        .and_then(|s| s.points.first().map(|p| p.value));
    case.leaf(leaf.before(first).series(fds.values.clone()));
}

fn oom_kill(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let killed = scene
        .happenings
        .lifecycle
        .iter()
        .filter(|l| l.entity == entity.id && l.kind == LifecycleKind::OomKill);
    let killed: Vec<&Lifecycle> = killed.collect();
    let counted =
        scene.metric(&entity.id, metric::OOM_KILLS, "", scene.span).map_or(0.0, |s| s.total());
    if killed.is_empty() && counted <= 0.0 {
        return None;
    }
    let name = entity.instance();
    let times = (killed.len() as f64).max(counted);
    let mut case = Case::new(Class::OomKill, scene.place(&entity.id));
    let first = killed.first();
    let at = first.map(|l| format!(", first at {}", l.at)).unwrap_or_default();
    let who = first.map(|l| format!(" (process {}, pid {})", l.comm, l.pid)).unwrap_or_default();
    let text = format!(
        "the kernel killed {name} {} for lack of memory{at}{who}",
        if times > 1.0 { format!("{} times", units::number(times)) } else { "once".to_owned() }
    );
    case.leaf(Leaf::new("lifecycle.oom_kill", times, 0.95, text));
    case.since(first.map(|l| l.at));
    let at_death = first.and_then(|l| l.memory).map(|(used, of)| (used as f64, of as f64));
    let limit = scene.last(&entity.id, metric::MEMORY_LIMIT).or(at_death.map(|m| m.1));
    let peak = scene
        .metric(&entity.id, metric::MEMORY_USAGE, "", scene.span)
        .and_then(|s| s.max())
        .or(at_death.map(|m| m.0));
    let mut limit_words = String::new();
    if let (Some(peak), Some(limit)) = (peak, limit.filter(|l| *l > 0.0)) {
        let text = format!("its memory reached {} of {}", units::bytes(peak), units::bytes(limit));
        let strength = 0.4 * grade(peak / limit, 0.5, 0.95);
        let values = scene.levels(&entity.id, metric::MEMORY_USAGE, "");
        case.leaf(Leaf::new(metric::MEMORY_USAGE, peak, strength, text).series(values));
        case.fact("memory_limit", units::bytes(limit));
        limit_words = format!(": it reached its limit of {}", units::bytes(limit));
    }
    Some(case.close(format!("the kernel killed {name} for lack of memory{limit_words}")))
}

fn memory_pressure(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let limit = scene.last(&entity.id, metric::MEMORY_LIMIT).filter(|l| *l > 0.0)?;
    let used = scene.last(&entity.id, metric::MEMORY_USAGE)?;
    let hits = scene.rates(&entity.id, metric::MEMORY_FAILURES, "");
    let windows = scene.windows(&hits);
    let hit = scene.compare(&entity.id, metric::MEMORY_FAILURES, "", &windows);
    let stall = scene.compare(&entity.id, metric::PRESSURE_TIME, "resource=memory.some", &windows);
    let stalled = stall.filter(|s| s.during >= 0.05 && s.grew(2.0));
    let hitting = hit.filter(|h| h.during >= 1.0 && h.grew(2.0));
    if used < limit * MEMORY_SHORT || (stalled.is_none() && hitting.is_none()) {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::MemoryPressure, scene.place(&entity.id));
    case.during(scene, &windows).fact("memory_limit", units::bytes(limit));
    let text = format!("{name} uses {} of {}", units::bytes(used), units::bytes(limit));
    let values = scene.levels(&entity.id, metric::MEMORY_USAGE, "");
    case.leaf(Leaf::new(metric::MEMORY_USAGE, used, 0.3, text).series(values));
    if let Some(stall) = stalled {
        let text = format!("it stood still {} of every second for it", units::time(stall.during));
        let strength = 0.3 + 0.4 * grade(stall.during, 0.05, 0.5);
        case.leaf(Leaf::new(metric::PRESSURE_TIME, stall.during, strength, text));
    }
    if let Some(hit) = hitting {
        let text = format!("it ran into the limit {} times a second", units::number(hit.during));
        case.leaf(Leaf::new(metric::MEMORY_FAILURES, hit.during, 0.35, text).before(hit.before));
    }
    Some(case.close(format!(
        "{name} is short of memory: {} of {}",
        units::bytes(used),
        units::bytes(limit)
    )))
}

fn pids_limit(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let limit = scene.last(&entity.id, metric::PIDS_LIMIT).filter(|l| *l > 0.0);
    let count = scene.metric(&entity.id, metric::PIDS, "", scene.span).and_then(|s| s.max());
    let full = matches!((count, limit), (Some(c), Some(l)) if c >= l);
    let forks = scene.happenings.failures.iter().filter(|f| {
        f.entity == entity.id
            && &*f.errno == "EAGAIN"
            && matches!(&*f.syscall, "clone" | "clone3" | "fork" | "vfork")
    });
    let refused: u64 = forks.map(|f| f.count).sum();
    if refused == 0 && !full {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::PidsLimit, scene.place(&entity.id));
    if refused > 0 {
        let text = format!("the kernel refused {name} a new process or thread {refused} times");
        case.leaf(Leaf::new("syscall_failure.errno=EAGAIN", refused as f64, 0.7, text));
    }
    if let (Some(count), Some(limit)) = (count, limit) {
        let text = format!(
            "{name} has {} of {} processes and threads",
            units::number(count),
            units::number(limit)
        );
        let values = scene.levels(&entity.id, metric::PIDS, "");
        let strength = if full { 0.6 } else { 0.0 };
        case.leaf(Leaf::new(metric::PIDS, count, strength, text).series(values));
        case.fact("pids_limit", units::number(limit));
    }
    Some(case.close(format!("{name} may not start more processes or threads")))
}

/// How long ago something may have happened and still belong to the same story.
pub(super) const SAME_STORY: Duration = Duration::from_secs(20);
