//! Who or what is to blame: of what kind it is, and what it is called.

use crate::breakdown::Breakdown;
use crate::fault::{Class, Finding};
use crate::place::Place;
use crate::scene::Scene;
use serde::Serialize;
use taproot_model::{Entity, EntityId, EntityKind, Name, Protocol};
use taproot_world::Observer;

/// What sort of thing is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CulpritKind {
    /// A service as a whole.
    Service,
    /// A pod.
    Pod,
    /// A container that is of no pod.
    Container,
    /// A systemd unit.
    Unit,
    /// A process.
    Process,
    /// A node, or what runs on it outside of workloads.
    Node,
    /// An address that nobody known owns.
    Address,
    /// What is between two services.
    Link,
    /// A route or the lack of one.
    Route,
    /// A rule of a packet filter.
    Rule,
    /// Requests of one method or route.
    Request,
    /// A statement or command of a database.
    Query,
    /// A commit, an image or a configuration that somebody changed.
    Change,
}

/// Who or what is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Culprit {
    /// What sort of thing it is.
    pub kind: CulpritKind,
    /// In words.
    pub name: String,
    /// Its key, if it is an entity.
    pub entity: Option<EntityId>,
    /// Its service, if it is an entity.
    pub service: Option<Name>,
    /// What people call that instance (the pod), if it is an entity.
    pub instance: Option<Name>,
    /// Where it runs, if known.
    pub node: Option<Name>,
    /// The route or statement that makes the difference, if one does.
    pub request: Option<String>,
}

/// Share of a change that one route must make to be blamed for it.
const MOST: f64 = 0.6;

impl Culprit {
    pub(crate) fn of(scene: &Scene<'_>, finding: &Finding, breakdowns: &[Breakdown]) -> Self {
        let entity = finding.culprit_entity.as_ref().and_then(|id| scene.entities.get(id));
        let request = request(finding, breakdowns);
        let kind = kind(finding, entity);
        Self {
            kind: match &request {
                Some((_, route)) if is_query(scene, finding, route) => CulpritKind::Query,
                Some(_) => CulpritKind::Request,
                None => kind,
            },
            name: finding.culprit.clone(),
            entity: finding.culprit_entity.clone(),
            service: entity.map(|e| e.service.clone()),
            instance: entity.map(|e| e.instance().clone()),
            node: entity.map(|e| e.node.clone()).filter(|n| !n.is_empty()),
            request: request.map(|(words, _)| words),
        }
    }
}

fn kind(finding: &Finding, entity: Option<&Entity>) -> CulpritKind {
    // What followed packets named tells more than the class.
    let object = finding.facts.get("object").map(String::as_str).unwrap_or_default();
    if ["iptables", "ip6tables", "nft"].iter().any(|tool| object.starts_with(tool)) {
        return CulpritKind::Rule;
    }
    if object.starts_with("route") {
        return CulpritKind::Route;
    }
    match finding.class {
        Class::WrongRoute => return CulpritKind::Route,
        Class::FirewallDrop => return CulpritKind::Rule,
        Class::Change => return CulpritKind::Change,
        _ => {}
    }
    match (&finding.place, entity) {
        (Place::Link { .. }, None) => CulpritKind::Link,
        (Place::Service { .. }, _) | (_, None) => CulpritKind::Service,
        (_, Some(entity)) => match entity.kind {
            EntityKind::Container if entity.pod.is_empty() => CulpritKind::Container,
            EntityKind::Container => CulpritKind::Pod,
            EntityKind::Unit => CulpritKind::Unit,
            EntityKind::Process => CulpritKind::Process,
            EntityKind::Node => CulpritKind::Node,
            EntityKind::External => CulpritKind::Address,
        },
    }
}

/// The one route of a service at fault by itself that makes most of the change, in words,
/// and the route alone.
fn request<'b>(finding: &Finding, breakdowns: &'b [Breakdown]) -> Option<(String, &'b str)> {
    let Place::Service { service } = &finding.place else { return None };
    let at_it = breakdowns.iter().rfind(|b| b.service == *service)?;
    let part = at_it.attribution.parts.first()?;
    let whole = at_it.attribution.now - at_it.attribution.expected;
    let label = |name: &str| part.labels.iter().find(|l| l.name == name);
    let route = label("route")?;
    // Labels of who calls say that it is not the route alone.
    let only = part.labels.iter().all(|l| matches!(l.name.as_str(), "route" | "method"));
    let most = whole != 0.0 && part.figures.change / whole >= MOST;
    let method = label("method").map_or_else(String::new, |m| format!("{} ", m.value));
    (only && most).then(|| (format!("{method}{}", route.value), route.value.as_str()))
}

fn is_query(scene: &Scene<'_>, finding: &Finding, route: &str) -> bool {
    let Place::Service { service } = &finding.place else { return false };
    scene.inbound(service).any(|link| {
        let requests = scene.evidence.requests(&link.key, Observer::Merged, scene.span);
        requests.keys().any(|key| {
            &*key.route == route
                && matches!(
                    key.protocol,
                    Protocol::Postgres
                        | Protocol::Mysql
                        | Protocol::Mongo
                        | Protocol::Cql
                        | Protocol::Redis
                        | Protocol::Memcached
                )
        })
    })
}
