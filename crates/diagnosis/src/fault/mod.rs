//! The fault tree: one file a family, one function a class.
//!
//! A function looks at every place where its class could be and returns a
//! [`Finding`] for each where the necessary leaves hold. A [`Leaf`] is one
//! figure read from a signal, with how far it alone proves the class; leaves
//! combine as independent evidence, and refuters shrink the result. What makes a
//! class visible is necessary; what makes it this class and not its neighbour is
//! in the weights.

mod application;
mod changed;
mod checked;
mod class;
mod counters;
mod failing;
mod made;
mod naming;
mod network;
mod packets;
mod queues;
mod refusal;
mod resource;
mod routing;
mod standstill;
mod starvation;
mod storage;
mod table;
mod traced;

pub use class::{Class, Family};

pub(crate) use application::slow_downstream;
pub(crate) use checked::checked;
pub(crate) use failing::failing;

use crate::place::Place;
use crate::scene::{Scene, Windows};
use crate::stats;
use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::{EntityId, Timestamp};

/// One figure that speaks for a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaf {
    /// In words, figures included.
    pub text: String,
    /// The signal it was read from: a metric name or a field of a signal.
    pub signal: &'static str,
    /// The value read.
    pub value: f64,
    /// The value in normal times; `None` without a past or where it means nothing.
    pub before: Option<f64>,
    /// How far it alone proves the class, 0 to 1.
    pub strength: f64,
    /// Its values over the span, per step; empty if it is no series.
    pub values: Vec<Option<f64>>,
}

impl Leaf {
    /// A figure without a past.
    pub fn new(signal: &'static str, value: f64, strength: f64, text: String) -> Self {
        Self { text, signal, value, before: None, strength, values: Vec::new() }
    }

    /// Adds what it was before.
    #[must_use]
    pub fn before(mut self, before: Option<f64>) -> Self {
        self.before = before;
        self
    }

    /// Adds the series it comes from.
    #[must_use]
    pub fn series(mut self, values: Vec<Option<f64>>) -> Self {
        self.values = values;
        self
    }
}

/// A cause that was looked for and not found, with the figures that say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuledOut {
    /// The cause.
    pub class: Class,
    /// Why not.
    pub text: String,
}

/// A cause that fits somewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which.
    pub class: Class,
    /// Where.
    pub place: Place,
    /// Who or what is to blame, in words; the entity if it is one.
    pub culprit: String,
    /// The culprit's key, if it is an entity.
    pub culprit_entity: Option<EntityId>,
    /// What goes on, in one sentence with figures.
    pub headline: String,
    /// How well the leaves prove it, 0 to 1.
    pub strength: f64,
    /// Whether it has not happened yet.
    pub predicted: bool,
    /// When it began.
    pub since: Option<Timestamp>,
    /// When it ended; `None` if it goes on or was one moment.
    pub until: Option<Timestamp>,
    /// The figures, strongest first.
    pub leaves: Vec<Leaf>,
    /// What speaks against its neighbours.
    pub ruled_out: Vec<RuledOut>,
    /// Figures for the fix and the commands (`limit`, `pid`, `target`).
    pub facts: BTreeMap<&'static str, String>,
}

/// A finding under construction.
pub(crate) struct Case {
    finding: Finding,
    doubt: f64,
}

impl Case {
    pub(crate) fn new(class: Class, place: Place) -> Self {
        let culprit = place.words();
        let culprit_entity = match &place {
            Place::Entity { id, .. } => Some(id.clone()),
            _ => None,
        };
        let finding = Finding {
            class,
            place,
            culprit,
            culprit_entity,
            headline: String::new(),
            strength: 0.0,
            predicted: false,
            since: None,
            until: None,
            leaves: Vec::new(),
            ruled_out: Vec::new(),
            facts: BTreeMap::new(),
        };
        Self { finding, doubt: 0.0 }
    }

    pub(crate) fn leaf(&mut self, leaf: Leaf) -> &mut Self {
        self.finding.leaves.push(leaf);
        self
    }

    /// Something speaks against it, 0 (nothing) to 1 (everything).
    pub(crate) fn doubt(&mut self, doubt: f64) -> &mut Self {
        self.doubt = stats::any_of([self.doubt, doubt]);
        self
    }

    pub(crate) fn rule_out(&mut self, class: Class, text: String) -> &mut Self {
        self.finding.ruled_out.push(RuledOut { class, text });
        self
    }

    pub(crate) fn culprit(&mut self, words: String, entity: Option<EntityId>) -> &mut Self {
        self.finding.culprit = words;
        self.finding.culprit_entity = entity;
        self
    }

    pub(crate) fn since(&mut self, at: Option<Timestamp>) -> &mut Self {
        self.finding.since = at;
        self
    }

    /// It lasted, or lasts, as long as `w`.
    pub(crate) fn during(&mut self, scene: &Scene<'_>, w: &Windows) -> &mut Self {
        self.finding.since = Some(w.during.from);
        self.finding.until = (w.during.to < scene.span.to).then_some(w.during.to);
        self
    }

    pub(crate) fn predicted(&mut self) -> &mut Self {
        self.finding.predicted = true;
        self
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.finding.facts.insert(name, value.into());
        self
    }

    /// The finding, with its headline.
    pub(crate) fn close(mut self, headline: String) -> Finding {
        let leaves = &mut self.finding.leaves;
        leaves.sort_by(|a, b| b.strength.total_cmp(&a.strength));
        let proof = stats::any_of(leaves.iter().map(|l| l.strength));
        self.finding.strength = proof * (1.0 - self.doubt);
        self.finding.headline = headline;
        self.finding
    }
}

/// Everything that fits anywhere, strongest first. No place is preferred here:
/// that is for the ranking, which knows the walk.
pub fn find(scene: &Scene<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    starvation::find(scene, &mut out);
    resource::find(scene, &mut out);
    network::find(scene, &mut out);
    table::find(scene, &mut out);
    routing::find(scene, &mut out);
    refusal::find(scene, &mut out);
    queues::find(scene, &mut out);
    packets::find(scene, &mut out);
    naming::find(scene, &mut out);
    storage::find(scene, &mut out);
    application::find(scene, &mut out);
    standstill::find(scene, &mut out);
    failing::find(scene, &mut out);
    changed::find(scene, &mut out);
    made::weigh(scene, &mut out);
    traced::weigh(scene, &mut out);
    out.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.place.cmp(&b.place)));
    out
}
