use taproot_diagnosis::{Class, Place, Question, QuestionError, diagnose, render};
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
    class: Class,
    place: Option<Place>,
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
        let found = diagnose(world, &Question { service: None, span })?;
        let verdict = &found.verdict;
        if matches!(verdict.class, Class::Healthy | Class::LoadGrew) || verdict.until.is_some() {
            self.open = None;
            return Ok(None);
        }
        let open = match self.open.take() {
            Some(open) if open.goes_on(verdict.class, verdict.place.as_ref()) => {
                Open { class: verdict.class, place: verdict.place.clone(), ..open }
            }
            _ => Open {
                id: id(span.to, verdict.class),
                at: span.to,
                class: verdict.class,
                place: verdict.place.clone(),
            },
        };
        let head = ReportHead {
            id: open.id.clone(),
            at: open.at,
            service: found.service.clone().unwrap_or_default(),
            title: Name::from(&verdict.headline),
        };
        self.open = Some(open);
        let json = serde_json::to_string(&found)?;
        Ok(Some(Report { head, text: render::text(&found), json }))
    }
}

impl Open {
    /// Whether a verdict is about the same trouble: the same one, or the first
    /// one that explains what was inconclusive before.
    fn goes_on(&self, class: Class, place: Option<&Place>) -> bool {
        self.class == Class::Unknown || (self.class == class && self.place.as_ref() == place)
    }
}

/// Sorts by time, reads well in a path, and tells troubles of one second apart by class.
fn id(at: Timestamp, class: Class) -> Name {
    format!("{}-{}", at.secs(), class.id()).into()
}
