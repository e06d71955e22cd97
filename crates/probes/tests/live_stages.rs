//! The stages of requests against the kernel's own account of the serving thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod groups;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, iter};

use groups::{Group, Process, schedstat};
use taproot_probes::http::{HttpCollector, Options, Outside, Role, Sample, Stages};
use taproot_probes::pressure::{CgroupReader, Sched};
use taproot_testkit::{guest_kernel, need_commands, need_root, skip};

/// CPU time per 100 ms of a server that is to be stopped by it.
const QUOTA: Duration = Duration::from_millis(10);
/// Requests that are asked, one after the other.
const REQUESTS: usize = 60;
/// ... but no longer than this, where the machine is slow.
const LONGEST: Duration = Duration::from_secs(20);

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// An nginx of one process and one thread, which packs a file for each request: some
/// milliseconds of work before the first byte of the answer.
struct Packer {
    process: Process,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Packer {
    fn start(group: &Group) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().display();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {d}/tmp;"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {d}/pid; error_log {d}/error.log;
             events {{ worker_connections 64; }}
             http {{ access_log off; keepalive_requests 1000000; {temp} postpone_output 1m;
               gzip on; gzip_types *; gzip_comp_level 9; gzip_buffers 64 16k;
               server {{ listen {addr}; root {d}; }} }}"
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        // Emulated guests are some twenty times slower.
        let size = if guest_kernel().is_some() { 128 << 10 } else { 2 << 20 };
        fs::write(dir.path().join("big"), vec![b' '; size]).unwrap();
        let script = format!("exec nginx -e {d}/error.log -c {d}/nginx.conf");
        let process = group.run(&script, Some(0));
        let packer = Self { process, addr, _dir: dir };
        packer.wait_until_it_listens();
        packer
    }

    fn wait_until_it_listens(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.addr).is_err() {
            assert!(Instant::now() < until, "nginx does not listen");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until its thread sleeps: what it waited after its last answer is over, and
    /// is not taken for a wait of the next request.
    fn rest(&self) {
        let stat = format!("/proc/{}/stat", self.process.pid());
        let asleep = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") S "));
        let until = Instant::now() + Duration::from_secs(5);
        while !asleep() && Instant::now() < until {
            sleep(Duration::from_millis(1));
        }
    }

    /// What the kernel says that its thread waited so far, stops by its quota included.
    fn waited(&self) -> u64 {
        schedstat(self.process.pid()).1
    }
}

/// Asks once, and says how much longer the server's thread has waited afterwards.
fn ask(client: &mut TcpStream, server: &Packer) -> u64 {
    let before = server.waited();
    client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").unwrap();
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 65536]);
    while !seen.ends_with(b"\r\n0\r\n\r\n") {
        let n = client.read(&mut buffer).unwrap();
        assert!(n > 0, "the server closed the connection");
        seen.extend_from_slice(&buffer[..n]);
    }
    server.waited() - before
}

/// A collector that keeps every request of a group.
fn collector(group: &Group, sched: Option<&Sched>) -> HttpCollector {
    let every = Options { sample_every: 1, samples_per_interval: i64::MAX, ..Options::default() };
    let mut http = match sched {
        Some(sched) => HttpCollector::start_beside(&every, sched).unwrap(),
        None => HttpCollector::start(&every).unwrap(),
    };
    assert_eq!(http.off(), [], "every program runs on the kernels that we test");
    http.watch(group.paths.unified.as_deref().unwrap_or(Path::new("/"))).unwrap();
    http
}

/// What was asked, in order: the request as it was sampled, and what the kernel says that
/// the thread waited meanwhile.
struct Asked {
    samples: Vec<(Sample, u64)>,
    sums: Stages,
    count: u64,
}

/// Asks one after the other; `pause` comes before each.
fn ask_many(http: &mut HttpCollector, server: &Packer, pause: impl Fn(&Packer)) -> Asked {
    let mut client = TcpStream::connect(server.addr).unwrap();
    // Whoever reads for the first time is watched from then on.
    ask(&mut client, server);
    http.poll().unwrap();
    let until = Instant::now() + LONGEST;
    let each = || {
        pause(server);
        ask(&mut client, server)
    };
    let truth: Vec<u64> =
        iter::repeat_with(each).take(REQUESTS).take_while(|_| Instant::now() < until).collect();
    // The last segments may still be on their way.
    sleep(Duration::from_millis(200));
    let mut batch = http.poll().unwrap();
    batch.samples.sort_by_key(|sample| sample.start);
    assert!(batch.samples.len() >= truth.len(), "{} of {}", batch.samples.len(), truth.len());
    let server_end = batch.counts.iter().filter(|delta| delta.key.role == Role::Server);
    let (mut sums, mut count) = (Stages::default(), 0);
    for delta in server_end {
        count += delta.count;
        sums += delta.stages;
    }
    Asked { samples: batch.samples.into_iter().zip(truth).collect(), sums, count }
}

fn stages(sample: &Sample) -> Stages {
    sample.stages.expect("an answered request has its stages")
}

