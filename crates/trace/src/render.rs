//! A trace for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use taproot_model::{Hop, Step, Timestamp, Tuple};
use taproot_probes::trace::{Account, Event};

use crate::diff::{self, Diff};
use crate::expect::{self, Expectation};
use crate::frames::{self, FrameLine};
use crate::judge::{Outcome, Verdict};
use crate::names::{self, Names};
use crate::path::{Path, Trace};
use crate::words;

/// Version of the JSON lines.
pub const SCHEMA_VERSION: u32 = 1;
/// Hops that a person is shown unless all are asked for.
const MOST_LINES: usize = 12;

/// One line of a path.
struct Line {
    at: u64,
    place: String,
    text: String,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Every hop of the path shown.
    pub all_hops: bool,
    /// The longer story: reasons in full, and every other verdict.
    pub explain: bool,
}

/// What is told beside the verdicts, on request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The expected way of the first verdict's packet.
    pub expected: &'a [Expectation],
    /// A flow that works and one that does not.
    pub diff: Option<&'a Result<Diff, diff::Nothing>>,
}

/// One verdict with the path that shows it, and what else there was in a line.
pub fn text(
    trace: &Trace,
    verdicts: &[Verdict],
    names: &dyn Names,
    style: Style,
    beside: Beside<'_>,
) -> String {
    let mut out = String::new();
    let Some((first, others)) = verdicts.split_first() else { return out };
    verdict(&mut out, first);
    if let Some(path) = first.path.and_then(|at| trace.paths.get(at)) {
        out.push('\n');
        hops(&mut out, path, names, style);
    }
    out.push_str(&expect::text(beside.expected, names));
    if let Some(compared) = beside.diff {
        out.push('\n');
        out.push_str(&diff::text(trace, compared, names));
    }
    if style.explain && !others.is_empty() {
        out.push_str("\nAlso seen:\n");
        for other in others {
            let _ = writeln!(
                out,
                "  {:>5} x {} {}",
                other.packets,
                other.outcome.as_str(),
                other.headline
            );
        }
    }
    out.push('\n');
    summary(&mut out, trace, others.len(), style);
    out
}

fn verdict(out: &mut String, verdict: &Verdict) {
    let _ = writeln!(out, "{}  {}", verdict.outcome.as_str(), verdict.headline);
    for line in &verdict.story {
        let _ = writeln!(out, "  {line}");
    }
    let Some(blame) = &verdict.blame else { return };
    if !blame.object.is_empty() {
        let how = if blame.proved { "" } else { " (inferred)" };
        let _ = writeln!(out, "  object  {}{how}", blame.object);
    }
    let _ = writeln!(out, "  why     {}", blame.because);
    let _ = writeln!(out, "  fix     {}", blame.advice);
}

fn hops(out: &mut String, path: &Path, names: &dyn Names, style: Style) {
    let lines = lines(path, names, style.all_hops);
    let width = lines.iter().map(|line| line.place.chars().count()).max().unwrap_or(0);
    let mut before = lines.first().map_or(0, |line| line.at);
    let hidden = if style.all_hops { 0 } else { lines.len().saturating_sub(MOST_LINES) };
    let gap = if hidden == 0 { None } else { Some(MOST_LINES / 2..MOST_LINES / 2 + hidden + 1) };
    for (at, line) in lines.iter().enumerate() {
        if let Some(gap) = &gap
            && gap.contains(&at)
        {
            if at == gap.start {
                let _ = writeln!(out, "             ... {} more hops (--all-hops)", hidden + 1);
            }
            before = line.at;
            continue;
        }
        let since = line.at.saturating_sub(before) as f64 / 1e6;
        let _ = writeln!(out, "  +{since:>8.3} ms  {:<width$}  {}", line.place, line.text);
        before = line.at;
    }
}

/// The hops worth a line; with `all`, every one.
fn lines(path: &Path, names: &dyn Names, all: bool) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let mut ends: Option<String> = None;
    for (at, event) in path.hops.iter().enumerate() {
        if !all && is_detail(path, at) {
            continue;
        }
        let mut text = words::hop(event);
        if path.holes.contains(&at) {
            text.push_str("  [hops before this one were not seen]");
        }
        if !matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_)) {
            let now = ends_of(event);
            if ends.as_ref() != Some(&now) {
                let _ = write!(text, "  {now}");
            }
            ends = Some(now);
        }
        let place = names::place(names, event.hop.place.netns);
        let line = Line { at: event.hop.at.0, place, text };
        let repeated = out.last().is_some_and(|l| l.text == line.text && l.place == line.place);
        if all || !repeated {
            out.push(line);
        }
    }
    out
}

