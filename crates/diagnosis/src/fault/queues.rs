//! Network family, queues and sizes: packets that wait, do not fit, or are not read.

use super::counters::{Gained, idle};
use super::network::{Seen, link_place};
use super::refusal::dropped_for;
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::Scene;
use crate::stats::grade;
use crate::units::{self, was};
use taproot_model::{Entity, EntityId, EntityKind, Transport, metric};
use taproot_world::{FlowTotals, Observer};

/// Kernel drop reasons of a device's queue that is full or limits.
const QUEUES: [&str; 5] =
    ["QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED", "QDISC_EDT_HORIZON", "FULL_RING"];
/// Kernel drop reason of a packet larger than the next link takes.
const TOO_BIG: [&str; 1] = ["PKT_TOO_BIG"];
/// Kernel drop reason of a datagram for which the socket has no room.
const NO_ROOM: [&str; 1] = ["SOCKET_RCVBUFF"];
/// Packets dropped by a queue that are more than a burst.
const ENOUGH_QUEUED: u64 = 5;
/// A request with more payload than this needs more than one packet on any usual link
/// (1,500 bytes less headers).
const ONE_PACKET: f64 = 1400.0;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in &scene.links {
        let seen = Seen::of(scene, link);
        out.extend(queue_limit(scene, link, &seen));
        if link.key.transport == Transport::Tcp {
            out.extend(mtu_black_hole(scene, link, &seen));
        }
    }
    for entity in scene.workloads() {
        out.extend(receiver_stalled(scene, entity));
        out.extend(udp_overflow(scene, entity));
    }
    for node in scene.entities.values().filter(|e| e.kind == EntityKind::Node) {
        out.extend(packet_backlog(scene, node));
    }
}

fn queue_limit(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let dropped = dropped_for(&seen.during, &QUEUES);
    let rate = seen.rate(|f| dropped_for(f, &QUEUES));
    if dropped < ENOUGH_QUEUED || dropped * 2 < seen.dropped() || !rate.grew(3.0) {
        return None;
    }
    let (client, server) = (&link.client, &link.server);
    let mut case = Case::new(Class::QueueLimit, link_place(link));
    case.during(scene, &seen.windows);
    let text = format!(
        "a full queue of a device dropped {dropped} packets between {client} and {server}{}",
        was(rate.before, |b| format!("{} a second", units::number(b)))
    );
    let strength = 0.5 + 0.3 * grade(dropped as f64, 4.0, 100.0);
    case.leaf(
        Leaf::new("flow.drops", dropped as f64, strength, text)
            .before(rate.before)
            .series(scene.flow_rates(link, |f| dropped_for(f, &QUEUES))),
    );
    let rtt = |f: &FlowTotals| f.rtt.quantile(0.5).map(|ns| ns / 1e9);
    if let Some(now) = rtt(&seen.during) {
        let before = seen.before.as_ref().and_then(rtt);
        if before.is_none_or(|b| now >= 2.0 * b) {
            let text = format!(
                "packets wait in it: {} there and back{}",
                units::time(now),
                was(before, units::time)
            );
            case.leaf(Leaf::new("flow.rtt", now, 0.3, text).before(before));
        } else {
            let text = format!("the way there and back takes {} as ever", units::time(now));
            case.rule_out(Class::LinkDelay, text);
        }
    }
    let bytes = seen.rate(|f| f.request_bytes + f.response_bytes);
    let through = format!(
        "{} a second go through{}",
        units::bytes(bytes.during),
        was(bytes.before, units::bytes)
    );
    case.leaf(Leaf::new("flow.response_bytes", bytes.during, 0.05, through).before(bytes.before));
    let text = "a queue dropped them, not the line".to_owned();
    case.rule_out(Class::PacketLoss, text);
    Some(case.close(format!(
        "the link between {client} and {server} is full: a queue drops what it may not send in time"
    )))
}

/// How requests with more payload than one packet holds fare, and those with less.
#[derive(Default)]
struct BySize {
    large: (u64, u64),
    small: (u64, u64),
}

