//! The families control plane and change: what the cluster could not do, and what
//! somebody did just before.

use super::made::{self, BEFORE};
use super::{Case, Class, Finding, Leaf};
use crate::scene::Scene;
use crate::stats::grade;
use taproot_model::{Change, ChangeKind, ClusterEvent, Entity, EntityId, EntityKind, Timestamp};

/// Reasons of cluster events by which a workload does not come to run as it was asked
/// to, with what each means.
const REASONS: [(&str, &str); 14] = [
    ("BackOff", "its container ends again and again, or its image cannot be had"),
    ("CrashLoopBackOff", "its container ends again and again"),
    ("ErrImagePull", "its image cannot be had"),
    ("ImagePullBackOff", "its image cannot be had"),
    ("InvalidImageName", "the name of its image is wrong"),
    ("CreateContainerConfigError", "a config map or secret that it needs is missing"),
    ("CreateContainerError", "its container cannot be made"),
    ("RunContainerError", "its container cannot be started"),
    ("FailedMount", "a volume cannot be mounted"),
    ("FailedAttachVolume", "a volume cannot be attached"),
    ("FailedScheduling", "no node has room for it"),
    ("FailedCreate", "a quota or policy refuses it"),
    ("Unhealthy", "its probe fails"),
    ("ProgressDeadlineExceeded", "its rollout does not come to an end"),
];
/// Events of one reason that are more than a slow start.
const ENOUGH: usize = 2;
/// A change that is one of many reasons: named, never claimed by itself.
const WEAK: f64 = 0.4;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        out.extend(rollout(scene, entity));
        out.extend(change(scene, entity));
    }
    // A change of the node's network that a fault of packets does not explain.
    for node in scene.entities.values().filter(|e| e.kind == EntityKind::Node) {
        out.extend(change(scene, node));
    }
}

fn rollout(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let meaning = |e: &ClusterEvent| REASONS.iter().find(|r| r.0 == &*e.reason).map(|r| r.1);
    let events = scene.happenings.cluster.iter().filter(|e| e.entity == entity.id);
    let events: Vec<(&ClusterEvent, &str)> =
        events.filter_map(|e| Some((e, meaning(e)?))).collect();
    let (last, meant) = *events.last()?;
    let alike = events.iter().filter(|e| e.0.reason == last.reason).count();
    if alike < ENOUGH && scene.trouble.is_none() {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::Rollout, scene.place(&entity.id));
    case.since(events.first().map(|e| e.0.at)).fact("reason", last.reason.to_string());
    let text = format!("the cluster says at {}: {} ({})", last.at, last.message, last.reason);
    let strength = 0.55 + 0.25 * grade(alike as f64, 1.0, 5.0);
    case.leaf(Leaf::new("cluster_event.reason", alike as f64, strength, text));
    if let Some(made) = latest(scene, entity) {
        let text = made::words(scene, made, begun(scene));
        case.leaf(Leaf::new("change.what", 1.0, 0.3, text));
        made::note(scene, made, &mut case.finding.facts);
    }
    Some(case.close(format!("{name} does not run as it was asked to: {meant}")))
}

/// When the trouble began; without one, the present.
fn begun(scene: &Scene<'_>) -> Timestamp {
    scene.trouble.map_or(scene.span.to, |w| w.during.from)
}

/// The newest change of an entity, or of another instance of its service, that may have
/// led to the trouble.
fn latest<'s>(scene: &'s Scene<'_>, entity: &Entity) -> Option<&'s Change> {
    let others = scene.instances(&entity.service).map(|e| &e.id);
    let ours: Vec<&EntityId> = std::iter::once(&entity.id).chain(others).collect();
    made::latest(scene, &ours, |c| ours.contains(&&c.entity), begun(scene))
}

fn change(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let w = scene.trouble.filter(|w| w.before.is_some())?;
    let made = latest(scene, entity).filter(|c| c.entity == entity.id)?;
    let name = entity.instance();
    let apart = w.during.from.since(made.at);
    let mut case = Case::new(Class::Change, scene.place(&entity.id));
    case.since(Some(w.during.from));
    made::note(scene, made, &mut case.finding.facts);
    case.culprit(
        format!("the change of {name} at {}: {}", made.at, made.what),
        Some(entity.id.clone()),
    );
    // What many pods share is changed all the time, and a restart is more often an effect.
    let weak = entity.kind == EntityKind::Node || made.kind == ChangeKind::Restart;
    let near = 1.0 - grade(apart.as_secs_f64(), 5.0, BEFORE.as_secs_f64());
    let strength = if weak { WEAK } else { 0.5 + 0.15 * near };
    let text = made::words(scene, made, w.during.from);
    case.leaf(Leaf::new("change.what", 1.0, strength, text));
    let near = |c: &&Change| {
        c.entity != entity.id && c.at <= w.during.from && c.at + BEFORE >= w.during.from
    };
    let others = scene.happenings.changes.iter().filter(near).count();
    if others > 0 {
        // Any of them may have done it.
        case.doubt(0.15 * others.min(3) as f64);
    }
    Some(case.close(format!("{name} was changed just before the trouble: {}", made.what)))
}
