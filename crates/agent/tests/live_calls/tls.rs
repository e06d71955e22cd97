//! Requests inside of TLS, by nginx's access log.

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use taproot_model::{Protocol, Role};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, Counted, Process, Unread, cpu};
use crate::many;

/// How long the server is waited for to be attached to.
const PATIENCE: Duration = Duration::from_mins(1);

/// Makes a certificate of our own.
fn certify(bed: &Bed) {
    let d = bed.dir.path().display();
    let (key, cert) = (format!("{d}/key.pem"), format!("{d}/cert.pem"));
    let curve = "ec_paramgen_curve:prime256v1";
    let make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "2"];
    let into = ["-subj", "/CN=shop.test", "-keyout", &key, "-out", &cert];
    bed.run("openssl", &[&make[..], &into].concat());
}

fn configure(bed: &Bed) -> String {
    let d = bed.dir.path().display();
    certify(bed);
    let servers = format!(
        "ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
         server {{ listen 127.0.0.1:8443 ssl; }} server {{ listen 127.0.0.1:8444 ssl http2; }}"
    );
    bed.nginx_config(&[("small", 6), ("large", 100_000)], &servers)
}

/// Calls `again` until something it does is counted.
fn until_seen(bed: &mut Bed, role: Role, mut again: impl FnMut(&Bed)) {
    let until = Instant::now() + PATIENCE;
    loop {
        again(bed);
        if !bed.counted().by_method(Protocol::Http, role).is_empty() {
            return;
        }
        assert!(Instant::now() < until, "nothing is seen; lost: {:?}", bed.losses());
    }
}

/// A server in the group; ready when what it says inside of TLS is seen.
fn nginx(bed: &mut Bed) -> Process {
    let path = configure(bed);
    let server = bed.start("nginx", &["-e", "/dev/null", "-c", &path]);
    bed.ready(8443);
    until_seen(bed, Role::Server, |bed| {
        bed.run("curl", &["-sk", "--http1.1", "https://127.0.0.1:8443/small"]);
    });
    server
}

/// A server that nobody observes.
fn unseen_nginx(bed: &Bed) -> Process {
    let path = configure(bed);
    let server = bed.start_unseen("nginx", &["-e", "/dev/null", "-c", &path]);
    bed.ready(8443);
    server
}

/// Good answers to requests of a path.
fn good(counted: &Counted, protocol: Protocol, role: Role, path: &str) -> u64 {
    let wanted = |r: &&taproot_model::Requests| {
        &*r.method == "GET" && r.status == 200 && !r.error && &*r.route == path
    };
    counted.of(protocol, role).filter(wanted).map(|r| r.count).sum()
}

/// Lines of the access log that hold a text.
fn logged(bed: &Bed, text: &str) -> u64 {
    let log = fs::read_to_string(bed.dir.path().join("access.log")).unwrap();
    log.lines().filter(|line| line.contains(text)).count() as u64
}

