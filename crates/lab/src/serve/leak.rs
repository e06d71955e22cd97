//! Faults a program commits itself: lost file descriptors, memory that grows,
//! log lines that turn to gibberish, bursts of errors.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::control::Watch;

const TICK: Duration = Duration::from_millis(100);
/// Share of the descriptor limit from which on log lines are damaged.
const GIBBERISH_FROM: f64 = 0.85;
/// How long a program without descriptors stays up.
const AGONY: Duration = Duration::from_secs(3);

static DAMAGED: AtomicBool = AtomicBool::new(false);
static LINES: AtomicU64 = AtomicU64::new(0);

/// Writes one log line; near the end of the descriptors, gibberish.
pub(crate) fn log(line: &str) {
    let mut bytes = line.as_bytes().to_vec();
    if DAMAGED.load(Ordering::Relaxed) {
        garble(&mut bytes, LINES.fetch_add(1, Ordering::Relaxed));
    }
    bytes.push(b'\n');
    // A pod whose log pipe is gone is being torn down.
    let _ = std::io::stdout().lock().write_all(&bytes);
}

/// What a buffer freed too early looks like in a log: NULs, bytes that are no
/// UTF-8, and here and there a piece of the old text. Never a line feed.
fn garble(bytes: &mut [u8], seed: u64) {
    // Constants of Knuth's MMIX linear congruential generator.
    let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    for (i, byte) in bytes.iter_mut().enumerate() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = match (state >> 60, i / 12 % 4) {
            (_, 3) => *byte,
            (0..=5, _) => 0,
            _ => (state >> 40) as u8 | 0x80,
        };
    }
}

/// Starts the threads that misbehave when they are told to.
pub(crate) fn start(state_dir: &Path, watch: &Watch) {
    let catalog = state_dir.join("config").join("catalog.json");
    let w = watch.clone();
    std::thread::spawn(move || leak_files(&catalog, &w));
    let w = watch.clone();
    std::thread::spawn(move || grow(&w));
    let w = watch.clone();
    std::thread::spawn(move || log_errors(&w));
}

/// How many whole units a rate gives in a time, with the rest carried over.
struct Meter {
    last: Instant,
    owed: f64,
}

impl Meter {
    fn new() -> Self {
        Self { last: Instant::now(), owed: 0.0 }
    }

    fn due(&mut self, per_second: f64) -> u64 {
        let now = Instant::now();
        self.owed += per_second * now.duration_since(self.last).as_secs_f64();
        self.last = now;
        let whole = self.owed.floor();
        self.owed -= whole;
        whole.max(0.0) as u64
    }
}

fn leak_files(catalog: &Path, watch: &Watch) {
    let mut lost = Vec::new();
    let mut meter = Meter::new();
    loop {
        std::thread::sleep(TICK);
        let rate = watch.get().leak_files_per_second;
        let due = meter.due(rate);
        if rate <= 0.0 {
            lost.clear();
            DAMAGED.store(false, Ordering::Relaxed);
            continue;
        }
        for _ in 0..due {
            match File::open(catalog) {
                Ok(file) => lost.push(file),
                Err(_) => die_silently(catalog, lost),
            }
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let near = lost.last().is_some_and(|f| share(f, limit) > GIBBERISH_FROM);
        DAMAGED.store(near, Ordering::Relaxed);
    }
}

/// Share of the limit in use: the kernel always gives the lowest free number,
/// so the newest file's number is the count.
fn share(newest: &File, limit: u64) -> f64 {
    use std::os::fd::AsRawFd;
    f64::from(newest.as_raw_fd()) / limit as f64
}

/// Lingers while calls fail, also takes what others give back, then ends without
/// a word, as a program does whose own error handler needs a descriptor.
fn die_silently(catalog: &Path, mut lost: Vec<File>) -> ! {
    let end = Instant::now() + AGONY;
    while Instant::now() < end {
        lost.extend(File::open(catalog));
        std::thread::sleep(Duration::from_millis(10));
    }
    std::process::exit(1);
}

fn grow(watch: &Watch) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    let mut meter = Meter::new();
    loop {
        std::thread::sleep(TICK);
        let rate = watch.get().grow_mib_per_second;
        let due = meter.due(rate);
        if rate <= 0.0 {
            hoard.clear();
            continue;
        }
        // Not zero, or the kernel would not have to give real pages.
        hoard.extend((0..due).map(|_| vec![0x5a; 1 << 20]));
    }
}

fn log_errors(watch: &Watch) {
    let mut meter = Meter::new();
    let mut order = 8_100_000_u64;
    loop {
        std::thread::sleep(TICK);
        for _ in 0..meter.due(watch.get().log_errors_per_second) {
            order += 7;
            log(&format!(
                "level=error msg=\"reconcile payment failed\" order={order} \
                 err=\"ledger: version conflict: expected {} got {}\"",
                order % 97,
                order % 89
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gibberish_is_no_text_and_no_line_feed() {
        for seed in 0..200 {
            let mut bytes =
                b"level=info msg=\"request served\" path=/product/17 status=200".to_vec();
            garble(&mut bytes, seed);
            assert!(std::str::from_utf8(&bytes).is_err(), "{seed}");
            assert!(bytes.contains(&0), "{seed}");
            assert!(!bytes.contains(&b'\n'), "{seed}");
        }
    }
}
