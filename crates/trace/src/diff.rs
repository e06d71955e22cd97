//! A flow that works beside one that does not: the first point where they part.
//!
//! Two flows have different ends, so their hops are compared by the part that they
//! play: step, order of the namespaces, decision; and devices where both flows are
//! in one namespace and come from, or go to, the same one.

use std::fmt;

use serde::Serialize;
use taproot_model::{Route, Step};
use taproot_probes::trace::Event;

use crate::frames;
use crate::judge::{Outcome, outcomes, worst};
use crate::names::{self, Names};
use crate::path::{Conversation, Path, Trace};
use crate::words;

/// One of the two flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Index of the path on which they part.
    pub path: usize,
    /// Index of its hop there; none where nothing more was seen of it.
    pub hop: Option<usize>,
}

/// Where two flows part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The flow that works.
    pub works: Side,
    /// The flow that does not.
    pub fails: Side,
    /// How many points of their ways are the same before.
    pub together: usize,
}

/// Why there is nothing to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// No flow failed.
    NoneFails,
    /// No flow of the same kind worked.
    NoneWorks,
    /// They went the same way, as far as was seen.
    NoParting,
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoneFails => "no flow of this filter failed",
            Self::NoneWorks => {
                "no flow of this filter worked: widen the filter so that it takes one in as well"
            }
            Self::NoParting => "the two flows went the same way as far as was seen",
        })
    }
}

/// A point of a packet's way that can be compared.
struct Point<'a> {
    hop: usize,
    event: &'a Event,
    /// Number of its namespace among those on the way.
    role: usize,
    /// The namespaces on the way before and after its own.
    before: Option<u32>,
    after: Option<u32>,
    /// Whether another destination was written since the point before.
    translated: bool,
}

/// Takes the flow that the first verdict shows, and finds that working one which goes with
/// it the longest.
///
/// # Errors
/// Says what is missing for a comparison.
pub fn diff(trace: &Trace) -> Result<Diff, Nothing> {
    let outcomes = outcomes(trace);
    let fails = |outcome: Outcome| outcome > Outcome::Hole;
    let worst = worst(trace).ok_or(Nothing::NoneFails)?;
    let failed = |conversation: &Conversation| {
        conversation.paths.iter().any(|at| outcomes.iter().any(|(p, o)| p == at && fails(*o)))
    };
    let working = trace.conversations.values().filter(|conversation| !failed(conversation));
    let best = |one: Result<Diff, Nothing>, other: Result<Diff, Nothing>| match (one, other) {
        (Ok(one), Ok(other)) if other.together > one.together => Ok(other),
        (Err(Nothing::NoneWorks), other) => other,
        (Err(_), Ok(other)) => Ok(other),
        (one, _) => one,
    };
    working
        .map(|conversation| beside(trace, worst, conversation))
        .fold(Err(Nothing::NoneWorks), best)
}

/// Compares packet by packet, from the first of the conversation to the one that
/// failed.
fn beside(trace: &Trace, worst: usize, other: &Conversation) -> Result<Diff, Nothing> {
    let number = trace.paths[worst].conversation;
    let own = trace.conversations.get(&number).ok_or(Nothing::NoneFails)?;
    let mut together = 0;
    let mut seen: Vec<Kind> = Vec::new();
    let mut compared = None;
    for &at in own.paths.iter().filter(|at| **at <= worst) {
        let kind = kind(own, &trace.paths[at]);
        if seen.contains(&kind) && at != worst {
            continue;
        }
        let alike =
            other.paths.iter().copied().find(|at| kind.fits(&self::kind(other, &trace.paths[*at])));
        seen.push(kind);
        let Some(with) = alike else { continue };
        if let Some(diff) = part(trace, with, at, &mut together) {
            return Ok(diff);
        }
        compared = Some((with, at));
    }
    let (with, at) = compared.ok_or(Nothing::NoneWorks)?;
    // The same way so far; but the one that works has an answer.
    let answer = other.paths.iter().copied().find(|next| *next > with).filter(|next| {
        let kind = kind(other, &trace.paths[*next]);
        !seen.iter().any(|known| known.fits(&kind))
    });
    let part = |answer| Diff {
        works: Side { path: answer, hop: Some(0) },
        fails: Side { path: at, hop: None },
        together,
    };
    answer.map(part).ok_or(Nothing::NoParting)
}

