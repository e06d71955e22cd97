//! An online log template miner with one configuration for every log.
//!
//! A line is cut into tokens and values are masked by their looks. Lines of equal
//! shape are one template at the cost of a hash look-up. A new shape becomes a
//! template, and templates that differ in one place meet under a common key: once
//! enough of them have met, the place is a value and they become one. That is the
//! frequency idea of Brain (Yu et al., 2023: what varies among otherwise equal
//! lines is a parameter) made incremental, in place of a similarity threshold as
//! in Drain (He et al., 2017).
//!
//! Memory is bounded whatever the lines are; what was dropped is counted.

mod fold;
mod index;
mod template;
mod token;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::line::{Severity, severity};
use index::Index;
use template::{Keys, Place, Slot};
use token::Token;

/// Names a template; never used again after the template is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TemplateId(pub u64);

/// Bounds of a [`Miner`]. They bound memory and work; there is nothing to tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Most templates; beyond, the least recently seen are dropped.
    pub templates: usize,
    /// Most line shapes remembered for fast look-up.
    pub shapes: usize,
    /// Most tokens of a line; the rest becomes one value.
    pub tokens: usize,
    /// Most bytes of a line; the rest is not looked at.
    pub line_bytes: usize,
    /// Different words that make a place a value, all else being equal and at
    /// least five words of it; fewer words ask for more values.
    pub values: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { templates: 4096, shapes: 32_768, tokens: 128, line_bytes: 8192, values: 4 }
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its template.
    pub template_id: TemplateId,
    /// Whether this line made the template.
    pub is_new: bool,
}

/// What had to be given up to stay within the bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Templates dropped.
    pub evicted_templates: u64,
    /// Lines counted in dropped templates.
    pub evicted_lines: u64,
    /// Lines longer than was looked at.
    pub cut_lines: u64,
    /// Times the shapes were forgotten (they cost time, not templates).
    pub forgotten_shapes: u64,
}

/// A template as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// Its name.
    pub id: TemplateId,
    /// Its text, `<*>` for values.
    pub template: String,
    /// Lines.
    pub count: u64,
    /// Time of the first line in nanoseconds.
    pub first: u64,
    /// Time of the last line in nanoseconds.
    pub last: u64,
    /// The severity its first line stated.
    pub severity: Option<Severity>,
    /// Its text with values named by what the first of them looked like.
    pub example: String,
}

/// All templates at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By name.
    pub patterns: Vec<Pattern>,
    /// Names that became others, oldest first.
    pub merged: Vec<(TemplateId, TemplateId)>,
    /// What was given up so far.
    pub losses: Losses,
}

#[derive(Debug)]
struct Template {
    slots: Vec<Slot>,
    count: u64,
    first: u64,
    last: u64,
    severity: Option<Severity>,
    shapes: Vec<u64>,
}

/// Most merges that are remembered for [`Miner::resolve`].
const MERGES: usize = 4096;

/// The miner.
#[derive(Debug)]
pub struct Miner {
    config: Config,
    seed: u64,
    tokens: Vec<Token>,
    shapes: index::Map<u64>,
    templates: HashMap<u64, Template>,
    index: Index,
    next: u64,
    merged: std::collections::VecDeque<(TemplateId, TemplateId)>,
    losses: Losses,
}

