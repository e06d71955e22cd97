//! What a line of a log file is made of, before its template is asked for.

pub mod cri;
mod message;
mod multiline;
mod severity;

pub use message::{Message, message};
pub use multiline::{Event, Joiner, JoinerLimits};
pub use severity::{Severity, severity};
