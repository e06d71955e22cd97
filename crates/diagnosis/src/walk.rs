//! Where it begins: from the alarmed service down the call graph, as long as the
//! callee explains the caller.
//!
//! A service's *impact mass* is the time its users lost by it (added latency
//! times requests) or the failures they got; a callee explains its caller if its
//! mass covers most of the caller's. Where a caller waits longer than its callee
//! worked, the difference is the link.

use crate::evidence::Link;
use crate::scene::{Calls, Scene, Windows};
use crate::symptom::State;
use crate::units::{self, was};
use serde::Serialize;
use std::collections::BTreeSet;
use taproot_model::{Name, Span};
use taproot_world::Observer;

/// Share of a caller's lost time that a callee must cover to explain it.
const COVERS_TIME: f64 = 0.45;
/// Share of a caller's failures that a callee must cover to explain them.
const COVERS_FAILURES: f64 = 0.3;
/// Share of a call's added time that must be outside the callee to blame the link.
const GAP: f64 = 0.5;

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// Who calls.
    pub caller: Name,
    /// Who is called.
    pub callee: Name,
    /// Share of the caller's trouble that this call covers, 0 to 1 (at most).
    pub covers: f64,
    /// In words, with figures.
    pub words: String,
}

/// Where the way ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum End {
    /// In a service.
    Service {
        /// Its name.
        service: Name,
    },
    /// Between two services.
    Link {
        /// Calling service.
        client: Name,
        /// Called service.
        server: Name,
    },
}

/// The way from the alarmed service to where the trouble begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Walk {
    /// Where it began.
    pub from: Name,
    /// Steps downstream; empty if the alarmed service itself is the end.
    pub hops: Vec<Hop>,
    /// Where it ended.
    pub end: End,
}

impl Walk {
    /// All services passed.
    pub fn services(&self) -> Vec<&Name> {
        std::iter::once(&self.from).chain(self.hops.iter().map(|h| &h.callee)).collect()
    }

    /// The services at the end: one, or the two ends of a link.
    pub fn end_services(&self) -> Vec<&Name> {
        match &self.end {
            End::Service { service } => vec![service],
            End::Link { client, server } => vec![client, server],
        }
    }
}

/// What calls cost their callers, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Mass {
    /// Seconds of added waiting, connecting included.
    time: f64,
    /// Of these, seconds outside the callee; 0 if the callee was not observed.
    outside: f64,
    /// Failures: failed requests and failed attempts to connect.
    failures: f64,
    /// Of these, attempts to connect.
    unconnected: f64,
}

impl std::ops::AddAssign for Mass {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.outside += other.outside;
        self.failures += other.failures;
        self.unconnected += other.unconnected;
    }
}

fn seconds(span: Span) -> f64 {
    span.length().as_secs_f64().max(1e-9)
}

/// Seconds a second that calls take beyond what as many took before.
fn added_time(during: &Calls, before: Option<&Calls>, span: Span) -> f64 {
    let usual = before.and_then(Calls::mean).unwrap_or(0.0);
    let spent = during.latency.sum() as f64 / 1e9;
    (spent - usual * during.requests as f64).max(0.0) / seconds(span)
}

fn added_rate(during: u64, before: Option<u64>, w: &Windows) -> f64 {
    let usual = match (before, w.before) {
        (Some(n), Some(span)) => n as f64 / seconds(span),
        _ => 0.0,
    };
    (during as f64 / seconds(w.during) - usual).max(0.0)
}

fn mass(scene: &Scene<'_>, link: &Link, w: &Windows) -> Mass {
    let felt = scene.felt(link, w.during);
    let felt_before = w.before.map(|b| scene.felt(link, b));
    let flow = scene.flow(link, w.during);
    let flow_before = w.before.map(|b| scene.flow(link, b));
    let waited = added_time(&felt, felt_before.as_ref(), w.during);
    let connecting = |f: &taproot_world::FlowTotals| Calls {
        requests: f.connect_time.count(),
        latency: f.connect_time.clone(),
        ..Calls::default()
    };
    let connected =
        added_time(&connecting(&flow), flow_before.as_ref().map(connecting).as_ref(), w.during);
    let unconnected =
        added_rate(flow.failed(), flow_before.as_ref().map(taproot_world::FlowTotals::failed), w);
    let failed = added_rate(felt.failed, felt_before.as_ref().map(|c| c.failed), w);
    let outside = if link.client_seen && link.server_seen {
        let worked = scene.calls(link, Observer::Server, w.during);
        let worked_before = w.before.map(|b| scene.calls(link, Observer::Server, b));
        (waited - added_time(&worked, worked_before.as_ref(), w.during)).max(0.0)
    } else {
        0.0
    };
    Mass {
        time: waited + connected,
        outside: outside + connected,
        failures: failed + unconnected,
        unconnected,
    }
}

