//! The way that a packet was expected to take, beside the one that it took.
//!
//! Each namespace on the way is asked what it would do with the packet, from its
//! routes, rules, neighbours and sockets alone. Where the packet did something else
//! and the prediction has no doubts, that is a finding: a program, a policy or a
//! remembered translation decided what the configuration does not show.
//!
//! Only what begins a conversation is predicted: later packets go by what the
//! table of connections remembers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use taproot_model::{Category, Step, Tuple};
use taproot_netstate::predict::{Decided, End, Packet, Way};
use taproot_netstate::{NetState, predict};
use taproot_probes::trace::Event;

use crate::names::{self, Names};
use crate::path::{Path, Trace};
use crate::words;

/// What one namespace was expected to do with a packet, and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The namespace's inode.
    pub netns: u32,
    /// Index of the packet's path.
    pub path: usize,
    /// Index of its first hop there.
    pub hop: usize,
    /// What is decided on the way, and how it ends, in words.
    pub expected: Vec<String>,
    /// How it ended, in words.
    pub observed: String,
    /// Whether the two agree; none where one of them is not known well enough.
    pub agrees: Option<bool>,
    /// What could not be judged.
    pub doubts: Vec<String>,
}

/// How a packet's way through a namespace ended, as seen.
#[derive(Debug, PartialEq)]
enum Seen {
    Left(Vec<String>),
    Taken,
    Stopped(String),
    Nothing,
}

const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Predicts the packet's way through each namespace whose state is given, and
/// compares. A namespace may be given several times, as it was at several moments:
/// then it is enough that one of them agrees. None for a packet that begins no
/// conversation.
pub fn expectations(trace: &Trace, path: usize, states: &[NetState]) -> Vec<Expectation> {
    let Some(shown) = trace.paths.get(path).filter(|_| begins(trace, path)) else {
        return Vec::new();
    };
    let found = visits(shown).into_iter().filter_map(|visit| of_visit(shown, visit, states));
    found.map(|expectation| Expectation { path, ..expectation }).collect()
}

/// The packet that began the conversation of a path: the path itself, or the first.
pub fn question(trace: &Trace, path: usize) -> usize {
    if begins(trace, path) {
        return path;
    }
    let conversation = trace.conversations.get(&trace.paths[path].conversation);
    conversation.and_then(|found| found.paths.first().copied()).unwrap_or(path)
}

fn begins(trace: &Trace, path: usize) -> bool {
    let shown = &trace.paths[path];
    // Routes, rules and sockets are nothing to what is not IP.
    if shown.frame().is_some() {
        return false;
    }
    let tuple = shown.tuple();
    match tuple.protocol {
        TCP => tuple.tcp_flags & (SYN | ACK) == SYN,
        _ => trace
            .conversations
            .get(&shown.conversation)
            .is_some_and(|conversation| conversation.paths.first() == Some(&path)),
    }
}

/// The stretches of a path that are in one namespace. A packet that is sent and
/// received in the same one was there twice.
fn visits(path: &Path) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut sent = false;
    for (at, event) in path.hops.iter().enumerate() {
        let again = sent && event.hop.step == Step::Received;
        match out.last_mut() {
            Some(visit)
                if !again && path.hops[visit.start].hop.place.netns == event.hop.place.netns =>
            {
                visit.end = at + 1;
            }
            _ => {
                out.push(at..at + 1);
                sent = false;
            }
        }
        sent |= matches!(event.hop.step, Step::Queued | Step::Transmitted);
    }
    out
}

fn of_visit(path: &Path, visit: Range<usize>, states: &[NetState]) -> Option<Expectation> {
    let hops = &path.hops[visit.clone()];
    let netns = hops[0].hop.place.netns?;
    let states: Vec<&NetState> = states.iter().filter(|state| state.inode == netns).collect();
    // A tunnel's own packets are another conversation.
    if hops.iter().any(|event| event.outer.is_some()) {
        return None;
    }
    let (tuple, came_in) = door(hops)?;
    // Between the ports of a bridge, nothing is routed.
    let of_bridge = |state: &&NetState| {
        came_in.and_then(|index| state.link(index)).is_some_and(|link| link.master.is_some())
    };
    if states.is_empty() || states.iter().any(of_bridge) {
        return None;
    }
    let seen = seen(hops);
    let exit = hops.iter().rev().find(|event| is_packet(event)).map(|e| e.hop.tuple.destination);
    let packet = Packet { tuple: &tuple, came_in, mark: mark(hops), whole: whole(&tuple, hops) };
    let judged = states.into_iter().map(|state| {
        let way = predict(state, &packet);
        let agrees = agrees(&way, tuple.destination, &seen, exit);
        (way, agrees)
    });
    // The last one is shown, unless an earlier one fits better.
    let (way, agrees) = judged.reduce(|one, other| match (one.1, other.1) {
        (Some(true), Some(false)) => one,
        _ => other,
    })?;
    let certain = agrees == Some(true) || way.doubts.is_empty();
    Some(Expectation {
        netns,
        path: 0,
        hop: visit.start,
        expected: told(&way),
        observed: match seen {
            Seen::Left(devices) => format!("left by {}", devices.join(", ")),
            Seen::Taken => "was taken by a socket".to_owned(),
            Seen::Stopped(how) => format!("was stopped: {how}"),
            Seen::Nothing => "was not seen to end here".to_owned(),
        },
        agrees: agrees.filter(|_| certain),
        doubts: way.doubts,
    })
}

