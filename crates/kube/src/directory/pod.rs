use super::FactSource;
use crate::facts::{ContainerFact, End, PodFact, Workload};
use std::collections::{BTreeMap, HashSet};
use taproot_model::{Name, Timestamp};

/// What all sources together know of a pod.
#[derive(Debug, Default)]
pub(super) struct Pod {
    pub(super) uid: Name,
    pub(super) name: Name,
    pub(super) namespace: Name,
    pub(super) node: Name,
    pub(super) labels: BTreeMap<Name, Name>,
    pub(super) workload: Option<Workload>,
    workload_from: Option<FactSource>,
    /// When it was said to be over for good.
    over: Option<End>,
    /// When it ended, from all that is known; see [`Pod::conclude`].
    pub(super) ended: Option<End>,
    pub(super) containers: Vec<ContainerFact>,
    pub(super) sources: HashSet<FactSource>,
}

impl Pod {
    /// Takes in what another source says. Empty fields say nothing.
    pub(super) fn merge(&mut self, fact: PodFact, source: FactSource) {
        self.sources.insert(source);
        take(&mut self.uid, fact.uid);
        take(&mut self.name, fact.name);
        take(&mut self.namespace, fact.namespace);
        take(&mut self.node, fact.node);
        self.labels.extend(fact.labels);
        if fact.workload.is_some() && self.workload_from.is_none_or(|known| known <= source) {
            self.workload = fact.workload;
            self.workload_from = Some(source);
        }
        for container in fact.containers {
            self.merge_container(container);
        }
        self.over = better(self.over, fact.ended);
        self.conclude();
    }

    /// Draws from the ends of its containers whether the pod has ended. It may
    /// live again: in a new sandbox, or as a container started under its old id.
    pub(super) fn conclude(&mut self) {
        self.ended = better(self.over, self.sandbox_ended());
    }

    /// Notes that the pod is over for good.
    pub(super) fn end(&mut self, end: End) {
        self.over = better(self.over, Some(end));
        self.conclude();
    }

    fn merge_container(&mut self, fact: ContainerFact) {
        let Some(known) = self.containers.iter_mut().find(|known| known.id == fact.id) else {
            self.containers.push(fact);
            return;
        };
        take(&mut known.name, fact.name);
        take(&mut known.image, fact.image);
        if !fact.ports.is_empty() {
            known.ports = fact.ports;
        }
        if known.ended.is_some() && fact.started >= known.ended.map(End::time) {
            (known.started, known.ended) = (fact.started, None);
        }
        known.started = earlier(known.started, fact.started);
        known.ended = better(known.ended, fact.ended);
        known.sandbox |= fact.sandbox;
    }

    /// When the last of its pause containers ended, and with it the network
    /// namespace of the pod; a container on its own is its own.
    fn sandbox_ended(&self) -> Option<End> {
        let alone = self.uid.is_empty();
        let mut ends = self.containers.iter().filter(|c| alone || c.sandbox).map(|c| c.ended);
        let first = ends.next()??;
        ends.try_fold(first, |last, end| Some(std::cmp::max_by_key(last, end?, |end| end.time())))
    }

    /// The container that a connection to `port` reaches: the one that says it
    /// serves the port, else the first of those that ran at that time.
    pub(super) fn serving(&self, port: u16, at: Timestamp) -> Option<&ContainerFact> {
        let ran = |c: &&ContainerFact| {
            c.started.is_none_or(|from| from <= at) && c.ended.is_none_or(|end| at < end.time())
        };
        let all = || self.containers.iter().filter(|container| !container.sandbox);
        all()
            .filter(ran)
            .find(|container| container.ports.contains(&port))
            .or_else(|| all().find(ran))
            .or_else(|| all().max_by_key(|container| container.started))
    }

    pub(super) fn container_mut(&mut self, id: &str) -> Option<&mut ContainerFact> {
        self.containers.iter_mut().find(|container| container.id.as_str() == id)
    }
}

fn take(known: &mut Name, said: Name) {
    if !said.is_empty() {
        *known = said;
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn better(a: Option<End>, b: Option<End>) -> Option<End> {
    a.into_iter().chain(b).reduce(End::better)
}
