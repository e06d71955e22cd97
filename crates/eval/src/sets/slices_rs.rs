//! The facts of RS: a YAML list of cases in one fixed form, read line by line.
//!
//! ```text
//! - cause:            or, for several:   - cause:
//!     bitrate: 500                         - bitrate: 500
//!     cdn: 5                               - bitrate: 2500
//!   data: NAME                               cdn: 5
//!   timestamp: SECONDS                     data: NAME ...
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::EvalError;
use crate::sets::slices::{Slices, slice};

#[derive(Debug, Default)]
struct Fact {
    causes: Vec<Vec<String>>,
    data: String,
    at: i64,
}

fn facts(text: &str) -> Result<Vec<Fact>, String> {
    let mut facts: Vec<Fact> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = || format!("line {}: unexpected {line:?}", number + 1);
        if line.trim_end() == "- cause:" {
            facts.push(Fact::default());
            continue;
        }
        let fact = facts.last_mut().ok_or_else(bad)?;
        let (key, value) = line.split_once(':').ok_or_else(bad)?;
        let value = value.trim().trim_matches(['\'', '"']);
        if key == "  data" {
            value.clone_into(&mut fact.data);
        } else if key == "  timestamp" {
            fact.at = value.parse().map_err(|_| bad())?;
        } else if let Some(name) = key.strip_prefix("  - ") {
            fact.causes.push(vec![format!("{name}={value}")]);
        } else if let Some(name) = key.strip_prefix("    ") {
            if fact.causes.is_empty() {
                fact.causes.push(Vec::new());
            }
            let last = fact.causes.last_mut().ok_or_else(bad)?;
            last.push(format!("{name}={value}"));
        } else {
            return Err(bad());
        }
    }
    Ok(facts)
}

fn read(path: &Path) -> Result<Vec<Fact>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(EvalError::read(path))?;
    facts(&text).map_err(|reason| EvalError::content(path, reason))
}

/// The causes of each case.
pub(super) fn causes(path: &Path) -> Result<BTreeMap<String, Slices>, EvalError> {
    let facts = read(path)?;
    Ok(facts.into_iter().map(|f| (f.data, f.causes.iter().map(slice).collect())).collect())
}

/// The minute of each case, in seconds of wall time.
pub(super) fn times(path: &Path) -> Result<BTreeMap<String, i64>, EvalError> {
    Ok(read(path)?.into_iter().map(|f| (f.data, f.at)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_or_several() {
        let one = "- cause:\n    cdn: 5\n    bitrate: 500\n  data: x y\n  timestamp: 60\n";
        let two = "- cause:\n  - a: 1\n  - a: 2\n    b: 3\n  data: z\n  timestamp: 120\n";
        let facts = facts(&format!("{one}{two}")).unwrap();
        assert_eq!((facts[0].data.as_str(), facts[0].at), ("x y", 60));
        assert_eq!(facts[0].causes, [["cdn=5", "bitrate=500"]]);
        assert_eq!(facts[1].causes, [vec!["a=1"], vec!["a=2", "b=3"]]);
    }

    #[test]
    fn other_forms_are_refused_with_their_line() {
        for bad in ["cause", "- cause:\n  data x", "- cause:\n  timestamp: soon"] {
            let error = facts(bad).unwrap_err();
            assert!(error.starts_with("line "), "{error}");
        }
    }
}