fn mass_of<'a>(scene: &Scene<'_>, links: impl Iterator<Item = &'a Link>, w: &Windows) -> Mass {
    let mut out = Mass::default();
    links.for_each(|l| out += mass(scene, l, w));
    out
}

/// What the users of a service suffer by it: seconds lost and failures a second.
/// A failure weighs as much as a second.
pub(crate) fn suffering(scene: &Scene<'_>, state: &State, w: &Windows) -> f64 {
    let mass = mass_of(scene, scene.inbound(&state.service), w);
    mass.time + mass.failures
}

/// How well a call explains its caller: the better of time and failures, of what is wrong.
fn covers(own: &Mass, call: &Mass, state: &State) -> f64 {
    let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
    let time = share(call.time, own.time);
    let failures = share(call.failures, own.failures);
    let time = if time >= COVERS_TIME && (state.slow() || !state.failing()) { time } else { 0.0 };
    let failures = if failures >= COVERS_FAILURES && state.failing() { failures } else { 0.0 };
    time.max(failures)
}

fn hop_words(
    scene: &Scene<'_>,
    ends: (&Name, &Name),
    call: &Mass,
    covers: f64,
    w: &Windows,
) -> String {
    let (caller, callee) = ends;
    let felt = |span: Span| {
        let mut out = Calls::default();
        for link in scene.outbound(caller).filter(|l| l.server == *callee) {
            out.merge(&scene.felt(link, span));
        }
        out
    };
    let mut parts = Vec::new();
    if let Some(now) = felt(w.during).mean().filter(|_| call.time > 0.0) {
        let before = w.before.and_then(|b| felt(b).mean());
        parts.push(format!("a request takes {}{}", units::time(now), was(before, units::time)));
    }
    if call.failures > 0.0 {
        parts.push(format!("{} fail each second", units::number(call.failures)));
    }
    if parts.is_empty() {
        parts.push("connecting takes longer".to_owned());
    }
    format!(
        "{caller} → {callee}: {}; that is {} of the trouble of {caller}",
        parts.join(", "),
        units::percent(covers)
    )
}

/// Walks from the service of `state` through the time `w`.
pub fn walk(scene: &Scene<'_>, state: &State, w: &Windows) -> Walk {
    let mut here = state.service.clone();
    let mut hops: Vec<Hop> = Vec::new();
    let mut been = BTreeSet::from([here.clone()]);
    let mut own = mass_of(scene, scene.inbound(&here), w);
    if own.time <= 0.0 && own.failures <= 0.0 {
        own = mass_of(scene, scene.outbound(&here), w);
    }
    loop {
        let callees: BTreeSet<&Name> = scene.outbound(&here).map(|l| &l.server).collect();
        let scored = callees.into_iter().filter(|s| !been.contains(*s)).map(|callee| {
            let call = mass_of(scene, scene.outbound(&here).filter(|l| l.server == *callee), w);
            (covers(&own, &call, state), callee.clone(), call)
        });
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((share, callee, call)) = best.filter(|b| b.0 > 0.0) else {
            let end = End::Service { service: here };
            return Walk { from: state.service.clone(), hops, end };
        };
        let words = hop_words(scene, (&here, &callee), &call, share, w);
        hops.push(Hop { caller: here.clone(), callee: callee.clone(), covers: share, words });
        let at_link = call.outside > call.time * GAP || call.unconnected > call.failures * GAP;
        if at_link {
            let end = End::Link { client: here, server: callee };
            return Walk { from: state.service.clone(), hops, end };
        }
        been.insert(callee.clone());
        own = call;
        here = callee;
    }
}
