use proptest::prelude::*;

use super::*;

/// A table of three dimensions; `change` gives the factor of a leaf.
fn grid(measure: Measure, change: impl Fn(usize, usize, usize) -> f64) -> Table {
    let mut table = Table::new(measure, ["route", "pod", "version"]).unwrap();
    for a in 0..6 {
        for b in 0..5 {
            for c in 0..4 {
                let jitter = 1.0 + 0.02 * (((a * 31 + b * 17 + c * 7) % 11) as f64 - 5.0) / 5.0;
                let size = 100.0 + ((a * 13 + b * 5 + c) % 29) as f64 * 10.0;
                let (of, value) = if measure.is_ratio() { (size, 0.1 * size) } else { (0.0, size) };
                let leaf = Leaf {
                    now: value * jitter * change(a, b, c),
                    now_of: of,
                    expected: value,
                    expected_of: of,
                };
                let labels = [format!("r{a}"), format!("p{b}"), format!("v{c}")];
                table.push(&labels, leaf).unwrap();
            }
        }
    }
    table
}

fn names(found: &Attribution) -> Vec<String> {
    let name = |part: &Part| {
        let labels: Vec<_> = part.labels.iter().map(|l| l.value.as_str()).collect();
        labels.join("&")
    };
    let mut names: Vec<_> = found.parts.iter().map(name).collect();
    names.sort();
    names
}

fn explain(table: &Table) -> Attribution {
    attribute(table, &Settings::default())
}

const ALL: [Measure; 4] = [Measure::Sum, Measure::Count, Measure::Share, Measure::Mean];

#[test]
fn nothing_moved_nothing_said() {
    for measure in ALL {
        assert!(explain(&grid(measure, |_, _, _| 1.0)).parts.is_empty(), "{measure:?}");
    }
}

#[test]
fn one_value_of_one_dimension() {
    for measure in ALL {
        let table = grid(measure, |a, _, _| if a == 2 { 3.0 } else { 1.0 });
        assert_eq!(names(&explain(&table)), ["r2"], "{measure:?}");
    }
}

#[test]
fn several_slices_of_different_depth_and_strength() {
    let table = grid(Measure::Sum, |a, b, c| match (a, b, c) {
        (1, _, _) => 0.4,
        (3, 2, _) => 0.6,
        (5, 4, 3) => 0.1,
        _ => 1.0,
    });
    assert_eq!(names(&explain(&table)), ["r1", "r3&p2", "r5&p4&v3"]);
}

#[test]
fn when_everything_grew_the_slice_is_everything() {
    let found = explain(&grid(Measure::Count, |_, _, _| 2.0));
    assert_eq!(names(&found), [""]);
    assert_eq!(found.rest.leaves, 0);
}

#[test]
fn siblings_are_named_each_for_itself() {
    let table = grid(Measure::Sum, |a, _, _| if a < 3 { 2.0 } else { 1.0 });
    assert_eq!(names(&explain(&table)), ["r0", "r1", "r2"]);
}

#[test]
fn traffic_that_only_shifts_is_mix() {
    let mut table = Table::new(Measure::Share, ["zone"]).unwrap();
    let leaf = |rate: f64, now_of: f64| Leaf {
        now: rate * now_of,
        now_of,
        expected: rate * 1e4,
        expected_of: 1e4,
    };
    table.push(&["good"], leaf(0.01, 2e3)).unwrap();
    table.push(&["bad"], leaf(0.2, 1.8e4)).unwrap();
    let found = explain(&table);
    assert!(found.now > found.expected);
    assert!((found.rest.change - (found.now - found.expected)).abs() < 1e-12);
}

#[test]
fn bad_rows_are_refused() {
    let mut table = Table::new(Measure::Sum, ["a", "b"]).unwrap();
    let finite = Leaf { now: 1.0, expected: 1.0, ..Leaf::default() };
    assert_eq!(table.push(&["x"], finite), Err(AttributeError::Labels { found: 1, expected: 2 }));
    for bad in [f64::NAN, f64::INFINITY] {
        let leaf = Leaf { now: bad, ..finite };
        assert_eq!(table.push(&["x", "y"], leaf), Err(AttributeError::NotFinite));
    }
    assert!(table.is_empty());
    assert!(matches!(Table::new(Measure::Sum, [""; 0]), Err(AttributeError::Dimensions(0))));
    assert!(matches!(Table::new(Measure::Sum, ["d"; 9]), Err(AttributeError::Dimensions(9))));
    assert_eq!(explain(&table), Attribution::default());
}

fn any_table() -> impl Strategy<Value = (Measure, Vec<(u8, u8, Leaf)>)> {
    let value = prop_oneof![4 => 0.0..1e4_f64, 1 => Just(0.0), 1 => -1e6..1e6_f64];
    let leaf = (value.clone(), 0.0..1e3_f64, value, 0.0..1e3_f64).prop_map(
        |(now, now_of, expected, expected_of)| Leaf { now, now_of, expected, expected_of },
    );
    let rows = prop::collection::vec((0..6_u8, 0..6_u8, leaf), 0..60);
    (prop::sample::select(&ALL[..]), rows)
}

fn build(measure: Measure, rows: &[(u8, u8, Leaf)], scale: f64) -> Table {
    let mut table = Table::new(measure, ["a", "b"]).unwrap();
    for (a, b, leaf) in rows {
        let leaf = Leaf { now: leaf.now * scale, expected: leaf.expected * scale, ..*leaf };
        table.push(&[a.to_string(), b.to_string()], leaf).unwrap();
    }
    table
}

proptest! {
    #[test]
    fn parts_add_up((measure, rows) in any_table()) {
        let found = explain(&build(measure, &rows, 1.0));
        let parts: f64 = found.parts.iter().map(|p| p.figures.change).sum();
        let sides = |of: fn(&Leaf) -> f64| rows.iter().map(|r| of(&r.2)).sum::<f64>() > 0.0;
        prop_assume!(!measure.is_ratio() || (sides(|l| l.now_of) && sides(|l| l.expected_of)));
        let size: f64 = 1.0 + found.parts.iter().map(|p| p.figures.change.abs()).sum::<f64>()
            + found.rest.change.abs() + found.now.abs() + found.expected.abs();
        prop_assert!((parts + found.rest.change - (found.now - found.expected)).abs() < 1e-6 * size);
        let leaves: usize = found.parts.iter().map(|p| p.figures.leaves).sum();
        prop_assert_eq!(leaves + found.rest.leaves, rows.len());
    }

    #[test]
    fn the_unit_does_not_matter((measure, rows) in any_table(), power in -8..8_i32) {
        prop_assume!(matches!(measure, Measure::Sum | Measure::Mean));
        let scaled = explain(&build(measure, &rows, 2_f64.powi(power)));
        prop_assert_eq!(names(&explain(&build(measure, &rows, 1.0))), names(&scaled));
    }
}
