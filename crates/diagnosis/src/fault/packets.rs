//! Network family, packets that are wrong: too many first ones, resets, damage.

use super::counters::Gained;
use super::network::{Seen, link_place};
use super::refusal::dropped_for;
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::Scene;
use crate::stats::grade;
use crate::units::{self, was};
use taproot_model::{Entity, Transport, metric};
use taproot_world::FlowTotals;

/// Kernel drop reasons of packets whose checksum is wrong.
const DAMAGED: [&str; 4] = ["TCP_CSUM", "UDP_CSUM", "IP_CSUM", "SKB_CSUM"];
/// Resets that are more than a few programs closing in a hurry.
const ENOUGH_RESETS: u64 = 10;
/// Requests without an answer that show that resets hit connections in use.
const ENOUGH_UNANSWERED: u64 = 5;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        out.extend(syn_flood(scene, entity));
        out.extend(corrupt_packets(scene, entity));
    }
    for link in scene.links.iter().filter(|l| l.key.transport == Transport::Tcp) {
        out.extend(reset_storm(scene, link));
    }
}

fn syn_flood(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let gained = Gained::of(scene, &entity.id, metric::SYN_QUEUE_FULL, 10.0)?;
    let name = entity.instance();
    let windows = gained.windows;
    let mut case = Case::new(Class::SynFlood, scene.place(&entity.id));
    case.during(scene, &windows);
    let words = format!("the queue of half-open connections of {name} was full");
    gained.tell(&mut case, 0.5, 0.85, 500.0, &words);
    let inbound = scene.links.iter().filter(|l| l.key.server == entity.id);
    let (mut made, mut strangers) = (0, 0);
    for link in inbound {
        made += scene.flow(link, windows.during).connects;
        strangers += u64::from(!link.client_seen);
    }
    let text = format!(
        "only {made} connections to {name} came about meanwhile, {strangers} of its callers are \
         not known here"
    );
    case.leaf(Leaf::new("flow.connects", made as f64, 0.05, text));
    if let Some(overflows) = scene.compare_all(&entity.id, metric::LISTEN_OVERFLOWS, &windows)
        && overflows.during <= 0.0
    {
        let text = format!("{name} accepts what is complete: its accept queue was never full");
        case.rule_out(Class::ListenOverflow, text);
    }
    Some(case.close(format!("{name} gets more beginnings of connections than it can hold")))
}

fn corrupt_packets(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let gained = Gained::of(scene, &entity.id, metric::CHECKSUM_ERRORS, 3.0)?;
    let name = entity.instance();
    let windows = gained.windows;
    let mut case = Case::new(Class::CorruptPackets, scene.place(&entity.id));
    case.during(scene, &windows);
    gained.tell(&mut case, 0.5, 0.8, 50.0, &format!("{name} got packets with a wrong checksum"));
    let here = |l: &&Link| l.key.server == entity.id || l.key.client == entity.id;
    let (mut dropped, mut again) = (0, 0);
    for link in scene.links.iter().filter(here) {
        let flow = scene.flow(link, windows.during);
        dropped += dropped_for(&flow, &DAMAGED);
        again += flow.retransmits;
    }
    if dropped > 0 {
        let text = format!("the kernel dropped {dropped} of them");
        case.leaf(Leaf::new("flow.drops", dropped as f64, 0.3, text));
    }
    let text = format!("{again} packets of its connections had to be sent again");
    case.leaf(Leaf::new(
        "flow.retransmits",
        again as f64,
        0.1 * grade(again as f64, 1.0, 20.0),
        text,
    ));
    case.rule_out(Class::PacketLoss, "the packets arrive, but damaged".to_owned());
    Some(case.close(format!("packets arrive damaged at {name}")))
}

fn reset_storm(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    scene.trouble?;
    let seen = Seen::of(scene, link);
    let resets = |f: &FlowTotals| f.client_resets + f.server_resets;
    let n = resets(&seen.during);
    let rate = seen.rate(resets);
    // A refused attempt is answered by a reset, too.
    let refused = seen.during.failed_connects.get("ECONNREFUSED").copied().unwrap_or(0);
    let felt = scene.felt(link, seen.windows.during);
    let usual = seen.windows.before.map(|b| scene.felt(link, b));
    let silent = felt.unanswered;
    let new = usual.is_none_or(|u| {
        let share = |c: &crate::scene::Calls| c.unanswered as f64 / c.requests.max(1) as f64;
        share(&felt) >= 2.0 * share(&u) + 0.01
    });
    if n < ENOUGH_RESETS
        || refused * 2 >= n
        || !rate.grew(3.0)
        || silent < ENOUGH_UNANSWERED
        || !new
    {
        return None;
    }
    let (client, server) = (&link.client, &link.server);
    let by_server = seen.during.server_resets >= seen.during.client_resets;
    let who = if by_server { server } else { client };
    let mut case = Case::new(Class::ResetStorm, link_place(link));
    case.during(scene, &seen.windows);
    let end = if by_server { &link.key.server } else { &link.key.client };
    case.culprit(who.to_string(), Some(end.clone()));
    let text = format!(
        "{n} connections between {client} and {server} were reset, {} by {server}{}",
        seen.during.server_resets,
        was(rate.before, |b| format!("{} a second", units::number(b)))
    );
    let strength = 0.35 + 0.2 * grade(n as f64, 5.0, 100.0);
    case.leaf(
        Leaf::new("flow.resets", n as f64, strength, text)
            .before(rate.before)
            .series(scene.flow_rates(link, resets)),
    );
    let text = format!("{silent} requests of {client} to {server} got no answer");
    let strength = 0.2 + 0.1 * grade(silent as f64, 5.0, 100.0);
    case.leaf(Leaf::new("requests.unanswered", silent as f64, strength, text));
    let text = format!("packets arrive: {} were sent again", seen.during.retransmits);
    case.rule_out(Class::PacketLoss, text);
    case.rule_out(Class::ConnectionRefused, format!("{refused} attempts to connect were refused"));
    Some(case.close(format!(
        "{who} resets connections between {client} and {server} while they are in use: {n} in all"
    )))
}
