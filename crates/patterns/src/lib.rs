//! Log lines to templates; encoding anomalies. Pure.
//!
//! ```
//! use taproot_patterns::gibberish::assess;
//! use taproot_patterns::line::{Severity, message};
//! use taproot_patterns::miner::{Config, Miner};
//!
//! let mut miner = Miner::new(Config::default());
//! for (time, line) in ["level=warn msg=\"retry 1 of 5\"", "level=warn msg=\"retry 2 of 5\""].iter().enumerate() {
//!     assert!(assess(line.as_bytes()).is_clean());
//!     let message = message(line);
//!     assert_eq!(message.severity, Some(Severity::Warn));
//!     miner.add(&*message.text, time as u64);
//! }
//! let snapshot = miner.snapshot();
//! assert_eq!(snapshot.patterns[0].template, "retry <*> of <*>");
//! assert_eq!(snapshot.patterns[0].count, 2);
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`gibberish`] | lines that are not text, and since when |
//! | [`line`] | CRI lines, severity, JSON and logfmt messages, stack traces |
//! | [`miner`] | lines to templates, online and bounded |
//! | [`change`] | new, vanished and bursting patterns between two windows |
#![forbid(unsafe_code)]

pub mod change;
pub mod gibberish;
pub mod line;
pub mod miner;
