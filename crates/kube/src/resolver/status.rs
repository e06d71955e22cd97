use serde::Serialize;
use taproot_model::Timestamp;

/// How a source of identity does, for `doctor` and the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// `cgroup`, `runtime`, `cri`, `kubelet`, `api-server`, `cluster-events` or `pods-file`.
    pub name: &'static str,
    /// How it does.
    pub state: SourceState,
    /// What it said last, or why it is off or failing.
    pub detail: String,
    /// When it last answered.
    pub last_ok: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
}

/// How a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Not asked for, or not there.
    Off,
    /// Not asked yet.
    Starting,
    /// Answers.
    Ok,
    /// Does not answer; what it said before is still used, and it is tried again.
    Failing,
}

/// Losses of the resolver itself since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Control group ids that no scan of the tree could find.
    pub unknown_groups: u64,
    /// Requests to look up a container that were dropped because the queue of a
    /// source was full; the next scan finds the container.
    pub jobs_dropped: u64,
}

impl SourceStatus {
    pub(crate) fn off(name: &'static str, why: &str) -> Self {
        Self { name, state: SourceState::Off, detail: why.to_owned(), last_ok: None, failures: 0 }
    }

    pub(crate) fn starting(name: &'static str) -> Self {
        Self { state: SourceState::Starting, ..Self::off(name, "not asked yet") }
    }

    /// Notes the outcome of asking the source.
    pub(crate) fn note(&mut self, outcome: Result<String, String>, at: Timestamp) {
        match outcome {
            Ok(detail) => {
                self.state = SourceState::Ok;
                self.detail = detail;
                self.last_ok = Some(at);
                self.failures = 0;
            }
            Err(why) => {
                self.state = SourceState::Failing;
                self.detail = why;
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}