/// What sort of packet a path is of, and whether it goes the way of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    forth: bool,
    /// None for a lookup that no packet came of.
    packet: Option<String>,
}

impl Kind {
    fn fits(&self, other: &Self) -> bool {
        self.forth == other.forth && (self.packet.is_none() || self.packet == other.packet)
    }
}

fn kind(conversation: &Conversation, path: &Path) -> Kind {
    let tuple = path.tuple();
    let is_lookup = |event: &Event| matches!(event.hop.step, Step::Routed(_));
    let sort = || path.frame().map_or_else(|| words::packet(tuple), frames::kind);
    Kind {
        forth: tuple.source.ip() == conversation.tuple.source.ip(),
        packet: (!path.hops.iter().all(is_lookup)).then(sort),
    }
}

/// Where two packets part; adds the points that they share to `together`.
fn part(trace: &Trace, works: usize, fails: usize, together: &mut usize) -> Option<Diff> {
    let (good, bad) = (points(&trace.paths[works]), points(&trace.paths[fails]));
    let (mut goods, mut bads) = (good.iter().peekable(), bad.iter().peekable());
    loop {
        match (goods.peek(), bads.peek()) {
            (None, None) => return None,
            (Some(a), Some(b)) if is_same(a, b) => {
                goods.next();
                bads.next();
                *together += 1;
            }
            (Some(a), b) if is_lone_lookup(a, b.copied()) => drop(goods.next()),
            (a, Some(b)) if is_lone_lookup(b, a.copied()) => drop(bads.next()),
            (a, b) => {
                let side =
                    |path, point: Option<&&Point<'_>>| Side { path, hop: point.map(|p| p.hop) };
                let (works, fails) = (side(works, a), side(fails, b));
                return Some(Diff { works, fails, together: *together });
            }
        }
    }
}

/// Whether one packet's way was found in the routes where nothing is known of the other's:
/// a socket keeps what it looked up before, and a lookup of a system call, which comes
/// before there is a packet, may have been seen for another one. Where it leads to is seen
/// at the next point; a lookup that failed has no next one.
fn is_lone_lookup(point: &Point<'_>, other: Option<&Point<'_>>) -> bool {
    let looked_up = |point: &Point<'_>| match &point.event.hop.step {
        Step::Routed(route) => Some(route.error),
        _ => None,
    };
    looked_up(point) == Some(0) && other.and_then(looked_up).is_none()
}

fn points(path: &Path) -> Vec<Point<'_>> {
    let mut roles: Vec<Option<u32>> = Vec::new();
    let mut out: Vec<Point<'_>> = Vec::new();
    let mut destination = None;
    for (hop, event) in path.hops.iter().enumerate().filter(|(at, _)| is_point(path, *at)) {
        let netns = event.hop.place.netns;
        let role = roles.iter().position(|known| *known == netns).unwrap_or_else(|| {
            roles.push(netns);
            roles.len() - 1
        });
        let is_lookup = matches!(event.hop.step, Step::Routed(_));
        let now = event.hop.tuple.destination;
        let translated = !is_lookup && destination.is_some_and(|before| before != now);
        if !is_lookup {
            destination = Some(now);
        }
        let elsewhere = |event: &&Event| event.hop.place.netns != netns;
        let before = path.hops[..hop].iter().rev().find(elsewhere);
        let after = path.hops[hop..].iter().find(elsewhere);
        out.push(Point {
            hop,
            event,
            role,
            before: before.and_then(|event| event.hop.place.netns),
            after: after.and_then(|event| event.hop.place.netns),
            translated,
        });
    }
    out
}

