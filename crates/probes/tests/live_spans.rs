//! Which request caused which: chains of servers whose truth stands in the paths.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod web;

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use rustix::event::epoll;
use taproot_probes::http::{Options, Role, Sample};
use taproot_testkit::{guest_kernel, need_root, skip};
use web::Web;

/// Clients at the same time.
const CLIENTS: u64 = 8;
/// Requests between two looks at the ring, which has to hold their samples.
const ROUND: u64 = 500;

/// Requests of a test. Emulated guests are some twenty times slower.
fn many() -> u64 {
    if guest_kernel().is_some() { 1_000 } else { 10_000 }
}

macro_rules! web {
    () => {{
        let every = Options {
            sample_every: 1,
            samples_per_interval: i64::MAX,
            ring_bytes: 1 << 23,
            ..Options::default()
        };
        match Web::new(&every) {
            Ok(web) => web,
            Err(why) => skip!("{why}"),
        }
    }};
}

/// Reads one message without a body; `None` at the end of the connection.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
    Some(String::from_utf8(seen).unwrap())
}

/// The number at the end of the path: which request of the outermost client it is.
fn number(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

fn ask(stream: &mut TcpStream, path: &str, header: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n").as_bytes()).unwrap();
}

fn answer(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
}

/// A server with a thread for each connection, which asks `next` for each request; its
/// address. Its threads end with their clients.
fn threaded(name: &'static str, next: Option<(&'static str, SocketAddr)>) -> SocketAddr {
    serve(TcpListener::bind("127.0.0.1:0").unwrap(), name, next)
}

fn serve(
    listener: TcpListener,
    name: &'static str,
    next: Option<(&'static str, SocketAddr)>,
) -> SocketAddr {
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut onward = next.map(|(to, addr)| (to, TcpStream::connect(addr).unwrap()));
                while let Some(request) = head(&mut stream) {
                    assert!(path(&request).starts_with(&format!("/{name}/")), "{request}");
                    if let Some((to, next)) = &mut onward {
                        ask(next, &format!("/{to}/{}", number(path(&request))), "");
                        head(next).unwrap();
                    }
                    answer(&mut stream);
                }
            });
        }
    });
    addr
}

/// How a server of one thread learns which of its connections has something to read.
#[derive(Clone, Copy)]
enum Waits {
    /// An epoll set, of sockets that block otherwise.
    Epoll,
    /// It tries each.
    Never,
}

/// A connection of a client, and the one on which its requests go on.
struct Pair {
    from: TcpStream,
    onward: TcpStream,
}

/// A server of one thread that has many requests open at once.
struct Reactor {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reactor {
    /// Takes `clients` connections, then passes requests on to `next` until it is dropped.
    fn start(waits: Waits, clients: u64, next: (&'static str, SocketAddr)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let meet = |_| {
                let from = listener.accept().unwrap().0;
                Pair { from, onward: TcpStream::connect(next.1).unwrap() }
            };
            let pairs: Vec<Pair> = (0..clients).map(meet).collect();
            react(waits, pairs, next.0, &stopped);
        });
        Self { addr, stop, thread: Some(thread) }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn react(waits: Waits, mut pairs: Vec<Pair>, to: &str, stop: &AtomicBool) {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for (index, pair) in pairs.iter().enumerate() {
        for (side, stream) in [&pair.from, &pair.onward].into_iter().enumerate() {
            stream.set_nodelay(true).unwrap();
            match waits {
                Waits::Epoll => {
                    let data = epoll::EventData::new_u64(index as u64 * 2 + side as u64);
                    epoll::add(&set, stream, data, epoll::EventFlags::IN).unwrap();
                }
                Waits::Never => stream.set_nonblocking(true).unwrap(),
            }
        }
    }
    while !stop.load(Ordering::Relaxed) {
        for ready in ready(waits, &set, pairs.len()) {
            turn(&mut pairs[ready as usize / 2], ready % 2 == 0, to);
        }
    }
}

/// Which streams to try.
fn ready(waits: Waits, set: &impl std::os::fd::AsFd, pairs: usize) -> Vec<u64> {
    match waits {
        Waits::Epoll => {
            let mut events = Vec::with_capacity(64);
            let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let spare = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(set, spare, Some(&patience)).unwrap();
            events.iter().map(|event: &epoll::Event| event.data.u64()).collect()
        }
        Waits::Never => (0..pairs as u64 * 2).collect(),
    }
}

/// Passes on a request that came whole, or an answer: they are short enough.
fn turn(pair: &mut Pair, inward: bool, to: &str) {
    let stream = if inward { &mut pair.from } else { &mut pair.onward };
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => {}
        Ok(n) if inward => {
            let request = std::str::from_utf8(&buffer[..n]).unwrap();
            ask(&mut pair.onward, &format!("/{to}/{}", number(path(request))), "");
        }
        Ok(_) => answer(&mut pair.from),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

/// Asks `/a/<n>` of `first` with all clients at once, and gathers every sample.
fn load(web: &mut Web, first: SocketAddr) -> Vec<Sample> {
    let mut streams: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(first).unwrap()).collect();
    let mut samples = Vec::new();
    for round in 0..many() / ROUND {
        thread::scope(|scope| {
            for (client, stream) in streams.iter_mut().enumerate() {
                scope.spawn(move || {
                    let numbers = (0..ROUND).skip(client).step_by(CLIENTS as usize);
                    for n in numbers.map(|n| round * ROUND + n) {
                        ask(stream, &format!("/a/{n}"), "");
                        head(stream).unwrap();
                    }
                });
            }
        });
        // The last packets may still be on their way through softirq.
        sleep(Duration::from_millis(50));
        samples.append(&mut web.samples());
    }
    samples
}

/// What is said of the requests to one server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    requests: u64,
    right: u64,
    wrong: u64,
    unknown: u64,
    /// At whose server end the same request is found.
    joined: u64,
}

