//! Network family, routing: packets that leave and never arrive.

use super::made::{self, BEFORE};
use super::network::{ROUTE_REASONS, Seen, by_name, is_dns, link_place};
use super::refusal::no_neighbour;
use super::resource::SAME_STORY;
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::Scene;
use crate::stats::grade;
use crate::units;
use std::collections::BTreeMap;
use taproot_model::{Change, ChangeKind, EntityId, Name, Transport, metric};
use taproot_world::{FlowTotals, Observer};

/// Errnos of an attempt to which nothing came back, and of one that had no way to go.
/// `ECANCELED` stands for an attempt that the program gave up before an answer came.
pub(super) const TIMED_OUT: [&str; 2] = ["ETIMEDOUT", "ECANCELED"];
pub(super) const NO_WAY: [&str; 3] = ["EHOSTUNREACH", "ENETUNREACH", "ENONET"];
pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in scene.links.iter().filter(|l| l.key.transport == Transport::Tcp && !is_dns(l)) {
        out.extend(wrong_route(scene, link));
    }
}

pub(super) fn failed(totals: &FlowTotals, errnos: &[&str]) -> u64 {
    errnos.iter().filter_map(|e| totals.failed_connects.get(*e)).sum()
}

/// Attempts to connect that got nowhere: timeouts, errors of the route, and
/// requests for a connection repeated while none succeeds.
fn stuck(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Leaf> {
    let timed_out = failed(&seen.during, &TIMED_OUT);
    let no_way = failed(&seen.during, &NO_WAY);
    let silent = seen.during.syn_retransmits;
    let made = seen.during.connects;
    // A server that is only slow to accept gets there in the end.
    let nothing_works = (timed_out + silent) as f64 > 2.0 * made as f64 && timed_out + silent >= 2;
    if no_way < 2 && !nothing_works {
        return None;
    }
    let text = format!(
        "{} cannot reach {} port {}: {timed_out} attempts timed out, {no_way} had no way to go, \
         {silent} times the first packet was sent again, {made} connections were made",
        link.client, link.server, link.key.port
    );
    let n = (timed_out + no_way + silent) as f64;
    let series = scene.flow_rates(link, |f| f.failed() + f.syn_retransmits);
    let strength = 0.3 + 0.2 * grade(n, 2.0, 20.0);
    Some(Leaf::new("flow.failed_connects", n, strength, text).series(series))
}

/// Packets that the check or lack of a route refused, and at which end.
pub(super) struct Refused {
    at_client: f64,
    at_server: f64,
    no_route: f64,
    by_reason: BTreeMap<Name, u64>,
}

impl Refused {
    fn leaf(&self, link: &Link) -> Leaf {
        let mut words = Vec::new();
        let figure = |n: f64| units::number(n.round());
        if self.at_client >= 1.0 {
            words.push(format!(
                "{} answers came in at {} on another interface than its packets to {} leave by, \
                 and its kernel refused them (reverse-path filter)",
                figure(self.at_client),
                link.client,
                link.server
            ));
        }
        if self.at_server >= 1.0 {
            words.push(format!(
                "{} packets came in at {} on another interface than its answers to {} would \
                 leave by, and its kernel refused them (reverse-path filter)",
                figure(self.at_server),
                link.server,
                link.client
            ));
        }
        if self.no_route >= 1.0 {
            words.push(format!("{} packets had no route", figure(self.no_route)));
        }
        if !self.by_reason.is_empty() {
            words.push(format!("the kernel's reason: {}", by_name(&self.by_reason)));
        }
        let n = self.total();
        let strength = 0.5 + 0.3 * grade(n, 1.0, 10.0);
        Leaf::new(metric::RP_FILTER_DROPS, n, strength, words.join("; "))
    }

    fn total(&self) -> f64 {
        let dropped: u64 = self.by_reason.values().sum();
        (self.at_client + self.at_server + self.no_route).max(dropped as f64)
    }
}

/// Packets of a link that the check or lack of a route refused, if any.
pub(super) fn refused(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Refused> {
    let of = |end: &EntityId, name| {
        let rate = scene.compare_all(end, name, &seen.windows).filter(|c| c.grew(2.0));
        rate.map_or(0.0, |c| c.during) * seen.seconds()
    };
    let reason = |r: &&str| Some((Name::from(*r), *seen.during.drops.get(*r)?));
    let (client, server) = (&link.key.client, &link.key.server);
    let out = Refused {
        at_client: of(client, metric::RP_FILTER_DROPS),
        at_server: of(server, metric::RP_FILTER_DROPS),
        no_route: of(client, metric::NO_ROUTES) + of(server, metric::NO_ROUTES),
        by_reason: ROUTE_REASONS.iter().filter_map(reason).collect(),
    };
    (out.total() >= 1.0).then_some(out)
}

/// A change of routes, rules, addresses or devices at either end, or at their node, not
/// long before; in a look without a past, within its first moments.
fn route_change<'s>(
    scene: &'s Scene<'_>,
    link: &Link,
    seen: &Seen,
    of_node: bool,
) -> Option<&'s Change> {
    let ends = [&link.key.client, &link.key.server];
    let routing = |c: &Change| {
        use ChangeKind as K;
        matches!(c.kind, K::Route | K::Rule | K::Address | K::Link | K::Neighbour | K::Sysctl)
            && made::of_node(scene, c) == of_node
    };
    made::latest(scene, &ends, routing, seen.windows.during.from)
}

