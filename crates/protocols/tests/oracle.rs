//! Every capture that others made, under the recogniser as it runs live, against what
//! others counted in it: tshark, `DeepFlow`'s `.result`, Kindling's expectations.
//!
//! `cargo test -p taproot-protocols --test oracle -- --nocapture` prints the table. A
//! difference has to stand in `docs/protocols/differences.md` with these very figures and
//! a reason, and what stands there has to be there: a difference that goes is a row to
//! take out.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{Conversation, Datagram, NO_DATA, Sent, conversations_of, data, datagrams};
use taproot_protocols::any::{Any, Record};
use taproot_protocols::dns::Datagrams;
use taproot_protocols::{Side, Wire};
use taproot_testkit::skip;

const DIFFERENCES: &str = include_str!("../../../docs/protocols/differences.md");

/// Requests by what was spoken.
type Counts = BTreeMap<&'static str, u64>;

fn kind(wire: Wire) -> &'static str {
    match wire {
        Wire::Dns => "dns",
        Wire::Redis => "redis",
        Wire::Postgres => "postgres",
        Wire::Mysql => "mysql",
        Wire::Http1 => "http",
        Wire::Http2 | Wire::Grpc => "http2",
        Wire::Memcached => "memcached",
        Wire::Kafka => "kafka",
        Wire::Mongo => "mongo",
        Wire::Amqp => "amqp",
        Wire::Mqtt => "mqtt",
        Wire::Nats => "nats",
        Wire::Cql => "cql",
        Wire::Dubbo => "dubbo",
        Wire::Unknown => "unknown",
        Wire::WebSocket => "websocket",
        Wire::Tls => "tls",
    }
}

/// What a record counts as: a login is no command, an answer alone no request.
fn name(record: &Record) -> Option<&'static str> {
    match record {
        Record::Http1(taproot_protocols::http1::Record::Exchange(_)) => Some("http"),
        Record::Http1(_) => None,
        Record::Call(call) if call.wire == Wire::Mysql && &*call.operation == "CONNECT" => None,
        Record::Call(call) => Some(kind(call.wire)),
    }
}

fn count<'a>(records: impl IntoIterator<Item = &'a Record>, into: &mut Counts) {
    for name in records.into_iter().filter_map(name) {
        *into.entry(name).or_default() += 1;
    }
}

/// Requests of a capture: TCP as it runs live, and DNS over UDP.
fn counts(path: &Path) -> Counts {
    let mut found = Counts::new();
    for conversation in conversations_of::<Any>(path) {
        count(&conversation.run_as::<Any>(usize::MAX).0, &mut found);
    }
    let (mut taps, mut records) = (BTreeMap::new(), Vec::new());
    for Datagram { from, to, bytes, time } in datagrams(path) {
        let pair = if from < to { (from, to) } else { (to, from) };
        let tap: &mut Datagrams = taps.entry(pair).or_default();
        tap.push(&bytes, bytes.len() as u64, time, &mut records);
    }
    for tap in taps.values_mut() {
        tap.close(&mut records);
    }
    if !records.is_empty() {
        *found.entry("dns").or_default() += records.len() as u64;
    }
    found
}

/// One figure of somebody else's, beside ours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Compared {
    capture: String,
    by: &'static str,
    ours: u64,
    theirs: u64,
}

/// Fields of tshark that count requests, one a request, and what we call them. Its
/// figures for AMQP, MQTT, `PostgreSQL` and WebSocket count messages of both sides.
const TSHARK: [(&str, &str); 5] = [
    ("http.request.method", "http"),
    ("http2.headers.method", "http2"),
    ("dns.query", "dns"),
    ("mysql.command", "mysql"),
    ("kafka.request_key", "kafka"),
];

fn tshark(root: &Path) -> Vec<Compared> {
    let text = std::fs::read_to_string(root.join("tshark-oracle.json")).expect("the oracle");
    let oracle: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text).expect("the oracle is JSON");
    let mut out = Vec::new();
    for (capture, said) in oracle {
        let path = root.join(&capture);
        if !path.is_file() {
            continue;
        }
        let found = counts(&path);
        for (field, name) in TSHARK {
            let theirs = said.get(field).and_then(serde_json::Value::as_u64).unwrap_or(0);
            let ours = found.get(name).copied().unwrap_or(0);
            if theirs > 0 || ours > 0 {
                out.push(Compared { capture: capture.clone(), by: field, ours, theirs });
            }
        }
    }
    out
}

/// Captures with a `.result` beside them, below a folder.
fn results(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            results(&path, out);
        } else if path.extension().is_some_and(|one| one == "result")
            && path.with_extension("pcap").is_file()
        {
            out.push(path);
        }
    }
}

