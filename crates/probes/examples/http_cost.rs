//! What the HTTP programs cost for each request: their run time, request by request
//! over kept connections on loopback, both ends observed.
//!
//! In a guest whose clock counts instructions a nanosecond is an instruction, and what
//! observing adds to a request (the kernel's way to the programs included) hardly
//! depends on what else the machine does; run times mean nothing there, as that
//! guest measures them in ticks:
//!
//! ```text
//! cargo build -p taproot-probes --example http_cost
//! cargo xtask guest --icount -- $PWD/target/x86_64-unknown-linux-gnu/debug/examples/http_cost 2000
//! ```

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use taproot_probes::cost::{RunTimes, run_times};
use taproot_probes::http::{HttpCollector, Options};
use taproot_probes::pressure::Sched;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What `ab -k` sends.
const REQUEST: &[u8] = b"GET /small HTTP/1.0\r\nConnection: Keep-Alive\r\n\
    Host: 127.0.0.1:8080\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n";

/// What nginx answers, head and body as two packets.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Sat, 21 Nov 2026 13:21:18 GMT\r\nContent-Type: application/octet-stream\r\n\
    Content-Length: 6\r\nLast-Modified: Sat, 21 Nov 2026 13:20:01 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6740f1a1-6\"\r\nAccept-Ranges: bytes\r\n\r\n";
const BODY: &[u8] = b"small\n";

/// Rounds, each the same number of requests unobserved and observed.
const ROUNDS: u64 = 10;

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(2_000), |n| n.parse())?;
    // A socket stays with the group it was made in: this link is never observed.
    let mut bare = Link::open()?;
    let group = Group::enter()?;
    let mut observed = Link::open()?;
    // Its program runs at every switch, observed or not: the difference is without it.
    let sched = Sched::start(true)?;
    let mut http = HttpCollector::start_beside(&Options::default(), &sched)?;
    http.watch(&group.0)?;
    bare.ask(200)?;
    observed.ask(200)?;
    http.poll()?;

    let each = count.div_ceil(ROUNDS);
    let mut added = Vec::new();
    for _ in 0..ROUNDS {
        let (without, with) = (bare.ask(each)?, observed.ask(each)?);
        added.push((with.as_nanos() as f64 - without.as_nanos() as f64) / each as f64);
    }
    let counted: u64 = http.poll()?.counts.iter().map(|delta| delta.count).sum();
    added.sort_by(f64::total_cmp);
    println!("count error         {:>8}", counted.abs_diff(2 * ROUNDS * each));
    println!(
        "observing adds      {:>8.0} ns a request, from {:.0} to {:.0}",
        added[added.len() / 2],
        added[0],
        added[added.len() - 1]
    );

    let measuring = RunTimes::measure()?;
    let overhead = measuring.overhead()?;
    observed.ask(count)?;
    print_programs(count, overhead)
}

fn print_programs(count: u64, overhead: f64) -> Result<()> {
    let mut sum = 0.0;
    for (name, time) in run_times(std::process::id())? {
        if time.runs == 0 {
            continue;
        }
        let runs = time.runs as f64;
        let nanos = time.nanos as f64 - overhead * runs;
        sum += nanos;
        let (per_request, per_run) = (runs / count as f64, nanos / runs);
        println!("{name:<19} {per_run:>8.0} ns a run, {per_request:.2} runs a request");
    }
    println!("programs            {:>8.0} ns a request", sum / count as f64);
    Ok(())
}

/// A client's kept connection to a server that runs in a thread of its own.
struct Link(TcpStream);

impl Link {
    fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        thread::spawn(move || serve(server));
        Ok(Self(client))
    }

    fn ask(&mut self, count: u64) -> Result<Duration> {
        let mut answer = [0; HEAD.len() + BODY.len()];
        let start = Instant::now();
        for _ in 0..count {
            self.0.write_all(REQUEST)?;
            self.0.read_exact(&mut answer)?;
        }
        Ok(start.elapsed())
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; REQUEST.len()];
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(HEAD)?;
        stream.write_all(BODY)?;
    }
}

/// A control group that this process is in while it lives.
struct Group(PathBuf);

impl Group {
    fn enter() -> Result<Self> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let mount = mounts.iter().map(Path::new).find(|m| m.join("cgroup.controllers").exists());
        let mount = mount.ok_or("no unified cgroup hierarchy")?;
        let group = mount.join(format!("taproot-cost-{}", std::process::id()));
        fs::create_dir_all(&group)?;
        fs::write(group.join("cgroup.procs"), "0")?;
        Ok(Self(group))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mount) = self.0.parent() else { return };
        // Nothing can be done about a group that stays: it is empty and named after us.
        let _ = fs::write(mount.join("cgroup.procs"), "0").and_then(|()| fs::remove_dir(&self.0));
    }
}
