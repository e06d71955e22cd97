//! Requests inside of TLS, by nginx's access log.

use std::fs;
use std::time::{Duration, Instant};

use taproot_model::{Protocol, Role};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, Process, Unread};
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
    fs::create_dir_all(bed.dir.path().join("www")).unwrap();
    for (name, size) in [("small", 6), ("large", 100_000)] {
        fs::write(bed.dir.path().join("www").join(name), "x".repeat(size)).unwrap();
    }
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {d}/tmp;"))
        .concat();
    let config = format!(
        "daemon off; user root; worker_processes 1; pid {d}/pid; error_log {d}/error.log;
         events {{ worker_connections 1024; }}
         http {{ access_log {d}/access.log; keepalive_requests 100000000; {temp}
           ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
           server {{ listen 127.0.0.1:8443 ssl; root {d}/www; }}
           server {{ listen 127.0.0.1:8444 ssl http2; root {d}/www; }} }}"
    );
    let path = format!("{d}/nginx.conf");
    fs::write(&path, config).unwrap();
    path
}

/// A server in the group; ready when what it says inside of TLS is seen.
fn nginx(bed: &mut Bed) -> Process {
    let path = configure(bed);
    let server = bed.start("nginx", &["-e", "/dev/null", "-c", &path]);
    bed.ready(8443);
    let until = Instant::now() + PATIENCE;
    loop {
        bed.run("curl", &["-sk", "--http1.1", "https://127.0.0.1:8443/small"]);
        let seen = bed.counted().by_method(Protocol::Http, Role::Server);
        if !seen.is_empty() {
            return server;
        }
        assert!(Instant::now() < until, "nothing is seen; lost: {:?}", bed.losses());
    }
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
        let ours: u64 = counted
            .of(Protocol::Http, role)
            .filter(|r| &*r.method == "GET" && r.status == 200 && !r.error && &*r.route == path)
            .map(|r| r.count)
            .sum();
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
