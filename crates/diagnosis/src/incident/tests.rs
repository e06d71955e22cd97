//! Small made-up incidents.

use super::*;
use crate::locate::Series;

/// A shop in which `web` calls `pay`; the error rate of both rises at minute 60.
fn shop() -> Incident {
    let mut shop = Incident::default();
    for (name, metric, before, after) in [
        ("pay", "error_rate", 0.002, 0.5),
        ("web", "error_rate", 0.002, 0.3),
        ("web", "requests_per_sec", 100.0, 100.0),
        ("pay", "requests_per_sec", 100.0, 100.0),
        ("mail", "error_rate", 0.002, 0.002),
    ] {
        add(&mut shop.observed, name, metric, before, after);
    }
    let pay = shop.observed.entity("pay");
    let web = shop.observed.entity("web");
    let failed = |id, parent, entity, error: &str| Step {
        id,
        parent,
        entity,
        failed: true,
        error: error.into(),
        ..Step::default()
    };
    shop.steps = vec![failed(1, None, web, ""), failed(2, Some(1), pay, "ledger lock timed out")];
    shop.patterns = vec![Pattern {
        entity: pay,
        text: "ledger lock timed out".into(),
        added: 500.0,
        bad: true,
    }];
    shop.alarmed = Some(web);
    shop
}

fn add(observed: &mut Observed, name: &str, metric: &str, before: f64, after: f64) {
    let entity = observed.entity(name);
    let value = |i: u32| (if i < 60 { before } else { after }) * (1.0 + f64::from(i % 5) * 0.02);
    let points = (0..90).map(|i| (f64::from(i) * 60.0, value(i))).collect();
    observed.series.push(Series { entity, metric: metric.into(), points });
}

fn commit(id: &str, minute: u32, diff: &str) -> Commit {
    Commit {
        id: id.into(),
        at: f64::from(minute) * 60.0,
        files: vec!["services/pay/ledger.go".into()],
        diff: Some(diff.into()),
        ..Commit::default()
    }
}

fn deploy(commit: &str, minute: u32) -> Deploy {
    Deploy { service: "pay".into(), at: f64::from(minute) * 60.0, commit: commit.into() }
}

#[test]
fn the_change_that_does_it_is_told_from_those_beside_it() {
    let mut shop = shop();
    shop.commits = vec![
        commit("tidy", 55, "-\ta := ledger.Lock(x)\n+\ta := ledger.Lock(x)"),
        commit("cause", 40, "-\tledger.LockTimeout = 30\n+\tledger.LockTimeout = 1"),
        commit("late", 70, "-\tledger.LockTimeout = 30\n+\tledger.LockTimeout = 1"),
        commit("bound", 50, "-\tmail.MaxSize = 30\n+\tmail.MaxSize = 1"),
    ];
    shop.deploys = [("cause", 45), ("tidy", 58), ("late", 71), ("bound", 52)]
        .map(|(c, m)| deploy(c, m))
        .into();
    let found = explain(&shop);
    assert_eq!(found.cause, Cause::Change { id: "cause".into() }, "{found:?}");
    assert_eq!((found.first.as_deref(), found.remedy), (Some("pay"), Remedy::Rollback));
    assert_eq!(found.reached, ["web"]);
    assert!((found.onset.unwrap() - 3600.0).abs() < 61.0);
    assert_eq!(found.refused.len(), 3);
    let late = found.refused.iter().find(|r| r.id == "late").unwrap();
    assert!(late.strength <= 0.0 && late.why.contains("after the beginning"));
}

#[test]
fn demand_and_outsiders_need_no_change() {
    let mut crowd = shop();
    crowd.steps.clear();
    crowd.observed.series.retain(|s| s.metric != "requests_per_sec");
    add(&mut crowd.observed, "pay", "requests_per_sec", 100.0, 600.0);
    crowd.commits = vec![commit("tidy", 55, "-\ta := b(x)\n+\ta := c(x)")];
    let found = explain(&crowd);
    assert_eq!((found.cause, found.remedy), (Cause::Load, Remedy::Scale));

    let mut cloud = shop();
    cloud.steps[1].outside = Some("bank".into());
    cloud.outages = vec![Outage { who: "bank".into(), from: 3500.0, to: None }];
    let found = explain(&cloud);
    assert_eq!(found.cause, Cause::Outside { who: "bank".into() });
    assert_eq!(found.remedy, Remedy::Failover);
}

#[test]
fn work_that_was_given_up_is_the_callers_trouble() {
    let mut shop = shop();
    shop.steps[0].error = "deadline exceeded".into();
    shop.steps[1].error = "context canceled".into();
    shop.patterns[0].text = "canceled by client".into();
    shop.observed.series[0].metric = "cancelled_share".into();
    let found = explain(&shop);
    assert_eq!(found.first.as_deref(), Some("web"), "{found:?}");
    assert!(found.reached.is_empty());
}

#[test]
fn nothing_known_nothing_named_and_odd_figures_do_no_harm() {
    let none = explain(&Incident::default());
    assert_eq!((none.cause, none.first), (Cause::Unknown, None));
    let mut odd = shop();
    odd.observed.series[0].points.extend([(f64::NAN, 1.0), (1.0, f64::INFINITY)]);
    odd.steps[1].parent = Some(2);
    odd.alarmed = Some(99);
    assert!(explain(&odd).strength.is_finite());
}
