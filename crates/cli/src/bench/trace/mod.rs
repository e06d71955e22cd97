//! What a trace costs the packets, what it loses, and when it sees the first one.
//!
//! A UDP request and its answer pass a router with firewall rules and connection
//! tracking, and a bridge. Softirqs run in the context of whoever sends, so that the
//! CPU time of this process is that of the whole way. In a guest whose clock counts
//! instructions a nanosecond is an instruction.

mod bed;

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use taproot_probes::trace::{Account, Options, Tier, Tracer};
use taproot_trace::filter::Expr;

use super::figure::Figure;
use bed::{Bed, POD, PORT};

/// Requests of one turn.
const REQUESTS: u32 = 4000;
/// Each with so many bytes.
const SIZE: usize = 64;
/// A host that none of the packets is from or to.
const OTHERS: &str = "host 9.9.9.9";
/// What nobody reads has to fit: a turn's hops.
const RING: u32 = 128 << 20;
/// Requests a second at which nothing may be lost, and for how long.
const RATE: u32 = 1200;
const PACED: Duration = Duration::from_secs(3);
/// Between two requests while a trace starts.
const PAUSE: Duration = Duration::from_micros(200);
/// How often whoever traces looks into the ring.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One round: the same traffic without a trace, beside one, and in one.
struct Round {
    none: f64,
    others: f64,
    /// Beside one with hooks on functions; none where the kernel does not allow them.
    functions: Option<f64>,
    matching: f64,
    hops: f64,
    /// Hops that are neither delivered nor reported as lost, at full speed and paced.
    unaccounted: f64,
    /// Lost at the paced rate.
    lost: f64,
    /// What the paced rate was.
    rate: f64,
    /// Seconds from the start of the program to the first hop.
    first: f64,
}

/// Measures; one round after the other, everything in turn.
pub(super) fn figures(rounds: u32) -> Result<Vec<Figure>> {
    let _bed = Bed::make()?;
    let (server, client) = bed::sockets()?;
    let measured = std::thread::scope(|scope| {
        scope.spawn(|| echo(&server));
        let measured = (1..=rounds).map(|number| {
            let round = round(&client);
            eprintln!("· trace: round {number} of {rounds} is done");
            round
        });
        let measured = measured.collect::<Result<Vec<Round>>>();
        // An empty request ends the server.
        client.send_to(&[], (POD, PORT))?;
        measured
    })?;
    let compared = |name: &str, of: fn(&Round) -> f64| {
        let pairs: Vec<_> = measured.iter().map(|round| (of(round), round.none)).collect();
        Figure::compared(name, "ns", &pairs)
    };
    let alone = |name: &str, unit, of: fn(&Round) -> f64| {
        Figure::alone(name, unit, &measured.iter().map(of).collect::<Vec<_>>())
    };
    let mut figures = vec![
        compared("trace.cpu_per_request.no_match", |r| r.others).ratio_at_most(1.2),
        compared("trace.cpu_per_request.match", |r| r.matching).ratio_at_most(1.8),
        alone("trace.hops_per_request", "hops", |r| r.hops),
        alone("trace.unaccounted", "hops", |r| r.unaccounted).at_most(0.0),
        alone("trace.lost_when_paced", "hops", |r| r.lost).at_most(0.0),
        alone("trace.requests_per_second.paced", "1/s", |r| r.rate),
        alone("trace.start_to_first_hop", "s", |r| r.first).at_most(1.0),
    ];
    let pairs: Vec<_> =
        measured.iter().filter_map(|round| Some((round.functions?, round.none))).collect();
    if !pairs.is_empty() {
        let figure = Figure::compared("trace.cpu_per_request.no_match_functions", "ns", &pairs);
        figures.push(figure.ratio_at_most(2.0));
    }
    Ok(figures)
}

