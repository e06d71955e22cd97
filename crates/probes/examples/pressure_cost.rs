//! What the pressure collector costs: nanoseconds per system call and per context
//! switch, with and without, in interleaved rounds.
//!
//! `cargo run -p taproot-probes --example pressure_cost [switches]` as root; with
//! the argument, context switches alone. The figures of
//! `docs/decisions/0006-failing-syscalls.md` are from here.

use std::io::{Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use taproot_probes::Result;
use taproot_probes::pressure::{Failures, Sched};

/// Rounds of each kind; the fastest counts, as noise only ever adds.
const ROUNDS: usize = 10;
/// System calls per round.
const CALLS: u32 = 20_000;
/// Round trips between two threads per round, two switches each.
const TRIPS: u32 = 2_000;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() != Some("switches") {
        print("call that succeeds", "failures", compare(succeeding_call, Failures::start)?);
        print(
            "call that fails, not counted",
            "failures",
            compare(ignored_failure, Failures::start)?,
        );
        print("call that fails, counted", "failures", compare(counted_failure, Failures::start)?);
    }
    let began = Instant::now();
    drop(Sched::start(false)?);
    println!("the scheduler program loads in {:?}", began.elapsed());
    print("switch, nobody is watched", "sched", compare(switch, || Sched::start(true))?);
    print("switch, all are victims", "sched", compare(switch, || Sched::start(false))?);
    Ok(())
}

fn print(what: &str, collector: &str, (without, with): (f64, f64)) {
    println!("{what}: {without:.0} ns, with {collector} {with:.0} ns, {:+.0} ns", with - without);
}

/// Nanoseconds of the work without and with a collector.
fn compare<C>(work: fn() -> f64, start: impl Fn() -> Result<C>) -> Result<(f64, f64)> {
    let (mut without, mut with) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        without = without.min(work());
        let collector = start()?;
        with = with.min(work());
        drop(collector);
        // Links are freed after a grace period.
        thread::sleep(Duration::from_millis(50));
    }
    Ok((without, with))
}

fn nanoseconds(began: Instant, of: u32) -> f64 {
    began.elapsed().as_nanos() as f64 / f64::from(of)
}

fn succeeding_call() -> f64 {
    let began = Instant::now();
    for _ in 0..CALLS {
        std::hint::black_box(rustix::process::getppid());
    }
    nanoseconds(began, CALLS)
}

fn ignored_failure() -> f64 {
    let began = Instant::now();
    for _ in 0..CALLS {
        let _ = std::hint::black_box(rustix::fs::access("/-", rustix::fs::Access::EXISTS));
    }
    nanoseconds(began, CALLS)
}

fn counted_failure() -> f64 {
    let Ok((reader, mut writer)) = pipe() else { return f64::MAX };
    drop(reader);
    let began = Instant::now();
    for _ in 0..CALLS {
        let _ = std::hint::black_box(writer.write(&[0]));
    }
    nanoseconds(began, CALLS)
}

/// One context switch: two threads on one CPU hand a byte to and fro.
fn switch() -> f64 {
    round_trips().map_or(f64::MAX, |ns| ns / 2.0)
}

fn round_trips() -> std::io::Result<f64> {
    let (mut there, mut ping) = pipe()?;
    let (mut back, mut pong) = pipe()?;
    let echo = thread::spawn(move || {
        pin();
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && pong.write_all(&byte).is_ok() {}
    });
    let began = thread::spawn(move || {
        pin();
        let began = Instant::now();
        let mut byte = [0];
        for _ in 0..TRIPS {
            ping.write_all(&byte)?;
            back.read_exact(&mut byte)?;
        }
        Ok(nanoseconds(began, TRIPS))
    });
    let result = began.join().unwrap_or_else(|_| Err(std::io::Error::other("thread died")));
    let _ = echo.join();
    result
}

fn pin() {
    let mut cpu = rustix::thread::CpuSet::new();
    cpu.set(1);
    let _ = rustix::thread::sched_setaffinity(None, &cpu);
}
