//! Captures that others made, under every parser but HTTP/1's: cuts change
//! nothing, the middle invents nothing, and counts equal those of tshark.
//!
//! `cargo test -p taproot-protocols --test wire_captures -- --nocapture` prints
//! what was found, capture by capture.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{Datagram, NO_DATA, Sent, conversations_of, data, datagrams};
use taproot_protocols::amqp::Amqp;
use taproot_protocols::any::{self, Any};
use taproot_protocols::dns::{Datagrams, Dns};
use taproot_protocols::dubbo::Dubbo;
use taproot_protocols::http2::Http2;
use taproot_protocols::kafka::Kafka;
use taproot_protocols::mongo::Mongo;
use taproot_protocols::mqtt::Mqtt;
use taproot_protocols::mysql::Mysql;
use taproot_protocols::nats::Nats;
use taproot_protocols::postgres::Postgres;
use taproot_protocols::redis::Redis;
use taproot_protocols::stream::Limits;
use taproot_protocols::{Call, Connection, Outcome, Piece, Protocol, Wire};
use taproot_testkit::skip;

/// The captures in a folder, folders below it included, in order.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(captures(&path));
        } else if path.extension().is_some_and(|one| one == "pcap" || one == "pcapng") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn texts(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::to_string).collect()
}

/// How often each call was found in a capture.
type Found = BTreeMap<String, u64>;

/// Runs the captures of some folders; returns what was found, by capture.
fn ordeal<P>(root: &Path, folders: &[&str]) -> BTreeMap<String, Found>
where
    P: Protocol<Record = Call> + Default,
{
    let mut all = BTreeMap::new();
    for path in folders.iter().flat_map(|folder| captures(&root.join(folder))) {
        let mut found = Found::new();
        for mut conversation in conversations_of::<P>(&path) {
            let (whole, unused) = conversation.run_as::<P>(usize::MAX);
            for text in texts(&whole) {
                *found.entry(text).or_default() += 1;
            }
            for cut in [1024, 16, 1] {
                let (again, lost) = conversation.run_as::<P>(cut);
                if unused == 0 && conversation.from_start {
                    assert_eq!(texts(&again), texts(&whole), "{} at {cut}", path.display());
                    assert_eq!(lost, 0, "{} at {cut}", path.display());
                }
            }
            let half = conversation.sent.len() / 2;
            conversation.sent.drain(..half);
            conversation.from_start = false;
            for call in conversation.run_as::<P>(usize::MAX).0 {
                let answered = matches!(call.outcome, Outcome::Answered { .. });
                let known = |one: &Call| {
                    let named = ["EXECUTE", "_OTHER"].contains(&&*call.operation);
                    (named || one.operation == call.operation)
                        && (!answered || one.outcome == call.outcome)
                };
                assert!(whole.iter().any(known), "{}: {call} is invented", path.display());
            }
        }
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        println!("{name}: {found:?}");
        if !found.is_empty() {
            all.insert(name, found);
        }
    }
    assert!(!all.is_empty(), "no capture holds the protocol");
    all
}

/// What tshark counted in the captures.
fn oracle(root: &Path) -> BTreeMap<String, serde_json::Value> {
    let text = std::fs::read_to_string(root.join("tshark-oracle.json")).expect("the oracle");
    serde_json::from_str(&text).expect("the oracle is JSON")
}

/// DNS over UDP: every datagram that reads like a message.
fn dns_over_udp(path: &Path) -> Vec<Call> {
    let (mut taps, mut records) = (BTreeMap::new(), Vec::new());
    for datagram in datagrams(path) {
        let Datagram { from, to, bytes, time } = datagram;
        let pair = if from < to { (from, to) } else { (to, from) };
        let tap: &mut Datagrams = taps.entry(pair).or_default();
        tap.push(&bytes, bytes.len() as u64, time, &mut records);
    }
    for tap in taps.values_mut() {
        tap.close(&mut records);
    }
    records
}

