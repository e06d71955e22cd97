//! Lines per second of the miner and the gibberish detector on one core.
//!
//! `cargo bench -p taproot-patterns` prints millions of lines per second of CPU
//! time: the best and the median of several rounds. Set `TAPROOT_LOGHUB` to the
//! folder of the unpacked Loghub-2k sets to measure on real logs as well.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use taproot_patterns::gibberish::Monitor;
use taproot_patterns::miner::{Config, Miner};

const LINES: usize = 200_000;

/// CPU seconds of this thread: what else runs on the machine does not count.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_secs_f64()
}

/// Lines such as a shop writes: few shapes, many values.
fn service() -> Vec<String> {
    (0..LINES as u64)
        .map(|at| {
            let id = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match at % 5 {
                0 => format!(
                    "2026-11-20 20:58:54.{:03} INFO [http-{}] served GET /product/{at} in {} ms",
                    at % 1000,
                    at % 16,
                    id % 500
                ),
                1 => format!(
                    "connection from 10.0.{}.{}:{} accepted",
                    at % 256,
                    id % 256,
                    id % 65_536
                ),
                2 => format!(
                    "level=info msg=\"cache lookup\" key=item:{id:x} hit=true size={}",
                    id % 4096
                ),
                3 => format!(
                    "order {id:016x} for user u{} placed, total {}.{:02} EUR",
                    at % 5000,
                    id % 100,
                    id % 99
                ),
                _ => format!(
                    "WARN retry {} of 5 to inventory:8080 after {}ms: connection refused",
                    at % 5,
                    id % 900
                ),
            }
        })
        .collect()
}

/// Lines of random words: every one a new shape.
fn hostile() -> Vec<String> {
    let word = |seed: u64| -> String {
        (0..5).map(|place| char::from(b'a' + (seed >> (place * 5) & 15) as u8)).collect()
    };
    let line = |at: u64| -> String {
        let words: Vec<_> = (1..=10)
            .map(|place| word((at * 31 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 13))
            .collect();
        words.join(" ")
    };
    (0..LINES as u64 / 10).map(line).collect()
}

/// The messages of all sets under a folder, repeated to the number of lines.
fn loghub(folder: &Path) -> Vec<String> {
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let bytes = std::fs::read(entry.path().join(format!("{name}_2k.log"))).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let texts: Vec<_> = entries.flatten().filter_map(read).collect();
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    lines
        .iter()
        .cycle()
        .take(if lines.is_empty() { 0 } else { LINES })
        .map(|line| (*line).to_owned())
        .collect()
}

/// The best and the median round, in millions of lines per second.
fn rounds(lines: &[String], one: impl Fn(&[String])) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..7)
        .map(|_| {
            let started = cpu();
            one(lines);
            lines.len() as f64 / (cpu() - started) / 1e6
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[rounds.len() - 1], rounds[rounds.len() / 2])
}

fn mine(lines: &[String]) {
    let mut miner = Miner::new(Config::default());
    for (at, line) in lines.iter().enumerate() {
        black_box(miner.add(line, at as u64));
    }
}

fn watch(lines: &[String]) {
    let mut monitor = Monitor::default();
    for (at, line) in lines.iter().enumerate() {
        black_box(monitor.observe(line.as_bytes(), at as u64));
    }
}

fn main() {
    println!("{:<24}{:>8}{:>8}", "M lines/s", "best", "median");
    let mut sets = vec![("service", service()), ("hostile", hostile())];
    if let Some(folder) = std::env::var_os("TAPROOT_LOGHUB") {
        sets.push(("loghub", loghub(Path::new(&folder))));
    }
    for (name, lines) in &sets {
        let (best, median) = rounds(lines, mine);
        println!("{:<24}{best:>8.2}{median:>8.2}", format!("mine {name}"));
    }
    let (best, median) = rounds(&sets[0].1, watch);
    println!("{:<24}{best:>8.2}{median:>8.2}", "gibberish service");
}
