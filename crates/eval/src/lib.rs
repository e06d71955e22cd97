//! Public data sets through the analysis that runs live, and their scores.
//!
//! A data set is an [`Adapter`]: it turns each case into the evidence that the
//! engine reads, hands it over, and, once every answer is fixed, opens the labels
//! and scores. [`run`] does that in the same order each time; what it prints and
//! writes holds no clock and no address, so two runs are equal byte for byte. What
//! a run cost is kept apart, in [`Cost`].
//!
//! | module | what it does |
//! |---|---|
//! | [`adapter`] | what a set has to say about itself, and the runner |
//! | [`folder`] | finds a set in a folder: unpacked, or in its archive |
//! | [`files`] | reads CSV and JSON with errors that name the file and the line |
//! | [`outcome`] | rows, table, text |
//! | [`peers`] | what others reach |
//! | [`ranking`] | AC@k and its kin |
//! | [`reliability`] | whether confidence means what it says |
//! | [`sets`] | the adapters |
#![forbid(unsafe_code)]

pub mod adapter;
mod cost;
mod error;
pub mod files;
pub mod folder;
mod mode;
pub mod outcome;
pub mod peers;
pub mod ranking;
pub mod reliability;
pub mod sets;

pub use cost::Cost;
pub use error::EvalError;
pub use mode::Mode;
pub use outcome::{Measure, Outcome, Row};

use std::path::Path;

/// Scores one set.
///
/// `name` is its name or an unambiguous beginning of it. `data` is the folder of
/// the unpacked set, a folder that holds it under its name, or a folder that holds
/// its archive (`NAME.tar.xz` or `NAME.tar`).
pub fn run(name: &str, data: &Path, mode: Mode) -> Result<(Outcome, Cost), EvalError> {
    let sets = sets::all();
    let exact = sets.iter().find(|set| set.name() == name);
    let mut alike = sets.iter().filter(|set| set.name().starts_with(name));
    let only = alike.next().filter(|_| alike.next().is_none());
    let set = exact.or(only).ok_or_else(|| EvalError::UnknownSet {
        name: name.to_owned(),
        known: sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", "),
    })?;
    let folder = folder::find(set.name(), data)?;
    set.run(folder.path(), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_cut_short_but_not_made_up() {
        let nowhere = Path::new("no-such-folder");
        let cut = run("loghub", nowhere, Mode::Blind).unwrap_err();
        assert!(matches!(cut, EvalError::NotFound { name, .. } if name == "loghub_2k"));
        let made_up = run("made-up", nowhere, Mode::Blind).unwrap_err();
        assert!(made_up.to_string().contains("loghub_2k"), "{made_up}");
    }
}