#[test]
fn dns() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let found = ordeal::<Dns>(&root, &["zeek/dns", "deepflow/dns"]);
    let mut compared = 0;
    for (name, counts) in oracle(&root) {
        let Some(queries) = counts.get("dns.query").and_then(serde_json::Value::as_u64) else {
            continue;
        };
        if !name.starts_with("zeek/dns") && !name.starts_with("deepflow/dns") {
            continue;
        }
        let over_udp = dns_over_udp(&root.join(&name));
        let over_tcp: u64 = found.get(&name).map_or(0, |found| found.values().sum());
        let calls = over_udp.len() as u64 + over_tcp;
        println!("{name}: {calls}, tshark {queries}: {:?}", texts(&over_udp));
        compared += 1;
        assert_eq!(calls, queries, "{name}");
    }
    assert!(compared > 0, "nothing was compared");
}

/// Commands (all but the login) against tshark's.
#[test]
fn mysql() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let found = ordeal::<Mysql>(&root, &["zeek/mysql", "deepflow/mysql"]);
    for (name, commands) in [
        ("zeek/mysql/mysql.pcap", 17),
        ("zeek/mysql/plain-amazon-rds.pcap", 3),
        ("zeek/mysql/change-user-error.pcap", 2),
        ("zeek/mysql/mysql-show-engine-innodb-status-no-password.pcap", 3),
    ] {
        let logins = |text: &&String| !text.starts_with("CONNECT");
        let ours: u64 = found[name].keys().filter(logins).map(|text| found[name][text]).sum();
        assert_eq!(ours, commands, "{name}");
    }
}

/// Requests against tshark's `:method` headers.
#[test]
fn http2() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let found = ordeal::<Http2>(&root, &["deepflow/http", "suricata-verify"]);
    let mut compared = 0;
    for (name, counts) in oracle(&root) {
        let key = "http2.headers.method";
        if let Some(requests) = counts.get(key).and_then(serde_json::Value::as_u64) {
            let ours: u64 = found.get(&name).map_or(0, |found| found.values().sum());
            assert_eq!(ours, requests, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 0, "nothing was compared");
}

#[test]
fn redis() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Redis>(&root, &["zeek/redis"]);
}

#[test]
fn postgres() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Postgres>(&root, &["zeek/postgresql", "deepflow/postgre"]);
}

#[test]
fn kafka() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Kafka>(&root, &["deepflow/kafka"]);
}

#[test]
fn mongo() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Mongo>(&root, &["deepflow/mongo"]);
}

#[test]
fn mqtt() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Mqtt>(&root, &["deepflow/mqtt", "suricata-verify"]);
}

#[test]
fn nats() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Nats>(&root, &["deepflow/nats"]);
}

#[test]
fn dubbo() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let found = ordeal::<Dubbo>(&root, &["deepflow/dubbo"]);
    let expected = [
        ("deepflow/dubbo/dubbo-sw8.pcap", "my.demo.service.ItemService/findItem -"),
        ("deepflow/dubbo/dubbo_hessian2.pcap", "my.demo.service.UserService/login ok"),
    ];
    for (name, call) in expected {
        assert_eq!(found[name].get(call), Some(&1), "{name}: {:?}", found[name]);
    }
}

#[test]
fn amqp() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    ordeal::<Amqp>(&root, &["deepflow/amqp"]);
}

/// What a capture's connections were found to speak, protocol and port untold.
fn kinds(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for conversation in conversations_of::<Any>(path) {
        let limits = Limits { patience: 5_000_000_000, ..Limits::default() };
        let mut connection = if conversation.from_start {
            Connection::from_start(Any::default(), limits)
        } else {
            Connection::joined_late(Any::default(), limits)
        };
        let mut records = Vec::new();
        for sent in &conversation.sent {
            let Sent { side, position, length, ref bytes, time } = *sent;
            connection.push(side, Piece { position, length, bytes, time }, &mut records);
            found.extend(connection.protocol().kind().map(|kind| format!("{kind:?}")));
        }
    }
    found
}