fn held_up(stages: &Stages) -> u64 {
    throttled(stages) + stages.receive.queued + stages.service.queued
}

fn throttled(stages: &Stages) -> u64 {
    stages.receive.throttled + stages.service.throttled
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// The slowest fifth of what was asked: what the stages say that their thread was held
/// up, over what the kernel says.
fn tail(asked: &mut Asked) -> f64 {
    asked.samples.sort_by_key(|(sample, _)| std::cmp::Reverse(sample.duration));
    let slowest = &asked.samples[..asked.samples.len().div_ceil(5)];
    let ours: u64 = slowest.iter().map(|(sample, _)| held_up(&stages(sample))).sum();
    share(ours, slowest.iter().map(|(_, truth)| truth).sum())
}

/// The sums in the kernel are those of the requests, and a request's stages add up to it.
fn add_up(asked: &Asked) {
    assert_eq!(asked.sums.count, asked.count, "every request has its stages");
    let mut all = Stages::default();
    asked.samples.iter().for_each(|(sample, _)| all += stages(sample));
    if all.count == asked.count {
        // What an answer waited for its device is counted with the next one.
        let known = |sums: Stages| Stages { qdisc: Outside::default(), ..sums };
        assert_eq!(known(all), known(asked.sums), "sums of the kernel, and of every request");
    }
    for (sample, _) in &asked.samples {
        let s = stages(sample);
        assert_eq!(s.receive.total + s.service.total + s.send.total, sample.duration);
        assert!(s.send.buffered + s.send.unknown <= s.send.total, "{s:?}");
        for stage in [s.receive, s.service] {
            assert!(stage.queued + stage.throttled + stage.unknown <= stage.total, "{s:?}");
        }
    }
}

/// A server that is stopped by its quota: the tail of its latency is that, and says so.
#[test]
fn a_throttled_server_says_so() {
    need_root!();
    need_commands!("nginx");
    let group = or_skip!(Group::new("stages-quota"));
    or_skip!(group.limit_cpu(QUOTA));
    let sched = or_skip!(Sched::start(true));
    let mut http = collector(&group, Some(&sched));
    let server = Packer::start(&group);
    let mut files = CgroupReader::existing(group.paths.clone());
    files.read().unwrap();
    let mut asked = ask_many(&mut http, &server, |_| ());
    let stopped = files.read().unwrap().unwrap().cpu.throttled.expect("a quota");

    println!("{} requests: {:?}", asked.count, asked.sums);
    add_up(&asked);
    let tail = tail(&mut asked);
    let by_file = share(throttled(&asked.sums), stopped);
    let by_quota = share(throttled(&asked.sums), held_up(&asked.sums));
    println!("held up: {tail:.3} of the kernel's run_delay, {by_quota:.3} of it by the quota");
    println!("throttled: {by_file:.3} of cpu.stat, which adds up all CPUs");
    assert!((0.9..1.1).contains(&tail), "{tail} of the kernel's run_delay: {:?}", asked.sums);
    assert!(by_quota > 0.7, "nobody else is on its CPU for long: {:?}", asked.sums);
    assert!(by_file < 1.1, "{by_file} of {stopped} ns: {:?}", asked.sums);
}

/// A neighbour on the same CPU: the tail is waiting for it, and no quota has a part in it.
#[test]
fn a_crowded_server_says_so() {
    need_root!();
    need_commands!("nginx");
    let group = or_skip!(Group::new("stages-crowd"));
    let neighbour = or_skip!(Group::new("stages-neighbour"));
    let sched = or_skip!(Sched::start(true));
    let mut http = collector(&group, Some(&sched));
    let server = Packer::start(&group);
    let _burning = neighbour.run("while :; do :; done", Some(0));
    let mut asked = ask_many(&mut http, &server, Packer::rest);

    println!("{} requests: {:?}", asked.count, asked.sums);
    add_up(&asked);
    let tail = tail(&mut asked);
    println!("held up: {tail:.3} of the kernel's run_delay");
    // What the server waits between its answer and our look at the kernel's figure is in
    // that figure; an emulated client looks late.
    let least = if guest_kernel().is_some() { 0.8 } else { 0.9 };
    assert!((least..1.1).contains(&tail), "{tail} of the kernel's run_delay: {:?}", asked.sums);
    assert_eq!(throttled(&asked.sums), 0, "no quota: {:?}", asked.sums);
}

/// Without the scheduler's collector a wait is not zero: it is not known.
#[test]
fn what_nobody_watched_is_unknown() {
    need_root!();
    need_commands!("nginx");
    let group = or_skip!(Group::new("stages-alone"));
    let mut http = collector(&group, None);
    let server = Packer::start(&group);
    let mut client = TcpStream::connect(server.addr).unwrap();
    ask(&mut client, &server);
    sleep(Duration::from_millis(200));
    let batch = http.poll().unwrap();
    let seen = stages(&batch.samples[0]);
    for stage in [seen.receive, seen.service] {
        assert_eq!((stage.queued, stage.throttled, stage.unknown), (0, 0, stage.total));
    }
    assert!(seen.service.total > 0, "{seen:?}");
}
