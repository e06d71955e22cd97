//! What could not be seen, and how much that costs in confidence.

use crate::evidence::Link;
use crate::report::Blind;
use crate::scene::Scene;
use crate::traced::Seen;
use crate::walk::Walk;
use std::collections::BTreeMap;
use taproot_model::{Name, Transport, metric};

/// What a missing sense costs.
const SENSE_COST: f64 = 0.04;
/// What it costs not to see any request: nothing says what users feel.
const NO_REQUESTS_COST: f64 = 0.4;
/// What it costs not to see any packet.
const NO_PACKETS_COST: f64 = 0.1;
/// What lost events cost, whatever their number.
const LOSS_COST: f64 = 0.02;
/// Parsed share of the traffic below which the rest is worth a sentence.
const COVERED: f64 = 0.95;

/// A sense is a group of signals that one feature feeds.
const SENSES: [(&str, &str); 5] = [
    (metric::CPU_RUNQUEUE_TIME, "who waits for a CPU (run queue)"),
    (metric::CPU_PREEMPTED_BY, "who ran instead"),
    (metric::CPU_TIME, "how much CPU each workload uses"),
    (metric::FD_COUNT, "open file descriptors"),
    (metric::MEMORY_USAGE, "memory"),
];

/// What was not seen, and the factor by which confidence shrinks.
pub(crate) fn blind(scene: &Scene<'_>, walk: Option<&Walk>) -> (Vec<Blind>, f64) {
    let mut out = Vec::new();
    let mut sight = 1.0;
    let mut cost = |text: String, by: f64| {
        sight *= 1.0 - by;
        out.push(Blind { text });
    };
    if scene.links.is_empty() {
        cost("no connection of anybody was seen: is the flow feature on?".to_owned(), 0.5);
    }
    unseen_links(scene, &mut cost);
    for (name, words) in SENSES {
        if !scene.anyone_has(name) {
            cost(format!("{words}: no signal of that kind arrived"), SENSE_COST);
        }
    }
    if scene.trouble.is_some_and(|w| w.before.is_none()) {
        cost(
            "the trouble is as old as the observation: there is no normal to compare with".into(),
            0.1,
        );
    }
    for (what, n) in lost(scene) {
        cost(format!("{n} lost: {what}"), LOSS_COST);
    }
    for (reason, n) in scene.evidence.dropped() {
        if &*reason == "exemplars" {
            // Old examples made room for new ones; no figure rests on them.
            continue;
        }
        cost(format!("{n} dropped before they could be looked at: {reason}"), LOSS_COST / 2.0);
    }
    for traced in &scene.traces {
        if let Seen::NotTraced { why } = &traced.seen {
            let link = format!("{} → {}", traced.client, traced.server);
            cost(format!("the packets of {link} could not be followed: {why}"), 0.0);
        }
    }
    one_ended(scene, walk, &mut cost);
    uncovered(scene, &mut cost);
    (out, sight)
}

/// Connections of which one of the two views is missing as a whole.
fn unseen_links(scene: &Scene<'_>, cost: &mut impl FnMut(String, f64)) {
    if scene.links.is_empty() {
        return;
    }
    if scene.links.iter().all(|l| scene.felt(l, scene.span).requests == 0) {
        let text = "no request of anybody was understood: whether users wait or fail is not known";
        cost(text.to_owned(), NO_REQUESTS_COST);
    }
    let told = |l: &Link| {
        let flow = scene.flow(l, scene.span);
        let packets = flow.request_packets + flow.response_packets + flow.request_bytes;
        packets + flow.connects + flow.failed() + flow.rtt.count() > 0
    };
    if !scene.links.iter().any(told) {
        let text = "no figures of packets: loss, delay and refused connections cannot be seen";
        cost(text.to_owned(), NO_PACKETS_COST);
    }
}

fn lost(scene: &Scene<'_>) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for loss in &scene.happenings.losses {
        if loss.count > 0 {
            *out.entry(format!("{}, {}", loss.collector, loss.reason)).or_default() += loss.count;
        }
    }
    out
}

/// Links of the walk that only one end observed: what the link costs cannot be told.
fn one_ended(scene: &Scene<'_>, walk: Option<&Walk>, cost: &mut impl FnMut(String, f64)) {
    let Some(walk) = walk else { return };
    for hop in &walk.hops {
        let mut links = scene.outbound(&hop.caller).filter(|l| l.server == hop.callee).peekable();
        if links.peek().is_some()
            && links.all(|l| l.key.transport == Transport::Tcp && !(l.client_seen && l.server_seen))
        {
            cost(
                format!(
                    "only one end of {} → {} was observed: the link and the far end cannot be told apart",
                    hop.caller, hop.callee
                ),
                0.05,
            );
        }
    }
}

fn uncovered(scene: &Scene<'_>, cost: &mut impl FnMut(String, f64)) {
    let services: Vec<(&Name, f64)> = scene
        .workloads()
        .filter_map(|e| Some((e.instance(), scene.level(&e.id, metric::COVERAGE, scene.span)?)))
        .filter(|(_, share)| *share < COVERED)
        .collect();
    for (name, share) in services.into_iter().take(5) {
        cost(
            format!("{} of the traffic of {name} was understood", crate::units::percent(share)),
            0.02,
        );
    }
}
