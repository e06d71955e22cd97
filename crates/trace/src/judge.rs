//! What became of the packets, and why.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use taproot_model::{Blame, Category, Drop, Frame, Name, Step};
use taproot_probes::trace::Event;

use crate::frames;
use crate::names::{self, Names};
use crate::path::{Conversation, Path, Trace};
use crate::words;

/// Looks for the thing that is at fault, where a packet did not arrive.
pub trait Oracle {
    /// The object, reason and advice for the hop where a packet ended; `None` where
    /// nothing is known beyond the kernel's reason.
    fn blame(&self, path: &Path, at: &Event) -> Option<Blame>;
}

/// Knows nothing but what the packets said.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOracle;

impl Oracle for NoOracle {
    fn blame(&self, _: &Path, _: &Event) -> Option<Blame> {
        None
    }
}

/// How packets fared, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No packet of this filter was seen.
    Nothing,
    /// What was seen went its way.
    Passed,
    /// A path has a hole: hops are missing, and with them maybe the end.
    Hole,
    /// Sent again and again, and no answer was seen; of ARP, sent at all.
    Unanswered,
    /// There is no route: nothing was sent.
    NoRoute,
    /// Dropped.
    Dropped,
}

impl Outcome {
    /// As headlines begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "NOTHING SEEN",
            Self::Passed => "PASSED",
            Self::Hole => "INCOMPLETE",
            Self::Unanswered => "UNANSWERED",
            Self::NoRoute => "NO ROUTE",
            Self::Dropped => "DROPPED",
        }
    }
}

/// What is to be said of a trace, or of the packets in it that fared alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// How they fared.
    pub outcome: Outcome,
    /// One line.
    pub headline: String,
    /// What belongs to the story and is on another packet's path.
    pub story: Vec<String>,
    /// What is at fault.
    pub blame: Option<Blame>,
    /// Index of the path that shows it.
    pub path: Option<usize>,
    /// Index of the hop within that path where it ended.
    pub hop: Option<usize>,
    /// How many packets fared so.
    pub packets: usize,
}

/// What packets that fared alike have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fate {
    outcome: Outcome,
    netns: Option<u32>,
    device: Name,
    reason: Name,
    function: Name,
}

/// Packets that fared alike.
struct Group {
    fate: Fate,
    /// The one that shows it best, the least first.
    shown: Rank,
    /// The hop where that one ended.
    hop: usize,
    packets: usize,
}

/// How badly a packet shows what became of it: how much of its story the trace missed; in
/// how many places it was seen, if it passed, and that no connection begins with it; its
/// path's index, as later ones are sent again.
type Rank = (u8, Reverse<usize>, bool, usize);

/// All verdicts, the worst and most frequent first; never empty.
pub fn judge(trace: &Trace, names: &dyn Names, oracle: &dyn Oracle) -> Vec<Verdict> {
    let teller = Teller { trace, names, oracle };
    let verdicts: Vec<Verdict> = groups(trace).iter().map(|group| teller.verdict(group)).collect();
    if verdicts.is_empty() { vec![nothing()] } else { verdicts }
}

