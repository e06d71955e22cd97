//! What packets themselves tell of a link: a trace, made by others, as evidence.

use crate::evidence::{Evidence, Link};
use crate::fault::Class;
use crate::place::Place;
use crate::report::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use taproot_model::{Blame, Entity, MetricKind, Name, Span};
use taproot_world::{
    EdgeKey, FlowTotals, Happenings, Observer, RequestKey, RequestTotals, Series, SeriesKey,
};

/// Links worth a trace of their own.
const MOST: usize = 2;

/// A link whose packets were to be traced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traced {
    /// One of its connections.
    #[serde(skip)]
    pub edge: EdgeKey,
    /// Calling service.
    pub client: Name,
    /// Called service.
    pub server: Name,
    /// What came of it.
    #[serde(flatten)]
    pub seen: Seen,
}

/// What came of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Seen {
    /// Packets were followed.
    Traced(Told),
    /// They could not be.
    NotTraced {
        /// Why not, and what to do about it.
        why: String,
    },
}

/// What a trace says of the packets that fared worst.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// How they fared.
    pub fate: Fate,
    /// In one sentence.
    pub headline: String,
    /// What else belongs to the story.
    pub story: Vec<String>,
    /// The kernel's reason for a drop (`IP_RPFILTER`); empty where it gave none.
    pub reason: Name,
    /// What is at fault, if it was found.
    pub blame: Option<Blame>,
    /// Packets that fared so.
    pub packets: u64,
    /// Packets followed in all.
    pub followed: u64,
    /// Steps of packets that are known to be missing.
    pub lost: u64,
    /// How long was looked, seconds.
    pub seconds: f64,
}

/// How packets fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// There were none.
    Nothing,
    /// They went their way, as far as they were seen.
    Passed,
    /// Steps were missed, and with them maybe the end.
    Hole,
    /// Sent again and again without an answer.
    Unanswered,
    /// There was no route for them.
    NoRoute,
    /// Dropped.
    Dropped,
}

impl Fate {
    /// Whether they did not arrive.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Unanswered | Self::NoRoute | Self::Dropped)
    }
}

/// The links of a report whose packets may tell more: where a cause of the network family
/// sits, or where the way ends and nothing explains it. At most two, the likeliest first.
pub fn to_trace(evidence: &dyn Evidence, report: &Report) -> Vec<Link> {
    let all = evidence.links();
    let trouble = |link: &Link| {
        let flow = evidence.flow(&link.key, Observer::Client, report.span);
        flow.failed() + flow.syn_retransmits + flow.retransmits + flow.dropped()
    };
    let mut out: Vec<Link> = Vec::new();
    for place in places(report) {
        let mut here: Vec<(u64, &Link)> =
            all.iter().filter(|link| concerns(&place, link)).map(|l| (trouble(l), l)).collect();
        here.sort_by_key(|(trouble, _)| std::cmp::Reverse(*trouble));
        // Of all that a service calls, the link that has no trouble is not the one.
        let is_link = matches!(place, Place::Link { .. });
        for (_, link) in here.into_iter().filter(|(trouble, _)| is_link || *trouble > 0) {
            if !out.iter().any(|known| known.key == link.key) {
                out.push(link.clone());
            }
        }
    }
    out.truncate(MOST);
    out
}

/// Where to look: at the verdict, at what else fits, at the end of an unexplained way.
fn places(report: &Report) -> Vec<Place> {
    let mut out = Vec::new();
    let verdict = &report.verdict;
    if verdict.class.is_of_packets() || verdict.class == Class::Unknown {
        out.extend(verdict.place.clone());
    }
    let others = report.alternatives.iter().filter(|other| other.class.is_of_packets());
    out.extend(others.map(|other| other.place.clone()));
    out
}

fn concerns(place: &Place, link: &Link) -> bool {
    match place {
        Place::Link { edge, .. } => link.key == *edge,
        Place::Entity { id, .. } => link.key.server == *id || link.key.client == *id,
        Place::Service { service } => link.server == *service || link.client == *service,
    }
}

/// Evidence, and what traces of packets add to it.
pub struct WithTraces<'a> {
    evidence: &'a dyn Evidence,
    traces: Vec<Traced>,
}

impl<'a> WithTraces<'a> {
    /// Puts `traces` beside what `evidence` answers.
    pub fn new(evidence: &'a dyn Evidence, traces: Vec<Traced>) -> Self {
        Self { evidence, traces }
    }
}

impl Evidence for WithTraces<'_> {
    fn span(&self) -> Span {
        self.evidence.span()
    }

    fn resolution(&self) -> Duration {
        self.evidence.resolution()
    }

    fn entities(&self) -> Vec<Entity> {
        self.evidence.entities()
    }

    fn links(&self) -> Vec<Link> {
        self.evidence.links()
    }

    fn flow(&self, edge: &EdgeKey, observer: Observer, span: Span) -> FlowTotals {
        self.evidence.flow(edge, observer, span)
    }

    fn requests(
        &self,
        edge: &EdgeKey,
        observer: Observer,
        span: Span,
    ) -> BTreeMap<RequestKey, RequestTotals> {
        self.evidence.requests(edge, observer, span)
    }

    fn metric_keys(&self, entity: &str) -> Vec<(SeriesKey, MetricKind)> {
        self.evidence.metric_keys(entity)
    }

    fn metric(&self, entity: &str, key: &SeriesKey, span: Span) -> Option<Series> {
        self.evidence.metric(entity, key, span)
    }

    fn happenings(&self, span: Span) -> Happenings {
        self.evidence.happenings(span)
    }

    fn dropped(&self) -> BTreeMap<Name, u64> {
        self.evidence.dropped()
    }

    fn traces(&self) -> Vec<Traced> {
        self.traces.clone()
    }
}
