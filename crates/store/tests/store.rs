//! The embedded store: what goes in comes out, coarser with age, and never more than allowed.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod common;

use common::{SECOND, all, any_signal, at, edge, entity, flow, loss, metric, requests};
use proptest::prelude::*;
use std::time::Duration;
use taproot_model::{
    Exemplar, Flow, Histogram, MetricKind, Protocol, Requests, Signal, Span, Timestamp,
    metric as names,
};
use taproot_store::{
    Report, ReportHead, Retention, Source, SourceError, SqliteStore, Store, StoreError,
    StoreOptions,
};
use tempfile::TempDir;

fn open(folder: &TempDir) -> SqliteStore {
    open_with(folder, Retention::default())
}

fn open_with(folder: &TempDir, retention: Retention) -> SqliteStore {
    let options = StoreOptions { retention, ..StoreOptions::default() };
    SqliteStore::open(&folder.path().join("taproot.db"), options).unwrap()
}

fn read(store: &SqliteStore, span: Span) -> Vec<Signal> {
    let mut out = Vec::new();
    store.read(span, &mut |signal| out.push(signal)).unwrap();
    out
}

fn flows(signals: &[Signal]) -> Vec<&Flow> {
    signals.iter().filter_map(|s| if let Signal::Flow(f) = s { Some(&**f) } else { None }).collect()
}

fn request_rows(signals: &[Signal]) -> Vec<&Requests> {
    signals
        .iter()
        .filter_map(|s| if let Signal::Requests(r) = s { Some(&**r) } else { None })
        .collect()
}

/// Upkeep until there is nothing left to do now.
fn settle(store: &mut SqliteStore, now: Timestamp) {
    for _ in 0..1000 {
        if !store.maintain(now).unwrap().pending {
            return;
        }
    }
    panic!("upkeep never comes to an end");
}

#[test]
fn every_kind_comes_back_in_order_of_time_with_owners_first() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    let exemplar = Signal::Exemplar(Box::new(Exemplar {
        at: at(2),
        edge: edge(),
        protocol: Protocol::Http,
        method: "GET".into(),
        path: "/products/7".into(),
        route: "/products/{id}".into(),
        status: 503,
        code: "".into(),
        error: true,
        first_byte: 5,
        duration: 9,
        stages: None,
        origin: None,
        request_bytes: 1,
        response_bytes: 2,
    }));
    let cpu = metric(at(4), names::CPU_TIME, MetricKind::Delta, 0.25);
    let batch = [loss(at(5), 3), cpu, flow(at(1), 10), exemplar, requests(at(3), 4)];
    let ack = store.append(&batch).unwrap();
    assert_eq!(ack.signals, 5);
    store.append(&[entity("container:gateway")]).unwrap();
    let [loss, cpu, flow, exemplar, requests] = batch;
    let owner = entity("container:gateway");
    assert_eq!(read(&store, all()), [owner, flow, exemplar, requests, cpu, loss]);
}

#[test]
fn a_span_is_half_open() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    let batch: Vec<_> = (1..=5).map(|s| flow(at(s), s)).collect();
    store.append(&batch).unwrap();
    assert_eq!(read(&store, Span::new(at(2), at(4))), batch[1..3]);
    let extent = store.extent().unwrap().unwrap();
    assert_eq!(extent.from, at(1));
    assert!(extent.contains(at(5)) && !extent.contains(at(6)));
}

#[test]
fn not_a_number_and_extreme_counts_survive() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[flow(at(1), u64::MAX)]).unwrap();
    store.append(&[metric(at(2), "x", MetricKind::Gauge, f64::NAN)]).unwrap();
    let back = read(&store, all());
    assert_eq!(flows(&back)[0].tx_bytes, u64::MAX);
    assert!(matches!(&back[1], Signal::Metric(m) if m.value.is_nan()));
}

#[test]
fn roll_ups_keep_every_count_and_bucket() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    let (mut rtt, mut latency) = (Histogram::default(), Histogram::default());
    for second in 1..=600 {
        let batch = [flow(at(second), second), requests(at(second), second % 5)];
        rtt.merge(&flows(&batch)[0].rtt);
        latency.merge(&request_rows(&batch)[0].latency);
        store.append(&batch).unwrap();
    }
    let bytes = (1..=600).sum::<u64>();
    let count = (1..=600).map(|s| s % 5).sum::<u64>();
    for (now, rows, interval) in [(600, 600, 1), (600 + 900, 60, 10), (86_400 + 900, 2, 300)] {
        settle(&mut store, at(now));
        let back = read(&store, all());
        let (flows, requests) = (flows(&back), request_rows(&back));
        assert_eq!((flows.len(), requests.len()), (rows, rows), "after {now} s");
        assert!(flows.iter().all(|f| f.interval == interval * SECOND));
        assert_eq!(flows.iter().map(|f| f.tx_bytes).sum::<u64>(), bytes);
        assert_eq!(requests.iter().map(|r| r.count).sum::<u64>(), count);
        assert_eq!(flows.last().unwrap().open, 600 % 7, "a level is the last one");
        let drops: u64 = flows.iter().map(|f| f.drops["NO_SOCKET"]).sum();
        assert_eq!(drops, 600);
        let (mut rtt_back, mut latency_back) = (Histogram::default(), Histogram::default());
        for flow in flows {
            rtt_back.merge(&flow.rtt);
        }
        for row in requests {
            latency_back.merge(&row.latency);
        }
        assert_eq!((&rtt_back, &latency_back), (&rtt, &latency));
    }
}

