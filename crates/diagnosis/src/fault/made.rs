//! Who made a fault: what somebody changed at its place, shortly before it began.

use super::{Class, Finding, Leaf};
use crate::place::Place;
use crate::rank::CLAIM;
use crate::scene::Scene;
use crate::stats;
use crate::units;
use std::time::Duration;
use taproot_model::{Change, ChangeKind, Entity, EntityId, EntityKind, Timestamp};

/// How long before the trouble a change may have been made.
pub(super) const BEFORE: Duration = Duration::from_mins(2);
/// The same for the network of a node, which is changed with every pod.
const SHARED: Duration = Duration::from_secs(20);
/// The trouble is bounded to some steps, and never worse than this.
const MOST_SLACK: Duration = Duration::from_secs(10);
/// Added to the proof of a fault that the change is apt to make.
const STRENGTH: f64 = 0.2;
/// Proof that a fault must have of itself for that.
const PROVEN: f64 = 0.3;

/// The newest change at one of the places that `fits`, made before the trouble began. One
/// that came after it is not its cause; the beginning is known to two steps.
pub(super) fn latest<'s>(
    scene: &'s Scene<'_>,
    places: &[&EntityId],
    fits: impl Fn(&Change) -> bool,
    begun: Timestamp,
) -> Option<&'s Change> {
    let slack = (scene.step * 2).min(MOST_SLACK);
    let near = |c: &&Change| {
        let before = if of_node(scene, c) { SHARED } else { BEFORE };
        c.at <= begun + slack && c.at + before >= begun
    };
    let here = |c: &&Change| places.iter().any(|id| touches(scene, c, id));
    scene
        .happenings
        .changes
        .iter()
        .filter(|c| fits(c))
        .filter(near)
        .filter(here)
        .max_by_key(|c| c.at)
}

/// Whether a change is of what a node's pods share.
pub(super) fn of_node(scene: &Scene<'_>, change: &Change) -> bool {
    scene.entities.get(&change.entity).is_some_and(|e| e.kind == EntityKind::Node)
}

/// Whether a change was made where an entity is: of itself, of its pod, or of the network
/// of the node that it runs on.
fn touches(scene: &Scene<'_>, change: &Change, id: &EntityId) -> bool {
    if change.entity == *id {
        return true;
    }
    let (Some(changed), Some(own)) = (scene.entities.get(&change.entity), scene.entities.get(id))
    else {
        return false;
    };
    if changed.kind == EntityKind::Node {
        return change.kind.of_network() && changed.node == own.node;
    }
    let one_pod = !own.pod_uid.is_empty() && own.pod_uid == changed.pod_uid;
    one_pod && (change.kind.of_network() || own.container == changed.container)
}

/// In words: what, of whom, when and by whom.
pub(super) fn words(scene: &Scene<'_>, change: &Change, begun: Timestamp) -> String {
    let apart = |from: Timestamp, to: Timestamp| units::time(to.since(from).as_secs_f64());
    let when = if change.at <= begun {
        format!("{} before the trouble", apart(change.at, begun))
    } else {
        format!("{} after the trouble was first seen", apart(begun, change.at))
    };
    let by = if change.by.is_empty() { String::new() } else { format!(" by {}", change.by) };
    let of = match scene.entities.get(&change.entity) {
        Some(node) if node.kind == EntityKind::Node => format!("the node {}", node.instance()),
        Some(entity) => entity.instance().to_string(),
        None => change.entity.to_string(),
    };
    let what = sort(change.kind);
    format!("the {what} of {of} was changed {when} (at {}){by}: {}", change.at, change.what)
}

/// What sort of thing was changed, for people.
fn sort(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Image => "image",
        ChangeKind::Spec => "configuration",
        ChangeKind::Limit => "limit",
        ChangeKind::Restart => "container",
        ChangeKind::Firewall => "firewall",
        ChangeKind::Queue => "traffic control",
        _ => "network",
    }
}