/// Folders of `DeepFlow`'s whose protocol has a parser here, and what we call it.
const DEEPFLOW: [(&str, &str); 10] = [
    ("amqp", "amqp"),
    ("dns", "dns"),
    ("dubbo", "dubbo"),
    ("http", "http"),
    ("kafka", "kafka"),
    ("mongo", "mongo"),
    ("mqtt", "mqtt"),
    ("mysql", "mysql"),
    ("nats", "nats"),
    ("postgre", "postgres"),
];

/// A line of a `.result` is what one packet gave; requests are those that say so.
fn deepflow(root: &Path) -> Vec<Compared> {
    let mut out = Vec::new();
    for (folder, name) in DEEPFLOW {
        let mut files = Vec::new();
        results(&root.join("deepflow").join(folder), &mut files);
        files.sort();
        for file in files {
            let text =
                String::from_utf8_lossy(&std::fs::read(&file).expect("readable")).into_owned();
            let request = |line: &&str| {
                ["msg_type: Request", "\"msg_type\":\"Request\""]
                    .iter()
                    .any(|kind| line.contains(kind))
            };
            let theirs = text.lines().filter(request).count() as u64;
            let path = file.with_extension("pcap");
            let found = counts(&path);
            let web = if name == "http" { found.get("http2").copied().unwrap_or(0) } else { 0 };
            let ours = found.get(name).copied().unwrap_or(0) + web;
            let capture = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            out.push(Compared { capture, by: "deepflow", ours, theirs });
        }
    }
    out
}

/// The bytes of one line of Kindling's data: `hex|...`, text after its length, or text.
fn bytes(line: &str) -> Vec<u8> {
    let text = line.trim().trim_start_matches("- ").trim().trim_matches('"');
    let hex = |text: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        (0..text.len()).step_by(2).filter_map(byte).collect()
    };
    if let Some(digits) = text.strip_prefix("hex|") {
        return hex(digits);
    }
    match text.split_once('|') {
        Some((length, rest))
            if length.len() % 2 == 0 && length.chars().all(|c| c.is_ascii_hexdigit()) =>
        {
            [hex(length), rest.as_bytes().to_vec()].concat()
        }
        _ => text.replace("\\r", "\r").replace("\\n", "\n").into_bytes(),
    }
}

/// A trace of system calls: what they moved, in order of time, and how many calls it is
/// expected to hold. `None` where nothing of that is said.
fn kindling(text: &str) -> Option<(Conversation, u64)> {
    let mut sent: Vec<Sent> = Vec::new();
    let (mut side, mut expected, mut expecting) = (None, 0, false);
    for line in text.lines() {
        let line = line.trim_end();
        let value = || line.split_once(": ").and_then(|(_, value)| value.trim().parse().ok());
        match line.trim_start() {
            "requests:" => side = Some(Side::Client),
            "responses:" => side = Some(Side::Server),
            "expects:" => (side, expecting) = (None, true),
            word if word.starts_with("Timestamp:") && expecting => expected += 1,
            word if word.starts_with("timestamp:") => {
                let (side, time) = (side?, value()?);
                sent.push(Sent { side, position: 0, length: 0, bytes: Vec::new(), time });
            }
            word if word.starts_with("res:") => sent.last_mut()?.length = value()?,
            word if word.starts_with("- \"") && side.is_some() => {
                sent.last_mut()?.bytes.extend(bytes(word));
            }
            _ => {}
        }
    }
    sent.sort_by_key(|one| one.time);
    let mut at = [0; 2];
    for one in &mut sent {
        one.bytes.truncate(one.length as usize);
        one.position = at[one.side as usize];
        at[one.side as usize] += one.length;
    }
    let conversation = Conversation { sent, from_start: true };
    (expecting && !conversation.sent.is_empty()).then_some((conversation, expected))
}

fn kindling_traces(root: &Path) -> Vec<Compared> {
    let mut out = Vec::new();
    for (folder, name) in
        [("http", "http"), ("dubbo", "dubbo"), ("kafka", "kafka"), ("mysql", "mysql")]
    {
        let path = root.join("kindling-syscall-traces").join(folder);
        let files = std::fs::read_dir(path).into_iter().flatten().flatten();
        for file in files.map(|entry| entry.path()) {
            let text = std::fs::read_to_string(&file).expect("readable");
            let Some((conversation, theirs)) = kindling(&text) else { continue };
            let mut found = Counts::new();
            count(&conversation.run_as::<Any>(usize::MAX).0, &mut found);
            let ours = found.get(name).copied().unwrap_or(0);
            let capture = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            out.push(Compared { capture, by: "kindling", ours, theirs });
        }
    }
    out
}

