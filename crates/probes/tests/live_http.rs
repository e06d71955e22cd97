//! HTTP counting against what servers themselves counted, on loopback, in a control
//! group of our own.

mod web;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use taproot_probes::http::{HttpCollector, Options, Role};
use taproot_testkit::{guest_kernel, need_commands, need_root, skip};
use web::{Nginx, Scripted, Tally, Web};

/// Emulated guests are some twenty times slower: fewer requests prove the same.
fn many() -> u64 {
    if guest_kernel().is_some() { 2_000 } else { 50_000 }
}

macro_rules! web {
    ($options:expr) => {
        match Web::new($options) {
            Ok(web) => web,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Runs a fixed number of requests and compares both ends with nginx's own count.
fn exact(web: &mut Web, nginx: &Nginx, path: &str, n: u64, flags: &[&str]) {
    let before = nginx.requests();
    nginx.ab(path, n, flags);
    // stub_status counts the two questions itself: one before, one after.
    let truth = nginx.requests() - before - 1;
    assert_eq!(truth, n, "nginx saw another number than ab sent");
    let tally = web.tally(path);
    let lost = web.losses();
    assert_eq!(tally.server, n, "server end of {path} {flags:?}; lost: {lost:?}");
    assert_eq!(tally.client, n, "client end of {path} {flags:?}; lost: {lost:?}");
}

#[test]
fn counts_equal_nginx_at_full_speed() {
    need_root!();
    need_commands!("nginx", "ab");
    let mut web = web!(&Options::default());
    let nginx = web.nginx();
    let n = many();
    exact(&mut web, &nginx, "/small", n, &["-k", "-c", "16"]);
    exact(&mut web, &nginx, "/small", n, &["-c", "16"]);
    exact(&mut web, &nginx, "/64k", n, &["-k", "-c", "8"]);
    assert_eq!(nginx.log_lines("/64k"), n, "the access log is a second witness");
}

#[test]
fn attached_in_mid_connection_counts_from_there() {
    need_root!();
    need_commands!("nginx");
    let mut web = web!(&Options::default());
    let nginx = web.nginx();
    let mut early = nginx.connect();
    let get = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
    web::round_trip(&mut early, get);
    web.restart(&Options::default());
    for _ in 0..100 {
        web::round_trip(&mut early, get);
    }
    let tally = web.tally("/small");
    assert_eq!((tally.server, tally.client), (100, 100), "lost: {:?}", web.losses());
}

#[test]
fn pipelined_requests_are_all_counted() {
    need_root!();
    need_commands!("nginx");
    let mut web = web!(&Options::default());
    let nginx = web.nginx();
    let n = many();
    let depth = 12;
    let mut stream = nginx.connect();
    let batch = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n".repeat(depth);
    let mut sent = 0;
    while sent < n {
        stream.write_all(&batch).unwrap();
        web::read_responses(&mut stream, depth);
        sent += depth as u64;
    }
    let tally = web.tally("");
    assert_eq!((tally.server, tally.client), (sent, sent), "lost: {:?}", web.losses());
}

#[test]
fn a_small_ring_loses_samples_not_counts() {
    need_root!();
    need_commands!("nginx", "ab");
    let mut web = web!(&Options {
        ring_bytes: 64 << 10,
        sample_every: 1,
        samples_per_interval: i64::MAX,
        ..Options::default()
    });
    let nginx = web.nginx();
    let n = many();
    nginx.ab("/small", n, &["-k", "-c", "16"]);
    let tally = web.tally("");
    let losses = web.losses();
    let lost: u64 = losses.iter().filter(|(r, _)| *r == "ring_full").map(|(_, n)| n).sum();
    assert_eq!((tally.server, tally.client), (n, n));
    assert!(lost > 0, "64 KiB hold some 270 samples, yet none of {n} was lost");
    assert_eq!(web.samples + lost, 2 * n, "delivered + lost = produced; {losses:?}");
}

#[test]
fn requests_cut_anywhere_are_whole() {
    need_root!();
    need_commands!("nginx");
    let mut web = web!(&Options { sample_every: 1, ..Options::default() });
    let nginx = web.nginx();
    let mut stream = nginx.connect();
    stream.set_nodelay(true).unwrap();
    for size in [1, 2, 3, 7, 20] {
        for piece in
            b"GET /small HTTP/1.1\r\nHost: a\r\nX-Long: ....................\r\n\r\n".chunks(size)
        {
            stream.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_micros(300));
        }
        web::read_responses(&mut stream, 1);
    }
    let tally = web.tally("/small");
    assert_eq!((tally.server, tally.client), (5, 5), "lost: {:?}", web.losses());
}

/// One exchange of a scripted server: what the client sends, what comes back, and
/// the status that must be counted.
const EXCHANGES: &[(&str, &str, u16)] = &[
    (
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n",
        200,
    ),
    ("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", 200),
    (
        "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
        201,
    ),
    (
        "GET /a HTTP/1.1\r\nIf-None-Match: x\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
        304,
    ),
    ("DELETE /a HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", 204),
    (
        "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nno!",
        503,
    ),
    (
        "PUT http://host/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        404,
    ),
    (
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nGET /no HTTP/1.1\r\n\r\n",
        101,
    ),
];

#[test]
fn framing_rules_of_http_hold() {
    need_root!();
    let mut web = web!(&Options::default());
    let server = Scripted::start(EXCHANGES.iter().map(|e| (e.0.len(), e.1.as_bytes())).collect());
    let mut client = server.connect();
    for (request, response, _) in EXCHANGES {
        client.write_all(request.as_bytes()).unwrap();
        let mut got = vec![0; response.len()];
        client.read_exact(&mut got).unwrap();
    }
    drop(client);
    let batch = web.poll();
    for role in [Role::Client, Role::Server] {
        for (request, _, status) in EXCHANGES {
            let found: u64 = batch
                .iter()
                .filter(|d| d.key.role == role && d.key.status == *status)
                .map(|d| d.count)
                .sum();
            let want = EXCHANGES.iter().filter(|e| e.2 == *status).count() as u64;
            assert_eq!(found, want, "{role:?} {status} of {request:?}");
        }
        let all: u64 = batch.iter().filter(|d| d.key.role == role).map(|d| d.count).sum();
        assert_eq!(all, EXCHANGES.len() as u64, "nothing beyond what was asked ({role:?})");
    }
}

#[test]
fn no_answer_is_unanswered_not_some_status() {
    need_root!();
    let mut web = web!(&Options::default());
    let server = Scripted::start(vec![(34, b"")]);
    let mut client = server.connect();
    client.write_all(b"GET /never HTTP/1.1\r\nHost: abc\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    drop(client);
    server.join();
    std::thread::sleep(Duration::from_millis(300));
    let batch = web.poll();
    let unanswered = |role| {
        batch
            .iter()
            .filter(|d| d.key.role == role && d.key.status == 0)
            .map(|d| d.count)
            .sum::<u64>()
    };
    assert_eq!((unanswered(Role::Client), unanswered(Role::Server)), (1, 1), "{batch:?}");
    assert!(batch.iter().all(|d| d.key.status == 0), "{batch:?}");
}

#[test]
fn a_socket_handed_to_a_child_goes_on() {
    need_root!();
    let mut web = web!(&Options::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let input: std::os::fd::OwnedFd = accepted.try_clone().unwrap().into();
    let output: std::os::fd::OwnedFd = accepted.into();
    let answer = "read a; read b; printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi'";
    let mut child = Command::new("sh")
        .args(["-c", answer])
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .spawn()
        .unwrap();
    client.write_all(b"GET /forked HTTP/1.1\r\n\r\n").unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    child.wait().unwrap();
    let tally = web.tally("");
    assert_eq!((tally.server, tally.client), (1, 1), "{got}");
}

#[test]
fn nothing_outside_the_group_is_seen() {
    need_root!();
    let mut web = web!(&Options::default());
    web.leave();
    let server = Scripted::start(vec![(31, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
    let mut client = server.connect();
    client.write_all(b"GET /outside HTTP/1.1\r\nHost:\r\n\r\n").unwrap();
    let mut got = vec![0; 38];
    client.read_exact(&mut got).unwrap();
    let Tally { server, client } = web.tally("");
    assert_eq!((server, client), (0, 0), "sockets of other groups are none of our business");
}

#[test]
fn refuses_a_ring_that_cannot_be() {
    let error = HttpCollector::start(&Options { ring_bytes: 5000, ..Options::default() });
    assert!(error.err().unwrap().to_string().contains("power of two"));
}