fn round(client: &UdpSocket) -> Result<Round> {
    let none = turn(client)?;
    let tracer = start(OTHERS, RING)?;
    let others = turn(client)?;
    drop(tracer);
    let functions = beside_functions(client)?;
    let ours = format!("udp port {PORT}");
    // Nobody reads: the kernel's side alone.
    let mut tracer = start(&ours, RING)?;
    let matching = turn(client)?;
    tracer.stop()?;
    let whole = tracer.account()?;
    let paced = paced(client, &ours)?;
    Ok(Round {
        none,
        others,
        functions,
        matching,
        hops: whole.produced as f64 / f64::from(REQUESTS),
        unaccounted: (unaccounted(&whole) + unaccounted(&paced.account)) as f64,
        lost: (paced.account.ring_full + paced.account.over_budget) as f64,
        rate: paced.rate,
        first: first_hop(client, &ours)?,
    })
}

fn beside_functions(client: &UdpSocket) -> Result<Option<f64>> {
    let tests = Expr::parse(OTHERS)?.compile()?;
    let tracer = Tracer::start(&Options {
        tests,
        ring_bytes: RING,
        budget: 0,
        tier: Tier::Function,
        ..Options::default()
    })?;
    if !tracer.missing_tiers().is_empty() {
        return Ok(None);
    }
    turn(client).map(Some)
}

fn unaccounted(account: &Account) -> u64 {
    account.produced.abs_diff(account.delivered + account.ring_full + account.over_budget)
}

fn start(filter: &str, ring_bytes: u32) -> Result<Tracer> {
    let tests = Expr::parse(filter)?.compile()?;
    Ok(Tracer::start(&Options { tests, ring_bytes, budget: 0, ..Options::default() })?)
}

/// CPU nanoseconds of one request and its answer.
fn turn(client: &UdpSocket) -> Result<f64> {
    // Conntrack, routes and neighbours are known after the first ones.
    (0..50).try_for_each(|_| ask(client))?;
    let begin = cpu_nanos();
    (0..REQUESTS).try_for_each(|_| ask(client))?;
    Ok((cpu_nanos() - begin) as f64 / f64::from(REQUESTS))
}

fn ask(client: &UdpSocket) -> Result<()> {
    client.send_to(&[b'x'; SIZE], (POD, PORT))?;
    client.recv(&mut [0; SIZE]).context("the bench's pod does not answer")?;
    Ok(())
}

fn echo(server: &UdpSocket) {
    let mut buffer = [0; SIZE];
    while let Ok((length, from)) = server.recv_from(&mut buffer) {
        if length == 0 || server.send_to(&buffer[..length], from).is_err() {
            return;
        }
    }
}

struct Paced {
    account: Account,
    rate: f64,
}

/// Requests at a fixed rate, all of which match, with somebody who reads.
fn paced(client: &UdpSocket, filter: &str) -> Result<Paced> {
    let defaults = Options::default();
    let mut tracer = start(filter, defaults.ring_bytes)?;
    let requests = (PACED.as_secs_f64() * f64::from(RATE)) as u32;
    let rate = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_at(client, requests));
        while !asking.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            tracer.poll()?;
        }
        asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    tracer.stop()?;
    Ok(Paced { account: tracer.account()?, rate })
}

/// Asks so often, and says how many a second it came to.
fn ask_at(client: &UdpSocket, requests: u32) -> Result<f64> {
    let begin = Instant::now();
    for number in 0..requests {
        ask(client)?;
        let due = Duration::from_secs(1) * (number + 1) / RATE;
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok(f64::from(requests) / begin.elapsed().as_secs_f64())
}

/// Seconds from the start of `taproot trace` to the first hop that it saw.
fn first_hop(client: &UdpSocket, filter: &str) -> Result<f64> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut trace = Command::new(program);
    trace.args(["trace", filter, "--count", "1", "--for", "60s", "-o", "json"]);
    let over = AtomicBool::new(false);
    let begin = SystemTime::now();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Without an answer nothing is seen either, and that is told below.
            while !over.load(Ordering::Relaxed) && ask(client).is_ok() {
                std::thread::sleep(PAUSE);
            }
        });
        let output = trace.output().context("running taproot trace");
        over.store(true, Ordering::Relaxed);
        output
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut first = u64::MAX;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let hops = line["hops"].as_array().into_iter().flatten();
        first = hops.filter_map(|hop| hop["at"].as_u64()).fold(first, u64::min);
    }
    ensure!(first != u64::MAX, "taproot trace saw no hop within a minute; try `taproot doctor`");
    let begin = begin.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    Ok(first.saturating_sub(begin) as f64 / 1e9)
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
