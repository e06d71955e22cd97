//! The whole of `locate` on small made-up cases, and on bad input.

use super::*;

/// A series that is `before` for sixty seconds and `after` for forty.
fn add(observed: &mut Observed, name: &str, metric: &str, before: f64, after: f64) {
    let entity = observed.entity(name);
    let value = |i: u32| (if i < 60 { before } else { after }) * (1.0 + f64::from(i % 4) * 0.01);
    let points = (0..100).map(|i| (f64::from(i), value(i))).collect();
    observed.series.push(Series { entity, metric: metric.into(), points });
}

fn shop() -> Observed {
    let mut shop = Observed::default();
    add(&mut shop, "web", "latency.mean", 0.1, 0.4);
    add(&mut shop, "web", "cpu", 3.0, 3.2);
    add(&mut shop, "cart", "latency.mean", 0.05, 0.35);
    add(&mut shop, "cart", "cpu", 2.0, 90.0);
    add(&mut shop, "user", "latency.mean", 0.02, 0.02);
    shop.calls = vec![Call { caller: 0, callee: 1 }, Call { caller: 0, callee: 2 }];
    shop
}

const ALARM: Alarm = Alarm { entity: 0, aspect: Aspect::Latency };

#[test]
fn the_culprit_is_found_blind_given_and_late() {
    for noticed in [None, Some(60.0), Some(75.0)] {
        for alarm in [None, Some(ALARM)] {
            let found = locate(&shop(), &Question { alarm, window: None, noticed });
            assert_eq!(found.culprits[0].entity, "cart", "{found:?}");
            assert_eq!(found.culprits[0].aspect, Some(Aspect::Cpu));
            let onset = found.onset.unwrap();
            assert!((58.0..=62.0).contains(&onset.at), "{onset:?}");
        }
    }
}

#[test]
fn nothing_observed_nothing_said() {
    assert_eq!(locate(&Observed::default(), &Question::default()), Located::default());
    let asked = Question { alarm: Some(ALARM), window: Some((0.0, 1.0)), noticed: Some(0.5) };
    assert!(locate(&Observed::default(), &asked).culprits.is_empty());
}

#[test]
fn a_healthy_shop_has_no_culprit() {
    let mut shop = Observed::default();
    add(&mut shop, "web", "latency.mean", 0.1, 0.1);
    add(&mut shop, "web", "cpu", 3.0, 3.0);
    let asked = Question { alarm: Some(ALARM), window: Some((60.0, 99.0)), noticed: None };
    assert!(locate(&shop, &asked).culprits.is_empty());
    assert!(locate(&shop, &Question::default()).culprits.is_empty());
}

#[test]
fn values_that_are_none_and_times_that_repeat_change_nothing() {
    let mut shop = shop();
    for series in &mut shop.series {
        series.points.extend([(50.0, f64::NAN), (f64::NAN, 1.0), (51.0, f64::INFINITY)]);
        let twice: Vec<_> = series.points.iter().copied().skip(10).take(20).collect();
        series.points.extend(twice);
    }
    let found = locate(&shop, &Question::default());
    assert_eq!(found.culprits[0].entity, "cart", "{found:?}");
    assert!(found.culprits.iter().all(|c| c.score.is_finite() && c.confidence <= 1.0));
}

#[test]
fn a_graph_of_one_node_that_calls_itself_is_walked() {
    let mut shop = Observed::default();
    add(&mut shop, "web", "latency.mean", 0.1, 0.4);
    shop.calls = vec![Call { caller: 0, callee: 0 }, Call { caller: 7, callee: 9 }];
    let asked = Question { alarm: Some(ALARM), ..Question::default() };
    assert_eq!(locate(&shop, &asked).culprits[0].entity, "web");
}

#[test]
fn confidence_falls_with_rivals() {
    let alone = locate(&shop(), &Question::default());
    let mut crowd = shop();
    for name in ["a", "b", "c"] {
        add(&mut crowd, name, "cpu", 2.0, 80.0);
    }
    let among = locate(&crowd, &Question::default());
    assert!(among.culprits[0].confidence < alone.culprits[0].confidence / 2.0);
}

#[test]
fn notices_alone_are_enough_and_nothing_dates_them() {
    let entities = ["cart-0", "cart-1"].map(String::from).to_vec();
    let what = What::Metric { name: "cpu_usage".into(), up: true };
    let notices = vec![Notice { entity: 1, what }];
    let noticed = Observed { entities, notices, earlier: vec![Vec::new()], ..Observed::default() };
    let found = locate(&noticed, &Question::default());
    assert_eq!((found.onset, found.culprits.len()), (None, 1));
    assert_eq!(
        (found.culprits[0].entity.as_str(), found.culprits[0].kinds[0]),
        ("cart-1", Kind::Cpu)
    );
    assert_eq!(found.culprits[0].because, ["cpu_usage rose, in 1 of 2 episodes"]);
}

#[test]
fn outsiders_are_not_blamed() {
    let mut shop = shop();
    shop.outsiders.insert(1);
    let found = locate(&shop, &Question::default());
    assert!(found.culprits.iter().all(|culprit| culprit.entity != "cart"), "{found:?}");
}

#[test]
fn a_clear_answer_is_surer_than_one_among_equals_and_sums_stay_below_one() {
    let sum = |found: &Located| found.culprits.iter().map(|c| c.confidence).sum::<f64>();
    let found = locate(&shop(), &Question { alarm: Some(ALARM), ..Question::default() });
    assert!(found.culprits[0].confidence > 0.8, "{found:?}");
    assert!(sum(&found) <= 1.0 + 1e-9);
}
