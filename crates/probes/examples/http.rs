//! Counts HTTP requests of one control group: `http GROUP SECONDS`.

use taproot_probes::http::{HttpCollector, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut args = std::env::args().skip(1);
    let group = args.next().ok_or("usage: http GROUP SECONDS")?;
    let seconds: u64 = args.next().ok_or("usage: http GROUP SECONDS")?.parse()?;
    let mut http = HttpCollector::start(&Options::default())?;
    http.watch(group.as_ref())?;
    for off in http.off() {
        println!("off: {} ({})", off.program, off.why);
    }
    for _ in 0..seconds {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let batch = http.poll()?;
        for d in batch.counts {
            let k = d.key;
            println!(
                "{:?} {} -> {}:{} {} {} route {:x}: {} requests, {} + {} bytes, p50 {:?} us",
                k.role,
                k.local,
                k.remote,
                k.port,
                k.method.name(),
                k.status,
                k.route,
                d.count,
                d.request_bytes,
                d.response_bytes,
                d.latency.quantile(0.5).map(|n| n as u64 / 1000)
            );
        }
        for s in batch.samples {
            println!(
                "sample {} {} {} {} us",
                s.key.method.name(),
                s.path,
                s.key.status,
                s.duration / 1000
            );
        }
        for (reason, n) in http.losses()? {
            println!("lost {n}: {reason}");
        }
    }
    Ok(())
}
