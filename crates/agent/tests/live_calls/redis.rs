//! Redis, by `INFO commandstats`.

use std::collections::BTreeMap;

use taproot_model::{Protocol, Role};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, Unread};
use crate::many;

const PORT: &str = "6379";

/// What is asked of it; the last one sets ten keys at once.
const ALL: &str = "get,set,incr,lpush,mset";

fn server(bed: &Bed) -> crate::bed::Process {
    let dir = bed.dir.path().to_str().unwrap();
    let server = bed.start("redis-server", &["--port", PORT, "--save", "", "--dir", dir]);
    bed.ready(6379);
    server
}

/// Calls by command, as the server counts them; asking is one of them.
fn truth(bed: &Bed) -> BTreeMap<String, u64> {
    let text = bed.run("redis-cli", &["-p", PORT, "INFO", "commandstats"]);
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|l| l.split_once(':'))
        else {
            continue;
        };
        let calls = rest.strip_prefix("calls=").and_then(|r| r.split(',').next()).unwrap();
        let command = name.split('|').next().unwrap().to_uppercase();
        *out.entry(command).or_default() += calls.parse::<u64>().unwrap();
    }
    // It counts a command when that is done: not yet the one that asks.
    *out.entry("INFO".into()).or_default() += 1;
    out
}

fn exact(mut bed: Bed, commands: &str, flags: &[&str], n: u64) -> Result<(), Unread> {
    let _server = server(&bed);
    let n = n.to_string();
    let mut args = vec!["-p", PORT, "-q", "-t", commands, "-n", &n, "-c", "20"];
    args.extend(flags);
    bed.run("redis-benchmark", &args);
    let truth = truth(&bed);
    assert!(truth["GET"] >= n.parse().unwrap());
    let counted = bed.read()?;
    for role in [Role::Server, Role::Client] {
        let ours = counted.by_method(Protocol::Redis, role);
        assert_eq!(ours, truth, "{role:?} {flags:?}; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Redis);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn redis_one_command_after_the_other() {
    need_root!();
    need_commands!("redis-server", "redis-benchmark", "redis-cli", "ip");
    read_whole!(|bed| exact(bed, ALL, &[], many(20_000)));
}

#[test]
fn redis_pipelined_at_full_speed() {
    need_root!();
    need_commands!("redis-server", "redis-benchmark", "redis-cli", "ip");
    read_whole!(|bed| exact(bed, ALL, &["-P", "16"], many(400_000)));
}

#[test]
fn redis_with_values_larger_than_segments() {
    need_root!();
    need_commands!("redis-server", "redis-benchmark", "redis-cli", "ip");
    read_whole!(|bed| exact(bed, "get,set,incr", &["-d", "100000"], many(2_000)));
}

#[test]
fn redis_errors_are_named() {
    need_root!();
    need_commands!("redis-server", "redis-cli", "ip");
    let mut bed = new_bed!();
    let _server = server(&bed);
    bed.feed("redis-cli", &["-p", PORT], "SET k v\nLPUSH k x\nNOSUCH\n");
    let counted = bed.counted();
    let codes: Vec<_> = counted
        .of(Protocol::Redis, Role::Server)
        .filter(|r| r.error)
        .map(|r| (r.method.to_string(), r.code.to_string()))
        .collect();
    assert!(codes.contains(&("LPUSH".into(), "WRONGTYPE".into())), "{codes:?}");
    assert!(codes.iter().any(|(method, code)| method == "_OTHER" && code == "ERR"), "{codes:?}");
}
