/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No collector runs here.
    #[error("no collector can run here: {0}; run `taproot doctor` to see what is missing")]
    NothingRuns(String),
    /// The scope names something that is not there.
    #[error(transparent)]
    Scope(#[from] crate::ScopeError),
    /// A network namespace could not be entered.
    #[error("network namespace {path}: {source}")]
    Netns {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