fn is_packet(event: &Event) -> bool {
    !matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_) | Step::Called(_))
}

/// The headers before any rule of the namespace wrote others, and the device that
/// the packet came in by: none where it was made here.
fn door(hops: &[Event]) -> Option<(Tuple, Option<u32>)> {
    let arrived = hops
        .iter()
        .take_while(|event| !matches!(event.hop.step, Step::Queued | Step::Delivered))
        .filter(|event| event.hop.step == Step::Received)
        .last();
    if let Some(event) = arrived {
        return Some((event.hop.tuple.clone(), Some(event.hop.place.ifindex)));
    }
    let first = hops.iter().find(|event| is_packet(event)).or_else(|| hops.first())?;
    let own = first.own_socket || matches!(first.hop.step, Step::Routed(_));
    let original = first.hop.original.as_ref().filter(|_| first.translated);
    own.then(|| (original.unwrap_or(&first.hop.tuple).clone(), None))
}

/// Rules may have marked it before it was routed: the mark with which it left.
fn mark(hops: &[Event]) -> u32 {
    hops.iter().rev().find(|event| is_packet(event)).map_or(0, |event| event.mark)
}

/// TCP asks for packets not to be cut; for others only the drop tells.
fn whole(tuple: &Tuple, hops: &[Event]) -> bool {
    let too_big = |event: &Event| match &event.hop.step {
        Step::Dropped(drop) => drop.reason.as_str() == "PKT_TOO_BIG",
        _ => false,
    };
    tuple.protocol == TCP || hops.iter().any(too_big)
}

fn seen(hops: &[Event]) -> Seen {
    if hops.iter().any(|event| event.hop.step == Step::Delivered) {
        return Seen::Taken;
    }
    let stopped = hops.iter().find(|event| match &event.hop.step {
        Step::Dropped(_) | Step::ResetSent => true,
        // Redirects and answers to pings stop nothing.
        Step::IcmpSent { kind, .. } => matches!(kind, 1 | 3 | 11),
        _ => false,
    });
    if let Some(event) = stopped {
        return Seen::Stopped(match &event.hop.step {
            Step::Dropped(drop) => words::dropped(drop),
            _ => words::hop(event),
        });
    }
    let mut devices: Vec<String> = Vec::new();
    for event in hops.iter().filter(|e| matches!(e.hop.step, Step::Queued | Step::Transmitted)) {
        let device = event.hop.place.device.to_string();
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    match hops.last().map(|event| &event.hop.step) {
        _ if !devices.is_empty() => Seen::Left(devices),
        Some(Step::Routed(route)) if route.error != 0 => Seen::Stopped(words::lookup(route)),
        _ => Seen::Nothing,
    }
}

fn agrees(way: &Way, to: SocketAddr, seen: &Seen, exit: Option<SocketAddr>) -> Option<bool> {
    let target = way.decided.iter().rev().find_map(|decided| match decided {
        Decided::Translated { to, .. } => Some(*to),
        Decided::Routed { .. } => None,
    });
    let same_target = exit.is_none_or(|exit| exit == target.unwrap_or(to));
    match (&way.end, seen) {
        (_, Seen::Nothing) => None,
        (End::Stopped(_), Seen::Stopped(_)) => Some(true),
        // The socket was there then, and is not any more.
        (End::Stopped(blame), Seen::Taken) if blame.category == Category::Socket => None,
        (End::Leaves { device, .. }, Seen::Left(devices)) => {
            Some(same_target && devices.contains(device))
        }
        (End::Delivered(_) | End::Here, Seen::Taken) => Some(same_target),
        _ => Some(false),
    }
}

fn told(way: &Way) -> Vec<String> {
    let decided = way.decided.iter().map(|decided| match decided {
        Decided::Translated { from, to } => format!("the destination {from} becomes {to}"),
        Decided::Routed { rule, table, route } => format!("{route} in table {table} ({rule})"),
    });
    let end = match &way.end {
        End::Delivered(at) => format!("the socket at {at} takes it"),
        End::Here => "it is for this namespace".to_owned(),
        End::Leaves { device, next } => format!("it leaves by {device} to {next}"),
        End::Stopped(blame) => format!("it is stopped: {}", blame.object),
    };
    decided.chain([end]).collect()
}

/// The comparison for people.
pub fn text(expectations: &[Expectation], names: &dyn Names) -> String {
    let mut out = String::new();
    if expectations.is_empty() {
        return out;
    }
    out.push_str("\nExpected of routes, rules, neighbours and sockets:\n");
    for one in expectations {
        let place = names::place(names, Some(one.netns));
        let expected = one.expected.join("; ");
        let _ = match one.agrees {
            Some(true) => writeln!(out, "  {place}: {expected}. So it was."),
            Some(false) => writeln!(
                out,
                "  {place}: {expected}. FINDING: it {}; something decided that these do not show.",
                one.observed
            ),
            None => writeln!(out, "  {place}: {expected}. It {}.{}", one.observed, doubts(one)),
        };
    }
    out
}

fn doubts(one: &Expectation) -> String {
    match one.doubts.as_slice() {
        [] => String::new(),
        doubts => format!(" Not certain: {}.", doubts.join("; ")),
    }
}

#[cfg(test)]
#[path = "expect_tests.rs"]
mod tests;