fn http1(mut bed: Bed, flags: &[&str], path: &str, n: u64) -> Result<(), Unread> {
    let _server = nginx(&mut bed);
    let line = format!("\"GET {path} HTTP/1.0\" 200");
    let before = logged(&bed, &line);
    let (count, url) = (n.to_string(), format!("https://127.0.0.1:8443{path}"));
    bed.run("ab", &[&["-q", "-n", &count, "-c", "8"], flags, &[&url]].concat());
    let counted = bed.read()?;
    let truth = logged(&bed, &line) - before;
    assert_eq!(truth, n);
    for role in [Role::Server, Role::Client] {
        let ours = good(&counted, Protocol::Http, role, path);
        assert_eq!(ours, truth, "{role:?} {flags:?}; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Http);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn tls_http1_over_kept_connections() {
    need_root!();
    need_commands!("nginx", "ab", "curl", "openssl", "ip");
    read_whole!(|bed| http1(bed, &["-k"], "/small", many(20_000)));
}

#[test]
fn tls_http1_with_a_connection_for_each_request() {
    need_root!();
    need_commands!("nginx", "ab", "curl", "openssl", "ip");
    read_whole!(|bed| http1(bed, &[], "/small", many(2_000)));
}

fn http2(mut bed: Bed, path: &str, n: u64) -> Result<(), Unread> {
    let _server = nginx(&mut bed);
    let (count, url) = (n.to_string(), format!("https://127.0.0.1:8444{path}"));
    let text = bed.run("h2load", &["-n", &count, "-c", "10", "-m", "10", &url]);
    assert!(text.contains(&format!("{n} succeeded")), "{text}");
    let counted = bed.read()?;
    assert_eq!(logged(&bed, &format!("\"GET {path} HTTP/2.0\" 200")), n);
    for role in [Role::Server, Role::Client] {
        let ours = good(&counted, Protocol::Http2, role, path);
        assert_eq!(ours, n, "{role:?}; lost: {:?}", bed.losses());
        // The handshakes are still told, and nothing is taken for another protocol.
        let shaken: u64 = counted.of(Protocol::Tls, role).map(|r| r.count).sum();
        assert!(shaken >= 10, "{role:?}: {shaken}");
        assert_eq!(counted.by_method(Protocol::Http, role).len(), 0);
    }
    let odd = counted.odd(Protocol::Http2);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn tls_http2_many_streams() {
    need_root!();
    need_commands!("nginx", "h2load", "curl", "openssl", "ip");
    read_whole!(|bed| http2(bed, "/small", many(20_000)));
}

#[test]
fn tls_http2_bodies_of_many_records() {
    need_root!();
    need_commands!("nginx", "h2load", "curl", "openssl", "ip");
    read_whole!(|bed| http2(bed, "/large", many(1_000)));
}

/// A client that was connected before it was attached to, to a server that is not
/// observed: all is told by the client's own library.
fn joined_late(mut bed: Bed, program: &str, args: &[&str]) {
    let _server = unseen_nginx(&bed);
    let (_client, mut stdin) = bed.talk(program, args);
    let mut ask = |path: &str| {
        write!(stdin, "GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n").unwrap();
        stdin.flush().unwrap();
        sleep(Duration::from_millis(20));
    };
    until_seen(&mut bed, Role::Client, |_| ask("/small"));
    let n = 50;
    (0..n).for_each(|_| ask("/large"));
    // A client may take its time to say it.
    let until = Instant::now() + PATIENCE;
    while logged(&bed, "GET /large HTTP/1.1") < n && Instant::now() < until {
        sleep(Duration::from_millis(20));
    }
    let mut counted = bed.counted();
    assert_eq!(logged(&bed, "GET /large HTTP/1.1"), n);
    // What the server has written the client may read later, on a busy machine much later.
    let until = Instant::now() + PATIENCE;
    while good(&counted, Protocol::Http, Role::Client, "/large") < n && Instant::now() < until {
        sleep(Duration::from_millis(20));
        counted.add(bed.counted());
    }
    let ours = good(&counted, Protocol::Http, Role::Client, "/large");
    assert_eq!(ours, n, "lost: {:?}", bed.losses());
    assert_eq!(counted.of(Protocol::Http, Role::Server).count(), 0, "nobody is there");
    let odd = counted.odd(Protocol::Http);
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn tls_of_openssl_joined_late() {
    need_root!();
    need_commands!("nginx", "openssl", "ip");
    let args = ["s_client", "-quiet", "-connect", "127.0.0.1:8443"];
    joined_late(new_bed!(), "openssl", &args);
}

#[test]
fn tls_of_gnutls_joined_late() {
    need_root!();
    need_commands!("nginx", "gnutls-cli", "openssl", "ip");
    let args = ["--insecure", "--no-ca-verification", "-p", "8443", "127.0.0.1"];
    joined_late(new_bed!(), "gnutls-cli", &args);
}

/// Builds the program in Go, with its symbols or without.
fn go(bed: &Bed, flags: &[&str]) -> String {
    let d = bed.dir.path().display();
    let (program, cache) = (format!("{d}/go"), format!("GOCACHE={d}/cache"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live_calls/tls.go");
    let build = ["-i", "PATH=/usr/bin:/bin:/usr/local/go/bin", "HOME=/nonexistent", &cache];
    let args = [&build[..], &["go", "build", "-o", &program], flags, &[source]].concat();
    bed.run_unseen("env", &args);
    program
}

/// A server in Go with clients that nobody observes.
fn go_server(mut bed: Bed, n: u64) -> Result<(), Unread> {
    certify(&bed);
    let d = bed.dir.path().display().to_string();
    let program = go(&bed, &["-ldflags=-s -w"]);
    let files = [format!("{d}/cert.pem"), format!("{d}/key.pem")];
    let _server = bed.start(&program, &["serve", "127.0.0.1:8443", &files[0], &files[1]]);
    bed.ready(8443);
    until_seen(&mut bed, Role::Server, |bed| {
        bed.run_unseen("curl", &["-sk", "--http1.1", "https://127.0.0.1:8443/small"]);
    });
    let url = "https://127.0.0.1:8443/large";
    let count = n.to_string();
    for (protocol, flag) in [(Protocol::Http2, "-m10"), (Protocol::Http, "--h1")] {
        let text = bed.run_unseen("h2load", &["-n", &count, "-c", "8", flag, url]);
        assert!(text.contains(&format!("{n} succeeded")), "{text}");
        let counted = bed.read()?;
        let ours = good(&counted, protocol, Role::Server, "/large");
        assert_eq!(ours, n, "{protocol:?}; lost: {:?}", bed.losses());
        let odd = counted.odd(protocol);
        assert!(odd.is_empty(), "{odd:?}");
    }
    Ok(())
}

#[test]
fn tls_of_a_stripped_server_in_go() {
    need_root!();
    need_commands!("go", "h2load", "curl", "openssl", "ip");
    read_whole!(|bed| go_server(bed, many(10_000)));
}

#[test]
fn tls_of_a_client_in_go() {
    need_root!();
    need_commands!("go", "nginx", "openssl", "ip");
    let mut bed = new_bed!();
    let program = go(&bed, &[]);
    let _server = unseen_nginx(&bed);
    let n = many(4_000);
    let args = ["ask", "https://127.0.0.1:8443", &n.to_string()];
    let (client, mut stdin) = bed.talk(&program, &args);
    until_seen(&mut bed, Role::Client, |_| stdin.write_all(b"\n").unwrap());
    drop(stdin);
    client.wait();
    let counted = bed.counted();
    assert_eq!(logged(&bed, "GET /large HTTP/1.1"), n);
    let ours = good(&counted, Protocol::Http, Role::Client, "/large");
    assert_eq!(ours, n, "lost: {:?}", bed.losses());
}

/// What a request costs more when it is seen: CPU of server, client and agent, by
/// everybody's own account.
#[test]
#[ignore = "a measurement of some minutes: of its figures it asserts the counts alone"]
fn tls_cost() {
    need_root!();
    need_commands!("nginx", "ab", "openssl", "ip");
    let n = 40_000_u32;
    let (count, url) = (n.to_string(), "https://127.0.0.1:8443/small");
    let load = ["-q", "-k", "-n", &count, "-c", "8", url];
    for round in 0..3 {
        let mut figures = Vec::new();
        for seen in [false, true] {
            let mut bed = new_bed!();
            let server = if seen { nginx(&mut bed) } else { unseen_nginx(&bed) };
            bed.counted();
            let before = (server.cpu(), cpu("self"));
            if seen {
                bed.run("ab", &load);
            } else {
                bed.run_unseen("ab", &load);
            }
            let (server, own) = (server.cpu() - before.0, cpu("self"));
            let client = own.1 - before.1.1;
            let counted = good(&bed.counted(), Protocol::Http, Role::Server, "/small");
            let agent = cpu("self").0 - before.1.0;
            if !bed.losses().keys().any(|reason| reason.ends_with("_bytes")) {
                assert_eq!(counted, if seen { u64::from(n) } else { 0 });
            }
            let each = |all: u64| all as f64 / f64::from(n) / 1000.0;
            println!(
                "round {round}, seen {seen}: server {:.1} us, client {:.1} us, agent {:.1} us a \
                 request; {counted} counted; lost {:?}",
                each(server),
                each(client),
                each(agent),
                bed.losses()
            );
            figures.push(each(server) + each(client) + each(agent));
        }
        println!("round {round}: {:.1} us more a request at both ends", figures[1] - figures[0]);
    }
}