/// Whether a hop says something about the way, not about the moment: neighbours are
/// asked for once, and a lookup may try several tables.
fn is_point(path: &Path, at: usize) -> bool {
    let hop = &path.hops[at].hop;
    match &hop.step {
        Step::Neighbour(_) => at + 1 == path.hops.len(),
        // They are there on one kernel and not on another.
        Step::Called(_) => false,
        Step::Transmitted => !path.hops[..at]
            .iter()
            .rev()
            .take(3)
            .any(|before| before.hop.step == Step::Queued && before.hop.place == hop.place),
        // A system call asks several times before it sends.
        Step::Routed(route) => {
            let decided = |route: &Route| (route.table, route.device.clone(), route.gateway);
            !path.hops.get(at + 1).is_some_and(|next| match &next.hop.step {
                Step::Routed(other) => {
                    other.destination == route.destination
                        && (route.error != 0 || decided(other) == decided(route))
                }
                _ => false,
            })
        }
        _ => true,
    }
}

fn is_same(a: &Point<'_>, b: &Point<'_>) -> bool {
    let (one, other) = (&a.event.hop, &b.event.hop);
    if a.role != b.role || a.translated != b.translated {
        return false;
    }
    // Other places on the way explain other devices.
    let differ = |x: Option<u32>, y: Option<u32>| x.is_some() && y.is_some() && x != y;
    let elsewhere = one.place.netns != other.place.netns
        || match one.step {
            Step::Received => differ(a.before, b.before),
            _ => differ(a.after, b.after),
        };
    match (&one.step, &other.step) {
        (Step::Routed(x), Step::Routed(y)) => {
            (x.error, x.table) == (y.error, y.table)
                && (elsewhere || (&x.device, x.gateway) == (&y.device, y.gateway))
        }
        (Step::Dropped(x), Step::Dropped(y)) => x == y,
        (x, y) => {
            std::mem::discriminant(x) == std::mem::discriminant(y)
                && (elsewhere || one.place.device == other.place.device)
        }
    }
}

/// The comparison for people.
pub fn text(trace: &Trace, diff: &Result<Diff, Nothing>, names: &dyn Names) -> String {
    let diff = match diff {
        Ok(diff) => diff,
        Err(why) => return format!("DIFF  nothing to compare: {why}\n"),
    };
    let (works, fails) = (&trace.paths[diff.works.path], &trace.paths[diff.fails.path]);
    let ends = |path: &Path| {
        let conversation = trace.conversations.get(&path.conversation);
        let tuple = conversation.map_or_else(|| path.tuple(), |found| &found.tuple);
        format!("{} -> {}", names::end(names, tuple.source), names::end(names, tuple.destination))
    };
    let mut out = format!(
        "DIFF  {} works, {} does not: they part after {} points\n",
        ends(works),
        ends(fails),
        diff.together
    );
    let common = diff.fails.hop.unwrap_or(fails.hops.len()).checked_sub(1);
    let line = |word: &str, text: String| format!("  {word:<6}  {text}\n");
    let marks = diff.works.hop.map(|at| works.hops[at].mark)
        != diff.fails.hop.map(|at| fails.hops[at].mark);
    if let Some(event) = common.and_then(|at| fails.hops.get(at)) {
        out.push_str(&line("both", place_and_words(event, names, false)));
    }
    for (word, side, path) in [("works", diff.works, works), ("fails", diff.fails, fails)] {
        out.push_str(&line(
            word,
            match side.hop {
                Some(at) => place_and_words(&path.hops[at], names, marks),
                None => "nothing more was seen of it".to_owned(),
            },
        ));
    }
    out
}

fn place_and_words(event: &Event, names: &dyn Names, marked: bool) -> String {
    let tuple = &event.hop.tuple;
    let mark = match event.mark {
        mark if marked && mark != 0 => format!(", mark {mark:#x}"),
        _ => String::new(),
    };
    let ends = match event.hop.step {
        Step::Routed(_) | Step::Neighbour(_) => String::new(),
        _ => format!("  {} -> {}", tuple.source, tuple.destination),
    };
    let place = names::place(names, event.hop.place.netns);
    format!("{place}: {}{mark}{ends}", words::hop(event))
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
