//! How fast the store and a recording take signals in, and what they weigh.
//!
//! `cargo run --release -p taproot-store --example bench [FOLDER] [SECONDS]`
//! prints one line a figure. The input is synthetic: 40 edges with three
//! statuses each, 15 metrics an edge, one batch a second.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taproot_model::{
    Edge, Endpoint, Flow, Histogram, Metric, MetricKind, Protocol, Requests, Role, Signal, Span,
    Timestamp, Transport,
};
use taproot_store::recording::{Header, RecordingReader, RecordingWriter};
use taproot_store::{Durability, SqliteStore, Store, StoreOptions};

const START: Timestamp = Timestamp(1_795_000_200_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u32 = args.next().map_or(Ok(300), |s| s.parse())?;
    let folder = folder.join(format!("taproot-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let batches: Vec<Vec<Signal>> = (1..=seconds).map(batch).collect();
    let signals: usize = batches.iter().map(Vec::len).sum();
    println!("{signals} signals in {seconds} batches");
    recording(&folder.join("recording"), &batches)?;
    store(&folder.join("process.db"), &batches, Durability::Process)?;
    store(&folder.join("power.db"), &batches, Durability::Power)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn recording(path: &Path, batches: &[Vec<Signal>]) -> Result<(), Box<dyn Error>> {
    let mut writer = RecordingWriter::create(path, &Header::default())?;
    let started = Instant::now();
    for batch in batches {
        writer.write(batch)?;
    }
    let (signals, bytes) = (writer.signals(), writer.bytes());
    rate("recording, write", signals, started.elapsed());
    weight("recording", signals, bytes);
    writer.finish()?;
    let started = Instant::now();
    let back = RecordingReader::open(path)?.try_fold(0, |n, signal| signal.map(|_| n + 1))?;
    rate("recording, read", back, started.elapsed());
    Ok(())
}

fn store(
    path: &Path,
    batches: &[Vec<Signal>],
    durability: Durability,
) -> Result<(), Box<dyn Error>> {
    let options = StoreOptions { durability, ..StoreOptions::default() };
    let mut store = SqliteStore::open(path, options)?;
    let mut waits = Vec::new();
    let started = Instant::now();
    for batch in batches {
        let began = Instant::now();
        store.append(batch)?;
        waits.push(began.elapsed());
    }
    let stats = store.stats()?;
    rate(&format!("store, append ({durability:?})"), stats.appended, started.elapsed());
    waits.sort();
    println!(
        "  a batch: p50 {:?}, p99 {:?}",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100]
    );
    weight("store, 1 s rows", stats.appended, stats.bytes);
    read(&store)?;
    for (label, age) in [("10 s rows", 16 * 60), ("5 min rows", 25 * 3600)] {
        roll_up(&mut store, label, START + SECOND * batches.len() as u32 + SECOND * age)?;
    }
    Ok(())
}

fn read(store: &SqliteStore) -> Result<(), Box<dyn Error>> {
    let (mut n, started) = (0, Instant::now());
    store.read(Span::new(START, Timestamp(u64::MAX)), &mut |_| n += 1)?;
    rate("store, read", n, started.elapsed());
    Ok(())
}

fn roll_up(store: &mut SqliteStore, label: &str, now: Timestamp) -> Result<(), Box<dyn Error>> {
    let (mut rows, mut into, started) = (0, 0, Instant::now());
    let mut longest = Duration::ZERO;
    loop {
        let began = Instant::now();
        let done = store.maintain(now)?;
        longest = longest.max(began.elapsed());
        rows += done.rolled_up;
        into += done.into;
        if !done.pending {
            break;
        }
    }
    rate(&format!("store, roll up to {label}"), rows, started.elapsed());
    println!("  {rows} rows into {into}, longest step {longest:?}");
    weight(&format!("store, {label}"), into, store.stats()?.bytes);
    Ok(())
}

fn rate(what: &str, n: u64, took: Duration) {
    println!("{what}: {:.0} signals/s", n as f64 / took.as_secs_f64());
}

fn weight(what: &str, n: u64, bytes: u64) {
    println!("{what}: {:.1} bytes/signal", bytes as f64 / n.max(1) as f64);
}

/// One second of a small cluster. Values wander, so that nothing compresses for being equal.
fn batch(second: u32) -> Vec<Signal> {
    let at = START + SECOND * second;
    let mut noise = Noise(u64::from(second) * 7919);
    let mut out = Vec::new();
    for n in 0..40 {
        let edge = edge(n);
        let mut flow = Flow::empty(at, 1_000_000_000, edge.clone(), Transport::Tcp);
        flow.tx_bytes = noise.below(1 << 20);
        flow.rx_bytes = noise.below(1 << 22);
        flow.tx_packets = noise.below(2000);
        flow.rx_packets = noise.below(4000);
        flow.open = noise.below(40);
        flow.rtt = noise.latencies(20, 200_000);
        out.push(Signal::Flow(Box::new(flow)));
        for status in [200, 404, 503] {
            out.push(requests(at, edge.clone(), status, &mut noise));
        }
        out.extend((0..15).map(|m| metric(at, &edge, m, noise.below(1 << 30) as f64 / 1024.0)));
    }
    out
}

fn edge(n: u16) -> Edge {
    let end = |role: &str, port| Endpoint {
        entity: format!("container:{:064x}", u64::from(n) * 0x9e37_79b9_7f4a).into(),
        service: format!("shop/{role}-{n}").into(),
        instance: format!("{role}-{n}-7d9c5b6f4-x2x9z").into(),
        addr: ([10, 244, 1, n as u8], port).into(),
    };
    Edge { client: end("caller", 0), server: end("callee", 8080), via: None, role: Role::Client }
}

fn requests(at: Timestamp, edge: Edge, status: u16, noise: &mut Noise) -> Signal {
    let count = noise.below(400) + 1;
    Signal::Requests(Box::new(Requests {
        at,
        interval: 1_000_000_000,
        edge,
        protocol: Protocol::Http,
        method: "GET".into(),
        route: "/api/products/{id}".into(),
        status,
        code: "".into(),
        error: status >= 500,
        count,
        request_bytes: count * 300,
        response_bytes: count * noise.below(10_000),
        latency: noise.latencies(count, 5_000_000),
    }))
}

fn metric(at: Timestamp, edge: &Edge, n: u8, value: f64) -> Signal {
    Signal::Metric(Metric {
        at,
        interval: 0,
        entity: edge.server.entity.clone(),
        name: format!("taproot.bench.{n}").into(),
        attribute: "".into(),
        kind: MetricKind::Gauge,
        value,
    })
}

/// A small deterministic generator (Steele, Lea and Flood's `SplitMix64`).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn latencies(&mut self, n: u64, around: u64) -> Histogram {
        let mut out = Histogram::default();
        (0..n).for_each(|_| out.record(around / 2 + self.below(around) + self.below(around)));
        out
    }
}
