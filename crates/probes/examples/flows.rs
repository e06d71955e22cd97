//! Prints flows once a second: `flows [seconds] [netns file]...`.
//!
//! With `sysctl kernel.bpf_stats_enabled=1` it also prints what each program cost.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use libbpf_rs::query::ProgInfoIter;
use taproot_probes::flow::{FlowCollector, Options, PROGRAMS, Scope};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u32 = args.next().map_or(Ok(10), |s| s.parse())?;
    let inodes = args
        .map(|path| std::fs::metadata(path).map(|m| m.ino() as u32))
        .collect::<Result<Vec<_>, _>>()?;
    let scope = if inodes.is_empty() { Scope::All } else { Scope::Netns(inodes) };
    let mut flows = FlowCollector::start(Options { scope, ..Options::default() })?;
    for off in flows.off() {
        println!("off: {} ({})", off.program, off.why);
    }
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        let batch = flows.poll()?;
        println!("poll took {:?}", began.elapsed());
        for edge in &batch.edges {
            println!("{edge:?}");
        }
        for drop in &batch.drops {
            println!("{drop:?}");
        }
        for listener in batch.listeners.iter().filter(|l| l.overflows > 0) {
            println!("{listener:?}");
        }
        println!("lost: {:?}", flows.losses()?);
    }
    for program in ProgInfoIter::default() {
        let name = program.name.to_string_lossy();
        if program.run_cnt > 0 && PROGRAMS.iter().any(|p| p.0.starts_with(&*name)) {
            let each = program.run_time_ns / program.run_cnt;
            println!("{name:16} {:10} runs {each:6} ns each", program.run_cnt);
        }
    }
    Ok(())
}