/// Judges every request that a client made by the paths: that of `/c/17` is caused by the
/// one of `/b/17`, as its server saw it.
fn judge(samples: &[Sample]) -> BTreeMap<String, Told> {
    let servers = samples.iter().filter(|s| s.key.role == Role::Server);
    let served: HashMap<u64, &str> = servers.map(|s| (s.request, &*s.path)).collect();
    let mut told = BTreeMap::<String, Told>::new();
    for sample in samples.iter().filter(|s| s.key.role == Role::Client) {
        let (to, n) = (&sample.path[1..2], number(&sample.path));
        let one = told.entry(to.to_owned()).or_default();
        one.requests += 1;
        one.joined += u64::from(served.get(&sample.request) == Some(&&*sample.path));
        let by = (to.as_bytes()[0] - 1) as char;
        match sample.cause.map(|cause| served.get(&cause)) {
            None => one.unknown += 1,
            Some(Some(path)) if **path == format!("/{by}/{n}") => one.right += 1,
            Some(_) => one.wrong += 1,
        }
    }
    told
}

#[test]
fn what_a_thread_asks_while_it_serves_is_for_that() {
    need_root!();
    let mut web = web!();
    let c = threaded("c", None);
    let b = threaded("b", Some(("c", c)));
    let a = threaded("a", Some(("b", b)));
    let samples = load(&mut web, a);
    let (told, n) = (judge(&samples), many());
    println!("{told:?}");
    let all = |right, unknown| Told { requests: n, right, wrong: 0, unknown, joined: n };
    assert_eq!(told["a"], all(0, n), "nobody's thread serves at the outermost client");
    assert_eq!(told["b"], all(n, 0));
    assert_eq!(told["c"], all(n, 0));
}

fn of_many_at_once_nothing_is_said(waits: Waits) {
    let mut web = web!();
    let c = threaded("c", None);
    let b = Reactor::start(waits, CLIENTS, ("c", c));
    let a = threaded("a", Some(("b", b.addr)));
    let samples = load(&mut web, a);
    let (told, n) = (judge(&samples), many());
    println!("{told:?}");
    let all = |right, unknown| Told { requests: n, right, wrong: 0, unknown, joined: n };
    assert_eq!(told["b"], all(n, 0));
    assert_eq!(told["c"], all(0, n), "one thread had several requests at hand");
}

#[test]
fn a_thread_with_an_epoll_set_is_no_proof() {
    need_root!();
    of_many_at_once_nothing_is_said(Waits::Epoll);
}

#[test]
fn a_thread_that_never_waits_is_no_proof() {
    need_root!();
    of_many_at_once_nothing_is_said(Waits::Never);
}

/// One thread that has read two requests is proof of neither, until both are answered.
#[test]
fn two_requests_of_one_thread_are_none_for_sure() {
    need_root!();
    let mut web = web!();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
    let mut streams = [(); 2].map(|()| listener.accept().unwrap().0);
    let mut onward = TcpStream::connect(threaded("c", None)).unwrap();
    let mut on = |path: &str| {
        ask(&mut onward, path, "");
        head(&mut onward).unwrap();
    };
    ask(&mut clients[0], "/b/1", "");
    head(&mut streams[0]).unwrap();
    on("/c/1");
    ask(&mut clients[1], "/b/2", "");
    head(&mut streams[1]).unwrap();
    on("/c/2");
    answer(&mut streams[0]);
    on("/c/3");
    answer(&mut streams[1]);
    on("/c/4");
    ask(&mut clients[0], "/b/5", "");
    head(&mut streams[0]).unwrap();
    on("/c/5");
    answer(&mut streams[0]);
    sleep(Duration::from_millis(200));
    let samples = web.samples();
    let caused = |n: u32| {
        let path = format!("/c/{n}");
        let found = samples.iter().find(|s| s.path == path && s.key.role == Role::Client);
        found.unwrap_or_else(|| panic!("{path} in {samples:?}")).cause
    };
    let told = [1, 2, 3, 4, 5].map(|n| caused(n).is_some());
    assert_eq!(told, [true, false, false, false, true]);
}

#[test]
fn an_ipv4_client_of_an_ipv6_server_asks_one_request() {
    need_root!();
    let mut web = web!();
    let listener = match TcpListener::bind("[::]:0") {
        Ok(listener) => listener,
        Err(why) => skip!("no IPv6: {why}"),
    };
    let port = serve(listener, "a", None).port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    ask(&mut client, "/a/1", "");
    head(&mut client).unwrap();
    sleep(Duration::from_millis(200));
    let told = judge(&web.samples());
    assert_eq!((told["a"].requests, told["a"].joined), (1, 1), "{told:?}");
}

#[test]
fn a_traceparent_is_told_as_it_came() {
    need_root!();
    let mut web = web!();
    let mut client = TcpStream::connect(threaded("a", None)).unwrap();
    let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (n, header) in [
        (1, format!("Accept: */*\r\nTraceparent: {value}\r\nContent-Length: 0\r\n")),
        (2, String::new()),
        (3, format!("traceparent:{value}\r\n")),
    ] {
        ask(&mut client, &format!("/a/{n}"), &header);
        head(&mut client).unwrap();
    }
    sleep(Duration::from_millis(200));
    let samples = web.samples();
    for (n, told) in [(1, value), (2, ""), (3, value)] {
        let path = format!("/a/{n}");
        let both: Vec<_> = samples.iter().filter(|s| s.path == path).collect();
        assert_eq!(both.len(), 2, "both ends of {path}: {samples:?}");
        assert!(both.iter().all(|s| s.traceparent.trim() == told), "{both:?}");
    }
}
