//! What lies between the device and the socket, against delays that the test put there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod veth;
mod web;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use taproot_probes::http::{Options, Role, Sample, Stages};
use taproot_testkit::{guest_kernel, need_root, skip};
use veth::{B, Pair};
use web::Web;

/// Requests that are asked, one after the other.
const REQUESTS: usize = 20;
/// What a delay of a packet is, where the kernel can be told to.
const DELAY: Duration = Duration::from_millis(40);
/// For how long a client does not read, or a server does not write.
const PAUSE: Duration = Duration::from_millis(400);

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
const BODY: usize = 1000;

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Every request is kept.
fn everything() -> Options {
    Options { sample_every: 1, samples_per_interval: i64::MAX, ..Options::default() }
}

/// Answers each request of one connection by `answer`, until the client goes.
fn serve(
    listener: TcpListener,
    answer: impl Fn(&mut TcpStream) + Send + 'static,
) -> JoinHandle<()> {
    spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; REQUEST.len()];
        while stream.read_exact(&mut request).is_ok() {
            answer(&mut stream);
        }
    })
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

fn small(stream: &mut TcpStream) {
    let mut answer = head(BODY).into_bytes();
    answer.resize(answer.len() + BODY, b'x');
    stream.write_all(&answer).unwrap();
}

fn read_answer(client: &mut TcpStream, length: usize) {
    let mut answer = vec![0; head(length).len() + length];
    client.read_exact(&mut answer).unwrap();
}

/// Requests over a cable between two namespaces, as their client and their server saw them.
struct Asked {
    round_trips: Vec<Duration>,
    samples: Vec<Sample>,
    sums: Stages,
    count: u64,
}