impl BySize {
    fn of(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Self {
        let mut out = Self::default();
        let all = scene.evidence.requests(&link.key, Observer::Merged, seen.windows.during);
        for (key, totals) in all {
            let mean = totals.request_bytes as f64 / totals.count.max(1) as f64;
            let slot = if mean > ONE_PACKET { &mut out.large } else { &mut out.small };
            slot.0 += totals.count;
            slot.1 += if key.unanswered() { totals.count } else { 0 };
        }
        out
    }

    /// Large requests get no answer, small ones do.
    fn split(&self) -> bool {
        let share = |(all, silent): (u64, u64)| silent as f64 / all.max(1) as f64;
        self.large.1 >= 3
            && share(self.large) >= 0.5
            && self.small.0 >= 5
            && share(self.small) <= 0.1
    }
}

fn mtu_black_hole(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let f = &seen.during;
    let too_big = dropped_for(f, &TOO_BIG);
    let sizes = BySize::of(scene, link, seen);
    let again = f.retransmits.saturating_sub(f.syn_retransmits);
    if again < 3 || (too_big == 0 && !sizes.split()) {
        return None;
    }
    let (client, server) = (&link.client, &link.server);
    let mut case = Case::new(Class::MtuBlackHole, link_place(link));
    case.during(scene, &seen.windows);
    if too_big > 0 {
        let text = format!("{too_big} packets were larger than the next link takes, and dropped");
        let strength = 0.5 + 0.2 * grade(too_big as f64, 1.0, 10.0);
        let leaf = Leaf::new("flow.drops", too_big as f64, strength, text);
        case.leaf(leaf.series(scene.flow_rates(link, |f| dropped_for(f, &TOO_BIG))));
    }
    if sizes.split() {
        let text = format!(
            "{} of {} requests that need more than one packet got no answer, of the smaller ones \
             {} of {}",
            sizes.large.1, sizes.large.0, sizes.small.1, sizes.small.0
        );
        case.leaf(Leaf::new("requests.unanswered", sizes.large.1 as f64, 0.55, text));
        case.rule_out(Class::PacketLoss, "small packets pass".to_owned());
    }
    let text = format!("{again} packets of open connections were sent again, to no avail");
    let strength = 0.1 + 0.2 * grade(again as f64, 2.0, 30.0);
    case.leaf(Leaf::new("flow.retransmits", again as f64, strength, text));
    if f.connects > 0 {
        let text = format!("{} connections were made meanwhile", f.connects);
        case.rule_out(Class::FirewallDrop, text);
    }
    Some(case.close(format!(
        "large packets between {client} and {server} get lost, and the sender is not told to \
         send smaller ones"
    )))
}

fn receiver_stalled(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    scene.trouble?;
    let gained = Gained::of(scene, &entity.id, metric::ZERO_WINDOWS, 5.0)?;
    let name = entity.instance();
    let windows = gained.windows;
    let mut case = Case::new(Class::ReceiverStalled, scene.place(&entity.id));
    case.during(scene, &windows);
    let words = format!("{name} told its peers to stop sending, for its buffers were full,");
    gained.tell(&mut case, 0.35, 0.75, 60.0, &words);
    if let Some(leaf) = idle(scene, &entity.id, &windows) {
        case.leaf(leaf);
    } else {
        // It reads as fast as it can.
        case.doubt(0.3);
    }
    for link in scene.inbound(&entity.service).take(2) {
        if let Some(rtt) = scene.flow(link, windows.during).rtt.quantile(0.5) {
            let text = format!(
                "packets from {} are acknowledged after {}",
                link.client,
                units::time(rtt / 1e9)
            );
            case.rule_out(Class::LinkDelay, text);
        }
    }
    Some(case.close(format!("{name} does not read what it is sent: its peers have to wait")))
}

/// Datagrams to an entity that its sockets had no room for, by the drops on its links.
fn without_room(scene: &Scene<'_>, id: &EntityId) -> u64 {
    let udp = scene.links.iter().filter(|l| {
        l.key.transport == Transport::Udp && (l.key.server == *id || l.key.client == *id)
    });
    let w = scene.trouble.map_or(scene.span, |w| w.during);
    udp.map(|l| dropped_for(&scene.flow(l, w), &NO_ROOM)).sum()
}

fn udp_overflow(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let gained = Gained::of(scene, &entity.id, metric::UDP_BUFFER_DROPS, 5.0)?;
    let name = entity.instance();
    let windows = gained.windows;
    let mut case = Case::new(Class::UdpOverflow, scene.place(&entity.id));
    case.during(scene, &windows);
    let words = format!("the receive buffers of {name} had no room for a datagram");
    gained.tell(&mut case, 0.5, 0.8, 100.0, &words);
    let dropped = without_room(scene, &entity.id);
    if dropped > 0 {
        let text = format!("the kernel dropped {dropped} datagrams at its sockets");
        case.leaf(Leaf::new("flow.drops", dropped as f64, 0.3, text));
    }
    let text = format!("the datagrams arrived at {name}; it did not read them in time");
    case.rule_out(Class::PacketLoss, text);
    Some(case.close(format!("{name} does not read datagrams as fast as they come")))
}

fn packet_backlog(scene: &Scene<'_>, node: &Entity) -> Option<Finding> {
    let gained = Gained::of(scene, &node.id, metric::SOFTNET_DROPS, 10.0)?;
    let windows = gained.windows;
    let mut case = Case::new(Class::PacketBacklog, scene.place(&node.id));
    case.during(scene, &windows);
    let words = format!("the backlog of received packets of {} overflowed", node.node);
    gained.tell(&mut case, 0.5, 0.8, 500.0, &words);
    if let Some(squeezed) = Gained::of(scene, &node.id, metric::SOFTNET_SQUEEZED, 1.0) {
        squeezed.tell(&mut case, 0.05, 0.2, 500.0, "the time for processing packets ran out");
    }
    let text = format!("they were dropped at {}, not on a line", node.node);
    case.rule_out(Class::PacketLoss, text);
    Some(case.close(format!("{} does not process packets as fast as they come", node.node)))
}
