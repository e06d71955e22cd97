//! The miner on plain and on hostile input.

use std::collections::HashSet;

use proptest::prelude::*;
use taproot_patterns::miner::{Config, Miner, TemplateId};

fn templates(lines: &[&str]) -> Vec<(String, u64)> {
    let mut miner = Miner::new(Config::default());
    lines.iter().enumerate().for_each(|(at, line)| {
        miner.add(line, at as u64);
    });
    miner.snapshot().patterns.into_iter().map(|found| (found.template, found.count)).collect()
}

#[test]
fn values_do_not_make_templates() {
    let found = templates(&[
        "connected to 10.0.0.1:443 in 12ms",
        "connected to 10.0.0.2:8443 in 3.5ms",
        "connected to 10.0.0.1:443 in 7s",
    ]);
    assert_eq!(found, [("connected to <*>:<*> in <*>".to_owned(), 3)]);
}

#[test]
fn words_become_values_once_enough_differ() {
    let line = |name: &str| format!("accepted password for account {name} from peer");
    let lines: Vec<_> = ["ann", "bob", "cem", "dora", "eve"].map(line).to_vec();
    let refs: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_eq!(templates(&refs[..3]).len(), 3);
    let merged = templates(&refs);
    assert_eq!(merged, [("accepted password for account <*> from peer".to_owned(), 5)]);
}

#[test]
fn opposites_stay_apart() {
    let found = templates(&["VM started", "VM stopped", "VM paused", "VM resumed", "VM deleted"]);
    assert_eq!(found.len(), 5);
}

#[test]
fn names_survive_merges() {
    let mut miner = Miner::new(Config::default());
    let ids: Vec<TemplateId> = ["ann", "bob", "cem", "dora"]
        .map(|name| {
            miner.add(format!("accepted password for account {name} from peer"), 0).template_id
        })
        .to_vec();
    assert_eq!(miner.len(), 1);
    assert!(ids.iter().all(|id| miner.resolve(*id) == ids[0]));
    assert_eq!(
        miner.template(ids[2]).as_deref(),
        Some("accepted password for account <*> from peer")
    );
}

#[test]
fn examples_hold_no_literals() {
    let mut miner = Miner::new(Config::default());
    miner.add("card 4111111111111111 of ann@shop.example at /home/ann", 7);
    let snapshot = miner.snapshot();
    assert_eq!(snapshot.patterns[0].example, "card <num> of <id> at <path>");
    assert_eq!((snapshot.patterns[0].first, snapshot.patterns[0].last), (7, 7));
}

#[test]
fn what_varied_is_not_shown() {
    let mut miner = Miner::new(Config::default());
    for name in ["ann", "bob", "cem", "dora"] {
        miner.add(format!("accepted password for account {name} from peer"), 0);
    }
    let snapshot = miner.snapshot();
    assert_eq!(snapshot.patterns[0].example, "accepted password for account <word> from peer");
}

#[test]
fn punctuation_costs_linear_time() {
    let started = std::time::Instant::now();
    let mut miner =
        Miner::new(Config { tokens: 1 << 20, line_bytes: 1 << 20, ..Config::default() });
    for unit in ["a:", "1:", "a,", "1,", "((", "://", "blk_1111 ", "/?", "::", "Jan 1 ", "\u{1b}["]
    {
        miner.add(unit.repeat(20_000), 0);
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn hostile_lines_cost_bounded_memory() {
    let config = Config { templates: 100, shapes: 1000, tokens: 16, ..Config::default() };
    let mut miner = Miner::new(config);
    let mut state = 1_u64;
    for at in 0..20_000_u64 {
        let mut line = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let letters = state >> 40;
            line.extend((0..4).map(|place| char::from(b'a' + (letters >> (place * 5) & 15) as u8)));
            line.push(' ');
        }
        miner.add(&line, at);
        assert!(miner.len() <= config.templates);
    }
    let losses = miner.snapshot().losses;
    assert!(losses.evicted_templates > 0 && losses.evicted_lines > 0);
}

#[test]
fn long_lines_are_cut_and_counted() {
    let mut miner = Miner::new(Config::default());
    miner.add("x".repeat(1 << 20), 0);
    miner.add("y ".repeat(1 << 20), 0);
    assert_eq!(miner.snapshot().losses.cut_lines, 2);
    assert!(miner.snapshot().patterns.iter().all(|found| found.template.len() <= 8192 + 64));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_counted_once(lines in prop::collection::vec("[a-d]{1,2}( [a-c0-9=:,()]{1,3}){0,6}", 0..200)) {
        let mut miner = Miner::new(Config::default());
        let ids: Vec<_> = lines.iter().map(|line| miner.add(line, 0).template_id).collect();
        let snapshot = miner.snapshot();
        let counted: u64 = snapshot.patterns.iter().map(|found| found.count).sum();
        prop_assert_eq!(counted, lines.len() as u64);
        let texts: HashSet<_> = snapshot.patterns.iter().map(|found| &found.template).collect();
        prop_assert_eq!(texts.len(), snapshot.patterns.len(), "a template is there twice");
        for id in ids {
            prop_assert!(miner.template(id).is_some());
        }
        let back: Vec<_> = lines.iter().map(|line| miner.add(line, 1)).collect();
        prop_assert!(back.iter().all(|found| !found.is_new), "a known line made a template");
    }

    #[test]
    fn any_bytes_do(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..60)) {
        let config = Config { templates: 8, shapes: 32, tokens: 12, line_bytes: 100, values: 2 };
        let mut miner = Miner::new(config);
        for line in &lines {
            miner.add(line, 0);
            prop_assert!(miner.len() <= config.templates);
        }
        let snapshot = miner.snapshot();
        let counted: u64 = snapshot.patterns.iter().map(|found| found.count).sum();
        prop_assert_eq!(counted + snapshot.losses.evicted_lines, lines.len() as u64);
    }
}