fn ask_over(pair: &Pair, web: &mut Web) -> Asked {
    let listener = pair.b.inside(|| TcpListener::bind((B, 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = serve(listener, small);
    let mut client = pair.a.inside(|| TcpStream::connect(addr)).unwrap();
    let ask = || {
        let start = Instant::now();
        client.write_all(REQUEST).unwrap();
        read_answer(&mut client, BODY);
        start.elapsed()
    };
    let round_trips = std::iter::repeat_with(ask).take(REQUESTS).collect();
    drop(client);
    server.join().unwrap();
    seen(web, round_trips)
}

fn seen(web: &mut Web, round_trips: Vec<Duration>) -> Asked {
    let batch = web.batch();
    let (mut sums, mut count) = (Stages::default(), 0);
    for delta in batch.counts.iter().filter(|delta| delta.key.role == Role::Server) {
        count += delta.count;
        sums += delta.stages;
    }
    let at_server = |sample: &Sample| sample.key.role == Role::Server;
    let mut samples: Vec<_> = batch.samples.into_iter().filter(at_server).collect();
    samples.sort_by_key(|sample| sample.start);
    println!("{count} requests in {:?}: {sums:?}", round_trips.iter().sum::<Duration>());
    assert_eq!((samples.len(), count), (round_trips.len(), round_trips.len() as u64));
    Asked { round_trips, samples, sums, count }
}

impl Asked {
    /// Of a request, what came before it, itself, and what came after it fit into what its
    /// client waited; and the kernel's sums are those of the requests.
    fn fits(&self) {
        let mut all = Stages::default();
        for (sample, round_trip) in self.samples.iter().zip(&self.round_trips) {
            let stages = sample.stages.unwrap();
            let (device, qdisc) = (stages.device.of_one(), stages.qdisc.of_one());
            let whole = device.unwrap() + sample.duration + qdisc.unwrap();
            assert!(u128::from(whole) < round_trip.as_nanos(), "{whole} of {round_trip:?}");
            all += stages;
        }
        assert_eq!(all, self.sums, "sums of the kernel, and of every request");
        assert_eq!((self.sums.device.seen, self.sums.qdisc.seen), (self.count, self.count));
    }

    /// A part of all requests over what their client waited.
    fn share(&self, ns: u64) -> f64 {
        ns as f64 / self.round_trips.iter().sum::<Duration>().as_nanos() as f64
    }
}

/// The least share of a delay, or of a round trip that one was put into, that must be told: an
/// emulated guest takes its time for everything else, too.
fn least() -> f64 {
    if guest_kernel().is_some() { 0.6 } else { 0.9 }
}

/// Nothing in its way: a request is soon at its socket, and an answer soon at its device.
#[test]
fn an_open_road() {
    need_root!();
    let pair = or_skip!(Pair::new());
    let mut web = or_skip!(Web::new(&everything()));
    let asked = ask_over(&pair, &mut web);
    asked.fits();
    let Stages { device, qdisc, .. } = asked.sums;
    let wait = asked.share(device.total + qdisc.total);
    assert!(wait < 0.5, "{wait} of the round trips, where nothing waits: {:?}", asked.sums);
}

/// A queueing discipline that holds the server's packets back.
#[test]
fn an_answer_waits_in_a_qdisc() {
    need_root!();
    let pair = or_skip!(Pair::new());
    let mut web = or_skip!(Web::new(&everything()));
    // An answer takes 45 ms at this rate, once the burst is used up.
    let kinds = [
        format!("netem delay {}ms", DELAY.as_millis()),
        "tbf rate 200kbit burst 1600 limit 100k".to_owned(),
    ];
    let add = |kind: &String| pair.b.run(&format!("tc qdisc add dev cable root {kind}"));
    let refused: Vec<_> = kinds.iter().map_while(|kind| add(kind).err()).collect();
    if refused.len() == kinds.len() {
        skip!("no qdisc that delays: {refused:?}");
    }
    let asked = ask_over(&pair, &mut web);
    asked.fits();
    let share = asked.share(asked.sums.qdisc.total);
    println!("{share:.3} of the round trips");
    assert!(share > least(), "{share} of the round trips: {:?}", asked.sums);
}

/// A connection on loopback over which one request is asked: `answer` answers it, and
/// `read` reads that.
fn ask_once(
    web: &mut Web,
    answer: impl Fn(&mut TcpStream) + Send + 'static,
    read: impl Fn(&mut TcpStream),
) -> Stages {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = serve(listener, answer);
    let mut client = TcpStream::connect(addr).unwrap();
    let start = Instant::now();
    client.write_all(REQUEST).unwrap();
    read(&mut client);
    let round_trip = start.elapsed();
    drop(client);
    server.join().unwrap();
    let asked = seen(web, vec![round_trip]);
    let stages = asked.samples[0].stages.unwrap();
    assert!(stages.send.buffered + stages.send.unknown <= stages.send.total, "{stages:?}");
    assert!(u128::from(stages.send.total) < round_trip.as_nanos(), "{stages:?}");
    stages
}

/// A client that does not read what it asked for: the answer waits in the server's socket.
#[test]
fn an_answer_waits_for_its_reader() {
    const LARGE: usize = 16 << 20;
    need_root!();
    let mut web = or_skip!(Web::new(&everything()));
    let all_at_once = |stream: &mut TcpStream| {
        let mut answer = head(LARGE).into_bytes();
        answer.resize(answer.len() + LARGE, b'x');
        stream.write_all(&answer).unwrap();
    };
    // The pause begins with the question: an emulated server writes for half a second of it.
    let pause = if guest_kernel().is_some() { PAUSE * 5 } else { PAUSE };
    let stages = ask_once(&mut web, all_at_once, |client| {
        sleep(pause);
        read_answer(client, LARGE);
    });
    let buffered = Duration::from_nanos(stages.send.buffered);
    assert!(buffered >= pause.mul_f64(least()), "{buffered:?} of {pause:?}: {stages:?}");
}

/// A server that takes its time between two writes: nothing waits in its socket.
#[test]
fn a_slow_writer_is_not_its_socket() {
    need_root!();
    let mut web = or_skip!(Web::new(&everything()));
    let slowly = |stream: &mut TcpStream| {
        stream.write_all(head(BODY).as_bytes()).unwrap();
        sleep(PAUSE);
        stream.write_all(&[b'x'; BODY]).unwrap();
    };
    let stages = ask_once(&mut web, slowly, |client| read_answer(client, BODY));
    assert!(Duration::from_nanos(stages.send.rest()) >= PAUSE, "{stages:?}");
    assert!(stages.send.buffered < stages.send.total / 10, "{stages:?}");
}
