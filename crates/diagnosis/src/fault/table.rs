//! Network family, connection tracking: a full table refuses new connections of
//! everybody, and leaves the old ones alone.

use super::network::{Seen, by_name};
use super::routing::{TIMED_OUT, failed};
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::Scene;
use crate::stats::grade;
use crate::units;
use std::collections::BTreeSet;
use taproot_model::{EntityId, EntityKind, Name, Transport, metric};

/// Share of the table in use that is full.
const FULL: f64 = 0.97;
/// Links that must suffer alike to blame what they share.
const ENOUGH_LINKS: usize = 2;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    let seen: Vec<Finding> = scene.entities.keys().filter_map(|id| full(scene, id)).collect();
    if seen.is_empty() {
        out.extend(suspected(scene));
    }
    out.extend(seen);
}

fn full(scene: &Scene<'_>, id: &EntityId) -> Option<Finding> {
    let limit = scene.last(id, metric::CONNTRACK_LIMIT).filter(|l| *l > 0.0)?;
    let count = scene.metric(id, metric::CONNTRACK_COUNT, "", scene.span)?.max()?;
    let drops = scene.metric(id, metric::CONNTRACK_DROPS, "", scene.span);
    let dropped = drops.as_ref().map_or(0.0, taproot_world::Series::total);
    let share = count / limit;
    if share < FULL && (dropped < 1.0 || share < 0.5) {
        return None;
    }
    let values = scene.levels(id, metric::CONNTRACK_COUNT, "");
    let mut case = Case::new(Class::ConntrackFull, scene.place(id));
    let name = scene.called(id);
    let text = format!(
        "the connection table of {name} holds {} of {} entries",
        units::number(count),
        units::number(limit)
    );
    let leaf = Leaf::new(metric::CONNTRACK_COUNT, count, 0.3 + 0.4 * grade(share, 0.9, 1.0), text);
    let first = values.iter().flatten().next().copied();
    case.leaf(leaf.before(first).series(values));
    case.fact("conntrack_limit", units::number(limit));
    if dropped >= 1.0 {
        let text = format!("the full table refused {} packets", units::number(dropped));
        let strength = 0.5 + 0.3 * grade(dropped, 1.0, 50.0);
        let leaf = Leaf::new(metric::CONNTRACK_DROPS, dropped, strength, text);
        case.leaf(leaf.series(scene.rates(id, metric::CONNTRACK_DROPS, "")));
    } else {
        case.predicted();
    }
    case.since(drops.and_then(|s| s.points.iter().find(|p| p.value > 0.0).map(|p| p.at)));
    let again = |l: &Link| Seen::of(scene, l).during.syn_retransmits;
    let waits: u64 = links_of(scene, id).map(again).sum();
    if waits > 0 {
        let text = format!("its new connections had to be asked for again {waits} times");
        let strength = 0.2 * grade(waits as f64, 1.0, 20.0);
        case.leaf(Leaf::new("flow.syn_retransmits", waits as f64, strength, text));
    }
    let headline = format!(
        "the connection table of {name} is full ({} of {}): new connections are refused",
        units::number(count),
        units::number(limit)
    );
    Some(case.close(headline))
}

/// Links of an entity; of all entities of the node if it is one.
fn links_of<'s>(scene: &'s Scene<'_>, id: &'s EntityId) -> impl Iterator<Item = &'s Link> {
    let node = scene.entities.get(id).filter(|e| e.kind == EntityKind::Node).map(|e| &e.node);
    scene.links.iter().filter(move |l| {
        let on = |end: &EntityId| {
            end == id || node.is_some_and(|n| scene.entities.get(end).is_some_and(|e| e.node == *n))
        };
        on(&l.key.client) || on(&l.key.server)
    })
}

/// A link whose new connections are dropped by the packet filter while what runs
/// on old connections is not.
fn refuses_only_new(scene: &Scene<'_>, link: &Link) -> Option<Seen> {
    let seen = Seen::of(scene, link);
    let f = &seen.during;
    let stuck = f.syn_retransmits + failed(f, &TIMED_OUT);
    let dropped = f.drops.get("NETFILTER_DROP").copied().unwrap_or(0);
    let old = f.retransmits.saturating_sub(f.syn_retransmits);
    let new = seen.rate(|f| f.drops.get("NETFILTER_DROP").copied().unwrap_or(0)).grew(3.0);
    (stuck >= 2 && dropped >= 2 && old * 4 <= dropped && new).then_some(seen)
}

/// No table was seen, but what a full one does: several links at once lose the first
/// packets of new connections, and only those. A firewall rule would hit one of them.
fn suspected(scene: &Scene<'_>) -> Option<Finding> {
    let tcp = scene.links.iter().filter(|l| l.key.transport == Transport::Tcp);
    let hit: Vec<(&Link, Seen)> =
        tcp.filter_map(|l| Some((l, refuses_only_new(scene, l)?))).collect();
    let servers: BTreeSet<&Name> = hit.iter().map(|(l, _)| &l.server).collect();
    let (link, seen) = hit.iter().max_by_key(|(_, s)| s.during.dropped())?;
    if servers.len() < ENOUGH_LINKS {
        return None;
    }
    let server = scene.entities.get(&link.key.server);
    let node = server.and_then(|c| {
        scene.entities.values().find(|e| e.kind == EntityKind::Node && e.node == c.node)
    });
    let at = node.map_or(&link.key.server, |n| &n.id);
    let mut case = Case::new(Class::ConntrackFull, scene.place(at));
    case.during(scene, &seen.windows);
    for (link, seen) in &hit {
        let text = format!(
            "{} to {}: {} first packets of new connections were dropped ({}), {} sent again, \
             and nothing was lost on open connections",
            link.client,
            link.server,
            seen.dropped(),
            by_name(&seen.during.drops),
            seen.during.syn_retransmits
        );
        let n = seen.dropped() as f64;
        case.leaf(Leaf::new("flow.drops=NETFILTER_DROP", n, 0.4, text));
    }
    // Several firewall rules at once would look the same: the table itself was not seen.
    case.doubt(0.2);
    let name = scene.called(at);
    Some(case.close(format!(
        "new connections of {} services are dropped on {name} while open ones work: \
         as a full connection table does (the table itself could not be read)",
        servers.len()
    )))
}
