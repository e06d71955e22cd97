//! Messages per second of the HTTP/1 parser on one core.
//!
//! `cargo bench -p taproot-protocols` prints, for each case, messages (requests
//! plus responses) and bytes per second of CPU time: the best of several rounds and the median.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use taproot_protocols::http1::Http1;
use taproot_protocols::route::{RouteLimiter, RouteLimits};
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Side};

const REQUEST: &[u8] =
    b"GET /api/v1/products/12345?currency=EUR HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Fri, 20 Nov 2026 20:58:54 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 120\r\nConnection: keep-alive\r\n\r\n";
const PLAIN: &[u8] = b"GET / HTTP/1.0\r\nHost: a\r\nUser-Agent: ab\r\nAccept: */*\r\n\r\n";

struct Case {
    name: &'static str,
    request: Vec<u8>,
    response: Vec<u8>,
    /// Exchanges in one write.
    depth: usize,
    /// Bytes copied of each write.
    copied: usize,
}

fn cases() -> Vec<Case> {
    let response = [RESPONSE, &[b'x'; 120]].concat();
    let case = |name, request: &[u8], depth: usize, copied| Case {
        name,
        request: request.repeat(depth),
        response: response.repeat(depth),
        depth,
        copied,
    };
    vec![
        case("browser head", REQUEST, 1, usize::MAX),
        case("ab head", PLAIN, 1, usize::MAX),
        case("pipelined x16", PLAIN, 16, usize::MAX),
        case("body not copied", REQUEST, 1, 256),
    ]
}

/// CPU seconds of this thread: what else runs on the machine does not count.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_secs_f64()
}

/// CPU seconds for `exchanges` exchanges.
fn run(case: &Case, exchanges: usize) -> f64 {
    let mut connection = Connection::from_start(Http1::default(), Limits::default());
    let mut records = Vec::new();
    let (mut at, mut time) = ([0; 2], 0);
    let started = cpu();
    for _ in 0..exchanges / case.depth {
        for (side, bytes) in [(Side::Client, &case.request), (Side::Server, &case.response)] {
            time += 1000;
            let length = bytes.len() as u64;
            let bytes = &bytes[..bytes.len().min(case.copied)];
            let position = at[side as usize];
            at[side as usize] += length;
            connection.push(side, Piece { position, length, bytes, time }, &mut records);
        }
        assert_eq!(records.len(), case.depth, "every exchange is seen");
        black_box(&records);
        records.clear();
    }
    cpu() - started
}

/// The best and the median round.
fn rounds(one: impl Fn() -> f64) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..9).map(|_| one()).collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[0], rounds[rounds.len() / 2])
}

fn main() {
    const EXCHANGES: usize = 160_000;
    println!("{:<18}{:>8}{:>8}{:>8}  (best, median, best)", "", "M/s", "M/s", "MB/s");
    for case in cases() {
        let (best, median) = rounds(|| run(&case, EXCHANGES));
        let messages = |seconds: f64| 2.0 * EXCHANGES as f64 / seconds / 1e6;
        let bytes = (case.request.len() + case.response.len()) as f64 / case.depth as f64;
        let rate = EXCHANGES as f64 * bytes / best / 1e6;
        println!("{:<18}{:>8.2}{:>8.2}{rate:>8.0}", case.name, messages(best), messages(median));
    }
    let (best, median) = rounds(|| route(EXCHANGES));
    let routes = |seconds: f64| EXCHANGES as f64 / seconds / 1e6;
    println!("{:<18}{:>8.2}{:>8.2}", "routes", routes(best), routes(median));
}

fn route(count: usize) -> f64 {
    let mut limiter = RouteLimiter::new(RouteLimits::default());
    let started = cpu();
    for _ in 0..count {
        black_box(limiter.route(black_box("/api/v1/products/12345?currency=EUR")));
    }
    cpu() - started
}
