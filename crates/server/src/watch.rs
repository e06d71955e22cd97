use taproot_diagnosis::{
    Class, Link, Place, Question, QuestionError, Traced, WithTraces, diagnose, render, to_trace,
};
use taproot_model::{Name, Timestamp};
use taproot_store::{Report, ReportHead};
use taproot_world::World;

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The question cannot be answered.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The report does not turn into JSON.
    #[error("a report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Looks at a world again and again, and gives one report for each trouble:
/// new when it begins, under the same id while it lasts and more is known.
#[derive(Debug, Default)]
pub struct Watch {
    open: Option<Open>,
}

/// The trouble that was found last and is not over.
#[derive(Debug)]
struct Open {
    id: Name,
    at: Timestamp,
    /// What the figures say, without packets.
    class: Class,
    place: Option<Place>,
    /// The link to follow, until somebody takes it.
    link: Option<Link>,
    /// What its packets told.
    traces: Vec<Traced>,
}

impl Watch {
    /// A watch that has found nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks once at all the world covers. `None` when nothing is wrong, or
    /// nothing was observed yet.
    pub fn look(&mut self, world: &World) -> Result<Option<Report>, WatchError> {
        let span = world.span();
        if span.from >= span.to {
            return Ok(None);
        }
        let question = Question { service: None, span };
        let mut found = diagnose(world, &question)?;
        let verdict = &found.verdict;
        if matches!(verdict.class, Class::Healthy | Class::LoadGrew) || verdict.until.is_some() {
            self.open = None;
            return Ok(None);
        }
        let (class, place) = (verdict.class, verdict.place.clone());
        let link = || to_trace(world, &found).into_iter().next().filter(|_| class.is_of_packets());
        let open = match self.open.take() {
            Some(open) if open.is_same(class, place.as_ref()) => open,
            Some(open) if open.class == Class::Unknown => {
                Open { class, place, link: link(), ..open }
            }
            _ => {
                let (id, link) = (id(span.to, class), link());
                Open { id, at: span.to, class, place, link, traces: Vec::new() }
            }
        };
        if !open.traces.is_empty() {
            found = diagnose(&WithTraces::new(world, open.traces.clone()), &question)?;
        }
        let head = ReportHead {
            id: open.id.clone(),
            at: open.at,
            service: found.service.clone().unwrap_or_default(),
            title: Name::from(&found.verdict.headline),
        };
        self.open = Some(open);
        let json = serde_json::to_string(&found)?;
        Ok(Some(Report { head, text: render::text(&found), json }))
    }

    /// The link whose packets may tell more of the trouble that lasts, and the id of its
    /// report: once for each verdict whose class packets can tell of.
    pub fn take_link(&mut self) -> Option<(Name, Link)> {
        let open = self.open.as_mut()?;
        Some((open.id.clone(), open.link.take()?))
    }

    /// Takes in what the packets told for the report of that id; from the next look on it
    /// is part of it. Of a trouble that is over nobody wants to hear.
    pub fn put(&mut self, id: &Name, traced: Traced) {
        if let Some(open) = self.open.as_mut().filter(|open| open.id == *id) {
            open.traces.retain(|known| known.edge != traced.edge);
            open.traces.push(traced);
        }
    }
}

impl Open {
    /// Whether a verdict is the one of before. The first one that explains what was
    /// inconclusive is of the same trouble, too.
    fn is_same(&self, class: Class, place: Option<&Place>) -> bool {
        self.class == class && self.place.as_ref() == place
    }
}

/// Sorts by time, reads well in a path, and tells troubles of one second apart by class.
fn id(at: Timestamp, class: Class) -> Name {
    format!("{}-{}", at.secs(), class.id()).into()
}
