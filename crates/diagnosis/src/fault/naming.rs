//! Network family, names: questions that nobody answers well.

use super::network::{Seen, is_dns, link_place};
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::{Calls, Scene, Windows};
use crate::stats::grade;
use crate::units;
use taproot_model::{LogPattern, Span};
use taproot_world::FlowTotals;

/// What a name resolution that fails leaves in logs, lower case.
const WORDS: [&str; 10] = [
    "servfail",
    "nxdomain",
    "name resolution",
    "name or service not known",
    "no such host",
    "getaddrinfo",
    "eai_again",
    "could not resolve",
    "server misbehaving",
    "lookup ",
];
/// Log lines that are more than a hiccup.
const ENOUGH_LINES: u64 = 3;
/// Packets that are.
const ENOUGH_PACKETS: u64 = 3;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in scene.links.iter().filter(|l| is_dns(l)) {
        out.extend(dns_failure(scene, link));
    }
}

/// Lines about failing names that a service wrote, now more often than before.
fn logged(scene: &Scene<'_>, service: &str, w: &Windows) -> Option<Leaf> {
    let about = |p: &&LogPattern| {
        let said = |text: &str| WORDS.iter().any(|word| text.to_lowercase().contains(word));
        let ours = scene.entities.get(&p.entity).is_some_and(|e| &*e.service == service);
        ours && (said(&p.template) || said(&p.example))
    };
    let lines = || scene.happenings.patterns.iter().filter(about);
    let within = |span: Span| lines().filter(|p| span.contains(p.at)).map(|p| p.count).sum::<u64>();
    let n = within(w.during);
    let rate = |n: u64, span: Span| n as f64 / span.length().as_secs_f64().max(1e-9);
    let usual = w.before.map(|b| rate(within(b), b));
    if n < ENOUGH_LINES || usual.is_some_and(|u| rate(n, w.during) < 3.0 * u) {
        return None;
    }
    let example = lines().rfind(|p| w.during.contains(p.at)).map(|p| p.example.clone());
    let text = format!("{service} logs it {n} times: “{}”", example.unwrap_or_default());
    let strength = 0.35 + 0.15 * grade(n as f64, 3.0, 50.0);
    Some(Leaf::new("log_pattern.count", n as f64, strength, text))
}

/// Questions that failed or were not answered, where DNS itself is understood.
fn failed(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Leaf> {
    let during = scene.felt(link, seen.windows.during);
    let before = seen.windows.before.map(|b| scene.felt(link, b));
    let usual = before.as_ref().map(Calls::error_ratio);
    let share = during.error_ratio();
    if during.failed < 3 || share < 0.15 || usual.is_some_and(|u| share < 2.0 * u) {
        return None;
    }
    let text = format!(
        "{} of {} questions of {} failed ({}), {} got no answer at all{}",
        during.failed,
        during.requests,
        link.client,
        units::percent(share),
        during.unanswered,
        usual.map_or_else(String::new, |u| format!(" (before: {})", units::percent(u)))
    );
    let leaf = Leaf::new("requests.error", during.failed as f64, 0.55 + 0.35 * share, text);
    Some(leaf.before(usual))
}

/// Packets with questions to which no packet came back.
fn unanswered(link: &Link, seen: &Seen) -> Option<Leaf> {
    let silent = |f: &FlowTotals| {
        // Whoever counts no packets may still count bytes.
        let heard = f.response_packets > 0 || f.response_bytes == 0;
        let lost = 1.0 - f.response_packets as f64 / f.request_packets.max(1) as f64;
        if heard { lost } else { 0.0 }
    };
    let (asked, answered) = (seen.during.request_packets, seen.during.response_packets);
    let refused = seen.during.failed();
    let lost = silent(&seen.during);
    let usual = seen.before.as_ref().filter(|f| f.request_packets > 0).map(silent);
    let worse = usual.is_none_or(|u| lost >= u + 0.2);
    let ignored = asked >= ENOUGH_PACKETS && seen.during.request_bytes > 0 && lost >= 0.3 && worse;
    (ignored || refused >= ENOUGH_PACKETS).then(|| {
        let text = format!(
            "{} sent {asked} packets with questions and got {answered} back, {refused} were refused",
            link.client
        );
        let strength = 0.4 + 0.4 * lost.max(0.0);
        Leaf::new("flow.response_packets", answered as f64, strength, text)
    })
}

/// Answers no longer than the questions: they repeat the question and hold no
/// address (RFC 1035, section 4.1: a record takes at least 16 bytes).
fn empty(link: &Link, seen: &Seen) -> Option<Leaf> {
    let extra = |f: &FlowTotals| {
        let per_packet = |bytes: u64, packets: u64| bytes as f64 / packets.max(1) as f64;
        per_packet(f.response_bytes, f.response_packets)
            - per_packet(f.request_bytes, f.request_packets)
    };
    let counted = seen.during.response_packets >= ENOUGH_PACKETS && seen.during.response_bytes > 0;
    let usual = seen.before.as_ref().filter(|f| f.response_packets > 0).map(extra);
    let now = extra(&seen.during);
    (counted && now < 8.0 && usual.is_none_or(|u| u >= now + 8.0)).then(|| {
        let text = format!(
            "the answers to {} hold no address: they are {} bytes longer than the questions{}",
            link.client,
            units::number(now.max(0.0).round()),
            usual.map_or_else(String::new, |u| format!(" (before: {})", units::number(u.round())))
        );
        Leaf::new("flow.response_bytes", now, 0.45, text).before(usual)
    })
}

fn dns_failure(scene: &Scene<'_>, link: &Link) -> Option<Finding> {
    let seen = Seen::of(scene, link);
    let on_the_wire = failed(scene, link, &seen).or_else(|| unanswered(link, &seen));
    let on_the_wire = on_the_wire.or_else(|| empty(link, &seen));
    let client_says = logged(scene, &link.client, &seen.windows);
    let server_says = logged(scene, &link.server, &seen.windows);
    let said = client_says.is_some() || server_says.is_some();
    let mut case = Case::new(Class::DnsFailure, link_place(link));
    let leaves: Vec<Leaf> = [on_the_wire, client_says, server_says].into_iter().flatten().collect();
    if leaves.is_empty() {
        return None;
    }
    for leaf in leaves {
        case.leaf(leaf);
    }
    if scene.trouble.is_none() && !said {
        // Who gets no address fails or complains; a count of packets alone may have a hole.
        case.doubt(0.5);
    }
    case.culprit(link.server.to_string(), Some(link.key.server.clone()));
    case.during(scene, &seen.windows);
    let headline =
        format!("names are not resolved: {} gets no good answer from {}", link.client, link.server);
    Some(case.close(headline))
}
