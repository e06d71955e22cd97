//! To whom of this node an event of the cluster happened.

use super::pod::Pod;
use super::{Directory, entity};
use crate::objects::{EventFact, EventObject};
use std::sync::Arc;
use taproot_model::{Entity, Timestamp};

/// The event of a pod that no node has yet: it is its workload's.
const UNSCHEDULED: &str = "FailedScheduling";

impl Directory {
    /// The entity of this node that an event is about; `None` for what is elsewhere.
    pub fn subject(&self, fact: &EventFact) -> Option<&Arc<Entity>> {
        let object = &fact.object;
        match object.kind.as_str() {
            "Node" => (object.name == self.node.node).then_some(&self.node),
            "Pod" => match self.pods.get(&object.uid) {
                Some(pod) => self.part(pod, object, fact.at),
                None if fact.reason.as_str() == UNSCHEDULED => self.of_workload(object, fact.at),
                None => None,
            },
            _ => self.of_workload(object, fact.at),
        }
    }

    fn part(&self, pod: &Pod, object: &EventObject, at: Timestamp) -> Option<&Arc<Entity>> {
        let named = |c: &&crate::ContainerFact| c.name == object.container && c.ended.is_none();
        let container = pod.containers.iter().filter(named).max_by_key(|c| c.started);
        let known = container.and_then(|c| self.entities.get(&entity::container_id(&c.id)));
        known
            .or_else(|| self.of_pod(&pod.uid, 0, at))
            .or_else(|| self.entities.get(&entity::pod_id(&pod.uid)))
    }

    /// A living pod here of the workload that is called so, or whose replica set or pod is.
    fn of_workload(&self, object: &EventObject, at: Timestamp) -> Option<&Arc<Entity>> {
        let whose = |pod: &&Pod| {
            let Some(workload) = &pod.workload else { return false };
            let rest = object.name.strip_prefix(workload.name.as_str());
            let of_it = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            pod.ended.is_none() && pod.namespace == object.namespace && of_it
        };
        // Of `web` and `web-api`, the longer name fits `web-api-5c9d` better.
        let length = |pod: &&Pod| pod.workload.as_ref().map(|workload| workload.name.len());
        let newest = |pod: &&Pod| pod.containers.iter().filter_map(|c| c.started).max();
        let all = self.pods.values().filter(whose);
        let pod = all.max_by_key(|pod| (length(pod), newest(pod), pod.uid.clone()))?;
        self.of_pod(&pod.uid, 0, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerFact, FactSource, PodFact, Workload};

    fn directory() -> Directory {
        let mut directory = Directory::new("n1");
        for workload in ["web", "web-api"] {
            let container = |name: &str| ContainerFact {
                id: format!("{workload}-{name}").into(),
                name: name.into(),
                ..ContainerFact::default()
            };
            let pod = PodFact {
                uid: format!("uid-{workload}").into(),
                name: format!("{workload}-5c9d-x1").into(),
                namespace: "shop".into(),
                workload: Some(Workload::new("Deployment", workload)),
                containers: vec![container("main"), container("proxy")],
                ..PodFact::default()
            };
            directory.merge(pod, FactSource::Kubelet);
        }
        directory
    }

    fn told(kind: &str, name: &str, uid: &str, reason: &str) -> Option<String> {
        let object = EventObject {
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
            uid: uid.into(),
            container: "proxy".into(),
        };
        let fact = EventFact { reason: reason.into(), object, ..EventFact::default() };
        directory().subject(&fact).map(|entity| entity.id.to_string())
    }

    #[test]
    fn an_event_is_told_of_who_is_here() {
        let some = |id: &str| Some(id.to_owned());
        assert_eq!(told("Pod", "web-5c9d-x1", "uid-web", "BackOff"), some("container:web-proxy"));
        assert_eq!(told("Pod", "web-5c9d-x9", "elsewhere", "BackOff"), None, "on another node");
        assert_eq!(told("Node", "n1", "n1", "NodeNotReady"), some("node:n1"));
        assert_eq!(told("Node", "n2", "n2", "NodeNotReady"), None);
        let created = told("ReplicaSet", "web-api-5c9d", "rs", "FailedCreate");
        assert!(created.is_some_and(|id| id.contains("web-api")), "the longer name fits better");
        let nowhere = told("Pod", "web-5c9d-zz", "new", UNSCHEDULED);
        assert!(nowhere.is_some_and(|id| id.starts_with("container:web-") && !id.contains("api")));
        assert_eq!(told("Deployment", "webshop", "d", "FailedCreate"), None, "a name of its own");
    }
}
