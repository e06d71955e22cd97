//! HTTP/2 without TLS, by nginx's access log; HTTP/1 beside it, by the kernel's own count.

use std::fs;

use taproot_model::{Protocol, Role};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, Process, Unread};
use crate::many;

fn nginx(bed: &Bed) -> Process {
    let files = [("small", 6), ("items/7", 6), ("large", 100_000)];
    let servers = "server { listen 127.0.0.1:8080 http2; } server { listen 127.0.0.1:8081; }";
    let server = bed.start("nginx", &["-e", "/dev/null", "-c", &bed.nginx_config(&files, servers)]);
    bed.ready(8080);
    server
}

/// Lines of the access log that hold a text.
fn logged(bed: &Bed, text: &str) -> u64 {
    let log = fs::read_to_string(bed.dir.path().join("access.log")).unwrap();
    log.lines().filter(|line| line.contains(text)).count() as u64
}

fn multiplexed(
    mut bed: Bed,
    (clients, streams): (&str, &str),
    path: &str,
    n: u64,
) -> Result<(), Unread> {
    let _server = nginx(&bed);
    let (count, url) = (n.to_string(), format!("http://127.0.0.1:8080{path}"));
    let text = bed.run("h2load", &["-n", &count, "-c", clients, "-m", streams, &url]);
    assert!(text.contains(&format!("{n} succeeded")), "{text}");
    let counted = bed.read()?;
    assert_eq!(logged(&bed, &format!("\"GET {path} HTTP/2.0\" 200")), n);
    for role in [Role::Server, Role::Client] {
        let ours: u64 = counted
            .of(Protocol::Http2, role)
            .filter(|r| &*r.method == "GET" && r.status == 200 && !r.error)
            .map(|r| r.count)
            .sum();
        assert_eq!(ours, n, "{role:?}, {streams} streams; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Http2);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn http2_one_stream() {
    need_root!();
    need_commands!("nginx", "h2load", "ip");
    read_whole!(|bed| multiplexed(bed, ("10", "1"), "/small", many(10_000)));
}

#[test]
fn http2_ten_streams() {
    need_root!();
    need_commands!("nginx", "h2load", "ip");
    read_whole!(|bed| multiplexed(bed, ("10", "10"), "/small", many(50_000)));
}

#[test]
fn http2_a_hundred_streams() {
    need_root!();
    need_commands!("nginx", "h2load", "ip");
    read_whole!(|bed| multiplexed(bed, ("10", "100"), "/small", many(100_000)));
}

#[test]
fn http2_bodies_of_many_frames() {
    need_root!();
    need_commands!("nginx", "h2load", "ip");
    read_whole!(|bed| multiplexed(bed, ("2", "4"), "/large", many(2_000)));
}

#[test]
fn http2_routes_and_refusals() {
    need_root!();
    need_commands!("nginx", "h2load", "ip");
    let mut bed = new_bed!();
    let _server = nginx(&bed);
    bed.run("h2load", &["-n", "30", "http://127.0.0.1:8080/items/7"]);
    bed.run("h2load", &["-n", "20", "http://127.0.0.1:8080/items/8"]);
    let counted = bed.counted();
    let of = |role, status| -> u64 {
        let wanted =
            |r: &&taproot_model::Requests| r.status == status && &*r.route == "/items/{id}";
        counted.of(Protocol::Http2, role).filter(wanted).map(|r| r.count).sum()
    };
    assert_eq!((of(Role::Server, 200), of(Role::Server, 404)), (30, 20));
    assert_eq!((of(Role::Client, 200), of(Role::Client, 404)), (30, 20));
    let blamed = |role| counted.of(Protocol::Http2, role).filter(|r| r.error).count();
    assert_eq!((blamed(Role::Server), blamed(Role::Client)), (0, 1), "a 404 is the client's");
}

/// A proxy: HTTP/2 on its one side, HTTP/1 on the other, by its own log and the server's.
fn proxied(mut bed: Bed, n: u64) -> Result<(), Unread> {
    let _server = nginx(&bed);
    bed.ready(8081);
    let log = bed.dir.path().join("proxy.log");
    let args = [
        "--frontend=127.0.0.1,8082;no-tls",
        "--backend=127.0.0.1,8081",
        "--workers=1",
        "--conf=/dev/null",
        "--errorlog-file=/dev/null",
        &format!("--accesslog-file={}", log.display()),
    ];
    let _proxy = bed.start("nghttpx", &args);
    bed.ready(8082);
    let count = n.to_string();
    let url = "http://127.0.0.1:8082/small";
    let text = bed.run("h2load", &["-n", &count, "-c", "4", "-m", "10", url]);
    assert!(text.contains(&format!("{n} succeeded")), "{text}");
    let counted = bed.read()?;
    let lines = fs::read_to_string(log).unwrap().lines().filter(|l| l.contains("HTTP/2")).count();
    assert_eq!((lines as u64, logged(&bed, "\"GET /small HTTP/1.1\" 200")), (n, n));
    for role in [Role::Server, Role::Client] {
        for protocol in [Protocol::Http2, Protocol::Http] {
            let ours = counted.by_method(protocol, role);
            assert_eq!(ours["GET"], n, "{protocol:?} {role:?}; lost: {:?}", bed.losses());
        }
    }
    let odd = [counted.odd(Protocol::Http2), counted.odd(Protocol::Http)].concat();
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn http2_through_a_proxy_to_http1() {
    need_root!();
    need_commands!("nginx", "nghttpx", "h2load", "ip");
    read_whole!(|bed| proxied(bed, many(20_000)));
}

/// The exact collector has it: nothing of it is counted twice.
#[test]
fn http1_is_counted_once() {
    need_root!();
    need_commands!("nginx", "ab", "ip");
    let mut bed = new_bed!();
    let _server = nginx(&bed);
    bed.ready(8081);
    let n = many(20_000);
    let count = n.to_string();
    for flags in [&["-k"][..], &[]] {
        let url = ["http://127.0.0.1:8081/small"];
        let args = [&["-q", "-n", &count, "-c", "8"], flags, &url].concat();
        bed.run("ab", &args);
        let counted = bed.counted();
        for role in [Role::Server, Role::Client] {
            let ours = counted.by_method(Protocol::Http, role);
            assert_eq!(ours, [("GET".to_owned(), n)].into(), "{role:?}; {:?}", bed.losses());
            assert_eq!(counted.of(Protocol::Http2, role).count(), 0);
        }
    }
    let lost = bed.losses().keys().find(|reason| reason.starts_with("payload "));
    assert_eq!(lost, None, "no payload of HTTP/1 was copied, so none was lost");
}