fn changed_leaf(scene: &Scene<'_>, change: &Change, seen: &Seen) -> Leaf {
    let begun = seen.windows.during.from;
    let apart = begun.since(change.at).as_secs_f64();
    let strength = 0.5 - 0.3 * grade(apart, SAME_STORY.as_secs_f64(), BEFORE.as_secs_f64());
    Leaf::new("change.route", 1.0, strength, made::words(scene, change, begun))
}

/// The server got the request for a connection and answered, again and again.
fn answer_lost(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Leaf> {
    if !link.server_seen {
        return None;
    }
    let server = scene.evidence.flow(&link.key, Observer::Server, seen.windows.during);
    let again = server.syn_retransmits;
    let overflows = seen.overflows(scene, link).during > 0.0;
    (again >= 2 && server.connects == 0 && !overflows).then(|| {
        let text = format!(
            "{} got the request and answered {again} times more, but the answers never arrived",
            link.server
        );
        Leaf::new("flow.syn_retransmits", again as f64, 0.45, text)
    })
}

/// Others reach the same server at the same time.
fn alive(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Leaf> {
    let others = scene
        .links
        .iter()
        .filter(|l| l.key.server == link.key.server && l.key.client != link.key.client);
    let made: u64 = others
        .map(|l| {
            let flow = scene.flow(l, seen.windows.during);
            flow.connects + scene.felt(l, seen.windows.during).requests
        })
        .sum();
    (made > 0).then(|| {
        let text = format!("{} is alive: it served others {made} times meanwhile", link.server);
        Leaf::new("flow.connects", made as f64, 0.15, text)
    })
}

fn wrong_route(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let seen = Seen::of(scene, link);
    let stuck = stuck(scene, link, &seen)?;
    let no_way = failed(&seen.during, &NO_WAY);
    let refused = refused(scene, link, &seen);
    let change = route_change(scene, link, &seen, false);
    let why: Vec<Leaf> = [
        refused.as_ref().map(|r| r.leaf(link)),
        change.map(|c| changed_leaf(scene, c, &seen)),
        answer_lost(scene, link, &seen),
    ]
    .into_iter()
    .flatten()
    .collect();
    if why.is_empty() && no_way == 0 {
        return None;
    }
    let mut case = Case::new(Class::WrongRoute, link_place(link));
    case.during(scene, &seen.windows);
    case.culprit(
        format!("the route between {} and {}", link.client, link.server),
        Some(link.key.client.clone()),
    );
    case.fact("port", link.key.port.to_string());
    if let Some(change) = change {
        made::note(scene, change, &mut case.finding.facts);
    }
    if let Some(address) = link.address {
        case.fact("address", address.ip().to_string());
    }
    let mut headline = format!(
        "{} cannot connect to {}: packets take a route on which they never arrive",
        link.client, link.server
    );
    if refused.as_ref().is_some_and(|r| r.at_client >= 1.0) {
        headline = format!(
            "{} cannot connect to {}: the answers come in on another interface than the one it \
             sends by, and its kernel refuses them",
            link.client, link.server
        );
    } else if refused.is_some() {
        headline = format!(
            "{} cannot connect to {}: its packets come in on another interface than the answers \
             would leave by, and the kernel refuses them",
            link.client, link.server
        );
    } else if no_way > 0 {
        headline = format!("{} has no route to {}", link.client, link.server);
        case.leaf(Leaf::new(
            "flow.failed_connects",
            no_way as f64,
            0.3,
            format!(
                "the kernel itself said so {no_way} times: {}",
                by_name(&seen.during.failed_connects)
            ),
        ));
    }
    case.leaf(stuck);
    for leaf in why {
        case.leaf(leaf);
    }
    if let Some(change) = route_change(scene, link, &seen, true).filter(|_| change.is_none()) {
        // Every pod that comes or goes changes the routes of its node: it proves little.
        let text = made::words(scene, change, seen.windows.during.from);
        case.leaf(Leaf::new("change.route", 1.0, 0.1, text));
    }
    if let Some(leaf) = alive(scene, link, &seen) {
        let text = leaf.text.clone();
        case.leaf(leaf).rule_out(Class::ConnectionRefused, text);
    }
    if refused.is_none() && no_neighbour(&seen.during) {
        // There is a way; only nobody is at its end.
        case.doubt(0.7);
    }
    // A listener also counts as dropped what it gave up for want of an answer.
    if refused.is_none() && seen.overflows(scene, link).during > 0.0 {
        case.doubt(0.7);
    }
    Some(case.close(headline))
}