/// The packets by how they fared, the worst and most frequent first.
fn groups(trace: &Trace) -> Vec<Group> {
    let mut groups: HashMap<Fate, Group> = HashMap::new();
    for (path, hop, fate) in all_fates(trace) {
        let rank = rank(trace, fate.outcome, path);
        let group = groups.entry(fate).or_insert_with_key(|fate| Group {
            fate: fate.clone(),
            shown: rank,
            hop,
            packets: 0,
        });
        if rank < group.shown {
            (group.shown, group.hop) = (rank, hop);
        }
        group.packets += 1;
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups
        .sort_by_key(|group| (Reverse(group.fate.outcome), Reverse(group.packets), group.shown.3));
    groups
}

fn rank(trace: &Trace, outcome: Outcome, at: usize) -> Rank {
    let (path, unseen) = (&trace.paths[at], unseen(trace, at));
    if outcome > Outcome::Passed {
        return (unseen, Reverse(0), false, at);
    }
    let places: BTreeSet<u32> =
        path.hops.iter().filter_map(|event| event.hop.place.netns).collect();
    (unseen, Reverse(places.len()), !words::is_request(path.tuple()), at)
}

/// The path that the first verdict shows, if it is of packets that did not arrive.
pub(crate) fn worst(trace: &Trace) -> Option<usize> {
    let first = groups(trace).into_iter().next()?;
    (first.fate.outcome > Outcome::Hole).then_some(first.shown.3)
}

fn nothing() -> Verdict {
    Verdict {
        outcome: Outcome::Nothing,
        headline: "no packet of this filter was seen; is there traffic, and is the filter right?"
            .to_owned(),
        story: Vec::new(),
        blame: None,
        path: None,
        hop: None,
        packets: 0,
    }
}

/// How much of a packet's story the trace missed, which may have begun in the middle
/// of it: 0 where the packet's sending was seen and, for an answer, that of the packet
/// it answers.
fn unseen(trace: &Trace, at: usize) -> u8 {
    let path = &trace.paths[at];
    let is_answer = path.dropped().is_some() && !words::is_request(path.tuple());
    match (path.began_here(), is_answer && asked(trace, path).is_none()) {
        (true, false) => 0,
        (false, false) => 1,
        (_, true) => 2,
    }
}

/// How the packet of each path fared.
pub(crate) fn outcomes(trace: &Trace) -> Vec<(usize, Outcome)> {
    all_fates(trace).into_iter().map(|(path, _, fate)| (path, fate.outcome)).collect()
}

/// Path, hop and fate of every packet.
fn all_fates(trace: &Trace) -> Vec<(usize, usize, Fate)> {
    let mut out = Vec::new();
    for conversation in trace.conversations.values() {
        let silent = is_unanswered(trace, conversation);
        for &at in &conversation.paths {
            let path = &trace.paths[at];
            let answered = !frames::answers(trace, conversation, path).is_empty();
            let (outcome, hop) = match fate_of(path, silent) {
                // Copies of it that were dropped meanwhile are no loss.
                _ if answered => (Outcome::Passed, last_packet(path)),
                (Outcome::Passed, hop) if frames::is_question(path) => (Outcome::Unanswered, hop),
                fate => fate,
            };
            let event = &path.hops[hop];
            let drop = match &event.hop.step {
                Step::Dropped(drop) if outcome == Outcome::Dropped => Some(drop),
                _ => None,
            };
            let fate = Fate {
                outcome,
                // Packets that passed are one group, wherever that was.
                netns: event.hop.place.netns.filter(|_| outcome > Outcome::Passed),
                device: if outcome > Outcome::Passed {
                    event.hop.place.device.clone()
                } else {
                    Name::default()
                },
                reason: drop.map_or_else(Name::default, |drop| drop.reason.clone()),
                function: drop.map_or_else(Name::default, |drop| drop.function.clone()),
            };
            out.push((at, hop, fate));
        }
    }
    out
}

fn fate_of(path: &Path, silent: bool) -> (Outcome, usize) {
    let last = path.hops.len() - 1;
    if let Some((at, drop)) = path.dropped()
        && !is_usual(drop)
    {
        return (Outcome::Dropped, at);
    }
    if path.hops.iter().all(|event| matches!(event.hop.step, Step::Routed(_))) {
        return (Outcome::NoRoute, last);
    }
    if silent && words::is_request(path.tuple()) {
        return (Outcome::Unanswered, last_packet(path));
    }
    match path.holes.first() {
        Some(&at) => (Outcome::Hole, at),
        None => (Outcome::Passed, last_packet(path)),
    }
}

/// The last hop that is no lookup.
fn last_packet(path: &Path) -> usize {
    let is_lookup = |event: &Event| {
        matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_) | Step::Called(_))
    };
    path.hops.iter().rposition(|event| !is_lookup(event)).unwrap_or(path.hops.len() - 1)
}

/// TCP frees a segment that it has used with no reason on some ways, and on older kernels
/// what is left in the queues of a socket that is closed.
fn is_usual(drop: &Drop) -> bool {
    let of_tcp = drop.function.starts_with("tcp_") || &*drop.function == "sk_stream_kill_queues";
    drop.reason.as_str() == "NOT_SPECIFIED" && of_tcp
}

/// A connection request was sent again, and nothing came back.
fn is_unanswered(trace: &Trace, conversation: &Conversation) -> bool {
    let paths = || conversation.paths.iter().map(|at| &trace.paths[*at]);
    let requests = paths().filter(|path| words::is_request(path.tuple())).count();
    requests > 1 && paths().all(|path| words::is_request(path.tuple()))
}

/// Where a packet was dropped that answers another one sent from there: the path
/// of the one it answers, and the hop of the drop.
fn asked<'t>(trace: &'t Trace, path: &'t Path) -> Option<(&'t Path, &'t Event)> {
    let end = &path.hops[path.dropped()?.0];
    let conversation = trace.conversations.get(&path.conversation)?;
    let paths = conversation.paths.iter().map(|at| &trace.paths[*at]);
    let asked = paths
        .take_while(|other| other.at() < path.at())
        .find(|other| other.began_here() && other.source_netns() == end.hop.place.netns)?;
    Some((asked, end))
}

struct Teller<'a> {
    trace: &'a Trace,
    names: &'a dyn Names,
    oracle: &'a dyn Oracle,
}

