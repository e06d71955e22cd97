//! "A crate imports only lower floors."

use crate::metadata::Package;

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A floor of the house; code may only rest on what lies below.
    Floor(u8),
    /// Beside the house: may use any floor; only the top floor may use it.
    Aside,
    /// Used by tests of every floor, by nothing else.
    TestsOnly,
}

use Place::{Aside, Floor, TestsOnly};

/// The plan of the house; a new crate has to be entered here.
const PLAN: &[(&str, Place)] = &[
    ("taproot-model", Floor(0)),
    ("taproot-protocols", Floor(1)),
    ("taproot-patterns", Floor(1)),
    ("taproot-world", Floor(1)),
    ("taproot-probes", Floor(2)),
    ("taproot-kube", Floor(3)),
    ("taproot-store", Floor(3)),
    ("taproot-export", Floor(3)),
    ("taproot-netstate", Floor(3)),
    ("taproot-agent", Floor(4)),
    ("taproot-trace", Floor(4)),
    ("taproot-diagnosis", Floor(4)),
    ("taproot-eval", Floor(5)),
    ("taproot-server", Floor(5)),
    ("taproot-cli", Floor(6)),
    ("taproot-lab", Aside),
    ("xtask", Aside),
    ("taproot-testkit", TestsOnly),
];

const TOP: Place = Floor(6);

/// Crates that see no kernel, store or client, so that recordings and public
/// data run through the same code as live signals: all they may import of ours.
const PURE: &[(&str, &[&str])] = &[
    ("taproot-model", &[]),
    ("taproot-protocols", &["taproot-model"]),
    ("taproot-patterns", &["taproot-model"]),
    ("taproot-world", &["taproot-model", "taproot-patterns"]),
    ("taproot-diagnosis", &["taproot-model", "taproot-world", "taproot-patterns"]),
];

/// One line for every import that goes up or sideways.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().filter(|package| package.ours).flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let Some(place) = place(&package.name) else {
        let name = &package.name;
        return vec![format!("{name}: stands on no floor; enter it in xtask/src/tidy/floors.rs")];
    };
    // Tests may look anywhere: cargo itself allows them cycles.
    let imports = package.dependencies.iter().filter(|(_, kind)| kind != "dev");
    imports.filter_map(|(import, _)| complaint(&package.name, place, import)).collect()
}

fn complaint(name: &str, place: Place, import: &str) -> Option<String> {
    let below = self::place(import)?;
    let allowed = match (place, below) {
        (_, TestsOnly) => false,
        (Aside, below) => below != TOP,
        (place, Aside) => place == TOP,
        (place, below) => below < place,
    };
    if !allowed {
        return Some(format!("{name} ({place:?}) must not import {import} ({below:?})"));
    }
    let pure = PURE.iter().find(|(pure, _)| *pure == name);
    let breach = pure.is_some_and(|(_, imports)| !imports.contains(&import));
    breach.then(|| format!("{name} is pure and must not import {import}"))
}

fn place(name: &str) -> Option<Place> {
    PLAN.iter().find(|(planned, _)| *planned == name).map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, imports: &[(&str, &str)]) -> usize {
        let owned = |(import, kind): &(&str, &str)| ((*import).to_owned(), (*kind).to_owned());
        let package = Package {
            name: name.to_owned(),
            ours: true,
            dependencies: imports.iter().map(owned).collect(),
            ..Package::default()
        };
        check(&[package]).len()
    }

    #[test]
    fn down_is_allowed_up_and_sideways_are_not() {
        assert_eq!(problems("taproot-agent", &[("taproot-store", "normal")]), 0);
        assert_eq!(problems("taproot-store", &[("taproot-agent", "normal")]), 1);
        assert_eq!(problems("taproot-store", &[("taproot-kube", "build")]), 1);
    }

    #[test]
    fn tests_may_look_anywhere() {
        let up = [("taproot-agent", "dev"), ("taproot-testkit", "dev")];
        assert_eq!(problems("taproot-store", &up), 0);
        assert_eq!(problems("taproot-cli", &[("taproot-testkit", "normal")]), 1);
    }

    #[test]
    fn only_the_top_floor_uses_the_lab() {
        assert_eq!(problems("taproot-cli", &[("taproot-lab", "normal")]), 0);
        assert_eq!(problems("taproot-server", &[("taproot-lab", "normal")]), 1);
        assert_eq!(problems("taproot-lab", &[("taproot-cli", "normal")]), 1);
    }

    #[test]
    fn a_pure_crate_stays_pure() {
        assert_eq!(problems("taproot-diagnosis", &[("taproot-world", "normal")]), 0);
        assert_eq!(problems("taproot-diagnosis", &[("taproot-store", "normal")]), 1);
        assert_eq!(problems("taproot-diagnosis", &[("taproot-probes", "normal")]), 1);
    }

    #[test]
    fn a_crate_that_is_not_on_the_plan_is_reported() {
        assert_eq!(problems("taproot-new", &[]), 1);
    }

    #[test]
    fn foreign_crates_are_none_of_this_rule() {
        assert_eq!(problems("taproot-model", &[("serde", "normal")]), 0);
    }
}
