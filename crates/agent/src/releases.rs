//! What containers run, and what the cluster says of them: a new image, a new pod
//! template, a container started anew; events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use taproot_kube::EventFact;
use taproot_model::{Change, ChangeKind, ClusterEvent, Entity, Name, Signal, Timestamp};

use crate::names::Names;

/// Labels that differ between two templates of one workload.
const TEMPLATES: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];
/// Workloads that keep their history.
const KEEP_HISTORY: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
/// Events older than this at the agent's start are history.
const OLD: Duration = Duration::from_mins(5);
/// Workloads remembered; far more than a node runs.
const MOST: usize = 4096;

/// What a container of a workload ran last.
struct Release {
    image: Name,
    template: Name,
    pod_uid: Name,
    /// Containers of it that were looked at.
    seen: HashSet<Name>,
}

/// What every workload runs.
#[derive(Default)]
pub(crate) struct Releases(HashMap<(Name, Name, Name), Release>);

impl Releases {
    /// Looks at a container whose image is known, once. `since` is when it was seen to
    /// begin; of one that ran before, nothing is a change.
    pub(crate) fn look(&mut self, entity: &Entity, since: Option<Timestamp>) -> Option<Signal> {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let template = TEMPLATES.iter().find_map(|label| entity.labels.get(*label).cloned());
        let template = template.unwrap_or_default();
        let key = (entity.namespace.clone(), owner(entity), entity.container.clone());
        let now = |seen| Release {
            image: entity.image.clone(),
            template: template.clone(),
            pod_uid: entity.pod_uid.clone(),
            seen,
        };
        let id = entity.container_id.clone();
        let Some(before) = self.0.get_mut(&key) else {
            self.0.insert(key, now(HashSet::from([id])));
            return None;
        };
        if !before.seen.insert(id) {
            return None;
        }
        let found = difference(before, entity, &template);
        let seen = std::mem::take(&mut before.seen);
        *before = now(seen);
        let (kind, what) = found?;
        let at = since?;
        let undo = match kind {
            ChangeKind::Restart => String::new(),
            _ => undo(entity),
        };
        Some(Signal::Change(Box::new(Change {
            at,
            entity: entity.id.clone(),
            kind,
            what: what.into(),
            by: Name::default(),
            undo: undo.into(),
        })))
    }
}

/// Who runs the container: its workload, else the pod (or what stands for one).
fn owner(entity: &Entity) -> Name {
    if entity.workload.is_empty() { entity.instance().clone() } else { entity.workload.clone() }
}

fn difference(before: &Release, now: &Entity, template: &Name) -> Option<(ChangeKind, String)> {
    let who = owner(now);
    if before.image != now.image {
        return Some((ChangeKind::Image, format!("{} -> {}", before.image, now.image)));
    }
    if !template.is_empty() && !before.template.is_empty() && before.template != *template {
        let what = format!("pod template of {who} {} -> {template}", before.template);
        return Some((ChangeKind::Spec, what));
    }
    let same_pod = !now.pod_uid.is_empty() && before.pod_uid == now.pod_uid;
    same_pod.then(|| (ChangeKind::Restart, format!("container {} was started anew", now.container)))
}

fn undo(entity: &Entity) -> String {
    let kind = entity.workload_kind.as_str();
    if !KEEP_HISTORY.contains(&kind) || entity.namespace.is_empty() {
        return String::new();
    }
    let (namespace, kind) = (&entity.namespace, kind.to_lowercase());
    format!("kubectl rollout undo -n {namespace} {kind}/{}", entity.workload)
}

/// Tells what the cluster said happened to who lies in the scope. `start` is when the
/// agent began: a file may hold the history of an hour.
pub(crate) fn tell_events(names: &mut Names, start: Timestamp, out: &mut Vec<Signal>) {
    for (owner, fact) in names.resolver.drain_events() {
        let of_node = owner.id == names.resolver.node().id;
        if fact.at + OLD < start || !(of_node || names.scope.admits(&owner)) {
            continue;
        }
        names.tell(&owner, out);
        let EventFact { at, severity, reason, message, .. } = fact;
        let entity = owner.id.clone();
        let event = ClusterEvent { at, entity, severity, reason, message };
        out.push(Signal::ClusterEvent(Box::new(event)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, pod: &str, image: &str, template: &str) -> Entity {
        Entity {
            id: format!("container:{id}").into(),
            container_id: id.into(),
            namespace: "shop".into(),
            workload_kind: "Deployment".into(),
            workload: "web".into(),
            pod_uid: pod.into(),
            container: "nginx".into(),
            image: image.into(),
            labels: [("pod-template-hash".into(), template.into())].into(),
            ..Entity::default()
        }
    }

    fn told(releases: &mut Releases, entity: &Entity) -> Option<(ChangeKind, String, String)> {
        match releases.look(entity, Some(Timestamp(7)))? {
            Signal::Change(c) => {
                assert_eq!((c.at, &c.entity), (Timestamp(7), &entity.id));
                Some((c.kind, c.what.to_string(), c.undo.to_string()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_image_template_or_start_is_told_once() {
        let mut releases = Releases::default();
        let first = container("a", "p1", "web:1", "t1");
        assert_eq!(told(&mut releases, &first), None, "the first that is seen");
        assert_eq!(told(&mut releases, &container("b", "p2", "web:1", "t1")), None, "scaled up");
        let undo = "kubectl rollout undo -n shop deployment/web".to_owned();
        let image = told(&mut releases, &container("c", "p3", "web:2", "t2"));
        assert_eq!(image, Some((ChangeKind::Image, "web:1 -> web:2".into(), undo.clone())));
        assert_eq!(told(&mut releases, &first), None, "the old one is still there");
        let spec = told(&mut releases, &container("d", "p4", "web:2", "t3"));
        assert_eq!(spec, Some((ChangeKind::Spec, "pod template of web t2 -> t3".into(), undo)));
        let again = told(&mut releases, &container("e", "p4", "web:2", "t3"));
        assert_eq!(again.map(|a| a.0), Some(ChangeKind::Restart));
    }

    #[test]
    fn what_ran_before_is_no_change() {
        let mut releases = Releases::default();
        releases.look(&container("a", "p1", "web:1", "t1"), None);
        assert_eq!(releases.look(&container("b", "p2", "web:2", "t2"), None), None);
    }
}