/// From where to where; of what is not IP what it says.
fn ends_of(event: &Event) -> String {
    let tuple = &event.hop.tuple;
    match &event.frame {
        Some(frame) => frames::says(frame),
        None => format!("{} -> {}", tuple.source, tuple.destination),
    }
}

/// What says nothing that the lines around it do not say.
fn is_detail(path: &Path, at: usize) -> bool {
    let event = &path.hops[at];
    let next = path.hops.get(at + 1);
    match &event.hop.step {
        // The queue was passed at once.
        Step::Transmitted => {
            path.hops[..at].iter().rev().take(3).any(|before| {
                before.hop.step == Step::Queued && before.hop.place == event.hop.place
            })
        }
        Step::Routed(route) => {
            let ends_here = next.is_none_or(|next| matches!(next.hop.step, Step::Dropped(_)));
            let onward = packet_after(path, at).is_some_and(|hop| {
                hop.tuple.destination.ip() == route.destination && hop.step == Step::Queued
            });
            !ends_here && (route.error != 0 || !onward)
        }
        Step::Neighbour(_) => next.is_some_and(|next| next.hop.step == Step::Queued),
        // What refuses, or changes the packet, is worth a line.
        Step::Called(call) => {
            call.meaning.as_str() != "drop" && call.function.as_str() != "nf_nat_manip_pkt"
        }
        _ => false,
    }
}

/// The next hop of the packet itself.
fn packet_after(path: &Path, at: usize) -> Option<&Hop> {
    let is_packet = |event: &&Event| {
        !matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_) | Step::Called(_))
    };
    path.hops[at + 1..].iter().find(is_packet).map(|event| &event.hop)
}

fn summary(out: &mut String, trace: &Trace, others: usize, style: Style) {
    let hops: usize = trace.paths.iter().map(|path| path.hops.len()).sum();
    let _ = write!(
        out,
        "{} packets of {} conversations, {hops} hops",
        trace.paths.len(),
        trace.conversations.len(),
    );
    if others > 0 && !style.explain {
        let _ = write!(out, "; {others} other outcomes (--explain)");
    }
    out.push_str(&losses(&trace.account));
    out.push('\n');
}

/// What is known to be missing, in words.
fn losses(account: &Account) -> String {
    if account.is_whole() {
        return "; no hop was lost".to_owned();
    }
    let parts = [
        (account.ring_full, "hops lost, the ring was full (--ring)"),
        (account.over_budget, "hops left out by the budget (--budget)"),
        (account.interrupted, "hooks skipped in interrupts"),
        (account.legs_full, "translations not remembered"),
    ];
    let mut out = String::new();
    for (count, what) in parts.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(out, "; {count} {what}");
    }
    if let Some((first, last)) = account.over {
        let seconds = last.since(first).as_secs_f64();
        let _ = write!(out, ", within {seconds:.1} s from {}", first.clock());
    }
    let tiers = [(account.every_until, "every function"), (account.functions_until, "functions")];
    for (until, what) in tiers {
        if let Some(at) = until {
            let _ = write!(out, "; hooks on {what} were taken off at {} for it", at.clock());
        }
    }
    out
}

/// One JSON line: a path.
#[derive(Serialize)]
struct PathLine<'a> {
    schema_version: u32,
    kind: &'static str,
    path: usize,
    conversation: usize,
    hops: Vec<HopLine<'a>>,
    holes: &'a [usize],
}

#[derive(Serialize)]
struct HopLine<'a> {
    #[serde(flatten)]
    hop: &'a Hop,
    /// Who owns the namespace.
    owner: Option<String>,
    outer: Option<&'a Tuple>,
    followed: bool,
    own_socket: bool,
    cpu: u32,
    mark: u32,
    frame: Option<FrameLine>,
    words: String,
}

#[derive(Serialize)]
struct VerdictLine<'a> {
    schema_version: u32,
    kind: &'static str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

