//! What a question of [`locate`](super::locate) stands on.

use std::collections::{BTreeSet, HashMap};

/// Place of an entity in [`Observed::entities`].
pub type Entity = usize;

/// A series of an entity. Times in seconds, of any origin; they need not be even.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Whose.
    pub entity: Entity,
    /// Name of the metric, in any convention; see [`Aspect::of`](super::Aspect::of).
    pub metric: String,
    /// Time and value. Values that are not finite are left out, points of equal
    /// time are all kept, the order does not matter.
    pub points: Vec<(f64, f64)>,
}

/// Somebody calls somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Who calls.
    pub caller: Entity,
    /// Who is called.
    pub callee: Entity,
}

/// How long calls over a link take, as each end tells; times as in [`Series`], values
/// in seconds.
#[derive(Clone, Debug)]
pub struct Link {
    /// Who calls whom.
    pub call: Call,
    /// What the caller waits, typically.
    pub waited: Vec<(f64, f64)>,
    /// What the callee works, typically.
    pub worked: Vec<(f64, f64)>,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Who worked.
    pub entity: Entity,
    /// Tells it apart; spans of one trace point at each other with it.
    pub id: u64,
    /// The span that caused it; `None` for the root.
    pub parent: Option<u64>,
    /// Tells operations of an entity apart.
    pub operation: u32,
    /// Beginning, in seconds.
    pub start: f64,
    /// Duration, in seconds.
    pub duration: f64,
}

/// A line of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Who wrote it.
    pub entity: Entity,
    /// When, in seconds.
    pub at: f64,
    /// What it belongs to (a request, a span, a thread): lines of one flow follow
    /// one another. Zero where nothing tells.
    pub flow: u64,
    /// Place of its template in [`Observed::templates`].
    pub template: u32,
}

/// What another system noticed of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Of whom; of a call, who calls.
    pub entity: Entity,
    /// What.
    pub what: What,
}

/// What can be noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A metric left its range.
    Metric {
        /// Its name, in any convention.
        name: String,
        /// Upwards, or else downwards.
        up: bool,
    },
    /// A line that is not usual.
    Log {
        /// Its template; replicas write lines of the same templates.
        template: String,
    },
    /// Calls that are slow or fail.
    Call {
        /// Who is called; the caller itself for work of its own.
        callee: Entity,
        /// For what, without the callee's address.
        operation: String,
        /// They fail, or else are slow.
        failed: bool,
    },
}

/// All that was observed. Whatever is missing is left empty.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Names of the entities: services, pods, instances.
    pub entities: Vec<String>,
    /// Those of them that are nobody of ours: they call, and are not blamed.
    pub outsiders: BTreeSet<Entity>,
    /// Their series.
    pub series: Vec<Series>,
    /// The call graph; what spans show is added to it.
    pub calls: Vec<Call>,
    /// Latency at both ends of links.
    pub links: Vec<Link>,
    /// Spans, in any order.
    pub spans: Vec<Span>,
    /// Lines of logs, in any order.
    pub lines: Vec<Line>,
    /// Texts of the templates of those lines.
    pub templates: Vec<String>,
    /// What other systems noticed now. Metrics, logs and calls each in the order in which they
    /// were raised, where that is known; where not, all of an entity together.
    pub notices: Vec<Notice>,
    /// What they noticed in earlier episodes, whatever those were about.
    pub earlier: Vec<Vec<Notice>>,
}

impl Observed {
    /// The place of an entity, made if it is new.
    pub fn entity(&mut self, name: &str) -> Entity {
        self.entities.iter().position(|known| known == name).unwrap_or_else(|| {
            self.entities.push(name.to_owned());
            self.entities.len() - 1
        })
    }

    /// The span that caused each span.
    pub(super) fn parents(&self) -> HashMap<u64, u64> {
        self.spans.iter().filter_map(|span| Some((span.id, span.parent?))).collect()
    }

    /// The call graph: what is given and what spans show, each call once.
    pub(super) fn graph(&self) -> Vec<Call> {
        let owners: HashMap<u64, Entity> = self.spans.iter().map(|s| (s.id, s.entity)).collect();
        let shown = self.spans.iter().filter_map(|span| {
            let caller = *owners.get(&span.parent?)?;
            (caller != span.entity).then_some(Call { caller, callee: span.entity })
        });
        let all: BTreeSet<Call> = self.calls.iter().copied().chain(shown).collect();
        all.into_iter().collect()
    }
}

/// Who complained, of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Who.
    pub entity: Entity,
    /// Of what.
    pub aspect: super::Aspect,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question {
    /// The alarm, where there was one. Without a significant shift of what it
    /// complains of, the answer is that nothing is wrong.
    pub alarm: Option<Alarm>,
    /// What is asked about, as first and last time; all before it is the past. Without
    /// it, the first part of all that was observed is taken as the past.
    pub window: Option<(f64, f64)>,
    /// About when the trouble was noticed, in the time of the series; the
    /// beginning is looked for around it, and before it rather than after.
    pub noticed: Option<f64>,
}