impl Miner {
    /// An empty miner.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            // Hash keys are drawn per miner so that no log can aim at collisions;
            // results do not depend on them.
            seed: RandomState::new().hash_one(0),
            tokens: Vec::new(),
            shapes: index::Map::default(),
            templates: HashMap::new(),
            index: Index::default(),
            next: 0,
            merged: std::collections::VecDeque::new(),
            losses: Losses::default(),
        }
    }

    /// Takes in a line (without its line end) seen at `time` in nanoseconds.
    pub fn add(&mut self, line: impl AsRef<[u8]>, time: u64) -> Match {
        let mut line = line.as_ref();
        if line.len() > self.config.line_bytes {
            self.losses.cut_lines += 1;
            line = &line[..self.config.line_bytes];
        }
        token::tokenise(line, self.config.tokens, &mut self.tokens);
        let shape = template::shape(self.seed, line, &self.tokens);
        if let Some(&id) = self.shapes.get(&shape)
            && let Some(template) = self.templates.get_mut(&id)
        {
            template.count += 1;
            template.last = template.last.max(time);
            return Match { template_id: TemplateId(id), is_new: false };
        }
        self.add_shape(line, shape, time)
    }

    /// The present name of a template, which another may have become part of.
    pub fn resolve(&self, id: TemplateId) -> TemplateId {
        let mut id = id;
        for (from, to) in &self.merged {
            if *from == id {
                id = *to;
            }
        }
        id
    }

    /// The text of a template, `<*>` for values.
    pub fn template(&self, id: TemplateId) -> Option<String> {
        self.templates.get(&self.resolve(id).0).map(|found| template::render(&found.slots))
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// Whether there is no template yet.
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// All templates, by name.
    pub fn snapshot(&self) -> Snapshot {
        let pattern = |(id, found): (&u64, &Template)| Pattern {
            id: TemplateId(*id),
            template: template::render(&found.slots),
            count: found.count,
            first: found.first,
            last: found.last,
            severity: found.severity,
            example: template::example(&found.slots),
        };
        let mut patterns: Vec<_> = self.templates.iter().map(pattern).collect();
        patterns.sort_by_key(|pattern| pattern.id);
        Snapshot { patterns, merged: self.merged.iter().copied().collect(), losses: self.losses }
    }

    /// A line whose shape is not known: finds or makes its template.
    fn add_shape(&mut self, line: &[u8], shape: u64, time: u64) -> Match {
        let slots = template::slots(line, &self.tokens);
        let keys = Keys::of(self.seed, &slots);
        let known = self.index.find(&slots, &keys, |id| &self.templates[&id].slots);
        let (id, is_new) = match known {
            Some(id) => (id, false),
            None => (self.create(line, slots, &keys, time), true),
        };
        self.remember(shape, id);
        if let Some(template) = self.templates.get_mut(&id) {
            template.count += 1;
            template.last = template.last.max(time);
        }
        let template_id = if is_new { self.merge_from(id) } else { TemplateId(id) };
        self.evict();
        // A new line that completed a value belongs to an older template.
        Match { template_id, is_new: is_new && template_id.0 == id }
    }

    fn create(&mut self, line: &[u8], slots: Vec<Slot>, keys: &Keys, time: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        self.index.insert(id, &slots, keys);
        let text = String::from_utf8_lossy(line);
        self.templates.insert(
            id,
            Template {
                severity: severity(&text),
                slots,
                count: 0,
                first: time,
                last: time,
                shapes: Vec::new(),
            },
        );
        id
    }

    fn remember(&mut self, shape: u64, id: u64) {
        if self.shapes.len() >= self.config.shapes {
            self.losses.forgotten_shapes += 1;
            self.shapes.clear();
            self.templates.values_mut().for_each(|template| template.shapes.clear());
        }
        self.shapes.insert(shape, id);
        if let Some(template) = self.templates.get_mut(&id) {
            template.shapes.push(shape);
        }
    }

    /// Merges what a new or changed template completes; returns its final name.
    fn merge_from(&mut self, id: u64) -> TemplateId {
        let mut id = id;
        while let Some(template) = self.templates.get(&id) {
            let keys = Keys::of(self.seed, &template.slots);
            let group = self.index.group(id, &template.slots, &keys, self.config.values);
            let Some(group) = group else { break };
            id = self.merge(&group);
        }
        TemplateId(id)
    }

    /// Makes one template of several of equal length; the oldest keeps its name.
    fn merge(&mut self, group: &[u64]) -> u64 {
        let survivor = group.iter().copied().min().unwrap_or_default();
        for id in group {
            if let Some(template) = self.templates.get(id) {
                let keys = Keys::of(self.seed, &template.slots);
                self.index.remove(*id, &template.slots, &keys);
            }
        }
        let Some(mut into) = self.templates.remove(&survivor) else { return survivor };
        for id in group.iter().filter(|id| **id != survivor) {
            let Some(other) = self.templates.remove(id) else { continue };
            self.note_merge(*id, survivor);
            other.shapes.iter().for_each(|shape| {
                self.shapes.insert(*shape, survivor);
            });
            absorb(&mut into, other);
        }
        let keys = Keys::of(self.seed, &into.slots);
        self.index.insert(survivor, &into.slots, &keys);
        self.templates.insert(survivor, into);
        survivor
    }

    fn note_merge(&mut self, from: u64, to: u64) {
        if self.merged.len() >= MERGES {
            self.merged.pop_front();
        }
        self.merged.push_back((TemplateId(from), TemplateId(to)));
    }

    /// Drops the least recently seen eighth when there are too many templates.
    fn evict(&mut self) {
        if self.templates.len() <= self.config.templates {
            return;
        }
        let mut order: Vec<_> =
            self.templates.iter().map(|(id, found)| (found.last, found.count, *id)).collect();
        let drop = order.len() / 8 + 1;
        order.select_nth_unstable(drop - 1);
        for (_, _, id) in &order[..drop] {
            let Some(gone) = self.templates.remove(id) else { continue };
            let keys = Keys::of(self.seed, &gone.slots);
            self.index.remove(*id, &gone.slots, &keys);
            for shape in &gone.shapes {
                self.shapes.remove(shape);
            }
            self.losses.evicted_templates += 1;
            self.losses.evicted_lines += gone.count;
        }
    }
}

fn absorb(into: &mut Template, other: Template) {
    for (mine, theirs) in into.slots.iter_mut().zip(&other.slots) {
        if mine.place != theirs.place {
            mine.place = Place::Any;
        }
    }
    into.count += other.count;
    into.first = into.first.min(other.first);
    into.last = into.last.max(other.last);
    into.severity = into.severity.max(other.severity);
    into.shapes.extend(other.shapes);
}