/// Every capture of a protocol is found to be that, or what it turned to.
#[test]
fn content_tells_the_protocol() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let expected: [(&str, &[&str]); 21] = [
        ("zeek/dns", &["Dns"]),
        ("deepflow/dns", &["Dns"]),
        ("zeek/mysql", &["Mysql", "Tls"]),
        ("deepflow/mysql", &["Mysql"]),
        ("zeek/redis", &["Redis"]),
        ("zeek/postgresql", &["Postgres", "Tls"]),
        ("deepflow/postgre", &["Postgres"]),
        ("deepflow/kafka", &["Kafka"]),
        ("deepflow/mongo", &["Mongo"]),
        ("deepflow/mqtt", &["Mqtt"]),
        ("deepflow/nats", &["Nats"]),
        ("deepflow/amqp", &["Amqp"]),
        ("deepflow/dubbo", &["Dubbo"]),
        ("deepflow/http", &["Http1", "Http2"]),
        ("zeek/http", &["Http1", "Tls"]),
        ("zeek/websocket", &["Http1", "WebSocket"]),
        // On the port of another.
        ("zeek/postgresql/http-on-port-5432.pcap", &["Http1"]),
        // Protocols that have no parser.
        ("deepflow/brpc", &[]),
        ("deepflow/pulsar", &[]),
        ("deepflow/rocketmq", &[]),
        ("deepflow/zmtp", &[]),
    ];
    let (mut wrong, mut recognised) = (Vec::new(), 0);
    for (folder, _) in expected {
        for path in captures(&root.join(folder)) {
            let found = kinds(&path);
            // The last that names it: single captures stand behind their folder.
            let name = |(name, _): &&(&str, _)| path.starts_with(root.join(name));
            let kinds_there = expected.iter().rfind(name).map_or(&[][..], |(_, kinds)| kinds);
            println!("{}: {found:?}", path.display());
            recognised += usize::from(!found.is_empty());
            if found.iter().any(|kind| !kinds_there.contains(&kind.as_str())) {
                wrong.push(format!("{}: {found:?}", path.display()));
            }
        }
    }
    println!("{recognised} captures recognised");
    assert!(recognised > 0 && wrong.is_empty(), "{wrong:#?}");
}

fn handshakes(records: &[any::Record]) -> Vec<String> {
    let tls = |record: &any::Record| match record {
        any::Record::Call(call) if call.wire == Wire::Tls => Some(call.to_string()),
        _ => None,
    };
    records.iter().filter_map(tls).collect()
}

/// Handshakes, at the place where a login turned to TLS too, against what
/// `tshark -Y tls.handshake -T fields` says of names, versions and certificates.
#[test]
fn tls() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let end = "2024-08-22T17:08:50Z";
    let database = "database-1.cyx4x7yvdoay.us-east-1.rds.amazonaws.com";
    let named = [format!("certificate {database} {end}"), format!("handshake {database} TLSv1.2")];
    let unnamed = [format!("certificate {end}"), "handshake TLSv1.2".to_owned()];
    let mut wrong = Vec::new();
    for (name, expected) in [
        ("zeek/mysql/tls-12-amazon-rds.pcap", &unnamed),
        ("zeek/postgresql/psql-aws-ssl-require.pcap", &named),
        ("zeek/postgresql/psql-aws-ssl-preferred.pcap", &named),
        ("zeek/postgresql/psql-aws-ssl-require-15432.pcap", &named),
    ] {
        for conversation in conversations_of::<Any>(&root.join(name)) {
            // Segments of these captures overtake each other. In smaller pieces they are
            // more than a stream holds back; cuts are tried with the other handshakes.
            for cut in [usize::MAX, 1024] {
                let found = handshakes(&conversation.run_as::<Any>(cut).0);
                println!("{name} at {cut}: {found:?}");
                if found != expected {
                    wrong.push(format!("{name} at {cut}: {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
