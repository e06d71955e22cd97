/// Whether a feature runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureState {
    /// It runs, through this hook.
    On(String),
    /// It runs with something missing.
    Partly(String),
    /// It does not run, and why.
    Off(String),
}

/// One thing the agent can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name (`http`, `flow`, `lifecycle`, ...).
    pub name: &'static str,
    /// What it gives.
    pub gives: &'static str,
    /// How it does here.
    pub state: FeatureState,
}

impl Feature {
    /// A feature that needs `hook`; programs left out make it partial.
    pub(crate) fn of(
        name: &'static str,
        gives: &'static str,
        hook: &str,
        off: &[taproot_probes::Off],
    ) -> Self {
        let missing: Vec<String> =
            off.iter().map(|o| format!("{} ({})", o.program, o.why)).collect();
        let state = if missing.is_empty() {
            FeatureState::On(hook.to_owned())
        } else {
            FeatureState::Partly(format!("{hook}, without {}", missing.join(", ")))
        };
        Self { name, gives, state }
    }

    pub(crate) fn off(name: &'static str, gives: &'static str, why: &impl ToString) -> Self {
        Self { name, gives, state: FeatureState::Off(why.to_string()) }
    }
}

/// Starts each collector, notes how it does, and stops it again.
///
/// HTTP is loaded but attached to nothing, so no payload is read.
pub fn probe(unified: Option<&std::path::Path>) -> Vec<Feature> {
    crate::start::probe(unified)
}
