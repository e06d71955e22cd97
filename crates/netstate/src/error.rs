//! What can go wrong when a namespace's networking is read.

use std::io;
use std::path::PathBuf;

/// What can go wrong when a namespace's networking is read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network namespace could not be entered.
    #[error("cannot enter the network namespace {path}: {source} (it needs CAP_SYS_ADMIN)")]
    Enter {
        /// The file that stands for it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a question, or the line to it broke.
    #[error("the kernel did not list {what}: {source}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel answered with what is no such message.
    #[error("the kernel's list of {what} cannot be read: {why}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// What the parser said.
        why: String,
    },
    /// The thread that reads in the namespace died.
    #[error("the thread that entered the network namespace died")]
    Thread,
}

/// The crate's results.
pub type Result<T> = std::result::Result<T, Error>;
