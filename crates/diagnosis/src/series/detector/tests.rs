use proptest::prelude::*;

use super::*;

/// Pseudo-random numbers, uniform in 0 to 1 (`SplitMix64`).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, by the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

const STEP: i64 = 300;

/// Alarms among the points after the first `skip`.
fn alarms(values: impl Iterator<Item = f64>, skip: usize) -> usize {
    let mut detector = Detector::default();
    let score = |(i, v)| detector.push(i * STEP, v).score;
    let scores: Vec<f64> = (0..).zip(values).map(score).collect();
    scores[skip..].iter().filter(|s| **s >= Threshold::default().0).count()
}

#[test]
fn false_alarms_are_as_rare_as_promised() {
    let points = 20_000;
    let mut noise = Noise(7);
    let white = alarms((0..points).map(|_| noise.normal()), 1000);
    let daily = alarms(
        (0..points)
            .map(|i| 10.0 * (i as f64 * std::f64::consts::TAU / 288.0).sin() + noise.normal()),
        1000,
    );
    let integers = alarms((0..points).map(|_| (3.0 * noise.next()).floor()), 1000);
    let mut level = 0.0;
    let drifting = alarms(
        (0..points).map(|_| {
            level = 0.9 * level + noise.normal();
            level
        }),
        1000,
    );
    let trend = alarms((0..points).map(|i| i as f64 * 0.01 + noise.normal()), 1000);
    let counts = [white, daily, integers, drifting, trend];
    assert!(counts.iter().all(|alarms| *alarms <= points / 2000), "{counts:?}");
}

#[test]
fn a_step_is_bounded_from_its_first_point_to_its_last() {
    let mut noise = Noise(1);
    let mut detector = Detector::default();
    for i in 0..2000_i64 {
        let high = (1500..1560).contains(&i);
        detector.push(i * STEP, noise.normal() + if high { 30.0 } else { 0.0 });
    }
    let stretch = detector.stretch().unwrap();
    assert_eq!((stretch.from, stretch.alarm), (1500 * STEP, 1500 * STEP));
    assert_eq!(stretch.to, Some(1560 * STEP));
    assert!(stretch.peak > 25.0 && stretch.normal.1 < 5.0, "{stretch:?}");
}

#[test]
fn a_value_at_the_wrong_time_of_day_is_a_surprise() {
    let mut detector = Detector::default();
    let usual = |i: i64| if i % 288 < 144 { 10.0 } else { 50.0 };
    let mut noise = Noise(3);
    for i in 0..288 * 6 {
        detector.push(i * STEP, usual(i) + noise.normal());
    }
    // Fifty is seen half of each day, but not at this time.
    let found = detector.push(288 * 6 * STEP, 50.0);
    assert!(found.score >= Threshold::default().0 && found.upward, "{found:?}");
}

#[test]
fn a_constant_series_surprises_once_it_moves() {
    let mut detector = Detector::default();
    assert!((0..500).all(|i| detector.push(i * STEP, 0.0).score.abs() < 1e-12));
    assert!(detector.push(500 * STEP, 1.0).score > 1.0);
}

#[test]
fn a_handful_of_points_bounds_nothing() {
    let mut detector = Detector::default();
    let wild = [1.0, 1e9, -5.0, 3.0, 1e12];
    assert!(wild.iter().zip(0..).all(|(v, i)| detector.push(i * STEP, *v).score.abs() < 1e-12));
    assert_eq!(detector.stretch(), None);
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1e3..1e3_f64,
        1 => prop::num::f64::ANY,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 0.0, -0.0]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_is_bounded_and_nothing_panics(
        values in prop::collection::vec((0..100_000_i64, any_value()), 0..3000),
    ) {
        let mut detector = Detector::default();
        let mut time = -1_000_000_i64;
        for (wait, value) in values {
            time += wait;
            let found = detector.push(time, value);
            prop_assert!(found.score >= 0.0 && found.score <= 12.0);
            prop_assert!(detector.held() <= 3 * HISTORY + SHORT);
        }
    }

    #[test]
    fn the_unit_does_not_matter(seed: u64, power in -20..20_i32) {
        let (mut one, mut other) = (Detector::default(), Detector::default());
        let mut noise = Noise(seed);
        for i in 0..400_i64 {
            let value = noise.normal() + if i == 350 { 20.0 } else { 0.0 };
            let a = one.push(i * STEP, value);
            let b = other.push(i * STEP, value * 2_f64.powi(power));
            prop_assert!((a.score - b.score).abs() < 1e-9);
        }
    }
}
