use super::*;

/// A small generator, so that tests repeat exactly (Marsaglia 2003, xorshift64).
struct Noise(u64);

impl Noise {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, mean 0, deviation 1 (sum of twelve).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

fn series(n: usize, of: impl FnMut(usize) -> f64) -> Vec<Option<f64>> {
    (0..n).map(of).map(Some).collect()
}

fn find(values: &[Option<f64>]) -> Option<Excursion> {
    bound(values, Direction::Up, &Sensitivity::default())
}

#[test]
fn noise_raises_nothing() {
    let mut alarms = 0;
    for seed in 1..=500_u64 {
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Latency-like: skewed, with one value in twenty far out.
        let values = series(90, |_| {
            let slow = if noise.unit() < 0.05 { 40.0 } else { 1.0 };
            (1.0 + 0.3 * noise.normal()).max(0.1) * slow
        });
        alarms += usize::from(find(&values).is_some());
    }
    assert!(alarms <= 2, "{alarms} false alarms in 500 series");
}

#[test]
fn a_step_is_bounded_to_the_point() {
    for seed in 1..=50 {
        let mut noise = Noise(seed * 77);
        let values = series(60, |i| if i >= 35 { 30.0 } else { 10.0 } + noise.normal());
        let e = find(&values).unwrap();
        assert!((34..=36).contains(&e.from), "seed {seed}: {}", e.from);
        assert_eq!(e.to, None);
        assert!((e.normal - 10.0).abs() < 1.0 && (e.level - 30.0).abs() < 1.0);
    }
}

#[test]
fn an_excursion_that_ends_has_an_end() {
    let mut noise = Noise(5);
    let values = series(80, |i| if (30..50).contains(&i) { 50.0 } else { 10.0 } + noise.normal());
    let e = find(&values).unwrap();
    assert!((29..=31).contains(&e.from), "{e:?}");
    assert!(e.to.is_some_and(|to| (49..=51).contains(&to)), "{e:?}");
}

#[test]
fn trouble_at_the_beginning_that_ends_is_found() {
    let mut noise = Noise(9);
    let values = series(60, |i| if i < 20 { 50.0 } else { 10.0 } + noise.normal());
    let e = find(&values).unwrap();
    assert_eq!((e.from, e.to.map(|t| (19..=21).contains(&t))), (0, Some(true)));
}

#[test]
fn constants_have_no_excursion_and_a_step_from_zero_has() {
    assert_eq!(find(&series(60, |_| 7.0)), None);
    assert_eq!(find(&series(60, |_| 0.0)), None);
    let e = find(&series(60, |i| if i >= 40 { 3.0 } else { 0.0 })).unwrap();
    assert_eq!((e.from, e.normal), (40, 0.0));
}

#[test]
fn one_spike_is_no_excursion() {
    assert_eq!(find(&series(60, |i| if i == 30 { 1000.0 } else { 5.0 })), None);
}

#[test]
fn a_ramp_leaves_its_range_once() {
    let e = find(&series(60, |i| if i < 30 { 10.0 } else { 10.0 + (i - 30) as f64 * 4.0 }));
    let e = e.unwrap();
    assert!((28..=45).contains(&e.from), "{e:?}");
    assert_eq!(e.to, None);
}

#[test]
fn gaps_are_skipped_and_indices_stay() {
    let values: Vec<_> =
        (0..60).map(|i| (i % 3 != 0).then_some(if i >= 30 { 9.0 } else { 1.0 })).collect();
    let e = find(&values).unwrap();
    assert_eq!(e.from, 31);
}

#[test]
fn tiny_samples_bound_nothing() {
    assert_eq!(find(&[]), None);
    assert_eq!(find(&series(5, |i| i as f64 * 100.0)), None);
    assert_eq!(find(&[None, Some(f64::NAN), Some(f64::INFINITY)]), None);
}

#[test]
fn direction_matters() {
    let values = series(60, |i| if i >= 30 { 1.0 } else { 10.0 });
    let down = bound(&values, Direction::Down, &Sensitivity::default()).unwrap();
    assert_eq!((down.from, down.direction), (30, Direction::Down));
    let up = find(&values).unwrap();
    assert_eq!((up.from, up.to), (0, Some(30)));
}
