//! The load generator: requests at a fixed rate, sent when they are due whether
//! or not earlier ones are answered, and counted by itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::SIGTERM;

use crate::control::{Run, Watch};
use crate::error::{Error, Result};
use crate::serve::Pod;
use crate::serve::client::{Answer, Call, CallError, Policy, Pool};
use crate::state::write_json;
use crate::truth::{self, Load, Second};

/// Requests that can wait for an answer at once.
const SENDERS: usize = 32;
/// A request that could not be sent for so long is given up.
const SHED_AFTER: Duration = Duration::from_secs(2);
/// Requests on one connection to the gateway: many, as a load balancer's, so
/// that the gateway sees the users also when new connections are in trouble.
const MAX_USES: u32 = 900;
/// Life of a connection to the gateway.
const MAX_AGE: Duration = Duration::from_mins(20);
/// Seconds of history kept.
const HISTORY: usize = 600;

struct Generator {
    pool: Pool,
    gateway: SocketAddr,
    watch: Watch,
    start: Instant,
    interval: Duration,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    load: Mutex<Load>,
}

/// Runs until it is told to end.
pub(crate) fn run(pod: &Pod) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))
        .map_err(Error::io("handle signals of", "loadgen"))?;
    let wait = Duration::from_secs(5);
    let rate = pod.lab.requests_per_second;
    let pool = Pool::new(
        "shop",
        Policy { max_uses: MAX_USES, max_age: MAX_AGE, connect: wait, answer: wait },
    );
    let gateway = pod.service("gateway")?;
    let mut load = Load { started_unix_ns: unix_ns(), ..Load::default() };
    if rate > 0.0 {
        // What cannot be opened now, the first requests open.
        load.connections = pool.warm_up(gateway, SENDERS).unwrap_or(0);
    }
    let generator = Arc::new(Generator {
        pool,
        gateway,
        watch: pod.watch.clone(),
        start: Instant::now(),
        interval: Duration::from_secs_f64(if rate > 0.0 { 1.0 / rate } else { 86_400.0 }),
        next: AtomicU64::new(0),
        stop,
        load: Mutex::new(load),
    });
    println!("level=info msg=\"load starts\" rps={rate}");
    for _ in 0..if rate > 0.0 { SENDERS } else { 0 } {
        let generator = Arc::clone(&generator);
        std::thread::spawn(move || generator.send_forever());
    }
    generator.report_until_stopped(&truth::file(&pod.state_dir, &pod.name))
}

impl Generator {
    fn send_forever(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.start + self.interval.mul_f64(number as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.stop.load(Ordering::Relaxed) || self.watch.get().run == Run::Paused {
                continue;
            }
            if due.elapsed() > SHED_AFTER {
                self.load().shed += 1;
                continue;
            }
            self.send(number, due);
        }
    }

    fn send(&self, number: u64, due: Instant) {
        let request = Shopping::of(number);
        self.load().sent += 1;
        let result = self.pool.call(request.call(), || Ok(self.gateway));
        let us = due.elapsed().as_micros() as u64;
        self.load().count(&request, &result, us);
    }

    fn load(&self) -> std::sync::MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_until_stopped(&self, file: &std::path::Path) -> Result<()> {
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let mut now = self.load().clone();
            now.written_unix_ns = unix_ns();
            write_json(file, &now)?;
            if stopping {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Load {
    fn count(
        &mut self,
        request: &Shopping,
        result: &std::result::Result<Answer, CallError>,
        us: u64,
    ) {
        let good = match result {
            Ok(answer) => {
                self.answered += 1;
                self.connections += u64::from(answer.connected);
                *self.by_status.entry(answer.response.status).or_default() += 1;
                let route = format!("{} {}", request.method, request.route);
                *self.by_route.entry(route).or_default() += 1;
                self.response_body_bytes += answer.response.body.len() as u64;
                self.latency.add(us);
                answer.response.status < 400
            }
            Err(e) => {
                *self.failures.entry(e.kind().to_owned()).or_default() += 1;
                false
            }
        };
        self.request_body_bytes += request.body.len() as u64;
        self.count_second(good, us);
    }

    fn count_second(&mut self, good: bool, us: u64) {
        let unix_s = unix_ns() / 1_000_000_000;
        // Seconds end in order but for a few microseconds between threads.
        if self.seconds.last().is_none_or(|s| s.unix_s < unix_s) {
            self.seconds.push(Second { unix_s, ..Second::default() });
            if self.seconds.len() > HISTORY {
                self.seconds.remove(0);
            }
        }
        if let Some(second) = self.seconds.last_mut() {
            second.ok += u64::from(good);
            second.bad += u64::from(!good);
            second.latency.add(us);
        }
    }
}

/// One request of the mix.
struct Shopping {
    method: &'static str,
    route: &'static str,
    path: String,
    body: Vec<u8>,
    chunked: bool,
}

impl Shopping {
    /// The mix: of 20 requests 12 products, 3 lists, 3 carts, 2 checkouts, the
    /// same sequence in every run.
    fn of(number: u64) -> Self {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let get =
            |route, path| Self { method: "GET", route, path, body: Vec::new(), chunked: false };
        match number % 20 {
            0 | 7 | 14 => get("/", "/".into()),
            3 | 9 | 17 => get(
                "/cart/{uuid}",
                format!(
                    "/cart/{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                    scattered >> 32,
                    scattered & 0xffff,
                    number & 0xfff,
                    scattered >> 52,
                    scattered & 0xffff_ffff_ffff
                ),
            ),
            5 | 15 => Self {
                method: "POST",
                route: "/checkout",
                path: "/checkout".into(),
                body: format!(r#"{{"order":{number},"items":[{}]}}"#, vec!["\"x\""; 50].join(","))
                    .into(),
                chunked: number % 20 == 15,
            },
            _ => get("/product/{id}", format!("/product/{}", (scattered >> 40) % 500)),
        }
    }

    fn call(&self) -> Call<'_> {
        Call { method: self.method, path: &self.path, body: &self.body, chunked: self.chunked }
    }
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_holds_every_route_and_well_formed_uuids() {
        let mut routes = std::collections::BTreeMap::new();
        for number in 0..200 {
            let request = Shopping::of(number);
            *routes.entry(request.route).or_insert(0) += 1;
            if request.route == "/cart/{uuid}" {
                let parts: Vec<usize> = request.path[6..].split('-').map(str::len).collect();
                assert_eq!(parts, [8, 4, 4, 4, 12], "{}", request.path);
            }
        }
        assert_eq!(routes["/product/{id}"], 120);
        assert_eq!(routes["/"], 30);
        assert_eq!(routes["/cart/{uuid}"], 30);
        assert_eq!(routes["/checkout"], 20);
    }
}
