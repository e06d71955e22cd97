//! DNS over UDP and TCP, by dnsperf's count of answers and dnsmasq's log of queries.

use std::fs;

use taproot_model::{Protocol, Role};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, Process, Unread};
use crate::many;

fn dnsmasq(bed: &Bed) -> Process {
    let log = format!("--log-facility={}", bed.dir.path().join("queries.log").display());
    let args = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--address=/shop.test/10.9.9.9",
        "--address=/shop.test/fd00::9",
        "--log-queries",
        &log,
    ];
    let server = bed.start("dnsmasq", &args);
    bed.ready_udp(53);
    server
}

/// Queries of a type for names of the shop, as the server logged them.
fn logged(bed: &Bed, kind: &str) -> u64 {
    let log = fs::read_to_string(bed.dir.path().join("queries.log")).unwrap();
    let query = format!("query[{kind}] ");
    log.lines().filter(|line| line.contains(&query) && line.contains("test")).count() as u64
}

/// The number behind a label of dnsperf's report.
fn reported(text: &str, label: &str) -> u64 {
    let line = text.lines().find(|line| line.contains(label)).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// Asks `n` times; returns how many were answered. dnsperf 2.10 may use a connection that
/// it has just given up itself, and ends in the middle.
fn ask(bed: &Bed, mode: &str, n: u64) -> Result<u64, Unread> {
    let names: String = ["A", "AAAA"].map(|kind| format!("www.shop.test {kind}\n")).concat();
    let file = bed.dir.path().join("names");
    fs::write(&file, names.repeat(n as usize / 2)).unwrap();
    let file = file.to_str().unwrap();
    let args = ["-s", "127.0.0.1", "-m", mode, "-d", file, "-n", "1", "-c", "4"];
    let out = bed.feed("dnsperf", &args, "");
    let [text, told] = [&out.stdout, &out.stderr].map(|told| String::from_utf8_lossy(told));
    if !out.status.success() && told.contains("Bad file descriptor") {
        return Err(Unread(format!("dnsperf: {told}")));
    }
    assert!(out.status.success(), "{text}{told}");
    assert_eq!(reported(&text, "Queries sent:"), n, "{text}");
    Ok(reported(&text, "Queries completed:"))
}

fn over_udp(mut bed: Bed) -> Result<(), Unread> {
    let _server = dnsmasq(&bed);
    let n = many(20_000);
    assert_eq!(ask(&bed, "udp", n)?, n);
    let counted = bed.read()?;
    for kind in ["A", "AAAA"] {
        let truth = logged(&bed, kind);
        assert_eq!(truth, n / 2, "dnsmasq saw all that dnsperf sent");
        for role in [Role::Server, Role::Client] {
            let ours = counted.by_method(Protocol::Dns, role);
            assert_eq!(ours[kind], truth, "{kind} {role:?}; lost: {:?}", bed.losses());
        }
    }
    let odd = counted.odd(Protocol::Dns);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn dns_over_udp() {
    need_root!();
    need_commands!("dnsmasq", "dnsperf", "ip");
    read_whole!(over_udp);
}

/// Over TCP dnsmasq closes a connection after some questions, so some go unanswered;
/// and dnsperf does not read all that was answered before the end. What it wrote to a
/// connection that was being closed is a question for dnsperf, and never was sent: the
/// server's own count is the truth.
fn over_tcp(mut bed: Bed) -> Result<(), Unread> {
    let _server = dnsmasq(&bed);
    let n = many(10_000);
    let answered = ask(&bed, "tcp", n)?;
    assert!(answered > n / 2, "{answered}");
    let counted = bed.read()?;
    let asked = |role, answered: bool| -> u64 {
        let wanted = |r: &&taproot_model::Requests| r.error != answered;
        counted.of(Protocol::Dns, role).filter(wanted).map(|r| r.count).sum()
    };
    let truth = logged(&bed, "A") + logged(&bed, "AAAA");
    assert_eq!(asked(Role::Server, true), truth, "lost: {:?}", bed.losses());
    let (ours, unanswered) = (asked(Role::Client, true), asked(Role::Client, false));
    assert!(ours + unanswered <= n, "{ours} + {unanswered}");
    assert!(ours >= answered, "{ours} of {answered}; lost: {:?}", bed.losses());
    Ok(())
}

#[test]
fn dns_over_tcp() {
    need_root!();
    need_commands!("dnsmasq", "dnsperf", "ip");
    read_whole!(over_tcp);
}

#[test]
fn a_name_that_does_not_exist() {
    need_root!();
    need_commands!("dnsmasq", "dig", "ip");
    let mut bed = new_bed!();
    let _server = dnsmasq(&bed);
    bed.run("dig", &["@127.0.0.1", "+tries=1", "nowhere.example", "A"]);
    let counted = bed.counted();
    for role in [Role::Server, Role::Client] {
        let found: Vec<_> = counted.of(Protocol::Dns, role).collect();
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*one.method, &*one.route), ("A", "nowhere.example"));
        assert!(one.error && one.status == 5 && &*one.code == "REFUSED", "{one:?}");
        assert_eq!(one.edge.server.addr.port(), 53);
    }
}
