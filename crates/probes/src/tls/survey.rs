//! What TLS there is on a machine.

use std::collections::{BTreeMap, BTreeSet};

use super::Library;
use super::processes::{FileId, everybody, mapped};
use super::targets::Targets;

/// Every file with TLS in it that any process runs, by path, and why its plaintext
/// could not be seen. Nothing is attached to.
pub fn survey() -> Vec<Library> {
    let mut processes = BTreeSet::new();
    everybody(&mut processes);
    let mut known = BTreeMap::<FileId, Option<Library>>::new();
    for file in processes.into_iter().flat_map(mapped) {
        let library = known.entry(file.id.clone()).or_insert_with(|| {
            let targets = Targets::find(file.open()?.0);
            let has_tls = !targets.is_empty() || targets.why_not.is_some();
            let why_not = targets.why_not;
            has_tls.then(|| Library { path: file.path.clone(), processes: 0, why_not })
        });
        if let Some(library) = library {
            library.processes += 1;
        }
    }
    let mut libraries: Vec<_> = known.into_values().flatten().collect();
    libraries.sort_by(|a, b| a.path.cmp(&b.path));
    libraries
}
