//! Network family: loss, delay, refused connections, full queues and tables.

use super::{Case, Class, Finding, Leaf, resource, routing};
use crate::evidence::Link;
use crate::place::Place;
use crate::scene::{Compare, Scene, Windows};
use crate::stats::grade;
use crate::units::{self, was};
use std::collections::BTreeMap;
use taproot_model::{EntityId, LifecycleKind, Name, Span, Transport, metric};
use taproot_world::{FlowTotals, Observer};

/// Share of packets sent again that is loss.
const LOSS: f64 = 0.008;
/// Packets sent again (or dropped) needed to say so.
const ENOUGH_LOST: u64 = 5;
/// Added round-trip time that is a delay, seconds.
const DELAY: f64 = 0.005;
/// Seconds a second of waiting for a CPU with which acknowledgements come late.
const STARVED: f64 = 1.0;
/// Doubt of what was over long before the trouble.
const OVER: f64 = 0.7;
/// Refused attempts needed.
const ENOUGH_REFUSED: u64 = 3;
/// Kernel drop reasons that say a route or its check refused the packet.
pub(super) const ROUTE_REASONS: [&str; 3] = ["IP_RPFILTER", "IP_OUTNOROUTES", "IP_INNOROUTES"];

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in &scene.links {
        let seen = Seen::of(scene, link);
        out.extend(connection_refused(scene, link));
        out.extend(listen_overflow(scene, link, &seen));
        if link.key.transport == Transport::Tcp {
            out.extend(packet_loss(scene, link));
            out.extend(link_delay(scene, link));
        }
    }
}

/// The transport of a link during the trouble and before.
pub(super) struct Seen {
    pub(super) during: FlowTotals,
    pub(super) before: Option<FlowTotals>,
    pub(super) windows: Windows,
}

impl Seen {
    pub(super) fn of(scene: &Scene<'_>, link: &Link) -> Self {
        // What goes wrong on a link shows in one of these, so they bound it together.
        let bad = |f: &FlowTotals| f.retransmits + f.failed() + f.dropped() + f.listen_overflows;
        let windows = match scene.trouble {
            Some(w) => w,
            None => scene.windows(&scene.flow_rates(link, bad)),
        };
        Self::within(scene, link, windows)
    }

