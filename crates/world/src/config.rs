use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much a [`crate::World`] remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How far back it reaches from the newest signal.
    pub window: Duration,
    /// Width of a bin; finer detail is summed up.
    pub resolution: Duration,
    /// Entities kept; the ones silent for longest go first.
    pub max_entities: usize,
    /// Edges kept; new ones beyond it are refused.
    pub max_edges: usize,
    /// Method, route and status combinations kept for one end of one edge.
    pub max_routes: usize,
    /// Resource series kept; new ones beyond it are refused.
    pub max_series: usize,
    /// Events of one kind kept; the oldest go first.
    pub max_events: usize,
    /// Exemplars kept; the oldest go first.
    pub max_exemplars: usize,
    /// Estimated bytes of all binned values; beyond it the oldest bins go first,
    /// which shortens the window.
    pub max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(30),
            resolution: Duration::from_secs(1),
            max_entities: 4_096,
            max_edges: 8_192,
            max_routes: 256,
            max_series: 32_768,
            max_events: 16_384,
            max_exemplars: 2_048,
            max_bytes: 128 << 20,
        }
    }
}

/// What was refused or dropped, by reason. Dropping what left the window is not counted:
/// that is its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evicted {
    /// Reason to number of signals, bins or events.
    ///
    /// Reasons: `late` (older than the window), `clock_jump` (far in the future),
    /// `not_finite` (NaN or infinite), `edges`, `routes`, `series`, `entities`, `events`,
    /// `exemplars` (a cap), `budget` (bytes).
    pub by_reason: BTreeMap<&'static str, u64>,
}

impl Evicted {
    pub(crate) fn count(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.by_reason.entry(reason).or_default() += n;
        }
    }
}