/// How to take it back, in words; `None` where no command is known.
pub(super) fn undo(scene: &Scene<'_>, change: &Change) -> Option<String> {
    let image = || change.what.split_once(" -> ").map(|(before, _)| before);
    let back = match change.kind {
        ChangeKind::Image => image().map(|before| format!("go back to the image {before}")),
        ChangeKind::Limit => Some(format!("set it back ({})", change.what)),
        _ => None,
    };
    if change.undo.is_empty() {
        return back;
    }
    if let Some(back) = back {
        return Some(format!("{back}: {}", change.undo));
    }
    let of = scene.called(&change.entity);
    let within =
        if change.kind.of_network() { format!(", in the network of {of}") } else { String::new() };
    Some(format!("take back what was changed{within}: {}", change.undo))
}

/// Whether a change of this sort is apt to bring a fault of the class.
fn apt(class: Class, change: &Change) -> bool {
    use ChangeKind as K;
    let limit_of = |what: &str| {
        change.kind == K::Limit && change.what.starts_with(&format!("limit of {what} "))
    };
    match class {
        Class::FirewallDrop => matches!(change.kind, K::Firewall | K::Queue),
        Class::PacketLoss | Class::DnsFailure => {
            matches!(change.kind, K::Firewall | K::Queue | K::Link)
        }
        Class::StaleAddress => {
            matches!(change.kind, K::Route | K::Rule | K::Address | K::Link | K::Neighbour)
        }
        Class::QueueLimit => matches!(change.kind, K::Queue | K::Link),
        Class::LinkDelay => matches!(change.kind, K::Queue | K::Link | K::Route),
        Class::MtuBlackHole => matches!(change.kind, K::Link | K::Route | K::Firewall),
        Class::ConnectionRefused => matches!(change.kind, K::Firewall | K::Image | K::Spec),
        Class::Crash | Class::FdExhaustion => matches!(change.kind, K::Image | K::Spec),
        Class::CpuLimit => limit_of("CPU"),
        Class::OomKill | Class::MemoryPressure => limit_of("memory"),
        Class::PidsLimit => limit_of("processes"),
        _ => false,
    }
}

/// Who is at a place.
fn at<'s>(scene: &'s Scene<'_>, place: &'s Place) -> Vec<&'s EntityId> {
    match place {
        Place::Entity { id, .. } => vec![id],
        Place::Link { edge, .. } => vec![&edge.client, &edge.server],
        Place::Service { service } => scene.instances(service).map(|e: &Entity| &e.id).collect(),
    }
}

/// Tells of each fault which change made it, if one is apt to; such a change is then no
/// cause beside the fault.
pub(super) fn weigh(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let mut explained: Vec<String> = Vec::new();
    for f in findings.iter_mut().filter(|f| !f.predicted && f.strength >= PROVEN) {
        let Some(begun) = f.since.or(scene.trouble.map(|w| w.during.from)) else { continue };
        let class = f.class;
        let mut places = at(scene, &f.place);
        places.extend(&f.culprit_entity);
        let Some(change) = latest(scene, &places, |c| apt(class, c), begun) else { continue };
        f.strength = stats::any_of([f.strength, STRENGTH]);
        let text = words(scene, change, begun);
        f.leaves.push(Leaf::new("change.what", 1.0, STRENGTH, text));
        note(scene, change, &mut f.facts);
    }
    // Also one that the fault itself named (wrong-route).
    for f in findings.iter().filter(|f| f.class != Class::Change && f.strength >= CLAIM) {
        explained.extend(f.facts.get("change").cloned());
    }
    findings.retain(|f| {
        let of_change = |f: &Finding| f.facts.get("change").is_some_and(|c| explained.contains(c));
        f.class != Class::Change || !of_change(f)
    });
}

/// Keeps what was changed, and how it is taken back, for the advice.
pub(super) fn note(
    scene: &Scene<'_>,
    change: &Change,
    facts: &mut std::collections::BTreeMap<&'static str, String>,
) {
    facts.insert("change", change.what.to_string());
    if let Some(undo) = undo(scene, change) {
        facts.insert("undo", undo);
    }
}