    fn within(scene: &Scene<'_>, link: &Link, windows: Windows) -> Self {
        Self {
            during: scene.flow(link, windows.during),
            before: windows.before.map(|b| scene.flow(link, b)),
            windows,
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.windows.during.length().as_secs_f64().max(1e-9)
    }

    /// A count per second, before and during.
    pub(super) fn rate(&self, of: impl Fn(&FlowTotals) -> u64) -> Compare {
        let past = self.windows.before.map(|b| b.length().as_secs_f64().max(1e-9));
        let before = self.before.as_ref().zip(past).map(|(f, s)| of(f) as f64 / s);
        Compare { before, during: of(&self.during) as f64 / self.seconds() }
    }

    /// Connections dropped for a full accept queue, per second: what the link says,
    /// and what the server's own counter for this port says.
    pub(super) fn overflows(&self, scene: &Scene<'_>, link: &Link) -> Compare {
        let port = format!("port={}", link.key.port);
        let server = &link.key.server;
        let counted = scene
            .compare(server, metric::LISTEN_OVERFLOWS, &port, &self.windows)
            .or_else(|| {
                // A counter of the whole namespace belongs to this link only if this
                // link has trouble connecting.
                let waits = self.during.syn_retransmits > 0 || self.during.failed() > 0;
                let all = scene.compare(server, metric::LISTEN_OVERFLOWS, "", &self.windows);
                all.filter(|_| waits)
            })
            .unwrap_or_default();
        let seen = self.rate(|f| f.listen_overflows);
        if counted.during > seen.during { counted } else { seen }
    }

    /// Packets that the kernel dropped for a reason that is loss.
    pub(super) fn dropped(&self) -> u64 {
        let lost = self.during.drops.iter().filter(|d| !harmless(d.0));
        lost.map(|d| d.1).sum()
    }

    fn loss(totals: &FlowTotals) -> f64 {
        let packets = totals.request_packets + totals.response_packets;
        totals.retransmits as f64 / packets.max(totals.retransmits).max(1) as f64
    }

    /// Median round-trip time before and during, seconds.
    fn rtt(&self) -> Option<Compare> {
        let at = |f: &FlowTotals| f.rtt.quantile(0.5).map(|ns| ns / 1e9);
        Some(Compare { before: self.before.as_ref().and_then(at), during: at(&self.during)? })
    }
}

/// Reasons with which the kernel ends the life of packets that nobody misses:
/// duplicates, resets, segments of closed connections.
pub(super) fn harmless(reason: &str) -> bool {
    let of_tcp = reason.starts_with("TCP_") && reason != "TCP_CSUM";
    of_tcp || matches!(reason, "NOT_SPECIFIED" | "NO_SOCKET" | "SKB_CONSUMED" | "SOCKET_CLOSE")
}

pub(super) fn link_place(link: &Link) -> Place {
    Place::Link { edge: link.key.clone(), client: link.client.clone(), server: link.server.clone() }
}

pub(super) fn by_name(counts: &BTreeMap<Name, u64>) -> String {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let words: Vec<String> = all.iter().take(3).map(|(name, n)| format!("{n} {name}")).collect();
    words.join(", ")
}

fn packet_loss(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let resent = scene.flow_rates(link, |f| f.retransmits);
    let seen = Seen::within(scene, link, scene.windows_from_onset(&resent));
    let again = seen.rate(|f| f.retransmits);
    let dropped = seen.dropped();
    let lost = seen.during.retransmits + dropped;
    let share = Seen::loss(&seen.during);
    let usual = seen.before.as_ref().map(Seen::loss);
    let new = usual.is_none_or(|u| share >= u * 3.0 && share >= u + LOSS / 2.0);
    if lost < ENOUGH_LOST || seen.during.retransmits < 3 || share < LOSS || !new {
        return None;
    }
    let mut case = Case::new(Class::PacketLoss, link_place(link));
    case.during(scene, &seen.windows);
    case.leaf(
        Leaf::new(
            "flow.retransmits",
            seen.during.retransmits as f64,
            0.4 + 0.35 * grade(share, LOSS, 0.1),
            format!(
                "{} of the packets between {} and {} had to be sent again ({} in all){}",
                units::percent(share),
                link.client,
                link.server,
                seen.during.retransmits,
                was(usual, units::percent),
            ),
        )
        .before(again.before)
        .series(resent),
    );
    if dropped > 0 {
        let text = format!("the kernel dropped {dropped} of them: {}", by_name(&seen.during.drops));
        let strength = 0.3 + 0.3 * grade(dropped as f64, 2.0, 30.0);
        case.leaf(Leaf::new("flow.drops", dropped as f64, strength, text));
        let reason = seen.during.drops.iter().max_by_key(|d| d.1).map(|d| d.0.to_string());
        case.fact("drop_reason", reason.unwrap_or_default());
    }
    let routed: u64 = ROUTE_REASONS.iter().filter_map(|r| seen.during.drops.get(*r)).copied().sum();
    if routed * 2 > dropped.max(1) || seen.during.connects == 0 && seen.during.syn_retransmits > 0 {
        // Not some packets, but all of them or those of one route: another class.
        case.doubt(0.5);
    }
    if let Some(rtt) = seen.rtt() {
        let delayed = rtt.before.is_some_and(|b| rtt.during > b * 3.0 && rtt.during > b + DELAY);
        if delayed {
            case.doubt(0.15);
        } else {
            let text = format!(
                "packets that arrive are as fast as ever: round trip {}{}",
                units::time(rtt.during),
                was(rtt.before, units::time)
            );
            case.rule_out(Class::LinkDelay, text);
        }
    }
    if seen.overflows(scene, link).during > 0.0 {
        case.doubt(0.6);
    } else {
        let text = format!("{} dropped no connection for a full accept queue", link.server);
        case.rule_out(Class::ListenOverflow, text);
    }
    let headline = format!(
        "packets get lost between {} and {}: {} must be sent again",
        link.client,
        link.server,
        units::percent(share)
    );
    Some(case.close(headline))
}

fn link_delay(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let values = rtt_values(scene, link);
    let seen = Seen::within(scene, link, scene.windows(&values));
    let rtt = seen.rtt()?;
    let slow = match rtt.before {
        Some(before) => rtt.during >= before * 3.0 && rtt.during >= before + DELAY,
        None => rtt.during >= 4.0 * DELAY,
    };
    if !slow || seen.during.rtt.count() < 5 || !in_use(scene, link, &seen) {
        return None;
    }
    let on_the_way = on_the_way(scene, link, &seen);
    if rtt.before.is_none() && on_the_way.as_ref().is_none_or(|w| w.1 < 0.5) {
        // A long way is no fault by itself; without a past it must at least be what takes the time.
        return None;
    }
    let mut case = Case::new(Class::LinkDelay, link_place(link));
    case.during(scene, &seen.windows);
    if let Some(address) = link.address {
        case.fact("address", address.ip().to_string());
    }
    let base = rtt.before.unwrap_or(0.0);
    case.leaf(
        Leaf::new(
            "flow.rtt",
            rtt.during,
            0.45 + 0.35 * grade(rtt.during - base, DELAY, 0.05),
            format!(
                "a packet takes {} to {} and back{}",
                units::time(rtt.during),
                link.server,
                was(rtt.before, units::time)
            ),
        )
        .before(rtt.before)
        .series(values),
    );
    if let Some((leaf, _, worked)) = on_the_way {
        case.leaf(leaf);
        let flat = format!("{} itself answers in {}", link.server, units::time(worked));
        case.rule_out(Class::SlowDownstream, flat);
    }
    if starved(scene, link, &seen) {
        // Who waits for a CPU acknowledges late, on every link.
        case.doubt(0.35);
    }
    let share = Seen::loss(&seen.during);
    if share < LOSS {
        let text = format!("{} of the packets were sent again", units::percent(share));
        case.rule_out(Class::PacketLoss, text);
    } else {
        case.doubt(0.2);
    }
    let headline = format!(
        "the link between {} and {} is slow: a packet takes {} there and back{}",
        link.client,
        link.server,
        units::time(rtt.during),
        was(rtt.before, units::time)
    );
    Some(case.close(headline))
}

/// Whether the link still carries packets in the last third of the trouble.
fn in_use(scene: &Scene<'_>, link: &Link, seen: &Seen) -> bool {
    let during = seen.windows.during;
    let late = Span::new(during.to - during.length() / 3, during.to);
    !scene.flow(link, late).rtt.is_empty()
}

/// The share of a request's time that is spent on the way, as a leaf, as a number,
/// and the seconds that the server works.
fn on_the_way(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<(Leaf, f64, f64)> {
    let worked = scene.calls(link, Observer::Server, seen.windows.during).mean()?;
    let waited = scene.calls(link, Observer::Client, seen.windows.during).mean()?;
    let outside = (waited - worked).max(0.0) / waited.max(1e-9);
    let text = format!(
        "{} waits {} a request, {} works {} of it: {} is spent on the way",
        link.client,
        units::time(waited),
        link.server,
        units::time(worked),
        units::percent(outside)
    );
    let strength = 0.5 * grade(outside, 0.2, 0.8);
    Some((Leaf::new("requests.latency", waited, strength, text), outside, worked))
}

/// Whether an end of the link waits for CPUs, and longer than before.
fn starved(scene: &Scene<'_>, link: &Link, seen: &Seen) -> bool {
    [&link.key.client, &link.key.server].into_iter().any(|end| {
        let wait = scene.compare(end, metric::CPU_RUNQUEUE_TIME, "", &seen.windows);
        wait.is_some_and(|w| w.during >= STARVED && w.grew(2.0))
    })
}

fn rtt_values(scene: &Scene<'_>, link: &Link) -> Vec<Option<f64>> {
    let at = |s| scene.flow(link, s).rtt.quantile(0.5).map(|ns| ns / 1e9);
    scene.steps_of(scene.step).into_iter().map(at).collect()
}

/// What became of the server: the last time its main process ended, and how.
fn fate(scene: &Scene<'_>, server: &EntityId) -> Option<(String, f64)> {
    let end = resource::ends(scene, server).filter(|l| l.main).last()?;
    let again =
        scene.happenings.lifecycle.iter().any(|l| {
            l.entity == *server && l.kind == LifecycleKind::Exec && l.main && l.at > end.at
        });
    let how = end.exit.map_or_else(String::new, |e| match e.signal {
        0 => format!(" with code {}", e.code),
        signal => format!(" by signal {signal}"),
    });
    let since = if again { "" } else { " and has not come back" };
    Some((
        format!("its process {} (pid {}) ended at {}{how}{since}", end.comm, end.pid, end.at),
        if again { 0.2 } else { 0.4 },
    ))
}

fn connection_refused(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let refused = |f: &FlowTotals| f.failed_connects.get("ECONNREFUSED").copied().unwrap_or(0);
    // Bounded by its own figures: another trouble may have been felt more, and later.
    let refusals = scene.flow_rates(link, refused);
    let seen = Seen::within(scene, link, scene.windows_from_onset(&refusals));
    let rate = seen.rate(refused);
    let n = refused(&seen.during);
    if n < ENOUGH_REFUSED || !rate.grew(3.0) || is_dns(link) {
        return None;
    }
    let share = n as f64 / (n + seen.during.connects) as f64;
    let over = answered_since(scene, link, &refusals, seen.windows.during);
    let mut case = Case::new(Class::ConnectionRefused, link_place(link));
    case.doubt(if over { OVER } else { 0.0 });
    case.during(scene, &seen.windows);
    case.culprit(link.server.to_string(), Some(link.key.server.clone()));
    if let Some(address) = link.address {
        case.fact("address", address.ip().to_string());
    }
    case.fact("port", link.key.port.to_string());
    let text = format!(
        "{n} attempts of {} to connect to {} port {} were refused ({} of all){}",
        link.client,
        link.server,
        link.key.port,
        units::percent(share),
        was(rate.before, |b| format!("{} a second", units::number(b))),
    );
    case.leaf(
        Leaf::new("flow.failed_connects=ECONNREFUSED", n as f64, 0.5 + 0.35 * share, text)
            .before(rate.before)
            .series(refusals),
    );
    let gone = fate(scene, &link.key.server);
    if let Some((words, strength)) = &gone {
        case.leaf(Leaf::new("lifecycle.exit", 1.0, *strength, format!("{}: {words}", link.server)));
    }
    let text = "the refusal comes back at once: the way there and back works".to_owned();
    case.rule_out(Class::WrongRoute, text);
    let headline = format!(
        "nobody listens on {} port {}: {n} connections from {} were refused{}",
        link.server,
        link.key.port,
        link.client,
        gone.map_or_else(String::new, |g| format!("; {}", g.0)),
    );
    Some(case.close(headline))
}

/// Whether for the longer part of the trouble the server was there and nobody was refused
/// any more: a process that was started again refuses while it is away, whatever else is
/// wrong with it afterwards.
fn answered_since(scene: &Scene<'_>, link: &Link, refusals: &[Option<f64>], felt: Span) -> bool {
    let steps = scene.steps_of(scene.step);
    let refused = steps.iter().zip(refusals).filter(|(step, rate)| {
        step.from < felt.to && step.to > felt.from && rate.is_some_and(|rate| rate > 0.0)
    });
    let Some(last) = refused.map(|(step, _)| step.to).next_back().filter(|last| *last < felt.to)
    else {
        return false;
    };
    let since = Span::new(last, felt.to);
    let flow = scene.flow(link, since);
    since.length() * 2 > felt.length() && flow.connects + flow.response_packets > 0
}

/// Whether a link carries name resolution.
pub(super) fn is_dns(link: &Link) -> bool {
    link.key.port == 53
}

fn listen_overflow(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let server = &link.key.server;
    let rate = seen.overflows(scene, link);
    let n = rate.during * seen.seconds();
    if n < 3.0 || !rate.grew(3.0) {
        return None;
    }
    let mut case = Case::new(Class::ListenOverflow, scene.place(server));
    case.during(scene, &seen.windows).fact("port", link.key.port.to_string());
    let text = format!(
        "{} dropped {} connections because its queue of waiting connections was full",
        link.server,
        units::number(n.round())
    );
    case.leaf(
        Leaf::new("flow.listen_overflows", n, 0.55 + 0.3 * grade(n, 3.0, 50.0), text)
            .before(rate.before)
            .series(overflow_values(scene, link)),
    );
    if seen.during.syn_retransmits > 0 {
        let text = format!(
            "{} had to ask for a connection again {} times",
            link.client, seen.during.syn_retransmits
        );
        let strength = 0.3 * grade(seen.during.syn_retransmits as f64, 1.0, 20.0);
        let n = seen.during.syn_retransmits as f64;
        case.leaf(Leaf::new("flow.syn_retransmits", n, strength, text));
    }
    let mut idle = String::new();
    if let Some(cpu) = scene.rate(server, metric::CPU_TIME, "", seen.windows.during) {
        let text = format!(
            "{} uses {} CPUs: {}",
            link.server,
            units::number(cpu),
            if cpu < 0.5 { "it is not busy, it does not accept" } else { "it is busy" }
        );
        case.leaf(Leaf::new(metric::CPU_TIME, cpu, if cpu < 0.5 { 0.15 } else { 0.0 }, text));
        if cpu < 0.5 {
            "although it is not busy".clone_into(&mut idle);
        }
    }
    if routing::refused(scene, link, seen).is_some() {
        // Its answers are refused on the way back, and it gives up for want of a reply.
        case.doubt(0.7);
    }
    let text = format!("the packets arrived: {} itself refused them", link.server);
    case.rule_out(Class::PacketLoss, text);
    let headline = format!(
        "{} does not accept connections as fast as they come {idle}: {} were dropped",
        link.server,
        units::number(n.round())
    );
    Some(case.close(headline.replace("  ", " ").replace(" :", ":")))
}

fn overflow_values(scene: &Scene<'_>, link: &Link) -> Vec<Option<f64>> {
    let port = format!("port={}", link.key.port);
    let counted = scene.rates(&link.key.server, metric::LISTEN_OVERFLOWS, &port);
    if counted.is_empty() { scene.flow_rates(link, |f| f.listen_overflows) } else { counted }
}
