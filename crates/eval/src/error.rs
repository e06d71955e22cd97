use std::path::{Path, PathBuf};

/// Why a set could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// No adapter has that name.
    #[error("no data set is called {name}; there are: {known}")]
    UnknownSet {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Neither the set nor its archive is there.
    #[error(
        "no {name} in {}: give the folder that holds {name}.tar.xz, or the unpacked set",
        path.display()
    )]
    NotFound {
        /// The set.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its set says it is.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        reason: String,
    },
    /// An answer cannot be written as JSON.
    #[error("an answer cannot be written: {0}")]
    Write(#[from] serde_json::Error),
}

impl EvalError {
    /// A file that is not what it should be.
    pub fn content(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }

    /// A failing read, for `map_err`.
    pub fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}
