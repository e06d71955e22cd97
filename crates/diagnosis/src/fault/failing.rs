//! Application family, requests: who fails them, and who has no connection to send them on.

use super::resource::SAME_STORY;
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::place::Place;
use crate::scene::{Calls, Scene, Windows};
use crate::stats::grade;
use crate::units::{self, was};
use crate::walk::{End, Walk};
use std::collections::BTreeMap;
use taproot_model::{Entity, LogPattern, LogSeverity, Name, metric};
use taproot_world::Observer;

/// Added share of failing requests that is a burst.
const FAILING: f64 = 0.02;
/// Failing requests that are more than a hiccup.
const ENOUGH: u64 = 5;
/// New error lines that go with failing requests.
const ENOUGH_LINES: u64 = 3;
/// Share of the time that the connections of a pool are in use when it is exhausted.
const IN_USE: f64 = 0.85;
/// More than all the time: connections that carry several requests at once are no pool.
const SHARED: f64 = 1.3;
/// Share of a request's time that it waits for a connection: more than the calls take, or
/// they are what is slow.
const WAITS: f64 = 0.5;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in &scene.links {
        out.extend(pool_exhausted(scene, link));
    }
}

/// Requests to a service as it answered them.
fn answered(scene: &Scene<'_>, service: &str, w: &Windows) -> (Calls, Option<Calls>) {
    let mut during = Calls::default();
    let mut before = w.before.map(|_| Calls::default());
    for link in scene.inbound(service) {
        let observer = if link.server_seen { Observer::Server } else { Observer::Merged };
        during.merge(&scene.calls(link, observer, w.during));
        if let (Some(before), Some(past)) = (&mut before, w.before) {
            before.merge(&scene.calls(link, observer, past));
        }
    }
    (during, before)
}

/// Failing calls that a service makes, as a share of those that it fails itself.
fn passed_on(scene: &Scene<'_>, service: &str, w: &Windows, own: u64) -> f64 {
    let failed = |l: &Link| scene.felt(l, w.during).failed + scene.flow(l, w.during).failed();
    let below: u64 = scene.outbound(service).map(failed).sum();
    below as f64 / own.max(1) as f64
}

/// The new error that a service writes most while it fails.
fn new_error<'s>(
    scene: &'s Scene<'_>,
    service: &str,
    w: &Windows,
) -> Option<(&'s LogPattern, u64)> {
    let near = w.during.from - SAME_STORY;
    let mut counts = BTreeMap::<&Name, (&LogPattern, u64, bool)>::new();
    for p in &scene.happenings.patterns {
        let ours = scene.entities.get(&p.entity).is_some_and(|e| &*e.service == service);
        if ours && p.severity >= LogSeverity::Error && p.at >= near && p.at <= w.during.to {
            let slot = counts.entry(&p.template).or_insert((p, 0, false));
            slot.1 += p.count;
            slot.2 |= p.new;
        }
    }
    let new = counts.into_values().filter(|c| c.2 && c.1 >= ENOUGH_LINES);
    new.max_by_key(|c| c.1).map(|(p, n, _)| (p, n))
}

/// The service at the end of the walk fails requests, and nothing that it calls does:
/// a code error if its log shows a new one at the same time.
pub(crate) fn failing(scene: &Scene<'_>, walk: &Walk, w: &Windows) -> Option<Finding> {
    let End::Service { service } = &walk.end else { return None };
    let (now, past) = answered(scene, service, w);
    let usual = past.as_ref().map(Calls::error_ratio);
    let share = now.error_ratio();
    let silent = now.unanswered * 2 > now.failed;
    if now.failed < ENOUGH || share < usual.unwrap_or(0.0) + FAILING || silent {
        return None;
    }
    if passed_on(scene, service, w, now.failed) >= 0.5 {
        return None;
    }
    let error = new_error(scene, service, w);
    let class = if error.is_some() { Class::CodeError } else { Class::ErrorBurst };
    let mut case = Case::new(class, Place::Service { service: service.clone() });
    case.culprit(service.to_string(), scene.instances(service).next().map(|e| e.id.clone()));
    case.during(scene, w);
    let text = format!(
        "{service} itself fails {} of its requests: {} of {}{}",
        units::percent(share),
        now.failed,
        now.requests,
        was(usual, units::percent)
    );
    let strength = 0.4 + 0.25 * grade(share, FAILING, 0.5);
    case.leaf(Leaf::new("requests.error", share, strength, text).before(usual));
    if let Some(hop) = walk.hops.last() {
        let text = hop.words.clone();
        case.leaf(Leaf::new("requests.error", hop.covers, 0.2 * hop.covers, text));
    }
    if let Some((pattern, n)) = error {
        let text =
            format!("its log shows a new error since then, {n} times: “{}”", pattern.example);
        let strength = 0.3 + 0.1 * grade(n as f64, 2.0, 50.0);
        case.leaf(Leaf::new("log_pattern.new", n as f64, strength, text));
    }
    let text = format!("{service} answers, only wrongly");
    case.rule_out(Class::Crash, text);
    if scene.outbound(service).next().is_some() {
        let text = "what it calls does not fail".to_owned();
        case.rule_out(Class::SlowDownstream, text);
    }
    let headline = format!("{service} fails {} of its requests", units::percent(share));
    Some(case.close(match error {
        Some((p, _)) => format!("{headline}, with a new error in its log: “{}”", p.template),
        None => headline,
    }))
}

