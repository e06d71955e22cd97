//! Packets that two nodes saw, and which of the two saw them first.

use std::collections::HashMap;
use std::net::SocketAddr;

use taproot_model::{Step, Timestamp};
use taproot_probes::trace::Event;

use super::clock::{Bounds, Difference};
use crate::path::{Path, Trace};

/// What tells a packet from the others at one point of its way. Where two look the same, as
/// datagrams without identification may, neither is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    source: SocketAddr,
    destination: SocketAddr,
    protocol: u8,
    ip_id: u16,
    sequence: u32,
    acknowledgement: u32,
    icmp: Option<(u8, u8)>,
    /// Where there is no identification (most datagrams have none); 0 else, as devices
    /// join and split segments.
    length: u16,
}

impl Mark {
    /// `None` of pieces, of which several look the same, and of what is not IP, whose
    /// addresses are not the hop's.
    fn of(event: &Event) -> Option<Self> {
        let (tuple, id) = (&event.hop.tuple, &event.hop.id);
        (event.fragment.is_none() && event.frame.is_none()).then_some(Self {
            length: if id.ip_id == 0 { tuple.length } else { 0 },
            source: tuple.source,
            destination: tuple.destination,
            protocol: tuple.protocol,
            ip_id: id.ip_id,
            sequence: id.sequence,
            acknowledgement: id.acknowledgement,
            icmp: tuple.icmp,
        })
    }
}

/// A packet's stay at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    first: Timestamp,
    last: Timestamp,
    /// Most and least hops that it had left to live.
    ttl: (u8, u8),
    began: bool,
    ended: bool,
}

/// Packets that a node saw once, by all the tuples that it saw them with.
pub(super) type Seen = HashMap<Mark, Option<Stay>>;

/// The packets of a node's trace. One that was seen twice (sent again) tells no order.
pub(super) fn seen(trace: &Trace) -> Seen {
    let mut out = Seen::new();
    for path in &trace.paths {
        let Some(stay) = stay(path) else { continue };
        let mut marks: Vec<Mark> = packets(path).filter_map(Mark::of).collect();
        marks.sort_unstable_by_key(|mark| (mark.source, mark.destination));
        marks.dedup();
        for mark in marks {
            out.entry(mark).and_modify(|known| *known = None).or_insert(Some(stay));
        }
    }
    out
}

fn packets(path: &Path) -> impl Iterator<Item = &Event> {
    path.hops.iter().filter(|event| {
        matches!(
            event.hop.step,
            Step::Received | Step::Queued | Step::Transmitted | Step::Delivered | Step::Dropped(_)
        )
    })
}

fn stay(path: &Path) -> Option<Stay> {
    let at = |event: &Event| event.hop.at;
    let ttl = || packets(path).map(|event| event.hop.tuple.ttl).filter(|ttl| *ttl != 0);
    Some(Stay {
        first: packets(path).map(at).min()?,
        last: packets(path).map(at).max()?,
        ttl: (ttl().max().unwrap_or(0), ttl().min().unwrap_or(0)),
        began: path.began_here(),
        ended: path.hops.iter().any(|event| event.hop.step == Step::Delivered),
    })
}

/// What the packets that both nodes saw say about their clocks. `of` corrects those of
/// the node `here`.
pub(super) fn bounds(here: &Seen, of: &Difference, there: &Seen) -> Bounds {
    let mut out = Bounds::default();
    for (mark, stay) in here {
        let (Some(here), Some(Some(there))) = (stay, there.get(mark)) else { continue };
        if precedes(here, there) {
            out.arrived(of.corrected(here.last), there.first);
        } else if precedes(there, here) {
            out.left(of.corrected(here.first), there.last);
        }
    }
    out
}

/// Whether a packet was at one node before it was at the other, for reasons that need no
/// clock: it has fewer hops left to live there, was sent here, or was taken there.
fn precedes(one: &Stay, other: &Stay) -> bool {
    if one.ttl.1 != 0 && other.ttl.0 != 0 && one.ttl.1 != other.ttl.0 {
        return one.ttl.1 > other.ttl.0;
    }
    (one.began && !other.began) || (other.ended && !one.ended)
}
