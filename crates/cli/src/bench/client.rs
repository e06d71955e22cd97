//! Load at a fixed rate: an open loop, so that a slow answer does not slow the asking.
//!
//! Requests have times at which they are due, whatever happened to those before;
//! latency is measured from then (without that, "coordinated omission" hides
//! exactly the stalls one looks for). One thread, non-blocking sockets; a request
//! that is due while all connections are busy waits, and the wait counts.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::args::BenchClientArgs;
use super::site::Site;

const CONNECTIONS: usize = 16;
/// Not measured: connections and caches get warm.
const WARM_UP: f64 = 0.1;
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n";

/// What the client found, as it prints it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Latency {
    /// Requests sent and answered, warm-up included.
    pub(super) requests: u64,
    /// Median, µs.
    pub(super) p50: f64,
    /// 99th percentile, µs.
    pub(super) p99: f64,
}

/// Runs the client in the namespace and group of the load.
pub(super) fn run(site: &Site, rate: f64, time: Duration) -> Result<Latency> {
    let program = std::env::current_exe().context("finding this program")?;
    let (addr, rate, time) =
        (site.addr.to_string(), rate.to_string(), format!("{}ms", time.as_millis()));
    let program = program.to_string_lossy();
    let words = [&*program, "lab", "bench-client", &addr, "--rate", &rate, "--for", &time];
    let out = site.client(&words).output().context("running the client")?;
    if !out.status.success() {
        bail!("the client failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    serde_json::from_slice(&out.stdout).context("reading the client's answer")
}

/// `taproot lab bench-client`: prints a [`Latency`].
pub(crate) fn main(args: &BenchClientArgs) -> Result<()> {
    // Else the kernel wakes us up to 50 µs late to save power.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("setting timer slack")?;
    let mut client = Client::connect(args.addr)?;
    client.run(args.rate, args.time)?;
    println!("{}", serde_json::to_string(&client.latency()?)?);
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    received: usize,
}

struct Client {
    connections: Vec<Connection>,
    /// Bytes of one answer: they are all the same size.
    answer: usize,
    /// Due, but all connections were busy.
    waiting: VecDeque<Instant>,
    /// µs, in the order of the answers.
    times: Vec<f64>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream =
                TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
            stream.set_nodelay(true)?;
            connections.push(Connection { stream, due: None, received: 0 });
        }
        // One exchange tells how long an answer is.
        let first = &mut connections[0].stream;
        first.write_all(REQUEST)?;
        let mut buffer = [0; 4096];
        let answer = first.read(&mut buffer)?;
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            bail!("the server does not answer with 200");
        }
        for connection in &connections {
            connection.stream.set_nonblocking(true)?;
        }
        Ok(Self { connections, answer, waiting: VecDeque::new(), times: vec![0.0] })
    }

    fn run(&mut self, rate: f64, time: Duration) -> Result<()> {
        let begin = Instant::now();
        let total = (rate * time.as_secs_f64()) as u64;
        let due_at = |n: u64| begin + Duration::from_secs_f64(n as f64 / rate);
        let mut next = 0;
        let give_up = begin + time * 2 + Duration::from_secs(5);
        while (self.times.len() as u64) < total + 1 {
            let now = Instant::now();
            if now > give_up {
                bail!("the server does not keep up with {rate} requests/s");
            }
            while next < total && due_at(next) <= now {
                self.waiting.push_back(due_at(next));
                next += 1;
            }
            self.send()?;
            let until = if next < total { due_at(next) } else { now + Duration::from_millis(10) };
            self.receive(until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Gives requests that are due to connections that are free.
    fn send(&mut self) -> Result<()> {
        for connection in &mut self.connections {
            if connection.due.is_some() {
                continue;
            }
            let Some(due) = self.waiting.pop_front() else { return Ok(()) };
            connection.stream.write_all(REQUEST).context("sending")?;
            connection.due = Some(due);
        }
        Ok(())
    }

    /// Waits for answers, no longer than `wait`, and takes what has come.
    fn receive(&mut self, wait: Duration) -> Result<()> {
        let timeout = Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut fds: Vec<PollFd<'_>> =
            self.connections.iter().map(|c| PollFd::new(&c.stream, PollFlags::IN)).collect();
        poll(&mut fds, Some(&timeout)).context("waiting for answers")?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut buffer = [0; 4096];
        for (connection, _) in self.connections.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            match connection.stream.read(&mut buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(n) => connection.received += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("receiving"),
            }
            if connection.received >= self.answer
                && let Some(due) = connection.due.take()
            {
                connection.received -= self.answer;
                self.times.push(due.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(())
    }

    fn latency(&self) -> Result<Latency> {
        let warm = 1 + (self.times.len() as f64 * WARM_UP) as usize;
        let mut sorted = self.times.get(warm..).unwrap_or_default().to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
        let (p50, p99) =
            at(0.50).zip(at(0.99)).context("no request was measured; give a higher rate")?;
        Ok(Latency { requests: self.times.len() as u64, p50, p99 })
    }
}