#[test]
fn a_roll_up_takes_the_interval_that_ends_with_it() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[flow(at(10), 1), flow(at(11), 2), flow(at(20), 4)]).unwrap();
    settle(&mut store, at(20 + 900));
    let back = read(&store, all());
    let rows: Vec<_> = flows(&back).iter().map(|f| (f.at, f.tx_bytes)).collect();
    assert_eq!(rows, [(at(10), 1), (at(20), 6)]);
}

#[test]
fn a_coarse_gauge_keeps_the_worst_and_a_delta_the_sum() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    for (second, value) in [(1, 0.5), (2, 4.0), (3, 1.5)] {
        let batch = [
            metric(at(second), names::MEMORY_USAGE, MetricKind::Gauge, value),
            metric(at(second), names::COVERAGE, MetricKind::Gauge, value),
            metric(at(second), names::CPU_TIME, MetricKind::Delta, value),
        ];
        store.append(&batch).unwrap();
    }
    settle(&mut store, at(10 + 900));
    let back: Vec<_> = read(&store, all())
        .into_iter()
        .map(|s| if let Signal::Metric(m) = s { m } else { panic!("{s:?}") })
        .collect();
    let values: Vec<_> = back.iter().map(|m| (m.name.as_str(), m.value, m.interval)).collect();
    let want = [
        (names::MEMORY_USAGE, 4.0, 0),
        (names::COVERAGE, 0.5, 0),
        (names::CPU_TIME, 6.0, 10 * SECOND),
    ];
    assert_eq!(values, want);
}

#[test]
fn what_is_too_old_goes_and_takes_its_owners_along() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[entity("container:gateway"), flow(at(1), 1), loss(at(1), 1)]).unwrap();
    let days = |n: u64| n * 86_400;
    settle(&mut store, at(days(29)));
    assert_eq!(read(&store, all()).len(), 3);
    // A signal of today about another owner keeps the store from being empty.
    store.append(&[entity("node:a"), loss(at(days(31)), 2)]).unwrap();
    settle(&mut store, at(days(31)));
    assert_eq!(read(&store, all()), [entity("node:a"), loss(at(days(31)), 2)]);
}

#[test]
fn an_owner_that_is_still_seen_stays() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[entity("node:a"), loss(at(0), 1)]).unwrap();
    for day in 1..=40 {
        store.append(&[loss(at(day * 86_400), 1)]).unwrap();
        settle(&mut store, at(day * 86_400));
    }
    let back = read(&store, all());
    assert_eq!(back[0], entity("node:a"));
    assert!(back.len() < 40, "events of the first days are gone: {}", back.len());
}

#[test]
fn a_series_that_was_forgotten_may_come_back() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[flow(at(1), 1)]).unwrap();
    let later = 40 * 86_400;
    store.append(&[loss(at(later), 1)]).unwrap();
    settle(&mut store, at(later));
    assert_eq!(read(&store, all()), [loss(at(later), 1)]);
    store.append(&[flow(at(later), 2)]).unwrap();
    assert_eq!(flows(&read(&store, all()))[0].tx_bytes, 2);
}

#[test]
fn the_size_limit_holds_and_the_newest_stays() {
    let folder = TempDir::new().unwrap();
    let max_bytes = 1 << 20;
    let mut store = open_with(&folder, Retention { max_bytes, ..Retention::default() });
    for second in 1..=30_u64 {
        let when = at(second * 60);
        let batch: Vec<_> = (0..1000).map(|n| flow(when, n)).collect();
        store.append(&batch).unwrap();
        settle(&mut store, when);
        assert!(store.stats().unwrap().bytes <= max_bytes, "minute {second}");
    }
    let back = read(&store, all());
    assert_eq!(flows(&back).last().unwrap().at, at(30 * 60));
    let oldest = flows(&back)[0].at;
    assert!(oldest > at(60), "the oldest went first");
    let on_disk = std::fs::metadata(store.path()).unwrap().len();
    assert!(on_disk < 4 * max_bytes, "space was given back: {on_disk} bytes on disk");
}