impl Teller<'_> {
    fn verdict(&self, group: &Group) -> Verdict {
        let Group { fate, shown: (.., path), hop, packets } = group;
        let (path, hop, packets) = (*path, *hop, *packets);
        let shown = &self.trace.paths[path];
        let event = &shown.hops[hop];
        let blame = match fate.outcome {
            Outcome::Nothing | Outcome::Passed | Outcome::Hole => None,
            // Routes and rules, which could be at fault, are IP's.
            _ if shown.frame().is_some() => None,
            _ => self.two_homes(shown).or_else(|| self.oracle.blame(shown, event)),
        };
        Verdict {
            outcome: fate.outcome,
            headline: self.headline(fate.outcome, shown, event),
            story: self.story(fate.outcome, shown),
            blame,
            path: Some(path),
            hop: Some(hop),
            packets,
        }
    }

    fn headline(&self, outcome: Outcome, path: &Path, event: &Event) -> String {
        let what = self.subject(path);
        let place = names::place(self.names, event.hop.place.netns);
        let device = &event.hop.place.device;
        let at = if device.is_empty() { String::new() } else { format!(" at {device}") };
        match (&event.hop.step, outcome) {
            (Step::Dropped(drop), Outcome::Dropped) => {
                format!("{what} was dropped in {place}{at}: {}", words::dropped(drop))
            }
            (Step::Routed(route), Outcome::NoRoute) => {
                format!("{what} was not sent in {place}: {}", words::lookup(route))
            }
            (_, Outcome::Unanswered) if path.frame().is_some() => {
                format!("{what} was not answered; last seen in {place}: it {}", words::hop(event))
            }
            (_, Outcome::Unanswered) => {
                format!(
                    "{what} was sent again without an answer; last seen in {place}: it {}",
                    words::hop(event)
                )
            }
            (_, Outcome::Hole) => {
                format!("{what}: hops before {place}{at} were not seen")
            }
            _ => {
                let answer = self.answers(path).first().map(|frame| {
                    format!(" was answered: {}", frames::says_with(frame, self.names))
                });
                let answer = answer.unwrap_or_default();
                format!("{what}{answer}; last seen in {place}: it {}", words::hop(event))
            }
        }
    }

    /// Who answered it, where it is a question of ARP's.
    fn answers(&self, path: &Path) -> Vec<&Frame> {
        let conversation = self.trace.conversations.get(&path.conversation);
        conversation.map(|c| frames::answers(self.trace, c, path)).unwrap_or_default()
    }

    /// "UDP datagram from A to B".
    fn subject(&self, path: &Path) -> String {
        if let Some(frame) = path.frame() {
            return format!("{} \"{}\"", frames::kind(frame), frames::says_with(frame, self.names));
        }
        let tuple = path.tuple();
        let (from, to) = (tuple.source, tuple.destination);
        let (from, to) = (names::end(self.names, from), names::end(self.names, to));
        format!("{} from {from} to {to}", words::packet(tuple))
    }

    /// For an answer that was dropped: how the packet that it answers left. For a question
    /// of ARP's what became of it.
    fn story(&self, outcome: Outcome, path: &Path) -> Vec<String> {
        if path.frame().is_some() {
            return frames::story(path, &self.answers(path), self.names);
        }
        let Some((asked, end)) = asked(self.trace, path).filter(|_| outcome == Outcome::Dropped)
        else {
            return Vec::new();
        };
        let Some(left) = asked.hops.iter().find(|event| event.own_socket) else {
            return Vec::new();
        };
        let (out, source) = (&left.hop.place.device, left.hop.tuple.source.ip());
        let back = match end.hop.place.device.as_str() {
            "" => String::new(),
            device if device == out.as_str() => format!("; the answer came in by {device}, too"),
            device => format!("; the answer came in by {device}"),
        };
        vec![format!(
            "It answers a {} that left {} by {out} with the source {source}{back}.",
            words::packet(&left.hop.tuple),
            names::place(self.names, end.hop.place.netns),
        )]
    }

    /// A machine with two homes: the request left by one device under the address of
    /// another, where the answer is refused. The route of the request is at fault,
    /// not the check that refused the answer.
    fn two_homes(&self, path: &Path) -> Option<Blame> {
        let (_, drop) = path.dropped().filter(|(_, drop)| drop.reason.as_str() == "IP_RPFILTER")?;
        let (asked, end) = asked(self.trace, path)?;
        let left = asked.hops.iter().find(|event| event.own_socket)?;
        let (out, back) = (&left.hop.place.device, &end.hop.place.device);
        if out == back {
            return None;
        }
        let source = left.hop.tuple.source.ip();
        let route = asked.hops.iter().find_map(|event| match &event.hop.step {
            Step::Routed(route) if route.error == 0 && route.device == *out => Some(route),
            _ => None,
        });
        let to = left.hop.tuple.destination.ip();
        let via = route.and_then(|route| route.gateway);
        let via = via.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        Some(Blame {
            category: Category::Routing,
            object: format!("route to {to}{via} dev {out}, used with the source {source}"),
            because: format!(
                "Requests to {to} leave by {out} under the address {source}, which belongs to \
                 {back}. The answers come in by {back}, where the reverse path filter refuses \
                 them ({}), because the way back to {to} leads out of {out}.",
                drop.reason
            ),
            advice: format!(
                "Let them leave by {back} (ip rule add from {source} table 100; ip route add \
                 default dev {back} table 100), or send them from an address of {out}: take \
                 `src {source}` out of the route."
            ),
            proved: route.is_some(),
        })
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