/// The rows of the page: capture, who counted, ours, theirs; each with a reason.
fn explained() -> BTreeSet<(String, String, u64, u64)> {
    let mut out = BTreeSet::new();
    for line in DIFFERENCES.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [capture, by, ours, theirs, reason] = cells[..] else {
            panic!("a row has five cells: {line}")
        };
        assert!(reason.len() > 10, "a reason is missing: {line}");
        let number = |text: &str| text.parse::<u64>().expect("a count");
        let capture = capture.trim_matches('`').to_owned();
        assert!(
            out.insert((capture, by.to_owned(), number(ours), number(theirs))),
            "twice: {line}"
        );
    }
    out
}

#[test]
fn every_count_of_others_is_ours_or_explained() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let mut all = tshark(&root);
    all.extend(deepflow(&root));
    all.extend(kindling_traces(&root));
    all.sort();
    let explained = explained();
    let (mut same, mut seen, mut open) = (0, BTreeSet::new(), Vec::new());
    for Compared { capture, by, ours, theirs } in &all {
        let row = (capture.clone(), (*by).to_owned(), *ours, *theirs);
        let verdict = match (ours == theirs, explained.contains(&row)) {
            (true, _) => "same",
            (false, true) => "explained",
            (false, false) => "OPEN",
        };
        println!("| `{capture}` | {by} | {ours} | {theirs} | {verdict} |");
        match verdict {
            "same" => same += 1,
            "explained" => drop(seen.insert(row)),
            _ => open.push(row),
        }
    }
    println!("{} figures compared, {same} the same, {} explained", all.len(), seen.len());
    assert!(all.len() > 100, "only {} figures were compared", all.len());
    assert!(open.is_empty(), "differ without a reason: {open:#?}");
    let gone: Vec<_> = explained.difference(&seen).collect();
    assert!(gone.is_empty(), "explained, but not found any more: {gone:#?}");
}

/// A small generator of numbers: the same cuts in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

fn told(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| match record {
        Record::Http1(one) => format!("{one:?}"),
        Record::Call(call) => call.to_string(),
    };
    records.iter().map(text).collect()
}

/// Cuts every piece in random places.
fn cut(conversation: &Conversation, numbers: &mut Numbers) -> Conversation {
    let mut sent = Vec::new();
    for one in &conversation.sent {
        let mut at = 0;
        while at < one.length {
            let length = (1 + numbers.below(200)).min(one.length - at);
            let part = |n: u64| (n as usize).min(one.bytes.len());
            let bytes = one.bytes[part(at)..part(at + length)].to_vec();
            let Sent { side, position, time, .. } = *one;
            sent.push(Sent { side, position: position + at, length, bytes, time });
            at += length;
        }
    }
    Conversation { sent, from_start: conversation.from_start }
}

/// What is asked for, without how it ended: that may be unseen after a gap.
fn asked(record: &Record) -> Option<String> {
    match record {
        Record::Http1(taproot_protocols::http1::Record::Exchange(one)) => {
            Some(format!("{} {}", one.request.method.as_str(), one.request.path))
        }
        Record::Http1(_) => None,
        Record::Call(call) => Some(format!("{:?} {}", call.wire, call.operation)),
    }
}

#[test]
fn random_cuts_change_nothing_and_a_gap_invents_nothing() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let mut files = Vec::new();
    for folder in ["zeek", "deepflow"] {
        captures(&root.join(folder), &mut files);
    }
    let (mut numbers, mut cuts, mut gaps, mut invented) = (Numbers(7), 0, 0, Vec::new());
    for path in files {
        for conversation in conversations_of::<Any>(&path) {
            let (whole, unused) = conversation.run_as::<Any>(usize::MAX);
            if whole.is_empty() || !conversation.from_start {
                continue;
            }
            if unused == 0 {
                let again = cut(&conversation, &mut numbers).run_as::<Any>(usize::MAX).0;
                assert_eq!(told(&again), told(&whole), "{}", path.display());
                cuts += 1;
            }
            let known: BTreeSet<_> = whole.iter().filter_map(asked).collect();
            let mut holed = cut(&conversation, &mut numbers);
            let n = holed.sent.len() as u64;
            holed.sent.remove(numbers.below(n) as usize);
            gaps += 1;
            for text in holed.run_as::<Any>(usize::MAX).0.iter().filter_map(asked) {
                // A prepared statement whose text was in the hole has no better name.
                let unnamed = text.ends_with(" EXECUTE") || text.ends_with(" _OTHER");
                if !known.contains(&text) && !unnamed {
                    invented.push(format!("{}: {text}", path.display()));
                }
            }
        }
    }
    println!("{cuts} conversations cut at random, {gaps} with a hole");
    assert!(cuts > 0 && gaps > 0, "nothing was compared");
    assert!(invented.is_empty(), "{invented:#?}");
}

/// The captures below a folder, in order.
fn captures(folder: &Path, out: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            captures(&path, out);
        } else if path.extension().is_some_and(|one| one == "pcap" || one == "pcapng") {
            out.push(path);
        }
    }
}