#[derive(Serialize)]
struct ExpectedLine<'a> {
    schema_version: u32,
    kind: &'static str,
    owner: Option<String>,
    #[serde(flatten)]
    expectation: &'a Expectation,
}

#[derive(Serialize)]
struct DiffLine<'a> {
    schema_version: u32,
    kind: &'static str,
    #[serde(flatten)]
    parting: Option<&'a Diff>,
    /// Why there is none.
    nothing: Option<String>,
}

#[derive(Serialize)]
struct SummaryLine {
    schema_version: u32,
    kind: &'static str,
    packets: usize,
    conversations: usize,
    worst: Outcome,
    produced: u64,
    delivered: u64,
    ring_full: u64,
    over_budget: u64,
    /// When the budget was first kept, and when last; nanoseconds since the epoch.
    over_from: Option<Timestamp>,
    over_to: Option<Timestamp>,
    interrupted: u64,
    legs_full: u64,
    /// When the budget had tiers of hooks taken off, nanoseconds since the epoch.
    every_until: Option<Timestamp>,
    functions_until: Option<Timestamp>,
}

/// JSON, an object a line: every path, every verdict, what is beside, one summary.
///
/// # Errors
/// When something cannot be written as JSON, which is a mistake of this program.
pub fn json_lines(
    trace: &Trace,
    verdicts: &[Verdict],
    names: &dyn Names,
    beside: Beside<'_>,
) -> serde_json::Result<String> {
    let mut out = String::new();
    for (number, path) in trace.paths.iter().enumerate() {
        let line = PathLine {
            schema_version: SCHEMA_VERSION,
            kind: "path",
            path: number,
            conversation: path.conversation,
            hops: path.hops.iter().map(|event| hop_line(event, names)).collect(),
            holes: &path.holes,
        };
        out.push_str(&serde_json::to_string(&line)?);
        out.push('\n');
    }
    for verdict in verdicts {
        let line = VerdictLine { schema_version: SCHEMA_VERSION, kind: "verdict", verdict };
        out.push_str(&serde_json::to_string(&line)?);
        out.push('\n');
    }
    beside_lines(&mut out, names, beside)?;
    let account = &trace.account;
    let line = SummaryLine {
        schema_version: SCHEMA_VERSION,
        kind: "summary",
        packets: trace.paths.len(),
        conversations: trace.conversations.len(),
        worst: verdicts.first().map_or(Outcome::Nothing, |verdict| verdict.outcome),
        produced: account.produced,
        delivered: account.delivered,
        ring_full: account.ring_full,
        over_budget: account.over_budget,
        over_from: account.over.map(|(from, _)| from),
        over_to: account.over.map(|(_, to)| to),
        interrupted: account.interrupted,
        legs_full: account.legs_full,
        every_until: account.every_until,
        functions_until: account.functions_until,
    };
    out.push_str(&serde_json::to_string(&line)?);
    out.push('\n');
    Ok(out)
}

fn beside_lines(out: &mut String, names: &dyn Names, beside: Beside<'_>) -> serde_json::Result<()> {
    for expectation in beside.expected {
        let owner = names.place(expectation.netns);
        let kind = "expected";
        let line = ExpectedLine { schema_version: SCHEMA_VERSION, kind, owner, expectation };
        out.push_str(&serde_json::to_string(&line)?);
        out.push('\n');
    }
    if let Some(compared) = beside.diff {
        let line = DiffLine {
            schema_version: SCHEMA_VERSION,
            kind: "diff",
            parting: compared.as_ref().ok(),
            nothing: compared.as_ref().err().map(ToString::to_string),
        };
        out.push_str(&serde_json::to_string(&line)?);
        out.push('\n');
    }
    Ok(())
}

fn hop_line<'a>(event: &'a Event, names: &dyn Names) -> HopLine<'a> {
    HopLine {
        hop: &event.hop,
        owner: event.hop.place.netns.and_then(|netns| names.place(netns)),
        outer: event.outer.as_ref(),
        followed: event.followed,
        own_socket: event.own_socket,
        cpu: event.cpu,
        mark: event.mark,
        frame: event.frame.as_ref().map(FrameLine::of),
        words: words::told(event),
    }
}