/// How busy the connections of a link are: requests in flight over connections open.
struct Pool {
    open: f64,
    in_use: f64,
}

impl Pool {
    /// By Little's law (1961): requests a second times the time each takes.
    fn of(scene: &Scene<'_>, link: &Link, w: &Windows) -> Option<Self> {
        let felt = scene.felt(link, w.during);
        let seconds = w.during.length().as_secs_f64().max(1e-9);
        let open = scene.flow(link, w.during).open as f64;
        let busy = felt.requests as f64 / seconds * felt.mean()?;
        (open >= 1.0 && felt.requests >= 20).then(|| Self { open, in_use: busy / open })
    }
}

fn pool_exhausted(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let w = scene.trouble?;
    let pool = Pool::of(scene, link, &w)?;
    if !(IN_USE..=SHARED).contains(&pool.in_use) {
        return None;
    }
    let caller = scene.entities.get(&link.key.client)?;
    let (took, below) = own_time(scene, caller, &w)?;
    let waits = took - below;
    let past = w.before.and_then(|b| own_time(scene, caller, &Windows::whole(b)));
    let usual = past.map(|(took, below)| (took - below).max(0.0));
    if waits < WAITS * took || usual.is_some_and(|u| waits < 2.0 * u + 0.005) {
        return None;
    }
    let (name, server) = (caller.instance(), &link.server);
    let mut case = Case::new(Class::PoolExhausted, scene.place(&caller.id));
    case.during(scene, &w).fact("open", units::number(pool.open));
    let text = format!(
        "the {} connections of {name} to {server} are in use {} of the time",
        units::number(pool.open),
        units::percent(pool.in_use.min(1.0))
    );
    let strength = 0.35 + 0.2 * grade(pool.in_use, 0.7, 1.0);
    case.leaf(Leaf::new("flow.open", pool.open, strength, text));
    let text = format!(
        "a request to {name} takes {}, of which the calls it makes take {}: {} is waiting{}",
        units::time(took),
        units::time(below),
        units::time(waits),
        was(usual, units::time)
    );
    let strength = 0.3 + 0.2 * grade(waits / took, WAITS, 0.9);
    case.leaf(Leaf::new("requests.latency", waits, strength, text).before(usual));
    let made = scene.flow(link, w.during).connects;
    if made as f64 <= pool.open {
        let text = format!("it opens no more: {made} new connections");
        case.leaf(Leaf::new("flow.connects", made as f64, 0.1, text));
    } else {
        case.doubt(0.4);
    }
    busy_instead(scene, &mut case, caller, &w);
    Some(case.close(format!(
        "requests of {name} wait for a connection to {server}: all {} are in use",
        units::number(pool.open)
    )))
}

/// What one request to an entity takes, and what its own calls take of it, seconds.
fn own_time(scene: &Scene<'_>, entity: &Entity, w: &Windows) -> Option<(f64, f64)> {
    let sum = |links: &mut dyn Iterator<Item = &Link>| {
        let mut all = Calls::default();
        links.for_each(|l| all.merge(&scene.felt(l, w.during)));
        all
    };
    let asked = sum(&mut scene.links.iter().filter(|l| l.key.server == entity.id));
    let calls = sum(&mut scene.links.iter().filter(|l| l.key.client == entity.id));
    let below = calls.latency.sum() as f64 / 1e9 / asked.requests.max(1) as f64;
    Some((asked.mean()?, below))
}

/// Waiting for a CPU looks like waiting for a connection.
fn busy_instead(scene: &Scene<'_>, case: &mut Case, entity: &Entity, w: &Windows) {
    let wait = scene.rate(&entity.id, metric::CPU_RUNQUEUE_TIME, "", w.during);
    let Some(wait) = wait else { return };
    if wait >= 0.2 {
        case.doubt(0.6);
    } else {
        let text = format!("{} waits {} a second for a CPU", entity.instance(), units::time(wait));
        case.rule_out(Class::NoisyNeighbour, text);
    }
}