#[test]
fn reports_are_listed_newest_first_and_replaced_by_id() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    let report = |id: &str, second, text: &str| Report {
        head: ReportHead {
            id: id.into(),
            at: at(second),
            service: "shop/gateway".into(),
            title: "a burner".into(),
        },
        text: text.into(),
        json: "{}".into(),
    };
    for r in [report("a", 1, "one"), report("b", 2, "two"), report("a", 1, "one again")] {
        store.put_report(&r).unwrap();
    }
    let ids: Vec<_> = store.list_reports(all()).unwrap().into_iter().map(|h| h.id).collect();
    assert_eq!(ids, ["b".into(), "a".into()]);
    assert_eq!(store.report("a").unwrap().unwrap().text, "one again");
    assert_eq!(store.report("c").unwrap(), None);
    assert!(store.list_reports(Span::new(at(3), at(9))).unwrap().is_empty());
}

#[test]
fn stats_count_what_is_there() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    store.append(&[flow(at(1), 1), flow(at(2), 1), loss(at(3), 1)]).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.appended, stats.newest), (3, Some(at(3))));
    let rows = |name: &str| stats.tables.iter().find(|t| t.name.as_str() == name).unwrap();
    assert_eq!((rows("flows 1s").rows, rows("flows 1s").oldest), (2, Some(at(1))));
    assert_eq!((rows("events").rows, rows("requests 10s").rows), (1, 0));
    assert!(stats.bytes > 0 && stats.max_bytes == 1 << 30);
}

#[test]
fn a_source_says_what_it_is_and_gives_the_same_signals() {
    let folder = TempDir::new().unwrap();
    let mut store = open(&folder);
    // A request is written when it ends, 30 s after what it began with.
    let batch = [entity("container:gateway"), flow(at(40), 1), requests(at(10), 2)];
    store.append(&batch).unwrap();
    let recording = folder.path().join("r");
    let header = taproot_store::recording::Header::default();
    let mut writer =
        taproot_store::recording::RecordingWriter::create(&recording, &header).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let [owner, flow, requests] = batch;
    let want = [owner, requests, flow];
    for path in [store.path(), &recording] {
        let source = Source::detect(path).unwrap();
        let mut back = Vec::new();
        let extent = source.read(all(), &mut |s| back.push(s)).unwrap();
        assert_eq!(back, want, "{source}");
        assert_eq!(extent.signals, 3);
        assert_eq!(extent.span, source.extent().unwrap());
        assert_eq!(extent.span.unwrap().from, at(10));
        let mut late = Vec::new();
        source.read(Span::new(at(20), at(50)), &mut |s| late.push(s)).unwrap();
        assert_eq!(late, [want[0].clone(), want[2].clone()], "{source}");
    }
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    assert!(matches!(Source::detect(&text), Err(SourceError::Neither(_))));
    assert!(matches!(Source::detect(&folder.path().join("no")), Err(SourceError::Open { .. })));
}

#[test]
fn an_append_that_fails_keeps_nothing_of_its_batch() {
    let folder = TempDir::new().unwrap();
    let mut writer = open(&folder);
    writer.append(&[flow(at(1), 1)]).unwrap();
    let mut reader = SqliteStore::open_read_only(writer.path()).unwrap();
    let refused = reader.append(&[flow(at(2), 2)]);
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    assert_eq!(read(&reader, all()), [flow(at(1), 1)]);
    writer.append(&[flow(at(3), 3)]).unwrap();
    assert_eq!(read(&reader, all()).len(), 2, "a reader sees what was written meanwhile");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_signals_come_back(signals in prop::collection::vec(any_signal(), 0..30)) {
        let folder = TempDir::new().unwrap();
        let mut store = open(&folder);
        store.append(&signals).unwrap();
        let back = read(&store, all());
        let (owners, mut rest): (Vec<_>, Vec<_>) =
            signals.into_iter().partition(|s| s.at().is_none());
        rest.sort_by_key(Signal::at);
        let mut timed: Vec<_> = back.iter().filter(|s| s.at().is_some()).cloned().collect();
        // Signals of one time may come table by table.
        let text = |s: &Signal| (s.at(), format!("{s:?}"));
        timed.sort_by_key(text);
        rest.sort_by_key(text);
        prop_assert_eq!(timed, rest);
        for owner in back.iter().filter(|s| s.at().is_none()) {
            prop_assert!(owners.contains(owner));
        }
        prop_assert!(back.iter().filter_map(Signal::at).is_sorted());
        settle(&mut store, at(0) + Duration::from_hours(1));
    }
}
